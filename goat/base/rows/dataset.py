"""Rows of the mix `growing` as a data set, the suite `skills` of every kind of row that there is,
and how rows are checked."""

import json
import random
import re
from collections.abc import Callable, Iterator
from functools import partial

from goat.base.rows import mixes
from goat.base.rows.skills import SYMBOLS, value_of
from goat.files.rows import BLOCK, Report, Row, report_of, write_blocks
from goat.papers import MAX_DIGITS, Operands, Question
from goat.papers.arithmetic.operations import either
from goat.papers.arithmetic.solutions import extract_answer
from goat.papers.arithmetic.suites import reserved

ROWS = 1_000_000  # unless the user says how many
SIZE = 200  # questions of a kind in the suite


def _block(rows: int, seed: int, max_digits: int, reserved: frozenset[Operands],
           count_tokens: Callable[[Row], int] | None, number: int) -> tuple[bytes, Report]:
    """(the lines of block `number`, what they are)."""
    rng = random.Random(f"{seed}:{number}")
    count = min(BLOCK, rows - number * BLOCK)
    made = [mixes.sample(rng, max_digits, reserved) for _ in range(count)]
    lines = [json.dumps(row) + "\n" for row in made]
    return "".join(lines).encode(), report_of(made, lines, count_tokens)


def write(out: str, rows: int | None, seed: int, max_digits: int, workers: int,
          count_tokens: Callable[[Row], int] | None) -> Report:
    """Write `rows` rows (default: ROWS); the same bytes whatever the number of processes."""
    rows = rows or ROWS
    block = partial(_block, rows, seed, max_digits, reserved(), count_tokens)
    return write_blocks(out, block, rows, workers)


_SYMBOL = either(SYMBOLS)
_EQUATION = re.compile(rf"(\d+) ({_SYMBOL}) (\d+) = (-?\d+(?: R \d+)?)(?!\d| ?(?:{_SYMBOL}))")


def audit(row: Row) -> str | None:
    """A stated answer that is not the output's, or the first equation of two numbers that is false;
    None if there is neither."""
    if row["answer"] != (answer := extract_answer(row["output"])):
        return f"the field answer is {row['answer'][:60]!r}, the output ends in {answer[:60]!r}"
    if row["task"] == "copy":  # what is copied need not be true
        return None
    for a, op, b, value in _EQUATION.findall(row["input"] + row["output"]):
        if max(len(a), len(b)) > MAX_DIGITS or op == "/" and int(b) == 0:
            return f"{a[:30]} {op} {b[:30]} is not checked"
        if value != (true := value_of(int(a), op, int(b))):
            return f"{a} {op} {b} is {true}, not {value}"
    return None


def suite(seed: int = 0, wording: str | None = None,
          limit: int | None = None) -> Iterator[Question]:
    """SIZE questions of each kind of row, the first `limit`. Always in the base's own notation. The
    answer is what follows the last "=" of the row. They are drawn as rows are: a few may come
    twice."""
    for name, kind in mixes.KINDS.items():
        if name == "text":  # nothing is asked there
            continue
        rng = random.Random(f"skills/{name}/{seed}")
        for _ in range(min(SIZE, limit or SIZE)):
            prompt, output = kind(rng, 8)
            yield Question("skills", name, "", prompt, extract_answer(output), "bare",
                           paper="skills")
