"""MATH: rows of its solutions, questions of its test, and what judges, votes and harvests them.

    python -m pytest tests/papers/word_problems/test_math_problems.py

MATH itself is used where it lies in ../shared/data/math or in the folder GOAT_MATH.
"""

import json

import pytest

import eval as script
import generate_data
from goat.errors import UserError
from goat.evaluation.audit import audit_row
from goat.evaluation.evaluate import all_scores, record
from goat.evaluation.questions import read_questions
from goat.evaluation.report import text_report
from goat.papers import Question, paper_of
from goat.papers.word_problems import rerank, self_training
from goat.papers.word_problems.format import MAX_STEPS, TASK
from goat.papers.word_problems.interpreter import ANSWERED, Solution
from goat.papers.word_problems.math_problems import (SUBJECTS, evaluation_questions, math_rows,
                                                     solution_text)
from goat.papers.word_problems.self_training import harvest
from support.problems import MATH, needs_math


def problem(subject, level, solution, text="What is it?"):
    return {"problem": text, "level": f"Level {level}", "type": subject, "solution": solution}


PROBLEMS = [problem("Algebra", 1, "It is\n\nhalf: $\\boxed{\\frac12}$."),
            problem("Counting & Probability", 3, "Zero, so $\\boxed{}$."),
            problem("Number Theory", 5, "[asy]draw(1);\n\n[/asy] See: \\fbox{7\n }"),
            problem("Number Theory", 5, "\\boxed{7}", "Look: [asy]draw(2);[/asy]"),
            problem("Algebra", "?", "So <p> is \\boxed{8}."), problem("Algebra", 2, "\\boxed{x}")]


def lines(folder, split="train", problems=PROBLEMS):
    (folder / f"{split}.jsonl").write_text("".join(json.dumps(p) + "\n" for p in problems))
    return folder


def test_rows_and_what_is_left_out(make, tmp_path):
    rows, shown = make("--math", lines(tmp_path))
    assert rows[0] == {
        "instruction": "What is it?", "input": "", "answer": "\\frac12", "task": "math",
        "source": "train 1", "level": "1", "subject": "algebra",
        "output": "<step>\n<p>\nIt is\n</p>\n</step>\n<step>\n<p>\nhalf: $\\boxed{\\frac12}$.\n"
                  "</p>\n</step>\n<step>\n<p>\nFinal Answer: \\frac12\n</p>\n</step>"}
    assert [(row["answer"], row["output"].count("asy")) for row in rows] == [
        ("\\frac12", 0), ("7", 0), ("x", 0)]
    assert "MATH: 6 problems, 3 rows; the other 3 stand in" in shown
    left = map(json.loads, (tmp_path / "rows.left-out.jsonl").read_text().splitlines())
    assert [(row["source"], row["reason"]) for row in left] == [
        ("train 2", "no answer in a box"), ("train 4", "asked by a picture"),
        ("train 5", "its text holds a tag of the trace format")]
    assert generate_data.main(["--check", str(tmp_path / "rows.jsonl"), "--workers", "1"]) == 0
    assert audit_row(json.dumps({**rows[0], "answer": "0.5"})) is None
    assert "not '0.6'" in audit_row(json.dumps({**rows[0], "answer": "0.6"}))
    assert paper_of("math").evaluation_flags("math") == "--math DIR"


def test_levels_subjects_and_a_part(make, tmp_path):
    lines(tmp_path)
    for flags, sources in ((["--levels", 1, 2], [1, 6]), (["--subjects", "number_theory"], [3]),
                           (["--levels", 2, "--subjects", "algebra"], [6]), (["--rows", 1], [1]),
                           (["--skip", 1, "--rows", 2], [3])):  # of the 2 one has a row
        rows, _ = make("--math", tmp_path, *flags)
        assert [row["source"] for row in rows] == [f"train {n}" for n in sources]


def test_the_original_layout_gives_the_same(tmp_path):
    for count, one in enumerate(PROBLEMS, 8):  # 8.json … 13.json
        folder = tmp_path / "old" / "train" / one["type"].lower().replace(" ", "_")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{count}.json").write_text(json.dumps(one, indent=4))
    new, old = (sorted(map(str, ({**row, "source": ""} if isinstance(row, dict) else row.reason
                                 for row in math_rows(folder))))
                for folder in (lines(tmp_path), tmp_path / "old"))
    assert new == old
    sources = [row["source"] for row in math_rows(tmp_path / "old") if isinstance(row, dict)]
    assert sources == ["train/algebra/8", "train/algebra/13", "train/number_theory/10"]
    (folder / "1.json").write_text("{")
    with pytest.raises(UserError, match="1.json: not a JSON object"):
        list(math_rows(tmp_path / "old"))


def test_long_solutions_have_no_more_steps_than_others():
    text = solution_text("\n\n".join(map(str, range(20))), "5")
    assert text.count("<step>") == MAX_STEPS and "6\n7\n8" in text


@pytest.mark.parametrize("flags, why", [
    (["--math", "x", "--gsm8k", "x"], "exclude each other"), (["--levels", "1"], "of --math"),
    (["--subjects", "algebra"], "of --math"), (["--math", "nowhere"], "nowhere: neither train"),
    (["--math", "x", "--no-code"], "are in prose as they are"), (["--math", ""], "--math is empty"),
    (["--math", "x", "--seed", "3"], "problems of --math are not drawn"),
    (["--math", "x", "--held-out"], "about the templates")])
def test_flags_that_do_not_fit(make, flags, why):
    with pytest.raises(UserError, match=why):
        make(*flags)


def test_problems_that_cannot_be_used(make, tmp_path):
    with pytest.raises(UserError, match="no problem in it is of these levels"):
        make("--math", lines(tmp_path), "--levels", "4")
    with pytest.raises(UserError, match="none of its problems gives a row: 1 no answer in a box"):
        make("--math", tmp_path, "--levels", "3")
    with pytest.raises(UserError, match="line 1: the field 'type' must be a string"):
        make("--math", lines(tmp_path, problems=[{"problem": "a", "level": "Level 1"}]))
    with pytest.raises(UserError, match="its train problems are none"):
        make("--math", lines(tmp_path, problems=[]))


def test_questions_of_the_test(tmp_path):
    asked = [problem("Geometry", i % 5 + 1, f"\\boxed{{{i}}}", f"{i}?") for i in range(10)]
    questions = evaluation_questions(lines(tmp_path, "test", asked))
    assert [q.answer for q in questions] == list("0516273849")  # by level
    assert {(q.suite, q.subject, q.task, q.paper) for q in questions} == {
        ("MATH test", "geometry", "math", TASK)}
    assert [q.cell for q in questions[1:3]] == ["level 1", "level 2"]
    assert [q.answer for q in evaluation_questions(tmp_path, 4)] == ["0", "5", "2", "7"]
    with pytest.raises(UserError, match="test 1: no answer in a box"):
        evaluation_questions(lines(tmp_path, "test", PROBLEMS[1:]))


def question(answer, task="math", **more):
    return Question("MATH test", "level 1", "How many?", "", answer, paper=TASK, task=task, **more)


def test_each_is_judged_by_its_own_rule(tmp_path):
    said = "Final Answer: $\\frac{36}{2}$"
    assert record(question("18"), said).right and not record(question("18", ""), said).right
    assert not record(question("2x"), "Final Answer: 2").right
    rows = [{"instruction": "Q?", "answer": "\\frac12", "task": "math"}]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    [asked] = read_questions(tmp_path / "rows.jsonl")
    assert asked.paper == TASK and record(asked, "Final Answer: 0.5").right


def test_the_report_counts_levels_and_subjects():
    records = [record(question("1", subject=subject), f"Final Answer: {said}")
               for subject, said in (("algebra", 1), ("algebra", 2), ("geometry", 1))]
    scores = all_scores(records)
    assert {key: (s.right, s.n) for key, s in scores.items()} == {
        ("MATH test", "level 1"): (2, 3), ("MATH test, by subject", "algebra"): (1, 2),
        ("MATH test, by subject", "geometry"): (1, 1)}
    shown = text_report(records)
    assert "MATH test, by subject" in shown and "9.5 - 90.5" in shown  # the interval of 1 in 2


def test_votes_and_harvest_know_equal_answers():
    def judged(text):
        return record(question("\\frac12"), f"Final Answer: {text}")
    one = rerank.Candidates(judged("3"), [judged(t) for t in ("5", "0.5", "5", "\\frac12", "1/2")],
                            task="math")
    assert one.chosen("vote").given == "0.5" and one.right("vote")
    row = {"instruction": "Q?", "answer": "\\frac12", "task": "math", "source": "s"}
    solutions = [Solution(0, i, "", f"Final Answer: {text}", ANSWERED, text)
                 for i, text in enumerate(("0.5", "\\tfrac{2}{4}", "2"))]
    found = harvest([row], solutions, 3)
    assert (found.solved, len(found.right), len(found.wrong)) == (2, 2, 1)
    assert harvest([{**row, "task": TASK, "answer": "0.5"}], solutions, 3).solved == 1


def test_eval_takes_it(tiny_base, tmp_path, capsys):
    lines(tmp_path, "test", [PROBLEMS[0], PROBLEMS[5]])
    flags = ["--base", str(tiny_base), "--dtype", "fp32", "--device", "cpu", "--max-new-tokens",
             "12", "--out", str(tmp_path / "r.json"), "--math", str(tmp_path), "--interpreter"]
    script.main([*flags, "--html", str(tmp_path / "r.html")])
    shown = capsys.readouterr().out
    assert "2 questions" in shown and "MATH test, by subject" in shown
    saved = json.loads((tmp_path / "r.json").read_text())
    assert {s["suite"] for s in saved["scores"]} == {"MATH test", "MATH test, by subject"}
    assert [r["subject"] for r in saved["records"]] == ["algebra", "algebra"]
    assert "MATH test, by subject" in (tmp_path / "r.html").read_text()
    script.main([*flags, "--samples", "2", "--rerank", "vote"])
    assert "majority vote" in capsys.readouterr().out
    with pytest.raises(UserError, match="those of --gsm8k and --math are asked as they stand"):
        script.main([*flags, "--bare"])


def test_a_model_is_asked_these_problems(make, tmp_path, monkeypatch):
    def sample(rows, args, group):
        assert [row["answer"] for row in rows] == ["\\frac12", "x"]
        return harvest(rows, [Solution(i, 0, "", "Final Answer: 0.5", ANSWERED, "0.5")
                              for i in range(2)], 1)

    monkeypatch.setattr(self_training, "sample", sample)
    rows, shown = make("--math", lines(tmp_path), "--levels", 1, 2, "--from-model", "x")
    assert [(row["label"], row["level"]) for row in rows] == [("correct", "1")]
    assert "2 questions, 1 samples each: 1 of 2" in shown
    wrong = json.loads((tmp_path / "rows.wrong.jsonl").read_text())
    assert (wrong["label"], wrong["answer"], wrong["output"]) == ("wrong", "x", "Final Answer: 0.5")


@needs_math
def test_nearly_all_training_problems_give_rows():
    found = list(math_rows(MATH))
    rows = [item for item in found if isinstance(item, dict)]
    assert len(found) == 7500 and len(rows) == 6791
    assert {row["subject"] for row in rows} == set(SUBJECTS)
    assert all(audit_row(json.dumps(row)) is None for row in rows[::20])
    assert len(evaluation_questions(MATH)) == 5000
