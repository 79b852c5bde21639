"""Scores: how many answers are right, how nearly the others are, and at which step a wrong working
broke.

Pure Python, no torch. Predictions and answers are texts of final answers ("227 R 27"), in the
same order. All scores are shares between 0 and 1 (digit match can be negative).
"""

import re
from collections.abc import Sequence

from goat.errors import UserError
from goat.papers.longhand.forms import steps_of


def exact_match(predictions: Sequence[str], answers: Sequence[str]) -> float:
    """The share of predictions that equal the whole answer, white space at the ends apart.

    Raises UserError, as all scores do, for lists of unequal length or without any answer.
    """
    pairs = _pairs(predictions, answers)
    return sum(said == true for said, true in pairs) / len(pairs)


def last_token_match(predictions: Sequence[str], answers: Sequence[str]) -> float:
    """The share whose last word equals the answer's last word.

    This is what the authors of Goat published. It is kinder than `exact_match`: of `227 R 27`
    only the remainder is looked at, so `999 R 27` counts as right.
    """
    pairs = _pairs(predictions, answers)
    return sum(said.split()[-1:] == true.split()[-1:] for said, true in pairs) / len(pairs)


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
    pairs = [(said.strip(), true.strip()) for said, true in zip(predictions, answers)]
    if len(predictions) != len(answers) or not any(true for _, true in pairs):
        raise UserError(f"{len(predictions)} predictions for {len(answers)} answers: give one for "
                        "each, and at least one answer that is not empty")
    return pairs


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


# ------------------------------------------------------------------------- where it went wrong

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
    if (place := _PLACE.match(first_error)) is None:
        return 0, len(text)
    if lead := len(text) - len(text.lstrip()):  # a check does not count what is empty there
        start, end = locate(text[lead:], first_error)
        return lead + start, lead + end
    what, number, copied = place.groups()
    separator = {"line": "\n", "step": "", "equation": " = "}[what]
    parts = text.split(separator) if separator else steps_of(text)
    index = int(number) - (what != "equation" or copied is not None)
    if index >= len(parts):
        return 0, len(text)
    start = sum(len(part) + len(separator) for part in parts[:index])
    return start, start + len(parts[index])
