"""Every row of a file checked, by the paper that it belongs to: `generate_data.py --check`."""

import os
from dataclasses import dataclass, field
from itertools import islice

from tqdm import tqdm

from goat.errors import UserError
from goat.files.parallel import ordered_map
from goat.files.rows import check_texts, parse_row, row_texts
from goat.papers import paper_of

CHUNK = 2000  # rows given to a process at a time
SHOWN = 10  # bad rows kept


@dataclass
class Audit:
    unit: str  # what rows are counted in: "line" of JSON lines, "row" of a JSON list
    rows: int = 0
    bad: int = 0
    first_bad: list[tuple[int, str]] = field(default_factory=list)  # (line or row, reason)


def audit_file(path: str | os.PathLike, workers: int = 1) -> Audit:
    """Check all rows of a file, with a progress bar on terminals; keep the first bad ones.

    Raises UserError when the file holds no rows, begins with something else than JSON, or is a list
    that breaks off.
    """
    unit, numbered = row_texts(path)
    audit, chunks = Audit(unit), iter(lambda: list(islice(numbered, CHUNK)), [])
    with tqdm(unit=" rows", unit_scale=True, leave=False, disable=None) as bar:
        for count, bad in ordered_map(_audit_chunk, chunks, workers):
            if bad and bad[0][0] == 1 and "not a JSON object" in bad[0][1]:
                raise UserError(f"{path}, line 1: expected a row as a JSON object, or a JSON list "
                                "of rows")
            audit.rows += count
            audit.bad += len(bad)
            audit.first_bad += bad[: SHOWN - len(audit.first_bad)]
            bar.update(count)
    if not audit.rows:
        raise UserError(f"{path}: the file holds no rows")
    return audit


def _audit_chunk(rows: list[tuple[int, str]]) -> tuple[int, list[tuple[int, str]]]:
    """(how many rows, number and reason of the bad ones)."""
    return len(rows), [(number, reason) for number, text in rows if (reason := audit_row(text))]


def audit_row(text: str) -> str | None:
    """What is wrong first in a row, given as JSON text; None if nothing is."""
    try:
        row = parse_row(text)
        check_texts(row, "", "instruction", "input", "output", "answer")
    except UserError as error:
        return str(error)
    if not isinstance(task := row.get("task"), str | None):
        return "the field 'task' is not a string"
    return paper_of(task or "").audit(row)
