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
    chain = [f"{a} * {b}"]
    if "split" not in omit:
        chain.append(f"{big} * ({' + '.join(parts)})")
    if "expand" not in omit:
        chain.append(" + ".join(f"{big} * {part}" for part in parts))
    terms = [big * int(part) for part in parts]
    while len(terms) > 1:
        chain.append(" + ".join(map(str, terms)))
        terms = [a * b] if "accumulate" in omit else [terms[0] + terms[1], *terms[2:]]
    return " = ".join([*chain, answer]), answer


def divide(a: int, b: int, steps: bool, omit: Collection[str]) -> Worked:
    """Stage: "product" (the middle, `left - product`)."""
    if b == 0:
        return f"{a} / 0 is undefined", "undefined"
    quotient, rest = divmod(a, b)
    answer = f"{quotient} R {rest}" if rest else str(quotient)
    if not steps or not a > b > 10:  # up to 10 the quotient is learnt directly
        return f"{a} / {b} = {answer}", answer
    text, left = "", a
    for part in map(int, place_values(quotient)):
        product = b * part
        middle = "" if "product" in omit else f"{left} - {product} = "
        text += f"{left} - {b} * {part} = {middle}{left - product}\n"
        left -= product
    return f"{text}Therefore, {a} / {b} = {answer}", answer


def single_nonzero_digit(n: int) -> bool:
    """True for 7, 400 and 0, at most one of whose digits is not zero: a product by such a number
    is learnt directly."""
    return len(str(n).rstrip("0")) <= 1


def place_values(n: int) -> list[str]:
    """3062 -> ["3000", "60", "2"]; zero digits are skipped."""
    digits = str(n)
    return [digit.ljust(len(digits) - i, "0") for i, digit in enumerate(digits) if digit != "0"]
