"""Loads sympy into a server of the sandbox, before it serves.

sandbox.py starts a second server on the first program that names sympy; its source is this file,
`load_sympy(...)` and sandbox_guest.py, in this order. So other programs never pay for sympy, and
the time that a program may take is its own, without the load.

The server has no site-packages: sympy and the mpmath that it needs are loaded from their folders,
and nothing beside them can be imported. Nor can a guest open a file: what sympy would import only
when it needs it is imported here. Whatever a guest changes in sympy dies with the guest, since the
server itself runs none of their code.
"""

import contextlib
import importlib.util
import pkgutil
import random
import re
import sys
import warnings
from importlib.machinery import PathFinder

SKIPPED = re.compile(r"\.(tests|benchmarks|\w*_doc)$")  # of modules; the last take seconds


class SeededRandom(random.Random):
    """Where no seed is given, takes one from `random`, whose own is fixed for each program: sympy
    has generators of its own, which decide the order of some terms."""

    def __init__(self, seed=None):
        super().__init__(random.getrandbits(64) if seed is None else seed)


def load_sympy(folders: dict[str, str]) -> None:
    """Import all of sympy; `folders` says where each package lies, in the order of their import.
    Where that fails, say so; a guest's import will then fail too."""
    random.seed(0)
    random.Random = SeededRandom  # type: ignore[misc]
    try:
        for name, folder in folders.items():
            spec = PathFinder.find_spec(name, [folder])
            assert spec and spec.loader, f"no {name} in {folder}"
            sys.modules[name] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(sys.modules[name])
        with contextlib.redirect_stdout(None), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # some modules print, some are obsolete and say so
            import_below(sys.modules["sympy"])
    except Exception as error:
        sys.modules.pop("sympy", None)
        print(f"sandbox: sympy cannot be loaded: {type(error).__name__}: {error}", file=sys.stderr)


def import_below(package) -> None:
    """Import the modules of a package, but those that cannot be, as for want of another package."""
    for _, name, is_package in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        if not SKIPPED.search(name):
            with contextlib.suppress(Exception):
                module = importlib.import_module(name)
                if is_package:
                    import_below(module)
