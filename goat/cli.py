"""What the parsers of flags share, and how a script ends: a user's mistake is one clear line."""

import errno
import io
import os
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence

from goat.errors import UserError

INTERRUPTED = 130  # exit code after Ctrl-C
CLOSED = 141  # and where nobody reads the output any more, as in `… | head -1`


def parser_for(prog: str, description: str | None) -> ArgumentParser:
    """A parser whose help shows `description` as it is written."""
    return ArgumentParser(prog=prog, description=description,
                          formatter_class=RawDescriptionHelpFormatter)


def given_flags(parser: ArgumentParser, argv: Sequence[str]) -> Namespace:
    """The values of the flags that stand in `argv`, None for all others (`parser` knows their
    defaults). A request for help, and flags that the parser does not know, are passed over."""
    asked = [word for word in argv if word not in ("-h", "--help")]
    nothing = Namespace(**dict.fromkeys(vars(parser.parse_args([]))))
    return parser.parse_known_args(asked, nothing)[0]


def processes() -> int:
    """How many processes torchrun has started for this run."""
    return int(os.environ.get("WORLD_SIZE", 1))


def spelt(name: str) -> str:
    """A flag as the user writes it: `leave_out` -> `--leave-out`."""
    return "--" + name.replace("_", "-")


def refuse_given(given: Namespace, said: str, *names: str) -> None:
    """Raises UserError for the first of these flags that is on the command line (see
    `given_flags`), with `said`, in which {flag} stands for it."""
    for name in names:
        if getattr(given, name) is not None:
            raise UserError(said.format(flag=spelt(name)))


def refuse_empty(args: Namespace, *names: str) -> None:
    """Raises UserError for a path given as "", which an unset variable of the shell becomes: it
    would be taken for none, and a default used instead."""
    for name in names:
        if getattr(args, name) == "":
            raise UserError(f"{spelt(name)} is empty: name a path, or leave the flag out")


def refuse_below(args: object, least: int, *names: str) -> None:
    """Raises UserError for the first number of `names` that is given and is below `least`."""
    for name in names:
        value = getattr(args, name)
        if value is not None and value < least:
            raise UserError(f"{spelt(name)} {value}: must be {least} or more")


class Patient(io.RawIOBase):
    """Standard output or standard error (`name`) as a stream that never ends a run: what its
    encoding lacks is escaped, and after a first error all that is printed is dropped."""

    def __init__(self, name: str):
        self.error: OSError | None = None
        stream = getattr(sys, name)  # None: the shell has closed it
        try:
            self.number = None if stream is None else stream.fileno()
        except (AttributeError, io.UnsupportedOperation):
            return  # a notebook's: it stays as it is
        if stream is not None:
            stream.flush()
        text = io.TextIOWrapper(io.BufferedWriter(self), stream and stream.encoding,
                                "backslashreplace",
                                line_buffering=name == "stderr" or self.isatty()
                                or getattr(stream, "write_through", False))  # python -u
        setattr(sys, name, text)

    def fileno(self) -> int:
        if self.number is None:
            raise OSError(errno.EBADF, "there is no standard output")
        return self.number

    def isatty(self) -> bool:
        return self.number is not None and os.isatty(self.number)

    def writable(self) -> bool:
        return True

    def write(self, data) -> int:
        if self.number is not None and self.error is None:
            try:
                return os.write(self.number, data)
            except OSError as error:
                self.error = error
        return len(data)


def run(main: Callable[[], int | None]) -> None:
    """Run a script's `main()` and exit with its return value (None counts as 0).

    Errors that are the user's become one line (see `told`), anything else is a bug of ours and
    keeps its traceback. What cannot be printed ends nothing, and is told at the end.
    """
    output, _ = Patient("stdout"), Patient("stderr")
    if isinstance(sys.stdin, io.TextIOWrapper):  # a byte that is no text must not end the session
        sys.stdin.reconfigure(errors="surrogateescape")
    code: int | str | None
    try:
        code = main()
    except SystemExit as left:  # argparse has said why
        code = left.code
    except (UserError, OSError, KeyboardInterrupt) as error:
        code = told(error)
    sys.stdout.flush()
    if output.error:
        code = code or told(output.error)
    sys.exit(code)


def told(error: BaseException) -> int:
    """The exit code for an error: INTERRUPTED for Ctrl-C, CLOSED for a reader that has seen enough;
    2 for a UserError or one of the file system (missing folder, full disk, no permission), which
    becomes `error: …` on standard error."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, BrokenPipeError):
        return CLOSED
    message = str(error)
    if isinstance(error, OSError):
        message = (error.strerror or message) + (f" ({error.filename})" if error.filename else "")
    print(f"error: {message}", file=sys.stderr)
    return 2
