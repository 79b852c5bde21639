"""What train.py decides by itself: device, number format, 8 bits, recomputation; no GPU needed.

The cards are stand-ins that only say how large they are.
Run: python -m pytest tests/training/test_flags.py
"""

import json
import re
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file


import train
from goat import cli, device
from goat.errors import UserError
from goat.files import checkpoint
from goat.llama import lora
from goat.training import flags, memory

CUDA = torch.device("cuda")
SIZES = {"A10": 23_028, "RTX 3090": 24_268, "RTX 4090": 24_217, "A100": 81_051}  # MiB in all


@pytest.fixture
def card(monkeypatch):
    """Call it with the name of a card to have one of that size, half of it taken by others."""
    def put(name):
        size = SIZES[name] << 20
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda where: (size // 2, size))
        return size
    return put


def decide(*more, where=CUDA, dtype=torch.bfloat16, config=memory.PRESETS["llama-7b"]):
    args = flags.parse_args(["--base", "7B", *more])
    chosen, setting = flags.memory_choices(args, config, where, dtype,
                                           memory.room(where, args.card))
    vars(args).update(chosen)
    assert (args.int8, args.checkpointing == "on") == (setting.int8, setting.checkpointing)
    rows = args.micro_tokens // setting.length // cli.processes()
    assert max(1, rows) == setting.micro_batch
    return setting


@pytest.mark.parametrize("name", ["A10", "RTX 3090", "RTX 4090"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_7b_fits_a_24_gb_card_without_any_flag(card, name, dtype):
    size, setting = card(name), decide(dtype=dtype)
    assert setting.int8 and not setting.checkpointing and setting.fused and setting.dtype == dtype
    assert (setting.length, setting.rank) == (512, 64) and setting.micro_batch in (5, 6)
    total, more = (memory.plan(memory.PRESETS["llama-7b"],
                               replace(setting, micro_batch=setting.micro_batch + n)).total
                   for n in (0, 1))
    assert total < memory.room(CUDA) < more and memory.room(CUDA) < 0.9 * size


def test_smaller_batches_before_recomputation_and_that_before_giving_up(card):
    card("RTX 3090")
    small = decide("--micro-tokens", "2048")
    assert small.int8 and not small.checkpointing and small.micro_batch == 4
    assert decide("--no-int8").micro_batch == 3  # 1,536 tokens
    large = memory.PRESETS["llama-13b"]
    assert decide(config=large).checkpointing  # there is room for 2 rows, of 512 tokens each
    assert decide(config=large).micro_batch == 16
    kept = decide("--checkpointing", "off")  # will not fit, as is said then
    assert not kept.checkpointing and kept.micro_batch == 16
    kept = decide("--checkpointing", "on")
    assert kept.checkpointing and kept.micro_batch == 16
    assert decide("--micro-tokens", "512", "--checkpointing", "on").checkpointing


def test_a_large_card_holds_the_base_in_16_bits(card):
    card("A100")
    setting = decide()
    assert not setting.int8 and not setting.checkpointing
    assert decide("--int8").int8 and not decide("--full").int8


def test_lengths_are_counted_with_their_padding(card):
    card("RTX 3090")
    setting = decide("--cutoff", "500", "--micro-tokens", "8192")
    assert (setting.length, setting.micro_batch) == (512, 5)


def test_a_plan_without_a_gpu_assumes_a_24_gb_card():
    setting = decide("--plan", "llama-7b", where=torch.device("cpu"), dtype=torch.float32)
    assert setting.dtype == torch.bfloat16 and setting.int8 and setting.micro_batch == 6
    assert memory.room(torch.device("cpu")) == memory.CARD


def test_the_plan_on_a_gpu_is_for_that_gpu(card):
    room = card("A100") * 21.5 / 24
    assert memory.room(CUDA) == pytest.approx(room, rel=1e-9)


@pytest.mark.parametrize("cuda, mps, capability, want", [
    (True, True, (8, 0), ("cuda", torch.bfloat16)), (True, False, (7, 5), ("cuda", torch.float16)),
    (False, True, None, ("mps", torch.float16)), (False, False, None, ("cpu", torch.float32))])
def test_auto_takes_cuda_then_mps_then_cpu_and_bf16_where_there_are_units(monkeypatch, cuda, mps,
                                                                          capability, want):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda where: capability)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for check in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, check, lambda: False, raising=False)
    where, dtype = device.choose()
    assert (where.type, dtype) == want
    assert device.choose(dtype="fp32")[1] == torch.float32
    assert device.choose("cpu")[0].type == "cpu"


def test_a_device_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for name in ("cuda", "cuda:1", "tpu"):
        with pytest.raises(UserError, match=f"--device {name} is not available here; there is:"):
            device.choose(name)


def test_processes_do_not_share_mps(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert device.choose()[0].type == "cpu"
    with pytest.raises(UserError, match="--device mps: processes cannot share it"):
        device.choose("mps")


def test_a_process_of_several_takes_its_own_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert device.choose(dtype="fp32")[0] == torch.device("cuda:1")
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(UserError, match="there are 2 CUDA devices"):
        device.choose(dtype="fp32")


def test_a_gpu_that_torch_cannot_use_is_named(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    for there in (None, "/usr/bin/nvidia-smi"):
        monkeypatch.setattr(device.shutil, "which", lambda name, there=there: there)
        assert device.choose(dtype="fp32")[0].type == "cpu"
        assert ("driver too old for CUDA 13.0" in capsys.readouterr().err) == bool(there)


@pytest.mark.parametrize("words, part", [
    (["--skills", "8", "--max-steps", "5", "--data", "rows.jsonl"], "--data is for files of rows"),
    (["--skills", "8", "--max-steps", "5", "--batch", "4"], "--batch is for files of rows"),
    (["--skills", "8"], "say how long with --max-steps"),
    (["--skills-mix", "even"], "--skills-mix goes with --skills"),
    (["--value-weight", "1"], "--value-weight goes with --value-head"),
    (["--lr", "1e-4"], "--lr is AdamW's, and here Muon takes every matrix"),
    (["--base", "7B", "--muon-lr", "0.01", "--beta2", "0.9"], "--beta2 is AdamW's"),
    (["--full", "--lora-r", "8"], "--lora-r is for an adapter"),
    (["--base", "7B", "--full", "--int8"], "--int8 holds a frozen base"),
    (["--full", "--adapter", "a"], "--adapter is for an adapter, and with --full"),
    (["--adapter", "a", "--lora-r", "8"], "--lora-r is for a fresh adapter"),
    (["--adapter", "a", "--lora-dropout", "0"], "--lora-dropout is for a fresh adapter"),
    (["--adapter", "tests"], "tests/adapter_config.json"),
    (["--adapter", ""], "--adapter is empty"),
    (["--skills", "8", "--max-steps", "5", "--full", "--learn-output"], "--learn-output is for fi"),
    (["--base", ""], "--base is empty"), (["--data", ""], "--data is empty")])
def test_flags_that_would_be_ignored_are_refused(words, part):
    with pytest.raises(UserError, match=part):
        flags.parse_args(words)


@pytest.mark.parametrize("named, adapted, kinds", [
    (["v_proj", "q_proj"], ["self_attn.q_proj", "self_attn.v_proj"], "q_proj,v_proj"),
    (["model.layers.0.mlp.up_proj"], ["mlp.up_proj"], "up_proj"),
    ("^(?!.*lm_head).*self.*proj$", ["self_attn.o_proj", "self_attn.k_proj"], "k_proj,o_proj"),
    (".*", [f"mlp.{kind}" for kind in lora.ALL_TARGETS], ",".join(lora.ALL_TARGETS))])
def test_an_adapter_to_train_further_brings_its_settings(tmp_path, named, adapted, kinds):
    """The names of its tensors say what it adapts; a regular expression is no list of names."""
    config = {"peft_type": "LORA", "r": 24, "lora_alpha": 12, "lora_dropout": 0.1,
              "target_modules": named}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    save_file({f"base_model.model.model.layers.0.{name}.lora_{side}.weight": torch.ones(1)
               for name in adapted for side in "AB"}, tmp_path / "adapter_model.safetensors")
    args = flags.parse_args(["--base", "7B", "--adapter", str(tmp_path)])
    assert (args.lora_r, args.lora_alpha, args.lora_dropout) == (24, 12, 0.1)
    assert args.lora_targets == kinds


def test_adamw_has_its_flags_where_it_moves_something():
    for words in (["--muon-lr", "0"], ["--full"], ["--value-head"], ["--base", "7B"],
                  ["--base", "7B", "--muon-lr", "0.01", "--lora-targets", "q_proj,lm_head"]):
        assert flags.parse_args([*words, "--lr", "0.5", "--beta2", "0.5"]).lr == 0.5


def test_a_tied_head_cannot_be_adapted_alone():
    config = replace(memory.PRESETS["llama-7b"], tie_embeddings=True)
    args = flags.parse_args(["--base", "x", "--lora-targets", "q_proj,lm_head"])
    with pytest.raises(UserError, match="--lora-targets lm_head: in this model it shares"):
        flags.memory_choices(args, config, torch.device("cpu"), torch.float32, 0)


def test_several_processes_share_a_micro_batch(card, monkeypatch):
    card("RTX 3090")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert decide("--micro-tokens", "32768", "--checkpointing", "on").micro_batch == 16
    assert decide("--micro-tokens", "32768").micro_batch == 5  # in each of them
    assert decide("--micro-tokens", "512").micro_batch == 1


def test_rows_are_no_longer_than_the_context(card):
    card("A100")
    assert decide("--cutoff", "4096").length == 2048 and decide("--cutoff", "512").length == 512


def test_other_errors_stay_what_they_are():
    with pytest.raises(RuntimeError, match="shapes differ"), device.out_of_memory("wait"):
        raise RuntimeError("shapes differ")


@pytest.mark.parametrize("error", [
    torch.OutOfMemoryError("tried 3 GiB\nmore"), MemoryError(),
    RuntimeError("MPS backend out of memory (MPS allocated: 3 GiB)"),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes")])
def test_running_out_of_memory_is_one_line_with_what_helps(error):
    with pytest.raises(UserError, match="out of memory: take less") as said, \
            device.out_of_memory("take less"):
        raise error
    assert "\n" not in str(said.value)


@pytest.mark.parametrize("name, count, biases", [  # as published, in millions
    ("smollm2", 134.515, 0), ("qwen2.5-0.5b", 494.033, 24), ("llama-3.2-1b", 1235.814, 0),
    ("qwen2.5-1.5b", 1543.714, 28), ("llama-7b", 6738.416, 0), ("mistral-7b", 7241.732, 0),
    ("qwen2.5-7b", 7615.617, 28), ("llama-3.1-8b", 8030.261, 0), ("llama-13b", 13015.864, 0)])
def test_plans_know_the_published_models(name, count, biases, capsys):
    model = checkpoint.blank_model(memory.PRESETS[name])
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(count, abs=6e-4)
    assert sum(key.endswith("q_proj.bias") for key in model.state_dict()) == biases
    assert train.main(["--plan", name, "--device", "cpu"]) is None
    assert f"{memory.PRESETS[name].n_layers} layers of width" in capsys.readouterr().out


@pytest.mark.parametrize("card", [12, 16, 24, 80])
def test_plans_for_other_cards(card, capsys):
    """What is chosen for a card fits it."""
    train.main(["--plan", "llama-3.2-1b", "--card", str(card), "--device", "cpu"])
    said = capsys.readouterr().out
    assert "head and norms, bfloat16" in said
    headroom = float(re.search(r"headroom under ([\d.]+) GiB +(-?[\d.]+) GB", said)[2])
    assert f"headroom under {card * 21.5 / 24:.1f} GiB" in said and headroom >= 0
    with pytest.raises(UserError, match="--card goes with --plan"):
        flags.parse_args(["--card", "16"])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_pass_on_a_cpu_takes_3_gb_at_most(dtype):
    def taken(setting, config, rows):
        ledger = memory.plan(config, replace(setting, micro_batch=rows))
        return sum(ledger.saved.values()) + sum(ledger.passing.values())

    cpu, config = torch.device("cpu"), memory.PRESETS["smollm2"]
    setting = decide(where=cpu, dtype=dtype, config=config)
    rows = setting.micro_batch
    assert taken(setting, config, rows) <= 3e9 < taken(setting, config, rows + 1)
    again = decide("--checkpointing", "on", where=cpu, dtype=dtype, config=config)
    assert again.checkpointing and again.micro_batch == rows  # for --resume
    assert (1 if dtype == torch.float32 else 3) < rows < 16
    assert decide(where=cpu, dtype=dtype, config=memory.PRESETS["llama-3.1-8b"]).micro_batch == 1
    assert decide("--micro-tokens", "8192", where=cpu, dtype=dtype).micro_batch == 16
