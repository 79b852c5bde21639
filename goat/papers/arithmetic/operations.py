"""The four operations: how each is written, called and read. The one table of their words."""

from typing import NamedTuple


class Operation(NamedTuple):
    symbol: str  # in `input` and in workings
    name: str  # in cells of results: "mul 3Dx4D"
    sign: str  # between the sizes there
    verb: str  # between two numbers, in words
    noun: str  # before two numbers, in words


OPERATIONS = {op.symbol: op for op in (
    Operation("+", "add", "+", "plus", "the sum of"),
    Operation("-", "sub", "-", "minus", "the difference of"),
    Operation("*", "mul", "x", "times", "the product of"),
    Operation("/", "div", "/", "divided by", "the quotient and remainder of"),
)}
MULTIPLIED = "multiplied by"  # the other verb of a product
SIGNS = {"x": "*", "X": "*", "×": "*", "÷": "/"}  # other signs -> symbol
VERBS = {op.verb: op.symbol for op in OPERATIONS.values()} | {MULTIPLIED: "*"}
NOUNS = {op.noun: op.symbol for op in OPERATIONS.values()}


def symbol_of(sign: str) -> str:
    """The symbol that a sign, a verb or a noun stands for: "×" and "times" -> "*"."""
    return SIGNS.get(sign) or VERBS.get(sign) or NOUNS.get(sign) or sign


def cell_name(symbol: str, digits_a: int, digits_b: int) -> str:
    """The name of the cell of all questions of these sizes: "mul 3Dx4D"."""
    op = OPERATIONS[symbol]
    return f"{op.name} {digits_a}D{op.sign}{digits_b}D"
