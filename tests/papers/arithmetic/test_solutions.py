"""Goat's worked solutions: exact formats, special cases, and the checker that reads them.

Run: python -m pytest tests/papers/arithmetic/test_solutions.py
"""

import random
import re

import pytest

from goat.errors import UserError
from goat.papers.arithmetic.operations import OPERATIONS
from goat.papers.arithmetic.solutions import (OMITTABLE, Problem, check, extract_answer,
                                              solve)
from goat.papers.arithmetic.verify import KINDS
from goat.papers.arithmetic.workings import place_values, single_nonzero_digit

# question, whole target, answer: Goat's formats with every special case.
TARGETS = [
    ("70518 + 2943", "70518 + 2943 = 73461", "73461"),
    ("6204 - 91537", "6204 - 91537 = -85333", "-85333"),
    ("12 - 12", "12 - 12 = 0", "0"),
    ("0 + 0", "0 + 0 = 0", "0"),
    ("48306 * 7", "48306 * 7 = 338142", "338142"),
    ("30000 * 518", "30000 * 518 = 15540000", "15540000"),
    ("400 * 7261", "400 * 7261 = 2904400", "2904400"),
    ("58213 * 0", "58213 * 0 = 0", "0"),
    ("1 * 407", "1 * 407 = 407", "407"),
    ("62 * 5083", "62 * 5083 = 5083 * (60 + 2) = 5083 * 60 + 5083 * 2 = 304980 + 10166 = 315146",
     "315146"),
    ("81547 * 3062",
     "81547 * 3062 = 81547 * (3000 + 60 + 2) = 81547 * 3000 + 81547 * 60 + 81547 * 2 = "
     "244641000 + 4892820 + 163094 = 249533820 + 163094 = 249696914", "249696914"),
    ("4630917 / 8", "4630917 / 8 = 578864 R 5", "578864 R 5"),
    ("52164 / 3", "52164 / 3 = 17388", "17388"),
    ("7310 / 10", "7310 / 10 = 731", "731"),
    ("2 / 7", "2 / 7 = 0 R 2", "0 R 2"),
    ("0 / 4817", "0 / 4817 = 0", "0"),
    ("90317 / 0", "90317 / 0 is undefined", "undefined"),
    ("37 / 812", "37 / 812 = 0 R 37", "0 R 37"),
    ("945 / 945", "945 / 945 = 1", "1"),
    ("8653 / 38", "8653 - 38 * 200 = 8653 - 7600 = 1053\n1053 - 38 * 20 = 1053 - 760 = 293\n"
     "293 - 38 * 7 = 293 - 266 = 27\nTherefore, 8653 / 38 = 227 R 27", "227 R 27"),
    ("3306 / 58", "3306 - 58 * 50 = 3306 - 2900 = 406\n406 - 58 * 7 = 406 - 406 = 0\n"
     "Therefore, 3306 / 58 = 57", "57"),
    ("61394 / 203", "61394 - 203 * 300 = 61394 - 60900 = 494\n494 - 203 * 2 = 494 - 406 = 88\n"
     "Therefore, 61394 / 203 = 302 R 88", "302 R 88"),
    ("9999 / 400", "9999 - 400 * 20 = 9999 - 8000 = 1999\n1999 - 400 * 4 = 1999 - 1600 = 399\n"
     "Therefore, 9999 / 400 = 24 R 399", "24 R 399"),  # one non-zero digit: still in steps
]
PRODUCT, QUOTIENT = "81547 * 3062", "8653 / 38"
SOLVED = {question: target for question, target, _ in TARGETS}


@pytest.mark.parametrize("question, target, answer", TARGETS)
def test_targets(question, target, answer):
    assert solve(question) == Problem(question, target, answer)
    assert check(question, target) == (True, answer, None, None)
    assert extract_answer(target) == answer


@pytest.mark.parametrize("spelling, question", [
    *((text, "62 * 5083") for text in ("62*5083", "62x5083", " 62 × 5083 ", "62 X 5083")),
    ("8÷2", "8 / 2")])
def test_spellings(spelling, question):
    assert solve(spelling) == solve(question)


@pytest.mark.parametrize("question, omit, target", [
    ("62 * 5083", ["split"], "62 * 5083 = 5083 * 60 + 5083 * 2 = 304980 + 10166 = 315146"),
    ("62 * 5083", ["expand"], "62 * 5083 = 5083 * (60 + 2) = 304980 + 10166 = 315146"),
    ("62 * 5083", ["split", "expand"], "62 * 5083 = 304980 + 10166 = 315146"),
    (PRODUCT, ["accumulate"], "81547 * 3062 = 81547 * (3000 + 60 + 2) = 81547 * 3000 + 81547 * 60 "
     "+ 81547 * 2 = 244641000 + 4892820 + 163094 = 249696914"),
    ("3306 / 58", ["product"],
     "3306 - 58 * 50 = 406\n406 - 58 * 7 = 0\nTherefore, 3306 / 58 = 57")])
def test_omitted_stages(question, omit, target):
    assert solve(question, omit=omit).solution == target


def test_without_steps():
    assert solve(PRODUCT, steps=False).solution == "81547 * 3062 = 249696914"
    assert solve(QUOTIENT, steps=False).solution == "8653 / 38 = 227 R 27"


@pytest.mark.parametrize("bad", ["", "12", "1 + 2 + 3", "-3 + 4", "1.5 * 2", "a * b", "3 ** 4",
                                 "9" * 2001 + " + 1"])
def test_unreadable_questions(bad):
    with pytest.raises(UserError):
        solve(bad)


def test_unknown_stage():
    with pytest.raises(UserError, match="splitt.*split, expand"):
        solve(PRODUCT, omit=["splitt"])


def test_operands_of_any_size():
    a, b = 10**300 + 7, 10**150 + 43
    assert int(solve(f"{a} * {b}").answer) == a * b
    quotient, _, rest = solve(f"{a} / {b}").answer.partition(" R ")
    assert int(quotient) * b + int(rest) == a


def test_place_values_and_single_digits():
    assert place_values(3062) == ["3000", "60", "2"]
    for n in (0, 7, 70, 999, 1000, 999_999, 1_000_000, 10**20 + 305_000):
        places = [digit + "0" * i for i, digit in enumerate(reversed(str(n))) if digit != "0"]
        assert place_values(n) == places[::-1]
    assert [n for n in range(1001) if single_nonzero_digit(n)] == sorted(
        {0, 1000} | {d * p for d in range(1, 10) for p in (1, 10, 100)})


@pytest.mark.parametrize("text, answer", [
    ("62 * 5083 = 304980 + 10166 = 315146", "315146"), ("Therefore, 9 / 2 = 4 R 1\n", "4 R 1"),
    ("5 / 0 is undefined", "undefined"), ("-17", "-17"), ("", ""), ("3 + 4 =", ""),
])
def test_extract_answer(text, answer):
    assert extract_answer(text) == answer


def random_questions(count):
    rng = random.Random(5)
    for _ in range(count):
        a, b = (rng.randrange(10 ** rng.randint(1, 7)) for _ in range(2))
        yield f"{a} {rng.choice([*OPERATIONS])} {b}"


def test_checker_accepts_every_variant():
    assert check("5 / 0", "5 / 0 = undefined").ok  # as a bare question is answered
    rng = random.Random(6)
    for question in random_questions(2000):
        omit = [stage for stage in OMITTABLE if rng.random() < 0.5]
        problem = solve(question, steps=rng.random() < 0.9, omit=omit)
        for text in (problem.solution, problem.answer, problem.solution + "\n"):
            assert check(question, text) == (True, problem.answer, None, None), text


def test_checker_notices_every_changed_digit():
    """No number of a working escapes: change any digit, and the working is wrong."""
    for question in (PRODUCT, QUOTIENT, "3306 / 58", "6204 - 91537", "48306 * 7", "2 / 7"):
        target = SOLVED[question]
        for position in [m.start() for m in re.finditer(r"\d", target)]:
            for digit in "0123456789":
                changed = target[:position] + digit + target[position + 1:]
                assert check(question, changed).ok == (changed == target), changed


def test_checker_notices_every_cut():
    for question in (PRODUCT, QUOTIENT, "62 * 5083"):
        target = SOLVED[question]
        for end in range(len(target)):
            assert not check(question, target[:end]).ok, target[:end]


WRONG = [  # question, what is replaced in its target and by what, kind, part of the reason
    (PRODUCT, "81547 * 3062 =", "81547 * 3026 =", "copying", "the question is 81547 * 3062"),
    (PRODUCT, "163094 = ", "16309٤ = ", "format", "equation 3"),  # a digit of another script
    ("3306 / 58", "= 0\n", "= -0\n", "format", "line 2"),
    (PRODUCT, "60 + 2)", "60 + 3)", "split", "equation 1: 3000 + 60 + 3 is 3063, not 3062"),
    (PRODUCT, "81547 * 60", "81547 * 50", "copying", "equation 2: the parts are 3000 + 60 + 2"),
    (PRODUCT, "81547 * 60", "81574 * 60", "copying", "equation 2: the factor is 81547"),
    (PRODUCT, "4892820", "4892720", "product", "equation 3: 81547 * 60 is 4892820, not 4892720"),
    (PRODUCT, "= 249533820", "= 249533720", "sum",
     "equation 4: 244641000 + 4892820 is 249533820, not 249533720"),
    (PRODUCT, "249533820 + 163094", "249533820 + 163049", "copying", "equation 4: 163094 is left"),
    (PRODUCT, " + 163094 = 249696914", " = 249696914", "copying", "equation 4"),
    (PRODUCT, "249696914", "249696913", "sum", "equation 5"),
    (PRODUCT, " = 249696914", "", "unfinished", "equation 4 is the last"),
    (PRODUCT, "= 249533820 +", "= 81547 * 3000 +", "format", "equation 4"),
    (PRODUCT, "244641000 + 4892820 +", "249533820 +", "copying", "2 products of 3 parts"),
    ("62 * 5083", "304980 + 10166 = ", "304980 + 10166 = 304980 + 10166 = ", "format", "nothing"),
    (QUOTIENT, "1053 - 38", "1035 - 38", "copying", "line 2: 1053 is left, not 1035"),
    (QUOTIENT, "1053 - 760", "1035 - 760", "copying", "line 2: 1053 is left, not 1035"),
    (QUOTIENT, "38 * 20 ", "83 * 20 ", "copying", "line 2: the divisor is 38, not 83"),
    (QUOTIENT, "760 ", "780 ", "product", "line 2: 38 * 20 is 760, not 780"),
    (QUOTIENT, "= 293\n", "= 283\n", "subtraction", "line 2: 1053 - 760 is 293, not 283"),
    (QUOTIENT, "= 27\n", "= 27\n27 - 38 * 1 = 27 - 38 = -11\n", "quotient",
     "line 4: 1 is too large"),
    (QUOTIENT, "227 R", "237 R", "sum", "line 4: the parts add up to 227, not 237"),
    (QUOTIENT, "R 27", "R 37", "remainder", "line 4: 27 is left, not 37"),
    (QUOTIENT, "Therefore, 8653", "Therefore, 8635", "copying", "the question is 8653 / 38"),
    (QUOTIENT, "Therefore, ", "", "format", "Therefore"),
    (QUOTIENT, "\nTherefore, 8653 / 38 = 227 R 27", "", "unfinished", "line 3 is the last"),
    (QUOTIENT, "= 1053\n", "is 1053\n", "format", "line 1"),
    ("3306 / 58", " = 57", " = 57 R 0", "remainder", "3306 / 58 is 57"),
    ("4630917 / 8", "R 5", "R 4", "remainder", "4630917 / 8 is 578864 R 5"),
    ("4630917 / 8", "578864", "578865", "quotient", "4630917 / 8 is 578864 R 5"),
    ("6204 - 91537", "-85333", "85333", "subtraction", "is -85333, not 85333"),
    ("70518 + 2943", "73461", "73361", "sum", "is 73461, not 73361"),
    ("70518 + 2943", " = 73461", " =", "unfinished", "no equation"),
    ("70518 + 2943", "70518 + 2943 = 73461", "I do not know", "format", "no equation"),
    ("48306 * 7", "338142", "0338142", "product", "is 338142, not 0338142"),
    (PRODUCT, "= 249533820", "= 0249533820", "format", "equation 4"),
    ("90317 / 0", "is undefined", "= 0", "format", "90317 / 0 is undefined"),
]


@pytest.mark.parametrize("question, old, new, kind, reason", WRONG)
def test_first_error(question, old, new, kind, reason):
    assert SOLVED[question].count(old) >= 1
    found = check(question, SOLVED[question].replace(old, new, 1))
    assert (found.ok, found.kind) == (False, kind), found
    assert reason in found.first_error


def test_a_quotient_digit_too_small_is_named():
    text = "8653 - 38 * 100 = 8653 - 3800 = 4853\n4853 - 38 * 90 = 4853 - 3420 = 1433\n"
    found = check(QUOTIENT, text + "Therefore, 8653 / 38 = 190 R 1433")
    assert found.kind == "quotient" and found.first_error.startswith("line 1: 38 * 100 leaves 4853")
    # Taken twice, the small part is a detour with true equations only.
    detour = SOLVED[QUOTIENT].replace(
        "8653 - 38 * 200 = 8653 - 7600 = 1053",
        "8653 - 38 * 100 = 8653 - 3800 = 4853\n4853 - 38 * 100 = 4853 - 3800 = 1053")
    assert check(QUOTIENT, detour).ok


def test_all_kinds_of_error_are_covered():
    assert {kind for *_, kind, _ in WRONG} == set(KINDS)


def test_endless_numbers_are_no_crash():
    assert check("2 + 2", "2 + 2 = " + "9" * 5000).kind == "format"
