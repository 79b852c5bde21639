"""Training that breaks off: resumed to the bit, whatever ended it, and refused where it must be.
And adapters that are trained further.

Run: python -m pytest tests/training/test_resume.py
"""

import json
import os
import random
import shlex
import shutil
import signal
import time
from argparse import Namespace

import pytest
import torch
from safetensors.torch import load_file, save_file

import train
from goat.errors import UserError
from goat.files import checkpoint
from goat.files.adapter import load_adapter, save_adapter
from goat.files.bases import folder_hash
from goat.llama import lora
from goat.files.vocabulary import open_tokenizer
from goat.papers.word_problems import value_head
from goat.training import optim
from goat.training.batches import IGNORE
from goat.distributed import Group
from goat.training.run_folder import RunFolder, choose
from support.adapters import learnt
from support.runs import adapter, flags, log, run_script, stop_after_first
from support.slow import SLOW


def state_of(out):
    return torch.load(out / "checkpoint" / "state.pt", weights_only=True)


def test_kill_and_resume_gives_the_very_bytes(tiny_base, rows, straight, tmp_path):
    out = tmp_path / "run"
    process = run_script(flags(tiny_base, rows, out, "--save-every", "3"))
    deadline = time.time() + 60
    while len(log(out)) < 4 and time.time() < deadline and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    logged = len(log(out))
    assert logged >= 4
    if not (out / "adapter").exists():
        train.main(flags(tiny_base, rows, out, "--save-every", "3", "--resume",
                         "--checkpointing", "on"))  # which changes no byte
        assert len(log(out)) - logged <= 6 - 3  # never repeats more than --save-every steps
    assert adapter(out) == adapter(straight)


@SLOW
@pytest.mark.parametrize("attempt", range(30))
def test_kills_at_random_moments_lose_nothing(tiny_base, rows, straight, tmp_path, attempt):
    rng, out = random.Random(attempt), tmp_path / "run"
    process = run_script(flags(tiny_base, rows, out, "--save-every", "1"))
    while not log(out) and process.poll() is None:
        time.sleep(0.01)
    time.sleep(rng.random() * 0.4)
    process.send_signal(signal.SIGKILL)
    process.wait()
    saved = state_of(out)["step"] if (out / "checkpoint" / "state.pt").exists() else 0
    assert saved >= len(log(out)) - 1
    train.main(flags(tiny_base, rows, out, "--save-every", "1", "--resume"))
    assert adapter(out) == adapter(straight)


def test_full_training_with_muon_resumes_to_the_bit(tiny_base, tmp_path, monkeypatch):
    base = ["--base", str(tiny_base), "--full", "--scratch", "--skills", "3", "--dtype", "bf16",
            "--device", "cpu", "--micro-tokens", "512", "--max-steps", "4", "--muon-lr", "0.01",
            "--warmup", "1", "--log-every", "1", "--save-every", "2"]
    train.main([*base, "--out", str(tmp_path / "a")])
    train.main([*base, "--out", str(tmp_path / "b")])
    monkeypatch.setattr(RunFolder, "save_state", stop_after_first(RunFolder.save_state))
    with pytest.raises(KeyboardInterrupt):  # the same run, ended after its checkpoint of step 2
        train.main([*base, "--out", str(tmp_path / "c")])
    monkeypatch.undo()
    assert state_of(tmp_path / "c")["step"] == 2
    train.main([*base, "--out", str(tmp_path / "c"), "--resume"])
    models = [load_file(tmp_path / x / "model" / "model.safetensors") for x in "abc"]
    for name in models[0]:
        assert torch.equal(models[0][name], models[1][name])
        assert torch.equal(models[0][name], models[2][name]), name


def test_fp16_follows_fp32_and_finds_its_loss_scale_and_resumes_to_the_bit(
        tiny_base, rows, tmp_path, monkeypatch):
    """With a scale that is too large at first, steps are passed over until it fits."""
    few = ["--batch", "4", "--max-steps", "5", "--save-every", "2", "--lora-dropout", "0"]
    half = [*few, "--dtype", "fp16"]
    train.main(flags(tiny_base, rows, tmp_path / "fp32", *few))
    train.main(flags(tiny_base, rows, tmp_path / "fp16", *half))
    for a, b in zip(log(tmp_path / "fp32"), log(tmp_path / "fp16"), strict=True):
        assert b["loss"] == pytest.approx(a["loss"], rel=0.02)
        assert b["norm"] == pytest.approx(a["norm"], rel=0.1)
    monkeypatch.setattr(optim.LossScaler, "FIRST", 2.0 ** 19)
    train.main(flags(tiny_base, rows, tmp_path / "a", *half))
    lines = map(json.loads, (tmp_path / "a" / "log.jsonl").read_text().splitlines())
    passed = [record["step"] for record in lines if "loss_scale" in record]
    assert passed[:2] == [1, 2] and len(passed) < 5
    save = RunFolder.save_state
    monkeypatch.setattr(RunFolder, "save_state", stop_after_first(save))
    with pytest.raises(KeyboardInterrupt):
        train.main(flags(tiny_base, rows, tmp_path / "b", *half))
    assert state_of(tmp_path / "b")["optimizers"][-1] == {"scale": 2.0 ** 17, "good_steps": 0}
    monkeypatch.setattr(RunFolder, "save_state", save)
    train.main(flags(tiny_base, rows, tmp_path / "b", *half, "--resume"))
    assert adapter(tmp_path / "b") == adapter(tmp_path / "a")


def test_resume_with_nothing_saved_and_on_a_finished_run(tiny_base, rows, straight, tmp_path,
                                                          capsys):
    train.main(flags(tiny_base, rows, tmp_path / "new", "--resume"))
    assert "nothing is saved yet" in capsys.readouterr().out
    before = adapter(straight)
    assert train.main(flags(tiny_base, rows, straight, "--resume")) is None
    assert "all 6 steps are done already" in capsys.readouterr().out
    assert adapter(straight) == before


@pytest.mark.parametrize("change, named", [
    (["--lr", "1e-3"], "lr was 0.01, is 0.001"), (["--lora-r", "8"], "lora_r was 4, is 8"),
    (["--max-steps", "9"], "max_steps was 6, is 9"), (["--seed", "5"], "seed was 0, is 5"),
    (["--lora-targets", "q_proj"], "lora_targets was"), (["--int8"], "int8 was False, is True"),
    (["--dtype", "bf16"], "dtype was 'float32', is 'bfloat16'")])
def test_resume_with_other_settings_names_them(tiny_base, rows, straight, change, named):
    with pytest.raises(UserError, match=named):
        train.main(flags(tiny_base, rows, straight, "--resume", *change))


def test_resume_may_pass_over_bad_steps(tiny_base, rows, straight):
    assert train.main(flags(tiny_base, rows, straight, "--resume", "--skip-bad-steps", "3")) is None


def test_a_run_that_began_meanwhile_is_not_overwritten(tmp_path):
    args = Namespace(resume=False, out=str(tmp_path / "run"))
    first, second = (RunFolder(args, "unused", Group(torch.device("cpu"))) for _ in range(2))
    first.begin({"steps": 1})
    with pytest.raises(UserError, match="holds another run"):
        second.begin({"steps": 1})


def test_resume_takes_the_last_run_that_has_saved(tmp_path):
    default = str(tmp_path / "lora")
    assert choose(default, True) == choose(default, False) == tmp_path / "lora"
    for name in ("lora", "lora-2", "lora-3"):
        (tmp_path / name / "checkpoint").mkdir(parents=True)
        (tmp_path / name / "log.jsonl").touch()
    assert choose(default, False) == tmp_path / "lora-4"
    assert choose(default, True) == tmp_path / "lora-3"  # none has saved: begin the last again
    (tmp_path / "lora-2" / "checkpoint" / "state.pt").touch()
    assert choose(default, True) == tmp_path / "lora-2"


def test_a_run_goes_on_where_its_files_have_moved(tiny_base, rows, straight, tmp_path, monkeypatch,
                                                  capsys):
    """Other paths, another working folder, a run folder that was copied: the same bytes. The
    commands that it prints can be typed, spaces and all."""
    given = shutil.copytree(straight / "adapter", tmp_path / "given")
    train.main(further(tiny_base, rows, tmp_path / "whole", given, "--save-every", "2"))
    monkeypatch.setattr(RunFolder, "save_state", stop_after_first(RunFolder.save_state))
    with pytest.raises(KeyboardInterrupt):
        train.main(further(tiny_base, rows, tmp_path / "run", given, "--save-every", "2"))
    monkeypatch.undo()
    new = tmp_path / "elsewhere"
    shutil.copytree(tiny_base, new / "a model")
    shutil.copy(rows, new / "other name.jsonl")
    for name in ("run", "given"):
        shutil.move(tmp_path / name, new / name)
    monkeypatch.chdir(new)
    (new / "run").rename(new / "it's my run")
    train.main(further("a model", "other name.jsonl", "it's my run", "given", "--resume"))
    said = capsys.readouterr().out.rpartition("ask it:")[2].partition("\n")[0]
    assert shlex.split(said) == ["python", "eval.py", "--base", "a model", "--adapter",
                                 "it's my run/adapter", "--ask"]
    assert len(log("it's my run")) == 6 and adapter("it's my run") == adapter(tmp_path / "whole")


def test_a_large_file_is_told_from_another_of_its_size(tmp_path):
    def hashed(weights=b"", bos=True, **config):
        (tmp_path / "adapter_config.json").write_text(json.dumps(config))
        (tmp_path / "tokenizer_config.json").write_text(json.dumps({"add_bos_token": bos}))
        with open(tmp_path / "model.safetensors", "wb") as file:
            file.truncate(40_000_000)
            file.seek(20_000_000)
            file.write(weights)
        return folder_hash(tmp_path)

    (tmp_path / "tokenizer").mkdir()  # is no file of the model
    middle = bytes(range(1, 256)) * 4000
    assert hashed(middle) == hashed(middle)
    assert len({hashed(), hashed(middle), hashed(middle[::-1]), hashed(lora_alpha=3),
                hashed(bos=False)}) == 5


def test_resume_with_another_base_in_the_same_folder_says_so(tiny_base, rows, tmp_path):
    base = shutil.copytree(tiny_base, tmp_path / "base")
    train.main(flags(base, rows, tmp_path / "run", "--max-steps", "1"))
    model = checkpoint.load_model(base)
    model.model.norm.weight.data += 1
    checkpoint.save_model(model, base)
    with pytest.raises(UserError, match="base_hash was"):
        train.main(flags(base, rows, tmp_path / "run", "--max-steps", "1", "--resume"))


def test_a_checkpoint_cut_short_is_refused(tiny_base, rows, tmp_path):
    train.main(flags(tiny_base, rows, tmp_path / "run", "--max-steps", "1"))
    state = tmp_path / "run" / "checkpoint" / "state.pt"
    content = state.read_bytes()
    for damaged in (b"", content[:9], content[: len(content) // 2], content[:-1]):
        state.write_bytes(damaged)
        with pytest.raises(UserError, match="state.pt: cut short or damaged"):
            train.main(flags(tiny_base, rows, tmp_path / "run", "--max-steps", "1", "--resume"))


def test_resume_with_other_data_says_so(tiny_base, rows, straight, tmp_path):
    other = tmp_path / "rows.jsonl"
    other.write_text(rows.read_text().replace("+", "-"))
    with pytest.raises(UserError, match="data_hash was"):
        train.main(flags(tiny_base, other, straight, "--resume"))


@pytest.mark.parametrize("which, code", [
    (signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=SLOW)])
def test_signals_finish_the_step_and_save(tiny_base, rows, tmp_path, which, code):
    out = tmp_path / "run"
    process = run_script(flags(tiny_base, rows, out, "--max-steps", "100000"))
    while not log(out) and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(which)
    said = process.communicate(timeout=60)[0]
    assert process.returncode == code and "go on with --resume" in said
    assert state_of(out)["step"] == log(out)[-1]["step"]


def test_a_full_disk_keeps_the_checkpoint_before(tiny_base, rows, tmp_path, monkeypatch):
    out, save, saves = tmp_path / "run", torch.save, []

    def second_save_fails(state, file):
        saves.append(state["step"])
        if len(saves) == 2:
            file.write(b"half a checkp")
            raise OSError(28, "No space left on device")
        save(state, file)

    monkeypatch.setattr(torch, "save", second_save_fails)
    with pytest.raises(UserError, match="No space left on device"):
        train.main(flags(tiny_base, rows, out, "--save-every", "2"))
    assert state_of(out)["step"] == 2
    assert os.listdir(out / "checkpoint") == ["state.pt"]


def further(base, rows, out, given, *more):
    """The flags of a run that trains the adapter in the folder `given` further."""
    words = flags(base, rows, out, "--adapter", str(given), *more)
    at = words.index("--lora-r")
    return words[:at] + words[at + 4:]


def test_an_adapter_is_trained_further(tiny_base, rows, tmp_path):
    """The first loss is that of the adapter that was given, rank and alpha stay, it learns on."""
    train.main(flags(tiny_base, rows, tmp_path / "a", "--lora-dropout", "0"))
    before = load_file(tmp_path / "a" / "adapter" / "adapter_model.safetensors")
    words = further(tiny_base, rows, tmp_path / "b", tmp_path / "a" / "adapter")
    train.main(words)
    model = load_adapter(checkpoint.load_model(tiny_base), tmp_path / "a" / "adapter")
    data = train.load_data(train.parse_args(words), open_tokenizer(tiny_base))
    window = data.window(0)
    loss = sum(train.answer_loss(model, batch).item() for batch in window)
    answers = sum(int((batch.labels != IGNORE).sum()) for batch in window)
    first = log(tmp_path / "b")[0]["loss"]
    assert first == pytest.approx(loss / answers, abs=2e-5)
    assert abs(first - log(tmp_path / "a")[0]["loss"]) > 0.01  # that of the base
    a, b = (json.loads((tmp_path / run / "adapter" / "adapter_config.json").read_text())
            for run in "ab")
    assert a == b and (b["r"], b["lora_alpha"], b["lora_dropout"]) == (4, 12, 0)
    after = load_file(tmp_path / "b" / "adapter" / "adapter_model.safetensors")
    assert all(not torch.equal(after[name], before[name]) for name in before)
    with pytest.raises(UserError, match="--adapter no/such/folder: there is no such folder"):
        train.main(further(tiny_base, rows, tmp_path / "c", "no/such/folder"))


def test_a_value_head_is_trained_further(tiny_base, tmp_path):
    folder = tmp_path / "given"
    model = learnt(lora.add_lora(checkpoint.load_model(tiny_base), rank=4))
    value_head.add(model).value_head.weight.data.fill_(0.25)
    save_adapter(model, folder, tiny_base)
    asked = ["--base", str(tiny_base), "--adapter", str(folder), "--value-head"]
    fresh = train.load_model(train.parse_args(asked), torch.device("cpu"), torch.float32)
    assert not fresh.value_head.weight.any()  # the folder holds none yet
    value_head.save(model, folder)
    kept = train.load_model(train.parse_args(asked), torch.device("cpu"), torch.float32)
    assert (kept.value_head.weight == 0.25).all()
    assert set(lora.trainable(kept)) >= {kept.value_head.weight, kept.value_head.bias}


def test_a_value_head_that_is_left_out_is_named(tiny_base, rows, straight, tmp_path, capsys):
    given = tmp_path / "given"
    shutil.copytree(straight / "adapter", given)
    value_head.save(value_head.add(checkpoint.load_model(tiny_base)), given)
    train.main(further(tiny_base, rows, tmp_path / "run", given, "--max-steps", "1"))
    assert f"the value head of {given} is left out" in capsys.readouterr().out


def test_another_adapter_in_the_folder_is_not_gone_on_with(tiny_base, rows, straight, tmp_path):
    given, out = tmp_path / "given", tmp_path / "run"
    shutil.copytree(straight / "adapter", given)
    train.main(further(tiny_base, rows, out, given))
    tensors = load_file(given / "adapter_model.safetensors")
    save_file({name: t + 1e-3 for name, t in tensors.items()}, given / "adapter_model.safetensors")
    with pytest.raises(UserError, match="adapter_hash was"):
        train.main(further(tiny_base, rows, out, given, "--resume"))
