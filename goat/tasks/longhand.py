"""Remainders by long division, learnt from 200 demonstrations: the questions and the rows.

Task: `numbers__div_remainder` of the DeepMind mathematics dataset (Saxton et al. 2019, arXiv
1904.01557), which a model trained on two million questions with bare answers gets right less than
four times in ten. Recchia 2021 (arXiv 2109.02102) reached over 80 % from 200 demonstrations that
act out every step. How the working of a demonstration looks: goat/tasks/longhand_forms.py.
"""

import math
import os
import re
from collections.abc import Collection, Iterator
from itertools import cycle, islice
from random import Random

from goat.errors import UserError
from goat.tasks import arithmetic
from goat.tasks.arithmetic import Check
from goat.tasks.longhand_forms import FORMS, Form
from goat.tasks.verify import MAX_DIGITS

WORDINGS = ("Calculate the remainder when {a} is divided by {b}.",
            "What is the remainder when {a} is divided by {b}?")
BEST = "columns"  # the form that worked best on the validation questions
LEVELS = ("easy", "medium", "hard")
ENTROPY = {  # about how many random digits a question has: uniform between the two
    "easy": (3, 16 / 3), "medium": (16 / 3, 23 / 3), "hard": (23 / 3, 10),
    "interpolate": (8, 8),
    "longer": (10, 12),  # our own: the dataset has no extrapolation for this task
}
SPLITS = ("train", *ENTROPY)  # train: the three levels in turn

# ----------------------------------------------------------------------------------- questions


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
    """The first n questions of a split (None: without end) as (text, dividend, divisor).

    Nothing is left out: as in the dataset, a question may come twice.
    """
    if split not in SPLITS:
        raise UserError(f"there is no longhand split {split!r}; there are {', '.join(SPLITS)}")
    rng = Random(f"longhand {split} {seed}")
    for level in islice(cycle(LEVELS if split == "train" else (split,)), n):
        x, y = draw(rng, *ENTROPY[level])
        yield rng.choice(WORDINGS).format(a=x, b=y), x, y


_WORDED = re.compile(r"(?:calculate|what is) the remainder when (-?\d+) is divided by (-?\d+) ?"
                     r"[.?]?", re.IGNORECASE)
_BARE = re.compile(r"(-?\d+) ?% ?(-?\d+)")
_QUOTIENT = re.compile(r"\d+ / \d+ = \d+(?: R (\d+))?\s*$")
_DIVISION = re.compile(r"^\s*(\d+ - \d+ \* |(Therefore, )?\d+ / \d+ = )")


def parse_question(text: str) -> tuple[int, int]:
    """(dividend, divisor) of a question in either wording, or of a bare `25736 % 144`.

    Raises UserError for any other text, a negative number or a zero divisor.
    """
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


# ----------------------------------------------------------------------------- rows and checks


def form_named(name: str) -> Form:
    """The form of that name; UserError if there is none."""
    if name not in FORMS:
        raise UserError(f"there is no longhand form {name!r}; there are {', '.join(FORMS)}")
    return FORMS[name]


def row(text: str, x: int, y: int, form: str) -> dict[str, str]:
    """A training row: the question and its demonstration."""
    return {"instruction": text, "input": f"{x} % {y}", "output": form_named(form).write(x, y),
            "answer": str(x % y), "task": f"longhand {form}"}


def check(text: str, form: str, output: str) -> Check:
    """Verify a working of the question `text` step by step.

    Returns ok (every step is right), answer (as stated, right or wrong), first_error ("line 6:
    …", "step 41: …" in the grid forms; None when all is right) and the error's kind, a key of
    longhand_forms.KINDS. Raises UserError for an unreadable question or an unknown form; a bad
    output is a finding.
    """
    return form_named(form).check(*parse_question(text), output)


def check_any(x: int, y: int, output: str) -> Check:
    """Verify a working of x % y: a long division as Goat writes it, whose quotient says the
    remainder too, or else whatever form it follows the longest."""
    if _DIVISION.search(output):
        found = arithmetic.check(f"{x} / {y}", output)
        stated = _QUOTIENT.search(output)
        return found._replace(answer=(stated[1] or "0") if stated else "")

    def followed(form: Form) -> int:
        try:
            return len(os.path.commonprefix((form.write(x, y), output.strip())))
        except UserError:  # some forms have bounds
            return -1
    return max(FORMS.values(), key=followed).check(x, y, output)


def demonstrations(rows: int, form: str, seed: int = 0, split: str = "train",
                   reserved: Collection[tuple[int, int]] = ()) -> Iterator[dict[str, str]]:
    """`rows` demonstrations of different questions, none of them in `reserved`."""
    seen = set(reserved)
    drawn = questions(split, None, seed)
    for _ in range(rows):
        text, x, y = next(question for question in drawn if question[1:] not in seen)
        seen.add((x, y))
        yield row(text, x, y, form)


def from_questions(path: str | os.PathLike, form: str) -> Iterator[dict[str, str]]:
    """Demonstrations of the questions of a file, in its order.

    The file has `question|answer` lines, or, as the DeepMind dataset is published, a question and
    its answer on every two lines. Empty lines are skipped. Raises UserError naming file and line
    for a line that is no question, and for an answer that is missing or wrong.
    """
    for number, question, answer in read_pairs(path):
        try:
            x, y = parse_question(question)
            if answer != str(x % y):
                raise UserError(f"the remainder of {x} divided by {y} is {x % y}, not {answer!r}")
            made = row(question, x, y, form)
        except UserError as error:
            raise UserError(f"{path}, line {number}: {error}")
        yield made


def read_pairs(path: str | os.PathLike) -> list[tuple[int, str, str]]:
    """(number of its line, question, answer) for every question of a file: `question|answer`
    lines, or a question and its answer on every two lines. Raises UserError for a file that is
    neither."""
    try:
        with open(path, encoding="utf-8-sig") as file:
            lines = [(number, line.strip()) for number, line in enumerate(file, 1) if line.strip()]
    except UnicodeDecodeError:
        raise UserError(f"{path}: this is not a text file in UTF-8")
    if not lines:
        raise UserError(f"{path}: no questions in this file")
    if any("|" in line for _, line in lines):
        parts = [(number, line.rpartition("|")) for number, line in lines]
        if bad := [number for number, (_, bar, _) in parts if not bar]:
            raise UserError(f"{path}, line {bad[0]}: no answer (expected question|answer)")
        return [(number, question.strip(), answer.strip())
                for number, (question, _, answer) in parts]
    if len(lines) % 2:
        raise UserError(f"{path}, line {lines[-1][0]}: the last question has no answer line "
                        "(expected question|answer, or a question and its answer on two lines)")
    return [(number, question, answer)
            for (number, question), (_, answer) in zip(lines[::2], lines[1::2])]
