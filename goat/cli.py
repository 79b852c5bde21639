"""What the parsers of flags share, and how a script ends: a user's mistake is one clear line."""

import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence

from goat.errors import UserError

INTERRUPTED = 130  # exit code after Ctrl-C


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


def refuse_below(args: Namespace, least: int, *names: str) -> None:
    """Raises UserError for the first number of `names` that is given and is below `least`."""
    for name in names:
        value = getattr(args, name)
        if value is not None and value < least:
            raise UserError(f"{spelt(name)} {value}: must be {least} or more")


def run(main: Callable[[], int | None]) -> None:
    """Run a script's `main()` and exit with its return value (None counts as 0).

    A UserError or a file-system error (missing folder, full disk, no permission) becomes
    `error: …` on standard error with exit code 2; Ctrl-C exits with INTERRUPTED. Anything else is
    a bug of ours and keeps its traceback.
    """
    try:
        sys.exit(main())
    except UserError as error:
        message = str(error)
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        message = f"{error.strerror or error}{where}"
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)
