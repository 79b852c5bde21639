"""What is wrong or missing in GSM8K's training problems, put right by a table of our own.

Each line of `gsm8k_corrections.tsv` comes of a problem that was read and solved anew. It changes
the text of that problem before a trace is made of it: a label that is wrong, and lines of the
worked solution that calculate without saying so. The trace passes the same checks as every other.
The head of the table tells its form.
"""

import hashlib
import os
import re
from pathlib import Path
from typing import NamedTuple

from goat.papers.word_problems.gsm8k import DOUBTFUL, annotate, annotation

TABLE = Path(__file__).with_name("gsm8k_corrections.tsv")
_EDIT = re.compile(r"(\d+)(?:-(\d+)(?==))?([:=]) ?(.*)")


class Correction(NamedTuple):
    """A line of the table; `answer` and `working` are "" where nothing is to be changed."""

    number: int
    answer: str
    working: str
    why: str


class Corrections:
    """The table by the checksum of the problem, and how many have been `applied`."""

    def __init__(self, table: str | os.PathLike = TABLE):
        self.table: dict[str, Correction] = {}
        self.applied = 0
        for line in Path(table).read_text(encoding="utf-8").splitlines():
            if line and not line.startswith("#"):
                number, check, *columns = line.split("\t")
                columns = ["" if column == "-" else column for column in columns]
                self.table[check] = Correction(int(number), *columns)

    def apply(self, question: str, answer: str) -> str:
        """The field `answer` of a problem, worked solution and label, as it should be."""
        correction = self.table.get(checksum(question, answer))
        if correction is None:
            return answer
        self.applied += bool(correction.working) or correction.answer not in ("", DOUBTFUL)
        worked, _, label = answer.partition("####")
        return f"{edited(worked, correction.working)}\n#### {correction.answer or label.strip()}"

    def told(self) -> list[str]:
        """The lines that tell what came to use."""
        line = (f"{self.applied:,} of the problems read were corrected (--original-labels leaves "
                "them as they are)")
        return [line] * bool(self.applied)


def checksum(question: str, answer: str) -> str:
    """Eight digits that tell one problem from another, and from other versions of itself."""
    return hashlib.sha256(f"{question.strip()}\n{answer.strip()}".encode()).hexdigest()[:8]


def edited(worked: str, edits: str) -> str:
    """A worked solution after the edits of the table's fourth column. Raises ValueError for an edit
    that is none, that names a line which is not there, or that calculates nothing."""
    lines = worked.strip().splitlines()
    for edit in filter(None, edits.split("; ")):
        match = _EDIT.fullmatch(edit)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        most = len(lines) + 1 if match and match[3] == "=" else len(lines)
        if match is None or not 0 < first <= last <= most:
            raise ValueError(f"{edit!r} is no edit of {len(lines)} lines")
        if match[3] == ":":
            lines[first - 1] = annotate(lines[first - 1], match[4])
        else:
            words = re.sub(r"\{(.*?)\}", lambda part: annotation(part[1]), match[4])
            lines[first - 1:last] = [words, *[""] * (last - first)]
    return "\n".join(filter(None, lines))
