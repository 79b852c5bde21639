"""Which questions the arithmetic data sets contain: tables of cells, and how operands are drawn.

A *cell* is a task, two ranges of numbers and a number of rows: "10,000 products of a 3-digit and
a 5-digit number". A mixture is a list of cells:

    notebook   the cells and counts of the published data set, 1,746,300 rows
    paper      what the paper (arXiv 2305.14201) describes, about 1 million rows: 16 digits and
               zero operands included, questions of the evaluation suites left out
    demo       Goat's formats at sizes that the small embedded base can follow
    demo-large the same up to 12 digits, with more rows of large sizes, for a long training
    demo-16    the same up to the paper's 16 digits, for a longer one on a GPU
    demo-products  2D x 2D and twice as many 3D x 3D, for a large base and little time

An operation that has sizes (see operation.py) also has a mixture of its own name.

Rows are drawn a block at a time with numpy. No number has over 18 digits, so 64 bits hold them.
"""

import math
from collections.abc import Callable
from functools import partial
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from goat.papers.arithmetic.operation import Operation
from goat.papers.arithmetic.operations import OPERATIONS, add_own, own

OPERATORS = {task: op.symbol for op in OPERATIONS.values() for task in op.tasks}
ADD, SUB, MUL_1, MUL, DIV_1, DIV, *_ = OPERATORS  # the kinds of rows, and own ones

OWN_ROWS = 4000  # of each size in the mixture of an operation's own name

Range = tuple[int, int]  # both ends included


class Cell(NamedTuple):
    task: str
    first: Range
    second: Range
    law: Callable  # how two numbers drawn uniformly from the ranges become a question
    rows: int


def digits(n: int) -> Range:
    """The numbers of n digits; 0 counts as one digit."""
    return (10 ** (n - 1) if n > 1 else 0, 10**n - 1)


# ---------------------------------------------------------------------------------------- laws
# Each takes the arrays `first` and `second` and a generator, and returns the operands.

def swap(first: np.ndarray, second: np.ndarray, rng: np.random.Generator) -> tuple:
    """The operands in either order."""
    coin = rng.random(len(first)) < 0.5
    return np.where(coin, second, first), np.where(coin, first, second)


def scale(first: np.ndarray, second: np.ndarray, rng: np.random.Generator) -> tuple:
    """The operands in either order; before that a tenth of the first gain 1 to 6 zeros."""
    zeros = rng.integers(1, 6, size=len(first), endpoint=True)
    zeros[rng.random(len(first)) >= 0.1] = 0
    return swap(first * 10**zeros, second, rng)


def quotient(first: np.ndarray, second: np.ndarray, rng: np.random.Generator) -> tuple:
    """Of divisor and quotient, dividend and divisor; half of the dividends get a remainder. Where
    the divisor is 0, `second` is the dividend itself."""
    rest = rng.integers(1, np.maximum(first, 2))
    rest[(rng.random(len(first)) < 0.5) | (first < 2)] = 0
    return np.where(first == 0, second, first * second + rest), first


def dividend(first: np.ndarray, second: np.ndarray, rng: np.random.Generator) -> tuple:
    """Dividend and divisor; half of the dividends that are larger are made exact."""
    exact = (rng.random(len(first)) < 0.5) & (first > second)
    return first - np.where(exact, first % second, 0), second


def every(first: np.ndarray, second: np.ndarray, rng: np.random.Generator) -> tuple:
    """The operands as they are; not drawn but counted through, see `Table.draw`."""
    return first, second


def as_drawn(first: np.ndarray, second: np.ndarray, rng: np.random.Generator) -> tuple:
    """The operands as they are."""
    return first, second


LAWS = (swap, scale, quotient, dividend, every, as_drawn)


# ------------------------------------------------------------------------------------ notebook

def _closed(n: int) -> Range:
    """The notebook's addition range. Its upper end has a digit more: an oversight, kept here."""
    return 10 ** (n - 1), 10**n


def _above(n: int) -> Range:
    return 10 ** (n - 1) + 1, 10**n


def _inside(n: int) -> Range:
    return 10 ** (n - 1) + 1, 10**n - 1


def _rows_of_length(n: int) -> int:
    """n x 1 and n / 1 get more rows where the other number is longer."""
    return 4000 if n <= 4 else 8000 if n <= 7 else 12000 if n <= 11 else 16000


def _pairs(longest: int) -> list[tuple[int, int]]:
    """Digit counts of sums: five passes, each over the longer part of the sizes."""
    return [(i, j) for start in (1, 3, 6, 9, 12)
            for i in range(start, longest + 1) for j in range(i, longest + 1)]


def _product_pairs() -> list[tuple[int, int]]:
    """Digit counts of n x m with at most 12 together; the longer factors come several times."""
    passes = [(i, j) for start in (2, 4, 5) for i in range(start, 7) for j in range(i, 13 - i)]
    return passes + [(i, i) for i in range(3, 7)]


def notebook() -> list[Cell]:
    """The cells of the published generator, in the order of its file."""
    cells = [Cell(task, _closed(i), _closed(j), swap, 1000)
             for task in (ADD, SUB) for i, j in _pairs(15)]
    cells += [Cell(MUL_1, (2, 9), _above(j), scale, _rows_of_length(j)) for j in range(2, 17)]
    cells += [Cell(MUL_1, (n, n), _inside(j), scale, 500) for n in (0, 1, 10) for j in range(2, 16)]
    cells += [Cell(MUL_1, (1, 9), (1, 9), scale, 500)]
    cells += [Cell(MUL, _inside(i), _inside(j), swap, 10_000) for i, j in _product_pairs()]
    cells += [Cell(DIV_1, (2, 9), _above(j), quotient, _rows_of_length(j)) for j in range(1, 17)]
    cells += [Cell(DIV_1, (n, n), _above(j), quotient, 500) for n in (1, 10) for j in range(1, 17)]
    cells += [Cell(DIV_1, _above(j), (0, 0), quotient, 100) for j in range(1, 17)]
    cells += [Cell(DIV_1, (1, 10), (1, 10), quotient, 500)]
    cells += [Cell(DIV_1, (0, 0), _above(j), quotient, 100) for j in range(1, 18)]
    for i in range(2, 7):
        cells += [Cell(DIV, _above(j), _above(i), dividend, 10_000) for j in range(i + 1, i + 7)]
        cells += [Cell(DIV, _above(j), _above(i), dividend, 1000) for j in range(2, i + 7)]
    return cells


# --------------------------------------------------------------------------------------- paper

def _every(task: str, i: int, j: int, times: int = 1) -> Cell:
    """All questions with operands of i and j digits, each the same number of times."""
    (a, b), (c, d) = digits(i), digits(j)
    return Cell(task, (a, b), (c, d), every, times * (b - a + 1) * (d - c + 1))


def paper() -> list[Cell]:
    """The paper's description; cells with fewer than 10,000 questions hold every one of them. Those
    are the cells with up to 4 digits in both operands together."""
    cells = []
    small = [(1, 2), (2, 1), (1, 3), (3, 1)]
    for task in (ADD, SUB):
        cells += [_every(task, 1, 1, 3), *(_every(task, i, j) for i, j in small)]
        cells += [_every(task, 2, 2)]
        cells += [Cell(task, digits(i), digits(j), swap, 450) for i, j in _pairs(16) if i + j > 4]
        cells += [Cell(task, (0, 0), digits(j), swap, 50) for j in range(4, 17)]
    long = {j: _rows_of_length(j) * 6 // 10 for j in range(3, 17)}
    cells += [_every(MUL_1, 1, 1, 3), *(_every(MUL_1, i, j) for i, j in small)]
    cells += [Cell(MUL_1, (2, 9), digits(j), scale, rows) for j, rows in long.items()]
    cells += [Cell(MUL_1, (n, n), digits(j), scale, 300) for n in (0, 1, 10) for j in long]
    cells += [_every(MUL, 2, 2)]
    cells += [Cell(MUL, digits(i), digits(j), swap, 5500) for i, j in _product_pairs() if i + j > 4]
    cells += [_every(DIV_1, 1, 1, 3), _every(DIV_1, 2, 1), _every(DIV_1, 3, 1)]
    cells += [Cell(DIV_1, (2, 9), digits(j), quotient, rows) for j, rows in long.items()]
    cells += [Cell(DIV_1, (n, n), digits(j), quotient, 300) for n in (1, 10) for j in long]
    cells += [Cell(DIV_1, digits(j), (0, 0), quotient, 100) for j in range(2, 17)]
    cells += [Cell(DIV_1, (0, 0), digits(j), quotient, 100) for j in range(2, 17)]
    cells += [_every(DIV, 1, 2), _every(DIV, 1, 3), _every(DIV, 2, 2)]
    for i in range(2, 7):
        cells += [Cell(DIV, digits(j), digits(i), dividend, 5500) for j in range(i + 1, i + 7)]
        cells += [Cell(DIV, digits(j), digits(i), dividend, 600) for j in range(2, i + 7)
                  if i + j > 4]
    return cells


# ---------------------------------------------------------------------------------------- demo

class Sizes(NamedTuple):
    """How many rows, and how they spread over tasks and digit counts."""

    rows: int
    longest: int  # digits of sums, of n in n x 1, and of the quotient in n / 1
    shares: dict[str, float]  # of the tasks, in percent
    sums: dict[tuple, int]  # weights of the digit counts of sums; those not named have 1
    singles: dict[int, int]  # the same for n in n x 1 and the quotient in n / 1
    products: dict[tuple, int]  # weights of the digit counts of the operands, in either order
    quotients: dict[tuple, int]  # the same for dividend and divisor, in this order


DEMO = Sizes(
    192_000, 8, {ADD: 12, SUB: 12, MUL_1: 5, DIV_1: 5, MUL: 26, DIV: 40},
    {}, {},
    {(2, 2): 30, (2, 3): 20, (3, 3): 26, (2, 4): 5, (3, 4): 5, (4, 4): 6,
     (3, 5): 2, (4, 5): 2, (5, 5): 4},
    {(2, 2): 10, (3, 2): 54, (4, 2): 10, (5, 2): 5,
     (2, 3): 2, (3, 3): 6, (4, 3): 8, (5, 3): 5, (4, 4): 3, (5, 4): 4, (5, 5): 3})
DEMO_LARGE = Sizes(
    900_000, 12, {ADD: 16, SUB: 20, MUL_1: 5, DIV_1: 4, MUL: 24, DIV: 31},
    {(2, 2): 6, (3, 3): 10, (4, 4): 14, (5, 5): 18, (6, 6): 8, (7, 7): 8, (8, 8): 24, (9, 9): 4,
     (10, 10): 8, (11, 11): 4, (12, 12): 8},
    {},
    {(2, 2): 8, (2, 3): 5, (3, 3): 16, (2, 4): 4, (3, 4): 6, (4, 4): 34, (2, 5): 3, (3, 5): 5,
     (4, 5): 8, (5, 5): 60, (4, 6): 5, (4, 7): 6, (4, 8): 30, (5, 6): 6, (6, 6): 24},
    {(2, 2): 8, (3, 2): 24, (4, 2): 22, (5, 2): 30, (6, 2): 10, (2, 3): 1, (3, 3): 4,
     (4, 3): 16, (5, 3): 26, (6, 3): 50, (7, 3): 6, (4, 4): 8, (5, 4): 18, (6, 4): 8, (7, 4): 4,
     (8, 4): 4, (5, 5): 8, (6, 5): 3, (12, 6): 24})
DEMO_16 = Sizes(
    1_500_000, 16, {ADD: 20, SUB: 23, MUL_1: 8, DIV_1: 8, MUL: 16, DIV: 25},
    {(1, 1): 10, (2, 2): 10, (3, 3): 8, (4, 4): 10, (5, 5): 14, (8, 8): 22, (9, 9): 8,
     (10, 10): 14, (11, 11): 14, (12, 12): 14, (13, 13): 14, (14, 14): 18, (15, 15): 22,
     (16, 16): 60, (16, 8): 110, (15, 8): 8, (14, 8): 8, (14, 7): 6, (13, 7): 6},
    {1: 2, 2: 3, 3: 3, 13: 2, 14: 3, 15: 5, 16: 8},
    {(2, 2): 8, (2, 3): 4, (3, 3): 12, (2, 4): 4, (3, 4): 5, (4, 4): 24, (2, 5): 3, (3, 5): 4,
     (4, 5): 8, (5, 5): 50, (4, 6): 4, (4, 7): 5, (4, 8): 40, (5, 6): 8, (6, 6): 60},
    {(2, 2): 20, (3, 2): 24, (4, 2): 16, (5, 2): 20, (6, 2): 8, (2, 3): 1, (3, 3): 6,
     (4, 3): 12, (5, 3): 20, (6, 3): 60, (7, 3): 8, (4, 4): 6, (5, 4): 14, (6, 4): 8, (7, 4): 4,
     (8, 4): 6, (5, 5): 6, (6, 5): 3, (10, 5): 6, (11, 6): 8, (12, 6): 90})


def spread(sizes: Sizes) -> list[Cell]:
    """Sizes that the small embedded base can follow, all mixed, special cases included."""
    lengths = range(1, sizes.longest + 1)
    sums = {(digits(i), digits(j), swap): sizes.sums.get((i, j), 1)
            for i in lengths for j in lengths}
    singles = {j: sizes.singles.get(j, 1) for j in lengths}
    tables = {
        ADD: sums,
        SUB: sums,
        MUL_1: {((0, 9), digits(j), scale): singles[j] for j in lengths},
        DIV_1: {((1, 9), digits(j), quotient): 19 * singles[j] for j in lengths}
               | {((0, 0), digits(j), quotient): singles[j] for j in lengths},
        MUL: {(digits(i), digits(j), swap): w for (i, j), w in sizes.products.items()},
        DIV: {(digits(i), digits(j), dividend): w for (i, j), w in sizes.quotients.items()},
    }
    return [Cell(task, *cell, int(sizes.rows * sizes.shares[task] * weight
                                  // (100 * sum(table.values()))))
            for task, table in tables.items() for cell, weight in table.items()]


def products() -> list[Cell]:
    """Long products alone, whose workings hold the steps: products by one digit, and sums."""
    return [Cell(MUL, digits(n), digits(n), swap, rows) for n, rows in ((2, 20_000), (3, 40_000))]


def own_cells(op: Operation) -> list[Cell]:
    """The mixture of an operation's own name: as many rows of each of its sizes."""
    return [Cell(op.tasks[0], digits(i), digits(j), as_drawn, OWN_ROWS) for i, j in op.sizes]


MIXTURES: dict[str, Callable[[], list[Cell]]] = {
    "paper": paper, "notebook": notebook, "demo": partial(spread, DEMO),
    "demo-large": partial(spread, DEMO_LARGE), "demo-16": partial(spread, DEMO_16),
    "demo-products": products}
add_own(MIXTURES, lambda op: partial(own_cells, op))


def excluded(mixture: str, a: int, b: int) -> bool:
    """Whether a mixture leaves the question out if an evaluation suite asks it.

    `paper` does so except in its small cells, which hold every question (they are marked in tables
    of results, all but 2D x 2D of the suite demo: see `eval.py --leave-out`); the `demo` ones
    except among the hundred questions of one digit; `notebook`, which is as published, never; that
    of an operation's own name always.
    """
    if mixture == "paper":
        return len(f"{a}{b}") > 4
    return any(mixture == op.name for op in own()) or mixture.startswith("demo") and max(a, b) > 9


# ------------------------------------------------------------------------------------- drawing

def permute(index: np.ndarray, size: int, seed: int) -> np.ndarray:
    """The places to which a random permutation of range(size) sends `index`; none is stored.

    A Feistel network: an index is a place (row, column) of a table with about sqrt(size) rows and
    columns. A round shifts the column by a hash of the row, then the row by a hash of the column;
    each can be undone, so no two places meet. The table can have up to a row too many: what
    lands behind `size` goes round again until it lands inside.
    """
    columns = np.uint64(math.isqrt(max(size - 1, 0)) + 1)
    rows = np.uint64(-(-size // int(columns)))
    keys = np.random.SeedSequence(seed).generate_state(6, np.uint64).reshape(3, 2)
    index = index.astype(np.uint64)
    outside = np.arange(len(index))
    while len(outside):
        row, column = np.divmod(index[outside], columns)
        for key, other_key in keys:
            column = (column + _hash(row, key)) % columns
            row = (row + _hash(column, other_key)) % rows
        index[outside] = row * columns + column
        outside = outside[index[outside] >= size]
    return index.astype(np.int64)


def _hash(x: np.ndarray, key: np.uint64) -> np.ndarray:
    """The finaliser of splitmix64: every bit of the result depends on every bit of x and key."""
    x = (x ^ key) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (x ^ (x >> np.uint64(31))) >> np.uint64(32)


class Table:
    """The cells of a mixture as arrays, scaled to `rows` rows in all (None: as they stand)."""

    def __init__(self, mixture: str, rows: int | None = None):
        cells = MIXTURES[mixture]()
        ends = list(accumulate(cell.rows for cell in cells))
        self.rows = ends[-1] if rows is None else rows
        self.tasks = np.array([cell.task for cell in cells])
        self.first = np.array([cell.first for cell in cells]).T  # (2, cells): low, high
        self.second = np.array([cell.second for cell in cells]).T
        self.law = np.array([LAWS.index(cell.law) for cell in cells])
        self.ends = np.array([0] + [end * self.rows // ends[-1] for end in ends])

    def locate(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Row numbers of the mixture in its published order -> (cell of each, place in it)."""
        cell = np.searchsorted(self.ends, index, side="right") - 1
        return cell, index - self.ends[cell]

    def draw(self, cell: np.ndarray, place: np.ndarray,
             rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """The operands (a, b) of one question for each entry of `cell`."""
        (low, high), (low_2, high_2) = self.first[:, cell], self.second[:, cell]
        laws = self.law[cell]
        first = rng.integers(low, high, endpoint=True)
        second = rng.integers(low_2, high_2, endpoint=True)
        counted = laws == LAWS.index(every)
        width = (high_2 - low_2 + 1)[counted]
        # A stride prime to the number of questions spreads a scaled-down cell over its range.
        number = place[counted] * 7919 % ((high - low + 1)[counted] * width)
        first[counted] = low[counted] + number // width
        second[counted] = low_2[counted] + number % width
        for code, law in enumerate(LAWS):
            here = np.flatnonzero(laws == code)
            first[here], second[here] = law(first[here], second[here], rng)
        return first, second
