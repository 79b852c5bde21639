"""Rows on disk: the one reader and the one writer of questions, solutions and training data.

Read are JSON lines, a single JSON list (as the Goat data set was published), a BIG-bench task (an
object with the list `examples`), and questions as plain text (`read_pairs`). Written are JSON
lines, or a list where the file's name ends in `.json`. A file is read row by row, so that one of
millions of rows needs no memory; it is written whole or not at all.
"""

import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from tqdm import tqdm

from goat.errors import UserError
from goat.files.atomic import replacing
from goat.files.parallel import ordered_map

Row = dict[str, str]
LONGEST_ROW = 1 << 22  # characters; what goes on for longer is no row
BLOCK = 4096  # rows that are made together; part of what a seed means
SAMPLES = 3  # rows of each task that a report keeps
_SURROGATE = re.compile(r"[\ud800-\udfff]")  # half of a pair, or a byte that is no UTF-8

# ------------------------------------------------------------------------------------- reading


def open_text(path: str | os.PathLike) -> TextIO:
    """A text file, open for reading. A byte that is no UTF-8 is read as a lone surrogate, so that
    the line which holds it can be named."""
    return open(path, encoding="utf-8-sig", errors="surrogateescape", newline="\n")


def _first_character(path: str | os.PathLike) -> str:
    """The first character of a file, white space aside; "" if it is empty."""
    with open_text(path) as file:
        return file.read(4096).lstrip()[:1]


def is_json(path: str | os.PathLike) -> bool:
    """Whether a file holds rows in JSON, by its first character."""
    return _first_character(path) in ("{", "[")


def row_texts(path: str | os.PathLike) -> tuple[str, Iterator[tuple[int, str]]]:
    """(what rows are counted in, the numbered JSON texts of the rows) of a file of JSON lines,
    empty ones left out ("line"), or of a JSON list ("row")."""
    if _first_character(path) == "[":
        return "row", _elements(path)
    return "line", _lines(path)


def _lines(path: str | os.PathLike) -> Iterator[tuple[int, str]]:
    with open_text(path) as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield number, line


def _elements(path: str | os.PathLike) -> Iterator[tuple[int, str]]:
    """The elements of a list, read piece by piece. UserError where it breaks off."""
    decoder, between = json.JSONDecoder(), re.compile(r"[\s,]*")
    with open_text(path) as file:
        while file.read(1) != "[":
            pass  # white space before the opening bracket
        text, rows = "", 0
        while more := file.read(1 << 20):
            text, at = text + more, 0
            while True:
                gap = between.match(text, at)
                assert gap  # nothing at all is a match too
                at = gap.end()
                try:
                    _, end = decoder.raw_decode(text, at)
                except json.JSONDecodeError:
                    break  # the end of the list, or an element that the next piece completes
                except (ValueError, RecursionError) as error:  # thousands of digits or brackets
                    raise UserError(f"{path}, row {rows + 1}: this cannot be read ({error})")
                rows += 1
                yield rows, text[at:end]
                at = end
            text = text[at:]
            if len(text) > LONGEST_ROW:
                break
        if text.strip() != "]":
            raise UserError(f"{path}: the list breaks off or is not JSON after row {rows}")


def parse_row(text: str) -> dict:
    """The JSON object that a row's text is; UserError with the reason where it is none."""
    if not text.isascii() and _SURROGATE.search(text):
        raise UserError("this is not text in UTF-8")
    try:
        row = json.loads(text)
    except (ValueError, RecursionError) as error:  # no JSON, or thousands of digits or brackets
        raise UserError(f"not a JSON object ({getattr(error, 'msg', error)})")
    if not isinstance(row, dict):
        raise UserError("a row must be a JSON object")
    return row


def read_rows(path: str | os.PathLike) -> Iterator[tuple[str, dict]]:
    """(where it stands, for messages; the object) of each row of a file, in its order.

    Raises UserError naming file and line (or row) for what is no JSON object.
    """
    unit, texts = row_texts(path)
    for place, (number, text) in enumerate(texts):
        try:
            row = parse_row(text)
        except UserError as error:
            row = _whole_object(path) if unit == "line" and place == 0 else {}
            if not row:
                raise UserError(f"{path}, {unit} {number}: {error}")
        if "instruction" not in row and isinstance(row.get("examples"), list):  # a BIG-bench task
            for count, example in enumerate(row["examples"], 1):
                if not isinstance(example, dict):
                    raise UserError(f"{path}, example {count}: a row must be a JSON object")
                yield f"{path}, example {count}", example
            return
        yield f"{path}, {unit} {number}", row


def _whole_object(path: str | os.PathLike) -> dict:
    """The object of a BIG-bench task that is spread over all lines of a file; else an empty one."""
    with open_text(path) as file:
        try:
            whole = json.load(file)
        except (ValueError, RecursionError):
            return {}
    return whole if isinstance(whole, dict) and "examples" in whole else {}


def check_texts(row: dict, where: str, *names: str) -> None:
    """Raises UserError where one of these fields is no string, or no Unicode text."""
    where = f"{where}: " if where else ""
    for name in names:
        if not isinstance(text := row.get(name), str):
            raise UserError(f"{where}the field {name!r} must be a string")
        if not text.isascii() and _SURROGATE.search(text):
            raise UserError(f"{where}the field {name!r} holds half of a surrogate pair, which is "
                            "not text that can be written in UTF-8")


def read_pairs(path: str | os.PathLike) -> list[tuple[str, str, str]]:
    """(where it stands, question, answer) for every question of a text file: `question|answer`
    lines or, as in the DeepMind mathematics dataset, a question and its answer on every two lines.
    Empty lines are left out. Raises UserError for a file that is neither."""
    lines = [(f"{path}, line {number}", line.strip()) for number, line in _lines(path)]
    if any(_SURROGATE.search(line) for _, line in lines):
        raise UserError(f"{path}: this is not a text file in UTF-8")
    if not lines:
        raise UserError(f"{path}: no questions in this file")
    if any("|" in line for _, line in lines):
        parts = [(where, line.rpartition("|")) for where, line in lines]
        if bad := [where for where, (_, bar, _) in parts if not bar]:
            raise UserError(f"{bad[0]}: no answer (expected question|answer)")
        return [(where, question.strip(), answer.strip()) for where, (question, _, answer) in parts]
    if len(lines) % 2:
        raise UserError(f"{lines[-1][0]}: the last question has no answer line (expected "
                        "question|answer, or a question and its answer on two lines)")
    return [(where, question, answer)
            for (where, question), (_, answer) in zip(lines[::2], lines[1::2])]


# ------------------------------------------------------------------------------------- writing


@dataclass
class Summary:
    """What was written of one task. Lengths are characters of the outputs or, when a tokenizer
    counts, tokens of the rows."""

    rows: int = 0
    total: int = 0
    longest: int = 0
    samples: list[str] = field(default_factory=list)  # the first lines

    def add(self, other: "Summary") -> None:
        self.rows += other.rows
        self.total += other.total
        self.longest = max(self.longest, other.longest)
        self.samples += other.samples[: SAMPLES - len(self.samples)]


@dataclass
class Report:
    """What was written: a summary for each task, and what else is to be said."""

    tasks: dict[str, Summary] = field(default_factory=dict)
    left_out: int = 0  # draws that were questions of an evaluation suite, and drawn again
    kept: int = 0  # rows that are such questions, in cells too small to leave them out
    notes: list[str] = field(default_factory=list)
    complete: bool = True  # False after Ctrl-C

    def add(self, other: "Report") -> None:
        for task, summary in other.tasks.items():
            self.tasks.setdefault(task, Summary()).add(summary)
        self.left_out += other.left_out
        self.kept += other.kept


@contextmanager
def writing(path: str | os.PathLike) -> Iterator[Callable[[bytes], object]]:
    """Gives a function that appends JSON lines, each with its newline; the file takes its name
    only when all has been written. "-" is standard output. UserError where it cannot be written."""
    if str(path) == "-":
        with open(sys.stdout.fileno(), "wb", closefd=False) as file:  # whose errors end the work
            yield file.write
        return
    path = Path(path)
    if path.is_dir():
        raise UserError(f"cannot write {path}: it is a folder; name a file in it")
    try:
        with replacing(path) as temporary, open(temporary, "wb") as file:
            if path.suffix != ".json":
                yield file.write
            else:
                separator = b"\n"

                def append(lines: bytes) -> None:
                    nonlocal separator
                    file.write(separator + lines[:-1].replace(b"\n", b",\n"))
                    separator = b",\n"

                file.write(b"[")
                yield append
                file.write(b"\n]\n")
            file.close()  # a full disk may show only now
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error


def write_lines(path: str | os.PathLike, rows: Iterable[dict]) -> list[str]:
    """Write objects of any kind as rows; returns their lines, without newlines."""
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    with writing(path) as append:
        for line in lines:
            append(line.encode() + b"\n")
    return lines


def report_of(rows: Iterable[Row], lines: Iterable[str],
              count_tokens: Callable[[Row], int] | None) -> Report:
    """What these rows are, whose lines are given too. Lengths are tokens or, without
    `count_tokens`, characters of the output."""
    report = Report()
    for row, line in zip(rows, lines):
        length = count_tokens(row) if count_tokens else len(row["output"])
        report.tasks.setdefault(row["task"], Summary()).add(Summary(1, length, length, [line]))
    return report


def write_rows(path: str | os.PathLike, rows: Sequence[Row],
               count_tokens: Callable[[Row], int] | None = None) -> Report:
    """Write rows that are already made, and say what they are, see `report_of`."""
    return report_of(rows, write_lines(path, rows), count_tokens)


def write_blocks(path: str | os.PathLike, make: Callable[[int], tuple[bytes, Report]], rows: int,
                 workers: int = 1) -> Report:
    """Write `rows` rows in the blocks that `make` makes of the numbers 0, 1, …, in this order and
    in `workers` processes, with a progress bar on terminals."""
    report, blocks = Report(), -(-rows // BLOCK)
    with writing(path) as append, tqdm(total=rows, unit=" rows", unit_scale=True, leave=False,
                                       disable=None) as bar:
        for lines, part in ordered_map(make, range(blocks), min(workers, blocks)):
            append(lines)
            report.add(part)
            bar.update(sum(summary.rows for summary in part.tasks.values()))
    return report
