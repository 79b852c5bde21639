"""Files that are whole or not there: written beside their place first, then renamed into it.

Everything that the project writes goes through here, but for logs, which grow line by line.
"""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from goat.errors import UserError


def is_special(path: Path) -> bool:
    """Whether a device, a pipe or a socket is there: something to write into, never to replace."""
    return path.exists() and not path.is_file() and not path.is_dir()


@contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Gives a temporary name beside `path` to write to; it takes the name `path` at the end only.

    Where writing fails or is interrupted, an older file at `path` stays as it was. The folder is
    made if it is missing. A link stays, and the file that it names is replaced; into a device or
    a pipe it is written straight. The file gets the permissions of any new file.
    """
    if is_special(Path(path)):
        yield Path(path)
        return
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")  # short: names have 255 bytes
    try:
        with open(temporary, "xb") as new:
            mode = os.fstat(new.fileno()).st_mode & 0o777  # safetensors makes files private
        yield temporary
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: str | os.PathLike, data: bytes) -> None:
    """Write a whole file, with the folder that it stands in."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write a whole text file in UTF-8; half of a surrogate pair, which a path may hold, is escaped
    as JSON does."""
    write_bytes(path, text.encode(errors="backslashreplace"))


def check_place(path: str | os.PathLike) -> None:
    """Make the folder of a file that is written hours later; UserError where none can be written
    there, OSError where the folder cannot be made."""
    if is_special(path := Path(path)):
        place = path
    else:
        path = Path(os.path.realpath(path))
        place = path.parent
        place.mkdir(parents=True, exist_ok=True)
    if path.is_dir() or not os.access(place, os.W_OK):
        raise UserError(f"{path}: no file can be written there; give another place")


def refuse_same(path: str | os.PathLike, *others: str | os.PathLike | None) -> None:
    """Raise UserError where a file to be written is one of `others`, which a run reads or writes
    too."""
    place, kept = os.path.realpath(path), is_special(Path(path)) or os.path.isdir(path)
    if not kept and place in [os.path.realpath(o) for o in others if o]:
        raise UserError(f"{path}: it would be replaced, and is read or written under another flag "
                        "too; give another place")


def refuse_full(out: Path) -> None:
    """Raise UserError for an --out that is a file already, or a folder that is not empty."""
    if out.is_file():
        raise UserError(f"--out {out}: there is such a file; choose a new one")
    if out.is_dir() and any(out.iterdir()):
        raise UserError(f"--out {out}: the folder is not empty; choose a new one")
