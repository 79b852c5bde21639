"""What an operation is: everything that this room knows of it stands in its record.

The records are in operations.py, where all that writes, checks, asks and reads questions looks. So
a new operation is a record and a line there: README.md, "Add your own operation".
"""

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass

from goat.errors import UserError


class Wrong(Exception):
    """The first false step of a working: args are (kind, reason). The kind is a key of
    `verify.KINDS`; the reason begins with the place, "line 2: " or "equation 2: ", where it is not
    the whole text."""


@dataclass(frozen=True)
class Operation:
    """An operation on two whole numbers, written `a symbol b`. Raises UserError for wordings and
    sizes that cannot be used."""

    symbol: str  # in `input` and in workings: "*", "gcd"
    name: str  # in cells of results, and of its own mixture and suite: "mul"
    # (a, b, with steps, stages left out) -> (solution, answer); the answer follows the last "="
    solve: Callable[[int, int, bool, Collection[str]], tuple[str, str]]
    verify: Callable[[int, int, str], None]  # (a, b, solution): raises Wrong at a false step
    wordings: tuple[str, ...]  # questions that name {a} and {b}; the first is as BIG-bench asks
    noun: str = ""  # before "a and b": "the product of"
    verbs: tuple[str, ...] = ()  # words for the sign: the first for `cross`, the last for symbol
    cross: str = ""  # another sign that rows write: "x"
    signs: str = ""  # further signs, which are only read: "×"
    commutative: bool = False  # b symbol a is the same question
    stages: tuple[str, ...] = ()  # what can be left out of its workings
    tasks: tuple[str, ...] = ()  # the kinds of its rows; by default its name
    # digits of a and b, in its own mixture and suite; one digit is 0 to 9 in the former, so that
    # `solve` must answer for 0, and 1 to 9 in the latter
    sizes: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        here = f"operation {self.symbol}"
        if not re.fullmatch(r"[^\s\d{}]+", self.symbol):
            raise UserError(f"{here}: a symbol has no white space, digits or braces")
        for wording in self.wordings:
            if sorted(re.findall(r"\{.?\}?|\}", wording)) != ["{a}", "{b}"]:
                raise UserError(f"{here}: {wording!r} must name {{a}} and {{b}} once each")
        if not self.wordings:
            raise UserError(f"{here}: it needs a wording")
        if not all(1 <= digits <= 18 for pair in self.sizes for digits in pair):
            raise UserError(f"{here}: sizes are of 1 to 18 digits")
        object.__setattr__(self, "tasks", self.tasks or (self.name,))

    def answer(self, a: int, b: int) -> str:
        """The answer alone, without its working."""
        return self.solve(a, b, False, ())[1]

    @property
    def is_word(self) -> bool:
        """Whether the symbol is a word, with spaces around it."""
        return self.symbol.isalpha()

    @property
    def written(self) -> tuple[str, ...]:
        """The signs that stand for it between two numbers, with or without spaces."""
        signs = self.cross + self.signs
        return tuple(signs) if self.is_word else (self.symbol, *signs)

    @property
    def spoken(self) -> tuple[str, ...]:
        """The words that stand for it between two numbers."""
        return (*self.verbs, self.symbol) if self.is_word else self.verbs

    @property
    def called(self) -> tuple[str, ...]:
        """What it is called before "a and b", without an article."""
        nouns = (self.noun.removeprefix("the "), f"{self.symbol} of" if self.is_word else "")
        return tuple(noun for noun in nouns if noun)

    def cell(self, digits_a: int, digits_b: int) -> str:
        """The name of the cell of all questions of these sizes: "mul 3Dx4D", "gcd 3D 4D"."""
        between = " " if self.is_word else self.cross or self.symbol
        return f"{self.name} {digits_a}D{between}{digits_b}D"
