"""Longhand remainders: which questions are drawn, how files of them are read, and the rows made.

Run: python -m pytest tests/papers/longhand/test_longhand.py
"""

import json
import math
from collections import Counter
from itertools import islice
from pathlib import Path
from random import Random

import pytest

import generate_data
from goat.errors import UserError
from goat.evaluation.questions import load_suites, read_questions
from goat.papers.longhand import questions as longhand
from goat.papers.longhand.forms import FORMS
from goat.papers.longhand.questions import (demonstrations, draw, from_questions,
                                            parse_question, questions, row)
from support.asking import judge
from support.longhand import RELEASED, needs_released, pairs


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


class Recorder(Random):
    """Always draws the largest integer, and notes what could have been drawn."""

    def __init__(self, *fractions: float):
        super().__init__()
        self.fractions, self.bounds = list(fractions), []

    def random(self) -> float:
        return self.fractions.pop(0)

    def uniform(self, a: float, b: float) -> float:
        return a + (b - a) * self.random()

    def randint(self, a: int, b: int) -> int:
        self.bounds.append((a, b))
        return b


def test_the_bounds_of_the_sampling_rule():
    rng = Recorder(0.5, 0.75, 0.4)  # of 8 digits: 1 + 0.75 * 8/3 = 3, then 0.4 * 5 = 2, then 3
    assert draw(rng, 7, 9) == (101 * 2001 + 1000, 2001)
    assert rng.bounds == [(0, 1000), (1, 101), (1, 1001)]


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


# ---------------------------------------------------------------------------------------- rows


def test_rows_and_demonstrations():
    text = "What is the remainder when 93 is divided by 59?"
    assert row(text, 93, 59, "answer") == {"instruction": text, "input": "93 % 59", "output": "34",
                                           "answer": "34", "task": "longhand answer"}
    rows = list(demonstrations(400, "climb", seed=3))
    assert len({r["input"] for r in rows}) == len(rows) == 400
    for r in rows:
        x, y = parse_question(r["instruction"])
        assert r["input"] == f"{x} % {y}" and r["answer"] == str(x % y)
        assert FORMS["climb"].check(x, y, r["output"]).ok
    assert list(demonstrations(50, "climb", 3)) == rows[:50]
    assert [r["input"] for r in demonstrations(50, "grid", 3)] == [r["input"] for r in rows[:50]]
    assert len(set(pairs("easy", 2000))) < 2000  # what the sampler repeats is drawn again
    easy = [r["input"] for r in demonstrations(2000, "answer", 0, "easy")]
    assert len(set(easy)) == len(easy) == 2000
    reserved = {parse_question(r["input"]) for r in rows[::2]}
    others = {parse_question(r["input"])
              for r in demonstrations(400, "climb", 3, reserved=reserved)}
    assert len(others) == 400 and not others & reserved
    with pytest.raises(UserError, match="no longhand form 'climbs'; there are answer, climb"):
        next(demonstrations(1, "climbs"))
    with pytest.raises(UserError, match="no longhand split 'extrapolate'; there are train, easy"):
        next(demonstrations(1, "climb", split="extrapolate"))


def test_question_files(tmp_path):
    file = tmp_path / "longhand.txt"
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
])
def test_bad_question_files_are_named(tmp_path, text, message):
    file = tmp_path / "longhand.txt"
    file.write_text(text)
    with pytest.raises(UserError, match=f"longhand.txt(: |, ){message}"):
        list(from_questions(file, "climb"))


@needs_released
def test_the_released_questions():
    train = list(from_questions(RELEASED / "train_200_q_pipe_a.txt", "climb"))
    validation = list(from_questions(RELEASED / "validation_100_q_pipe_a.txt", "climb"))
    assert (len(train), len(validation)) == (200, 100)
    assert sum(r["answer"] == "0" for r in train) == 5
    assert sum(r["instruction"].startswith("Calculate") for r in train) == 103
    for r in train + validation:
        assert FORMS["climb"].check(*parse_question(r["instruction"]), r["output"]).ok


# ---- reached from the scripts --------------------------------------------------------------------


def test_demonstrations_are_no_questions_of_the_suites():
    asked = {q.operands for q in load_suites(["longhand", "longhand-big"])}
    assert len(asked) >= 1990  # 4 x 500, hardly any in two splits
    small = load_suites(["longhand"], limit=20)
    assert Counter(q.cell for q in small) == {"train": 20, "interpolate": 20}
    shown = longhand.demonstrations(3000, "answer", 0, "train", longhand.reserved())
    shown = {longhand.parse_question(row["input"]) for row in shown}
    assert len(shown) == 3000 and not {(x, y) for x, _, y in asked} & shown
    for q in small:
        x, op, y = q.operands
        assert (op, q.answer) == ("%", str(x % y)) and f" {x} is divided by {y}" in q.instruction


def test_a_working_is_judged_in_whatever_form_it_has():
    question = next(iter(load_suites(["longhand"], limit=1)))
    x, _, y = question.operands
    for form in longhand.FORMS:
        working = longhand.row(question.instruction, x, y, form)["output"]
        assert judge(question, working) == (question.answer, True, None, None), form
    lines = longhand.row(question.instruction, x, y, "climb")["output"].split("\n")
    place = next(i for i, line in enumerate(lines) if " - " in line)
    lines[place] += "0"
    verdict = judge(question, "\n".join(lines))
    assert verdict.right and verdict.kind == "subtraction"
    assert verdict.first_error.startswith(f"line {place + 1}: should be")
    assert judge(question, "no number")[:3] == ("", False, "format")
    a = question.answer
    for said in (f"-{a}", f"1,{a}", f"7.{a}", f"{a}.5", f"{a},000"):
        assert judge(question, said)[:2] == (said, False)
    for said in (f"It is {a}.", f"25736, {a}", f"R={a}"):
        assert judge(question, said)[:2] == (a, True)


def test_script_writes_and_checks_demonstrations(tmp_path, capsys):
    rows = tmp_path / "rows.jsonl"
    assert generate_data.main(["--task", "longhand", "--out", str(rows)]) == 0
    written = [json.loads(line) for line in rows.read_text().splitlines()]
    assert len(written) == 200 and {row["task"] for row in written} == {f"longhand {longhand.BEST}"}
    assert generate_data.main(["--check", str(rows), "--workers", "1"]) == 0
    written[6]["output"] = written[6]["output"] + "0"
    rows.write_text("".join(json.dumps(row) + "\n" for row in written))
    assert generate_data.main(["--check", str(rows), "--workers", "1"]) == 1
    assert "line 7: output, step" in capsys.readouterr().out


def test_script_works_given_questions(tmp_path):
    asked = tmp_path / "asked.txt"
    asked.write_text("What is the remainder when 67 is divided by 45?|22\n25736 % 144|104\n")
    out = str(tmp_path / "rows.json")
    argv = ["--task", "longhand", "--questions", str(asked), "--out", out]
    generate_data.main([*argv, "--form", "climb"])
    assert [row["answer"] for row in json.loads(Path(out).read_text())] == ["22", "104"]
    assert [q.operands for q in read_questions(asked)] == [(67, "%", 45), (25736, "%", 144)]
    for more, message in ((["--rows", "5"], "exclude"), (["--form", "climbs"], "no longhand form")):
        with pytest.raises(UserError, match=message):
            generate_data.main([*argv, *more])
    with pytest.raises(UserError, match="--rows 0"):
        generate_data.main(["--task", "longhand", "--rows", "0"])
