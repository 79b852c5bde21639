"""Choosing among samples: votes, values, ties, intervals; and eval.py with a value model.

    python -m pytest tests/papers/word_problems/test_rerank.py
"""

import json

import pytest
import torch

import eval as script
from goat.errors import UserError
from goat.evaluation.evaluate import record, solved_record
from goat.papers import Question
from goat.papers.word_problems import CHOICES, rerank, value_head
from goat.papers.word_problems.format import TASK
from goat.papers.word_problems.interpreter import Solution
from goat.papers.word_problems.rerank import Candidates
from goat.stats import wilson
from support.adapters import adapted


def said(answer: str, gold: str = "18", cell: str = "c"):
    question = Question(TASK, cell, "How many?", "", gold, paper=TASK)
    return record(question, f"Final Answer: {answer}" if answer else "I do not know.")


def candidates(answers: str, values=None, greedy: str = "1", gold: str = "18", cell: str = "c"):
    return Candidates(said(greedy, gold, cell),
                      [said(a, gold, cell) for a in answers.split(";")], values)


def test_the_worked_number():
    one = candidates("24;24;18", [-0.8, -0.6, 0.9])
    assert [one.chosen(how).given for how in CHOICES] == ["24", "18", "18"]
    assert [one.right(how) for how in ("greedy", *CHOICES, "pass")] == [
        False, False, True, True, True]


@pytest.mark.parametrize("answers, values, vote, value, both", [
    ("18;$18.00;5;5;18 eggs", [-1, -1, 0.9, 0.9, -1], "18", "5", "5"),  # equal as numbers
    ("18;18.00000000000001;5;5;18.", [-1, 0, 0.9, -1, -1], "18", "5", "5"),  # binary floats
    ("5;18", [0, 0], "5", "5", "5"),  # ties go to the first
    (";;5", [0.9, 0.8, -0.9], "5", "5", "5"),  # no answer: no vote, and never the best value
    ("five;5;five", [0.1, 0.9, 0.1], "five", "5", "five"),  # texts that are no numbers
    (";", [0.9, 0.8], "", "", ""),
    ("5;5;18", [-0.9, -0.9, 0.5], "5", "18", "18")])
def test_choices(answers, values, vote, value, both):
    one = candidates(answers, values)
    assert [one.chosen(how).given for how in CHOICES] == [vote, value, both]


def test_the_table_is_side_by_side_with_intervals():
    some = ([candidates("5;5;18", [-0.9, -0.9, 0.5])] * 6 +
            [candidates("18;18;5", [0, 0, -1])] * 2 +
            [candidates("5;5;5", [0, 0, 0], greedy="18")] * 2 +
            [candidates("18", [0], cell="d")] * 3)
    some = [Candidates(one.greedy, one.samples, one.values) for one in some]
    for one in some:  # records of different questions are different objects
        one.greedy = said(one.greedy.given, cell=one.greedy.cell)
    found = {(s["cell"], s["method"]): s for s in rerank.scores(some)}
    assert {how: found["c", how]["right"] for how in ("greedy", "vote", "value", "value-vote",
                                                      "pass")} == {
        "greedy": 2, "vote": 2, "value": 8, "value-vote": 8, "pass": 8}
    assert found["c", "vote"]["n"] == 10 and found["d", "vote"]["right"] == 3
    assert (found["c", "value"]["low"], found["c", "value"]["high"]) == wilson(8, 10)
    shown = rerank.summary(some)
    assert "word_problems, c: 10 questions, 3 samples each" in shown
    assert "best value against majority: 6 questions right by it alone, 0 by major" in shown
    for one in some:
        one.values = None
    assert "value" not in rerank.summary(some) and "majority vote" in rerank.summary(some)
    assert rerank.summary([]) == "no question has all its samples"


def test_samples_belong_to_their_questions_and_an_interruption_keeps_what_is_whole(monkeypatch):
    asked = [Question(TASK, "c", f"Q{i}?", "", str(i), paper=TASK) for i in range(3)]

    def solve(model, tokenizer, prompts, samples=1, temperature=0.0, share=None, **options):
        assert options == {"interpreter": True} and (samples > 1) == (temperature > 0)
        for s in reversed(range(samples)):
            for p in range(len(prompts)):
                if samples > 1 and (p, s) == (2, 0):
                    raise KeyboardInterrupt
                text = f"Final Answer: {p if s == 1 else 90 + s}"
                yield Solution(p, s, prompts[p], text, "answered", text.split()[-1])

    monkeypatch.setattr(rerank, "solve", solve)
    valuer = lambda texts: [(i, float(t.endswith(": 91")) - i / 100)  # noqa: E731
                            for i, (_, t) in reversed([*enumerate(texts)])]
    found, complete = rerank.sample(None, None, asked, solved_record, 3, 0.7, valuer,
                                    interpreter=True)
    assert not complete and len(found) == 2
    for i, one in enumerate(found):
        assert [r.given for r in one.samples] == ["90", str(i), "92"] and one.greedy.given == "90"
        assert one.values == [-(3 * i + k) / 100 for k in range(3)]

    def interrupted(texts):
        yield 0, 0.5
        raise KeyboardInterrupt

    found, complete = rerank.sample(None, None, asked[:2], solved_record, 3, 0.7,
                                    interrupted, interpreter=True)
    assert not complete and len(found) == 2 and found[0].values is None


@pytest.fixture
def adapter(tiny_base, tmp_path):
    """An adapter that changes the tiny model, without a value model."""
    return adapted(tiny_base, tmp_path / "adapter"), tmp_path / "adapter"


def test_eval_by_value_model(tiny_base, adapter, tmp_path, capsys):
    model, folder = adapter
    flags = ["--base", str(tiny_base), "--dtype", "fp32", "--device", "cpu", "--max-new-tokens",
             "6", "--out", str(tmp_path / "r.json"), "--suite", TASK, "--limit", "2"]
    many = [*flags, "--adapter", str(folder), "--samples", "3"]
    for wrong, why in (([*many, "--rerank", "value"], "no value model here"),
                       ([*flags, "--adapter", "none", "--samples", "3", "--rerank", "value-vote"],
                        "needs --adapter"), ([*flags, "--rerank", "vote"], "add --samples"),
                       ([*many, "--beams", "2"], "--beams"),
                       ([*many, "--ask", "How many?"], "--ask is a question of its own"),
                       ([*many, "--suite", "demo"], "are for word problems")):
        with pytest.raises(UserError, match=why):
            script.main(wrong)
    script.main([*many, "--interpreter"])
    shown = capsys.readouterr().out
    assert "seen templates: 2 questions, 3 samples each" in shown and "best value" not in shown
    value_head.add(model)
    torch.nn.init.normal_(model.value_head.weight)
    value_head.save(model, folder)
    script.main([*many, "--interpreter", "--rerank", "value"])
    shown, results = capsys.readouterr().out, json.loads((tmp_path / "r.json").read_text())
    for name in rerank.NAMES.values():
        assert shown.count(f"  {name} ") == 2 + 2 * (name in ("best value", "value-weighted vote"))
    assert len(results["reranking"]) == 2 * 5 and len(results["records"]) == 4
    assert results["settings"]["temperature"] == 0.7
    script.main([*flags, "--adapter", "none", "--samples", "3", "--value-adapter", str(folder)])
    assert "best value" in capsys.readouterr().out
