"""Goat's arithmetic: worked solutions written out, and any worked solution checked.

Source: Liu and Low 2023, "Goat" (arXiv 2305.14201), section 3 and its published data set. A small
model can learn to add, subtract, and multiply or divide by one digit directly; the other products
and quotients it learns as a chain of such steps:

    81547 * 3062 = 81547 * (3000 + 60 + 2)                      split the smaller factor
                 = 81547 * 3000 + 81547 * 60 + 81547 * 2        expand
                 = 244641000 + 4892820 + 163094                 products
                 = 249533820 + 163094 = 249696914               accumulate, two terms at a time

    8653 - 38 * 200 = 8653 - 7600 = 1053                        one line per quotient digit:
    1053 - 38 * 20 = 1053 - 760 = 293                           left - divisor * part
    293 - 38 * 7 = 293 - 266 = 27                               = left - product = rest
    Therefore, 8653 / 38 = 227 R 27

(the product stands on one line in the real text). `solve` writes these, `check` verifies them.
Everything is done with Python's integers, so operands may be of any size.
"""

import re
from collections.abc import Collection
from typing import NamedTuple

from goat.errors import UserError
from goat.papers import MAX_DIGITS, Check
from goat.papers.arithmetic.operations import symbol_of
from goat.papers.arithmetic.verify import first_error

OMITTABLE = ("split", "expand", "accumulate", "product")  # the paper's ablations; see `solve`


class Problem(NamedTuple):
    question: str  # "397 * 4429": single spaces, one of + - * /
    solution: str  # the whole target text
    answer: str  # what follows the last "=": "1758313", "227 R 27", "-853" or "undefined"


_QUESTION = re.compile(r"\s*(\d+)\s*([-+*/xX×÷])\s*(\d+)\s*")


def parse_question(question: str) -> tuple[int, str, int]:
    """Read "397 * 4429", "397x4429" or "397 × 4429" as (397, "*", 4429); UserError otherwise."""
    match = _QUESTION.fullmatch(question)
    if match is None:
        raise UserError(f"cannot read {question!r} as a question: write two whole numbers with one "
                        "of + - * / between them, for example 397 * 4429")
    if max(len(match[1]), len(match[3])) > MAX_DIGITS:
        raise UserError(f"the question has a number of over {MAX_DIGITS} digits")
    return int(match[1]), symbol_of(match[2]), int(match[3])


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
    return Problem(f"{a} {op} {b}", *solve_numbers(a, op, b, steps, omit))


def solve_numbers(a: int, op: str, b: int, steps: bool = True,
                  omit: Collection[str] = ()) -> tuple[str, str]:
    """(solution, answer) of `a op b`: `solve` without parsing, for writing millions of rows."""
    if op == "+":
        answer = str(a + b)
    elif op == "-":
        answer = str(a - b)
    elif op == "*":
        answer = str(a * b)
        if steps and not (one_digit(a) or one_digit(b)):
            return _multiplication(a, b, omit), answer
    elif b == 0:
        return f"{a} / 0 is undefined", "undefined"
    else:
        quotient, remainder = divmod(a, b)
        answer = f"{quotient} R {remainder}" if remainder else str(quotient)
        if steps and a > b > 10:  # up to 10 the quotient is learnt directly
            return _division(a, b, quotient, answer, omit), answer
    return f"{a} {op} {b} = {answer}", answer


def one_digit(n: int) -> bool:
    """True for 7, 400 and 0: at most one non-zero digit, so a product by it is learnt directly."""
    return n < 10 or n % 10 == 0 and len(str(n).rstrip("0")) == 1


def place_values(n: int) -> list[str]:
    """3062 -> ["3000", "60", "2"]; zero digits are skipped."""
    return _THOUSANDS[n // 1000] + _UNITS[n % 1000] if n < 1_000_000 else _places(str(n))


def _places(digits: str) -> list[str]:
    length = len(digits)
    return [digit.ljust(length - i, "0") for i, digit in enumerate(digits) if digit != "0"]


_UNITS = [_places(str(n)) for n in range(1000)]  # tables, for millions of rows
_THOUSANDS = [_places(f"{n}000") for n in range(1000)]


def _multiplication(a: int, b: int, omit: Collection[str]) -> str:
    big, small = (a, b) if a >= b else (b, a)
    parts = place_values(small)
    times = f"{big} * "
    split = "" if "split" in omit else f" = {times}({' + '.join(parts)})"
    expand = "" if "expand" in omit else f" = {times}{f' + {times}'.join(parts)}"
    # The sums from the last to the first: each is the one after it with a term split off.
    total, terms, sums = a * b, "", ""
    for part in parts[:0:-1]:
        if not sums or "accumulate" not in omit:
            sums = f" = {total}{terms}{sums}"
        product = big * int(part)
        total -= product
        terms = f" + {product}{terms}"
    return f"{a} * {b}{split}{expand} = {total}{terms}{sums}"


def _division(a: int, b: int, quotient: int, answer: str, omit: Collection[str]) -> str:
    text, rest, left = "", a, str(a)
    minus = f" - {b} * "
    for part in place_values(quotient):
        product = b * int(part)
        rest -= product
        middle = "" if "product" in omit else f"{left} - {product} = "
        right = str(rest)
        text += f"{left}{minus}{part} = {middle}{right}\n"
        left = right
    return f"{text}Therefore, {a} / {b} = {answer}"


def check(question: str, text: str) -> Check:
    """Verify a worked solution of `question` equation by equation.

    Accepts every variant that `solve` can write, the bare answer alone, and any other split of a
    factor or of a quotient whose equations are true. Raises UserError when the *question* cannot
    be read; a bad text is a finding, not an error.
    """
    text = text.strip()
    kind, reason = first_error(*parse_question(question), text) or (None, None)
    return Check(reason is None, extract_answer(text), reason, kind)


def extract_answer(text: str) -> str:
    """The answer that a solution states: what follows its last "=", or "undefined". A text without
    "=" counts as the bare answer itself."""
    text = text.strip()
    return "undefined" if text.endswith("undefined") else text.rpartition("=")[2].strip()
