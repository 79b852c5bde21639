"""Optimizers and schedule: Muon against torch's own, master weights, the learning rate's shape.

Run: python -m pytest tests/training/test_optim.py
"""

import pytest
import torch
from torch import nn

from goat.training import optim
from support.tiny import tiny_config, tiny_model


def matrices(seed: int, dtype=torch.float32) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(shape, generator=generator).to(dtype))
            for shape in ((8, 24), (24, 8), (8, 24))]


def test_orthogonalised_singular_values_are_near_one():
    update = torch.randn(3, 16, 40, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(optim.orthogonalise(update).float())
    assert values.min() > 0.6 and values.max() < 1.3
    tall = optim.orthogonalise(update.transpose(1, 2)).float()
    assert torch.allclose(tall.transpose(1, 2), optim.orthogonalise(update).float(), atol=0.05)


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch.optim.Muon came with 2.9")
def test_muon_steps_like_torchs():
    ours, theirs = matrices(0), matrices(0)
    a, b = optim.Muon(ours, lr=0.02), torch.optim.Muon(theirs, lr=0.02, weight_decay=0.01)
    for step in range(5):
        for p, q, g in zip(ours, theirs, matrices(step + 1)):
            p.grad, q.grad = g.detach().clone(), g.detach().clone()
        a.step()
        b.step()
    for p, q, start in zip(ours, theirs, matrices(0), strict=True):
        assert torch.allclose(p, q, atol=2e-3)  # the inner products run in bf16 in both
        assert not torch.allclose(p, start, atol=2e-3)


def test_matrices_of_the_blocks_go_to_muon_and_the_rest_to_adamw():
    model = tiny_model(tiny_config())
    names = {id(p): name for name, p in model.named_parameters()}
    rates = {"lr": 0.1, "muon_lr": 0.2, "betas": (0.8, 0.9), "weight_decay": 0.3}
    every = list(model.parameters())
    muon, adam = optim.Optimizer(model, every, torch.float32, **rates).parts
    for name in (names[id(p)] for p in muon.param_groups[0]["params"]):
        assert name.endswith("_proj.weight") and ".layers." in name
    rest = {names[id(p)] for p in adam.param_groups[0]["params"]}
    assert rest == {name for name in names.values() if "embed" in name or "norm" in name
                    or "lm_head" in name}
    assert muon.param_groups[0]["lr"] == 0.2 and adam.param_groups[0]["lr"] == 0.1
    assert adam.param_groups[0]["betas"] == (0.8, 0.9)
    assert adam.param_groups[0]["weight_decay"] == 0.3
    [alone] = optim.Optimizer(model, every, torch.float32, **{**rates, "muon_lr": 0.0}).parts
    assert len(alone.param_groups[0]["params"]) == len(names)


def test_gradients_are_cut_to_the_norm_that_is_asked_for():
    model = tiny_model()
    optimizer = optim.Optimizer(model, list(model.parameters()), torch.float32, lr=0.1,
                                muon_lr=0.0, betas=(0.9, 0.9), weight_decay=0.0)
    for p in optimizer.masters:
        p.grad = torch.ones_like(p)
    numbers = sum(p.numel() for p in optimizer.masters)
    assert optimizer.clip(0.5) == pytest.approx(numbers ** 0.5, rel=1e-5)
    cut = [p.grad.clone() for p in optimizer.masters]
    assert torch.cat([g.flatten() for g in cut]).norm().item() == pytest.approx(0.5, rel=1e-4)
    assert optimizer.clip(1.0) == pytest.approx(0.5, rel=1e-4)
    assert all(map(torch.equal, cut, (p.grad for p in optimizer.masters)))  # short enough


def test_small_steps_survive_in_the_masters():
    """1000 steps of 1e-4 move a bf16 weight of 1.0 by 0.1, though each alone would be lost."""
    p = nn.Parameter(torch.ones(4, dtype=torch.bfloat16))
    masters = optim.MasterWeights([p])
    sgd = torch.optim.SGD(masters.masters, lr=1e-4)
    for _ in range(1000):
        (p * 1).sum().backward()
        masters.collect()
        assert p.grad is None
        sgd.step()
        sgd.zero_grad()
        masters.publish()
    assert torch.allclose(masters.masters[0], torch.full((4,), 0.9), atol=1e-3)
    assert torch.equal(p, masters.masters[0].bfloat16())


def test_gradients_of_micro_batches_add_up_in_fp32():
    p = nn.Parameter(torch.ones(1, dtype=torch.bfloat16))
    masters = optim.MasterWeights([p])
    for scale in (256.0, *[0.5] * 16):  # in bf16, 256 + 0.5 is 256
        (p * scale).backward()
        masters.collect()
    assert masters.masters[0].grad.item() == 264.0


def test_an_fp32_parameter_is_its_own_master():
    p = nn.Parameter(torch.ones(3))
    assert optim.MasterWeights([p]).masters[0] is p


def test_the_loss_scale_saves_gradients_that_fp16_would_lose():
    """The worked number: 1e-9 is 0 in fp16, and comes through with a scale of 65536."""
    for dtype, scale, want in ((torch.float16, 2.0 ** 16, 1e-9), (torch.bfloat16, 1.0, 1e-9)):
        scaler, p = optim.LossScaler(dtype), nn.Parameter(torch.ones(3))
        assert scaler.scale == scale
        x = torch.full((3,), 1.0, dtype=dtype)
        ((p.to(dtype) * x).float() * 1e-9 * scaler.scale).sum().backward()
        scaler.unscale([p, nn.Parameter(torch.ones(1))])
        assert torch.allclose(p.grad, torch.full((3,), want), rtol=4e-3, atol=0)
    lost = nn.Parameter(torch.ones(3))
    ((lost.half() * 1.0).float() * 1e-9).sum().backward()
    assert not lost.grad.any()


def test_the_loss_scale_halves_after_overflows_and_doubles_after_good_steps(monkeypatch):
    monkeypatch.setattr(optim.LossScaler, "PATIENCE", 3)
    scaler = optim.LossScaler(torch.float16)
    assert scaler.lower() and scaler.lower() and scaler.scale == 2.0 ** 14
    scaler.stepped(), scaler.stepped()
    again = optim.LossScaler(torch.float16)
    again.load_state_dict(scaler.state_dict())
    for s in (scaler, again):
        s.stepped()
        assert s.scale == 2.0 ** 15
    scaler.stepped(), scaler.stepped(), scaler.lower(), scaler.stepped()
    assert scaler.scale == 2.0 ** 14  # an overflow starts the count anew
    scaler.scale = 1.0
    assert not scaler.lower()
    for dtype in (torch.float32, torch.bfloat16):
        fixed = optim.LossScaler(dtype)
        for _ in range(7):
            fixed.stepped()
        assert fixed.scale == 1 and not fixed.lower()


def test_future_state_is_as_large_as_the_state_will_be():
    model = tiny_model(tiny_config())
    optimizer = optim.Optimizer(model, list(model.parameters()), torch.float32, lr=0.1, muon_lr=0.1,
                                betas=(0.9, 0.9), weight_decay=0.0)
    reserved = sum(t.nbytes for t in optimizer.future_state())
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    optimizer.step(1.0)
    assert all(p.grad is None for p in model.parameters())
    assert reserved == sum(t.nbytes for t in optimizer.state() if t.dim()) > 0
    assert optimizer.future_state() == []


@pytest.mark.parametrize("warmup, hold, final", [(100, 0, 0), (20, 0.5, 0.02), (0, 0, 0)])
def test_schedule(warmup, hold, final):
    steps = 1000
    rates = [optim.schedule(s, steps, warmup, hold, final) for s in range(steps)]
    assert optim.schedule(0, 1, 0, hold, final) == 1
    assert rates[0] > 0 and max(rates) <= 1  # the first step already moves
    assert rates[-1] == pytest.approx(final, abs=1e-9)
    if warmup:
        assert rates[warmup - 1] == 1 and rates[0] == pytest.approx(1 / warmup)
    begin = max(warmup, int(hold * steps))
    assert all(r == 1 for r in rates[max(warmup - 1, 0): begin])
    falls = [a - b for a, b in zip(rates[begin:], rates[begin + 1:])]
    assert max(falls) - min(falls) < 1e-9 and min(falls) > 0  # a straight line
