"""Rows laid end to end (goat/llama/attention.py) against the padded rectangle, each row by itself.

Run: python -m pytest tests/llama/test_rows.py
"""

import pytest
import torch
import torch.nn.functional as F

import train
from goat.llama import lora
from goat.llama.attention import Rows
from goat.papers.word_problems import value_head
from goat.training.batches import IGNORE, Batch
from support.adapters import learnt
from support.tiny import GROUPED, tiny_config, tiny_model, tiny_tokens

LENGTHS = [16, 9, 1, 40, 0, 5]  # with filler in some, and one row that is empty
ANSWERS = [(3, 12), (2, 5), (0, 1), (6, 7), (0, 0), (1, 5)]  # each row's targets: from, to


def batch_of(valued=False) -> Batch:
    """Rows with answers, one hole in the first, and rubbish behind them."""
    tokens = tiny_tokens(1, sum(LENGTHS))[0]
    labels, values = torch.full_like(tokens, IGNORE), torch.zeros_like(tokens)
    start = 0
    for length, (first, end) in zip(LENGTHS, ANSWERS):
        labels[start + first:start + end] = tiny_tokens(1, end - first, seed=length + 5)
        start += length
    labels[5] = IGNORE
    values[13], values[16], values[22], values[67] = 1, -1, -1, 1  # beside labels, and on some
    return Batch(tokens, labels, LENGTHS, values if valued else None)


def test_the_worked_number_of_the_docstring(monkeypatch):
    monkeypatch.setattr("goat.llama.attention.WIDTH", 1)
    rows = Rows([3, 5], tiny_config(n_heads=1, n_kv_heads=1), torch.zeros(()))
    assert rows.spread.tolist() == [0, 1, 2, 3, 4, 3, 4, 5, 6, 7]
    assert rows.gathered.tolist() == [0, 1, 2, 5, 6, 7, 8, 9]
    angle = rows.rotary[0][:, 0, 0].acos()
    torch.testing.assert_close(angle, torch.tensor([0.0, 1, 2, 0, 1, 2, 3, 4])
                               .cos().acos(), rtol=0, atol=1e-5)  # each row from position 0 on


@pytest.mark.parametrize("answers", [0, 1, 5, 9, 20])
def test_what_counts_is_filled_up_with_others_once_each(answers):
    labels = torch.full((21,), IGNORE)
    labels[torch.randperm(21, generator=torch.Generator().manual_seed(0))[:answers]] = 1
    counts = Batch(labels, labels, [21]).counts
    assert len(counts) == {0: 8, 1: 8, 5: 8, 9: 16, 20: 21}[answers]
    assert len(set(counts.tolist())) == len(counts)
    assert (labels[counts[:answers]] == 1).all() and (labels[counts[answers:]] == IGNORE).all()


@pytest.mark.parametrize("config", [GROUPED, tiny_config(n_kv_heads=4)], ids=["grouped", "plain"])
def test_each_row_is_what_it_is_by_itself(config):
    model, batch = tiny_model(config), batch_of()
    hidden = model.hidden(batch.tokens, model.rows(LENGTHS))
    for tokens, mine in zip(batch.tokens.split(LENGTHS), hidden.split(LENGTHS)):
        if len(tokens):
            alone = model.hidden(tokens, model.rows([len(tokens)]))
            torch.testing.assert_close(mine, alone, rtol=1e-4, atol=1e-5)


def padded_loss(model, batch, value_scale):
    """Every row filled up to the longest, all of it computed, and the loss as its definition."""
    def padded(x, value):
        return torch.nn.utils.rnn.pad_sequence(x.split(LENGTHS), batch_first=True,
                                               padding_value=value)

    tokens, labels = padded(batch.tokens, 7), padded(batch.labels, IGNORE)
    hidden = model.hidden(tokens.flatten(), model.rows([tokens.size(1)] * len(tokens)))
    loss = F.cross_entropy(model.lm_head(hidden), labels.flatten(), reduction="sum",
                           ignore_index=IGNORE)
    if batch.values is not None:
        values = padded(batch.values, 0).flatten()
        some = values != 0
        loss = loss + value_scale * (model.value_head(hidden)[some] - values[some]).square().sum()
    return loss


@pytest.mark.parametrize("checkpointing", [False, True], ids=["saved", "recomputed"])
@pytest.mark.parametrize("config", [GROUPED, tiny_config(n_kv_heads=4, n_layers=3)],
                         ids=["grouped", "plain"])
@pytest.mark.parametrize("kind", ["full", "LoRA", "values"])
def test_loss_and_gradients_are_those_of_the_padded_rectangle(kind, config, checkpointing):
    model = tiny_model(config)
    batch = batch_of(valued=kind == "values")
    if kind != "full":
        learnt(lora.add_lora(model, 4, 12, dropout=0.0, targets=lora.ALL_TARGETS))
    if kind == "values":
        value_head.add(model).value_head.dropout = 0.0
        torch.nn.init.normal_(model.value_head.weight, std=0.2)
    expected = padded_loss(model.train(), batch, 0.7)
    model.checkpointing = checkpointing
    losses, gradients = [], []
    for loss in (expected, train.answer_loss(model, batch, 0.7)):
        model.zero_grad()
        loss.backward()
        losses.append(loss.item())
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.requires_grad})
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-3,
                                   atol=1e-5 * gradient.abs().max().item(), msg=name)
    assert all(p.grad is None for p in model.parameters() if not p.requires_grad)


def test_no_filler_is_computed_and_behind_the_last_attention_only_what_counts():
    model, batch, computed = tiny_model(), batch_of(), []
    for block in model.model.layers:
        block.mlp.register_forward_hook(lambda module, x, output: computed.append(len(output)))
    train.answer_loss(model, batch)
    targets = int((batch.labels != IGNORE).sum())
    assert computed == [sum(LENGTHS), -(-targets // 8) * 8]
