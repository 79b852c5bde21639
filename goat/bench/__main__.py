"""Measurements beside the peers: `python -m goat.bench NAME [flags]`, figures side by side."""

import importlib
import pkgutil
import sys

from goat import bench
from goat.cli import run
from goat.errors import UserError


def main(argv: list[str] | None = None) -> int | None:
    """Dispatch to `goat.bench.NAME.main(flags)`; each benchmark is a module of this package."""
    argv = sys.argv[1:] if argv is None else argv
    names = sorted(m.name for m in pkgutil.iter_modules(bench.__path__) if m.name != "__main__")
    if argv and argv[0] in names:
        return importlib.import_module(f"goat.bench.{argv[0]}").main(argv[1:])
    if not argv or argv[0] in ("-h", "--help"):
        print(f"usage: python -m goat.bench {{{'|'.join(names)}}} [flags]")
        return None
    raise UserError(f"no benchmark is called {argv[0]!r}; there are: {', '.join(names)}")


if __name__ == "__main__":
    run(main)
