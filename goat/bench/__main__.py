"""Measurements beside the peers: `python -m goat.bench NAME [flags]`, figures side by side."""

import importlib
import sys

from goat.cli import run
from goat.errors import UserError

NAMES = ("data", "decode", "gpu", "load", "sandbox", "scale", "train")


def main() -> None:
    """Dispatch to `goat.bench.NAME.main(flags)`."""
    name, *flags = sys.argv[1:] or ["--help"]
    if name in NAMES:
        importlib.import_module(f"goat.bench.{name}").main(flags)
    elif name in ("-h", "--help"):
        print(f"usage: python -m goat.bench {{{'|'.join(NAMES)}}} [flags]")
    else:
        raise UserError(f"no benchmark is called {name!r}; there are: {', '.join(NAMES)}")


if __name__ == "__main__":
    run(main)
