"""Goat's evaluation sets: each suite is a function that yields questions with their answers.

A suite is a list of cells ("mul 3Dx3D"); each cell has its own random numbers, keyed by suite,
cell and seed, so a cell's questions never depend on the others. Within a cell no question comes
twice; one with no more possible questions than asked for is listed whole, in random order.

    bigbench       BIG-bench arithmetic: 1 to 5 digits, four operations, its wording, exact
                   divisions; one-digit cells have zero operands, but for division (20 cells)
    large          the paper's own large-number cells, divisions with remainders (12 cells)
    grid           digits of a against digits of b, for heat maps
    extrapolation  sizes beyond those of the training rows
    demo           a small set for a look before and after a few minutes of training

An operation that has sizes (see operation.py) also has a suite of its own name.

These questions must not be trained on: `reserved()` gives them to whoever makes rows. Cells with
fewer than 10,000 possible questions are excepted (training has to see most of them);
`Question.small` marks those in the table of cells.
"""

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import product

from goat.papers import Operands, Question
from goat.papers.arithmetic import wordings
from goat.papers.arithmetic.operation import Operation
from goat.papers.arithmetic.operations import MINUS, OVER, PLUS, TIMES, add_own, operation
from goat.papers.arithmetic.workings import single_nonzero_digit

SMALL_CELL = 10_000  # fewer possible questions than this: trained on, and marked

Pair = tuple[int, int]


@dataclass(frozen=True)
class Cell:
    """A kind of question: its name, its operation and how its operands are drawn. `possible` counts
    its questions where there are fewer than SMALL_CELL. Where a suite may ask them all, `all` lists
    them. `pooled` cells hold many sizes, small ones among them."""

    name: str
    op: str
    draw: Callable[[random.Random], Pair]
    possible: int | None = None
    all: tuple[Pair, ...] = ()
    pooled: bool = False

    def pairs(self, rng: random.Random, size: int, limit: int | None = None) -> list[Pair]:
        """`size` different pairs of operands, fewer where there are no more; the first `limit`."""
        if self.all and len(self.all) <= size:
            return rng.sample(self.all, len(self.all))[:limit]
        chosen: dict[Pair, None] = {}  # a set that keeps its order
        count = min(n for n in (size, self.possible, limit) if n is not None)
        while len(chosen) < count:
            chosen[self.draw(rng)] = None
        return list(chosen)

    def small(self, a: int, b: int) -> bool:
        """Does `a op b` belong to fewer than SMALL_CELL questions of its kind and size?"""
        return self.possible is not None or self.pooled and len(f"{a}{b}") <= 4


def random_number(rng: random.Random, digits: int, zero: bool = False) -> int:
    """Uniform among the numbers of `digits` digits; with `zero` also those of fewer."""
    return rng.randrange(0 if zero else 10 ** (digits - 1), 10**digits)


def both(rng: random.Random, a: int, b: int, zero: bool = False) -> Pair:
    """A number of `a` digits and one of `b` digits."""
    return random_number(rng, a, zero), random_number(rng, b, zero)


def composite(rng: random.Random, a: int, b: int) -> Pair:
    """The same, drawn again while an operand has a single non-zero digit."""
    pair = both(rng, a, b)
    while any(map(single_nonzero_digit, pair)):
        pair = both(rng, a, b)
    return pair


def exact(rng: random.Random, digits: int) -> Pair:
    """A dividend of `digits` digits and a divisor of 1 to `digits` digits that divides it."""
    divisor = random_number(rng, rng.randint(1, digits))
    lowest = -(-(10 ** (digits - 1)) // divisor)
    return divisor * rng.randint(lowest, (10**digits - 1) // divisor), divisor


def pooled(rng: random.Random, top: int) -> Pair:
    """Operands of 1 to `top` digits."""
    return random_number(rng, rng.randint(1, top)), random_number(rng, rng.randint(1, top))


def by_digit(rng: random.Random, top: int, turn: bool) -> Pair:
    """A number of 1 to `top` digits and one of one digit, half of the time in turn if `turn`."""
    a, b = random_number(rng, rng.randint(1, top)), random_number(rng, 1)
    return (b, a) if turn and rng.random() < 0.5 else (a, b)


def cell(op: str, a: int, b: int) -> Cell:
    """The cell of all questions with `a` and `b` digits, without zero."""
    possible = 9 * 9 * 10 ** (a + b - 2)
    pairs: tuple[Pair, ...] = ()
    if a + b <= 3:
        pairs = tuple(product(range(10 ** (a - 1), 10**a), range(10 ** (b - 1), 10**b)))
    return Cell(operation(op).cell(a, b), op, partial(both, a=a, b=b),
                possible if possible < SMALL_CELL else None, pairs)


def cells(sizes: dict[str, tuple[Pair, ...]]) -> list[Cell]:
    """The cells of these operations and sizes, in this order."""
    return [cell(op, a, b) for op, pairs in sizes.items() for a, b in pairs]


def bigbench_cells() -> Iterator[Cell]:
    digits = tuple(product(range(10), range(10)))
    for op in (PLUS, MINUS, TIMES):
        draw = partial(both, a=1, b=1, zero=True)
        yield Cell(f"{op.name} 1D", op.symbol, draw, len(digits), digits)
        yield from (replace(cell(op.symbol, n, n), name=f"{op.name} {n}D") for n in range(2, 6))
    for n in range(1, 6):  # 23, 450 and 6,580 questions; with 4 digits there are over 70,000
        dividends = range(10 ** (n - 1), 10**n) if n <= 3 else ()
        pairs = tuple((a, b) for a in dividends for b in range(1, a + 1) if a % b == 0)
        draw = partial(exact, digits=n)
        yield Cell(f"{OVER.name} {n}D", OVER.symbol, draw, len(pairs) or None, pairs)


LARGE: dict[str, tuple[Pair, ...]] = {
    "+": ((8, 8), (16, 8), (16, 16)), "-": ((8, 8), (16, 8), (16, 16)),
    "*": ((1, 16), (4, 8), (6, 6)), "/": ((16, 1), (6, 3), (12, 6))}
EXTRAPOLATION: dict[str, tuple[Pair, ...]] = {
    "+": ((17, 17), (18, 18), (20, 20), (24, 24)), "-": ((17, 17), (18, 18), (20, 20), (24, 24)),
    "*": ((1, 17), (1, 18), (1, 20), (5, 8), (6, 7), (7, 7), (8, 8)),
    "/": ((18, 1), (20, 1), (11, 4), (14, 6), (13, 7), (16, 8))}


def grid_cells() -> Iterator[Cell]:
    """Products of up to 12 digits or with a one-digit factor; quotients of up to 7 digits or with
    a one-digit divisor: what the paper trains on."""
    digits = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16)
    for op, a, b in product((PLUS, MINUS), digits, digits):
        yield cell(op.symbol, a, b)
    for a, b in product(digits, digits):
        if a + b <= 12 or min(a, b) == 1:
            yield cell(TIMES.symbol, a, b)
    for a, b in product(digits, range(1, 7)):
        if b == 1 or 0 <= a - b <= 6:
            yield cell(OVER.symbol, a, b)


def demo_cells() -> Iterator[Cell]:
    for op in (PLUS, MINUS):
        yield Cell(f"{op.name} 1-8D", op.symbol, partial(pooled, top=8), pooled=True)
    yield Cell("mul nx1", TIMES.symbol, partial(by_digit, top=8, turn=True), pooled=True)
    yield Cell("div n/1", OVER.symbol, partial(by_digit, top=8, turn=False), pooled=True)
    for op, a, b in ((TIMES, 2, 2), (TIMES, 3, 3), (OVER, 3, 2)):
        # 2Dx2D is a small cell; the few asked here are kept out of the demo mixtures.
        yield Cell(op.cell(a, b), op.symbol, partial(composite, a=a, b=b))


def own_cells(op: Operation) -> list[Cell]:
    """The suite of an operation's own name: a cell for each of its sizes. Only those that are asked
    as a whole are small; of any other the questions are kept out of training."""
    own = [cell(op.symbol, a, b) for a, b in op.sizes]
    return [c if c.all else replace(c, possible=None) for c in own]


CELLS: dict[str, Callable[[], Iterable[Cell]]] = {
    "bigbench": bigbench_cells, "large": partial(cells, LARGE), "grid": grid_cells,
    "extrapolation": partial(cells, EXTRAPOLATION), "demo": demo_cells}
add_own(CELLS, lambda op: partial(own_cells, op))
# Questions of a cell. `grid` has 393 cells: for a look, `--limit 20` is enough.
SIZES = {name: 500 if name == "demo" else 1000 for name in CELLS}


def questions(name: str, size: int | dict[str, int] | None = None, seed: int = 0,
              wording: str | None = None, limit: int | None = None) -> Iterator[Question]:
    """Up to `size` questions of each cell of suite `name` (default: SIZES), the first `limit`.

    A dict gives sizes by the cells' names; cells that it does not name are left out. `wording` is
    one of goat.papers.WORDINGS; by default bigbench asks as BIG-bench does, demo in held-out
    wordings, the others in seen and held-out ones by turns.
    """
    if wording is None:
        wording = {"bigbench": "BIG-bench", "demo": "held out"}.get(name)
    for c in CELLS[name]():
        words = random.Random(f"{name}/{c.name}/{seed}/wording")
        count = size.get(c.name, 0) if isinstance(size, dict) else size or SIZES[name]
        for i, (a, b) in enumerate(operands(name, c, count, seed, limit)):
            kind = wording or ("seen", "held out")[i % 2]
            yield Question(name, c.name, *ask(a, c.op, b, kind, words), kind, (a, c.op, b),
                           c.small(a, b))


def operands(name: str, c: Cell, size: int, seed: int = 0, limit: int | None = None) -> list[Pair]:
    """What suite `name` asks of its cell `c`, see `Cell.pairs`."""
    return c.pairs(random.Random(f"{name}/{c.name}/{seed}"), size, limit)


def ask(a: int, op: str, b: int, wording: str, rng: random.Random) -> tuple[str, str, str]:
    """(instruction, input, answer) of the question `a op b`."""
    expression, answer = f"{a} {op} {b}", operation(op).answer(a, b)
    if wording == "bare":
        return "", f"{expression} = ", answer
    if wording == "BIG-bench":
        return operation(op).wordings[0].format(a=a, b=b), expression, answer
    return wordings.phrase(a, op, b, rng, held_out=wording == "held out"), expression, answer


@cache
def reserved() -> frozenset[Operands]:
    """(a, op, b) of all questions that training rows must avoid, the commutative both ways. These
    are the questions of all suites at default seed and size, without the small ones."""
    keys = {(a, c.op, b) for name in CELLS for c in CELLS[name]()
            for a, b in operands(name, c, SIZES[name]) if not c.small(a, b)}
    return frozenset(keys | {(b, op, a) for a, op, b in keys if operation(op).commutative})
