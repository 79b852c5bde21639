"""The forms of a longhand demonstration: every step is true, and the checker finds every mistake.

The workings are verified here by arithmetic of the tests' own: lines are read with regular
expressions, and the grid is acted out on a dictionary.
Run: python -m pytest tests/papers/longhand/test_longhand_forms.py
"""

import re
from random import Random

import pytest

from goat.errors import UserError
from goat.papers.longhand import grid
from goat.papers.longhand.forms import FORMS, KINDS
from goat.papers.longhand.questions import (check_any, from_questions, parse_question)
from support.longhand import RELEASED, needs_released, pairs

GRID = ("grid", "grid-quiet")
EDGES = [(0, 7), (7, 7), (8, 1), (9, 3), (5, 12), (4, 1000), (1427, 1427), (148, 4), (15193, 15),
         (14025, 499), (999999, 1), (100000, 100), (90909, 9), (1000001, 999), (45, 50)]


# --------------------------------------------------------------------- the forms are all right

NUMBER = r"(\d+)"
RULES = [  # every line of the form climb, and what makes it true
    (rf"{NUMBER} - {NUMBER} = {NUMBER}", lambda a, b, c: int(a) - int(b) == int(c)),
    (rf"{NUMBER} , {NUMBER} -> {NUMBER}(?: , {NUMBER})?",
     lambda a, b, c, d: int(a + b[0]) == int(c) and b[1:] == (d or "")),
    (rf"{NUMBER}: ([\d ]+)",
     lambda y, listed: listed.split() == [str(int(y) * k) for k in range(1, 11)]),
    (rf"up to {NUMBER}: ([\d ]+) > {NUMBER}",
     lambda a, listed, b: a == b and [int(k) > int(a) for k in listed.split()]
     == [False] * listed.count(" ") + [True]),
]


def assert_climb(text: str, x: int, y: int) -> None:
    """Every line is true, takes its numbers from earlier ones, and all digits are used up."""
    lines = text.split("\n")
    assert lines[0] == f"{x} % {y}"
    left, rest = str(x)[0], str(x)[1:]
    for line in lines[1:-1]:
        matches = [(re.fullmatch(pattern, line), true) for pattern, true in RULES]
        [(match, true)] = [(match, true) for match, true in matches if match]
        assert true(*match.groups()), line
        if " - " in line:
            assert match[1] == left and int(match[2]) % y == 0 < int(match[2])
            left = match[3]
        elif " -> " in line:
            assert int(left) < y and (match[1], match[2]) == (left, rest)
            left, rest = match[3], match[4] or ""
        elif line.startswith("up"):
            assert match[1] == left
            listed = [int(k) for k in re.findall(r"\d+", line)]
            assert all(y * k in listed for k in range(1, int(left) // y + 1))
    assert rest == "" and int(left) < y
    assert lines[-1] == f"{left}"


def assert_columns(text: str, x: int, y: int) -> None:
    """Read as numbers: the divisor is taken away while it goes in, for every digit brought down."""
    first, start, *lines, last = text.split("\n")
    names = [chr(ord("a") + i) for i in range(len(str(y)))]
    places = ["z", *names]
    naming = [f"{name.upper()}{digit} {str(y)[i:]}".strip()
              for i, (name, digit) in enumerate(zip(names, str(y)), 1)]
    assert first == f"{y} {' '.join(naming)} Z0" and start == f"{named(places, 0)} 0 , {x}"
    left, rest, fits = 0, str(x), False
    for line in lines:
        if not line.startswith("-"):
            assert not fits and left < y and rest
            left, rest = int(f"{left}{rest[0]}"), rest[1:]
            assert line == f"{named(places, left)} {left} , {rest}".rstrip()
            continue
        assert fits or left >= 10 ** (len(names) - 1)
        columns = line[2:].split()[::-1]  # from the left
        assert [column[0] for column in columns] == places
        above, below, difference, borrows = ("".join(digits) for digits in
                                             zip(*(column[1:] for column in columns)))
        fits = left >= y
        assert (int(above), int(below)) == (left, y)
        assert int(difference) == (left - y) % 10 ** len(places)
        for i, borrow in enumerate(reversed(borrows), 1):
            assert int(borrow) == (left % 10**i < y % 10**i)
        left -= y * fits
    assert not fits and not rest and left == x % y
    assert last == f"= {named(places[1:], left)} {left}"


def named(names: list[str], value: int) -> str:
    return " ".join(map("".join, zip(names, str(value).zfill(len(names)), strict=True)))


WORKINGS = {  # of 150 % 12, line by line
    "answer": ["6"],
    "climb": ["150 % 12", "12: 12 24 36 48 60 72 84 96 108 120",
              "up to 1: 12 > 1", "1 , 50 -> 15 , 0", "up to 15: 12 24 > 15", "15 - 12 = 3",
              "3 , 0 -> 30", "up to 30: 12 24 36 > 30", "30 - 24 = 6", "6"],
    "columns": ["12 A1 2 B2 Z0", "z0 a0 b0 0 , 150", "z0 a0 b1 1 , 50", "z0 a1 b5 15 , 0",
                "- b5230 a1100 z0000", "- b3210 a0191 z0091", "z0 a3 b0 30 ,",
                "- b0281 a3110 z0000", "- b8260 a1100 z0000", "- b6240 a0191 z0091", "= a0 b6 6"],
}


@pytest.mark.parametrize("form", list(WORKINGS))
def test_the_workings_of_150_by_12(form):
    assert FORMS[form].write(150, 12).split("\n") == WORKINGS[form]


@pytest.mark.parametrize("form", ["climb", "columns"])
def test_lean_forms_are_true_line_by_line(form):
    for x, y in pairs("train", 90) + pairs("interpolate", 90) + pairs("longer", 20) + EDGES:
        text = FORMS[form].write(x, y)
        (assert_columns if form == "columns" else assert_climb)(text, x, y)
        assert int(re.findall(r"\d+", text)[-1]) == x - y * (x // y)
        found = FORMS[form].check(x, y, text + "\n")
        assert found == (True, str(x % y), None, None)


CELL = re.compile(r"(\d\d),(\d\d):(\d{3}) (\S)")
NARRATION = {
    r"(.) , (.) (\w+)": lambda a, b, word: word == relation(int(a), int(b)),
    r"([\d ]+) - (\d) = (\d)": lambda a, b, c: joined(a) - int(b) == int(c),
    r"([\d ]+) \+ ([\d ]+) = ([\d ]+)": lambda a, b, c: joined(a) + joined(b) == joined(c),
}


def joined(spaced: str) -> int:
    return int(spaced.replace(" ", ""))


def relation(a: int, b: int) -> str:
    return {a < b: "larger", a > b: "smaller", a == b: "equal"}[True]


def assert_grid(text: str, x: int, y: int) -> None:
    """Act the trace out: what is looked at stands there, tags count digits, sums are true."""
    trace, _, last = text.rpartition("\n")
    assert last == f"remainder = {x % y}"
    sheet: dict[tuple[int, int], str] = {}
    for action in re.findall(r"\{ .*? \}|write[^a-z{]*|look[^a-z{]*|clear", trace):
        for column, line, tag, symbol in CELL.findall(action):
            cell = int(column), int(line)
            if action.startswith("write"):
                sheet[cell] = symbol
            assert sheet.get(cell, "_") == symbol, action
            start = cell[0]
            while sheet.get((start - 1, cell[1]), "_").isdigit():
                start -= 1
            assert int(tag) == 201 + cell[0] - start, action
        if action.startswith("{"):
            said = CELL.sub(lambda m: m[4].replace("_", "0"), action[2:-2])
            for pattern, true in NARRATION.items():
                if match := re.fullmatch(pattern, said):
                    assert true(*match.groups()), action
    at = len(str(y)) + 1
    assert "".join(sheet[column, 2] for column in range(at)) == f"{y}ſ"
    quotient = "".join(sheet.get((column, 1), "") for column in range(at, 60))
    assert int(quotient) == x // y
    assert trace.endswith(f"{{ final remainder is {' '.join(str(x % y))} }}")


@pytest.mark.parametrize("form", GRID)
def test_grid_forms_are_true_when_acted_out(form):
    for x, y in pairs("train", 6) + pairs("interpolate", 4) + EDGES:
        if x >= y:
            text = FORMS[form].write(x, y)
            assert_grid(text, x, y)
            assert FORMS[form].check(x, y, text) == (True, str(x % y), None, None)


def test_grid_trace_of_67_mod_45():
    trace = " ".join(grid.actions(67, 45))
    assert trace.startswith(
        "write 00,02:201 4 01,02:202 5 02,02:203 ſ 03,02:201 6 04,02:202 7 { compare } "
        "look 00,02:201 4 01,02:202 5 02,02:203 ſ { 2 digits } look 03,02:201 6 04,02:202 7 "
        "{ 2 digits equal } look 00,02:201 4 look 03,02:201 6 { 4 , 6 larger } "
        "write 04,01:201 0 clear")
    assert ("write 02,03:201 - write 03,03:201 4 04,03:202 5 look 04,02:202 7 look 04,03:202 5 "
            "{ 7 , 5 smaller } { 7 - 5 = 2 } write 04,04:201 2") in trace
    assert trace.endswith("{ final remainder is 2 2 }")
    quiet = " ".join(grid.actions(67, 45, narrate=False))
    assert quiet == re.sub(r" \{ .*? \}", "", trace) + " { final remainder is 2 2 }"


def test_grid_borrows_across_zeros_and_drops_a_rest_of_zero():
    trace = " ".join(grid.actions(1002, 5))
    assert "{ change 0 to 9 }" in " ".join(grid.actions(14025, 499))
    assert "look 04,06:201 0 write 04,06:201 _ look 05,06:201 _ { read the answer }" in trace


def test_grid_refuses_what_does_not_fit():
    for x, y in ((5, 12), (10**38, 7)):
        with pytest.raises(UserError, match="the grid forms cannot work out"):
            FORMS["grid"].write(x, y)


def test_columns_refuse_divisors_of_more_digits_than_there_are_names():
    x = 10**30 + 7
    assert_columns(FORMS["columns"].write(x, 10**24), x, 10**24)
    with pytest.raises(UserError, match="names for 25 digits of a divisor, and 1000* has 26$"):
        FORMS["columns"].write(x, 10**25)


def test_a_question_that_some_forms_cannot_work_out_is_judged_in_the_others():
    assert check_any(5, 12, "5") == (True, "5", None, None)
    worked = FORMS["columns"].write(5, 12)
    assert check_any(5, 12, worked[:-1] + "6").kind == "remainder"
    assert check_any(10**40, 10**39 + 1, "7").kind == "remainder"


@needs_released
def test_the_grid_traces_are_as_long_as_the_released_ones():
    """The three published files of the 200 traces, to the character: all, no narration, writes."""
    totals = [0, 0, 0]
    for r in from_questions(RELEASED / "train_200_q_pipe_a.txt", "answer"):
        told = grid.actions(*parse_question(r["instruction"]))
        quiet = [action for action in told[:-1] if action[0] != "{"] + told[-1:]
        writes = [action for action in quiet if not action.startswith("look")]
        tagged = " ".join(f"{201 + i} {letter}" for word in r["instruction"].split()
                          for i, letter in enumerate([*word, "_"]))
        tagged = re.sub(r"\d+ _", "200 _", tagged)  # a word ends in 200
        for i, actions in enumerate((told, quiet, writes)):
            totals[i] += len(f"{'=' * 50} {tagged} | {' '.join(actions)}\n")
    assert totals == [2_043_893, 1_388_755, 504_272]


def test_climbing_demonstrations_fit_the_context(tokenizer):
    """1,024 tokens, the question's 30 included; at the median less than 400."""
    sizes = sorted(len(tokenizer.encode(FORMS["climb"].write(x, y), eos=True))
                   for x, y in pairs("train", 200) + pairs("interpolate", 200))
    assert sizes[-1] <= 1024 - 30 and sizes[len(sizes) // 2] < 400


# ------------------------------------------------------------------- the checker finds mistakes

BREAK = re.compile(r"(?=\n| (?:look|write|clear|\{|[a-zA-Z]\d))")


@pytest.mark.parametrize("form", list(FORMS))
def test_a_wrong_number_is_found_at_its_step(form):
    rng = Random(1)
    unit = "step" if form in (*GRID, "columns") else "line"
    for x, y in pairs("train", 9, seed=5):
        steps = BREAK.split(FORMS[form].write(x, y))
        for place in rng.sample(range(len(steps)), min(8, len(steps))):
            spots = list(re.finditer(r"\d", steps[place]))
            if not spots:
                continue
            at = rng.choice(spots).start()
            digit = str((int(steps[place][at]) + rng.randint(1, 9)) % 10)
            false = steps[place][:at] + digit + steps[place][at + 1:]
            found = FORMS[form].check(x, y, "".join([*steps[:place], false, *steps[place + 1:]]))
            assert not found.ok and found.kind in KINDS
            assert found.first_error.startswith(f"{unit} {place + 1}:"), found.first_error
            assert repr(false.strip()) in found.first_error


@pytest.mark.parametrize("form", list(FORMS))
def test_missing_and_added_text_is_found(form):
    text = FORMS[form].write(25736, 144)
    steps = BREAK.split(text)
    for cut in {0, 1, len(text) // 3, len(text) - 4}:
        if cut < len(text) - 3 or form != "answer":
            found = FORMS[form].check(25736, 144, text[:cut])
            assert (found.ok, found.kind) == (False, "remainder" if form == "answer" and cut
                                              else "unfinished")
    assert FORMS[form].check(25736, 144, text + "\n5").kind == "format"
    assert not FORMS[form].check(25736, 144, text + "0").ok
    assert not FORMS[form].check(25736, 144, "no numbers at all").ok
    for place in range(1, len(steps) - 1, 1 + len(steps) // 10):
        left_out = "".join(steps[:place] + steps[place + 1:])
        if left_out != text:
            assert not FORMS[form].check(25736, 144, left_out).ok


KIND_CASES = [  # (form, right, wrong, kind, line) in the working of 25736 % 144
    ("answer", "104", "103", "remainder", 1),
    ("climb", "25736 %", "25726 %", "copying", 1),
    ("climb", "720 864", "720 874", "multiple", 2),
    ("climb", "25 , 736", "25 , 76", "digit", 4),
    ("climb", "\n113 , 36", "\n113 , 6", "copying", 9),
    ("climb", "\n257 - 144 = 113\n113 , 36 ->", "\n257 , 36 -> 2573 , 6", "comparison", 8),
    ("climb", "1133 - 1008 = 125", "1133 - 864 = 269", "copying", 11),
    ("climb", "1133 - 1008 = 125", "1133 - 1008 = 135", "subtraction", 11),
    ("climb", "-> 1133 , 6", "-> 1136 , 6", "digit", 9),
    ("climb", "\n1256 - 1152 = 104\n104", "\n1256 , 1", "comparison", 14),
    ("climb", "\n104", "\n14", "remainder", 15),
    ("climb", "\n104", "\n10", "remainder", 15),
    ("climb", "144: 144", "144 times 144", "format", 2),
    ("climb", "144 > 25", "144 > 25 b4", "choice", 5),
    ("climb", "1008 1152 > 1133", "1008 > 1133", "choice", 10),
    ("climb", "1152 1296 > 1256", "1152 1296 1440 > 1256", "choice", 13),
    ("climb", "720 864 1008 1152 > ", "720 846 1008 1152 > ", "copying", 10),
    ("columns", "b1461", "b1361", "copying", 29),
    ("columns", "b1461", "b0461", "copying", 29),
    ("columns", "b1461", "b1451", "subtraction", 29),
    ("columns", "b1461", "b1460", "subtraction", 29),
    ("columns", "c3 1133 , 6", "c6 1136 , 6", "digit", 35),
    ("columns", "c3 1133 , 6", "c3 1131 , 6", "copying", 35),
    ("columns", "c7 257 , 36", "c7 257 , 3", "digit", 21),
    ("columns", "z1 a1 b3", "z1 a1 b1", "copying", 34),
    ("columns", "\nz1 a1 b3 c3 1133 , 6", "", "comparison", 32),
    ("columns", "\n= a1 b0 c4 104", "", "unfinished", 125),
    ("columns", "= a1", "= b1", "format", 126),
    ("columns", " 104", " 14", "remainder", 128),
    ("grid-quiet", "clear", "look 00,02:201 1", "format", 7),
    ("grid", "+ 73,03:203 4 = 8 }", "+ 73,03:203 4 = 9 }", "narration", None),
    ("grid", "write 06,01:201 1", "write 06,01:201 2", "write", None),
    ("grid", "look 06,01:201 0", "look 06,01:201 1", "look", None),
]


@pytest.mark.parametrize("form, right, wrong, kind, line", KIND_CASES)
def test_errors_are_named(form, right, wrong, kind, line):
    text = FORMS[form].write(25736, 144)
    assert right in text
    found = FORMS[form].check(25736, 144, text.replace(right, wrong, 1))
    assert (found.ok, found.kind) == (False, kind), found
    if line:
        assert re.match(rf"(line|step) {line}:", found.first_error), found.first_error
