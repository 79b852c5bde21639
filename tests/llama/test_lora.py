"""goat/llama/lora.py: the arithmetic of the layer, what trains, merging.

Adapters on disk and the comparison with peft are in tests/files/test_adapter.py.
Run: python -m pytest tests/llama/test_lora.py
"""

import pytest
import torch
from torch import nn

from goat.errors import UserError
from goat.llama.int8 import Int8Linear, to_int8
from goat.llama.joined import join
from goat.llama.lora import (ALL_TARGETS, LoRALinear, add_lora, lora_layers, merge, trainable)
from support.adapters import learnt
from support.tiny import tiny_model, tiny_tokens


def adapted(int8=False, dropout=0.0, rank=4, alpha=12.0, dtype=torch.float32, targets=ALL_TARGETS):
    """A tiny model with a LoRA whose B is not zero; alpha / rank is 3."""
    model = tiny_model().to(dtype)
    if int8:
        to_int8(model)
    return learnt(add_lora(model, rank, alpha, dropout, targets))


def test_the_worked_number_of_the_docstring():
    base = nn.Linear(2, 2, bias=False)
    base.weight.data = torch.eye(2)
    layer = LoRALinear(base, rank=1, alpha=2)
    layer.lora_A.data, layer.lora_B.data = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0], [0.0]])
    assert layer(torch.ones(2)).tolist() == [19.0, 1.0]
    assert (base.weight + layer.delta()).tolist() == [[7.0, 12.0], [0.0, 1.0]]


def test_parameter_count_of_the_docstring():
    with torch.device("meta"):
        layers = [LoRALinear(nn.Linear(4096, 4096, bias=False), 64, 64) for _ in range(4)]
    assert 32 * sum(p.numel() for layer in layers for p in trainable(layer)) == 67_108_864


@pytest.mark.parametrize("int8", [False, True], ids=["float", "int8"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_fresh_adapter_changes_no_bit(int8, dtype):
    tokens = tiny_tokens()
    base = tiny_model().to(dtype)
    if int8:
        to_int8(base)
    want = base(tokens)
    assert torch.equal(add_lora(base, 4, 12, 0.05)(tokens), want)


def test_the_layer_is_the_formula_with_alpha_over_rank():
    layer = lora_layers(adapted())["model.layers.1.mlp.up_proj"]
    x = torch.randn(3, 32, generator=torch.Generator().manual_seed(1))
    w, a, b = (t.double() for t in (layer.base.weight, layer.lora_A, layer.lora_B))
    want = x.double() @ w.T + 3.0 * (x.double() @ a.T @ b.T)
    torch.testing.assert_close(layer(x), want.float(), rtol=1e-5, atol=1e-5)


def test_a_starts_uniform_as_pefts_does():
    a = LoRALinear(nn.Linear(400, 8, bias=False), 64, 64).lora_A.data
    assert a.abs().max() <= 1 / 20 and a.std().item() == pytest.approx(1 / 20 / 3 ** 0.5, rel=0.03)


def test_alpha_defaults_to_the_rank():
    layer = next(iter(lora_layers(add_lora(tiny_model(), rank=4)).values()))
    assert (layer.alpha, layer.scaling) == (4, 1.0)


@pytest.mark.parametrize("int8", [False, True], ids=["float", "int8"])
def test_only_a_and_b_train_and_all_of_them_do(int8):
    model = adapted(int8).train()
    names = {name for name, p in model.named_parameters() if p.requires_grad}
    assert names == {f"{layer}.lora_{side}" for layer in lora_layers(model) for side in "AB"}
    assert len(names) == 2 * 2 * 7
    assert {id(p) for p in trainable(model)} == {id(dict(model.named_parameters())[n])
                                                 for n in names}
    model(tiny_tokens()).square().mean().backward()
    for name, p in model.named_parameters():
        assert (p.grad is not None and p.grad.any()) if name in names else p.grad is None, name
        assert p.dtype == torch.float32 or name not in names


@pytest.mark.parametrize("recompute", [False, True], ids=["plain", "checkpointing"])
def test_b_gets_a_gradient_from_a_frozen_base(recompute):
    model = add_lora(tiny_model().bfloat16(), 4, 12).train()
    model.checkpointing = recompute
    model(tiny_tokens()).float().square().mean().backward()
    assert all(layer.lora_B.grad.any() for layer in lora_layers(model).values())
    assert all(p.dtype == torch.float32 for p in trainable(model))


def test_dropout_works_in_training_only():
    model, tokens = adapted(dropout=0.5), tiny_tokens()
    assert torch.equal(model(tokens), model(tokens))
    assert torch.equal(model(tokens), adapted(dropout=0.0)(tokens))
    model.train()
    assert not torch.equal(model(tokens), model(tokens))


def test_dropout_falls_on_the_input_of_a_only():
    """With x = 1 and B A = 1, an output can be base + scaling * 2 * (kept inputs)."""
    base = nn.Linear(4, 1, bias=False)
    base.weight.data = torch.full((1, 4), 10.0)
    layer = LoRALinear(base, rank=1, alpha=1, dropout=0.5).train()
    layer.lora_A.data, layer.lora_B.data = torch.ones(1, 4), torch.ones(1, 1)
    seen = {layer(torch.ones(4)).item() for _ in range(200)}
    assert seen == {40.0, 42.0, 44.0, 46.0, 48.0}


def test_the_same_seed_gives_the_same_adapter_and_leaves_global_state_alone():
    first, state = tiny_model(), torch.random.get_rng_state()
    add_lora(first, 4, seed=7)
    assert torch.equal(state, torch.random.get_rng_state())
    again, other = add_lora(tiny_model(), 4, seed=7), add_lora(tiny_model(), 4, seed=8)
    for a, b, c in zip(*(lora_layers(m).values() for m in (first, again, other)), strict=True):
        assert torch.equal(a.lora_A, b.lora_A)
        assert not torch.equal(a.lora_A, c.lora_A)


@pytest.mark.parametrize("int8", [False, True])
def test_merged_equals_unmerged_and_leaves_plain_layers(int8):
    model, tokens = adapted(int8=int8), tiny_tokens()
    apart = model(tokens)
    assert merge(model) is model and not lora_layers(model)
    torch.testing.assert_close(model(tokens), apart, rtol=1e-4, atol=1e-4)
    weights = {name: p.shape for name, p in tiny_model().named_parameters()}
    assert {name: p.shape for name, p in model.named_parameters()} == weights
    once = model(tokens)
    assert torch.equal(merge(model)(tokens), once)  # there is nothing left to merge
    join(model)
    assert all("qkv" in vars(block.self_attn) for block in model.model.layers)


def test_merging_is_not_hidden_in_train_and_eval():
    model, tokens = adapted(), tiny_tokens()
    weights = [layer.base.weight.clone() for layer in lora_layers(model).values()]
    assert torch.equal(model(tokens), model.train().eval()(tokens))
    for layer, weight in zip(lora_layers(model).values(), weights):
        assert torch.equal(layer.base.weight, weight)


@pytest.mark.parametrize("dtype, said", [
    (torch.bfloat16, "14 int8 layers are 16-bit now (bfloat16)"),
    (torch.float16, "14 int8 layers are 16-bit now (float16)"),
    (torch.float32, "14 int8 layers are 32-bit now (float32)")])
def test_merging_over_int8_gives_layers_of_the_models_type_and_says_so(capsys, dtype, said):
    model, tokens = adapted(int8=True, dtype=dtype), tiny_tokens()
    apart = model(tokens)
    merge(model)
    assert said in capsys.readouterr().out
    assert not any(isinstance(layer, (LoRALinear, Int8Linear)) for layer in model.modules())
    assert model.model.layers[0].mlp.up_proj.weight.dtype == dtype
    assert (model(tokens) - apart).norm() / apart.norm() < 0.1


@pytest.mark.parametrize("arguments, part", [
    (dict(rank=0), "rank must be at least 1"), (dict(dropout=1.0), "dropout must be in [0, 1)"),
    (dict(targets=("q_proj", "query")), "target query is no linear layer"),
    (dict(targets=()), "choose from"), (dict(targets=("proj",)), "target proj is no"),
])
def test_bad_arguments_are_refused_by_name(arguments, part):
    with pytest.raises(UserError) as error:
        add_lora(tiny_model(), **arguments)
    assert part in str(error.value)


def test_a_second_adapter_is_refused():
    with pytest.raises(UserError, match="carries LoRA layers already"):
        add_lora(add_lora(tiny_model(), 4), 4)
