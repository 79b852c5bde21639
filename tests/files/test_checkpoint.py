"""Hugging Face folders in and out: every spelling read, everything else refused by name.

Damaged files are in tests/files/test_damaged_files.py, Meta's format in tests/files/test_meta.py;
that transformers reads what we write is in tests/llama/test_model.py.
Run: python -m pytest tests/files/test_checkpoint.py
"""

import re
import subprocess
import sys
import types

import pytest
import torch
from safetensors.torch import load_file

from goat.errors import UserError
from goat.files.adapter import save_adapter
from goat.files.checkpoint import load_model, main, read_config, save_model, tokenizer_of
from goat.llama.int8 import Int8Linear, to_int8
from goat.llama.lora import add_lora, lora_layers, merge
from goat.llama.model import LlamaConfig
from support.adapters import learnt
from support.folders import edit_config, refusal, rewrite, same, weights_of
from support.tiny import GROUPED, tiny_config, tiny_model, tiny_tokens


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_a_saved_model_comes_back_bit_for_bit(tmp_path, dtype, tied):
    config = tiny_config(tie_embeddings=tied, rope_theta=777.0, norm_eps=1e-6, bos_id=3, eos_id=4)
    model = tiny_model(config).to(dtype)
    save_model(model, tmp_path)
    loaded = load_model(tmp_path)
    assert read_config(tmp_path) == config == loaded.config
    assert same(loaded, model) and not loaded.training
    assert (loaded.lm_head.weight is loaded.model.embed_tokens.weight) == tied
    assert ("lm_head.weight" in load_file(tmp_path / "model.safetensors")) == (not tied)
    assert {f.name for f in tmp_path.iterdir()} == {"config.json", "model.safetensors"}


def test_dtype_is_converted_on_request_and_int8_rounds_the_stored_weights(folder):
    assert same(load_model(folder, dtype=torch.bfloat16), tiny_model().bfloat16())
    rough = load_model(folder, dtype=torch.bfloat16, int8=True)
    want = to_int8(tiny_model()).bfloat16()  # rounded from fp32, as stored
    assert same(rough, want)
    assert sum(isinstance(m, Int8Linear) for m in rough.modules()) == 14
    assert torch.equal(rough(tiny_tokens()), want(tiny_tokens()))


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])
def test_pickled_files_are_read(folder, zipped):
    tensors = load_file(folder / "model.safetensors")
    tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(4)  # older files hold it
    tensors["model.norm.weight"] = torch.nn.Parameter(tensors["model.norm.weight"])
    torch.save(tensors, folder / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
    (folder / "model.safetensors").unlink()
    model = load_model(folder)
    assert same(model, tiny_model()) and all(p.is_leaf for p in model.parameters())


def test_code_in_a_pickle_is_not_run(folder, tmp_path):
    class Attack:
        def __reduce__(self):
            return (open, (str(tmp_path / "was here"), "w"))
    torch.save({"model.norm.weight": Attack()}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    assert "more than plain tensors" in refusal(folder)
    assert not (tmp_path / "was here").exists()


def test_a_loaded_model_does_not_hang_on_its_file(folder):
    model = load_model(folder)
    before = weights_of(model)
    with open(folder / "model.safetensors", "r+b") as file:
        file.seek(4000)
        file.write(bytes(1000))
    assert all(torch.equal(before[name], w) for name, w in model.state_dict().items())


@pytest.mark.parametrize("changes, remove, expected", [
    (dict(rope_theta=500.0), (), dict(rope_theta=500.0)),
    (dict(rope_parameters={"rope_theta": 500.0, "rope_type": "default"}), ("rope_theta",),
     dict(rope_theta=500.0)),
    (dict(rope_parameters={"rope_theta": 500.0}, rope_theta=500.0), (), dict(rope_theta=500.0)),
    ({}, ("rope_theta",), dict(rope_theta=10000.0)),
    (dict(rope_scaling=None), (), {}),
    (dict(rope_scaling={"type": "default"}), (), {}),
    (dict(rms_norm_eps=1), (), dict(norm_eps=1.0)),
    ({}, ("rms_norm_eps",), dict(norm_eps=1e-6)),
    (dict(head_dim=None), (), {}), ({}, ("head_dim",), {}),
    (dict(architectures=["LLaMAForCausalLM"], max_sequence_length=99),
     ("max_position_embeddings", "attention_bias", "mlp_bias"), dict(max_positions=99)),
    (dict(eos_token_id=[5, 6], bos_token_id=0), (), dict(eos_id=5, bos_id=0)),
])
def test_old_and_new_spellings_of_the_config(folder, changes, remove, expected):
    edit_config(folder, remove, **changes)
    assert read_config(folder) == tiny_config(**expected)


def test_the_config_is_read_without_weights(folder):
    (folder / "model.safetensors").unlink()
    assert read_config(folder) == GROUPED


def test_heads_default_to_as_many_key_heads_and_llama_7b_is_the_default(folder):
    edit_config(folder, num_key_value_heads=None)
    assert read_config(folder).n_kv_heads == 4
    (folder / "config.json").write_text("{}")
    assert read_config(folder) == LlamaConfig()


@pytest.mark.parametrize("changes, part", [
    (dict(rope_scaling={"type": "linear", "factor": 2.0}), "rope_scaling"),
    (dict(rope_scaling={"rope_type": "llama3", "factor": 8.0}), "low_freq_factor must be"),
    (dict(rope_scaling={"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 4.0,
                        "high_freq_factor": 4.0, "original_max_position_embeddings": 64}),
     "low_freq_factor must be below"),
    (dict(rope_scaling={"factor": 2.0}), "rope_scaling"),
    (dict(rope_scaling="linear"), "rope_scaling"), (dict(rope_scaling="default"), "rope_scaling"),
    (dict(rope_scaling="llama3"), "rope_scaling"), (dict(rope_theta="x"), "rope_theta must be"),
    (dict(rope_parameters={"rope_type": "yarn", "rope_theta": 1e4}), "rope_parameters"),
    (dict(rope_parameters={"rope_type": "default", "partial_rotary_factor": 0.5}), "partial"),
    (dict(rope_parameters={"rope_type": "default", "rope_theta": 5e5}), "differs"),
    (dict(attention_bias=True), "attention_bias"), (dict(mlp_bias=True), "mlp_bias"),
    (dict(hidden_act="gelu"), "hidden_act"), (dict(model_type="mistral"), "model_type"),
    (dict(architectures=["MixtralForCausalLM"]), "MixtralForCausalLM"),
    (dict(architectures={"a": 1}), "architectures {'a': 1}"),
    (dict(partial_rotary_factor=0.5), "partial_rotary_factor 0.5"),
    (dict(architectures=["Qwen2ForCausalLM"]), "model_type 'llama'"),
    (dict(architectures=["MistralForCausalLM"], model_type="mistral", hidden_size=None),
     "hidden_size must be"),
    (dict(num_key_value_heads=3), "key/value heads"), (dict(quantization_config={"bits": 4}),
                                                       "quantization_config"),
    (dict(head_dim=None, num_attention_heads=5, num_key_value_heads=5), "5 heads"),
    (dict(head_dim=7), "odd head_dim"), (dict(hidden_size="32"), "hidden_size"),
    (dict(num_hidden_layers=0), "num_hidden_layers"), (dict(rms_norm_eps=True), "rms_norm_eps"),
    (dict(tie_word_embeddings=True), "set it to false"),
    (dict(num_hidden_layers=1), "9 unexpected: model.layers.1"),
    (dict(num_hidden_layers=3), "9 missing: model.layers.2"),
    (dict(vocab_size=65), "shape (64, 32) in the file, (65, 32)"),
    (dict(intermediate_size=40), "shape (48, 32)"),
])
def test_configs_that_mean_another_model_are_refused_by_name(folder, changes, part):
    edit_config(folder, **changes)
    assert part in refusal(folder)


@pytest.mark.parametrize("change, part", [
    (lambda t: t.pop("model.norm.weight"), "1 missing: model.norm.weight"),
    (lambda t: t.pop("lm_head.weight"), "1 missing: lm_head.weight"),
    (lambda t: t.update({"model.layers.0.self_attn.q_proj.bias": torch.ones(32)}), "q_proj.bias"),
    (lambda t: t.update({"lm_head.weight": torch.ones(64, 31)}), "lm_head.weight: shape (64, 31)"),
    (lambda t: t.update({"lm_head.weight": torch.ones(64, 32, dtype=torch.int8)}), "torch.int8"),
    (lambda t: t.update({"lm_head.weight": torch.ones(64, 32).double()}), "torch.float64"),
    (lambda t: t.clear(), "21 missing: lm_head.weight, model.embed_tokens.weight"),
])
def test_tensors_that_do_not_fit_are_refused_by_name(folder, change, part):
    rewrite(folder, change)
    assert part in refusal(folder)


def add_trained_lora(model):
    return learnt(add_lora(model, 4, 12, targets=("q_proj",)))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["model.layers.1.mlp.up_proj.weight", "model.norm.weight"])
def test_a_number_that_is_not_finite_is_refused_by_name(tmp_path, folder, name, bad):
    save_adapter(add_trained_lora(tiny_model()), tmp_path / "adapter", folder)
    rewrite(folder, lambda t: t[name].view(-1)[5:6].fill_(bad))
    for int8 in (True, False):
        assert f"{folder}: {name} is NaN or infinite in some place" in refusal(folder, int8=int8)
    with pytest.raises(UserError, match=f"{name} is NaN or infinite in some place"):
        main(["merge", "--base", str(folder), "--adapter", str(tmp_path / "adapter"),
              "--out", str(tmp_path / "merged")])
    assert not (tmp_path / "merged").exists()


def test_a_model_that_is_not_finite_is_not_saved(tmp_path):
    """As where the sum of base and adapter is too large for the base's number format."""
    model = add_trained_lora(tiny_model().half())
    lora_layers(model)["model.layers.0.self_attn.q_proj"].lora_B.data *= 1e6
    with pytest.raises(UserError, match="layers.0.self_attn.q_proj.weight is NaN or infinite"):
        save_model(merge(model), tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_folders_without_a_model_say_what_is_looked_for(tmp_path, folder):
    assert "no such folder" in refusal(tmp_path / "nowhere")
    empty = tmp_path / "empty"
    empty.mkdir()
    for pattern in ("*.safetensors", "pytorch_model*.bin", "consolidated.*.pth", str(empty)):
        assert pattern in refusal(empty)
    (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    assert "without their index" in refusal(folder)
    (empty / "adapter_config.json").write_text("{}")
    assert "give it as --adapter" in refusal(empty)


def test_a_missing_or_broken_config_is_named(folder):
    (folder / "config.json").write_text('{"hidden_size": 32,')
    assert "config.json: not valid JSON" in refusal(folder)
    (folder / "config.json").write_text('{"a": ' + "[" * 200_000)
    assert "config.json: not valid JSON" in refusal(folder)
    (folder / "config.json").write_text("[1]")
    assert "a JSON object is expected" in refusal(folder)
    (folder / "config.json").write_text('{"rms_norm_eps": NaN}')
    assert "NaN is no number" in refusal(folder)
    (folder / "config.json").unlink()
    assert "config.json: no such file" in refusal(folder)


def test_an_unmerged_adapter_is_not_silently_dropped(tmp_path):
    model = add_lora(tiny_model(), 4)
    with pytest.raises(UserError, match="merge"):
        save_model(model, tmp_path)


def test_an_adapted_head_that_shares_its_weight_is_not_silently_dropped(tmp_path):
    model = add_lora(tiny_model(tiny_config(tie_embeddings=True)), 2, targets=("lm_head",))
    model.lm_head.lora_B.data.fill_(0.1)
    for place in ("folder", "a.gguf"):
        with pytest.raises(UserError, match=r"lm_head\.weight was adapted"):
            save_model(model, tmp_path / place)
    with pytest.raises(UserError, match=r"lm_head\.weight was adapted"):
        save_model(merge(model), tmp_path / "folder")
    model.config.tie_embeddings = False
    save_model(model, tmp_path / "folder")
    assert torch.equal(load_model(tmp_path / "folder").lm_head.weight, model.lm_head.weight)


def test_a_merged_int8_model_is_written_as_what_it_stands_for(tmp_path):
    model = merge(add_trained_lora(to_int8(tiny_model()).bfloat16()))
    save_model(model, tmp_path)
    loaded = load_model(tmp_path)
    assert torch.equal(loaded.model.layers[0].self_attn.q_proj.weight,
                       model.model.layers[0].self_attn.q_proj.weight)
    assert torch.equal(loaded.model.layers[1].mlp.up_proj.weight,
                       model.model.layers[1].mlp.up_proj.dequantised().bfloat16())


def test_merge_on_the_command_line(tmp_path, folder):
    model = learnt(add_lora(load_model(folder), 4, 12), 0.05)
    save_adapter(model, tmp_path / "adapter", folder)
    (folder / "tokenizer.model").write_bytes(b"pieces")
    arguments = ["merge", "--base", str(folder), "--adapter", str(tmp_path / "adapter"),
                 "--out", str(tmp_path / "merged")]
    main(arguments)
    merged, tokens = load_model(tmp_path / "merged"), tiny_tokens()
    torch.testing.assert_close(merged(tokens), model(tokens), rtol=1e-4, atol=1e-4)
    assert (merged(tokens) - load_model(folder)(tokens)).abs().max() > 0.1
    assert (tmp_path / "merged" / "tokenizer.model").read_bytes() == b"pieces"
    with pytest.raises(UserError, match="not empty"):
        main(arguments)
    (tmp_path / "merged.gguf").write_bytes(b"a base")
    with pytest.raises(UserError, match="merged.gguf: there is such a file"):
        main([*arguments[:-1], str(tmp_path / "merged.gguf")])
    failed = subprocess.run([sys.executable, "-m", "goat.files.checkpoint", *arguments],
                            capture_output=True, text=True)
    assert failed.returncode == 2 and failed.stderr.startswith("error: --out")


def test_tokenizers_of_another_model_are_refused_and_their_ids_win(capsys, monkeypatch):
    tokenizer = types.SimpleNamespace(path="t.model", vocab_size=64, bos_id=1, eos_id=2,
                                      groups_digits=False, piece=str)
    monkeypatch.setattr("goat.files.checkpoint.open_tokenizer", lambda base: tokenizer)
    assert tokenizer_of("base", GROUPED) is tokenizer
    assert capsys.readouterr().out == ""
    tokenizer_of("base", tiny_config(bos_id=0, eos_id=1))
    assert "(1, 2) in t.model, (0, 1) in the model's settings" in capsys.readouterr().out
    tokenizer.groups_digits, tokenizer.bos_id = True, None  # puts no bos, which is no difference
    tokenizer_of("base", GROUPED)
    assert re.fullmatch("note: .* several digits into one token.*\n", capsys.readouterr().out)
    tokenizer.vocab_size = 65
    with pytest.raises(UserError, match="65 pieces, but the model embeds only 64"):
        tokenizer_of("base", GROUPED)
