"""Held-out rows: never learnt, their loss against a plain one, and the best weights kept.

Run: python -m pytest tests/training/test_validation.py
"""

import json

import pytest
import torch

import generate_data
import train
from goat.errors import UserError
from goat.files import checkpoint
from goat.llama.generate import generate
from goat.files.vocabulary import open_tokenizer
from goat.papers import PAPERS, row_prompt
from goat.papers.word_problems.templates import template_rows
from goat.training import validation
from goat.training.batches import RowBatches
from goat.training.validation import Validation
from support.runs import BASE, adapter, flags, stop_after_first


def looks(folder) -> list[dict]:
    lines = map(json.loads, (folder / "log.jsonl").read_text().splitlines())
    return [line for line in lines if "val_loss" in line]


def test_held_out_rows_are_in_no_window_and_all_others_are(tiny_base, rows):
    tokenizer = open_tokenizer(tiny_base)
    data = RowBatches(rows, tokenizer, 16, 512, 200, seed=3, held_out=20)
    whole = RowBatches(rows, tokenizer, 16, 512, 200, seed=3)
    assert len(data.held_out) == 20 and len(data) == len(whole) - 20
    windows = -(-2 * len(data) // 16)
    learnt = {row for step in range(windows) for row in data.drawn(step)}
    assert learnt == set(range(len(whole))) - set(data.held_out)
    assert RowBatches(rows, tokenizer, 16, 512, 200, seed=4, held_out=20).held_out != data.held_out
    with pytest.raises(UserError, match="none is left to learn"):
        RowBatches(rows, tokenizer, 16, 512, 200, seed=3, held_out=len(whole))


def test_loss_and_exact_match_are_the_plain_ones(tiny_base, tmp_path):
    """Two of the three answers are what the model says anyway."""
    tokenizer, model = open_tokenizer(tiny_base), checkpoint.load_model(tiny_base)
    prompts = [f"{a} + 1" for a in range(3)]
    said = generate(model, tokenizer, [f"{p}\nAnswer: " for p in prompts], 512)
    made = [{"instruction": p, "input": "", "output": f"{p} = 7",
             "answer": text.rpartition("=")[2].strip()} for p, text in zip(prompts, said)]
    made[1]["answer"] = "another"
    path = tmp_path / "val.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in made))
    data = RowBatches(path, tokenizer, 3, 64, 100, seed=0)
    found = Validation(data, range(3)).measure(model, tokenizer, train.answer_loss)
    losses = []
    for row in made:
        ids, n_prompt = tokenizer.encode_pair(row_prompt(row), row["output"])
        logits = model(torch.tensor([ids[:-1]]))[0].log_softmax(-1)
        losses += [-logits[i - 1, ids[i]].item() for i in range(n_prompt, len(ids))]
    assert found["val_loss"] == pytest.approx(sum(losses) / len(losses), abs=1e-4)
    assert (found["val_rows"], found["val_asked"]) == (3, 3)
    assert found["val_exact"] == pytest.approx(2 / 3, abs=1e-4)
    path.write_text("".join(json.dumps({**row, "answer": ""}) + "\n" for row in made))
    bare = Validation(RowBatches(path, tokenizer, 3, 64, 100, seed=0), range(3))
    assert bare.questions == []  # there is nothing to compare with: the loss alone


def test_solutions_with_code_are_run(tiny_base, tmp_path, monkeypatch):
    asked, real = {}, validation.evaluate
    monkeypatch.setattr(validation, "evaluate", lambda *a, **o: asked.update(o) or real(*a, **o))
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in template_rows(0, 2)))
    tokenizer, model = open_tokenizer(tiny_base), checkpoint.load_model(tiny_base)
    found = Validation(RowBatches(path, tokenizer, 2, 4096, 1000, seed=0), range(2)).measure(
        model, tokenizer, train.answer_loss)
    assert found["val_asked"] == 2 and found["val_exact"] == 0.0
    assert asked == {"interpreter": True, "max_new_tokens": PAPERS["word_problems"].new_tokens}


@pytest.mark.parametrize("how", ["--val-rows", "--val-data"])
def test_the_log_tells_of_them(tiny_base, rows, tmp_path, how, capsys):
    other = tmp_path / "val.jsonl"
    lines = rows.read_text().splitlines(keepends=True)[:5]
    long = json.dumps({"instruction": "1 2 " * 500, "input": "", "output": "3", "answer": "3"})
    other.write_text("".join(lines) + long)
    value = {"--val-rows": "5", "--val-data": str(other)}[how]
    train.main(flags(tiny_base, rows, tmp_path / "run", how, value, "--eval-every", "4"))
    found = looks(tmp_path / "run")
    left_out = "val.jsonl: 1 rows of more than" in capsys.readouterr().out
    assert left_out == (how == "--val-data")
    assert [line["step"] for line in found] == [4, 6]  # and at the end
    assert all(line["val_rows"] == line["val_asked"] == 5 for line in found)
    assert found[1]["val_loss"] < found[0]["val_loss"]


def test_the_best_weights_are_kept_and_survive_a_cut(tiny_base, rows, tmp_path, monkeypatch,
                                                     capsys):
    """Held-out losses that are lowest in the middle."""
    def run(name, *more):
        train.main(flags(tiny_base, rows, tmp_path / name, *more))
        return adapter(tmp_path / name)

    three = run("three", "--max-steps", "3", "--warmup", "0", "--hold", "1")
    monkeypatch.setattr(Validation, "measure",
                        lambda *_: {"val_loss": next(losses), "val_rows": 1})
    other = tmp_path / "val.jsonl"
    other.write_text(rows.read_text().splitlines(keepends=True)[0])
    best = ["--warmup", "0", "--hold", "1", "--val-data", str(other), "--eval-every", "1",
            "--keep", "best", "--save-every", "4"]
    losses = iter([5.0, 4.0, 2.0, 3.0, float("nan"), 9.0])
    assert run("best", *best) == three
    assert "kept: the weights of step 3, whose held-out loss 2.0 is the lowest" in \
        capsys.readouterr().out
    losses = iter([5.0, 4.0, 2.0, 3.0])
    with monkeypatch.context() as cut:
        cut.setattr(train.RunFolder, "save_state", stop_after_first(train.RunFolder.save_state))
        with pytest.raises(KeyboardInterrupt):
            run("cut", *best)
    losses = iter([float("nan"), 9.0])
    assert run("cut", *best, "--resume") == three
    losses = iter([])
    assert run("cut", *best[:-4], "--keep", "last", "--resume") != three  # it is all there still
    losses = iter([5.0, 4.0, 2.0, 3.0, 3.0, 9.0])
    assert run("last", *best[:-4], "--save-every", "4") != three


@pytest.mark.parametrize("words, said", [
    (["--val-rows", "5", "--val-data", "x.jsonl"], "--val-rows holds out rows of --data"),
    (["--keep", "best"], "--keep best goes by the loss of held-out rows: add --val-rows N"),
    (["--eval-every", "2"], "--eval-every goes by the loss of held-out rows: add --val-rows N"),
    (["--val-rows", "5", "--eval-every", "0"], "--eval-every 0 never looks at the held-out rows"),
    (["--val-rows", "0"], "--val-rows 0: must be above 0"),
    (["--val-rows", "500"], "none is left to learn"),
    (["--val-data", "missing.jsonl"], "--val-data missing.jsonl: there is no such file")])
def test_flags_that_make_no_sense_are_refused(tiny_base, rows, tmp_path, words, said):
    with pytest.raises(UserError, match=said):
        train.main(flags(tiny_base, rows, tmp_path / "run", *words))


@pytest.mark.parametrize("paper", ["arithmetic", "longhand", "word_problems", "skills"])
def test_the_true_solutions_of_every_paper_are_right(tmp_path, paper):
    """Whatever its rows hold, the right scorer reads them."""
    path = tmp_path / "rows.jsonl"
    args = generate_data.parse_args(["--task", paper, "--rows", "12", "--out", str(path)])
    PAPERS[paper].write(str(path), args, None)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    data = RowBatches(path, open_tokenizer(BASE), 4, 4096, 4000, seed=0)
    held_out = Validation(data, range(len(rows)))
    assert {question.paper for question in held_out.questions} == {paper}
    for question, row in zip(held_out.questions, rows, strict=True):
        assert PAPERS[paper].judge(question, row["output"]).right, row
