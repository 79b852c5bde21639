"""Scores against values worked out by hand or by brute force; blame put on the right step.

Run: python -m pytest tests/evaluation/test_scoring.py
"""

import random
from itertools import product

import pytest

from goat.errors import UserError
from goat.evaluation.scoring import (digit_match, edit_distance, exact_match,
                                     last_token_match, locate)
from goat.papers import Question
from goat.papers.arithmetic.solutions import solve
from goat.papers.longhand import forms, questions
from goat.stats import mcnemar, wilson
from support.asking import judge

ANSWERS = ["227 R 27", "1758313", "-853", "57"]


def test_matches_by_hand():
    """Right; one digit wrong; the sign lost; only the remainder right."""
    said = ["227 R 27", "1758313 ", "853", "9 57"]
    assert exact_match(said, ANSWERS) == 2 / 4
    assert last_token_match(said, ANSWERS) == 3 / 4
    # of 8 + 7 + 4 + 2 = 21 characters: one insertion (the minus), two deletions ("9 ")
    assert digit_match(said, ANSWERS) == pytest.approx(1 - 3 / 21)
    assert exact_match(["999 R 27"], ["227 R 27"]) == 0
    assert last_token_match(["999 R 27"], ["227 R 27"]) == 1
    assert last_token_match([""], ["5"]) == 0
    assert digit_match(["1" * 12], ["11"]) == 1 - 10 / 2  # much too long: negative


def test_unequal_or_empty_lists_are_refused():
    for said, true in ((["1"], []), (["1"], ["1", "2"]), ([], []), ([""], [""]),
                       ([" "], [" "])):
        with pytest.raises(UserError, match="predictions for"):
            exact_match(said, true)


def slow_distance(a, b):
    if not a or not b:
        return len(a) + len(b)
    return min(slow_distance(a[1:], b) + 1, slow_distance(a, b[1:]) + 1,
               slow_distance(a[1:], b[1:]) + (a[0] != b[0]))


def test_edit_distance_is_the_least_number_of_edits():
    rng = random.Random(0)
    for _ in range(150):
        a, b = ("".join(rng.choices("12 R", k=rng.randint(0, 5))) for _ in range(2))
        assert edit_distance(a, b) == slow_distance(a, b)


@pytest.mark.parametrize("right, total", [(0, 7), (4, 4), (1, 10), (8, 10), (975, 1000),
                                          (100, 100)])
def test_wilson_solves_its_equation(right, total):
    """The bounds are the p for which the share is just z standard errors of p away from p."""
    share, z = right / total, 1.959964
    low, high = wilson(right, total)
    for p in (low, high):
        assert abs(share - p) == pytest.approx(z * (p * (1 - p) / total) ** 0.5, abs=1e-9)
    assert 0 <= low <= share <= high <= 1


def test_wilson_known_values():
    assert wilson(100, 100) == pytest.approx((0.9630, 1.0), abs=5e-5)
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=5e-5)
    assert wilson(0, 0) == (0, 1)


@pytest.mark.parametrize("only_first, only_second", [(0, 0), (1, 9), (6, 6), (5, 0), (3, 7)])
def test_mcnemar_counts_coin_tosses(only_first, only_second):
    """p against a count over all 2^n outcomes of n fair tosses."""
    n = only_first + only_second
    gap = abs(only_first - only_second)
    uneven = sum(abs(n - 2 * sum(tosses)) >= gap for tosses in product((0, 1), repeat=n))
    first = [True] * only_first + [False] * only_second + [True, True, False]
    second = [False] * only_first + [True] * only_second + [True, True, False]
    assert mcnemar(first, second) == (only_first, only_second, pytest.approx(uneven / 2**n))


# ------------------------------------------------------------------------------------ attribution

MUL = "81547 * 3062"
DIV = "8653 / 38"
# (question, what to replace in its working, by what, the text of the first false step)
PLANTED = [
    (MUL, "(3000 + 60 + 2)", "(3000 + 600 + 2)", "81547 * (3000 + 600 + 2)"),
    (MUL, "81547 * 60 +", "81574 * 60 +", "81547 * 3000 + 81574 * 60 + 81547 * 2"),
    (MUL, "= 249696914", "= 249696915", "249696915"),
    (MUL, " = 249533820 + 163094 = 249696914", "", "244641000 + 4892820 + 163094"),
    (DIV, "8653 - 7600 = 1053", "8653 - 7600 = 1063", "8653 - 38 * 200 = 8653 - 7600 = 1063"),
    (DIV, "\nTherefore, 8653 / 38 = 227 R 27", "", "293 - 38 * 7 = 293 - 266 = 27"),
    (DIV, "Therefore, 8653", "Therefore, 8635", "Therefore, 8635 / 38 = 227 R 27"),
    ("6204 - 91537", "6204 - 91537 =", "6240 - 91537 =", "6240 - 91537"),
    ("70518 + 2943", "70518 + 2943 = 73461", "I cannot say", "I cannot say"),
]


@pytest.mark.parametrize("question, old, new, step", PLANTED)
def test_planted_errors_are_found_and_marked(question, old, new, step):
    problem = solve(question)
    a, op, b = question.split()
    asked = Question("t", "t", "What?", question, problem.answer, operands=(int(a), op, int(b)))
    assert judge(asked, problem.solution) == (problem.answer, True, None, None)
    assert old in problem.solution
    text = problem.solution.replace(old, new, 1)
    verdict = judge(asked, text)
    assert verdict.kind and verdict.first_error
    start, end = locate(text, verdict.first_error)
    assert text[start:end] == step


def test_right_answer_after_a_false_step():
    """The answer counts, the false step is named all the same."""
    asked = Question("t", "t", "What?", "62 * 5083", "315146", operands=(62, "*", 5083))
    verdict = judge(asked, "62 * 5083 = 304990 + 10166 = 315146")
    assert verdict.right and verdict.kind == "product"


def test_bare_questions_are_judged_with_their_beginning():
    asked = Question("t", "t", "", "12 + 30 = ", "42", operands=(12, "+", 30))
    assert judge(asked, "42") == ("42", True, None, None)
    assert judge(asked, "43")[:3] == ("43", False, "sum")
    for prompt in ("12 + 30", "What is 12 + 30?\nAnswer: "):  # the user's own prompt
        asked = Question("t", "t", "", prompt, "42", operands=(12, "+", 30))
        assert judge(asked, "42") == ("42", True, None, None)


def test_questions_without_arithmetic_have_no_steps():
    asked = Question("t", "t", "Solve 2*x + 4 = 10 for x.", "", "3")
    assert judge(asked, "3") == ("3", True, None, None)
    assert judge(asked, "x = 4") == ("4", False, None, None)
    asked = Question("t", "t", "Solve 2*x + 4 = 10 for x.", "", "x = 3")
    assert judge(asked, "x = 3") == ("x = 3", True, None, None)
    assert not judge(asked, "y = 3").right


def test_the_whole_answer_counts_and_not_its_last_token():
    """The authors' scorer would take the remainder 1 alone; a text's last word would do as well."""
    asked = Question("s", "c", "", "22 / 3 = ", "7 R 1", operands=(22, "/", 3))
    assert judge(asked, "7 R 1").right
    for other in ("6 R 1", "1", "R 1", "17 R 1"):
        assert not judge(asked, other).right, other
    asked = Question("s", "c", "Which is it?", "", "two plums")
    assert judge(asked, "x = two plums").right and not judge(asked, "x = six plums").right


@pytest.mark.parametrize("form", ["columns", "grid"])
def test_steps_of_longhand_forms_are_marked(form):
    text = questions.row("150 % 12", 150, 12, form)["output"]
    steps = forms.steps_of(text)
    assert "".join(steps) == text and len(steps) > 20
    for number in (1, 9, len(steps)):
        start, end = locate(text, f"step {number}: should be another")
        assert text[start:end] == steps[number - 1] and start == sum(map(len, steps[:number - 1]))


def test_locate_falls_back_to_everything_or_nothing():
    assert locate("a = b", None) == (0, 0)
    assert locate("a = b", "no place at all") == (0, 5)
    assert locate("a = b", "equation 7: beyond the end") == (0, 5)
    assert locate(" \na\nb", "line 2: is wrong") == (4, 5)  # counted as a check does
