"""Scores: how many answers are right, how nearly the others are, how sure one can be of that,
and at which step a wrong working broke.

Pure Python, no torch. Predictions and answers are texts of final answers ("227 R 27"), in the
same order. All scores are shares between 0 and 1 (digit match can be negative).
"""

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

from goat.errors import UserError
from goat.questions import Question
from goat.tasks import longhand, longhand_forms
from goat.tasks.arithmetic import check, extract_answer
from goat.tasks.word_problems import TASK, same_number, stated


def exact_match(predictions: Sequence[str], answers: Sequence[str]) -> float:
    """The share of predictions that equal the whole answer, white space at the ends apart."""
    return _share(_pairs(predictions, answers), lambda said, true: said == true)


def last_token_match(predictions: Sequence[str], answers: Sequence[str]) -> float:
    """The share whose last word equals the answer's last word.

    This is what the authors of Goat published. It is kinder than `exact_match`: of `227 R 27`
    only the remainder is looked at, so `999 R 27` counts as right.
    """
    return _share(_pairs(predictions, answers), lambda said, true: said.split()[-1:] ==
                  true.split()[-1:])


def digit_match(predictions: Sequence[str], answers: Sequence[str]) -> float:
    """1 - CER, the character error rate over the whole set: edits / characters of the answers.

    Edits are the substitutions, deletions and insertions that turn the predictions into the
    answers. One wrong digit of 24 answers with 100 characters in all: 1 - 1/100 = 0.99. Answers
    that are much too long make it negative.
    """
    pairs = _pairs(predictions, answers)
    edits = sum(edit_distance(said, true) for said, true in pairs)
    return 1 - edits / sum(len(true) for _, true in pairs)


def _pairs(predictions: Sequence[str], answers: Sequence[str]) -> list[tuple[str, str]]:
    if len(predictions) != len(answers) or not any(answers):
        raise UserError(f"{len(predictions)} predictions for {len(answers)} answers: give one for "
                        "each, and at least one answer that is not empty")
    return [(said.strip(), true.strip()) for said, true in zip(predictions, answers)]


def _share(pairs: list[tuple[str, str]], right) -> float:
    return sum(right(said, true) for said, true in pairs) / len(pairs)


def edit_distance(a: str, b: str) -> int:
    """The least number of characters to change, delete or insert to turn a into b (Levenshtein).

    Row i of the usual table holds the distances of a[:i] from every beginning of b.
    """
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        diagonal, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (x != y))
    return row[-1]


def wilson(right: int, total: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's interval of a share, 95 % by default: (low, high).

    Unlike share ± z * sqrt(p q / n) it stays inside [0, 1] and is not empty when all answers are
    right: wilson(100, 100) = (0.963, 1.0). Source: Wilson 1927, J. Am. Stat. Assoc. 22, 209.
    """
    if total == 0:
        return 0.0, 1.0
    share, z2 = right / total, z * z
    middle = share + z2 / (2 * total)
    spread = z * math.sqrt(share * (1 - share) / total + z2 / (4 * total * total))
    low, high = (middle - spread) / (1 + z2 / total), (middle + spread) / (1 + z2 / total)
    return max(0.0, low), min(1.0, high)  # only rounding can leave [0, 1]


class McNemar(NamedTuple):
    only_first: int  # questions that only the first model got right
    only_second: int
    p: float  # how often chance alone gives so uneven a split


def mcnemar(first: Sequence[bool], second: Sequence[bool]) -> McNemar:
    """Compare two models on the same questions: `first[i]` says whether the first got i right.

    Questions on which both agree tell nothing. If the models were equally good, each of the
    others would be a fair coin toss; p is the exact two-sided binomial probability of a split at
    least this uneven. Source: McNemar 1947, Psychometrika 12, 153.
    """
    if len(first) != len(second):
        raise UserError(f"{len(first)} results against {len(second)}: McNemar's test needs the "
                        "same questions in the same order")
    only_first = sum(a and not b for a, b in zip(first, second))
    only_second = sum(b and not a for a, b in zip(first, second))
    n, k = only_first + only_second, min(only_first, only_second)
    tail = sum(math.comb(n, i) for i in range(k + 1))  # of the 2^n equally likely outcomes
    return McNemar(only_first, only_second, min(1.0, 2 * tail / 2**n))


# ------------------------------------------------------------------------- where it went wrong


class Verdict(NamedTuple):
    """What is to be said about one output."""

    given: str  # the answer it states
    right: bool  # whether that is the whole true answer
    kind: str | None  # the class of its first false step, a key of KINDS in goat/tasks: verify.py,
    # of longhand questions longhand_forms.py
    first_error: str | None  # which step that is, and why it is false


def judge(question: Question, output: str) -> Verdict:
    """Compare an output's answer with the true one and find the first false step of its working.

    A working with a false step may still reach the right answer: then `right` is true and
    `first_error` is set. Questions that are not arithmetic have no steps that could be checked.
    Answers of word problems are compared as numbers (`same_number`: "$1,234.50" equals 1234.5, 18
    is not 18.002); `kind` tells where there is none.
    """
    text = question.working(output)
    if question.task == TASK:
        given, failure = stated(text)
        return Verdict(given, same_number(given, question.answer), failure, None)
    if question.expression is None:
        given = extract_answer(text)
        return Verdict(given, given == question.answer.strip(), None, None)
    a, op, b = question.operands
    found = longhand.check_any(a, b, text) if op == "%" else check(question.expression, text)
    right = found.answer == question.answer.strip()
    return Verdict(found.answer, right, found.kind, found.first_error)


_PLACE = re.compile(r"(equation|line|step) (\d+)\b(: the question is)?")


def locate(text: str, first_error: str | None) -> tuple[int, int]:
    """Where the first false step stands in a working: text[start:end].

    "line 2: …" is the second line, "equation 3: …" what follows the third "=", or what stands
    before the first one where the question is copied wrongly, and "step 4: …" the fourth step of a
    longhand form. It is the whole text where the error has no place of its own, and nothing where
    there is no error.
    """
    if first_error is None:
        return 0, 0
    place = _PLACE.match(first_error)
    if place is None:
        return 0, len(text)
    separator, skip = {"line": ("\n", 0), "step": ("", 0),
                       "equation": (" = ", 0 if place[3] else 1)}[place[1]]
    parts = text.split(separator) if separator else longhand_forms.steps_of(text)
    index = int(place[2]) - 1 + skip
    if index >= len(parts):
        return 0, len(text)
    start = sum(len(part) + len(separator) for part in parts[:index])
    return start, start + len(parts[index])
