"""Llama 3, Mistral and Qwen 2 beside transformers and peft: read, written, adapted, in 8 bits.

The models are random and small; alpha is never the rank. Their GGUF files are in test_gguf.py,
their formulas in tests/llama/test_model.py. Run: python -m pytest tests/files/test_families.py
"""

import json

import pytest
import torch

from goat.errors import UserError
from goat.files.adapter import load_adapter, save_adapter
from goat.files.checkpoint import load_model, save_model
from goat.llama.generate import generate
from goat.llama.int8 import Int8Linear, to_int8
from goat.llama.joined import join
from goat.llama.lora import add_lora, merge
from support.adapters import learnt
from support.families import FAMILIES
from support.folders import edit_config, refusal, same
from support.tiny import tiny_model, tiny_tokens
from support.words import Letters, by_full_forward

each_family = pytest.mark.parametrize("family", FAMILIES)
STRETCHED = {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0,
             "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}


def adapted(model):
    """The model with an adapter on every layer that has learnt something."""
    targets = ("q_proj", "k_proj", "v_proj", "down_proj")
    return learnt(add_lora(model, 4, 12, targets=targets).eval(), 0.2)


def near(ours, theirs, tolerance=1e-4):
    with torch.no_grad():
        a, b = (x(tiny_tokens()) for x in (ours, theirs))
    b = getattr(b, "logits", b)
    assert (a - b).norm() / b.norm() < tolerance


def peer_at(folder):
    import transformers
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


@each_family
def test_a_folder_is_read_back(tmp_path, family):
    model = tiny_model(FAMILIES[family])
    save_model(model, tmp_path)
    back = load_model(tmp_path)
    assert same(back, model) and back.config == model.config
    names = json.loads((tmp_path / "config.json").read_text())["architectures"]
    assert names == [{"mistral": "MistralForCausalLM", "qwen 2": "Qwen2ForCausalLM"}.get(
        family, "LlamaForCausalLM")]


@pytest.mark.parametrize("kind, more", [
    ("Llama", dict(rope_theta=100.0)),
    ("Llama", dict(rope_parameters=STRETCHED | {"rope_theta": 5e5}, head_dim=12)),
    ("Llama", dict(rope_parameters=STRETCHED | {"rope_theta": 5e5}, tie_word_embeddings=True)),
    ("Mistral", dict(sliding_window=None, head_dim=16)),
    ("Mistral", dict(sliding_window=32)),
    ("Qwen2", dict(tie_word_embeddings=True)), ("Qwen2", dict())], ids=str)
def test_we_read_what_transformers_writes(tmp_path, kind, more):
    transformers = pytest.importorskip("transformers")
    config = getattr(transformers, f"{kind}Config")(**dict(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, initializer_range=0.3,
        max_position_embeddings=64) | more)
    peer = getattr(transformers, f"{kind}ForCausalLM")(config).eval()
    for name, p in peer.named_parameters():
        if name.endswith("bias"):
            p.data.normal_()
    theta = (more | more.get("rope_parameters", {})).get("rope_theta", 10_000)
    for size, one in (("10GB", True), ("20KB", False)):  # in one file, in several
        peer.save_pretrained(tmp_path / size, max_shard_size=size)
        assert (tmp_path / size / "model.safetensors").exists() == one
        model = load_model(tmp_path / size)
        near(model, peer)
        assert model.config.qkv_bias == (kind == "Qwen2")
        assert model.config.max_positions == (more.get("sliding_window") or 64)
        assert model.config.rope_theta == theta


@each_family
def test_adapters_travel_both_ways(tmp_path, family):
    peft = pytest.importorskip("peft")
    pytest.importorskip("transformers")
    model = tiny_model(FAMILIES[family])
    save_model(model, tmp_path / "base")
    save_adapter(adapted(model), tmp_path / "ours", "base")
    peer = peft.PeftModel.from_pretrained(peer_at(tmp_path / "base"), tmp_path / "ours")
    near(model, peer)
    peer.save_pretrained(tmp_path / "theirs")
    back = load_adapter(load_model(tmp_path / "base"), tmp_path / "theirs")
    near(back, peer)
    near(merge(model), peer.merge_and_unload())
    save_model(model, tmp_path / "merged")
    near(model, peer_at(tmp_path / "merged"))


@each_family
def test_8_bits_with_an_adapter_and_its_merge(family):
    model = adapted(to_int8(tiny_model(FAMILIES[family])))
    exact = adapted(tiny_model(FAMILIES[family]))
    near(model, exact, 0.06)
    layer = model.model.layers[0].self_attn.q_proj
    assert isinstance(layer.base, Int8Linear)
    assert (layer.base.bias is None) == (family != "qwen 2")
    before = model(tiny_tokens())  # with gradients: without, so few tokens are rounded otherwise
    torch.testing.assert_close(merge(model)(tiny_tokens()), before, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(join(model)(tiny_tokens()), before, rtol=1e-3, atol=1e-3)


@each_family
@pytest.mark.parametrize("int8", [False, True])
def test_decoding_equals_the_whole_pass(family, int8):
    """The cache, joined layers, guesses: greedy tokens as from whole rows."""
    model = tiny_model(FAMILIES[family])
    model = to_int8(model) if int8 else join(model)
    prompts, letters = ["abc", "hgfedcb", "q"], Letters(64)
    answers = generate(model, letters, prompts, max_new_tokens=12, batch_size=2)
    assert answers == [by_full_forward(model, letters, prompt, 12) for prompt in prompts]


def test_all_weights_learn_biases_too():
    model = tiny_model(FAMILIES["qwen 2"]).train()
    model(tiny_tokens()).square().mean().backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())


def test_windows_and_missing_settings(tmp_path):
    """A window shorter than the context bounds the rows; classes with other defaults must say
    what they are."""
    save_model(tiny_model(FAMILIES["mistral"]), tmp_path)
    edit_config(tmp_path, sliding_window=8, max_position_embeddings=64)
    model = load_model(tmp_path)
    assert (model.config.max_positions, model.config.sliding_window) == (8, 8)
    with pytest.raises(UserError, match="row of 9 tokens, .* looks back at most 8"):
        model(tiny_tokens(1, 9))
    edit_config(tmp_path, sliding_window=None)
    assert load_model(tmp_path).config.sliding_window is None
    edit_config(tmp_path, remove=["sliding_window"])  # the class's own default is 4096
    assert load_model(tmp_path).config.sliding_window == 4096
    edit_config(tmp_path, remove=["num_key_value_heads"])
    assert "num_key_value_heads must be" in refusal(tmp_path)
