"""Word problems with other numbers: which change, which stay, and that all change together.

    python -m pytest tests/papers/word_problems/test_redraw.py

GSM8K's train.jsonl is used where it lies in ../shared/data/gsm8k or in the folder GOAT_GSM8K.
"""

import json
import re
from fractions import Fraction
from itertools import islice
from types import SimpleNamespace

import pytest

import generate_data
from goat.errors import UserError
from goat.papers.word_problems import amounts, gsm8k, redraw
from goat.papers.word_problems.format import parse_number
from goat.papers.word_problems.gsm8k import gsm8k_rows
from support.problems import GSM8K, execute, needs_gsm8k

DIGITS = re.compile(r"\d[\d,]*(?:\.\d+)?|\.\d+")
TURN = re.compile(r"<code>\nprint\((.*)\)\n</code>\n<output>\n(.*)\n</output>")
SHOP = ("Ana buys 4 pens for $2.50 each and a book for $7. She pays with a $50 bill and gives 40% "
        "of the change to her 8-year-old brother. How much does she keep?",
        "The pens cost 4 * $2.5 = $<<4*2.5=10>>10.\nAll costs 10 + 7 = $<<10+7=17>>17.\n"
        "The change is 50 - 17 = $<<50-17=33>>33.\nShe keeps 100 - 40 = <<100-40=60>>60%.\n"
        "This is 33 * 60/100 = $<<33*60/100=19.8>>19.8.\n#### 19.8")
CLIPS = ("Bo has 1,200 clips in 48 boxes and sells twice 7 boxes. How many clips are left?",
         "A box has 1200/48 = <<1200/48=25>>25 clips.\nHe sells 2*7 = <<2*7=14>>14 boxes.\n"
         "In these are 14*25 = <<14*25=350>>350.\nSo 1,200 - 350 = <<1200-350=850>>850 are left.\n"
         "#### 850")


def problem(question, worked):
    """The row of a problem of our own, as gsm8k.py makes it."""
    worked, _, gold = worked.partition("\n#### ")
    output, reason = gsm8k.trace(question, worked, gold, execute)
    assert not reason
    return {"instruction": question, "input": "", "output": output, "answer": gold,
            "task": "word_problems", "source": "train 1"}


def versions(question, worked, count=8, seed=0):
    return redraw.versions(problem(question, worked), count, seed, execute)


def simple(question, worked="It is 9 * 20 = <<9*20=180>>180.\n#### 180"):
    """The numbers that the question "... 9 ... 20 ..." has in its versions, or the reason."""
    found, why = versions(question, worked, 12)
    return why or [list(map(set, zip(*(DIGITS.findall(row["instruction"]) for row in found))))]


def assert_sound(old, new):
    """Same words, every output what Python makes of the code, the answer the last of them."""
    for field in ("instruction", "output"):
        texts = [TURN.sub(r"<\1>", row[field]) for row in (old, new)]
        assert DIGITS.sub("#", texts[0]) == DIGITS.sub("#", texts[1])
    assert new["instruction"] != old["instruction"]
    turns = TURN.findall(new["output"])
    for code, output in turns:
        assert abs(eval(code) - float(output)) < 1e-9
    kinds = [[(n.denominator == 1, n > 0) for n in map(parse_number, (o for _, o in t))]
             for t in (TURN.findall(old["output"]), turns)]
    assert kinds[0] == kinds[1]
    assert new["output"].endswith(f"Final Answer: {new['answer']}\n</p>\n</step>")
    assert parse_number(new["answer"]) in [parse_number(output) for _, output in turns]


@pytest.mark.parametrize("story", [SHOP, CLIPS])
def test_versions_are_sound_and_differ(story):
    found, why = versions(*story)
    assert len(found) == 8 and not why
    assert len({row["instruction"] for row in found}) == 8
    assert [row["source"] for row in found] == [f"train 1, redrawn {i}" for i in range(1, 9)]
    for row in found:
        assert_sound(problem(*story), row)


def test_every_number_is_followed_through_the_working():
    """The answer by the question's own numbers, solved anew here."""
    for row in versions(*CLIPS)[0]:
        clips, boxes, sold = (int(n.replace(",", "")) for n in DIGITS.findall(row["instruction"]))
        assert int(row["answer"]) == clips - clips // boxes * 2 * sold > 0 == clips % boxes
        assert ("," in row["instruction"]) == (clips > 999)
    for row in versions(*SHOP)[0]:
        pens, price, book, note, share, age = DIGITS.findall(row["instruction"])
        left = 50 - int(pens) * Fraction(price) - int(book)
        assert Fraction(row["answer"]) == left * (100 - int(share)) / 100 < 50
        assert (note, age) == ("50", "8") and re.fullmatch(r"\d\.\d\d", price)


def test_a_plus_and_a_written_out_label_do_no_harm():
    asked, worked = "Bo has 48 clips and loses 13. How many are left?", "48-13 = <<+48-13=35>>35.\n"
    for label in ("35", "$35"):
        found, why = versions(asked, f"{worked}#### {label}", 4)
        assert found and not why
        for row in found:
            first, second = map(int, DIGITS.findall(row["instruction"]))
            assert int(row["answer"]) == first - second


def test_a_number_of_no_part_keeps_a_problem_from_being_redrawn():
    assert versions("3 men eat 4 of 9 pies. How many are left?",
                    "9-4 = <<9-4=5>>5 are left.\n#### 5") == ([], redraw.UNUSED)


def test_what_is_drawn_is_the_same_for_the_same_seed_only():
    assert versions(*CLIPS, seed=3) == versions(*CLIPS, seed=3) != versions(*CLIPS, seed=4)


@pytest.mark.parametrize("question", [
    "In room 9 are 20 cups. How many?", "Of the 9:15 trains 20 run. How many?",
    "On the 9th day come 20 men. How many?", "A 9-year-old has 20 cups. How many?",
    "Bo, who is 9 years old, has 20 cups. How many?", "He sits from 9 am on, 20 times. How many?",
    "Nine, or 9/4, or 20 times. How many?", "There are 20 cups for 9kg. How many?",
    "She has 20 cups, nine big ones, and 9 knives. How many?", "Page 9 has 20 words. How many?",
    "He pays 20 times with a 9 dollar bill. How many?"])
def test_numbers_that_say_no_amount_stay(question):
    (found,) = simple(question)
    drawn = next(numbers for numbers in found if "20" in numbers or len(numbers) > 1)
    assert any(numbers == {"9"} for numbers in found) or "9/4" in question
    assert len(drawn) > 1


def test_units_articles_and_shares_bound_what_is_drawn():
    days, pies = simple("In 9 hours come 20 men. How many?")[0]
    assert max(map(int, days)) < 24 and min(map(int, pies)) >= 10
    (nines, percent), = simple("He takes 9% of 20 cups. How many?",
                               "It is 9 * 20 / 100 = <<9*20/100=1.8>>1.8.\n#### 1.8")
    assert max(map(int, nines)) < 100 and all(int(n) % 5 == 0 for n in percent)
    eight, _ = simple("He has an 8 meter rope, 20 times.",
                      "8 * 20 = <<8*20=160>>160.\n#### 160")[0]
    assert eight == {"8"} or eight == {"8", "11"}
    nine, _ = simple("He has a 9 meter rope, 20 times.")[0]
    assert len(nine) > 3 and not nine & {"8", "11", "18"}


@pytest.mark.parametrize("question, worked, why", [
    ("Bo is 9, Al 3 times his age.", "9 * 3 = <<9*3=27>>27.\n#### 27", redraw.AGES),
    ("He has 9 cups.", "It is x = 9 + 1 = <<9+1=10>>10.\n#### 10", redraw.ALGEBRA),
    ("He has 9 cups.", "It is 9 + 7 = <<9+7=16>>16.\n#### 16", redraw.NOWHERE),
    ("He has 9 cups.", "Twice that is 9 * 1 = <<9*1=9>>9.\n#### 9", redraw.NOWHERE),
    ("He has 9 cups.", "It is 3 of 9 + 1 = <<9+1=10>>10.\n#### 10", redraw.NOWHERE),
    ("A week has 7 days.", "It is 7 + 1 = <<7+1=8>>8.\n#### 8", redraw.NOTHING),
    ("4 dogs have how many legs?", "4 * 4 = <<4*4=16>>16.\n#### 16", redraw.NOTHING),
    ("He has 9 rows of cups.", "9 * 9 = <<9*9=81>>81.\n#### 81", redraw.NOTHING),
    ("Half of 6 cups, three times", "6 / 2 = <<6/2=3>>3.\nSo 3 * 3 = <<3*3=9>>9.\n#### 9",
     redraw.NO_DRAW)])
def test_why_a_problem_stays_as_it_is(question, worked, why):
    assert versions(question, worked) == ([], why)


def test_a_result_that_the_question_says_too():
    """6 / 2 gives 3, and the question says 3. Where 3 is used later on, both become the same; where
    it is not, they need not."""
    question, half = "Half of 6 pens are in a box, and 3 on top. How many?", "6 / 2 = <<6/2=3>>3 in"
    results = [{(DIGITS.findall(row["instruction"])[1], dict(TURN.findall(row["output"]))[
        f"{DIGITS.findall(row['instruction'])[0]} // 2"]) for row in versions(question, working)[0]}
        for working in (f"{half}.\n6 + 3 = <<6+3=9>>9.\n#### 9",
                        f"6 + 3 = <<6+3=9>>9.\n{half}.\n9 - 1 = <<9-1=8>>8.\n#### 8")]
    assert results[0] and all(top == each for top, each in results[0])
    assert any(top != each for top, each in results[1])


def test_rows_that_the_interpreter_does_not_confirm_are_dropped():
    row = problem(*CLIPS)
    for run in (lambda code: SimpleNamespace(output="1\n2\n3\n4\n", error=None),
                lambda code: SimpleNamespace(output=execute(code).output, error="Killed: no")):
        assert redraw.versions(row, 3, 0, run) == ([], redraw.ROUNDED)


def test_no_question_is_asked_twice():
    row = problem(*CLIPS)
    new, why = redraw.redrawn_rows([row, row], 3, 0, execute)
    assert len({r["instruction"] for r in [row, *new]}) == 4 == len(new) + 1 and not why


@pytest.mark.parametrize("value, like, text", [
    ("3/2", "2.50", "1.50"), ("5/4", "2.5", "1.25"), ("1234", "1,000", "1,234"), ("2", ".5", "2.0"),
    ("1234", "900", "1234"), ("1/4", ".5", ".25"), ("1/20", "0.5", "0.05"), ("-3/2", "", "-1.5")])
def test_numbers_are_written_in_the_style_of_the_old_one(value, like, text):
    assert amounts.written(Fraction(value), like) == text


@pytest.mark.parametrize("value, some, none", [
    ("48", "30 47 70", "20 90"), ("20", "15 25", "21"), ("300", "250 400", "310"),
    ("1000", "900 1500", "950"), ("35", "20 45", "34"), ("2.50", "1.75 3.05", "2.51"),
    ("3", "4 5", "1 2"), ("10", "7 13", "4")])
def test_numbers_of_the_same_size_and_roundness(value, some, none):
    found = amounts.near(Fraction(value), value)
    assert set(map(Fraction, some.split())) <= set(found)
    assert not set(map(Fraction, none.split())) & set(found)


# ------------------------------------------------------------------------------- the command


@pytest.fixture
def make(tmp_path, capsys):
    """Run generate_data.py on two problems of our own: (the rows, what it printed)."""
    (tmp_path / "train.jsonl").write_text("".join(
        json.dumps({"question": q, "answer": a}) + "\n"
        for q, a in (CLIPS, ("Two and two?", "2+2 = <<2+2=4>>4\n#### 4"))))

    def call(*flags):
        out = tmp_path / "rows.jsonl"
        assert generate_data.main(["--task", "word_problems", "--gsm8k", str(tmp_path), "--out",
                                   str(out), *flags]) == 0
        shown = capsys.readouterr().out
        assert generate_data.main(["--check", str(out), "--workers", "1"]) == 0
        return out.read_text().splitlines(), shown
    return call


def test_the_command(make):
    plain, _ = make()
    lines, shown = make("--redraw", "3", "--seed", "5")
    assert lines[:2] == plain and len(lines) == 5
    assert "3 versions of 1 traces; the other 1 have none" in shown and redraw.NOTHING in shown
    for line in lines[2:]:
        assert_sound(json.loads(plain[0]), json.loads(line))
    assert lines == make("--redraw", "3", "--seed", "5")[0] != make("--redraw", "3")[0]


@pytest.mark.parametrize("flags", [["--redraw", "2"], ["--redraw", "-1", "--gsm8k", "."],
                                   ["--redraw", "2", "--math", "."],
                                   ["--redraw", "2", "--gsm8k", ".", "--from-model", "x"]])
def test_flags_that_do_not_fit(flags):
    with pytest.raises(UserError, match="--redraw"):
        generate_data.main(["--task", "word_problems", *flags])


@needs_gsm8k
def test_problems_of_gsm8k():
    rows = [row for row in islice(gsm8k_rows(GSM8K, execute), 60) if isinstance(row, dict)]
    new, why = redraw.redrawn_rows(rows, 2, 0, execute)
    assert len(new) > len(rows) * 0.8 and sum(why.values()) < len(rows) * 0.6
    old = {row["source"]: row for row in rows}
    for row in new:
        assert_sound(old[row["source"].partition(",")[0]], row)


@pytest.mark.parametrize("question, worked, holds", [
    ("24 pens and 20 books.", "24 + 20 = <<24+20=44>>44.\n#### 44", lambda a, b: a > b),
    ("9 at $20 and 10 at $19.", "9 * 20 = <<9*20=180>>180.\n10 * 19 = <<10*19=190>>190.\n"
     "180 + 190 = <<180+190=370>>370.\n#### 370", lambda a, b, c, d: a * b < c * d),
    ("40 pens less 36.", "40 - 36 = <<40-36=4>>4.\n#### 4", lambda a, b: 2 <= a - b <= 8),
    ("30 pens, 12 red and 18 blue. Each costs $3 and the red ones $5 more.",
     "3 * 30 = <<3*30=90>>90.\n5 * 12 = <<5*12=60>>60.\n90 + 60 = <<90+60=150>>150.\n"
     "150 + 18 = <<150+18=168>>168.\n#### 168", lambda all, red, blue, *_: all == red + blue),
    ("In 1998 come 20 men 9 times.", "9 * 20 = <<9*20=180>>180.\n#### 180",
     lambda year, *_: year == 1998),
    ("9 pizzas have 8 slices each.", "9 * 8 = <<9*8=72>>72.\n#### 72", lambda a, b: b == 8),
    ("Each of 9 men has 2 pens.", "9 * 2 = <<9*2=18>>18.\n#### 18", lambda a, b: b == 2)])
def test_what_holds_in_every_version(question, worked, holds):
    found, why = versions(question, worked, 12)
    assert found and not why
    for row in found:
        assert holds(*map(Fraction, DIGITS.findall(row["instruction"]))), row["instruction"]
