"""Rows for the embedded base: how often each kind of skills, sheets, naming and text comes.

Rows have an empty `instruction`, and `input` is the whole prompt: the base's own notation. A row is
a function of the generator's state, the largest digit count and the mix.
"""

import re
from collections.abc import Collection
from random import Random

from goat.base.rows import PAPER
from goat.base.rows.naming import naming, registers
from goat.base.rows.sheets import climb, loop, multiples, sheet
from goat.base.rows.skills import (SYMBOLS, addition, alone, append_digit, carries, change, column,
                                   compare, copy, count_by, in_line, order, product_first,
                                   question, running, scratch, split, subtraction,
                                   sum_of_products, unequal)
from goat.base.rows.text import text
from goat.papers.arithmetic.operations import either
from goat.papers.arithmetic.solutions import extract_answer

# Shares of the rows (not of the tokens: the later kinds are longer).
GROWING = {alone: 44, in_line: 4, column: 6, running: 7, sum_of_products: 4, product_first: 3,
           split: 4, copy: 3, compare: 5, order: 4, count_by: 2, append_digit: 1, scratch: 4,
           question: 9}
EVEN = {**GROWING, subtraction: 60}
SHEETS = {alone: 20, subtraction: 12, question: 12, in_line: 3, column: 3, running: 5,
          sum_of_products: 5, product_first: 3, split: 3, copy: 3, compare: 4, order: 3,
          count_by: 4, append_digit: 1, scratch: 4, climb: 6, sheet: 14}
WORDS = {alone: 16, subtraction: 12, question: 6, in_line: 2, column: 2, running: 4,
         sum_of_products: 4, product_first: 2, split: 2, copy: 3, compare: 3, append_digit: 1,
         climb: 10, sheet: 14, loop: 16, count_by: 2, multiples: 8, text: 8}
NAMES = {alone: 30, addition: 14, subtraction: 24, question: 6, in_line: 1, column: 1, running: 6,
         sum_of_products: 5, product_first: 4, split: 2, copy: 3, compare: 3, append_digit: 1,
         climb: 3, sheet: 5, loop: 4, count_by: 1, multiples: 5, naming: 3, registers: 6, text: 5}
SIZES = {alone: 20, addition: 10, subtraction: 14, unequal: 40, question: 4, change: 3, in_line: 1,
         column: 1, running: 8, sum_of_products: 6, product_first: 3, split: 2, copy: 2,
         compare: 2, append_digit: 1, climb: 1, sheet: 2, loop: 1, count_by: 1, multiples: 3,
         naming: 2, registers: 5, text: 4}
CARRIES = {**SIZES, alone: 10, addition: 4, subtraction: 6, unequal: 56, carries: 30}
MIXES = dict(zip(PAPER.mix_names, (GROWING, EVEN, SHEETS, WORDS, NAMES, SIZES, CARRIES),
                 strict=True))
LARGER = {"names", "sizes", "carries"}  # where the size of most kinds leans to the largest,
MIDDLE = {"words"} | LARGER  # and that of the long ones to the middle; see `sample`
KINDS = {kind.__name__: kind for mix in MIXES.values() for kind in mix}
LONG = {climb, sheet, loop, count_by, multiples}  # of many numbers
# Two numbers that a step joins; a number that is multiplied first, as in 1 + 2 * 3, ends none.
STEP = re.compile(rf"(\d+) ({either(SYMBOLS)}) (\d+)(?!\d| [*/])")


def sample(rng: Random, max_digits: int, reserved: Collection = (),
           mix: str = "growing") -> dict[str, str]:
    """One row: `input` (the prompt as it stands), `output`, `answer`, `task` (the kind).

    `growing` is for a curriculum, in which the largest sizes matter most. The other mixes are for
    the time after it: every row draws a largest size of its own (from `words` on, for the long
    kinds, the middle one of three; from `names` on, for the others, the larger of two).

    `reserved` holds questions (a, op, b) kept for evaluation: a row in which one of them is
    asked or worked, alone or inside a chain, is drawn again.
    """
    kinds, shares = list(MIXES[mix]), list(MIXES[mix].values())
    while True:
        top = max_digits if mix == "growing" else rng.randint(1, max_digits)
        kind = rng.choices(kinds, shares)[0]
        if mix in MIDDLE and kind in LONG:
            top = sorted((top, rng.randint(1, max_digits), rng.randint(1, max_digits)))[1]
        elif mix in LARGER:
            top = max(top, rng.randint(1, max_digits))
        prompt, output = kind(rng, top)
        steps = STEP.findall(f"{prompt}\n{output}") if reserved else ()
        if not any((int(a), op, int(b)) in reserved for a, op, b in steps):
            return {"instruction": "", "input": prompt, "output": output,
                    "answer": extract_answer(output), "task": kind.__name__}
