"""The table of corrections of GSM8K: its form, what it does to a problem, and that it helps.

    python -m pytest tests/papers/word_problems/test_corrections.py

GSM8K's train.jsonl is used where it lies in ../shared/data/gsm8k or in the folder GOAT_GSM8K.
"""

import json
import re
from argparse import Namespace
from types import SimpleNamespace

import pytest

import generate_data
from goat.errors import UserError
from goat.papers.word_problems import dataset, gsm8k
from goat.papers.word_problems.corrections import Corrections, checksum, edited
from goat.papers.word_problems.format import final_answer, same_number
from goat.papers.word_problems.gsm8k import DOUBTFUL, annotate
from support.problems import GSM8K, execute, needs_gsm8k

WRONG_LABELS = {168: "19200", 357: "64", 1777: "104", 1959: "30", 2771: "108", 3264: "4",
                4797: "120", 5937: "1400", 7183: "10", 7445: "140"}
DOUBTS = {2518, 5392, 6761}
CHOICES = {498, 4359}  # right, but nothing is calculated

# ------------------------------------------------------------------------------- what it does


@pytest.mark.parametrize("line, expression, marked", [
    ("He bought 6 because 1.5 / .25 = <<6=6>>6", "1.5/.25",
     "He bought 6 because 1.5 / .25 = <<1.5/.25=6>>6"),
    ("So x = 15 + 4 = $19.", "15+4", "So x = 15 + 4 = $<<15+4=19>>19."),
    ("Dividing by 9, we get m = 3.", "27/9", "Dividing by 9, we get m = 3: <<27/9=3>>"),
    ("The share", "1/3", "The share: <<1/3=1/3>>")])
def test_a_line_says_what_it_calculates(line, expression, marked):
    assert annotate(line, expression) == marked


@pytest.mark.parametrize("edits, lines", [
    ("", ["a", "b = 6", "c"]), ("2: 2*3", ["a", "b = 6: <<2*3=6>>", "c"]),
    ("1= It is {2*3}, or {6/4}", ["It is <<2*3=6>>6, or <<6/4=3/2>>1.5", "b = 6", "c"]),
    ("1-2= New; 3=", ["New"]), ("4= {1+1} more; 1=", ["b = 6", "c", "<<1+1=2>>2 more"]),
    ("2-3=; 1: 4*5", ["a: <<4*5=20>>"])])
def test_edits(edits, lines):
    assert edited(" a\nb = 6\nc\n", edits) == "\n".join(lines)


@pytest.mark.parametrize("edits", ["a", "2 * 3", "1: x", "1: ", "4: 2*3", "0: 2*3", "1-2: 2*3",
                                   "3-2= x", "5= x", "4-5= x", "1= {x}", "1= {}", "1: 2*3;2: 2*3"])
def test_edits_that_are_none(edits):
    with pytest.raises(ValueError):
        edited("a\nb\nc", edits)


PROBLEMS = [("Two and two?", "2+2 = 5\n#### 5"), ("How many of 6?", "Half are 3\n#### 3"),
            ("Another version?", "1+1 = 2\n#### 2"), ("Which?", "2*3 = 6\n#### 6")]


@pytest.fixture
def corrected(tmp_path, monkeypatch):
    """A folder of four problems; three have a correction, one a correction of another version."""
    rows = [(90, PROBLEMS[0], "4", "1= Together {2+2}"), (7, PROBLEMS[1], "-", "1: 6/2"),
            (55, ("Another version?", "1+1 = 3\n#### 3"), "2", "-"), (1, PROBLEMS[3], "?", "-")]
    table = tmp_path / "table.tsv"
    table.write_text("# problem\n" + "".join(f"{number}\t{checksum(*problem)}\t{answer}\t{working}"
                                            "\twhy\n" for number, problem, answer, working in rows))
    monkeypatch.setattr(dataset, "Corrections", lambda: Corrections(table))
    (tmp_path / "train.jsonl").write_text("".join(
        json.dumps({"question": q, "answer": a}) + "\n" for q, a in PROBLEMS))
    return tmp_path


@pytest.fixture
def make(corrected, capsys):
    """Run generate_data.py on these problems: (question and answer of each row, the reasons of the
    others, what was printed)."""
    def call(*flags):
        out = corrected / "rows.jsonl"
        assert generate_data.main(["--task", "word_problems", "--gsm8k", str(corrected), "--out",
                                   str(out), *flags]) == 0
        rows = [json.loads(line) for line in out.read_text().splitlines()]
        left = [json.loads(line) for line in dataset.beside(out, "left-out").open()]
        assert all(same_number(final_answer(row["output"]), row["answer"]) for row in rows)
        return ([(row["source"][-1], row["answer"]) for row in rows],
                [(row["source"][-1], row["reason"]) for row in left], capsys.readouterr().out)
    return call


def test_problems_are_corrected_unless_the_flag_is_given(make):
    rows, left, shown = make()
    assert rows == [("1", "4"), ("2", "3"), ("3", "2")] and left == [("4", gsm8k.DOUBTED)]
    assert "2 of the problems read were corrected" in shown
    rows, left, shown = make("--original-labels")
    assert rows == [("3", "2"), ("4", "6")]
    assert left == [("1", gsm8k.NO_CALCULATION), ("2", gsm8k.NO_CALCULATION)]
    assert "problems read" not in shown
    with pytest.raises(UserError, match="--original-labels is about"):
        generate_data.main(["--task", "word_problems", "--original-labels"])


@pytest.mark.parametrize("original, answers", [(False, ["4", "3", "2"]),
                                               (True, ["5", "3", "2", "6"])])
def test_self_training_asks_for_corrected_answers(corrected, original, answers):
    source = dataset.source_rows(Namespace(gsm8k=str(corrected), math=None, skip=0,
                                           from_model="adapter", redraw=0,
                                           rows=None, original_labels=original))
    assert [row["answer"] for row in source.rows] == answers
    assert original or source.corrections.applied == 2
    assert len(source.rows) + len(source.rejections) == 4  # which --skip and --rows count


# ------------------------------------------------------------------------------------ the table


def test_the_form_of_the_table():
    table = Corrections().table
    numbers = [c.number for c in table.values()]
    assert numbers == sorted(set(numbers)) and len(numbers) > 270
    assert {c.number for c in table.values() if c.answer == DOUBTFUL} == DOUBTS
    assert {c.number: c.answer for c in table.values()
            if c.answer not in ("", DOUBTFUL)} == WRONG_LABELS
    for check, correction in table.items():
        assert re.fullmatch("[0-9a-f]{8}", check) and correction.why
        edited("x\n" * 9, correction.working)  # each expression calculates something


@needs_gsm8k
def test_every_correction_gives_a_trace_that_was_not_there_before():
    corrections = Corrections()
    by_number = {c.number: c for c in corrections.table.values()}
    pairs = zip(gsm8k.problems(GSM8K), gsm8k.problems(GSM8K, corrections=corrections))
    for number, ((_, before, working), (_, after, mended)) in enumerate(pairs, 1):
        if number not in by_number:
            assert (before, working) == (after, mended)
            continue
        question, label = before["instruction"], before["answer"]
        assert gsm8k.trace(question, working, label, execute)[1]
        output, reason = gsm8k.trace(question, mended, after["answer"], execute)
        assert bool(output) == (number not in DOUBTS | CHOICES), (number, reason)
        assert (label != after["answer"]) == (number in DOUBTS | WRONG_LABELS.keys())
        assert not copied(by_number[number], f"{question} {working}"), number
    assert (number, corrections.applied) == (7473, len(by_number.keys() - CHOICES - DOUBTS))


def copied(correction, text):
    """The first run of five words that a correction has in common with its problem."""
    own = re.sub(r"\{.*?\}|;", " | ", f"{correction.working} ; {correction.why}")
    own, text = (re.findall(r"[a-z]+|\|", part.lower()) for part in (own, text))
    runs = {tuple(text[i:i + 5]) for i in range(len(text) - 4)}
    return next((run for i in range(len(own)) if (run := tuple(own[i:i + 5])) in runs), None)


def test_a_copied_line_is_found():
    correction = SimpleNamespace(working="1= Half as many as {2*3} clips; 2: 3*4", why="it is so")
    assert copied(correction, "It is so; half as many as clips, so it is") is None
    assert copied(correction, "now half as many as") is None
    correction = SimpleNamespace(working="1= She sold half as many {2*3}", why="it is so")
    assert copied(correction, "and she sold half as many.") == ("she", "sold", "half", "as", "many")
