"""The operations: a record of each, in which everything else looks.

Wordings name the operands themselves, and take no noise. The first ones are those of BIG-bench and
of DeepMind's mathematics dataset; every tenth is held out of training (see wordings.py).
"""

import re
from collections.abc import Callable, Iterable
from typing import TypeVar

from goat.errors import UserError
from goat.papers import ROOMS
from goat.papers.arithmetic.operation import Operation
from goat.papers.arithmetic.verify import (check_difference, check_product, check_quotient,
                                           check_sum)
from goat.papers.arithmetic.workings import add, divide, multiply, subtract

T = TypeVar("T")

PLUS = Operation(
    "+", "add", add, check_sum, noun="the sum of", verbs=("plus",), commutative=True,
    wordings=(
        "What is {a} plus {b}?", "Add {a} and {b}.", "Put together {a} and {b}.",
        "Sum {a} and {b}.", "Total of {a} and {b}.", "Add together {a} and {b}.",
        "What is {a} added to {b}?", "What do {a} and {b} make?",
        "What is the sum of {a} and {b}?", "Increase {a} by {b}.",
        "How large is the total of {a} and {b}?", "Add {b} to {a}.",
        "What is {a} increased by {b}?", "{a} increased by {b}", "Raise {a} by {b}.",
        "{a} increases by {b}. What is it then?", "What is {b} more than {a}?",
        "Increase by {b}: {a}", "Increase the number {a} by {b}.",
        "What is the total of {a} and {b}?"))
MINUS = Operation(
    "-", "sub", subtract, check_difference, noun="the difference of", verbs=("minus",),
    wordings=(
        "What is {a} minus {b}?", "Subtract {b} from {a}.", "What is {a} take away {b}?",
        "What is {a} less {b}?", "What is {b} less than {a}?", "{a} minus {b}",
        "Take {b} away from {a}.", "Remove {b} from {a}.", "Reduce {a} by {b}.",
        "Decrease {a} by {b}.", "From {a} take {b}.",
        "What is left of {a} after taking away {b}?", "What is {a} decreased by {b}?",
        "{a} decreased by {b}", "Lower {a} by {b}.", "{a} decreases by {b}. What is left?",
        "Decrease the amount {a} by {b}.", "Decrease by {b}: {a}",
        "Decrease the number {a} by {b}.", "What is the difference between {a} and {b}?"))
TIMES = Operation(
    "*", "mul", multiply, check_product, noun="the product of", commutative=True,
    cross="x", signs="×", verbs=("times", "multiplied by"), tasks=("mul n x 1", "mul n x m"),
    stages=("split", "expand", "accumulate"),
    wordings=(
        "What is {a} times {b}?", "Multiply {a} and {b}.", "Product of {a} and {b}.",
        "What is the product of {a} and {b}?", "{a} times {b}", "Multiply together {a} and {b}.",
        "Take {a} {b} times.", "Multiply {a} by {b}.", "{a} multiplied by {b}",
        "Take {a} and multiply it by {b}.", "How much do {a} lots of {b} make?",
        "What do {b} times {a} make?", "What is {a} multiplied by {b}?", "Take {a} times {b}.",
        "{b} lots of {a}", "Begin with {a} and multiply by {b}.", "Find {a} times {b}.",
        "What comes out if you multiply {a} by {b}?", "Times {a} by {b}.",
        "What do you get if you multiply {a} by {b}?"))
OVER = Operation(
    "/", "div", divide, check_quotient, noun="the quotient and remainder of",
    verbs=("divided by",), signs="÷", tasks=("div n / 1", "div n / m"), stages=("product",),
    wordings=(
        "What is {a} divided by {b}?", "Divide {a} by {b}.", "Calculate {a} divided by {b}.",
        "What is {a} over {b}?", "Find {a} over {b}.", "{a} divided by {b}",
        "Calculate the quotient of {a} and {b}.", "How many times does {b} go into {a}?",
        "Share {a} among {b}.", "Split {a} into {b} equal parts.",
        "Work out {a} divided by {b}.", "How often does {b} fit into {a}?",
        "Split {a} among {b}.", "{a} split into {b} parts", "Cut {a} into {b} equal parts.",
        "Split the number {a} into {b} parts.", "How large is a part if {a} is split by {b}?",
        "Share {a} equally among {b}.", "Divide {a} into parts of {b}.",
        "Divide {a} equally among {b}."))
OPERATIONS: dict[str, Operation] = {}  # by their symbols


def register(op: Operation) -> None:
    """Add an operation. Raises UserError where its symbol, its name or one of its kinds of rows is
    taken: else rows of one would pass for those of another."""
    for other in OPERATIONS.values():
        if op.symbol == other.symbol or {op.name, *op.tasks} & {other.name, *other.tasks}:
            raise UserError(f"operation {op.symbol}: its symbol, its name {op.name!r} or one of "
                            f"its tasks is that of operation {other.symbol} already")
    if op.name in ROOMS:
        raise UserError(f"operation {op.symbol}: {op.name!r} is the name of a task")
    OPERATIONS[op.symbol] = op


for record in (PLUS, MINUS, TIMES, OVER):
    register(record)


def operation(symbol: str) -> Operation:
    """The record of a symbol. Raises UserError with those there are for an unknown one."""
    if symbol not in OPERATIONS:
        raise UserError(f"there is no operation {symbol!r}; there are {', '.join(OPERATIONS)}")
    return OPERATIONS[symbol]


def own() -> list[Operation]:
    """The operations that have a mixture and a suite of their own."""
    return [op for op in OPERATIONS.values() if op.sizes]


def add_own(table: dict[str, T], make: Callable[[Operation], T]) -> None:
    """Give a table of mixtures or of suites an entry for each of these, by its name. Raises
    UserError where the name is taken."""
    for op in own():
        if op.name in table:
            raise UserError(f"operation {op.symbol}: there is something else called {op.name!r}")
        table[op.name] = make(op)


def spellings(of: Callable[[Operation], Iterable[str]]) -> dict[str, str]:
    """{what operations are called, in lower case: their symbols}, the longest first, as a regular
    expression needs them. Raises UserError where two are called alike."""
    pairs = [(text.lower(), op.symbol) for op in OPERATIONS.values() for text in of(op)]
    found: dict[str, str] = {}
    for text, symbol in sorted(pairs, key=lambda pair: -len(pair[0])):
        if found.setdefault(text, symbol) != symbol:
            raise UserError(f"{text!r} stands for two operations: {found[text]}, {symbol}")
    return found


def either(texts: Iterable[str]) -> str:
    """A regular expression for one of these texts."""
    return "|".join(map(re.escape, texts))
