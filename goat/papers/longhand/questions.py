"""Remainders by long division, learnt from 200 demonstrations: the questions and the rows.

Task: `numbers__div_remainder` of the DeepMind mathematics dataset (Saxton et al. 2019, arXiv
1904.01557), which a model trained on two million questions with bare answers gets right less than
four times in ten. Recchia 2021 (arXiv 2109.02102) reached over 80 % from 200 demonstrations that
act out every step. How the working of a demonstration looks: forms.py.
"""

import math
import os
import re
from collections.abc import Collection, Iterator
from functools import cache
from itertools import cycle, islice
from random import Random

from goat.errors import UserError
from goat.files.rows import Row, read_pairs
from goat.papers import MAX_DIGITS, Check, Question
from goat.papers.longhand.forms import FORMS, Form

TEMPLATES = ("Calculate the remainder when {a} is divided by {b}.",
             "What is the remainder when {a} is divided by {b}?")
BEST = "columns"  # the form that worked best on the validation questions
LEVELS = ("easy", "medium", "hard")
ENTROPY = {  # about how many random digits a question has: uniform between the two
    "easy": (3, 16 / 3), "medium": (16 / 3, 23 / 3), "hard": (23 / 3, 10),
    "interpolate": (8, 8),
    "longer": (10, 12),  # our own: the dataset has no extrapolation for this task
}
SPLITS = ("train", *ENTROPY)  # train: the three levels in turn


def draw(rng: Random, low: float, high: float) -> tuple[int, int]:
    """Dividend and divisor. The dataset's own rule: remainder, quotient and divisor share out a
    number of digits, all integers drawn uniformly with both ends included."""
    entropy = rng.uniform(low, high)
    share = 1 + rng.uniform(0, entropy / 3)
    remainder = rng.randint(0, math.ceil(10**share))
    part = rng.random() * (entropy - share)
    quotient = rng.randint(1, math.ceil(10**part + 1))
    divisor = remainder + rng.randint(1, math.ceil(10 ** (entropy - share - part) + 1))
    return quotient * divisor + remainder, divisor


def questions(split: str, n: int | None, seed: int | str = 0) -> Iterator[tuple[str, int, int]]:
    """The first n questions of a split (None: without end) as (text, dividend, divisor). Nothing is
    left out: as in the dataset, a question may come twice."""
    if split not in SPLITS:
        raise UserError(f"there is no longhand split {split!r}; there are {', '.join(SPLITS)}")
    rng = Random(f"longhand {split} {seed}")
    for level in islice(cycle(LEVELS if split == "train" else (split,)), n):
        x, y = draw(rng, *ENTROPY[level])
        yield rng.choice(TEMPLATES).format(a=x, b=y), x, y


def different(split: str, seed: int | str,
              left_out: Collection[tuple[int, int]] = ()) -> Iterator[tuple[str, int, int]]:
    """The questions of a split without end, each once, and none of those that are left out."""
    seen = set(left_out)
    for text, x, y in questions(split, None, seed):
        if (x, y) not in seen:
            seen.add((x, y))
            yield text, x, y


_WORDED = re.compile(r"(?:calculate|what is) the remainder when (-?\d+) is divided by (-?\d+) ?"
                     r"[.?]?", re.IGNORECASE)
_BARE = re.compile(r"(-?\d+) ?% ?(-?\d+)")


def parse_question(text: str) -> tuple[int, int]:
    """(dividend, divisor) of a question in either wording, or of a bare `25736 % 144`. Raises
    UserError for any other text, a negative number or a zero divisor."""
    match = _WORDED.fullmatch(text.strip()) or _BARE.fullmatch(text.strip())
    if match is None:
        raise UserError(f"cannot read {text[:80]!r} as a question: write 'What is the remainder "
                        "when 25736 is divided by 144?'")
    if max(map(len, match.groups())) > MAX_DIGITS:
        raise UserError(f"the question has a number of over {MAX_DIGITS} digits")
    x, y = map(int, match.groups())
    if x < 0 or y < 1:
        raise UserError(f"no remainder of {x} divided by {y}: the dividend must be 0 or more, "
                        "the divisor 1 or more")
    return x, y


def form_named(name: str) -> Form:
    """The form of that name; UserError if there is none."""
    if name not in FORMS:
        raise UserError(f"there is no longhand form {name!r}; there are {', '.join(FORMS)}")
    return FORMS[name]


def row(text: str, x: int, y: int, form: str) -> Row:
    """A training row: the question and its demonstration."""
    return {"instruction": text, "input": f"{x} % {y}", "output": form_named(form).write(x, y),
            "answer": str(x % y), "task": f"longhand {form}"}


def check_any(x: int, y: int, output: str) -> Check:
    """Verify a working of x % y in whatever form it follows the longest."""
    def followed(form: Form) -> int:
        try:
            return len(os.path.commonprefix((form.write(x, y), output.strip())))
        except UserError:  # some forms have bounds
            return -1
    return max(FORMS.values(), key=followed).check(x, y, output)


def audit(row: Row) -> str | None:
    """What is wrong first in a row; None if nothing is."""
    try:
        x, y = parse_question(row["input"])
        found = form_named(row["task"].removeprefix("longhand ")).check(x, y, row["output"])
        asked = parse_question(row["instruction"])
    except UserError as error:
        return str(error)
    if found.first_error:
        return f"output, {found.first_error} ({found.kind})"
    if row["answer"] != str(x % y):
        return f"answer {row['answer']!r} is not that of the output"
    return None if asked == (x, y) else f"instruction {row['instruction']!r} does not ask it"


SUITES = {"longhand": ("train", "interpolate"), "longhand-big": ("hard", "longer")}  # their splits
SIZE = 500  # questions of a split


def suite(name: str, seed: int = 0, wording: str | None = None,
          limit: int | None = None) -> Iterator[Question]:
    """SIZE different questions of each split in SUITES[name], the first `limit`. Always in the two
    wordings of the dataset, which training shows."""
    count = min(SIZE, limit or SIZE)
    for split in SUITES[name]:
        for text, x, y in islice(different(split, f"suite {seed}"), count):
            yield Question(name, split, text, f"{x} % {y}", str(x % y), "seen", (x, "%", y),
                           paper="longhand")


@cache
def reserved() -> frozenset[tuple[int, int]]:
    """(dividend, divisor) of all questions of the suites, which demonstrations avoid."""
    return frozenset(parse_question(q.input) for name in SUITES for q in suite(name))


def demonstrations(rows: int, form: str, seed: int = 0, split: str = "train",
                   reserved: Collection[tuple[int, int]] = ()) -> Iterator[Row]:
    """`rows` demonstrations of different questions, none of them in `reserved`."""
    for text, x, y in islice(different(split, seed, reserved), rows):
        yield row(text, x, y, form)


def from_questions(path: str | os.PathLike, form: str) -> Iterator[Row]:
    """Demonstrations of the questions of a file, in its order.

    The file has `question|answer` lines, or, as the DeepMind dataset is published, a question and
    its answer on every two lines. Empty lines are skipped. Raises UserError naming file and line
    for a line that is no question, and for an answer that is missing or wrong.
    """
    for where, question, answer in read_pairs(path):
        try:
            x, y = parse_question(question)
            if answer != str(x % y):
                raise UserError(f"the remainder of {x} divided by {y} is {x % y}, not {answer!r}")
            yield row(question, x, y, form)
        except UserError as error:
            raise UserError(f"{where}: {error}")
