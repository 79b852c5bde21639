"""Word problems: the trace format, answers as numbers, GSM8K's annotations and our own templates.

    python -m pytest tests/papers/word_problems/test_word_problems.py

GSM8K's train.jsonl is used where it lies in ../shared/data/gsm8k or in the folder GOAT_GSM8K.
"""

import collections
import json
import re
from types import SimpleNamespace

import pytest

import goat
from goat.papers.word_problems import gsm8k, sandbox
from goat.papers.word_problems.format import (TAGS, Step, calculate, final_answer, observation,
                                              render, same_number)
from goat.papers.word_problems.gsm8k import Rejection, gsm8k_rows
from goat.papers.word_problems.templates import template_rows, templates
from support.problems import GSM8K, execute, needs_gsm8k

TURN = re.compile(r"<code>\n(.*?)\n</code>\n<output>\n(.*?)\n</output>", re.DOTALL)


def turns_are_right(row, run):
    """Whether the outputs in a row are what its code prints, with the state of earlier turns."""
    turns = TURN.findall(row["output"])
    history = [code for code, _ in turns]
    return bool(turns) and all(run(code, history=history[:i]).output.strip() == output
                               for i, (code, output) in enumerate(turns))


# ----------------------------------------------------------------------------- format and numbers


def test_render_and_final_answer():
    text = render([Step("Add.", "print(1 + 2)", "3")], "3", "So it is three.")
    assert text == ("<step>\n<p>\nAdd.\n</p>\n<code>\nprint(1 + 2)\n</code>\n<output>\n3\n</output>"
                    "\n</step>\n<step>\n<p>\nSo it is three.\n</p>\n<p>\nFinal Answer: 3\n</p>\n"
                    "</step>")
    assert final_answer(text) == "3"
    assert final_answer("Final Answer: 1\nFinal Answer:  $2 \n</p>") == "$2"
    assert final_answer("no answer") is None
    assert set(re.findall(r"</?\w+>", text)) <= set(TAGS)


def test_observation_is_output_and_error():
    run = sandbox.run_code("print(1)\n1 / 0")
    assert observation(run) == "1\nZeroDivisionError: division by zero"
    assert observation(sandbox.run_code("print(2)")) == "2"
    assert observation(sandbox.run_code("x = 2")) == ""


@pytest.mark.parametrize("given, gold", [
    ("18", "18"), ("18.0", "18"), ("$1,234.50", "1234.5"), ("18 eggs", "18"), ("-$5", "-5"),
    ("$-5", "-5"), ("−5", "-5"), ("25%", "25"), ("1/2", "0.5"), ("3 1/2", "3.5"), (".5", "0.5"),
    ("18.", "18"), ("1,000,000", "1000000"), ("71.99999999999999", "72"), ("1.5e3", "1500"),
    ("40 miles/hour", "40"), ("€ 7", "7"), ("x", " x "), ("+7", "7"),
    ("**18**", "18"), ("** 18", "18"), ("*18* eggs", "18"), ("`18`", "18"), ("__18__", "18"),
    (r"\boxed{18}", "18"), (r"$\boxed{1,800}$", "1800"), (r"\boxed{18} eggs", "18"),
    (r"\(18\)", "18"),
    (r"18\text{ cm}", "18"), (r"\$18", "18"), (r"18\%", "18"), ("18 m²", "18"), ("18cm^3", "18"),
    ("18\u00a0eggs", "18"), ("18\u202f%", "18"), ("€\u00a07", "7"), ("18 °C", "18"), ("18¢", "18"),
    ("3\u00a01/2", "3.5"), ("**-$5**", "-5")])
def test_same_number(given, gold):
    assert same_number(given, gold) and same_number(gold, given)
    assert goat.same_answer(given, gold) and goat.same_answer(gold, given)


@pytest.mark.parametrize("given, gold", [
    ("18.002", "18"), ("18", "18.002"), ("18", "19"), ("-18", "18"), ("", "0"), ("eggs", "0"),
    ("1,23", "123"), ("12,34", "1234"), ("1/0", "1"), ("0.1", "10%"), ("2 3", "23"),
    ("18 19", "18"), ("24\nE: too late", "24"),
    ("nan", "0"), ("inf", "1"), ("--5", "5"), ("-$-5", "5"), ("10.0049", "10"), ("5 or 6", "5"),
    ("2 million", "2"), ("2 trillion", "2"), ("1 half", "1"), ("20 hundredths", "20"),
    ("3 and a half", "3"), ("5 or six", "5"), ("5 and up", "5"),
    ("12k", "12"), ("3 dozen eggs", "3"), ("3½", "3"), ("5²", "5"),
    ("1e999999999", "1"), ("9" * 5000, "9"), ("0x12", "18"), ("1_8", "18"),
    ("3**2", "32"), ("3 ** 2", "32"), ("3**2", "3"), ("5 **2/3", "5"), ("5 **2/3", "17/3"),
    (r"\frac{1}{2}", "12"), (r"\boxed{1}\boxed{8}", "18"), ("3m²½", "3"), ("10²", "10"),
    ("3½ m²", "3"),
    ("18x²", "18"), ("18x^2", "18"), ("1\u00a0234", "1"), ("3 x 10²", "3"), ("*", "0")])
def test_not_the_same_number(given, gold):
    assert not same_number(given, gold) and not same_number(gold, given)
    assert not goat.same_answer(given, gold) and not goat.same_answer(gold, given)


def test_calculate():
    assert calculate("48/2") == ("48 // 2", 24) and calculate("(80/100)*10")[0] == "80 / 100 * 10"
    assert calculate("80/100*10")[1] == 8 and calculate("05 + .50 ")[1] == 5.5
    assert calculate("-7 + +a * 2", {"a": 3}) == ("-7 + +a * 2", -1)
    assert calculate("0.1 + 0.2")[1] * 10 == 3  # exact, unlike Python
    for wrong in ("2 ** 9", "f(1)", "1 / 0", "a", "1 +", "'a'", "__import__('os')", "",
                  "True + 1", "1" + "+1" * 20_000):
        with pytest.raises(ValueError):
            calculate(wrong)


# ----------------------------------------------------------------------------------------- GSM8K


def solved(worked, question="How many are there?", run=sandbox.run_code):
    """(the trace, the reason why there is none) of one answer in GSM8K's form."""
    body, _, gold = worked.partition("####")
    return gsm8k.trace(question, body.strip(), gold.strip(), run)


def test_annotations_become_steps():
    text, reason = solved("She sold 48/2 = <<48/2=24>>24 clips in May.\nThat is a lot.\nThis makes "
                          "48+24 = $<<48+24=72>>72 altogether.\nGood.\n#### 72", "Of 48 clips?")
    assert not reason and TURN.findall(text) == [("print(48 // 2)", "24"), ("print(48 + 24)", "72")]
    assert "\nShe sold 48/2 clips in May.\n" in text
    assert "\nThat is a lot.\nThis makes 48+24 altogether.\n" in text
    assert text.endswith("<p>\nGood.\n</p>\n<p>\nFinal Answer: 72\n</p>\n</step>")


@pytest.mark.parametrize("line, prose, code", [
    ("He ate 32 because 2 x 16 = <<2*16=32>>32.", "He ate ? because 2 x 16.", "2 * 16"),
    ("It is a total of <<5+27=32>>32 pies", "It is a total of 5 + 27 pies", "5 + 27"),
    ("So 30 pies + 2 pies = <<30+2=32>>32 pies now", "So 30 pies + 2 pies now", "30 + 2"),
    ("In all there are (20+12)=32 pies", "In all there are (20+12) pies", "20 + 12"),
    ("He runs 8 miles/hour x 4 hours = 32 miles.", "He runs 8 miles/hour x 4 hours miles.",
     "8 * 4"),
    ("80% * $40 = $32", "80% * $40", "80 * 40 // 100"),
    ("Twice 2(3 + 13) = 32", "Twice 2(3 + 13)", "2 * (3 + 13)"),
    ("With x=<<4=4>>4 it is 4*8 = <<4*8=32>>32", "With x=4 it is 4*8", "4 * 8")])
def test_lines_become_prose_and_code(line, prose, code):
    text, reason = solved(f"{line}\n#### 32")
    assert not reason and f"<p>\n{prose}\n</p>\n<code>\nprint({code})\n</code>" in text


def test_an_earlier_result_or_a_short_last_step_can_be_the_answer():
    text, _ = solved("A: 6/3 = <<6/3=2>>2\nB: 3/2 = <<3/2=1.5>>1.5\nA is faster, 2 > 1.5\n#### 2")
    assert final_answer(text) == "2" and len(TURN.findall(text)) == 2
    text, _ = solved("It costs 1/4 = <<1/4=0.25>>0.25\n#### 25", "How many cents?")
    assert TURN.findall(text)[-1] == ("print(0.25 * 100)", "25.0")
    text, _ = solved("It takes 15/2 = <<15/2=7.5>>7.5, so 8\n#### 8")
    assert TURN.findall(text)[-1] == ("import math\nprint(math.ceil(7.5))", "8")


@pytest.mark.parametrize("worked, reason", [
    ("1+1 = <<1+1=2>>2", gsm8k.NO_LABEL),
    ("1+1 = <<1+1=2>>2\n#### two", gsm8k.NO_LABEL),
    ("Let x be it. 2x = 8, so x = 4\n#### 4", gsm8k.NO_CALCULATION),
    ("2*3 = <<2*3=6>>6\nThe others are 4\n#### 4", gsm8k.MISSING),
    ("70+40 = <<70+40=110>>110 people\n#### 140", gsm8k.DISAGREE),
    ("2*3 = <<2*3=6>>6\n70 + 40 = 100 people\n#### 110", gsm8k.DISAGREE),
    ("\n".join(f"{i}+1 = <<{i}+1={i + 1}>>{i + 1}" for i in range(8)) + "\n#### 8",
     gsm8k.TOO_LONG)])
def test_why_there_is_no_trace(worked, reason):
    assert solved(worked) == ("", reason)


def test_a_trace_needs_the_interpreters_agreement():
    worked = "48/2 = <<48/2=24>>24\n#### 24"
    for output, error in (("25", None), ("", None), ("24\n24", None),
                          ("", "TimeoutError: stopped"), ("24", "E: too late")):
        lie = SimpleNamespace(output=output, error=error)
        assert solved(worked, run=lambda code, lie=lie: lie) == ("", gsm8k.WRONG_OUTPUT)


@needs_gsm8k
def test_the_training_set_gives_seven_thousand_traces():
    found = list(gsm8k_rows(GSM8K, execute))
    rows = [item for item in found if not isinstance(item, Rejection)]
    rejected = {item.source: item.reason for item in found if isinstance(item, Rejection)}
    assert len(found) == 7473 and len(rows) >= 7100
    assert all(turns_are_right(row, execute) for row in rows[::10])
    suspects = {source for source, reason in rejected.items() if reason == gsm8k.DISAGREE}
    assert {"train 787", "train 1155", "train 4797"} < suspects and len(suspects) < 20
    lines = (GSM8K / "train.jsonl").read_text(encoding="utf-8").splitlines()
    golds = [json.loads(line)["answer"].split("####")[1].strip() for line in lines]
    assert all(same_number(gold, gold.replace(",", "")) for gold in golds)
    for row in rows:
        gold = golds[int(row["source"].split()[1]) - 1]
        assert same_number(final_answer(row["output"]), gold) and same_number(row["answer"], gold)
        assert "<<" not in row["output"] and set(re.findall(r"</?[a-z]+>", row["output"])) <= set(
            TAGS)
        assert row["output"].count("<step>") <= 8


@needs_gsm8k
def test_the_sandbox_gives_the_same_traces():
    assert [row for row, _ in zip(gsm8k_rows(GSM8K, sandbox.run_code), range(40))] == \
        [row for row, _ in zip(gsm8k_rows(GSM8K, execute), range(40))]


# ------------------------------------------------------------------------------------- templates


def test_a_tenth_of_the_templates_is_held_out():
    known, held_out = templates(), templates(held_out=True)
    more = templates(more=373)[len(known):]
    assert len(more) == 373 and templates(held_out=True, more=373) == held_out
    assert templates(more=178)[len(known):] == more[:178]
    assert len({t.name for t in known + held_out + more}) == len(known + held_out + more)
    assert not {t.story for t in more} & {t.story for t in known + held_out}
    assert len(known) + len(held_out) >= 40 and len(held_out) == (len(known) + len(held_out)) // 10
    names = [template.name for template in known + held_out]
    assert len(set(names)) == len(names)
    assert len({template.story for template in known + held_out}) == len(names)
    assert {row["source"] for row in template_rows(0, 400)} <= {t.name for t in known}
    assert {row["source"] for row in template_rows(0, 60, held_out=True)} == {
        t.name for t in held_out}


def test_no_further_template_is_told_like_one_that_is_held_out():  # by their words but small ones
    small = re.compile(r"\b(an?|the|of|to|in|on|at|is|are|was|were|and|each|every|how|many|much|do|"
                       r"does|for|it|they|all|with|from|that|by|has|have|had|as|be|still)\b")

    def words(template):
        story = re.sub(r"{\w+}", "", template.story.lower())
        return set(re.findall("[a-z]+", small.sub("", story)))

    for held_out in map(words, templates(held_out=True)):
        for more in map(words, templates(more=373)[len(templates()):]):
            assert len(more & held_out) <= 0.25 * len(more | held_out), (more, held_out)


def test_rows_are_reproducible_and_varied():
    rows = list(template_rows(3, 1500))
    assert rows[:40] == list(template_rows(3, 40)) != list(template_rows(4, 40))
    assert len({row["instruction"] for row in rows}) > 1490
    assert len({row["source"] for row in rows}) == len(templates())
    assert {"instruction", "input", "output", "answer", "task", "source"} == set(rows[0])
    for row in rows:
        assert not re.search(r"[{}\[\]|]|  ", row["instruction"]), row["instruction"]
        assert row["instruction"].endswith(("?", ".")) and int(row["answer"]) > 0
        assert final_answer(row["output"]) == row["answer"] and turns_are_right(row, execute)
    weather = ["degrees warm" in row["instruction"] for row in rows]
    assert any(weather) and not all(weather)


def test_code_uses_only_numbers_that_were_told():
    constants = {"fuel": {"100"}, "garden": {"2"}, "half": {"2"}, "quarter": {"4"},
                 "average": {"3"}, "hike": {"1"}}
    for row in [*template_rows(5, 500), *template_rows(5, 50, held_out=True)]:
        code = "\n".join(code for code, _ in TURN.findall(row["output"]))
        told = set(re.findall(r"\d+", row["instruction"])) | constants.get(row["source"], set())
        assert set(re.findall(r"\d+", code)) <= told, row


def test_every_template_runs_in_the_sandbox():
    rows = {row["source"]: row for row in (*template_rows(7, 600),
                                           *template_rows(7, 60, held_out=True),
                                           *template_rows(7, 4000, more=373))}
    assert len(rows) == len(templates(more=373)) + len(templates(held_out=True))
    for row in rows.values():
        assert not re.search(r"[{}\[\]|]|  ", row["instruction"] + row["output"]), row
        assert turns_are_right(row, sandbox.run_code), row
    turns = collections.Counter(len(TURN.findall(row["output"])) for row in rows.values())
    assert turns[1] > 10 and turns[2] > 10


def test_the_same_problems_in_prose():
    for code, prose in zip(template_rows(9, 200), template_rows(9, 200, code=False)):
        assert {**code, "output": ""} == {**prose, "output": ""}
        assert "<code>" not in prose["output"] and "<output>" not in prose["output"]
        assert final_answer(prose["output"]) == code["answer"]
        equations = re.findall(r"^\w+ = ([-+*/() \d]+) = (\d+)$", prose["output"], re.MULTILINE)
        assert equations and all(eval(left) == int(right) for left, right in equations)
        assert equations[-1][1] == code["answer"]
