"""Longhand remainders: the questions, every form of demonstration, and the checker.

The workings are verified here by arithmetic of the tests' own: lines are read with regular
expressions, and the grid is acted out on a dictionary. Run: python -m pytest tests/test_longhand.py
"""

import math
import re
from collections import Counter
from itertools import islice
from pathlib import Path
from random import Random

import pytest

from goat.errors import UserError
from goat.tasks import grid
from goat.tasks.longhand import (FORMS, check, demonstrations, from_questions, parse_question,
                                 questions, row)
from goat.tasks.longhand_forms import KINDS
from goat.tokenizer import Tokenizer

ROOT = Path(__file__).parent.parent
RELEASED = ROOT.parent / "shared/data/longhand"
LEAN = ("table", "pick", "climb", "subtract")
GRID = ("grid", "grid-quiet")
EDGES = [(0, 7), (7, 7), (8, 1), (9, 3), (5, 12), (4, 1000), (1427, 1427), (148, 4), (15193, 15),
         (14025, 499), (999999, 1), (100000, 100), (90909, 9), (1000001, 999), (45, 50)]

# Percent of questions with 1, 2, 3 … digits, and mean digits: counted over 20,000 questions of
# another implementation of the dataset's sampling rule.
DIGITS = {
    ("easy", "x"): ([0, 15, 55, 26, 4], 3.19), ("easy", "y"): ([9, 67, 23, 1], 2.16),
    ("easy", "q"): ([57, 32, 10, 1], None),
    ("medium", "x"): ([0, 0, 6, 31, 38, 20, 5], 4.87),
    ("medium", "y"): ([3, 28, 44, 18, 6, 1], 2.98), ("medium", "q"): ([32, 25, 22, 14, 6, 1], None),
    ("hard", "x"): ([0, 0, 0, 2, 13, 28, 31, 19, 7, 1], 6.75),
    ("hard", "y"): ([2, 14, 26, 29, 15, 9, 4, 1], 3.93),
    ("hard", "q"): ([22, 17, 17, 15, 14, 9, 4, 1], None),
    ("interpolate", "x"): ([0, 0, 0, 4, 25, 37, 27, 7], 6.06),
    ("interpolate", "y"): ([2, 17, 32, 28, 13, 7, 1], 3.59),
    ("interpolate", "q"): ([24, 19, 18, 17, 13, 7, 1], None),
}


def pairs(split: str, n: int, seed: int = 0) -> list[tuple[int, int]]:
    return [(x, y) for _, x, y in questions(split, n, seed)]


# ----------------------------------------------------------------------------------- questions


@pytest.mark.parametrize("split", ["easy", "medium", "hard", "interpolate"])
def test_digits_are_distributed_as_in_the_dataset(split):
    n = 6000
    drawn = pairs(split, n)
    numbers = {"x": [x for x, _ in drawn], "y": [y for _, y in drawn],
               "q": [x // y for x, y in drawn]}
    for name, values in numbers.items():
        shares, mean = DIGITS[split, name]
        counts = Counter(len(str(value)) for value in values)
        for size, percent in enumerate(shares, 1):
            p = max(percent, 0.5) / 100
            sigma = math.sqrt(p * (1 - p) * (1 / n + 1 / 20000))
            assert abs(counts[size] / n - percent / 100) < 0.006 + 4 * sigma, (name, size)
        if mean:
            assert abs(sum(map(len, map(str, values))) / n - mean) < 0.08


def test_remainders_and_quotients_of_the_interpolate_split():
    drawn = pairs("interpolate", 6000)
    assert max(x % y for x, y in drawn) <= 4642  # 10^(1 + 8/3), rounded up
    assert 0.008 < sum(x % y == 0 for x, y in drawn) / 6000 < 0.022  # about 1.5 %
    assert 0.037 < sum(x // y == 1 for x, y in drawn) / 6000 < 0.057  # 4.7 %
    assert all(x >= y for x, y in drawn)


def test_questions_are_seeded_and_shorter_lists_begin_longer_ones():
    assert list(questions("train", 50)) == list(questions("train", 90))[:50]
    assert list(questions("train", 50, 1)) != list(questions("train", 50, 2))
    assert list(islice(questions("hard", None), 5)) == list(questions("hard", 5))


def test_train_takes_the_levels_in_turn_and_both_wordings():
    asked = list(questions("train", 3000))
    means = [sum(len(str(x)) for _, x, _ in asked[i::3]) / 1000 for i in range(3)]
    assert means[0] < 3.5 < 4.5 < means[1] < 5.2 < 6.4 < means[2]
    share = sum(text.startswith("Calculate the remainder") for text, _, _ in asked) / 3000
    assert 0.46 < share < 0.54
    assert all(parse_question(text) == (x, y) for text, x, y in asked)
    assert {text[-1] for text, _, _ in asked} == {".", "?"}


def test_parse_question():
    assert parse_question(" what is the remainder when 93 is divided by 59 ? ") == (93, 59)
    assert parse_question("93 % 59") == (93, 59)
    for bad in ("", "93 / 59", "What is the remainder when 9 is divided by 4? And 5?",
                "What is the remainder when 9 is divided by ?", "1.5 % 2"):
        with pytest.raises(UserError, match="cannot read"):
            parse_question(bad)
    for bad in ("Calculate the remainder when 9 is divided by 0.", "-9 % 4", "9 % -4"):
        with pytest.raises(UserError, match="no remainder of"):
            parse_question(bad)
    with pytest.raises(UserError, match="over 2000 digits"):
        parse_question(f"{'1' * 5000} % 7")


# --------------------------------------------------------------------- the forms are all right

NUMBER = r"(\d+)"
RULES = [  # every line of a lean form, and what makes it true
    (rf"{NUMBER} - {NUMBER} = {NUMBER}", lambda a, b, c: int(a) - int(b) == int(c)),
    (rf"{NUMBER} < {NUMBER}", lambda a, b: int(a) < int(b)),
    (rf"{NUMBER} , {NUMBER} -> {NUMBER}(?: , {NUMBER})?",
     lambda a, b, c, d: int(a + b[0]) == int(c) and b[1:] == (d or "")),
    (rf"count by {NUMBER}, {NUMBER} times: ([\d ]+)",
     lambda y, n, listed: listed.split() == [str(int(y) * k) for k in range(1, int(n) + 1)]),
    (rf"largest of ([\d ]+) up to {NUMBER}: {NUMBER}",
     lambda listed, a, m: int(m) == max(k for k in map(int, listed.split()) if k <= int(a))),
    (rf"up to {NUMBER}: ([\d ]+) > {NUMBER}",
     lambda a, listed, b: a == b and [int(k) > int(a) for k in listed.split()]
     == [False] * listed.count(" ") + [True]),
]


def assert_lean(text: str, x: int, y: int) -> None:
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
        elif line.startswith(("up", "largest")):
            assert match[1 if line.startswith("up") else 2] == left
            listed = [int(k) for k in re.findall(r"\d+", line)]
            assert all(y * k in listed for k in range(1, int(left) // y + 1))
        elif " < " in line:
            assert match.groups() == (left, str(y))
    assert rest == "" and int(left) < y
    assert lines[-1] == f"remainder = {left}"


@pytest.mark.parametrize("form", LEAN)
def test_lean_forms_are_true_line_by_line(form):
    for x, y in pairs("train", 90) + pairs("interpolate", 90) + pairs("longer", 20) + EDGES:
        text = FORMS[form].write(x, y)
        assert_lean(text, x, y)
        assert int(re.findall(r"\d+", text)[-1]) == x - y * (x // y)
        found = check(f"{x} % {y}", form, text + "\n")
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
            assert check(f"{x} % {y}", form, text) == (True, str(x % y), None, None)


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


# ------------------------------------------------------------------- the checker finds mistakes

BREAK = re.compile(r"(?=\n| (?:look|write|clear|\{))")


@pytest.mark.parametrize("form", list(FORMS))
def test_a_wrong_number_is_found_at_its_step(form):
    rng = Random(1)
    unit = "step" if form in GRID else "line"
    for x, y in pairs("train", 9, seed=5):
        steps = BREAK.split(FORMS[form].write(x, y))
        for place in rng.sample(range(len(steps)), min(8, len(steps))):
            spots = list(re.finditer(r"\d", steps[place]))
            if not spots:
                continue
            at = rng.choice(spots).start()
            digit = str((int(steps[place][at]) + rng.randint(1, 9)) % 10)
            false = steps[place][:at] + digit + steps[place][at + 1:]
            found = check(f"{x} % {y}", form, "".join([*steps[:place], false, *steps[place + 1:]]))
            assert not found.ok and found.kind in KINDS
            assert found.first_error.startswith(f"{unit} {place + 1}:"), found.first_error
            assert repr(false.strip()) in found.first_error


@pytest.mark.parametrize("form", list(FORMS))
def test_missing_and_added_text_is_found(form):
    text = FORMS[form].write(25736, 144)
    steps = BREAK.split(text)
    for cut in {0, 1, len(text) // 3, len(text) - 4}:
        if cut < len(text) - 3 or form != "answer":
            found = check("25736 % 144", form, text[:cut])
            assert (found.ok, found.kind) == (False, "remainder" if form == "answer" and cut
                                              else "unfinished")
    assert check("25736 % 144", form, text + "\n5").kind == "format"
    assert not check("25736 % 144", form, text + "0").ok
    assert not check("25736 % 144", form, "no numbers at all").ok
    for place in range(1, len(steps) - 1, 1 + len(steps) // 10):
        left_out = "".join(steps[:place] + steps[place + 1:])
        if left_out != text:
            assert not check("25736 % 144", form, left_out).ok


KIND_CASES = [  # (form, right, wrong, kind, line) in the working of 25736 % 144
    ("answer", "104", "103", "remainder", 1),
    ("table", "25736 %", "25726 %", "copying", 1),
    ("table", "720 864", "720 874", "multiple", 2),
    ("table", "25 , 736", "25 , 76", "digit", 3),
    ("table", "\n113 , 36", "\n113 , 6", "copying", 6),
    ("table", "\n257 - 144 = 113\n113 , 36 ->", "\n257 , 36 -> 2573 , 6", "comparison", 5),
    ("table", "1133 - 1008 = 125", "1133 - 864 = 269", "choice", 7),
    ("table", "1133 - 1008 = 125", "1133 - 1008 = 135", "subtraction", 7),
    ("table", "-> 1133 , 6", "-> 1136 , 6", "digit", 6),
    ("table", "\n1256 - 1152 = 104\nremainder = 104", "\n1256 , 1", "comparison", 9),
    ("table", "remainder = 104", "remainder = 14", "remainder", 10),
    ("table", "remainder = 104", "remainder = 10", "remainder", 10),
    ("table", "count by", "counting", "format", 2),
    ("pick", "up to 1133: 1008", "up to 1133: 1152", "choice", 8),
    ("pick", "1296 up to 1133", "1296 up to 1113", "copying", 8),
    ("pick", "1133 - 1008", "1133 - 1080", "copying", 9),
    ("climb", "1008 1152 > 1133", "1008 > 1133", "choice", 10),
    ("climb", "1152 1296 > 1256", "1152 1296 1440 > 1256", "choice", 13),
    ("climb", "720 864 1008 1152 > ", "720 846 1008 1152 > ", "copying", 10),
    ("subtract", "845 - 144 = 701", "845 - 144 = 711", "subtraction", 11),
    ("subtract", "\n125 < 144", "", "comparison", 16),
    ("subtract", "\n413 - 144 = 269", "\n413 < 144", "comparison", 14),
    ("subtract", "845 - 144", "845 - 143", "copying", 11),
    ("grid-quiet", "clear", "look 00,02:201 1", "format", 7),
    ("grid", "+ 73,03:203 4 = 8 }", "+ 73,03:203 4 = 9 }", "narration", None),
    ("grid", "write 06,01:201 1", "write 06,01:201 2", "write", None),
    ("grid", "look 06,01:201 0", "look 06,01:201 1", "look", None),
]


@pytest.mark.parametrize("form, right, wrong, kind, line", KIND_CASES)
def test_errors_are_named(form, right, wrong, kind, line):
    text = FORMS[form].write(25736, 144)
    assert right in text
    found = check("25736 % 144", form, text.replace(right, wrong, 1))
    assert (found.ok, found.kind) == (False, kind), found
    if line:
        assert re.match(rf"(line|step) {line}:", found.first_error), found.first_error


# ---------------------------------------------------------------------------------------- rows


def test_rows_and_demonstrations():
    text = "What is the remainder when 93 is divided by 59?"
    assert row(text, 93, 59, "answer") == {"instruction": text, "input": "93 % 59", "output": "34",
                                           "answer": "34", "task": "longhand answer"}
    rows = list(demonstrations(400, "table", seed=3))
    assert len({r["input"] for r in rows}) == len(rows) == 400
    for r in rows:
        x, y = parse_question(r["instruction"])
        assert r["input"] == f"{x} % {y}" and r["answer"] == str(x % y)
        assert check(r["instruction"], "table", r["output"]).ok
    assert list(demonstrations(50, "table", 3)) == rows[:50]
    assert [r["input"] for r in demonstrations(50, "grid", 3)] == [r["input"] for r in rows[:50]]
    reserved = {parse_question(r["input"]) for r in rows[::2]}
    others = {parse_question(r["input"]) for r in demonstrations(400, "table", 3, "train", reserved)}
    assert len(others) == 400 and not others & reserved
    with pytest.raises(UserError, match="no longhand form 'tabel'; there are answer, table"):
        next(demonstrations(1, "tabel"))
    with pytest.raises(UserError, match="no longhand split 'extrapolate'; there are train, easy"):
        next(demonstrations(1, "table", split="extrapolate"))


def test_question_files(tmp_path):
    file = tmp_path / "questions.txt"
    file.write_text("What is the remainder when 93 is divided by 59?|34\n\n7 % 7|0\n")
    piped = list(from_questions(file, "climb"))
    file.write_text("What is the remainder when 93 is divided by 59?\n34\n7 % 7\n0\n")
    assert list(from_questions(file, "climb")) == piped
    assert [r["answer"] for r in piped] == ["34", "0"]


@pytest.mark.parametrize("text, message", [
    ("9 % 4|1\nWhat is 9 / 4?|2\n", "line 2: cannot read 'What is 9 / 4\\?'"),
    ("9 % 4|1\n\n9 % 0|0\n", "line 3: no remainder of 9 divided by 0"),
    ("-9 % 4|1\n", "line 1: no remainder of -9 divided by 4"),
    ("9 % 4\n9 % 4|1\n", "line 1: no answer"),
    ("9 % 4|2\n", "line 1: the remainder of 9 divided by 4 is 1, not '2'"),
    ("9 % 4|\n", "line 1: the remainder of 9 divided by 4 is 1, not ''"),
    ("9 % 4\n1\n9 % 5\n", "line 3: the last question has no answer line"),
    ("\n \n", "no questions in this file"),
])
def test_bad_question_files_are_named(tmp_path, text, message):
    file = tmp_path / "questions.txt"
    file.write_text(text)
    with pytest.raises(UserError, match=f"questions.txt(: |, ){message}"):
        list(from_questions(file, "table"))


def test_a_file_that_is_no_text(tmp_path):
    file = tmp_path / "questions.txt"
    file.write_bytes(b"\xff\xfe9 % 4|1")
    with pytest.raises(UserError, match="not a text file in UTF-8"):
        list(from_questions(file, "table"))


@pytest.mark.parametrize("form", LEAN)
def test_lean_demonstrations_fit_the_context(form):
    """1,024 tokens, the question's 30 included; at the median less than 400."""
    tokenizer = Tokenizer(ROOT / "goat/base")
    sizes = sorted(len(tokenizer.encode(FORMS[form].write(x, y), eos=True))
                   for x, y in pairs("train", 200) + pairs("interpolate", 200))
    assert sizes[-1] <= 1024 - 30 and sizes[len(sizes) // 2] < 400


@pytest.mark.skipif(not RELEASED.exists(), reason="the released questions are not here")
def test_the_released_questions():
    train = list(from_questions(RELEASED / "train_200_q_pipe_a.txt", "table"))
    validation = list(from_questions(RELEASED / "validation_100_q_pipe_a.txt", "table"))
    assert (len(train), len(validation)) == (200, 100)
    assert sum(r["answer"] == "0" for r in train) == 5
    assert sum(r["instruction"].startswith("Calculate") for r in train) == 103
    for r in train + validation:
        assert check(r["instruction"], "table", r["output"]).ok


@pytest.mark.skipif(not RELEASED.exists(), reason="the released questions are not here")
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
