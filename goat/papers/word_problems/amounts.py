"""The numbers of a story: which say amounts that could be others, and what they could become.

Dates, times of day, ages, fractions, ordinals, banknotes, names such as "Room 7" and numbers glued
to letters say no amount. Neither may a number change that a word of the story brings along, such as
7 where it speaks of weeks (number_words.txt): the working may mean the word.
"""

import functools
import operator
import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import combinations
from pathlib import Path

# Relations among numbers: f, a, b and f(a, b), which is one of the numbers too.
Relation = tuple[Callable, Fraction, Fraction, Fraction]

COUNTED = {word: Fraction(i) for i, word in enumerate(
    ["two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"],
    2)}
FACTORS = {"half", "halves", "quarter", "quarters", "third", "thirds", "fourth", "fourths", "fifth",
           "fifths", "twice", "double", "doubled", "triple", "tripled", "dozen", "dozens",
           "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
           "twenty", "hundred", "thousand", "million"}
NUMBER = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?(?!\d)|\d+(?:\.\d+)?|\.\d+")
# What stands before and behind numbers that say no amount.
_BEFORE = re.compile(
    r"(?:[/:#.\d-]|\d to |\b(?:rooms?|grades?|chapters?|levels?|types?|days?|weeks?|months?|years?|"
    r"routes?|highways?|flights?|class|classes|sections?|box|teams?|groups?|stages?|lanes?|steps?|"
    r"pages?|numbers?|no\.|questions?|parts?|rounds?|games?|phases?|sizes?|versions?|ages?|aged|"
    r"turns?|turned|turning) )$", re.IGNORECASE)
_BEHIND = re.compile(
    r"[/:]\d|[a-zA-Z]|-\d|-? ?(?:years?|months?|weeks?)(?:[ -]olds?| of age)|-year| ?[ap]\.?m\b|"
    r" o'clock|[- ](?:(?:dollar|cent)[- ])?(?:bill|note|coin)s?\b| (?:and )?\d+/\d| ?(?:to|:) ?\d")
_YEAR = re.compile(r"(?<!\$)(?:1[6-9]|20)\d\d(?![\d,.]*\d)")
_PERCENT = re.compile(r" ?%| ?percent| per cent")
_MOST = {"day": 7, "hour": 24, "minute": 60, "second": 60, "month": 12, "week": 4, "%": 100,
         "percent": 100, "per cent": 100, "inch": 12, "cent": 100}  # where the next unit begins
_UNIT = re.compile(f"[ -]?({'|'.join(_MOST)})")
# Known facts: where this is spoken of, the number of those stays.
_FACTS = {"pizza": "slice|piece", "deck": "card", "goal": "point", "basket": "point",
          "touchdown": "point", "alphabet": "letter", "jenga": "", "state": "state"}


@functools.cache
def exact(digits: str) -> Fraction:
    return Fraction(digits.replace(",", ""))


def numbers(text: str) -> Iterator[tuple[re.Match, Fraction]]:
    """(where it stands, its value) of each number that is written in digits."""
    return ((match, exact(match[0])) for match in NUMBER.finditer(text))


def values(text: str) -> list[Fraction]:
    return [value for _, value in numbers(text)]


def words(text: str) -> set[str]:
    return set(re.findall("[a-z]+", text.lower()))


@functools.cache
def _brought() -> dict[str, set[Fraction]]:
    """The table of number_words.txt by word, and the words of COUNTED."""
    found = {word: {number} for word, number in COUNTED.items()}
    text = Path(__file__).with_name("number_words.txt").read_text(encoding="utf-8")
    for line in text.splitlines():
        if not line.startswith("#"):
            digits, _, named = line.partition(": ")
            for word in named.split():
                found.setdefault(word, set()).update(map(exact, digits.split()))
    return found


def brought_along(named: set[str]) -> set[Fraction]:
    """The numbers that these words stand for or bring along, and those that are everywhere."""
    return {exact("0"), exact("1"), exact("100")}.union(*(_brought().get(w, ()) for w in named))


def is_percent(question: str, match: re.Match) -> bool:
    return bool(_PERCENT.match(question, match.end()))


def is_amount(question: str, match: re.Match) -> bool:
    """Whether the number says an amount."""
    behind = question[match.end():]
    return not (_BEFORE.search(question[:match.start()]) or _BEHIND.match(behind)
                or _YEAR.match(question, match.start())
                or any(topic in question.lower() and re.match(rf"[ -]?(\w+ )?({things})", behind)
                       for topic, things in _FACTS.items()))


def choices(question: str, staying: set[Fraction]) -> dict[Fraction, list[Fraction]]:
    """What each number of the question that need not stay may become."""
    found: dict[Fraction, list[Fraction]] = {}
    for match, value in numbers(question):
        if value not in staying:
            new = [v for v in near(value, match[0]) if _fits(question, match, value, v)]
            found[value] = [v for v in found[value] if v in new] if value in found else new
    return found


def near(value: Fraction, text: str) -> list[Fraction]:
    """Numbers of a similar size, as round as this one and with as many decimals."""
    scale = 10 ** len(text.partition(".")[2])
    n, step = int(value * scale), 1
    while n % (10 * step) == 0:
        step *= 10
    if step > 1:
        step //= 2 if n > step else 10
    elif n % 5 == 0 and n > 20:
        step = 5
    low, high = -(-n // (2 * step)), int(n * 1.7) // step + 1
    low = max(low, 3 if scale == step == 1 else 1)  # no "all 2 of them"
    return [Fraction(step * i, scale) for i in range(low, high + 1, (high - low) // 99 + 1)]


def _fits(question: str, match: re.Match, old: Fraction, new: Fraction) -> bool:
    """Whether a number may stand in the place of another: of one kind, on the same side of where
    the next unit begins (7 days, 60 minutes), and with the same article."""
    unit = _UNIT.match(question, match.end())
    most = Fraction(_MOST[unit[1]] if unit else 1)
    article = re.search(r"\b(an?) \$?$", question[:match.start()], re.IGNORECASE)
    vowel = re.match(r"8|1[18]($|\.|\d{3}($|\.))", written(new, ""))
    return (alike(old, new) and sign(old - most) == sign(new - most)
            and not (article and (article[1].lower() == "an") != bool(vowel)))


def relations(known: set[Fraction]) -> list[Relation]:
    """Sums and products among the numbers of a question: a whole beside its parts, maybe."""
    return [(f, a, b, f(a, b)) for a, b in combinations(sorted(known - {1}), 2)
            for f in (operator.add, operator.mul) if f(a, b) in known]


def alike(old: Fraction, new: Fraction) -> bool:
    """Whether two values are of one kind (whole or not, sign, below or above 1) and similar size;
    not whole ones with at most two decimals, or as many as before."""
    if old == new:
        return True
    if old.denominator == 1 or new.denominator == 1:
        same = old.denominator == new.denominator
    else:
        same = decimals(new) <= max(2, decimals(old)) < 9
    return (same and sign(old) == sign(new) and sign(abs(old) - 1) == sign(abs(new) - 1)
            and abs(old) <= 2 * abs(new) <= 4 * abs(old))


def sign(value: Fraction) -> int:
    return (value > 0) - (value < 0)


def decimals(value: Fraction) -> int:
    """How many a number has; 9 where nine are not enough."""
    return next((n for n in range(9) if 10**n % value.denominator == 0), 9)


def rewrite(text: str, table: dict[Fraction, Fraction], code: bool = False) -> str:
    """The text with other numbers, each in the style of the old one, or of code."""
    def new(match: re.Match) -> str:
        value, number = exact(match[0]), table[exact(match[0])]
        if value == number:
            return match[0]
        return written(number, match[0] if not code else "0.0" if "." in match[0] else "")

    return NUMBER.sub(new, text)


def written(value: Fraction, like: str) -> str:
    """A number of at most nine decimals in digits, in the style of another: at least as many
    decimals, thousands commas, no zero before the point."""
    places = max(decimals(value), len(like.partition(".")[2]))
    whole, rest = divmod(round(abs(value) * 10**places), 10**places)
    digits = f"{whole:,}" if "," in like else str(whole)
    text = "-" * (value < 0) + digits + (f".{rest:0{places}}" if places else "")
    return text.removeprefix("0") if like.startswith(".") else text
