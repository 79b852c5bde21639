"""Goat's worked solutions, written out: what the records in operations.py call `solve`.

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

(the product stands on one line in the real text). Each function takes the two numbers, whether
there are to be steps, and the stages to leave out of them; it returns (solution, answer). Numbers
are Python's integers, of any size.
"""

from collections.abc import Collection

Worked = tuple[str, str]


def add(a: int, b: int, steps: bool, omit: Collection[str]) -> Worked:
    answer = str(a + b)
    return f"{a} + {b} = {answer}", answer


def subtract(a: int, b: int, steps: bool, omit: Collection[str]) -> Worked:
    answer = str(a - b)
    return f"{a} - {b} = {answer}", answer


def multiply(a: int, b: int, steps: bool, omit: Collection[str]) -> Worked:
    """Stages: "split" (the bracket), "expand" (the unsolved products) and "accumulate" (the
    addition term by term)."""
    answer = str(a * b)
    if not steps or single_nonzero_digit(a) or single_nonzero_digit(b):
        return f"{a} * {b} = {answer}", answer
    big, small = (a, b) if a >= b else (b, a)
    parts = place_values(small)
    times = f"{big} * "
    split = "" if "split" in omit else f" = {times}({' + '.join(parts)})"
    expand = "" if "expand" in omit else f" = {times}{f' + {times}'.join(parts)}"
    # The sums from the last to the first: each is the one after it with a term split off. (A loop
    # forward would say the same, but cuts the terms off again, and takes half as long again.)
    total, terms, sums = a * b, "", ""
    for part in parts[:0:-1]:
        if not sums or "accumulate" not in omit:
            sums = f" = {total}{terms}{sums}"
        product = big * int(part)
        total -= product
        terms = f" + {product}{terms}"
    return f"{a} * {b}{split}{expand} = {total}{terms}{sums}", answer


def divide(a: int, b: int, steps: bool, omit: Collection[str]) -> Worked:
    """Stage: "product" (the middle, `left - product`)."""
    if b == 0:
        return f"{a} / 0 is undefined", "undefined"
    quotient, rest = divmod(a, b)
    answer = f"{quotient} R {rest}" if rest else str(quotient)
    if not steps or not a > b > 10:  # up to 10 the quotient is learnt directly
        return f"{a} / {b} = {answer}", answer
    text, rest, left = "", a, str(a)
    minus = f" - {b} * "
    for part in place_values(quotient):
        product = b * int(part)
        rest -= product
        middle = "" if "product" in omit else f"{left} - {product} = "
        right = str(rest)
        text += f"{left}{minus}{part} = {middle}{right}\n"
        left = right
    return f"{text}Therefore, {a} / {b} = {answer}", answer


def single_nonzero_digit(n: int) -> bool:
    """True for 7, 400 and 0, at most one of whose digits is not zero: a product by such a number
    is learnt directly."""
    return n < 10 or n % 10 == 0 and len(str(n).rstrip("0")) == 1


def place_values(n: int) -> list[str]:
    """3062 -> ["3000", "60", "2"]; zero digits are skipped."""
    return _THOUSANDS[n // 1000] + _UNITS[n % 1000] if n < 1_000_000 else _places(str(n))


def _places(digits: str) -> list[str]:
    length = len(digits)
    return [digit.ljust(length - i, "0") for i, digit in enumerate(digits) if digit != "0"]


_UNITS = [_places(str(n)) for n in range(1000)]  # tables, for millions of rows
_THOUSANDS = [_places(f"{n}000") for n in range(1000)]
