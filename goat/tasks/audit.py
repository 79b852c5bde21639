"""Verifies every row of an arithmetic data set, ours or the published one, of longhand rows, the
answers of word problems, and the single equations in rows of the mixture `skills`.

Nothing is generated again: each equation of each working is checked (goat/tasks/verify.py), the
answer is compared with the end of the working, and the operands and the operation are read back
from the instruction, through templates and noise.
"""

import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import islice
from typing import TextIO

from goat.errors import UserError
from goat.tasks import longhand, phrasing, pretraining
from goat.tasks.arithmetic import extract_answer, parse_question
from goat.tasks.parallel import ordered_map
from goat.tasks.skills import value_of
from goat.tasks.verify import MAX_DIGITS, first_error
from goat.tasks.word_problems import TASK, same_number, stated

FIELDS = ("instruction", "input", "output", "answer")
CHUNK = 2000  # rows given to a process at a time
LONGEST_ROW = 1 << 22  # characters; what goes on for longer is no row


@dataclass
class Audit:
    unit: str  # what rows are counted in: "line" of JSON lines, "row" of a JSON list
    rows: int = 0
    bad: int = 0
    first_bad: list[tuple[int, str]] = field(default_factory=list)  # (line or row, reason)


def audit_file(path: str | os.PathLike, workers: int = 1, show: int = 10,
               progress: Callable[[int], object] | None = None) -> Audit:
    """Check all rows of a JSON-lines file or of a single JSON list; keep the first `show` bad.

    `progress` is called with the number of rows of each chunk. Raises UserError when the file
    holds no rows, begins with something else than JSON, or is a list that breaks off.
    """
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        is_list = file.read(4096).lstrip().startswith("[")
        file.seek(0)
        audit = Audit("row" if is_list else "line")
        numbered = enumerate(list_elements(file, path) if is_list else file, 1)
        rows = (row for row in numbered if row[1].strip())
        chunks = iter(lambda: list(islice(rows, CHUNK)), [])
        for count, bad in ordered_map(_audit_chunk, chunks, workers):
            if bad and bad[0][0] == 1 and bad[0][1].startswith(_NO_JSON):
                raise UserError(f"{path}, line 1: expected a row as a JSON object, or a JSON list "
                                "of rows")
            audit.rows += count
            audit.bad += len(bad)
            audit.first_bad += bad[: show - len(audit.first_bad)]
            if progress:
                progress(count)
    if not audit.rows:
        raise UserError(f"{path}: the file holds no rows")
    return audit


def list_elements(file: TextIO, path: str | os.PathLike) -> Iterator[str]:
    """The JSON text of each element of the list in `file`, read piece by piece."""
    decoder, between = json.JSONDecoder(), re.compile(r"[\s,]*")
    while file.read(1) != "[":
        pass  # white space before the opening bracket
    text, rows = "", 0
    while more := file.read(1 << 20):
        text, at = text + more, 0
        while True:
            at = between.match(text, at).end()
            try:
                _, end = decoder.raw_decode(text, at)
            except json.JSONDecodeError:
                break  # the end of the list, or an element that the next piece completes
            except ValueError as error:
                raise UserError(f"{path}, row {rows + 1}: this cannot be read ({error})")
            yield text[at:end]
            at, rows = end, rows + 1
        text = text[at:]
        if len(text) > LONGEST_ROW:
            break
    if text.strip() != "]":
        raise UserError(f"{path}: the list breaks off or is not JSON after row {rows}")


_NO_JSON = "not a JSON object"


def _audit_chunk(rows: list[tuple[int, str]]) -> tuple[int, list[tuple[int, str]]]:
    """(how many rows, number and reason of the bad ones)."""
    findings = ((number, audit_row(text)) for number, text in rows)
    return len(rows), [(number, reason) for number, reason in findings if reason]


def audit_row(text: str) -> str | None:
    """What is wrong first in a row, given as JSON text; None if nothing is."""
    try:
        row = json.loads(text)
    except ValueError as error:  # or a number of thousands of digits
        return f"{_NO_JSON} ({getattr(error, 'msg', error)})"
    if not isinstance(row, dict):
        return _NO_JSON
    for name in FIELDS:
        if not isinstance(row.get(name), str):
            return f"the field {name!r} is missing or not a string"
    if not isinstance(row.get("task"), str | None):
        return "the field 'task' is not a string"
    if str(row.get("task")).startswith("longhand "):
        return _audit_longhand(row)
    if row.get("task") == TASK:
        return _audit_word_problem(row)
    if row.get("task") in pretraining.KINDS:
        return None if row["task"] == "copy" else _audit_equations(row["input"] + row["output"])
    try:
        a, op, b = parse_question(row["input"])
    except UserError:
        a = None
    if a is None or row["input"] != f"{a} {op} {b}":
        return f"input {row['input']!r} is no expression of the form 12 + 34"
    if error := first_error(a, op, b, row["output"]):
        return f"output, {error[1]} ({error[0]})"
    if row["answer"] != extract_answer(row["output"]):
        return f"answer {row['answer']!r} is not that of the output"
    named = read_instruction(row["instruction"])
    if named is None:
        return f"cannot find the question in instruction {row['instruction']!r}"
    if named not in ((a, op, b), (b, op, a) if op in "+*" else None):
        return f"instruction {row['instruction']!r} does not ask {row['input']}"
    return None


_EQUATION = re.compile(r"(\d+) ([-+*/]) (\d+) = (-?\d+(?: R \d+)?)(?![\d+*/-]| [-+*/])")


def _audit_equations(text: str) -> str | None:
    """The first equation of two numbers in a text that is false."""
    for a, op, b, value in _EQUATION.findall(text):
        if max(len(a), len(b)) > MAX_DIGITS or op == "/" and int(b) == 0:
            return f"{a[:30]} {op} {b[:30]} is not checked"
        if value != (true := value_of(int(a), op, int(b))):
            return f"{a} {op} {b} is {true}, not {value}"
    return None


def _audit_longhand(row: dict[str, str]) -> str | None:
    try:
        found = longhand.check(row["input"], row["task"].removeprefix("longhand "), row["output"])
        x, y = longhand.parse_question(row["input"])
        asked = longhand.parse_question(row["instruction"])
    except UserError as error:
        return str(error)
    if found.first_error:
        return f"output, {found.first_error} ({found.kind})"
    if row["answer"] != str(x % y):
        return f"answer {row['answer']!r} is not that of the output"
    return None if asked == (x, y) else f"instruction {row['instruction']!r} does not ask it"


def _audit_word_problem(row: dict[str, str]) -> str | None:
    """Its code is not run: an output that the interpreter did not give is not found here."""
    given, failure = stated(row["output"])
    right, label = same_number(given, row["answer"]), row.get("label", "correct")
    if label not in ("correct", "wrong"):
        return f"label {label!r} is neither 'correct' nor 'wrong'"
    if label == "wrong":
        return "labelled wrong, but its answer is right" if right else None
    return None if right else failure or f"the output answers {given!r}, not {row['answer']!r}"


SIGN_WORDS = "plus|minus|times|multiplied by|divided by"  # between two numbers
_SIGNED = re.compile(rf"(\d+) ?([-+*/x]|{SIGN_WORDS}) ?(\d+)", re.ASCII)
_NAMED = re.compile(r"the (sum|difference|product|quotient and remainder) of (\d+) and (\d+)",
                    re.ASCII)
OPERATIONS = {"x": "*", "plus": "+", "minus": "-", "times": "*", "multiplied by": "*",
              "divided by": "/", "sum": "+", "difference": "-", "product": "*",
              "quotient and remainder": "/"}


def read_instruction(instruction: str) -> tuple[int, str, int] | None:
    """The (a, op, b) that an instruction asks for, whatever template surrounds it.

    Reads every form of Goat's noise and the wordings of phrasing.WORDINGS. None when there is no
    question in it, or when it contains other numbers besides.
    """
    if match := _SIGNED.search(instruction):
        a, operation, b = match.groups()
    elif match := _NAMED.search(instruction):
        operation, a, b = match.groups()
    else:
        for operation, wording in _wordings():
            if match := wording.fullmatch(instruction):
                a, b = match["a"], match["b"]
                break
        else:
            return None
    if sum(map(len, re.findall(r"\d+", instruction))) != len(a) + len(b):
        return None
    return int(a), OPERATIONS.get(operation, operation), int(b)


@cache
def _wordings() -> list[tuple[str, re.Pattern]]:
    return [(op, re.compile(re.escape(wording).replace(r"\{a\}", r"(?P<a>\d+)")
                            .replace(r"\{b\}", r"(?P<b>\d+)"), re.ASCII))
            for op, wordings in phrasing.WORDINGS.items() for wording in wordings]
