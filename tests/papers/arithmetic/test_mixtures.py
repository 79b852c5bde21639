"""The mixtures: counts and ranges of every cell, the laws of drawing, the random order.

Run: python -m pytest tests/papers/arithmetic/test_mixtures.py
"""

from collections import Counter
from functools import cache

import numpy as np
import pytest

from goat.papers.arithmetic import mixtures
from goat.papers.arithmetic.operations import OPERATIONS
from goat.papers.arithmetic.workings import single_nonzero_digit

ADD, SUB, MUL_1, MUL, DIV_1, DIV = mixtures.OPERATORS


@cache
def draw_all(mixture):
    """(tasks, a, b) of every row of a mixture, without writing workings."""
    table = mixtures.Table(mixture)
    cell, place = table.locate(np.arange(table.rows))
    a, b = table.draw(cell, place, np.random.default_rng(0))
    return np.array(table.tasks)[cell], a, b


PUBLISHED = {ADD: 304_000, SUB: 304_000, MUL_1: 185_500, MUL: 420_000, DIV_1: 187_800, DIV: 345_000}


def test_notebook_has_the_published_counts():
    counts = Counter()
    for cell in mixtures.notebook():
        counts[cell.task] += cell.rows
    assert counts == PUBLISHED and counts.total() == 1_746_300
    tasks, _, _ = draw_all("notebook")
    assert Counter(tasks.tolist()) == PUBLISHED


def test_notebook_cells():
    """Ranges, both ends included: 10^j closes the sums' cells and is missing from n x m."""
    cells = Counter()
    for cell in mixtures.notebook():
        cells[cell[:3]] += cell.rows
    assert cells[ADD, (1, 10), (1, 10)] == 1000  # one pass of five
    assert cells[SUB, (10**14, 10**15), (10**14, 10**15)] == 5000  # all five
    assert cells[ADD, (100, 1000), (10**7, 10**8)] == 2000
    assert cells[MUL_1, (2, 9), (11, 100)] == 4000
    assert cells[MUL_1, (2, 9), (10**15 + 1, 10**16)] == 16_000
    assert cells[MUL_1, (0, 0), (11, 99)] == cells[MUL_1, (10, 10), (101, 999)] == 500
    assert cells[MUL, (11, 99), (11, 99)] == 10_000
    assert cells[MUL, (11, 99), (10**9 + 1, 10**10 - 1)] == 10_000
    assert cells[MUL, (10**5 + 1, 10**6 - 1), (10**5 + 1, 10**6 - 1)] == 40_000
    assert cells[DIV_1, (2, 9), (2, 10)] == 4000
    assert cells[DIV_1, (0, 0), (10**16 + 1, 10**17)] == 100
    assert cells[DIV, (10**11 + 1, 10**12), (10**5 + 1, 10**6)] == 11_000
    assert cells[DIV, (11, 100), (10**5 + 1, 10**6)] == 1000


def test_notebook_reproduces_figures_measured_on_the_published_law():
    """Counts of one generated set of the original, each within five standard deviations."""
    tasks, a, b = draw_all("notebook")
    sub, mul, div = tasks == SUB, tasks == MUL, tasks == DIV
    single = [any(map(single_nonzero_digit, pair))
              for pair in zip(a[mul].tolist(), b[mul].tolist())]
    parts = Counter(sum(c != "0" for c in str(x))
                    for x, one in zip(np.minimum(a, b)[mul].tolist(), single) if not one)
    quotients = a[div] // b[div]
    lines = Counter(sum(c != "0" for c in str(q)) if x > y else 0
                    for q, x, y in zip(quotients.tolist(), a[div].tolist(), b[div].tolist()))
    expected = {
        "negative differences": ((a < b)[sub].sum(), 151_736),
        "zero differences": ((a == b)[sub].sum(), 127),
        "direct products": (sum(single), 10_042),
        "smaller dividends": ((a < b)[div].sum(), 12_512),
        "equal operands": ((a == b)[div].sum(), 1_629),
        "seven quotient digits": ((quotients >= 10**6).sum(), 27_386),
        **{f"{n} parts": (parts[n], m) for n, m in
           zip(range(2, 7), (98_911, 96_842, 112_430, 78_560, 23_215), strict=True)},
        **{f"{n} lines": (lines[n], m) for n, m in
           enumerate((14_141, 36_409, 61_029, 61_546, 60_328, 56_688, 41_434, 13_425))},
    }
    for name, (found, measured) in expected.items():
        assert abs(found - measured) < 5 * (2 * measured) ** 0.5, (name, found, measured)
    assert max(len(str(x)) for x in a[div]) <= 13 and a.max() < 10**17 + 1


def test_laws():
    rng = np.random.default_rng(1)
    first, second = np.full(20_000, 6), np.full(20_000, 100)
    a, b = mixtures.swap(first, second, rng)
    assert abs((a == 6).mean() - 0.5) < 0.02 and set((a + b).tolist()) == {106}
    a, b = mixtures.scale(first, second, rng)
    small = np.where(a == 100, b, a)
    assert set(small.tolist()) == {6 * 10**k for k in range(7)}
    assert abs((small != 6).mean() - 0.1) < 0.01
    a, b = mixtures.quotient(first, second, rng)
    assert set(a.tolist()) == {600, 601, 602, 603, 604, 605} and set(b.tolist()) == {6}
    assert abs((a != 600).mean() - 0.5) < 0.02
    assert mixtures.quotient(np.array([0, 1]), np.array([50, 70]), rng)[0].tolist() == [50, 70]
    a, b = mixtures.dividend(second, np.full(20_000, 7), rng)
    assert set(a.tolist()) == {98, 100} and abs((a == 98).mean() - 0.5) < 0.02
    a, b = mixtures.dividend(first, second, rng)
    assert set(a.tolist()) == {6}  # a smaller dividend stays as it is


def test_paper_mends_the_traps():
    tasks, a, b = draw_all("paper")
    assert 0.9e6 < len(tasks) < 1.1e6
    counts = Counter(tasks.tolist())
    for task, rows in PUBLISHED.items():  # proportions of the published set, within a few percent
        assert abs(counts[task] / len(tasks) - rows / 1_746_300) < 0.025, task
    for task in (ADD, SUB):
        here = tasks == task
        assert a[here].max() >= 10**15 and b[here].max() < 10**16  # 16 digits, no more
        assert 0 in a[here] and 0 in b[here]
    assert ((a[tasks == DIV] // b[tasks == DIV]) >= 10**6).any()  # 7 quotient digits
    assert a[tasks == DIV].max() < 10**12 and b[tasks == DIV].max() < 10**6
    assert {x * y for x, y in zip(a[tasks == MUL].tolist(), b[tasks == MUL].tolist())
            if x * y >= 10**12} == set()  # products of 12 digits


def test_paper_holds_every_small_question():
    """Cells with fewer than 10,000 questions are enumerated."""
    tasks, a, b = draw_all("paper")
    ops = [mixtures.OPERATORS[task] for task in tasks.tolist()]
    asked = set(zip(a.tolist(), ops, b.tolist()))
    for op in OPERATIONS:
        for i, j in [(1, 1), (1, 2), (2, 1), (2, 2), (1, 3), (3, 1)]:
            (low, high), (low_2, high_2) = mixtures.digits(i), mixtures.digits(j)
            assert all((x, op, y) in asked for x in range(low, high + 1)
                       for y in range(low_2, high_2 + 1)), (i, op, j)


def size(numbers):
    """How many digits each has."""
    return np.searchsorted(10 ** np.arange(1, 19), numbers, side="right") + 1


@pytest.mark.parametrize("mixture, sizes", [("demo", mixtures.DEMO),
                                            ("demo-large", mixtures.DEMO_LARGE),
                                            ("demo-16", mixtures.DEMO_16)])
def test_demo_is_small_and_has_the_special_cases(mixture, sizes):
    tasks, a, b = draw_all(mixture)
    longest = np.maximum(size(a), size(b))
    assert longest[(tasks == ADD) | (tasks == SUB)].max() == sizes.longest
    for task, cells in ((MUL, sizes.products), (DIV, sizes.quotients)):
        here, most = tasks == task, max(max(pair) for pair in cells)
        assert longest[here].max() == most and b[here].min() >= 10
        assert len(str(b[here].max())) == max(pair[1] for pair in cells)
    counts = Counter(tasks.tolist())
    for task, share in sizes.shares.items():
        assert abs(counts[task] / len(tasks) - share / 100) < 0.005
    assert sum(sizes.shares.values()) == 100 and abs(len(tasks) / sizes.rows - 1) < 0.001
    for task in (ADD, SUB):
        lengths = Counter(zip(size(a[tasks == task]).tolist(), size(b[tasks == task]).tolist()))
        assert lengths[8, 8] / lengths[8, 7] == pytest.approx(sizes.sums.get((8, 8), 1), rel=0.25)
    if sizes is mixtures.DEMO_16:  # whose table of sums is not one of equal sizes only
        assert lengths[16, 8] == pytest.approx(lengths[16, 16] * 110 / 60 / 2, rel=0.1)
        digits = Counter(longest[tasks == DIV_1].tolist())
        assert digits[16] + digits[17] > 8 * digits[10] and digits[10] > 100
    product = (tasks == MUL) | (tasks == MUL_1)
    cases = {"x 0": product & (b == 0), "0 x": product & (a == 0), "x 1": product & (b == 1),
             "x 30": (tasks == MUL) & (b == 30), "a < b": (tasks == DIV) & (a < b),
             "a = b": (tasks == DIV) & (a == b), "/ 0": (tasks == DIV_1) & (b == 0),
             "/ 1": (tasks == DIV_1) & (b == 1), "0 +": (tasks == ADD) & (a == 0),
             "negative": (tasks == SUB) & (a < b), "zero": (tasks == SUB) & (a == b)}
    assert [name for name, here in cases.items() if not here.any()] == []


def test_products_of_two_sizes():
    tasks, a, b = draw_all("demo-products")
    sizes = Counter((len(str(x)), len(str(y))) for x, y in zip(a.tolist(), b.tolist()))
    assert set(tasks.tolist()) == {MUL} and sizes == {(2, 2): 20_000, (3, 3): 40_000}
    assert mixtures.excluded("demo-products", 123, 456)


@pytest.mark.parametrize("size", [1, 2, 3, 10, 97, 5000])
def test_permutation(size):
    orders = [mixtures.permute(np.arange(size), size, seed).tolist() for seed in (0, 1)]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(size))
    assert size < 10 or orders[0] != orders[1]
    if size == 5000:
        assert abs(np.corrcoef(orders[0], range(size))[0, 1]) < 0.05
        assert abs(np.corrcoef(orders[0][1:], orders[0][:-1])[0, 1]) < 0.05
