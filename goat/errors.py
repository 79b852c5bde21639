"""A user's mistake ends in one clear line and exit code 2, never in a traceback."""

import sys


class UserError(ValueError):
    """Bad input. The message names the file, line, key or flag, and the way out."""


def run(main) -> None:
    """Run a script's `main()` and exit with its return value (None counts as 0).

    A UserError or a file-system error (missing folder, full disk, no permission) becomes
    `error: …` on standard error with exit code 2; Ctrl-C exits with 130. Anything else is a
    bug of ours and keeps its traceback.
    """
    try:
        sys.exit(main())
    except UserError as error:
        message = str(error)
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        message = f"{error.strerror or error}{where}"
    except KeyboardInterrupt:
        sys.exit(130)
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)
