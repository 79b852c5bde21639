"""The forms of a longhand demonstration: how a remainder is worked out, written down and checked.

For 25736 and 144 (lines in the middle left out):

    answer      104

    climb       25736 % 144                              the question, restated
                144: 144 288 432 … 1440                  the multiples of the divisor
                up to 2: 144 > 2                         through them to the first too large
                2 , 5736 -> 25 , 736                     what is left, and the digits to come
                up to 25: 144 > 25
                25 , 736 -> 257 , 36
                up to 257: 144 288 > 257
                257 - 144 = 113                          the largest multiple that fits
                113 , 36 -> 1133 , 6
                …
                104                                      no digit is left: the remainder

    columns     no sum of whole numbers: the divisor is taken away digit by digit, again and again,
                until a borrow is left over, which tells that it did not go in
                144 A1 44 B4 4 C4 Z0         the divisor; each of its digits gets a name
                z0 a0 b0 c0 0 , 25736        what is left, named alike and written as a number, and
                z0 a0 b0 c2 2 , 5736         the digits to come; bring them down until there are as
                z0 a0 b2 c5 25 , 736         many as the divisor has
                z0 a2 b5 c7 257 , 36
                - c7430 b5410 a2110 z0000    name by name from the right: what is left, the divisor,
                - c3491 b1461 a1191 z0091    their difference, the borrow
                z1 a1 b3 c3 1133 , 6         it did not go in: bring the next digit down
                …
                = a1 b0 c4 104               no digit is left

    grid        Recchia's own trace, see grid.py; grid-quiet leaves out its narration

`climb` is made of steps that the embedded base learns on lists of no divisor's multiples
(goat/base/rows/sheets.py), in the same or nearly the same notation, and of no word that the base
never writes: what stands in front of the numbers would have to be learnt from the demonstrations
alone. `columns` takes nothing from the base but copying: 200 demonstrations hold 9,400 differences
of two digits, each of the 200 that there can be among them: Recchia's idea. Every form ends in the
remainder, the last number of the text.

A working is a function of its question, each step following from those before it. So the first
step that differs from the true working is the first false one: this is what `check` reports.
"""

import re
from collections.abc import Callable, Iterator
from functools import partial
from itertools import zip_longest
from string import ascii_lowercase
from typing import NamedTuple

from goat.errors import UserError
from goat.papers import Check
from goat.papers.longhand import grid

KINDS = {  # what the first error of a working can be
    "copying": "a number was not carried over unchanged",
    "multiple": "a multiple of the divisor is wrong",
    "comparison": "the divisor goes in and was not taken, or was taken and does not go in",
    "choice": "the list does not end at the first multiple that is too large",
    "subtraction": "a difference is wrong",
    "digit": "the wrong digit was brought down, or the digits to come are wrong",
    "remainder": "the remainder is not what was left",
    "look": "something was read off the grid that does not stand there",
    "write": "something wrong was written into the grid, or in the wrong place",
    "narration": "what is said about the grid is wrong",
    "format": "the text does not follow the form",
    "unfinished": "the text ends before the remainder",
}

PLACES = ascii_lowercase[:-1]  # the names of a divisor's digits in `columns`; z is above them

# ------------------------------------------------------------------------------------- writing

class Step(NamedTuple):
    """One step of a working, with what an error in it is called (keys of KINDS). `numbers` are the
    kinds of its numbers from the left, the last one standing for all that follow; `other` is the
    kind of a difference that is not between two numbers."""

    text: str  # with the separator before it
    numbers: tuple[str, ...]
    other: str = "format"
    digits: bool = False  # each digit is a number by itself


Steps = Callable[[int, int], Iterator[Step]]  # of a form: (dividend, divisor) -> the working


def _answer(x: int, y: int) -> Iterator[Step]:
    yield Step(str(x % y), ("remainder",))


def _grid(x: int, y: int, narrate: bool) -> Iterator[Step]:
    separator = ""
    for action in grid.actions(x, y, narrate):
        verb = action.partition(" ")[0]
        kind = {"{": "narration", "clear": "format"}.get(verb, verb)
        yield Step(separator + action, (kind,), kind)
        separator = " "
    yield Step(f"\nremainder = {x % y}", ("remainder",))


def _climb(x: int, y: int) -> Iterator[Step]:
    """Long division in lines, each quotient digit found by going through the multiples."""
    yield Step(f"{x} % {y}", ("copying",))
    yield Step(f"\n{y}: {_multiples(y, 10)}", ("copying", "multiple"))
    left, rest = int(str(x)[0]), str(x)[1:]
    while True:
        yield Step(f"\nup to {left}: {_multiples(y, left // y + 1)} > {left}", ("copying",),
                   "choice")
        if left >= y:
            yield Step(f"\n{left} - {left - left % y} = {left % y}",
                       ("copying", "copying", "subtraction"), "comparison")
        left %= y
        if not rest:
            yield Step(f"\n{left}", ("remainder",))
            return
        longer, after = 10 * left + int(rest[0]), rest[1:]
        yield Step(f"\n{left} , {rest} -> {longer}{' , ' * bool(after)}{after}",
                   ("copying", "copying", "digit"), "comparison")
        left, rest = longer, after


def _multiples(y: int, times: int) -> str:
    return " ".join(str(y * k) for k in range(1, times + 1))


def _columns(x: int, y: int) -> Iterator[Step]:
    """Each named digit is a step. Raises UserError where there are not enough names."""
    divisor = str(y)
    if len(divisor) > len(PLACES):
        raise UserError(f"the form columns has names for {len(PLACES)} digits of a divisor, and "
                        f"{divisor} has {len(divisor)}")
    names = ["z", *PLACES[: len(divisor)]]
    yield Step(divisor, ("copying",))
    for i, (name, digit) in enumerate(zip(PLACES, divisor), 1):
        yield Step(f" {name.upper()}{digit} {divisor[i:]}".rstrip(), ("copying",))
    yield Step(" Z0", ("format",))
    left, rest = "0" * len(names), str(x)
    while True:
        *others, last = _named(names, left, "\n")
        yield from others
        yield Step(f"{last.text} {int(left)} , {rest}".rstrip(),
                   ("digit", *["copying"] * len(str(int(left))), "digit"), "digit", digits=True)
        fits = not left.startswith("00")  # it has at least as many digits as the divisor
        while fits:
            line, after, fits = _trial(names, left, divisor)
            yield from line
            left = after if fits else left
        if not rest:
            yield Step("\n=", (), "comparison")
            *others, last = _named(names[1:], left[1:], " ")
            yield from others
            yield Step(f"{last.text} {x % y}", ("copying", "remainder"))
            return
        left, rest = left[1:] + rest[0], rest[1:]


def _named(names: list[str], digits: str, before: str) -> list[Step]:
    """Digits with their names; where they begin a line, another line may have been due."""
    other = "comparison" if before == "\n" else "format"
    return [Step(f"{' ' if i else before}{name}{digit}", ("copying",), "format" if i else other)
            for i, (name, digit) in enumerate(zip(names, digits, strict=True))]


def _trial(names: list[str], left: str, divisor: str) -> tuple[list[Step], str, bool]:
    """The line that takes the divisor away once, what is left then, and whether it went in: no
    borrow is left over."""
    line, after, borrow = [Step("\n-", (), "comparison")], "", 0
    for name, a, b in zip(names[::-1], left[::-1], f"{divisor[::-1]}0", strict=True):
        difference = int(a) - int(b) - borrow
        borrow = int(difference < 0)
        after = f"{difference % 10}{after}"
        line.append(Step(f" {name}{a}{b}{difference % 10}{borrow}",
                         ("copying", "copying", "subtraction"), digits=True))
    return line, after, not borrow


# ------------------------------------------------------------------------------------ checking

_NUMBER = re.compile(r"\d+")
_STATED = re.compile(r"-?\d+(?:[.,]\d+)*")  # 1,104 is one number, and not 104
_TOKEN = re.compile(r"\d+|\D")
_LINE = re.compile(r"(?=\n)")
_BREAK = re.compile(r"(?=\n| (?:look|write|clear|\{|[a-zA-Z]\d))")  # where a step begins


def steps_of(text: str) -> list[str]:
    """The steps of a working, each with the separator before it."""
    return _BREAK.split(text)


def _first_error(steps: list[Step], text: str, unit: str) -> tuple[str, str] | None:
    """(kind, reason) of the first step of `text` that is not the true one."""
    found = steps_of(text) if unit == "step" else _LINE.split(text)
    for number, (step, have) in enumerate(zip_longest(steps, found), 1):
        if step is None:
            return "format", f"{unit} {number}: the text goes on after the remainder"
        if have == step.text:
            continue
        have, where, true = have or "", f"{unit} {number}", repr(step.text.strip())
        stated = (number == len(steps)  # a remainder, if too short a one
                  and len(_NUMBER.findall(have)) == len(_NUMBER.findall(step.text)))
        if number >= len(found) and step.text.startswith(have) and not stated:
            return "unfinished", f"{where}: the text ends before {true}"
        return _kind(step, have), f"{where}: should be {true}, not {have.strip()[:200]!r}"
    return None


def _kind(step: Step, have: str) -> str:
    """What the first difference between a step and its false version is called."""
    split = list if step.digits else _TOKEN.findall
    want, got = split(step.text), split(have)
    place = next(i for i, (a, b) in enumerate(zip_longest(want, got)) if a != b)
    if not (want[place:] and got[place:] and want[place].isdigit() and got[place].isdigit()):
        return step.other
    numbers = sum(token.isdigit() for token in want[:place])
    return step.numbers[min(numbers, len(step.numbers) - 1)]


# ------------------------------------------------------------------------------------ the forms

class Form(NamedTuple):
    """How x % y is worked out."""

    steps: Steps
    unit: str = "line"  # what its steps are counted in

    def write(self, x: int, y: int) -> str:
        return "".join(step.text for step in self.steps(x, y))

    def check(self, x: int, y: int, text: str) -> Check:
        """Compare a working with the true one. Its answer is its last number, "" without any. Where
        an error is, is told as "line 6: …", or "step 41: …" in the form columns and in the grid
        forms; its kind is a key of KINDS."""
        text = text.strip()
        kind, reason = _first_error(list(self.steps(x, y)), text, self.unit) or (None, None)
        return Check(reason is None, ["", *_STATED.findall(text)][-1], reason, kind)


FORMS = {
    "answer": Form(_answer),
    "climb": Form(_climb),
    "columns": Form(_columns, "step"),
    "grid": Form(partial(_grid, narrate=True), "step"),
    "grid-quiet": Form(partial(_grid, narrate=False), "step"),
}
