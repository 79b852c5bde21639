"""goat/llama/padding.py: leaving padding out changes neither the loss nor any gradient.

Run: python -m pytest tests/llama/test_padding.py
"""

import pytest
import torch
import torch.nn.functional as F

import train
from goat.llama import lora, padding
from goat.llama.padding import Packed, filled_up_places, select_tokens, used
from goat.papers.word_problems import value_head
from goat.training.batches import IGNORE, Batch
from support.tiny import GROUPED, tiny_config, tiny_model, tiny_tokens

CPU = torch.device("cpu")
UNEQUAL = [(3, 12), (2, 5), (6, 7), (0, 0), (1, 9)]  # each row's targets: from, to


@pytest.fixture(autouse=True)
def small_lists(monkeypatch):
    monkeypatch.setattr(padding, "MULTIPLE", 4)


def batch_of(spans, length=16, valued=False) -> Batch:
    """Rows whose targets stand in the given spans, with one hole; rubbish in the padding."""
    tokens = tiny_tokens(len(spans), length)
    labels = torch.full_like(tokens, IGNORE)
    for row, (start, end) in enumerate(spans):
        labels[row, start:end] = tiny_tokens(1, end - start, seed=row + 5)
    labels[0, spans[0][0] + 2] = IGNORE
    values = None
    if valued:  # one beside the last target, one where no label is, two on labels
        values = torch.zeros_like(tokens)
        values[0, 13], values[1, 0], values[2, 6], values[4, 3] = 1, -1, -1, 1
    return Batch(tokens, labels, [], values)


def test_the_worked_number_of_the_docstring(monkeypatch):
    monkeypatch.setattr(padding, "MULTIPLE", 1)
    targets = torch.tensor([[0, 0, 1, 1, 0, 0], [0, 0, 0, 1, 1, 0]]).bool()
    real, wanted, at = select_tokens(targets)
    assert real.tolist() == [0, 1, 2, 3, 6, 7, 8, 9, 10]
    assert wanted.tolist() == [2, 3, 7, 8] and at.tolist() == [2, 3, 9, 10]


@pytest.mark.parametrize("count", [0, 1, 4, 5, 20])
def test_lists_are_filled_up_with_others_once_each(count):
    mask = torch.zeros(21, dtype=torch.bool)
    mask[torch.randperm(21, generator=torch.Generator().manual_seed(0))[:count]] = True
    found = filled_up_places(mask)
    assert len(found) == {0: 4, 1: 4, 4: 4, 5: 8, 20: 20}[count]
    assert len(set(found.tolist())) == len(found)
    assert mask[found[:count]].all() and not mask[found[count:]].any()


def test_nearly_full_batches_are_not_listed():
    targets = torch.zeros(4, 10, dtype=torch.bool)
    targets[:, 9] = True
    real, wanted, at = select_tokens(targets)
    assert real is None and wanted.tolist() == at.tolist() == [9, 19, 29, 39]


@pytest.mark.parametrize("heads", [1, 3])
def test_tokens_move_to_their_places_and_back(heads):
    at = torch.tensor([0, 1, 4, 5, 6])  # of a batch (2, 4)
    x = torch.randn(5, heads * 2, dtype=torch.float64, requires_grad=True)
    listed = Packed((2, 4), at, {heads})
    spread = listed.spread(x, heads)
    rectangle = spread.transpose(1, 2).reshape(8, heads * 2)
    assert torch.equal(rectangle[at], x) and torch.equal(listed.gather(spread), x)
    y = torch.randn(2, heads, 4, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(listed.gather, y)
    factor = torch.zeros(8, heads * 2, dtype=torch.float64)
    factor[at] = torch.randn(5, heads * 2, dtype=torch.float64)
    (rectangle * factor).sum().backward()
    assert torch.equal(x.grad, factor[at])


def plain_loss(model, batch, value_scale):
    """The whole rectangle, and the loss as its definition."""
    hidden = model.hidden(batch.tokens)
    loss = F.cross_entropy(model.lm_head(hidden).flatten(0, 1), batch.labels.flatten(),
                           reduction="sum", ignore_index=IGNORE)
    if batch.values is not None:
        some = batch.values != 0
        loss = loss + value_scale * (model.value_head(hidden)[some]
                                     - batch.values[some]).square().sum()
    return loss


@pytest.mark.parametrize("checkpointing", [False, True], ids=["saved", "recomputed"])
@pytest.mark.parametrize("config", [GROUPED, tiny_config(n_kv_heads=4, n_layers=3)],
                         ids=["grouped", "plain"])
@pytest.mark.parametrize("kind", ["full", "LoRA", "values"])
@pytest.mark.parametrize("spans", [UNEQUAL, [(3, 16), (2, 16), (9, 16)]], ids=["listed", "whole"])
def test_loss_and_gradients_are_those_of_the_whole_rectangle(spans, kind, config, checkpointing):
    model = tiny_model(config)
    batch = batch_of(spans, valued=kind == "values" and spans is UNEQUAL)
    if kind != "full":
        lora.add_lora(model, 4, 12, dropout=0.0, targets=lora.ALL_TARGETS)
        for layer in lora.lora_layers(model).values():
            torch.nn.init.normal_(layer.lora_B, std=0.1)
    if kind == "values":
        value_head.add(model).value_head.dropout = 0.0
        torch.nn.init.normal_(model.value_head.weight, std=0.2)
    computed = []
    model.model.layers[0].mlp.register_forward_hook(
        lambda module, inputs, output: computed.append(output[..., 0].numel()))
    model.train().checkpointing = checkpointing
    losses, gradients = [], []
    for loss in (plain_loss(model, batch, 0.7), train.answer_loss(model, batch, CPU, 0.7)):
        model.zero_grad()
        loss.backward()
        losses.append(loss.item())
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.requires_grad})
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    for name, gradient in gradients[0].items():
        if gradient is None:  # the value head of a batch without values
            assert gradients[1][name] is None
            continue
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-3,
                                   atol=1e-5 * gradient.abs().max().item(), msg=name)
    assert all(p.grad is None for p in model.parameters() if not p.requires_grad)
    real = int(used((batch.labels != IGNORE) | (batch.values != 0 if batch.values is not None
                                                else False)).sum())
    listed = spans is UNEQUAL
    assert (min(computed) < real + 4) if listed else set(computed) == {batch.tokens.numel()}
