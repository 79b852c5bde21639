"""A user's mistake ends in one clear line and exit code 2, never in a traceback."""

import os
import sys
from argparse import Namespace
from pathlib import Path

INTERRUPTED = 130  # exit code after Ctrl-C


class UserError(ValueError):
    """Bad input. The message names the file, line, key or flag, and the way out."""


def spelt(name: str) -> str:
    """A flag as the user writes it: `leave_out` -> `--leave-out`."""
    return "--" + name.replace("_", "-")


def refuse_empty(args: Namespace, *names: str) -> None:
    """Raises UserError for a path given as "", which an unset variable of the shell becomes: it
    would be taken for none, and a default used instead."""
    for name in names:
        if getattr(args, name) == "":
            raise UserError(f"{spelt(name)} is empty: name a path, or leave the flag out")


def check_place(path: str | os.PathLike) -> None:
    """Make the folder of a file that is written hours later; UserError where it cannot be."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise UserError(f"{path}: no file can be written there; give another place")


def run(main) -> None:
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
