"""What a CUDA GPU must do as a CPU does: products, a run, its resumption, decoding, memory.

Run: python -m pytest tests/training/test_gpu.py (all of it is skipped where there is no such GPU)
"""

import pytest
import torch

import train
from goat.evaluation.questions import load_suites
from goat.files import checkpoint
from goat.files.adapter import load_adapter
from goat.files.bases import EMBEDDED
from goat.llama.generate import generate
from goat.llama.int8 import Int8Linear, to_int8
from goat.llama.lora import add_lora
from goat.files.vocabulary import open_tokenizer
from goat.training import memory
from goat.training.batches import Batch
from goat.training.run_folder import RunFolder
from support.runs import adapter, flags, log, stop_after_first
from support.tiny import off, tiny_config, tiny_model

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


@pytest.mark.parametrize("dtype, most", [(torch.float32, 1e-3), (torch.bfloat16, 1e-2),
                                         (torch.float16, 2e-3)])
def test_an_int8_layer_and_its_gradient(dtype, most):
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(96, 64, generator=generator)
    x, grad = (torch.randn(3, 37, n, generator=generator).to(dtype) for n in (64, 96))
    x[..., 5] *= 20  # outliers
    results = []
    for where in ("cpu", "cuda"):
        layer = Int8Linear(64, 96)
        layer.store(weight)
        inputs = x.detach().to(where).requires_grad_()
        output = layer.to(where)(inputs)
        output.backward(grad.to(where))
        results.append((output, inputs.grad))
    (output, inputs_grad), (output_gpu, inputs_grad_gpu) = results
    assert off(output_gpu.cpu(), output) < most and off(inputs_grad_gpu.cpu(), inputs_grad) < most


@pytest.mark.parametrize("more", [(), ("--int8",), ("--checkpointing", "on"),
                                  ("--muon-lr", "0.01", "--lora-targets", "all")])
def test_a_run_goes_as_on_a_cpu(tiny_base, rows, tmp_path, more):
    """Without dropout, whose random numbers each device draws for itself."""
    given = flags(tiny_base, rows, "", "--lora-dropout", "0", *more)
    if "--muon-lr" in more:  # which leaves nothing to --lr
        at = given.index("--lr")
        del given[at:at + 2]
    losses = {}
    for where in ("cpu", "cuda"):
        train.main([*given, "--device", where, "--out", str(tmp_path / where)])
        losses[where] = [record["loss"] for record in log(tmp_path / where)]
    assert losses["cuda"] == pytest.approx(losses["cpu"], rel=2e-2 if "--muon-lr" in more else 2e-3)
    assert losses["cpu"][-1] < losses["cpu"][0]


def test_a_run_that_was_cut_off_goes_on(tiny_base, rows, tmp_path, monkeypatch):
    more = ("--device", "cuda", "--save-every", "3")
    train.main(flags(tiny_base, rows, tmp_path / "whole", *more))
    monkeypatch.setattr(RunFolder, "save_state", stop_after_first(RunFolder.save_state))
    with pytest.raises(KeyboardInterrupt):
        train.main(flags(tiny_base, rows, tmp_path / "cut", *more))
    monkeypatch.undo()
    train.main(flags(tiny_base, rows, tmp_path / "cut", *more, "--resume"))
    assert len(adapter(tmp_path / "cut")) == len(adapter(tmp_path / "whole"))
    losses, again = ([r["loss"] for r in log(tmp_path / name)] for name in ("whole", "cut"))
    assert again[-2:] == pytest.approx(losses[-2:], rel=1e-4)


def test_decoding_says_what_it_says_on_a_cpu():
    """In fp32, apart from ties of the last digit of a float."""
    tokenizer = open_tokenizer(EMBEDDED)
    prompts = [f"{q.instruction}\nAnswer: " for q in load_suites(["demo"], limit=4)]
    texts = []
    for where in ("cpu", "cuda"):
        model = checkpoint.load_model(EMBEDDED, dtype=torch.float32, device=where)
        load_adapter(model, EMBEDDED / "adapter")
        texts.append(generate(model, tokenizer, prompts, max_new_tokens=96, batch_size=16))
    same = sum(a == b for a, b in zip(*texts))
    assert same >= len(prompts) - 1


@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_ledger_foresees_the_peak(int8, checkpointing):
    """Weights, what autograd keeps and the worst moment of a pass, at a size where the libraries'
    own memory is small."""
    config = tiny_config(vocab_size=2048, dim=1024, hidden_dim=2816, n_layers=6, n_heads=8,
                         n_kv_heads=8, head_dim=128, max_positions=512)
    rows, length = 32, 512
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    model = tiny_model(config).to(torch.bfloat16)
    if int8:
        to_int8(model)
    add_lora(model.cuda(), 64).train()
    model.checkpointing = checkpointing
    tokens = torch.randint(0, 2048, (rows * length,))
    batch = Batch(tokens, tokens.roll(-1), [length] * rows)
    train.answer_loss(model, batch).backward()
    measured = torch.cuda.max_memory_allocated() - before
    ledger = memory.plan(config, memory.Workload(  # else its defaults, which are add_lora's
        micro_batch=rows, length=length, int8=int8, checkpointing=checkpointing))
    moments = ledger.state["optimizer moments, float32"]
    assert measured == pytest.approx(ledger.total - moments, rel=0.15)
