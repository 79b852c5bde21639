"""Files that are whole or not there: written beside their place first, then renamed into it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from goat.errors import UserError


@contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Gives a temporary name beside `path` to write to; it takes the name `path` at the end only.

    Where writing fails or is interrupted, an older file at `path` stays as it was.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write a whole text file, with the folder that it stands in."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def check_place(path: str | os.PathLike) -> None:
    """Make the folder of a file that is written hours later; UserError where it cannot be."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise UserError(f"{path}: no file can be written there; give another place")


def refuse_full(out: Path) -> None:
    """Raise UserError for an --out folder that holds something already."""
    if out.exists() and any(out.iterdir()):
        raise UserError(f"--out {out}: the folder is not empty; choose a new one")
