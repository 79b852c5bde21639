"""goat/llama/model.py against the maths of tests/support/reference.py, and transformers.

Run: python -m pytest tests/llama/test_model.py
"""

import math

import pytest
import torch

from goat.llama import lora
from goat.llama.attention import RopeScaling, attention, rotary_angles, rotate
from goat.llama.joined import join
from goat.llama.model import Llama, RMSNorm
from support import reference
from support.families import FAMILIES
from support.tiny import GROUPED, random, tiny_config, tiny_model, tiny_tokens

# The families that must be loadable: many heads or few, any width of a head, tied or not.
GRID = {
    "plain": tiny_config(n_kv_heads=4),
    "grouped": GROUPED,
    "one key head": tiny_config(n_kv_heads=1),
    "wide heads": tiny_config(head_dim=16),
    "narrow heads": tiny_config(head_dim=4, n_kv_heads=4),
    "tied": tiny_config(tie_embeddings=True),
    "theta 1e6": tiny_config(rope_theta=1e6, norm_eps=1e-6),
    "theta 100, eps 0.1": tiny_config(rope_theta=100.0, norm_eps=0.1),
    "llama 3": tiny_config(rope_theta=100.0, rope_scaling=RopeScaling(8.0, 1.0, 4.0, 32)),
    "qwen 2": tiny_config(rope_theta=1e6, qkv_bias=True, tie_embeddings=True),
    "mistral": tiny_config(sliding_window=64, max_positions=64, head_dim=12),
}


def near(got, want, tolerance=2e-5):
    torch.testing.assert_close(got, want.to(got.dtype), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("eps", [1e-5, 1e-6])
def test_norm_is_the_definition_and_eps_counts(eps):
    layer = RMSNorm(8, eps)
    layer.weight.data = random(8, seed=1)
    x = random(3, 8) * 1e-3  # so small that 1e-5 and 1e-6 give results 5 times apart
    near(layer(x), reference.norm(x.double(), layer.weight.double(), eps))


def test_norm_is_computed_in_fp32_for_bf16_inputs():
    layer = RMSNorm(64, 1e-6).bfloat16()
    x = random(5, 64).bfloat16()
    exact = reference.norm(x.double(), torch.ones(64), 1e-6)
    assert torch.equal(layer(x), exact.bfloat16())


def test_rotation_is_a_complex_multiplication():
    x = random(20, 3, 8)  # (N, heads, D)
    config = tiny_config(head_dim=8, rope_theta=500.0)
    turned = rotate(x, *rotary_angles(torch.arange(20), config, torch.float32))
    for h in range(3):
        near(turned[:, h], reference.turn(x[:, h].double(), 500.0))
    assert torch.equal(turned[0], x[0])  # position 0 is not turned


# Of the published models: factor, head_dim, {pair: divisor of its angle}
STRETCHED = [(32.0, 64, {14: 1, 15: 1.651329, 16: 3.292262, 17: 9.666729, 18: 32, 31: 32}),
             (8.0, 128, {28: 1, 29: 1.207484, 32: 1.414213562e-03 / 5.248461610e-04, 35: 8, 63: 8})]


@pytest.mark.parametrize("factor, head_dim, golden", STRETCHED, ids=["3.2-1B", "3.1-8B"])
def test_llama_3_stretches_as_published(factor, head_dim, golden):
    divisors = RopeScaling(factor).divisors(500000.0, head_dim)
    assert divisors.shape == (head_dim // 2,) and divisors.dtype == torch.float32
    for pair, want in golden.items():
        assert divisors[pair].item() == pytest.approx(want, rel=1e-6)
    config = tiny_config(head_dim=head_dim, rope_theta=500000.0, rope_scaling=RopeScaling(factor))
    cos, _ = rotary_angles(torch.tensor([7]), config, torch.float32)
    w = [500000.0 ** (-2 * j / head_dim) for j in range(head_dim // 2)]
    near(cos[0, 0, :head_dim // 2], torch.tensor(
        [math.cos(7 * reference.stretched(x, RopeScaling(factor))) for x in w]), 1e-6)


@pytest.mark.parametrize("heads, kv_heads", [(4, 4), (4, 2), (6, 2), (4, 1)])
def test_attention_is_the_naive_loop(heads, kv_heads):
    q = random(2, heads, 9, 8)
    k, v = (random(2, kv_heads, 9, 8, seed=seed) for seed in (1, 2))
    y = attention(q, k, v, torch.full((1, 9, 9), -torch.inf).triu(1))
    for b in range(2):
        for h in range(heads):
            kv = h // (heads // kv_heads)
            near(y[b, h], reference.attend(q[b, h].double(), k[b, kv].double(),
                                           v[b, kv].double()))


@pytest.mark.parametrize("config", GRID.values(), ids=GRID.keys())
def test_pieces_match_the_reference(config):
    model, tokens = tiny_model(config), tiny_tokens()
    weights = {name: w.detach() for name, w in model.state_dict().items()}
    embedded = model.model.embed_tokens(tokens)
    near(embedded[0], weights["model.embed_tokens.weight"][tokens[0]], 0)
    own = {name.removeprefix("model.layers.0."): w.double() for name, w in weights.items()
           if name.startswith("model.layers.0.")}
    B, T = tokens.shape
    first = model.model.layers[0](embedded.flatten(0, 1), model.rows([T] * B)).view(B, T, -1)
    near(first[1], reference.block(embedded[1].double(), own, config), 1e-4)
    for row in range(2):
        near(model(tokens)[row], reference.logits(weights, config, tokens[row]), 1e-4)


@pytest.mark.parametrize("config", GRID.values(), ids=GRID.keys())
def test_cache_equals_the_full_pass_for_rows_of_unequal_length(config):
    model, tokens = tiny_model(config), tiny_tokens(3, 12)
    full = model(tokens)
    lengths = [7, 3, 5]  # what each row has read when decoding starts
    cache = model.cache(3, 12)

    def read(tokens, positions):
        hidden = model.hidden(tokens.flatten(), cache.at(positions))
        return model.lm_head(hidden).view(*tokens.shape, -1)

    positions = torch.arange(7).expand(3, 7)
    prefill = tokens[:, :7].clone()
    for row, length in enumerate(lengths):
        prefill[row, length:] = 63  # rubbish behind the short rows: must never be looked at
    logits = read(prefill, positions)
    for row, length in enumerate(lengths):
        near(logits[row, :length], full[row, :length], 1e-4)
    for step in range(5):
        places = torch.tensor([[length + step] for length in lengths])
        logits = read(tokens.gather(1, places), places)
        for row, length in enumerate(lengths):
            near(logits[row, 0], full[row, length + step], 1e-4)


def test_initial_weights_have_the_documented_spread():
    model = Llama(tiny_config(dim=128, head_dim=32, hidden_dim=256, qkv_bias=True))
    model.init_weights(torch.Generator().manual_seed(0))
    layer = model.model.layers[1].self_attn
    assert layer.q_proj.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert layer.o_proj.weight.std().item() == pytest.approx(0.02 / math.sqrt(4), rel=0.05)
    assert torch.equal(model.model.norm.weight, torch.ones(128))
    assert not layer.q_proj.bias.any()


@pytest.mark.parametrize("dtype, tolerance", [(torch.bfloat16, 0.1), (torch.float16, 0.02)])
def test_sixteen_bits_stay_close_to_fp32(dtype, tolerance):
    tokens = tiny_tokens()
    exact, rough = tiny_model()(tokens), tiny_model().to(dtype)(tokens)
    assert rough.dtype == dtype
    assert (rough.float() - exact).norm() / exact.norm() < tolerance


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("config", [GROUPED, GRID["plain"]], ids=["grouped", "plain"])
def test_fused_attention_on_a_gpu_equals_the_cpu(config):
    tokens = tiny_tokens()
    near(tiny_model(config).cuda()(tokens.cuda()).cpu(), tiny_model(config)(tokens), 1e-3)


@pytest.mark.parametrize("config", [*GRID.values(), *FAMILIES.values()], ids=[*GRID, *FAMILIES])
@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.bfloat16, 0.03)])
def test_transformers_computes_the_same(peer_of, config, dtype, tolerance):
    model, tokens = tiny_model(config).to(dtype), tiny_tokens()
    with torch.no_grad():
        ours, theirs = model(tokens).float(), peer_of(model)(tokens).logits.float()
    assert (ours - theirs).norm() / theirs.norm() < tolerance


@pytest.mark.parametrize("name", GRID)
def test_joined_layers_give_the_same_from_the_same_memory(name):
    model, tokens = tiny_model(GRID[name]), tiny_tokens()
    weights = {key: p.clone() for key, p in model.named_parameters()}
    with torch.no_grad():
        before = model(tokens)
        near(join(model)(tokens), before)
        assert all(torch.equal(p, weights[key]) for key, p in model.named_parameters())
        attn, mlp = model.model.layers[0].self_attn, model.model.layers[0].mlp
        for layer in (attn.q_proj, attn.v_proj, mlp.up_proj):
            before = model(tokens)
            layer.weight.mul_(0.5)
            assert not torch.allclose(model(tokens), before)


def test_layers_that_are_not_plain_are_left_apart():
    model, tokens = lora.add_lora(tiny_model(), 4, 12, targets=("q_proj",)).eval(), tiny_tokens()
    with torch.no_grad():
        model.model.layers[0].self_attn.q_proj.lora_B.normal_()
        before = model(tokens)
        near(join(model)(tokens), before)
    attn = model.model.layers[0].self_attn
    assert "qkv" not in vars(attn) and "gate_up" in vars(model.model.layers[0].mlp)
