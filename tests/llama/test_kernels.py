"""Gradients by hand against automatic ones: each kernel of goat/llama/kernels.py against its plain
form, values and gradients.

Run: python -m pytest tests/llama/test_kernels.py
"""

import pytest
import torch
from torch import nn

from goat.llama import kernels
from goat.llama.int8 import quantise, to_int8
from goat.llama.kernels import keep_mask, rms_norm
from goat.llama.lora import LoRALinear, add_lora
from support.adapters import learnt
from support.tiny import tiny_model, tiny_tokens

def random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def near(got, want, tolerance=1e-5):
    for one, other in zip(got, want, strict=True):
        torch.testing.assert_close(one.double(), other.double(), rtol=tolerance, atol=tolerance)


X = random(7, 8)
A, B = random(3, 8, seed=1), random(6, 3, seed=2)
PAIRS = {  # (name, what is given): the inputs that learn come first
    "norm": ("rms_norm", (X, random(8, seed=1), 0.1), 2),
    "norm, frozen weight": ("rms_norm", (X, random(8, seed=1), 0.1), 1),
    "norm of a rectangle": ("rms_norm", (random(2, 3, 8), random(8, seed=1), 0.1), 2),
    "LoRA": ("low_rank", (X, A, B, 2.5, 0.0), 3),
    "LoRA with dropout": ("low_rank", (X, A, B, 2.5, 0.3), 3),
    "int8": ("int8_linear", (X, *quantise(random(6, 8, seed=4))), 1),
    "loss": ("head_loss", (X, random(6, 8, seed=1), torch.tensor([5, 0, 9, 2, 9, 1, 0]), 9), 1),
    "loss in pieces": ("head_loss", (random(600, 8), random(6, 8, seed=1),
                                     torch.arange(600) % 6, 5), 1),
}


@pytest.mark.parametrize("name, inputs, learning", PAIRS.values(), ids=PAIRS.keys())
def test_every_kernel_is_its_plain_form(name, inputs, learning):
    inputs = [x.detach().requires_grad_(i < learning) if isinstance(x, torch.Tensor)
              and x.is_floating_point() else x for i, x in enumerate(inputs)]
    results = []
    for function in (getattr(kernels, name), getattr(kernels, f"{name}_plain")):
        torch.manual_seed(4)  # of the dropout
        y = function(*inputs)
        results.append((y, *torch.autograd.grad(y, inputs[:learning], random(*y.shape, seed=9))))
    near(*results, tolerance=1e-6)


def test_every_kernel_has_been_compared():
    by_hand = {name.removesuffix("_plain") for name in vars(kernels) if name.endswith("_plain")}
    functions = [f for f in vars(kernels).values() if isinstance(f, type)
                 and issubclass(f, torch.autograd.Function)]
    assert {name for name, _, _ in PAIRS.values()} == by_hand and len(functions) == len(by_hand)


def test_an_input_that_does_not_learn_gets_no_gradient():
    """The first block reads the frozen embedding."""
    a, b = A.detach().requires_grad_(), B.detach().requires_grad_()
    y = kernels.low_rank(X, a, b, 1.0, 0.0)
    near(torch.autograd.grad(y, (a, b), y.detach()),
         (B.T @ (X @ A.T @ B.T).T @ X, (X @ A.T @ B.T).T @ X @ A.T))


def test_norm_of_the_docstring():
    x = torch.tensor([3.0, 4.0], requires_grad=True)
    rms_norm(x, torch.ones(2), 0.0)[0].backward()
    assert [round(g, 2) for g in x.grad.tolist()] == [0.18, -0.14]


def test_a_loss_of_nearly_nothing_has_a_gradient_in_fp16():
    """Of what is known for sure: p - e_y, 3e-6 at most, is off by 2 % in fp16 alone. What is left
    is the error of the logits, 0.2 %."""
    weight = random(12, 16, dtype=torch.float32).half()
    hidden, labels, found = weight[1:2], torch.tensor([1]), []
    for dtype in (torch.float16, torch.float32):
        h = hidden.detach().to(dtype, copy=True).requires_grad_()
        loss = kernels.head_loss(h, weight.to(dtype), labels, -100)
        (loss * 65536).backward()
        found.append(h.grad.double())
    assert 2e-6 < loss < 4e-6 and (found[0] - found[1]).norm() < 0.01 * found[1].norm()


# ---- LoRA's layer and its dropout ----------------------------------------------------------------

@pytest.mark.parametrize("int8", [False, True], ids=["float", "int8"])
def test_a_layer_gives_its_input_the_gradient_of_both_ways(int8):
    """Through the frozen base and through A and B; the base itself gets none."""
    holder = nn.ModuleDict({"linear": nn.Linear(8, 6, bias=False)})
    if int8:
        to_int8(holder)
    layer = LoRALinear(holder["linear"], rank=2, alpha=3)
    nn.init.normal_(layer.lora_B)
    weight = layer.base.dequantised() if int8 else layer.base.weight
    x, grad = random(4, 8, dtype=torch.float32).requires_grad_(), random(4, 6, dtype=torch.float32)
    layer(x).backward(grad)
    near([x.grad], [grad @ (weight + 1.5 * layer.lora_B @ layer.lora_A)])
    assert not layer.base.weight.requires_grad and layer.base.weight.grad is None


@pytest.mark.parametrize("dropout", [0.05, 0.5])
def test_the_mask_has_its_probability_in_every_lane(dropout):
    """One random number serves four entries: each of the four is as random as the others."""
    torch.manual_seed(0)
    keep = keep_mask(torch.empty(401, 999, dtype=torch.bfloat16), dropout)
    assert keep.dtype == torch.bfloat16 and keep.shape == (401, 999)
    assert set(keep.unique().tolist()) == {0.0, 1.0}
    lanes = keep.flatten().float()[:400_000].view(-1, 4)
    deviation = (dropout * (1 - dropout) / 100_000) ** 0.5
    assert (lanes.mean(0) - (1 - dropout)).abs().max() < 4 * deviation
    both = (1 - lanes[:, :-1]) * (1 - lanes[:, 1:])  # two neighbours dropped
    assert (both.mean(0) - dropout ** 2).abs().max() < 4 * dropout / 100_000 ** 0.5


def test_dropout_keeps_the_mean():
    layer = LoRALinear(nn.Linear(16, 1, bias=False), 1, 1, 0.25).train()
    layer.base.weight.data.zero_()
    layer.lora_A.data.fill_(1.0)
    layer.lora_B.data.fill_(1.0)
    torch.manual_seed(0)
    first, second = layer(torch.ones(20_000, 16)), layer(torch.ones(20_000, 16))
    assert first.mean().item() == pytest.approx(16, abs=0.1)
    assert not torch.equal(first, second) and torch.equal(*(layer.eval()(torch.ones(2, 16))))


def test_recomputation_draws_the_same_masks():
    gradients = []
    for recompute in (False, True):
        model = learnt(add_lora(tiny_model(), 4, 12, dropout=0.3)).train()
        model.checkpointing = recompute
        torch.manual_seed(2)
        model(tiny_tokens()).square().mean().backward()
        gradients.append([p.grad for p in model.parameters() if p.requires_grad])
    assert all(map(torch.equal, *gradients))
