"""Gradients by hand against automatic ones: goat/llama/kernels.py, and LoRA's products (lora.py).

Run: python -m pytest tests/llama/test_kernels.py
"""

import pytest
import torch
from torch import nn

from goat.llama.int8 import to_int8
from goat.llama.kernels import normalise, rotate
from goat.llama.lora import LoRALinear, LoRAProducts, add_lora, keep_mask, lora_layers
from goat.llama.model import rotary_angles
from support.tiny import tiny_model, tiny_tokens


def random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def near(got, want, tolerance=1e-5):
    for one, other in zip(got, want, strict=True):
        torch.testing.assert_close(one.double(), other.double(), rtol=tolerance, atol=tolerance)


def plain_norm(x, weight, eps):
    return x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * weight


@pytest.mark.parametrize("shape", [(5, 8), (2, 3, 8)])
@pytest.mark.parametrize("learns", [False, True], ids=["frozen", "learning"])
def test_norm(shape, learns):
    x, weight = random(*shape).requires_grad_(), random(8, seed=1).requires_grad_(learns)
    grad = random(*shape, seed=2)
    inputs = (x, weight) if learns else (x,)
    got, want = normalise(x, weight, 0.1), plain_norm(x, weight, 0.1)
    near([got], [want])
    near(torch.autograd.grad(got, inputs, grad), torch.autograd.grad(want, inputs, grad))


def test_norm_of_the_docstring():
    x = torch.tensor([3.0, 4.0], requires_grad=True)
    normalise(x, torch.ones(2), 0.0)[0].backward()
    assert [round(g, 2) for g in x.grad.tolist()] == [0.18, -0.14]


@pytest.mark.parametrize("strided", [False, True])
def test_rotation(strided):
    x = random(2, 6, 3, 8).transpose(1, 2) if strided else random(2, 3, 6, 8)
    tables = rotary_angles(torch.arange(6)[None], 8, 500.0, torch.float64)
    assert torch.autograd.gradcheck(rotate, (x.requires_grad_(), *tables))


# ---- LoRA ----------------------------------------------------------------------------------------

def plain_products(x, keep, scalings, outputs, many_a, many_b):
    """y + s B (A (mask * x)), one layer after another."""
    return [y + (x * keep @ A.T @ B.T) * s
            for s, y, A, B in zip(scalings, outputs, many_a, many_b)]


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("shape", [(7, 5), (2, 3, 5)])
@pytest.mark.parametrize("sizes", [[(2, 6)], [(2, 6), (3, 4), (1, 5)]], ids=["one", "three"])
@pytest.mark.parametrize("x_learns", [False, True], ids=["frozen input", "learning input"])
def test_products_are_plain_autograd(x_learns, sizes, shape, dropout):
    x = random(*shape).requires_grad_(x_learns)
    outputs = [random(*shape[:-1], size, seed=i).requires_grad_()
               for i, (_, size) in enumerate(sizes)]
    many_a = [random(rank, 5, seed=i + 3).requires_grad_() for i, (rank, _) in enumerate(sizes)]
    many_b = [random(out, rank, seed=i + 6).requires_grad_() for i, (rank, out) in enumerate(sizes)]
    scalings = [0.5, 3.0, 1.0][: len(sizes)]
    learning = [*outputs, *many_a, *many_b, *([x] if x_learns else [])]
    grads = [random(*y.shape, seed=i + 9) for i, y in enumerate(outputs)]
    torch.manual_seed(4)
    got = LoRAProducts.apply(x, dropout, scalings, *outputs, *many_a, *many_b)
    torch.manual_seed(4)
    keep = keep_mask(x.detach().view(-1, 5), dropout).view(shape) / (1 - dropout)
    assert dropout == 0 or 0 < (keep == 0).sum() < keep.numel()
    want = plain_products(x, keep, scalings, outputs, many_a, many_b)
    near(got, want)
    near(torch.autograd.grad(got, learning, grads), torch.autograd.grad(want, learning, grads))


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


def test_dropout_keeps_the_mean_and_is_shared_by_layers_of_one_input():
    layers = [LoRALinear(nn.Linear(16, 1, bias=False), 1, 1, 0.25).train() for _ in range(2)]
    for layer in layers:
        layer.base.weight.data.zero_()
        layer.lora_A.data.fill_(1.0)
        layer.lora_B.data.fill_(1.0)
    torch.manual_seed(0)
    first, second = LoRALinear.together(torch.ones(20_000, 16), layers)
    assert torch.equal(first, second)
    assert first.mean().item() == pytest.approx(16, abs=0.1)
    assert not torch.equal(first, layers[0](torch.ones(20_000, 16)))


def test_the_mask_comes_from_the_generator_that_is_seeded():
    x = torch.ones(50, 8)
    torch.manual_seed(1)
    first, second = keep_mask(x, 0.5), keep_mask(x, 0.5)
    torch.manual_seed(1)
    assert torch.equal(keep_mask(x, 0.5), first) and not torch.equal(first, second)


def test_recomputation_draws_the_same_masks():
    gradients = []
    for recompute in (False, True):
        model = add_lora(tiny_model(), 4, 12, dropout=0.3).train()
        model.checkpointing = recompute
        for layer in lora_layers(model).values():
            layer.lora_B.data.fill_(0.1)
        torch.manual_seed(2)
        model(tiny_tokens()).square().mean().backward()
        gradients.append([p.grad for p in model.parameters() if p.requires_grad])
    assert all(map(torch.equal, *gradients))
