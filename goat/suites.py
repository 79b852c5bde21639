"""Named evaluation sets: each suite is a function that yields questions with their answers.

A suite is a list of cells ("mul 3Dx3D"); each cell has its own random numbers, keyed by suite,
cell and seed, so a cell's questions never depend on the others. Within a cell of numbers no
question comes twice; one with no more possible questions than asked for is listed whole, in random
order. (`skills` and `word_problems` draw rows as training does: a few may come twice.)

    bigbench       BIG-bench arithmetic: 1 to 5 digits, four operations, its wording, exact
                   divisions; one-digit cells have zero operands (20 cells)
    large          the paper's own large-number cells, divisions with remainders (12 cells)
    grid           digits of a against digits of b, for heat maps
    extrapolation  sizes beyond those of the training rows
    demo           a small set for a look before and after a few minutes of training
    skills         the kinds of rows that the embedded base is pretrained on
    longhand       remainders: sizes as in the 200 demonstrations ("train"), and interpolate
    longhand-big   remainders of the hard sizes only, and of longer numbers than any trained on
    word_problems  stories: templates that training shows, and held-out ones

The questions of `RESERVED_SUITES` must not be trained on: `reserved()` gives them to the data
generator. Cells with fewer than 10,000 possible questions are excepted (training has to see most of
them); `Question.small` marks those in the table of cells.
"""

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import product

from goat.errors import UserError
from goat.questions import Question, cell_name
from goat.tasks import longhand, phrasing, pretraining
from goat.tasks.arithmetic import extract_answer, one_digit, work
from goat.tasks.word_problems import TASK
from goat.tasks.word_templates import template_rows

SMALL_CELL = 10_000  # fewer possible questions than this: trained on, and marked
RESERVED_SUITES = ("bigbench", "large", "grid", "extrapolation", "demo")
WORDINGS = ("seen", "held out", "bare", "BIG-bench")  # BIG-bench's own is among those seen

Pair = tuple[int, int]


@dataclass(frozen=True)
class Cell:
    """A kind of question: its name, its operation and how its operands are drawn.

    `possible` counts its questions where there are fewer than SMALL_CELL. Where a suite may ask
    them all, `all` lists them. `pooled` cells hold many sizes, small ones among them.
    """

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
        count = least(size, self.possible, limit)
        while len(chosen) < count:
            chosen[self.draw(rng)] = None
        return list(chosen)

    def small(self, a: int, b: int) -> bool:
        """Does `a op b` belong to fewer than SMALL_CELL questions of its kind and size?"""
        return self.possible is not None or self.pooled and len(f"{a}{b}") <= 4


def least(size: int, *bounds: int | None) -> int:
    """The smallest of them; None is no bound."""
    return min([size, *(bound for bound in bounds if bound is not None)])


# --------------------------------------------------------------------------- drawing operands


def number(rng: random.Random, digits: int, zero: bool = False) -> int:
    """Uniform among the numbers of `digits` digits; with `zero` also those of fewer."""
    return rng.randrange(0 if zero else 10 ** (digits - 1), 10**digits)


def both(rng: random.Random, a: int, b: int, zero: bool = False) -> Pair:
    """A number of `a` digits and one of `b` digits."""
    return number(rng, a, zero), number(rng, b, zero)


def composite(rng: random.Random, a: int, b: int) -> Pair:
    """The same, drawn again while an operand has a single non-zero digit."""
    pair = both(rng, a, b)
    while one_digit(pair[0]) or one_digit(pair[1]):
        pair = both(rng, a, b)
    return pair


def exact(rng: random.Random, digits: int) -> Pair:
    """A dividend of `digits` digits and a divisor of 1 to `digits` digits that divides it."""
    divisor = number(rng, rng.randint(1, digits))
    lowest = -(-(10 ** (digits - 1)) // divisor)
    return divisor * rng.randint(lowest, (10**digits - 1) // divisor), divisor


def pooled(rng: random.Random, op: str, top: int) -> Pair:
    """Operands of 1 to `top` digits; those of * and / have one digit on one side."""
    a = number(rng, rng.randint(1, top))
    if op in "+-":
        return a, number(rng, rng.randint(1, top))
    b = number(rng, 1)
    return (b, a) if op == "*" and rng.random() < 0.5 else (a, b)


# ---------------------------------------------------------------------------------- the suites

def cell(op: str, a: int, b: int) -> Cell:
    """The cell of all questions with `a` and `b` digits, without zero."""
    possible = 9 * 9 * 10 ** (a + b - 2)
    listed = ()
    if a + b <= 3:
        listed = tuple(product(range(10 ** (a - 1), 10**a), range(10 ** (b - 1), 10**b)))
    return Cell(cell_name(op, a, b), op, partial(both, a=a, b=b),
                possible if possible < SMALL_CELL else None, listed)


def bigbench_cells() -> Iterator[Cell]:
    for op, name in (("+", "add"), ("-", "sub"), ("*", "mul")):
        digits = tuple(product(range(10), range(10)))
        yield Cell(f"{name} 1D", op, partial(both, a=1, b=1, zero=True), len(digits), digits)
        yield from (replace(cell(op, n, n), name=f"{name} {n}D") for n in range(2, 6))
    for n in range(1, 6):
        listed = ()
        if n <= 3:  # 23, 450 and 6,580 questions; with 4 digits there are over 70,000
            listed = tuple((a, b) for a in range(10 ** (n - 1), 10**n)
                           for b in range(1, a + 1) if a % b == 0)
        yield Cell(f"div {n}D", "/", partial(exact, digits=n), len(listed) or None, listed)


def large_cells() -> Iterator[Cell]:
    for a, b in ((8, 8), (16, 8), (16, 16)):
        yield cell("+", a, b)
    for a, b in ((8, 8), (16, 8), (16, 16)):
        yield cell("-", a, b)
    for a, b in ((1, 16), (4, 8), (6, 6)):
        yield cell("*", a, b)
    for a, b in ((16, 1), (6, 3), (12, 6)):
        yield cell("/", a, b)


def grid_cells() -> Iterator[Cell]:
    """Products of up to 12 digits or with a one-digit factor; quotients of up to 7 digits or with
    a one-digit divisor: what the paper trains on."""
    digits = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16)
    for op in "+-":
        yield from (cell(op, a, b) for a in digits for b in digits)
    for a in digits:
        yield from (cell("*", a, b) for b in digits if a + b <= 12 or min(a, b) == 1)
    for a in digits:
        yield from (cell("/", a, b) for b in range(1, 7) if b == 1 or 0 <= a - b <= 6)


def extrapolation_cells() -> Iterator[Cell]:
    for op in "+-":
        yield from (cell(op, n, n) for n in (17, 18, 20, 24))
    for a, b in ((1, 17), (1, 18), (1, 20), (5, 8), (6, 7), (7, 7), (8, 8)):
        yield cell("*", a, b)
    for a, b in ((18, 1), (20, 1), (11, 4), (14, 6), (13, 7), (16, 8)):
        yield cell("/", a, b)


def demo_cells() -> Iterator[Cell]:
    for op, name in (("+", "add 1-8D"), ("-", "sub 1-8D"), ("*", "mul nx1"), ("/", "div n/1")):
        yield Cell(name, op, partial(pooled, op=op, top=8), pooled=True)
    for op, a, b in (("*", 2, 2), ("*", 3, 3), ("/", 3, 2)):
        # 2Dx2D is a small cell, but the few questions asked here are kept out of training.
        yield Cell(cell_name(op, a, b), op, partial(composite, a=a, b=b))


CELLS = {"bigbench": bigbench_cells, "large": large_cells, "grid": grid_cells,
         "extrapolation": extrapolation_cells, "demo": demo_cells}
# Questions of a cell. `grid` has 393 cells: for a look, `--limit 20` is enough.
SIZES = {"bigbench": 1000, "large": 1000, "grid": 1000, "extrapolation": 1000, "demo": 500,
         "skills": 200, "longhand": 500, "longhand-big": 500, TASK: 500}
LONGHAND = {"longhand": ("train", "interpolate"), "longhand-big": ("hard", "longer")}


def arithmetic_suite(name: str, size: int | dict[str, int] | None = None, seed: int = 0,
                     wording: str | None = None, limit: int | None = None) -> Iterator[Question]:
    """Up to `size` questions of each cell of suite `name` (default: SIZES), the first `limit`.

    A dict gives sizes by the cells' names; cells that it does not name are left out.
    `wording` is one of WORDINGS; by default bigbench asks as BIG-bench does, demo in held-out
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
    answer = work(a, op, b, steps=False)[1]
    if wording == "bare":
        return "", f"{a} {op} {b} = ", answer
    if wording == "BIG-bench":
        verb = {"+": "plus", "-": "minus", "*": "times", "/": "divided by"}[op]
        return f"What is {a} {verb} {b}?", f"{a} {op} {b}", answer
    return phrasing.phrase(a, op, b, rng, held_out=wording == "held out"), f"{a} {op} {b}", answer


def skills_suite(size: int | None = None, seed: int = 0, wording: str | None = None,
                 limit: int | None = None) -> Iterator[Question]:
    """What the embedded base is pretrained on, `size` rows (default: SIZES) of each kind.

    Always in the base's own notation. The answer is what follows the last "=" of the row.
    """
    for name, kind in pretraining.KINDS.items():
        if name == "text":  # nothing is asked there
            continue
        rng = random.Random(f"skills/{name}/{seed}")
        for _ in range(least(size or SIZES["skills"], limit)):
            prompt, output = kind(rng, 8)
            yield Question("skills", name, "", prompt, extract_answer(output), "bare")


def longhand_suite(name: str, size: int | None = None, seed: int = 0, wording: str | None = None,
                   limit: int | None = None) -> Iterator[Question]:
    """`size` different questions (default: SIZES) of each split in LONGHAND[name].

    Always in the two wordings of the dataset, which training shows.
    """
    count = least(size or SIZES[name], limit)
    for split in LONGHAND[name]:
        seen: set[Pair] = set()
        for text, x, y in longhand.questions(split, None, f"suite {seed}"):
            if (x, y) not in seen:
                seen.add((x, y))
                yield Question(name, split, text, f"{x} % {y}", str(x % y), "seen", (x, "%", y))
            if len(seen) == count:
                break


def word_problems_suite(size: int | None = None, seed: int = 0, wording: str | None = None,
                        limit: int | None = None) -> Iterator[Question]:
    """`size` questions (default: SIZES) of the templates that training shows, and of the others.

    Drawn apart from all training rows: their seeds are numbers.
    """
    for cell, held_out in (("seen templates", False), ("held-out templates", True)):
        for row in template_rows(f"suite {seed}", least(size or SIZES[TASK], limit), held_out):
            yield Question(TASK, cell, row["instruction"], "", row["answer"], task=TASK)


# Every suite by its name: a function (size=None, seed=0, wording=None, limit=None) -> questions.
SUITES: dict[str, Callable[..., Iterable[Question]]] = {
    name: partial(arithmetic_suite, name) for name in CELLS}
SUITES |= {name: partial(longhand_suite, name) for name in LONGHAND}
SUITES |= {"skills": skills_suite, TASK: word_problems_suite}


def flags_for(task: str) -> str:
    """The flags of eval.py for questions like those of rows of this `task`."""
    if task == TASK:
        return f"--suite {TASK} --interpreter"
    if task == "skills" or task in pretraining.KINDS:
        return "--suite skills"
    return "--suite longhand" if task.startswith("longhand") else "--suite demo"


def load(names: Iterable[str], limit: int | None = None, **options) -> list[Question]:
    """The questions of the named suites, of each cell the first `limit`.

    `options` go to the suites. Raises UserError for a name that does not exist.
    """
    names = list(dict.fromkeys(names))  # one that is named twice is asked once
    if unknown := [name for name in names if name not in SUITES]:
        raise UserError(f"no suite is called {unknown[0]!r}; there are: {', '.join(SUITES)}")
    return [question for name in names for question in SUITES[name](limit=limit, **options)]


@cache
def reserved() -> frozenset[tuple[int, str, int]]:
    """(a, op, b) of all questions that training rows must avoid, sums and products both ways.

    These are the questions of RESERVED_SUITES at default seed and size, without the small ones.
    """
    keys = {(a, c.op, b) for name in RESERVED_SUITES for c in CELLS[name]()
            for a, b in operands(name, c, SIZES[name]) if not c.small(a, b)}
    return frozenset(keys | {(b, op, a) for a, op, b in keys if op in "+*"})


@cache
def reserved_remainders() -> frozenset[Pair]:
    """(dividend, divisor) of all longhand questions, which demonstrations avoid."""
    return frozenset((q.operands[0], q.operands[2]) for q in load(LONGHAND))


@cache
def reserved_word_problems() -> frozenset[str]:
    """The questions of the suite `word_problems` at default seed and size."""
    return frozenset(q.instruction for q in load([TASK]))
