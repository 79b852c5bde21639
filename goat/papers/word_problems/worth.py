r"""What an expression is worth: exactly where it is a fraction, else to DIGITS places.

An expression with names in it is worth what it gives at POINTS points, which depend on the names
alone. Different expressions of an answer's size do not agree at all of them (Schwartz 1980, J. ACM
27, 701), and where both are fractions of polynomials the comparison is exact. So nothing is ever
simplified, which could take any time, and each step is bounded: the size of exact numbers, of
powers, of angles. mpmath, which comes with torch, is loaded where something is no fraction.
"""

import math
import operator
import zlib
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from functools import cache, partial, reduce
from typing import Any

from goat.papers.word_problems.grammar import Tree

DIGITS = 100
AGREE = 60  # places: so many are left when as many as 40 cancel
SMALLEST = Fraction(1, 10**80)  # what is less may be rounding: the sine of pi
POINTS = 12
LONGEST_EXACT = 20_000  # bits of an exact number; MATH has 2^{4950}
LARGEST = 190  # bits of what is not exact: a difference of one still shows among AGREE places
LARGEST_POWER = 10**6  # bits
LARGEST_ANGLE = 20  # bits
LARGEST_FACTORIAL = 1000
CONSTANTS = ("\\pi", "e", "i")
Value = Any  # a Fraction, or a number of mpmath


class Undefined(ArithmeticError):
    """There is no such value, or it is too large to be worked out."""


@cache
def _mp() -> Any:
    from mpmath.ctx_mp import MPContext

    context = MPContext()  # of our own: its precision is nobody else's
    context.dps = DIGITS
    return context


def names(tree: Tree) -> set[str]:
    """The names in a tree whose values are free; words are names too."""
    if tree[0] in ("name", "words"):
        return {tree[1]} - set(CONSTANTS)
    return set().union(*(names(part) for part in tree[1:] if isinstance(part, tuple)))


def mentions(tree: Tree, node: str) -> bool:
    """Whether a kind of node or a name stands anywhere in a tree."""
    return any(part == node or isinstance(part, tuple) and mentions(part, node) for part in tree)


def points(trees: Sequence[Tree]) -> Iterator[tuple[Value, ...]]:
    """What the trees are worth at each point at which all of them are defined: real numbers, unless
    there is an `i` in them or they are constant. Constant trees have one point."""
    free = set().union(*map(names, trees))
    complex_too = not free or any(mentions(tree, "i") for tree in trees)
    for point in range(POINTS if free else 1):
        try:
            values = tuple(worth(tree, point) for tree in trees)
        except (ArithmeticError, ValueError):  # mpmath raises these too
            continue
        if complex_too or not any(value.imag for value in values):
            yield values


def coordinate(name: str, point: int) -> Fraction:
    """What a name stands for at a point. The first half of all points is positive, since many roots
    and logarithms are defined only there; in both halves numbers below and above 1 take turns."""
    drawn = zlib.crc32(f"{name} {point}".encode())
    value = Fraction(drawn % 9973 + 1, 9973) * (1 if point % 2 else 7)
    return -value if point >= POINTS // 2 and (drawn >> 16) % 3 else value


def worth(tree: Tree, point: int = 0) -> Value:
    """The value of a tree at a point. Raises Undefined, or what mpmath raises."""
    kind, *parts = tree
    if kind == "number":
        return parts[0]
    if kind in ("name", "words"):
        return _constant(parts[0]) if parts[0] in CONSTANTS else coordinate(parts[0], point)
    if kind == "call":
        angle = worth(parts[1], point)
        if mentions(parts[1], "degrees"):
            angle = number(angle) * _mp().pi / 180
        return _checked(function(parts[0], angle))
    if kind not in OPERATIONS:
        raise Undefined(kind)
    return _checked(OPERATIONS[kind](*(worth(part, point) for part in parts)))


def _constant(name: str) -> Value:
    mp = _mp()
    return {"\\pi": +mp.pi, "e": +mp.e, "i": mp.mpc(0, 1)}[name]


def number(value: Value) -> Any:
    """A value as a number of mpmath."""
    if isinstance(value, Fraction):
        return _mp().mpf(value.numerator) / value.denominator
    return value


def _bits(value: Fraction) -> int:
    return max(value.numerator.bit_length(), value.denominator.bit_length())


def _checked(value: Value) -> Value:
    """The value if it is of a size to go on with; a complex one without imaginary part as a real
    one."""
    if isinstance(value, Fraction):
        if _bits(value) > LONGEST_EXACT:
            raise Undefined("too long")
        return value
    if not _mp().isfinite(value) or value and _mp().mag(value) > LARGEST:
        raise Undefined("too large")
    if abs(value.imag) <= abs(value.real) * _mp().mpf(10) ** -(DIGITS - 10):
        return value.real
    return value


def _alike(values: Sequence[Value]) -> Sequence[Value]:
    """All of them fractions, or none."""
    if all(isinstance(value, Fraction) for value in values):
        return values
    return [number(value) for value in values]


def _in_turn(operation: Callable[[Value, Value], Value], *values: Value) -> Value:
    """The values put together from the left: a + b, then + c."""
    return reduce(lambda total, value: _checked(operation(*_alike((total, value)))), values)


def _power(base: Value, exponent: Value) -> Value:
    whole = isinstance(exponent, Fraction) and exponent.denominator == 1
    if whole and isinstance(base, Fraction):
        if abs(exponent) * _bits(base) > LONGEST_EXACT:
            raise Undefined("too long")
        return base ** int(exponent)
    mp = _mp()
    base, power = number(base), number(exponent)
    if not base:
        if power.imag or power.real <= 0:
            raise Undefined("a power of zero")
        return Fraction(0)
    if abs(power) * (abs(mp.mag(base)) + 1) > LARGEST_POWER:
        raise Undefined("too large")
    return mp.power(base, int(exponent) if whole else power)


def _root(degree: Value, x: Value) -> Value:
    """The real root of a negative number where the degree is odd."""
    odd = isinstance(degree, Fraction) and degree.denominator == 1 and degree % 2
    if odd and not number(x).imag and x < 0:
        return -number(_root(degree, -x))
    return _power(x, 1 / degree)


def _logarithm(base: Value, x: Value) -> Value:
    mp = _mp()
    return mp.log(number(x)) / mp.log(number(base))


def _whole(value: Value) -> int:
    if not isinstance(value, Fraction) or value.denominator != 1 \
            or not 0 <= value <= LARGEST_FACTORIAL:
        raise Undefined("no small whole number")
    return int(value)


OPERATIONS: dict[str, Callable[..., Value]] = {
    "+": partial(_in_turn, operator.add), "*": partial(_in_turn, operator.mul),
    "/": partial(_in_turn, operator.truediv), "^": _power, "root": _root, "log": _logarithm,
    "degrees": lambda value: value,
    "factorial": lambda n: Fraction(math.factorial(_whole(n))),
    "binomial": lambda n, k: Fraction(math.comb(_whole(n), _whole(k)))}


def function(name: str, x: Value) -> Value:
    r"""A function of one number; `\log` is to the base 10."""
    if name == "abs":
        return abs(x)
    mp = _mp()
    x = number(x)
    if name in ("log", "ln"):
        return mp.log(x) if name == "ln" else mp.log(x) / mp.log(10)
    if name == "exp":
        return _power(_constant("e"), x)
    if x and mp.mag(x) > LARGEST_ANGLE:
        raise Undefined("a large angle")
    value = getattr(mp, name.replace("arc", "a"), None)
    if value is None:
        raise Undefined(name)
    return value(x)
