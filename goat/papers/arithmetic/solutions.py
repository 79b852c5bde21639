"""Questions read, worked out and checked, of every operation in operations.py. How each is worked
stands in workings.py, how it is checked in verify.py."""

import re
from collections.abc import Collection
from typing import NamedTuple

from goat.errors import UserError
from goat.papers import MAX_DIGITS, Check, Operands
from goat.papers.arithmetic.operation import Wrong
from goat.papers.arithmetic.operations import OPERATIONS, either, operation, spellings

OMITTABLE = tuple(stage for op in OPERATIONS.values() for stage in op.stages)  # see `solve`
_SIGNS = spellings(lambda op: op.written)
_WORDS = spellings(lambda op: op.spoken)
EXPRESSION = re.compile(rf"(\d+)(?:\s*({either(_SIGNS)})\s*|\s+({either(_WORDS)})\s+)(\d+)",
                        re.ASCII | re.IGNORECASE)
_TOO_LONG = re.compile(rf"\d{{{MAX_DIGITS + 1}}}")
_ANSWER = re.compile(r"-?\d+(?: R \d+)?")


class Problem(NamedTuple):
    question: str  # "397 * 4429": single spaces
    solution: str  # the whole target text
    answer: str  # what follows the last "=": "1758313", "227 R 27", "-853" or "undefined"


def parse_question(question: str) -> Operands:
    """Read "397 * 4429", "397x4429", "397 times 4429" as (397, "*", 4429); UserError otherwise."""
    match = EXPRESSION.fullmatch(question.strip())
    if match is None:
        raise UserError(f"cannot read {question!r} as a question: write two whole numbers with one "
                        f"of {' '.join(OPERATIONS)} between them, for example 397 * 4429")
    if max(len(match[1]), len(match[4])) > MAX_DIGITS:
        raise UserError(f"the question has a number of over {MAX_DIGITS} digits")
    return operands(match)


def operands(match: re.Match) -> Operands:
    """The (a, op, b) of a match of EXPRESSION."""
    a, sign, word, b = match.groups()
    return int(a), _SIGNS[sign.lower()] if sign else _WORDS[word.lower()], int(b)


def solve(question: str, steps: bool = True, omit: Collection[str] = ()) -> Problem:
    """Work out a question in Goat's format.

    `steps=False` writes "question = answer" only. `omit` leaves stages out of the working:
    "split" (the bracket), "expand" (the unsolved products) and "accumulate" (the term-by-term
    addition) of multiplications, "product" (the middle `left - product`) of divisions.
    Raises UserError for an unreadable question or an unknown stage.
    """
    if unknown := set(omit) - set(OMITTABLE):
        raise UserError(f"cannot omit {', '.join(sorted(unknown))}: the stages that can be left "
                        f"out are {', '.join(OMITTABLE)}")
    a, op, b = parse_question(question)
    return Problem(f"{a} {op} {b}", *operation(op).solve(a, b, steps, omit))


def check(question: str, text: str) -> Check:
    """Verify a worked solution of `question` equation by equation.

    Accepts every variant that `solve` can write in numbers of up to MAX_DIGITS digits, the bare
    answer alone, and any other split of a factor or of a quotient whose equations are true. Raises
    UserError when the *question* cannot be read; a bad text is a finding, not an error.
    """
    text = text.strip()
    kind, reason = first_error(*parse_question(question), text) or (None, None)
    return Check(reason is None, extract_answer(text), reason, kind)


def first_error(a: int, op: str, b: int, text: str) -> tuple[str, str] | None:
    """(kind, reason) of the first false step in a solution of `a op b`; None if all are right.
    `kind` is a key of verify.KINDS; the reason says which equation (counted from 1) or line, and
    why. A bare answer is verified as if it stood behind the question."""
    if _TOO_LONG.search(text):
        return "format", f"a number has over {MAX_DIGITS} digits"
    bare = _ANSWER.fullmatch(text)
    try:
        operation(op).verify(a, b, f"{a} {op} {b} = {text}" if bare else text)
    except Wrong as wrong:
        kind, reason = wrong.args
        return kind, f"the answer: {reason.partition(': ')[2] or reason}" if bare else reason
    return None


def extract_answer(text: str) -> str:
    """The answer that a solution states: what follows its last "=", or "undefined". A text without
    "=" counts as the bare answer itself."""
    text = text.strip()
    return "undefined" if text.endswith("undefined") else text.rpartition("=")[2].strip()
