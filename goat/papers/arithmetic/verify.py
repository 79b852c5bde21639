"""Verifies a worked solution equation by equation, independently of the code that writes them.

A reader of Goat's formats (see workings.py; `solutions.check` is the public door): each function
follows a text from left to right and stops at the first number that is not what the numbers before
it make it. Nothing is compared with a stored solution, so stages may be left out and other splits
of a factor or a quotient are accepted when their equations are true.
"""

import re

from goat.papers.arithmetic.operation import Wrong

KINDS = {  # what the first error of a working can be
    "copying": "a number or a term was not carried over unchanged",
    "split": "the parts of a factor do not add up to it",
    "product": "a product is wrong",
    "sum": "a sum is wrong",
    "subtraction": "a difference is wrong",
    "quotient": "a part of the quotient is too large or too small for what is left",
    "remainder": "the remainder is wrong",
    "format": "the text does not follow the format, or is no working at all",
    "unfinished": "the text ends before the answer",
}

_N = r"(?:0|[1-9][0-9]*)"
_NUMBER = re.compile(r"\d+")
_ANSWER = re.compile(r"(-?\d+)(?: R (\d+))?")
_EXPRESSION = re.compile(rf"{_N} \S+ {_N}")
_SPLIT = re.compile(rf"{_N} \* \({_N}(?: \+ {_N})*\)")
_EXPANDED = re.compile(rf"{_N} \* {_N}(?: \+ {_N} \* {_N})*")
_TERMS = re.compile(rf"{_N}(?: \+ {_N})*")
_LINE = re.compile(rf"({_N}) - ({_N}) \* ({_N}) = (?:({_N}) - ({_N}) = )?(0|-?[1-9][0-9]*)")
_CUT_LINE = re.compile(r"[-\d */=]*|T\w*,?|Therefore, [\d /=R]*")  # a line that broke off
THEREFORE = "Therefore, "


def check_sum(a: int, b: int, text: str) -> None:
    _check_equation(f"{a} + {b}", str(a + b), "sum", text)


def check_difference(a: int, b: int, text: str) -> None:
    _check_equation(f"{a} - {b}", str(a - b), "subtraction", text)


def check_product(a: int, b: int, text: str) -> None:
    question = f"{a} * {b}"
    chain = _chain(question, text)
    answered = _ANSWER.fullmatch(chain[-1])
    if answered and len(chain) == 1:
        _check_answer(question, str(a * b), "product", chain[0], "equation 1")
        return
    working = _Product(a, b)
    for number, expression in enumerate(chain, 1):
        if number == len(chain) and not answered:
            raise Wrong("unfinished", f"equation {number} is the last and gives no answer")
        working.follow(expression, f"equation {number}")


def check_quotient(a: int, b: int, text: str) -> None:
    if b:
        _check_division(a, b, text.split("\n"))
    elif text not in ("undefined", f"{a} / 0 is undefined", f"{a} / 0 = undefined"):
        raise Wrong("format", f"{a} / 0 is undefined")


def _check_equation(question: str, true: str, kind: str, text: str) -> None:
    """`question = answer`, all that there is of a sum and a difference."""
    first, *more = _chain(question, text)
    if more or not _ANSWER.fullmatch(first):
        raise Wrong("format", f"equation 1: {_short(first)} is no answer")
    _check_answer(question, true, kind, first, "equation 1")


def _chain(question: str, text: str) -> list[str]:
    """What follows `question = `, divided at each further ` = `."""
    opening, *chain = text.split(" = ")
    if not chain:
        cut = bool(text) and f"{question} =".startswith(text)
        raise Wrong("unfinished" if cut else "format", f"no equation in {_short(text)}")
    _check_opening(question, opening, "equation 1")
    return chain


def _check_answer(question: str, true: str, kind: str, stated: str, where: str) -> None:
    if stated != true:
        raise Wrong(kind, f"{where}: {question} is {true}, not {stated}")


def _check_opening(question: str, opening: str, where: str) -> None:
    """A working begins, and a division ends, with the question itself."""
    if opening != question:
        kind = "copying" if _EXPRESSION.fullmatch(opening) else "format"
        raise Wrong(kind, f"{where}: the question is {question}, not {_short(opening)}")


class _Product:
    """Follows `A * (p + q) = A * p + A * q = x + y = … = total`, whatever stages are left out."""

    def __init__(self, a: int, b: int):
        self.a, self.b = a, b
        self.factor = a  # A: this or b, once there are parts
        self.parts: list[int] = []  # p, q, …
        self.terms: list[int] = []  # x, y, …

    def follow(self, expression: str, where: str) -> None:
        """Verify the next expression of the chain against the state reached so far."""
        numbers = [int(n) for n in _NUMBER.findall(expression)]
        if _TERMS.fullmatch(expression):
            self._add(numbers, where) if self.terms else self._multiply(numbers, where)
            self.terms = numbers
        elif self.terms:
            raise Wrong("format", f"{where}: {_short(expression)} after the products")
        elif _SPLIT.fullmatch(expression):
            self._split(numbers[:1], numbers[1:], where)
        elif _EXPANDED.fullmatch(expression):
            self._split(numbers[::2], numbers[1::2], where)
        else:
            raise Wrong("format", f"{where}: cannot read {_short(expression)}")

    def _split(self, factors: list[int], parts: list[int], where: str) -> None:
        if not self.parts:
            self.factor = self.b if factors[0] == self.b else self.a
        for factor in factors:
            if factor != self.factor:
                raise Wrong("copying", f"{where}: the factor is {self.factor}, not {factor}")
        if self.parts and parts != self.parts:
            raise Wrong("copying", f"{where}: the parts are {_plus(self.parts)}, "
                                    f"not {_plus(parts)}")
        other = self.b if self.factor == self.a else self.a
        if sum(parts) != other:
            raise Wrong("split", f"{where}: {_plus(parts)} is {sum(parts)}, not {other}")
        self.parts = parts

    def _multiply(self, terms: list[int], where: str) -> None:
        if len(terms) == len(self.parts):
            for part, term in zip(self.parts, terms, strict=True):
                if term != self.factor * part:
                    raise Wrong("product", f"{where}: {self.factor} * {part} is "
                                            f"{self.factor * part}, not {term}")
        elif self.parts and len(terms) > 1:
            raise Wrong("copying", f"{where}: {len(terms)} products of {len(self.parts)} parts")
        elif sum(terms) != self.a * self.b:
            raise Wrong("product", f"{where}: {self.a} * {self.b} is {self.a * self.b}, "
                                    f"not {_plus(terms)}")

    def _add(self, terms: list[int], where: str) -> None:
        added = len(self.terms) - len(terms) + 1  # how many of the old terms the first one joins
        if added < 2:
            raise Wrong("format", f"{where}: {_plus(terms)} adds nothing to {_plus(self.terms)}")
        old, rest = self.terms[:added], self.terms[added:]
        if terms[0] != sum(old):
            lost = added > 2 and terms[0] == old[0] + old[1]
            raise Wrong("copying" if lost else "sum",
                         f"{where}: {_plus(old)} is {sum(old)}, not {terms[0]}")
        if terms[1:] != rest:
            raise Wrong("copying", f"{where}: {_plus(rest)} is left to add, "
                                    f"not {_plus(terms[1:])}")


def _check_division(a: int, b: int, lines: list[str]) -> None:
    """Lines `left - divisor * part = left - product = rest`, then `Therefore, a / b = Q R r`."""
    *steps, last = lines
    left, quotient, too_small = a, 0, ""
    for number, line in enumerate(steps, 1):
        part, rest = _check_line(left, b, line, f"line {number}")
        if not too_small and rest >= b * 10 ** (len(str(part)) - 1):
            too_small = f"line {number}: {b} * {part} leaves {rest}, so {part} is too small"
        left, quotient = rest, quotient + part
    where = f"line {len(lines)}"
    if _LINE.fullmatch(last):
        _check_line(left, b, last, where)
        raise Wrong("unfinished", f"{where} is the last and gives no answer")
    opening, _, result = last.removeprefix(THEREFORE if steps else "").partition(" = ")
    stated = _ANSWER.fullmatch(result)
    if not stated:
        kind = "unfinished" if _CUT_LINE.fullmatch(last) else "format"
        raise Wrong(kind, f"{where}: no answer in {_short(last)}")
    if steps and not last.startswith(THEREFORE):
        raise Wrong("format", f"{where}: {_short(last)} does not begin with {THEREFORE!r}")
    question = f"{a} / {b}"
    _check_opening(question, opening, where)
    if steps and left >= b:
        raise Wrong("quotient", too_small or f"{where}: {left} is left and {b} still goes into it")
    if steps and int(stated[1]) != quotient:
        raise Wrong("sum", f"{where}: the parts add up to {quotient}, not {stated[1]}")
    if steps and int(stated[2] or 0) != left:
        raise Wrong("remainder", f"{where}: {left} is left, not {stated[2] or 0}")
    whole, rest = divmod(a, b)
    _check_answer(question, f"{whole} R {rest}" if rest else str(whole),
                  "remainder" if stated[1] == str(whole) else "quotient", result, where)


def _check_line(left: int, divisor: int, line: str, where: str) -> tuple[int, int]:
    """Verify one line of a division; returns its (part, rest)."""
    match = _LINE.fullmatch(line)
    if match is None:
        raise Wrong("format", f"{where}: cannot read {_short(line)}")
    minuend, named, part, copy, product, rest = (int(n or -1) for n in match.groups())
    for number in (minuend, copy):
        if number not in (left, -1):  # -1: it is left out
            raise Wrong("copying", f"{where}: {left} is left, not {number}")
    if named != divisor:
        raise Wrong("copying", f"{where}: the divisor is {divisor}, not {named}")
    if product not in (divisor * part, -1):
        raise Wrong("product", f"{where}: {divisor} * {part} is {divisor * part}, not {product}")
    if rest != left - divisor * part:
        raise Wrong("subtraction", f"{where}: {left} - {divisor * part} is "
                                    f"{left - divisor * part}, not {rest}")
    if rest < 0 or part == 0:
        raise Wrong("quotient", f"{where}: {part} is too {'large' if rest < 0 else 'small'}")
    return part, rest


def _plus(numbers: list[int]) -> str:
    return " + ".join(map(str, numbers)) or "nothing"


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
