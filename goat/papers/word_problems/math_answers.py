r"""When two answers of MATH are the same: `\frac12` and 0.5, `2(x+1)` and `2x+2`, `x = 5` and 5.

Both are read into trees (grammar.py). Where these hold several values (lists, tuples, intervals,
matrices), they are compared part by part, in the order where that counts; single values by what
they are worth (worth.py). What cannot be read, or would take long, is compared as text.

Percent signs, money, units and degrees say nothing of the value, as in the data set's own scorer
(Hendrycks et al. 2021, arXiv 2103.03874): `50\%` equals 50. Degrees inside a sine do. A numeral
with a base, `101_2`, equals only itself: the base was asked for.
"""

import re
from collections.abc import Callable, Sequence
from fractions import Fraction

from goat.papers.word_problems.format import MATH, parse_number, same_number
from goat.papers.word_problems.grammar import MINUS, Tree, is_name, read
from goat.papers.word_problems.latex import CLOCK, FUNCTIONS, UNITS, WORDED, Unreadable
from goat.papers.word_problems.worth import AGREE, SMALLEST, Value, names, number, points

LONGEST_LIST = 50  # what has no order is compared each with each
FEWEST = 3  # points at which expressions must be defined
LONGEST_TEXT = 5000  # characters that are looked at more closely
# Decimals of which so many places are written may be floats that a program has printed.
FLOAT, LONG_FLOAT = 6, 12  # what a fraction is compared with, and a root
TOLERANCE = Fraction(1, 10**6)  # GSM8K's, of fractions that are
SMALL = Fraction(1, 1000)  # not smaller than this
SHOUTED = ("YES", "NO", "TRUE", "FALSE")

# ---------------------------------------------------------------------------------- what is boxed

_BRACE = re.compile(r"\\(?:boxed|fbox)(?![a-zA-Z])\s*(?:(?P<box>\{)|(?P<word>[^\s{$]+))|"
                    r"\\[{}]|(?P<open>\{)|(?P<close>\})")


def boxed(solution: str) -> str | None:
    r"""What stands in the last `\boxed{...}` or `\fbox{...}` of a text, braces counted; without
    braces (`\boxed 5`) the word behind it. None where there is none that ends."""
    opened: list[int | None] = []  # where the contents begin, of braces of a box
    last, found = -1, None
    for match in _BRACE.finditer(solution):
        kind, start = match.lastgroup, None
        if kind in ("box", "open"):
            opened.append(match.end() if kind == "box" else None)
        elif kind == "word":
            start, text = match.end(), match["word"].rstrip(".,")
        elif kind == "close" and opened and (start := opened.pop()) is not None:
            text = solution[start:match.start()].strip()
        if start is not None and start > last:
            last, found = start, text
    return found


# ------------------------------------------------------------------------------------ same answer

def same_answer(said: str, gold: str) -> bool:
    r"""Whether two answers are the same: two plain numbers, or LaTeX.

    "$1,234.50" equals "1234.5", `\frac12` equals 0.5, `2(x+1)` equals `2x+2`, `x = 5` equals 5,
    "2, 1" equals "1, 2"; (1, 2) is not [1, 2], `2\pi` is not 6.28, 18 is not 18.002. Never raises,
    and takes a few seconds at most, whatever the texts.
    """
    if said.strip() == gold.strip():
        return True
    if max(len(said), len(gold)) > LONGEST_TEXT:
        return False
    said, gold = boxed(said) or said, boxed(gold) or gold
    x, y = plain(said), plain(gold)
    if x is not None and y is not None:
        return equal(x, y, FLOAT)
    if normalised(said) == normalised(gold):
        return True
    places = max(map(len, re.findall(r"\.(\d+)", f"{said} {gold}")), default=0)
    try:
        return same_listing(read(said), read(gold), places)
    except (Unreadable, RecursionError):
        return False


def rule(task: str | None) -> Callable[[str, str], bool]:
    """What compares the answers of rows with this field `task`: MATH's rule, or GSM8K's, which is
    that of the templates too."""
    return same_answer if task == MATH else same_number


_NAMES = re.compile(r"(?<![a-zA-Z])(?<!\\)([\s°]?)([a-zA-Z]+)")
_DRESS = re.compile(r"\\(?:boxed|text|mathrm|mathbf)(?![a-zA-Z])|(?<=\d)[eE](?=[-+]?\d)")


def plain(text: str) -> Fraction | None:
    """The number that a text of GSM8K's kind is, with a unit or without: "18 eggs", "18 m" and
    "18cm"; None for others, such as "18x", "2 ab" or "5 sin x", where letters are names."""
    def unit(before: str, word: str) -> bool:
        return word not in FUNCTIONS and not CLOCK.fullmatch(word) and (
            len(word) > 3 or word in UNITS
            or bool(before) and (len(word) == 3 or word in tuple("mgshCFL")))

    units = all(unit(*found) for found in _NAMES.findall(_DRESS.sub(" ", text)))
    return parse_number(text) if units else None


def normalised(text: str) -> str:
    """A text without spaces and signs that say nothing; words in small letters, unless they are
    names such as AB."""
    text = re.sub(WORDED, r"\1", text)
    text = re.sub(r"\\(?:left|right)(?![a-zA-Z])|\\[!,;:]|\$", "", text)
    text = re.sub(r"(?<![a-zA-Z\d]) | (?![a-zA-Z\d])", "", " ".join(text.split())).rstrip(".,")
    if re.fullmatch(r"[a-zA-Z][a-zA-Z ,'-]+", text) and (not text.isupper() or text in SHOUTED):
        return text.lower()
    return text


# --------------------------------------------------------------------------------- trees compared

STRUCTURES = ("tuple", "set", "matrix", "row", "union", "ratio", "based", "relation")
ORDERED = ("tuple", "matrix", "row", "ratio")
FLIPPED = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "=": "=", "!=": "!="}
INFINITY = ("name", "\\infty")


def same_listing(a: Sequence[Tree], b: Sequence[Tree], places: int) -> bool:
    """Whether two answers list the same, in any order; braces around the list say nothing."""
    a, b = (items[0][1:] if len(items) == 1 and items[0][0] == "set" else items for items in (a, b))
    return unordered(a, b, places)


def unordered(a: Sequence[Tree], b: Sequence[Tree], places: int) -> bool:
    if len(a) != len(b) or len(a) > LONGEST_LIST:
        return False
    left = list(b)
    for item in a:
        found = next((i for i, other in enumerate(left) if same(item, other, places)), None)
        if found is None:
            return False
        del left[found]
    return True


def same(a: Tree, b: Tree, places: int) -> bool:
    """Whether two trees are the same answer."""
    if a == b:
        return True
    if a[0] == b[0] == "relation":
        return same_relation(a, b, places)
    if a[0] == "relation" or b[0] == "relation":
        relation, other = (a, b) if a[0] == "relation" else (b, a)
        return any(same(value, other, places) for value in (solution(relation), interval(relation))
                   if value is not None)
    if a[0] not in STRUCTURES and b[0] not in STRUCTURES:
        return same_value(a, b, places)
    if a[0] != b[0] or a[0] == "based":
        return False
    if a[0] in ORDERED:
        return len(a) == len(b) and all(x == y if isinstance(x, str) else same(x, y, places)
                                        for x, y in zip(a[1:], b[1:]))
    return unordered(a[1:], b[1:], places)


def same_value(a: Tree, b: Tree, places: int) -> bool:
    """Whether two expressions are worth the same wherever both are defined."""
    constant, count = not (names(a) | names(b)), 0
    for x, y in points((a, b)):
        if not equal(x, y, places if constant else 0):
            return False
        count += 1
    return count >= (1 if constant else FEWEST)


def equal(x: Value, y: Value, places: int) -> bool:
    """Whether two values are the same. `places` tells whether one may be a printed float; fractions
    are then compared as loosely as GSM8K's numbers."""
    if isinstance(x, Fraction) and isinstance(y, Fraction):
        if places < FLOAT:
            return x == y
        small, large = sorted((abs(x), abs(y)))
        noise = max(large / 10**9, Fraction(1, 10**14))  # of binary floats
        return abs(x - y) <= (TOLERANCE if small >= SMALL else noise)
    x, y = number(x), number(y)
    share = Fraction(1, 10 ** (LONG_FLOAT - 1 if places >= LONG_FLOAT else AGREE))
    return abs(x - y) <= max(max(abs(x), abs(y)) * number(share), number(SMALLEST))


# -------------------------------------------------------------------------- equations, intervals

def solution(relation: Tree) -> Tree | None:
    """The 5 of x = 5 and of 2 + 3 = 5; None where a relation states no value."""
    _, signs, first, *others = relation
    if set(signs) != {"="}:
        return None
    true = is_name(first) or all(part[0] not in STRUCTURES and same_value(first, part, 0)
                                 for part in others)
    return others[-1] if true else None


def interval(relation: Tree) -> Tree | None:
    r"""[2, \infty) of x \ge 2 or 2 \le x, (0, 1] of 0 < x \le 1; None for other relations."""
    _, signs, *members = relation
    if signs[0] in (">", ">="):
        signs, members = tuple(FLIPPED.get(sign, sign) for sign in reversed(signs)), members[::-1]
    places = [i for i, member in enumerate(members) if is_name(member)]
    if not set(signs) <= {"<", "<="} or len(members) > 3 or places != [1] and len(members) == 3 \
            or len(places) != 1:
        return None
    low, high = members[:places[0]], members[places[0] + 1:]
    opened = "[" if low and signs[0] == "<=" else "("
    closed = "]" if high and signs[-1] == "<=" else ")"
    return ("tuple", opened + closed, *(low or [("*", MINUS, INFINITY)]), *(high or [INFINITY]))


def same_relation(a: Tree, b: Tree, places: int) -> bool:
    """Whether two relations say the same: part by part, from either side, or as equations one of
    which is a multiple of the other (y = 2x + 1 and 2x - y + 1 = 0)."""
    (_, signs, *left), (_, others, *right) = a, b
    if signs == others and all(map(same, left, right, [places] * len(left))):
        return True
    turned = tuple(FLIPPED.get(sign, sign) for sign in reversed(others))
    if signs == turned and all(map(same, left, right[::-1], [places] * len(left))):
        return True
    if signs == others == ("=",):
        found = [tuple(map(number, pair))
                 for pair in points((difference(left), difference(right)))]
        base = next((pair for pair in found if all(pair)), None)
        return base is not None and len(found) >= FEWEST and all(
            equal(x * base[1], y * base[0], 0) for x, y in found)
    first, second = interval(a), interval(b)
    return first is not None and second is not None and same(first, second, places)


def difference(members: Sequence[Tree]) -> Tree:
    return "+", members[0], ("*", MINUS, members[1])
