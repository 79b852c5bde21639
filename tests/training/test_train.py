"""The training script: it learns, it is the same twice, it refuses clearly.

Broken off and resumed runs are in tests/training/test_resume.py.
Run: python -m pytest tests/training/test_train.py
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import train
from goat.distributed import ALONE
from goat.errors import UserError
from goat.evaluation import before_after
from goat.files import checkpoint
from goat.llama import model
from goat.llama.int8 import Int8Linear
from goat.files.vocabulary import open_tokenizer
from goat.training.batches import IGNORE, RowBatches
from support.runs import BASE, ROOT, adapter, flags, log
from support.tiny import tiny_model

CPU = torch.device("cpu")


def test_same_command_gives_the_same_bytes(tiny_base, rows, straight, tmp_path):
    train.main(flags(tiny_base, rows, tmp_path / "again"))
    assert adapter(tmp_path / "again") == adapter(straight)
    found = {adapter(straight)}
    for flag, value in (("--seed", "1"), ("--clip", "1e-3"), ("--beta2", "0.5"),
                        ("--weight-decay", "1")):  # each changes what is learnt
        train.main(flags(tiny_base, rows, tmp_path / flag, flag, value))
        found.add(adapter(tmp_path / flag))
    assert len(found) == 5
    assert [r["step"] for r in log(straight)] == [1, 2, 3, 4, 5, 6]
    config = json.loads((straight / "adapter" / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["lora_dropout"]) == (4, 12, 0.05)


def test_flags_say_what_is_loaded(tiny_base, rows):
    def load(*more):
        args = train.parse_args(flags(tiny_base, rows, "unused", *more))
        model = train.load_model(args, CPU, torch.float32)
        learning = {name.rpartition(".")[2] for name, p in model.named_parameters()
                    if p.requires_grad}
        return model, learning, any(isinstance(m, Int8Linear) for m in model.modules())

    base = checkpoint.load_model(tiny_base).lm_head.weight
    for more, learns, int8, same in (
            ([], {"lora_A", "lora_B"}, False, True),
            (["--int8"], {"lora_A", "lora_B"}, True, True),
            (["--full"], {"weight"}, False, True),
            (["--full", "--scratch"], {"weight"}, False, False)):
        model, learning, eight = load(*more)
        assert (learning, eight, torch.equal(model.lm_head.weight, base)) == (learns, int8, same)


def test_a_part_of_an_epoch_and_its_learning_rates(tiny_base, rows, tmp_path):
    words = flags(tiny_base, rows, tmp_path / "run", "--epochs", "0.5", "--final-lr", "0.2")
    at = words.index("--max-steps")
    del words[at:at + 2]
    train.main(words)  # 96 rows / 2 / 16
    assert [r["lr"] for r in log(tmp_path / "run")] == pytest.approx(
        [1e-2 * train.schedule(n, 3, 2, 0.0, 0.2) for n in range(3)])


def test_what_it_could_do_before_stands_beside_what_it_can_do_after(tiny_base, rows, tmp_path,
                                                                    monkeypatch, capsys):
    monkeypatch.setattr(before_after, "SIZES", {"add 1-8D": 1})
    train.main(flags(tiny_base, rows, tmp_path / "run", "--max-steps", "1", "--before-after"))
    assert capsys.readouterr().out.count("add and sub pooled") == 2


EVERY_LAYER = "all,lm_head"
BY_HEART = ["--lora-r", "16", "--lora-dropout", "0"]


@pytest.mark.parametrize("mode", [["--full"], ["--lora-targets", EVERY_LAYER, *BY_HEART],
                                  ["--lora-targets", EVERY_LAYER, *BY_HEART, "--int8"]])
def test_it_learns_sixteen_rows_by_heart(tiny_base, rows, tmp_path, mode):
    few = tmp_path / "few.jsonl"
    few.write_text("".join(rows.read_text().splitlines(keepends=True)[:16]))
    more = ["--max-steps", "120", "--log-every", "120", "--save-every", "120",
            "--micro-tokens", "1024", *mode]
    train.main(flags(tiny_base, few, tmp_path / "run", *more))
    assert log(tmp_path / "run")[-1]["loss"] < 0.1


def test_loss_of_a_window_is_that_of_one_big_batch(tiny_base, rows):
    """Micro-batches of unequal numbers of answer tokens: sums over the window's total, not a mean
    of means; and the gradients are those of the one big batch."""
    tokenizer, model = open_tokenizer(tiny_base), checkpoint.load_model(tiny_base)
    optimizer = train.Optimizer(model, list(model.parameters()), torch.float32, lr=0.1, muon_lr=0.0,
                                betas=(0.9, 0.9), weight_decay=0.0)
    gradients, losses = [], []
    data = RowBatches(rows, tokenizer, 24, 128, 200, seed=0)
    cut = data.window(0)
    whole = data.collate(data.drawn(0), 24, 512)
    for window in (cut, [whole]):
        optimizer.skip()  # forgets the gradients
        losses.append(train.add_gradients(model, window, optimizer, ALONE, None)[0])
        gradients.append({n: p.grad.clone() for n, p in model.named_parameters()})
    assert len(cut) > 3 and len(whole.lengths) == 24
    assert losses[0] == pytest.approx(losses[1], abs=3e-6)
    for name, g in gradients[0].items():
        assert torch.allclose(g, gradients[1][name], atol=1e-6), name
    right = []  # against a loss written out here, row by row
    for tokens, labels, _ in whole.rows():
        logits, learnt = model(tokens[None])[0].log_softmax(-1), labels != IGNORE
        right.append(logits[learnt].gather(1, labels[learnt][:, None]))
    assert losses[1] == pytest.approx(-torch.cat(right).mean().item(), abs=1e-5)


# -------------------------------------------------------------------------------------- memory

def test_the_plan_needs_no_weights_and_fits_a_7b_by_itself(capsys):
    """Without further flags: int8 base, small batches, and room left on a 24 GB card."""
    plan = ["--plan", "llama-7b", "--device", "cpu"]  # not what this machine's GPU has room for
    assert train.main([*plan, "--base", "unused"]) is None
    said = capsys.readouterr().out
    assert "int8" in said and "6 x 512 tokens a pass; checkpointing off" in said
    assert "on q_proj, k_proj, v_proj, o" in said
    assert train.main(plan) is None  # the recipe is the embedded base's alone
    assert capsys.readouterr().out == said
    lines = dict(re.findall(r"^(.*?) +(-?[\d.]+) GB$", said, flags=re.M))
    assert float(lines["weights of the blocks, int8"]) == 6.476
    assert float(lines["LoRA weights, float32"]) == 0.268  # the published adapter's 269 MB
    assert float(lines["headroom under 21.5 GiB"]) > 0
    with pytest.raises(UserError, match="there are smollm2, .*llama-7b, .*llama-13b"):
        train.main(["--plan", "llama-70b"])


def test_a_run_ends_with_predicted_beside_measured_memory(tiny_base, rows, tmp_path, capsys):
    train.main(flags(tiny_base, rows, tmp_path / "run", "--max-steps", "1", "--micro-tokens",
                     "2048", "--full"))
    said = re.search(r"^memory: predicted ([\d.]+) GB .* measured ([\d.]+) GB of tensors, in a "
                     r"pass over the largest batch \(the whole process: ([\d.]+) GB\)$",
                     capsys.readouterr().out, flags=re.M)
    predicted, measured, process = map(float, said.groups())
    assert 0.01 < predicted < process and measured == pytest.approx(predicted, abs=0.011)


def test_small_models_on_a_cpu_stay_as_they_are(tiny_base):
    args = train.parse_args(["--base", str(tiny_base)])
    config = checkpoint.read_config(tiny_base)
    chosen, _ = train.memory_choices(args, config, CPU, torch.float32, 0)
    assert (chosen["int8"], chosen["checkpointing"]) == (False, "off")


def test_recomputation_changes_no_gradient(tiny_base, rows, straight, tmp_path, monkeypatch):
    calls, checkpointed = [], model.checkpoint
    monkeypatch.setattr(model, "checkpoint",
                        lambda *a, **o: calls.append(1) or checkpointed(*a, **o))
    train.main(flags(tiny_base, rows, tmp_path / "run", "--checkpointing", "on"))
    assert adapter(tmp_path / "run") == adapter(straight) and calls


# ---------------------------------------------------------------------------------- bad input

@pytest.mark.parametrize("more, message", [
    (["--lora-r", "0"], "--lora-r 0: must be above 0"),
    (["--seed", "18446744073709551616"], "--seed 18446744073709551616: must be below"),
    (["--lora-targets", "q_proj,query"], "there is no layer query; choose from .*, lm_head, or"),
    (["--lora-dropout", "1.5"], "--lora-dropout 1.5: must be between 0 and 1"),
    (["--lora-dropout", "1"], "must be below 1"), (["--batch", "0"], "--batch 0: must be above"),
    (["--seed", "-1"], "--seed -1"), (["--clip", "-1"], "--clip -1"), (["--lr", "nan"], "--lr nan"),
    (["--beta2", "1.5"], "--beta2 1.5"), (["--lora-alpha", "0"], "--lora-alpha 0"),
    (["--weight-decay", "-1"], "--weight-decay -1"), (["--epochs", "inf"], "--epochs inf"),
    (["--rows", "5"], "--rows is the size"), (["--scratch"], "add --full"),
    (["--device", "cpu:x"], "--device cpu:x"), (["--skills", "3", "--full"], "--data is for files"),
    (["--base", "/no/such/folder"], "/no/such/folder"), (["--data", "/no/rows"], "/no/rows")])
def test_bad_input_is_one_line_and_leaves_nothing(tiny_base, rows, tmp_path, more, message):
    out = tmp_path / "run"
    with pytest.raises((UserError, FileNotFoundError), match=message) as error:
        train.main(flags(tiny_base, rows, out, *more))
    assert "\n" not in str(error.value)
    assert not out.exists()


def test_a_tokenizer_of_another_model_is_refused_before_loading(tiny_base, rows, tmp_path):
    checkpoint.save_model(tiny_model(), tmp_path / "base")  # embeds 64 pieces
    shutil.copy(tiny_base / "tokenizer.model", tmp_path / "base")
    (tmp_path / "base" / "model.safetensors").write_bytes(b"not looked at")
    with pytest.raises(UserError, match="1536 pieces, but the model embeds only 64"):
        train.main(flags(tmp_path / "base", rows, tmp_path / "run"))


def test_another_runs_folder_is_refused_and_untouched(tiny_base, rows, straight):
    before = {path: path.read_bytes() for path in straight.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match="holds another run: give --resume"):
        train.main(flags(tiny_base, rows, straight))
    assert before == {path: path.read_bytes() for path in straight.rglob("*") if path.is_file()}


def test_without_base_the_recipe_gives_the_defaults():
    recipe = json.loads((BASE / "recipe.json").read_text())
    args = vars(train.parse_args([]))
    assert {name: args[name] for name in recipe} == recipe
    assert train.parse_args(["--muon-lr", "0.5"]).muon_lr == 0.5
    assert train.parse_args(["--muon-lr", "0", "--lr", "0.5"]).lr == 0.5
    passes = train.parse_args(["--epochs", "7"])
    assert (passes.epochs, passes.max_steps) == (7, None) and args["epochs"] == 1
    assert train.parse_args(["--epochs", "7", "--max-steps", "5"]).max_steps == 5
    with pytest.raises(UserError, match="--epochs 0.0: must be above 0"):
        train.parse_args(["--epochs", "0"])
    paper = train.parse_args(["--base", "x"])
    assert (paper.lr, paper.batch, paper.lora_r, paper.lora_dropout, paper.warmup, paper.cutoff,
            paper.epochs) == (3e-4, 128, 64, 0.05, 100, 512, 1)


def test_help_shows_the_defaults_that_hold(capsys):
    said = []
    for words in ([], ["--base", "x"]):
        with pytest.raises(SystemExit):
            train.parse_args([*words, "--help"])
        said.append(" ".join(capsys.readouterr().out.split()))
    for text, said_here in zip(("warm-up (default 20)", "warm-up (default 100)"), said):
        assert text in said_here
    assert "without --data (default: 61440" in said[0] and "default: None;" in said[1]


def test_a_default_file_with_other_rows_is_not_trained_on(tiny_base, tmp_path, monkeypatch, capsys):
    """Nor replaced: train.py says what is wrong, and takes it under its name."""
    monkeypatch.chdir(tmp_path)
    tokenizer = open_tokenizer(tiny_base)

    def load(*flags):
        return train.load_data(train.parse_args([*flags]), tokenizer)

    first = load("--rows", "40")
    assert "data/demo.jsonl: 40 rows of the mixture 'demo' written" in capsys.readouterr().out
    assert load("--rows", "40").fingerprint == first.fingerprint
    assert "written" not in capsys.readouterr().out
    before = Path("data/demo.jsonl").read_bytes()
    with pytest.raises(UserError, match="data/demo.jsonl holds other rows than the 41"):
        load("--rows", "41")
    assert os.listdir("data") == ["demo.jsonl"] and Path("data/demo.jsonl").read_bytes() == before
    assert load("--data", "data/demo.jsonl").fingerprint == first.fingerprint
    assert load("--base", str(tiny_base), "--rows", "40").fingerprint != first.fingerprint
    assert "data/arithmetic.jsonl: 40 rows of the mixture 'paper'" in capsys.readouterr().out


@pytest.mark.parametrize("when", ["before", "after"])
def test_ctrl_c_while_it_asks_ends_the_run(tiny_base, rows, tmp_path, monkeypatch, when):
    """In the questions before training it has learnt nothing; in those after it, all is saved."""
    calls = []

    def evaluate(*args, **options):
        calls.append(when)
        return ([], False) if when == "before" or len(calls) == 2 else ([], True)

    monkeypatch.setattr(before_after, "evaluate", evaluate)
    with pytest.raises(KeyboardInterrupt):
        train.main(flags(tiny_base, rows, tmp_path / "run", "--before-after"))
    assert (tmp_path / "run" / "adapter").exists() == (when == "after")
    assert bool(log(tmp_path / "run")) == (when == "after")


class NotANumber:
    """A loss that is NaN at one step, and otherwise what it should be."""

    def __init__(self, at: int):
        self.calls, self.at, self.real = 0, at, train.answer_loss

    def __call__(self, model, batch, *rest):
        self.calls += 1
        loss = self.real(model, batch, *rest)
        return loss * float("nan") if self.calls == self.at else loss


def test_a_loss_that_is_not_finite_stops_with_the_rows(tiny_base, rows, tmp_path, monkeypatch):
    more = ["--micro-tokens", "8192", "--save-every", "1"]
    monkeypatch.setattr(train, "answer_loss", NotANumber(at=5))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job has none
    with pytest.raises(UserError, match="loss nan, gradient norm nan: lower --lr"):
        train.main(flags(tiny_base, rows, tmp_path / "run", *more))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler  # Ctrl-C works again
    signal.signal(signal.SIGINT, before)
    bad = log(tmp_path / "run")[-1]
    assert bad["loss"] == "nan" and bad["rows"] and set(bad["rows"]) <= set(range(1, 97))
    state = torch.load(tmp_path / "run/checkpoint/state.pt", weights_only=True)
    assert state["step"] == bad["step"] - 1
    assert all(w.isfinite().all() for w in state["weights"])


def test_a_bad_step_can_be_passed_over(tiny_base, rows, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "answer_loss", NotANumber(at=13))
    train.main(flags(tiny_base, rows, tmp_path / "run", "--skip-bad-steps", "1"))
    steps = [r["step"] for r in log(tmp_path / "run")]
    assert steps == [1, 2, 3, 3, 4, 5, 6]  # the bad step has two lines


def test_out_of_memory_shows_before_the_first_step(tiny_base, rows, tmp_path, monkeypatch):
    shapes = []

    def too_much(model, batch, *rest):
        shapes.append((len(batch.lengths), max(batch.lengths)))
        raise torch.OutOfMemoryError("tried to allocate 3 GiB")

    monkeypatch.setattr(train, "answer_loss", too_much)
    with pytest.raises(UserError, match="out of memory: lower --micro-tokens") as error:
        train.main(flags(tiny_base, rows, tmp_path / "run"))
    for flag in ("--cutoff", "--checkpointing on", "--int8", "--lora-r", "tried to allocate 3 GiB"):
        assert flag in str(error.value)
    data = RowBatches(rows, open_tokenizer(tiny_base), 16, 256, 512, seed=0)
    possible = [(len(batch.lengths), max(batch.lengths)) for batch in data.largest()]
    assert set(possible) == {(8, 31), (4, 51)} and shapes == [(8, 31)]  # 248 tokens, and 204


# ------------------------------------------------------------------------------ more than one

def test_two_processes_train_like_one(tiny_base, rows, tmp_path):
    """Same losses with the same global batch, to 1e-5, in fp32 without dropout."""
    same = ("--lora-dropout", "0")
    train.main(flags(tiny_base, rows, tmp_path / "one", *same))
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2",
               "--standalone", "train.py",
               *flags(tiny_base, rows, tmp_path / "two", *same)]
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, timeout=120,
                          env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-2000:]
    one, two = ([r["loss"] for r in log(tmp_path / x)] for x in ("one", "two"))
    assert one == pytest.approx(two, abs=1.5e-5)  # the log rounds to 1e-5
    a, b = (load_file(tmp_path / x / "adapter" / "adapter_model.safetensors")
            for x in ("one", "two"))
    assert all(torch.allclose(a[n], b[n], atol=1e-4) for n in a)
