r"""A small grammar for the answers of MATH: LaTeX, or plain text such as "sqrt(3)/2", as a tree.

    answer   := relation (("," | ";" | "and" | "or") relation)*      2, -3    3 or 4
    relation := union (("=" | "<" | ">" | "\le" | "\in" | ...) union)*   x = 5    0 < x \le 1
    union    := ratio ("\cup" ratio)*                                (0,1) \cup [2,\infty)
    ratio    := sum (":" sum)*                                       3 : 4    8:34 p.m.
    sum      := ["-" | "+"] product (("+" | "-") product)*
    product  := power (["*" | "/"] power)* [words]                   2x(x+1)    40 miles
    power    := atom ("^" script | "!" | "°")*
    atom     := number | name | group | \frac | \sqrt | \sin ... | |sum| | matrix | words
    group    := ("(" | "[") answer (")" | "]") | "\{" answer "\}" | "{" answer "}"

A tree is a tuple: its kind, then its parts, which are trees, texts, or (of a number) a `Fraction`.
`\frac{3}{4}x` is ("*", ("/", ("number", 3), ("number", 4)), ("name", "x")). Units are read over,
and nothing is calculated: what a tree is worth, worth.py says.
"""

from collections.abc import Callable
from fractions import Fraction
from itertools import product

from goat.papers.word_problems.latex import (CLOCK, FUNCTIONS, LETTERS, RELATIONS, Unreadable,
                                             tokens)

DEEPEST = 25  # brackets in brackets
MOST_SIGNS = 3  # ± in one answer: each doubles what has to be read
NUMERALS = ("number", "mixed", "scientific", "repeating")  # kinds of tokens
MANY = {word: Fraction(worth) for word, worth in {
    "dozen": "12", "hundred": "100", "thousand": "1e3", "million": "1e6", "billion": "1e9",
    "trillion": "1e12", "half": "1/2", "halve": "1/2", "third": "1/3", "tenth": "1/10",
    "hundredth": "1/100", "thousandth": "1/1000"}.items()}

Tree = tuple  # (kind, *parts)
ONE: Tree = ("number", Fraction(1))
MINUS: Tree = ("number", Fraction(-1))


def is_name(tree: Tree) -> bool:
    r"""x, f(x) or AB: what an answer may be called."""
    return tree[0] == "name" or tree[0] == "*" and all(part[0] == "name" for part in tree[1:])


def read(text: str) -> list[Tree]:
    r"""What an answer lists: one tree, or several where it has commas; `3 \pm x` lists two. Raises
    Unreadable."""
    found = tokens(text)
    signs = [i for i, (_, token) in enumerate(found) if token in ("\\pm", "\\mp")]
    if len(signs) > MOST_SIGNS:
        raise Unreadable("too many signs")
    trees: dict[Tree, None] = {}  # in their order, each once where signs have made copies
    opposite = any(found[i][1] == "\\mp" for i in signs)
    for choice in product("+-", repeat=1 if opposite else len(signs)):
        chosen = list(found)
        for i, sign in zip(signs, choice * len(signs) if opposite else choice):
            if found[i][1] == "\\mp":
                sign = "+-"[sign == "+"]
            chosen[i] = ("symbol", sign)
        listed = Parser(chosen).whole()
        if not signs:
            return listed
        trees |= dict.fromkeys(listed)
    return list(trees)


class Parser:
    """Recursive descent: a method for each line of the grammar; each reads on from `self.at`."""

    def __init__(self, found: list[tuple[str, str]]):
        self.tokens, self.at, self.depth, self.bars = found, 0, 0, 0

    def whole(self) -> list[Tree]:
        trees = self.listing()
        if self.at < len(self.tokens):
            raise Unreadable(self.peek())
        return trees

    def peek(self) -> str:
        """The next token; "" at the end."""
        return self.tokens[self.at][1] if self.at < len(self.tokens) else ""

    def kind(self) -> str:
        return self.tokens[self.at][0] if self.at < len(self.tokens) else ""

    def take(self, *wanted: str) -> str:
        """The next token, read, if it is one of these; else "". Without `wanted`: any."""
        token = self.peek()
        if token and (not wanted or token in wanted):
            self.at += 1
            return token
        return ""

    def expect(self, *wanted: str) -> str:
        if token := self.take(*wanted):
            return token
        raise Unreadable(f"{self.peek()!r} where one of {wanted} is expected")

    def listing(self) -> list[Tree]:
        trees = [self.relation()]
        while self.take(",", ";"):
            trees.append(self.relation())
        return trees

    def relation(self) -> Tree:
        signs, members = [], [self.union()]
        while self.peek() in RELATIONS:
            signs.append(RELATIONS[self.take()])
            members.append(self.union())
        if signs[:1] == ["~"] and is_name(members[0]):  # x \approx 5
            signs[0] = "="
        if "~" in signs:  # 2/3 \approx 0.67: what comes before is exact
            del members[signs.index("~") + 1:], signs[signs.index("~"):]
        if signs == ["in"]:
            return members[1]
        return ("relation", tuple(signs), *members) if signs else members[0]

    def union(self) -> Tree:
        parts = [self.ratio()]
        while self.take("\\cup"):
            parts.append(self.ratio())
        return ("union", *parts) if len(parts) > 1 else parts[0]

    def ratio(self) -> Tree:
        parts = [self.sum()]
        while self.take(":"):
            parts.append(self.sum())
        return ("ratio", *parts) if len(parts) > 1 else parts[0]

    def sum(self) -> Tree:
        self.take("\\approx")
        terms = [self.product() if self.take("+") else self.signed(self.product)]
        while sign := self.take("+", "-"):
            term = self.signed(self.product)  # 2 - -3
            terms.append(("*", MINUS, term) if sign == "-" else term)
        return ("+", *terms) if len(terms) > 1 else terms[0]

    def product(self) -> Tree:
        factors = [self.power()]
        while True:
            if self.take("*", "\\cdot", "\\times"):
                factors.append(self.signed(self.power))
            elif self.take("/"):
                if self.kind() != "words":  # miles/hour
                    factors.append(("/", ONE, self.signed(self.power)))
            elif self.kind() == "words":
                self.unit(factors)
            elif self.kind() not in NUMERALS and self.begins_atom():  # 2 3 is no product
                factors.append(self.power())
            else:
                return ("*", *factors) if len(factors) > 1 else factors[0]

    def unit(self, factors: list[Tree]) -> None:
        """Words behind a value are read over, except those that count or make it a time."""
        word = self.take().strip('"')
        if self.take("^"):
            self.script()
        if factors[-1][0] == "words":
            factors[-1] = ("words", f"{factors[-1][1]} {word}")
        elif word.rstrip("s") in MANY:
            factors.append(("number", MANY[word.rstrip("s")]))
        elif CLOCK.fullmatch(word):
            factors.append(("words", word[0] + "m"))

    def signed(self, part: Callable[[], Tree]) -> Tree:
        return ("*", MINUS, part()) if self.take("-") else part()

    def power(self) -> Tree:
        tree = self.atom()
        for _ in range(DEEPEST):
            if self.take("^"):
                tree = ("^", tree, self.script())
            elif self.take("!"):
                tree = ("factorial", tree)
            elif self.take("°"):
                tree = ("degrees", tree)
            elif self.take("'"):  # feet and minutes, or a name of its own
                tree = ("name", tree[1] + "'") if tree[0] == "name" else tree
            else:
                return tree
        raise Unreadable("too high")

    def script(self) -> Tree:
        """What is raised: a group, or a single number or name with its sign."""
        return self.signed(self.atom)

    def begins_atom(self) -> bool:
        token = self.peek()
        return (self.kind() in (*NUMERALS, "name", "based")
                or token in ("(", "[", "{", "\\{", "\\frac", "\\sqrt", "\\binom", "\\langle")
                or token == "|" and not self.bars or token.startswith("\\begin")
                or token[1:] in FUNCTIONS or token[1:] in LETTERS)

    def atom(self) -> Tree:
        self.depth += 1
        if self.depth > DEEPEST:
            raise Unreadable("too deep")
        tree = self.one(self.kind(), self.take())
        self.depth -= 1
        return tree

    def one(self, kind: str, token: str) -> Tree:
        if kind in NUMERALS:
            return self.number(kind, token)
        if kind == "based":  # unlike a number: what its base is, is a part of the answer
            digits, _, base = token.partition("_")
            return "based", digits.lstrip("0"), base.strip("{} ")
        if kind == "words":
            return "words", token.strip('"')
        if token in ("\\emptyset", "\\varnothing"):
            return ("set",)
        if kind == "name" or token[1:] in LETTERS:
            return "name", token + self.subscript()
        if token in ("(", "[", "\\langle"):
            return self.group(token)
        if token in ("{", "\\{"):
            closed = token.replace("{", "}")
            items = self.listing() if self.peek() != closed else []
            self.expect(closed)
            return items[0] if token == "{" and len(items) == 1 else ("set", *items)
        if token in ("|", "\\frac", "\\binom", "\\sqrt"):
            return self.construct(token)
        if token.startswith("\\begin"):
            return self.matrix(token)
        if token[1:] in FUNCTIONS and token[0] == "\\":
            return self.function(token[1:])
        raise Unreadable(f"{token!r} where a value is expected")

    def number(self, kind: str, token: str) -> Tree:
        if kind == "mixed":
            whole, half = token.split()
            return "number", self.fraction(half) + int(whole)
        if kind == "repeating":
            fixed, _, digits = token.rstrip("}").partition("\\overline{")
            scale = 10 ** len(fixed.partition(".")[2])
            tail = Fraction(int(digits), (10 ** len(digits) - 1) * scale)
            return "number", self.fraction("0" + fixed + "0") + tail
        value = self.fraction(token)
        if token.isdecimal() and self.peek() == "\\frac":  # 2\frac{1}{3}
            here = self.at
            part = self.power()
            if part[0] == "/" and part[1][0] == part[2][0] == "number" and part[2][1]:
                return "number", value + part[1][1] / part[2][1]
            self.at = here
        return "number", value

    @staticmethod
    def fraction(text: str) -> Fraction:
        try:
            return Fraction(text)
        except (ValueError, ZeroDivisionError):
            raise Unreadable(text)

    def subscript(self) -> str:
        """The subscript of a name as text: "_1"; "" where there is none."""
        if not self.take("_"):
            return ""
        if not self.take("{"):
            return "_" + self.take()
        text = "_"
        while (token := self.take()) != "}":
            if not token:
                raise Unreadable("a subscript without end")
            text += token
        return text

    def group(self, opened: str) -> Tree:
        """Brackets around one value say nothing; around several they tell what these are."""
        items = self.listing()
        closed = self.expect(")", "]", "\\rangle")
        if len(items) == 1 and (opened, closed) in (("(", ")"), ("[", "]")):
            return items[0]
        return "tuple", opened + closed, *items

    def argument(self) -> Tree:
        r"""Of \frac and its like: a group or a single token, of `\frac43` a single digit."""
        kind, token = self.kind(), self.peek()
        if kind == "number" and token.isdecimal() and len(token) > 1:
            self.tokens[self.at:self.at + 1] = [("number", token[0]), ("number", token[1:])]
            self.take()
            return "number", Fraction(token[0])
        return self.atom()

    def construct(self, token: str) -> Tree:
        if token == "|":
            self.bars += 1
            tree = self.sum()
            self.expect("|")
            self.bars -= 1
            return "call", "abs", tree
        if token == "\\sqrt":
            degree: Tree = ("number", Fraction(2))
            if self.take("["):
                degree = self.sum()
                self.expect("]")
            return "root", degree, self.atom()
        first = self.argument()
        return "/" if token == "\\frac" else "binomial", first, self.argument()

    def matrix(self, begin: str) -> Tree:
        if begin[7:-1] not in ("matrix", "pmatrix", "bmatrix", "Bmatrix"):  # others are no matrices
            raise Unreadable(begin)
        rows: list[Tree] = [("row",)]
        while not self.take(begin.replace("begin", "end")):
            rows[-1] += (self.sum(),)
            if self.take("\\\\"):
                rows += [("row",)] * (not self.peek().startswith("\\end"))
            elif not self.peek().startswith("\\end"):
                self.expect("&")
        return "matrix", *rows

    def function(self, name: str) -> Tree:
        r"""\sin^2 x, \log_2 (x + 1), \sin 2x \cos x: without brackets the argument is a product, up
        to the next function."""
        base, power = None, None
        while token := self.take("_", "^"):
            if token == "_":
                base = self.argument()
            else:
                power = self.script()
        bracketed = self.peek() in ("(", "{")
        argument = self.atom() if bracketed else self.power()
        if not bracketed:
            while self.begins_atom() and self.peek()[1:] not in FUNCTIONS and self.peek() != "(":
                argument = ("*", argument, self.power())
        if power == ("*", MINUS, ONE):
            name, power = "arc" + name, None
        tree: Tree = ("call", name, argument) if base is None else ("log", base, argument)
        return tree if power is None else ("^", tree, power)
