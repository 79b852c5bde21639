"""generate_data.py --task word_problems: templates, GSM8K, and what a model finds by itself.

    python -m pytest tests/papers/word_problems/test_word_data.py
"""

import json
import re
from collections import Counter

import pytest
import torch

import eval as script
import generate_data
from goat.errors import UserError
from goat.evaluation.questions import read_questions
from goat.papers.word_problems import dataset, self_training
from goat.papers.word_problems.corrections import edited
from goat.papers.word_problems.format import observed
from goat.papers.word_problems.gsm8k import evaluation_questions, in_prose
from goat.papers.word_problems.interpreter import ANSWERED, NEITHER, Solution
from goat.papers.word_problems.self_training import KEPT, harvest, summary
from goat.papers.word_problems.templates import template_rows, templates
from support.adapters import adapted


def test_rows_of_the_templates(make, tmp_path):
    rows, shown = make("--rows", 40, "--seed", 3)
    assert rows == list(template_rows(3, 40)) and "40 rows" in shown
    prose, _ = make("--rows", 40, "--seed", 3, "--no-code")
    assert prose == list(template_rows(3, 40, code=False))
    more, _ = make("--rows", 40, "--seed", 3, "--more-templates")
    assert more == list(template_rows(3, 40, more=373)) != rows
    some, _ = make("--rows", 40, "--seed", 3, "--more-templates", 178)
    assert some == list(template_rows(3, 40, more=178)) != more
    held_out, _ = make("--rows", 20, "--held-out")
    assert {row["source"] for row in held_out} <= {t.name for t in templates(held_out=True)}
    assert generate_data.main(["--check", str(tmp_path / "rows.jsonl")]) == 0


def test_questions_of_the_suite_are_drawn_again(monkeypatch):
    rows = list(template_rows(3, 12))
    monkeypatch.setattr(dataset.templates, "reserved",
                        lambda: frozenset(row["instruction"] for row in rows[2:4]))
    assert dataset.from_templates(10, 3) == dataset.Rows(rows[:2] + rows[4:], 2)


def test_the_check_finds_a_wrong_answer(tmp_path, capsys):
    first, second = template_rows(0, 2)
    wrong = {**second, "answer": "1"}
    lines = [first, wrong, {**wrong, "label": "wrong"}, {**first, "label": "wrong"},
             {**first, "output": "No idea."}, {**first, "output": "No idea.", "answer": ""}]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in lines))
    assert generate_data.main(["--check", str(path), "--workers", "1"]) == 1
    shown = capsys.readouterr().out
    assert "6 rows, 4 bad" in shown and "line 2: the output answers" in shown
    assert "line 4: labelled wrong" in shown and "line 5: neither code nor answer" in shown
    assert "line 6: neither" in shown


def gsm8k(folder):
    """A file of three problems: one with a trace, one without, one with a doubtful label."""
    problems = [("Two and two?", "2+2 = <<2+2=4>>4\n#### 4"), ("Which x?", "x is it\n#### 4"),
                ("A sum?", "70+40 = <<70+40=110>>110 people\n#### 140")]
    (folder / "train.jsonl").write_text("".join(
        json.dumps({"question": q, "answer": a}) + "\n" for q, a in problems))
    return folder


def test_rows_of_gsm8k_and_what_is_left_out(make, tmp_path):
    rows, shown = make("--gsm8k", gsm8k(tmp_path))
    assert [row["instruction"] for row in rows] == ["Two and two?"]
    assert "3 problems, 1 rows; the other 2" in shown
    assert "suspected label errors: train 3" in shown
    left = map(json.loads, (tmp_path / "rows.left-out.jsonl").read_text().splitlines())
    assert [row["source"] for row in left] == ["train 2", "train 3"]
    assert len(make("--gsm8k", tmp_path, "--rows", 1)[0]) == 1
    assert not (tmp_path / "rows.left-out.jsonl").exists()  # nothing of an earlier run stays


def test_rows_in_prose_and_in_markdown(make, tmp_path):
    """The same problems as in code and tags; what the tags hold stays to the letter."""
    [row], _ = make("--gsm8k", gsm8k(tmp_path), "--markup", "markdown")
    assert row["output"] == ("2+2\n```python\nprint(2 + 2)\n```\n```output\n4\n```\n"
                             "Final Answer: 4")
    [row], _ = make("--gsm8k", tmp_path, "--no-code")
    assert row["output"] == ("<step>\n<p>\n2+2 = 4\n</p>\n</step>\n"
                             "<step>\n<p>\nFinal Answer: 4\n</p>\n</step>")
    [row], _ = make("--gsm8k", tmp_path, "--no-code", "--markup", "markdown")
    assert row["output"] == "2+2 = 4\nFinal Answer: 4"
    rows, _ = make("--rows", 40, "--markup", "markdown")
    for row, tagged in zip(rows, template_rows(0, 40), strict=True):
        text = re.sub(r"\n?</?(?:step|p)>(?=\n|$)", "", tagged["output"]).removeprefix("\n")
        for tag, fence in (("<code>", "```python"), ("</code>", "```"), ("<output>", "```output"),
                           ("</output>", "```")):
            text = text.replace(tag, fence)
        assert row["output"] == text
    assert generate_data.main(["--check", str(tmp_path / "rows.jsonl")]) == 0


def test_a_worked_answer_in_prose():
    worked = ("She sold 48/2 = $<<48/2=24>>24 in May.\n\nThat is <<5=5>>5.\nDividing by 9, m = 3: "
              "<<27/9=3>>")
    assert in_prose(worked, "3") == ("<step>\n<p>\nShe sold 48/2 = $24 in May.\nThat is 5.\n"
                                     "Dividing by 9, m = 3\n</p>\n</step>\n<step>\n<p>\n"
                                     "Final Answer: 3\n</p>\n</step>")
    mended = edited("48/2 = $24 in May.\nSo m = 72.", "1: 48/2; 2= In all {48+24} clips")
    assert "48/2 = $24 in May.\nIn all 72 clips\n" in in_prose(mended, "72")


@pytest.mark.parametrize("form", ["{}\n\n", "\ufeff{}\r\n\r\n", "\n \n{}", "[{}]\n\n"])
def test_readers_agree_on_what_is_no_row(tmp_path, form):
    """Empty lines, a byte order mark, other line ends, a list: in GSM8K's files as in rows."""
    problem = json.dumps({"question": "Two and two?", "answer": "2+2 = <<2+2=4>>4\n#### 4"})
    (tmp_path / "test.jsonl").write_text(form.format(problem), encoding="utf-8")
    assert [(q.instruction, q.answer) for q in evaluation_questions(tmp_path)] == [
        ("Two and two?", "4")]
    row = json.dumps({"instruction": "1 + 1", "answer": "2"})
    (tmp_path / "rows.jsonl").write_text(form.format(row), encoding="utf-8")
    assert [q.answer for q in read_questions(tmp_path / "rows.jsonl")] == ["2"]


def test_a_list_and_lines_share_no_file_beside_them():
    assert dataset.beside("d/a.jsonl", "wrong").name == "a.wrong.jsonl"
    assert dataset.beside("d/a.json", "wrong").name == "a.json.wrong.jsonl"


def test_nothing_is_put_beside_a_device(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    problems, out = gsm8k(tmp_path), tmp_path / "rows.jsonl"
    out.symlink_to("/dev/null")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "word_problems.wrong.jsonl").write_text("another run's")
    assert generate_data.main(["--task", "word_problems", "--gsm8k", str(problems), "--out",
                               str(out)]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"data", "rows.jsonl", "train.jsonl"}
    assert (tmp_path / "data" / "word_problems.wrong.jsonl").read_text() == "another run's"


@pytest.mark.parametrize("text, flags, why", [
    ("", ["--skip", "9"], "no such problem behind the first 9: lower --skip"),
    ("", [], ": empty"), ("", ["--from-model", "x"], ": empty"),
    ('{"question": "Q?", "answer": "1+1 = 2"}', ["--from-model", "x"], "after '####'"),
    ('{"question": "Q?", "answer": "x\\n#### 2"}', [], "1 no calculation that can be read"),
    ('{"question": "Q?", "answer": "\xff"}', [], "line 1: this is not text in UTF-8")])
def test_gsm8k_without_a_usable_problem(make, tmp_path, text, flags, why):
    (tmp_path / "train.jsonl").write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError) as error:
        make("--gsm8k", tmp_path, *flags)
    assert why in str(error.value) and str(tmp_path) in str(error.value)


@pytest.mark.parametrize("name", ["train.jsonl", "test.jsonl"])
def test_the_problems_themselves_are_never_written_over(tmp_path, name):
    line = json.dumps({"question": "?", "answer": "1+1 = <<1+1=2>>2\n#### 2"}) + "\n"
    for each in ("train.jsonl", "test.jsonl"):
        (tmp_path / each).write_text(line)
    flags = ["--gsm8k", str(tmp_path), "--out", str(tmp_path / name)]
    for main, more in (generate_data.main, ["--task", "word_problems"]), (script.main, []):
        with pytest.raises(UserError, match=f"{name}: it would be replaced"):
            main([*more, *flags])
    assert (tmp_path / name).read_text() == line
    (tmp_path / "mine.wrong.jsonl").write_text(line)  # beside which a run may write
    with pytest.raises(UserError, match="mine.wrong.jsonl: it would be replaced"):
        generate_data.main(["--task", "word_problems", "--out", str(tmp_path / "mine.jsonl"),
                            "--gsm8k", str(tmp_path / "mine.wrong.jsonl")])
    assert (tmp_path / "mine.wrong.jsonl").read_text() == line


def test_problems_of_the_test_set_are_not_trained_on(make, tmp_path):
    (tmp_path / "test.jsonl").write_text('{"question": "Q?", "answer": "1+1=<<1+1=2>>2 #### 2"}')
    with pytest.raises(UserError, match="test.jsonl: here the problems of train.jsonl are meant"):
        make("--gsm8k", tmp_path / "test.jsonl")


@pytest.mark.parametrize("flags", [["--gsm8k", "x"], ["--from-model", "x"], ["--no-code"],
                                   ["--samples", "4"], ["--questions", "x"], ["--form", "climb2"],
                                   ["--no-steps", "--task", "longhand"],
                                   ["--mixture", "demo", "--task", "word_problems"],
                                   ["--omit", "split", "--task", "longhand"]])
def test_flags_of_another_task_are_refused(flags, tmp_path):
    with pytest.raises(UserError, match=f"{flags[0]} goes with --task") as said:
        generate_data.main([*flags, "--rows", "5", "--out", str(tmp_path / "rows.jsonl")])
    assert ("--form answer" in str(said.value)) == (flags[0] == "--no-steps")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("flags, why", [
    (["--rows", "0"], "--rows 0"), (["--no-steps"], "--no-code"), (["--bare"], "--task arithmetic"),
    (["--samples", "4"], "--from-model"), (["--max-new-tokens", "4"], "--from-model"),
    (["--max-new-tokens", "0", "--from-model", "x"], "--max-new-tokens 0"),
    (["--skip", "4"], "--skip leaves out"), (["--more-templates", "374"], "there are 373"),
    (["--more-templates", "-1"], "--more-templates -1"),
    (["--more-templates", "--held-out"], "none of --more-templates"),
    (["--from-model", "x", "--temperature", "0"], "--temperature 0"),
    (["--samples", "0", "--from-model", "x"], "--samples 0"), (["--gsm8k", "nowhere"], "train"),
    (["--gsm8k", ".", "--seed", "3"], "--skip N"), (["--gsm8k", ".", "--skip", "-1"], "0 or more"),
    (["--gsm8k", ".", "--held-out"], "--held-out"),
    (["--gsm8k", ".", "--no-code", "--redraw", "2"], "--redraw"),
    (["--mixture", "skills"], "--mixture goes with --task arithmetic"),
    (["--from-model", "x", "--markup", "markdown"], "--markup: a model marks")])
def test_flags_that_do_not_fit(make, flags, why):
    with pytest.raises(UserError, match=why):
        make(*flags)


# --------------------------------------------------------------------------------- self-training


def solution(problem, sample, answer, code="print(1)", outcome=ANSWERED):
    text = f"<code>\n{code}\n</code>{observed('1')}\nFinal Answer: {answer}"
    return Solution(problem, sample, "", text, outcome, answer, history=[code] if code else [])


QUESTIONS = [{"instruction": f"Q{i}?", "input": "", "output": "gold", "answer": str(i),
              "task": "word_problems", "source": f"s{i}"} for i in range(4)]
PLANTED = [  # question 0: at once; 1: only at the third; 2: never; 3: without answers
    *[solution(0, k, "0", f"print({k})") for k in range(6)],
    solution(1, 0, "7"), solution(1, 1, "7", "print( 1 ) # the same"), solution(1, 2, "$1.00"),
    *[solution(1, k, "8", "print(") for k in range(3, 6)],
    *[solution(2, k, str(90 + k), f"x = {k}") for k in range(6)],
    *[solution(3, k, "3", outcome=NEITHER) for k in range(6)]]


def test_what_is_kept():
    found = harvest(QUESTIONS, reversed(PLANTED), 6)
    assert found.first_right == [0, 2, None, None]
    assert (found.solved, found.unanswered, found.samples) == (7, 6, 6)
    assert Counter(row["source"] for row in found.right) == {"s0": KEPT, "s1": 1}
    assert Counter(row["source"] for row in found.wrong) == {"s1": 2, "s2": KEPT}
    assert {row["label"] for row in found.right} == {"correct"}
    assert {row["label"] for row in found.wrong} == {"wrong"}
    assert found.right[0] == {**QUESTIONS[0], "output": PLANTED[0].text, "label": "correct"}
    assert found.right[-1]["output"] == PLANTED[8].text  # what the first sample of them wrote


def test_solutions_in_prose_differ_by_their_text():
    texts = ["Final Answer: 0", "So.\nFinal Answer: 0", "Final Answer: 0"]
    found = harvest(QUESTIONS[:1], [Solution(0, i, "", text, ANSWERED, "0")
                                    for i, text in enumerate(texts)], 3)
    assert [row["output"] for row in found.right] == texts[:2]


def test_coverage_grows_with_the_samples():
    shown = summary(harvest(QUESTIONS, PLANTED, 6))
    assert "7 of 24 samples are right, 6 state no answer" in shown
    assert "5 right (5 with code), 6 wrong" in shown
    shares = [line.split()[2:4] for line in shown.splitlines() if line.startswith("  n = ")]
    assert shares == [["1", "25.0"], ["2", "25.0"], ["4", "50.0"], ["6", "50.0"]]


def test_from_a_model(make, tiny_base, tmp_path, monkeypatch):
    adapted(tiny_base, tmp_path / "adapter")
    asked = list(template_rows(0, 2))
    flags = ("--rows", 2, "--samples", 2, "--from-model", tmp_path / "adapter", "--base", tiny_base,
             "--max-new-tokens", 99)

    def solve(model, tokenizer, prompts, share, **options):
        assert options == {"samples": 2, "temperature": 0.7, "seed": 0, "interpreter": True,
                           "batch_size": 128, "max_new_tokens": 99}
        assert prompts == [row["instruction"] + "\nAnswer: " for row in asked]
        yield solution(1, 0, "-1")
        yield solution(0, 1, asked[0]["answer"])
        yield solution(0, 0, "-1")
        if stopping:
            raise stopping
        yield solution(1, 1, "", outcome=NEITHER)

    with monkeypatch.context() as patch:
        patch.setattr(self_training, "solve", solve)
        stopping = torch.OutOfMemoryError()
        with pytest.raises(UserError, match="lower --batch-size .now 128"):
            make(*flags)
        stopping = KeyboardInterrupt()  # the question that has all its samples is kept
        rows, shown = make(*flags, code=130)
        assert len(rows) == 1 and "interrupted: 1 of 2 questions" in shown
        stopping = None
        rows, shown = make(*flags)
    assert [(row["label"], row["answer"]) for row in rows] == [("correct", asked[0]["answer"])]
    wrong = [json.loads(line) for line in (tmp_path / "rows.wrong.jsonl").read_text().splitlines()]
    assert [row["instruction"] for row in wrong] == [row["instruction"] for row in asked]
    assert {row["label"] for row in wrong} == {"wrong"} and "n = 2     50.0 %" in shown
    assert generate_data.main(["--check", str(tmp_path / "rows.wrong.jsonl")]) == 0
    monkeypatch.setattr(self_training, "solve", lambda *a, **o: iter([]))
    with pytest.raises(UserError, match="solves none of 0 questions"):
        make(*flags)
    for name in ("rows.jsonl", "rows.wrong.jsonl"):  # of the run before
        assert (tmp_path / name).exists()
    monkeypatch.setattr(self_training, "solve", lambda *a, **o: iter([solution(0, 0, "-1")]))
    with pytest.raises(UserError, match="nothing is written or replaced"):
        make(*flags[:2], "--samples", 1, *flags[4:])
    with pytest.raises(UserError,
                       match="none of 1 questions; its 1 wrong solutions are in .*new.w"):
        make(*flags[:2], "--samples", 1, *flags[4:], out="new.jsonl")
    assert (tmp_path / "new.wrong.jsonl").exists() and not (tmp_path / "new.jsonl").exists()
    with pytest.raises(UserError, match="nothing is written or replaced"):  # of the run before
        make(*flags[:2], "--samples", 1, *flags[4:], out="new.jsonl")
    with pytest.raises(UserError, match="name one with --out"):
        generate_data.main(["--task", "word_problems", *map(str, flags), "--out", "-"])
    with pytest.raises(UserError, match="no file can be written there"):
        make(*flags, out="adapter")
