"""goat/files/adapter.py: PEFT folders out and in, and everything in them that must be refused.

alpha is never the rank here, so that a forgotten scaling shows. With peft installed, adapters
travel both ways and the logits must agree. Run: python -m pytest tests/files/test_adapter.py
"""

import contextlib
import json
import math
from functools import partial

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from goat.errors import UserError
from goat.files import adapter
from goat.files.adapter import load_adapter, save_adapter
from goat.files.checkpoint import save_model
from goat.llama.int8 import to_int8
from goat.llama.lora import ALL_TARGETS, add_lora, linear_layers, lora_layers, merge
from support import folders
from support.adapters import learnt
from support.tiny import GROUPED, tiny_config, tiny_model, tiny_tokens

edit = partial(folders.edit_config, name="adapter_config.json")
rewrite = partial(folders.rewrite, name="adapter_model.safetensors")
Q0 = "base_model.model.model.layers.0.self_attn.q_proj"


def trained(rank=4, alpha=12.0, targets=("q_proj", "v_proj"), model=None, scaling=None):
    """A model whose LoRA matrices are all random."""
    model = learnt(add_lora(model or tiny_model(), rank, alpha, 0.05, targets), 0.2)
    for layer in lora_layers(model).values():
        layer.scaling = scaling or layer.scaling
    return model


@pytest.fixture
def folder(tmp_path):
    save_adapter(trained(), tmp_path / "adapter", "some/base")
    return tmp_path / "adapter"


def refusal(folder, model=None):
    model = model or tiny_model()
    before = [name for name, _ in model.named_modules()]
    with pytest.raises(UserError) as error:
        load_adapter(model, folder)
    assert [name for name, _ in model.named_modules()] == before  # nothing is wrapped in part
    assert "\n" not in str(error.value)
    return str(error.value)


# ---- writing -------------------------------------------------------------------------------------

def test_names_shapes_and_config_are_pefts_to_the_byte(folder):
    tensors = load_file(folder / "adapter_model.safetensors")
    names = [f"base_model.model.model.layers.{i}.self_attn.{t}_proj.lora_{side}.weight"
             for i in (0, 1) for t in "qv" for side in "AB"]
    assert sorted(tensors) == sorted(names)
    assert all(t.dtype == torch.float32 for t in tensors.values())
    assert tensors[f"{Q0}.lora_A.weight"].shape == (4, 32)
    assert tensors[names[-1]].shape == (16, 4)  # of v_proj in block 1
    assert json.loads((folder / "adapter_config.json").read_text()) == {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": "some/base",
        "r": 4, "lora_alpha": 12.0, "lora_dropout": 0.05, "use_rslora": False,
        "target_modules": ["q_proj", "v_proj"], "bias": "none", "fan_in_fan_out": False,
        "init_lora_weights": True, "modules_to_save": None, "inference_mode": True}


@pytest.mark.parametrize("int8", [False, True], ids=["float", "int8"])
@pytest.mark.parametrize("targets", [("o_proj",), ALL_TARGETS, ALL_TARGETS + ("lm_head",)])
def test_what_is_saved_comes_back(tmp_path, targets, int8):
    bare = to_int8(tiny_model()) if int8 else tiny_model()
    again = to_int8(tiny_model()) if int8 else tiny_model()
    model = trained(targets=targets, model=bare)
    save_adapter(model, tmp_path, "base")
    loaded = load_adapter(again, tmp_path)
    assert torch.equal(loaded(tiny_tokens()), model(tiny_tokens()))
    assert {name for name, p in loaded.named_parameters() if p.requires_grad} \
        == {f"{layer}.lora_{side}" for layer in lora_layers(model) for side in "AB"}
    layer = next(iter(lora_layers(loaded).values()))
    assert (layer.rank, layer.alpha, layer.dropout, layer.scaling) == (4, 12.0, 0.05, 3.0)
    assert not layer.training


def test_rank_stabilised_scaling_travels(tmp_path):
    model = trained(scaling=12 / math.sqrt(4))
    save_adapter(model, tmp_path, "base")
    assert json.loads((tmp_path / "adapter_config.json").read_text())["use_rslora"] is True
    loaded = load_adapter(tiny_model(), tmp_path)
    assert torch.equal(loaded(tiny_tokens()), model(tiny_tokens()))


@pytest.mark.parametrize("block", [0, 1])
def test_an_adapter_of_some_blocks_keeps_to_them(folder, tmp_path, block):
    edit(folder, layers_to_transform=block)
    rewrite(folder, lambda t: [t.pop(name) for name in list(t) if f".layers.{block}." not in name])
    model = load_adapter(tiny_model(), folder)
    assert len(lora_layers(model)) == 2
    save_adapter(model, tmp_path / "again", "base")
    targets = json.loads((tmp_path / "again" / "adapter_config.json").read_text())["target_modules"]
    assert targets == [f"model.layers.{block}.self_attn.{name}_proj" for name in "qv"]
    again = load_adapter(tiny_model(), tmp_path / "again")
    assert torch.equal(again(tiny_tokens()), model(tiny_tokens()))


def test_useless_or_broken_adapters_are_not_written(tmp_path):
    with pytest.raises(UserError, match="every lora_B is zero"):
        save_adapter(add_lora(tiny_model(), 4), tmp_path / "a", "base")
    with pytest.raises(UserError, match="no LoRA layers"):
        save_adapter(tiny_model(), tmp_path / "a", "base")
    broken = trained()
    next(iter(lora_layers(broken).values())).lora_A.data[0, 0] = float("nan")
    with pytest.raises(UserError, match="q_proj is NaN or infinite"):
        save_adapter(broken, tmp_path / "a", "base")
    mixed = trained()
    next(iter(lora_layers(mixed).values())).scaling = 0.5
    with pytest.raises(UserError, match="scaling"):
        save_adapter(mixed, tmp_path / "a", "base")
    assert not (tmp_path / "a").exists()


def test_a_file_that_reads_back_differently_is_noticed(tmp_path, monkeypatch):
    def faulty(tensors, file):
        save_file({name: t.nextafter(t + 1) for name, t in tensors.items()}, file)
    monkeypatch.setattr("goat.files.adapter.write_tensors", faulty)
    with pytest.raises(OSError, match="reads back differently"):
        save_adapter(trained(), tmp_path, "base")


# ---- reading -------------------------------------------------------------------------------------

def test_the_published_goat_adapters_form_is_read(folder):
    """A .bin, no use_rslora or init_lora_weights, fp16, keys of an old peft."""
    file = folder / "adapter_model.safetensors"
    halves = {name: t.half() for name, t in load_file(file).items()}
    torch.save(halves, folder / "adapter_model.bin")
    file.unlink()
    edit(folder, ("use_rslora", "init_lora_weights"), enable_lora=None, merge_weights=False,
         corda_config={"corda_method": "ipm"})  # without effect where init_lora_weights is true
    want, model = trained()(tiny_tokens()), load_adapter(tiny_model(), folder)
    torch.testing.assert_close(model(tiny_tokens()), want, rtol=0.02, atol=0.02)
    assert all(p.dtype == torch.float32 for p in model.parameters())


@pytest.mark.parametrize("targets", [
    ["self_attn.q_proj", "v_proj"], r".*\.self_attn\.[qv]_proj", r".*\.(q|v)_proj",
    [f"model.layers.{i}.self_attn.{t}_proj" for i in (0, 1) for t in "qv"]])
def test_targets_may_be_suffixes_full_names_or_a_regular_expression(folder, targets):
    edit(folder, target_modules=targets)
    assert torch.equal(load_adapter(tiny_model(), folder)(tiny_tokens()), trained()(tiny_tokens()))


def test_excluded_modules_are_left_out(folder):
    edit(folder, target_modules=["q_proj", "v_proj", "o_proj", "up_proj"],
         exclude_modules=["o_proj", "mlp.up_proj"])
    assert torch.equal(load_adapter(tiny_model(), folder)(tiny_tokens()), trained()(tiny_tokens()))


@pytest.mark.parametrize("changes, part", [
    (dict(use_dora=True), "use_dora"), (dict(use_a_new_lora=True), "use_a_new_lora"),
    (dict(rank_pattern={"q_proj": 8}), "rank_pattern"),
    (dict(alpha_pattern={"q_proj": 8}), "alpha_pattern"), (dict(bias="all"), "bias"),
    (dict(modules_to_save=["lm_head"]), "modules_to_save"),
    (dict(fan_in_fan_out=True), "fan_in_fan_out"), (dict(peft_type="IA3"), "peft_type"),
    (dict(init_lora_weights="pissa"), "init_lora_weights"), (dict(lora_bias=True), "lora_bias"),
    (dict(target_parameters=["w"]), "target_parameters"), (dict(r=8), "shape (4, 32) in the file"),
    (dict(r=0), "r must be a positive"), (dict(r="4"), "r must be"), (dict(lora_alpha=None),
                                                                     "lora_alpha must be"),
    (dict(lora_dropout=1.5), "lora_dropout"), (dict(target_modules=[]), "target_modules"),
    (dict(target_modules=[3]), "target_modules"), (dict(target_modules=""), "regular expression"),
    (dict(target_modules=["q_proj", "query"]), "query is no linear layer of this model, which has"),
    (dict(target_modules=["proj"]), "proj is no linear layer"),
    (dict(target_modules=["q_proj"]), "4 unexpected: base_model.model.model.layers.0.self_attn.v"),
    (dict(target_modules=["q_proj", "v_proj", "o_proj"]), "4 missing"),
    (dict(target_modules=5), "target_modules must be")])
def test_settings_outside_plain_lora_are_refused_by_name(folder, changes, part):
    edit(folder, **changes)
    assert part in refusal(folder)


@pytest.mark.parametrize("change, part", [
    (lambda t: t.clear(), "the adapter is empty"),
    (lambda t: [x.zero_() for name, x in t.items() if "lora_B" in name], "every lora_B is zero"),
    (lambda t: t.pop(f"{Q0}.lora_B.weight"), f"1 missing: {Q0}.lora_B.weight"),
    (lambda t: t.update({f"{Q0}.lora_B.weight": torch.ones(4, 32)}), "shape (4, 32) in the file"),
    (lambda t: t.update({f"{Q0}.lora_A.weight": torch.ones(4, 32).int()}), "torch.int32"),
    (lambda t: t.update({f"{Q0}.lora_A.weight": torch.full((4, 32), math.inf)}), "NaN or infinite"),
    (lambda t: t.update({"base_model.model.lm_head.lora_A.weight": torch.ones(4, 32)}), "lm_head"),
])
def test_tensors_that_do_not_fit_are_refused(folder, change, part):
    rewrite(folder, change)
    assert part in refusal(folder)


def test_what_an_expression_chose_must_be_there_too(folder):
    edit(folder, target_modules=".*")
    load_adapter(tiny_model(), folder)
    rewrite(folder, lambda t: t.update({f"{Q0.replace('layers.0', 'layers.9')}.lora_A.weight": 0 *
                                        t[f"{Q0}.lora_A.weight"]}))
    assert "model.layers.9.self_attn.q_proj is no linear layer" in refusal(folder)
    rewrite(folder, lambda t: t.update({"lora_A": torch.ones(1)}))
    assert "no linear layer" in refusal(folder)


def test_other_folders_and_models_are_refused(folder, tmp_path):
    assert "adapter_config.json: no such file" in refusal(tmp_path)
    assert "shape (32, 4) in the file, (64, 4)" in refusal(folder, tiny_model(tiny_config(
        head_dim=16, n_kv_heads=1)))
    assert "missing" in refusal(folder, tiny_model(tiny_config(n_layers=3)))
    with pytest.raises(UserError, match="carries an adapter already"):
        load_adapter(trained(), folder)
    edit(folder, ("lora_alpha",))
    assert "lora_alpha must be a positive" in refusal(folder)
    rewrite(folder, lambda t: t.update({f"{Q0}.base_layer.weight": torch.ones(32, 32)}))
    edit(folder, lora_alpha=12)
    assert "other base weights for model.layers.0" in refusal(folder)
    tied = tiny_config(tie_embeddings=True)
    save_adapter(trained(targets=("lm_head",)), tmp_path / "head", "base")
    assert "shares its weight with the embedding" in refusal(tmp_path / "head", tiny_model(tied))


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_damaged_files_are_refused(folder, suffix):
    file = folder / "adapter_model.safetensors"
    if suffix == "bin":
        torch.save(load_file(file), folder / "adapter_model.bin")
        file.unlink()
        file = folder / "adapter_model.bin"
    for damaged in (file, folder / "adapter_config.json"):
        content = damaged.read_bytes()
        for length in (0, 9, len(content) // 2):
            damaged.write_bytes(content[:length])
            assert str(damaged) in refusal(folder)
        damaged.write_bytes(content)
    file.unlink()
    assert "neither adapter_model.safetensors nor adapter_model.bin" in refusal(folder)


def test_loading_draws_nothing_from_the_global_generator(folder):
    model = tiny_model()
    state = torch.random.get_rng_state()
    load_adapter(model, folder)
    assert torch.equal(state, torch.random.get_rng_state())


# ---- peft ----------------------------------------------------------------------------------------

@pytest.fixture
def peft():
    pytest.importorskip("transformers")
    return pytest.importorskip("peft")


def peer_model(tmp_path, config=GROUPED, dtype=torch.float32):
    """transformers' model with the tiny model's weights."""
    import transformers
    save_model(tiny_model(config).to(dtype), tmp_path / "base")
    return transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "base", dtype=dtype).eval()


def near(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("rslora", [False, True], ids=["plain", "rslora"])
@pytest.mark.parametrize("targets", [("q_proj", "k_proj", "v_proj", "o_proj"), ALL_TARGETS])
@pytest.mark.parametrize("config, dtype, tolerance", [
    (GROUPED, torch.float32, 1e-5), (tiny_config(n_kv_heads=1, head_dim=16), torch.float32, 1e-5),
    (tiny_config(tie_embeddings=True), torch.bfloat16, 0.08),
    (tiny_config(n_kv_heads=4, rope_theta=100.0), torch.float16, 0.01)],
    ids=["grouped", "one key head", "tied, bf16", "plain, fp16"])
def test_peft_computes_what_we_save(peft, tmp_path, targets, rslora, config, dtype, tolerance):
    model = trained(targets=targets, scaling=12 / math.sqrt(4) if rslora else None,
                    model=tiny_model(config).to(dtype))
    save_adapter(model, tmp_path / "adapter", tmp_path / "base")
    peer = peft.PeftModel.from_pretrained(peer_model(tmp_path, config, dtype), tmp_path / "adapter")
    with torch.no_grad():
        apart, peers = model(tiny_tokens()), peer(tiny_tokens()).logits
        merged, mixed = merge(model)(tiny_tokens()), peer.merge_and_unload()(tiny_tokens()).logits
    for ours, theirs in ((apart, peers), (merged, mixed)):
        assert (ours.float() - theirs.float()).norm() / theirs.float().norm() < tolerance


@pytest.mark.parametrize("options", [
    dict(), dict(use_rslora=True), dict(target_modules=list(ALL_TARGETS)),
    dict(target_modules="all-linear"), dict(target_modules=r".*layers\.1.*\.(up|gate)_proj"),
    dict(layers_to_transform=[1]), dict(exclude_modules=["layers.0.self_attn.v_proj"]),
    dict(layers_to_transform=1, layers_pattern="lay..s"), dict(exclude_modules=".*1.*"),
    dict(target_modules=["lm_head", "k_proj"]), dict(init_lora_weights="gaussian"),
], ids=str)
@pytest.mark.parametrize("old_file", [False, True], ids=["safetensors", "bin"])
def test_we_compute_what_peft_saves(peft, tmp_path, options, old_file):
    config = peft.LoraConfig(**dict(r=4, lora_alpha=12, lora_dropout=0.05, task_type="CAUSAL_LM",
                                    target_modules=["q_proj", "v_proj"]) | options)
    peer = peft.get_peft_model(peer_model(tmp_path), config).eval()
    generator = torch.Generator().manual_seed(3)
    for name, p in peer.named_parameters():
        if "lora_B" in name:
            p.data = 0.2 * torch.randn(p.shape, generator=generator)
    peer.save_pretrained(tmp_path / "adapter", safe_serialization=not old_file)
    if old_file and not (tmp_path / "adapter" / "adapter_model.bin").exists():
        tensors = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
        torch.save(tensors, tmp_path / "adapter" / "adapter_model.bin")
        (tmp_path / "adapter" / "adapter_model.safetensors").unlink()
    model = load_adapter(tiny_model(), tmp_path / "adapter")
    with torch.no_grad():
        near(model(tiny_tokens()), peer(tiny_tokens()).logits)
        assert (model(tiny_tokens()) - tiny_model()(tiny_tokens())).abs().max() > 0.01


@pytest.mark.parametrize("targets", [
    ["q_proj"], ["self_attn.q_proj", "lm_head"], ["model.layers.0.mlp.up_proj", "k_proj"], ["proj"],
    ["eq_proj"]], ids=str)
def test_a_list_names_the_layers_that_peft_adapts(peft, targets):
    """Where peft finds none, we refuse, and nowhere else."""
    from peft.tuners.tuners_utils import check_target_module_exists
    model, ours = tiny_model(), []
    config = peft.LoraConfig(r=2, target_modules=targets)
    theirs = [name for name in linear_layers(model) if check_target_module_exists(config, name)]
    with contextlib.suppress(UserError):
        ours = adapter.named(model, targets)
    assert ours == sorted(theirs) and bool(ours) == (targets not in (["proj"], ["eq_proj"]))


def test_the_mean_of_adapters(tmp_path, folder, capsys):
    """Each number is the weighted mean; settings stay; what is written loads."""
    model = trained()
    for layer in lora_layers(model).values():
        layer.lora_A.data += 0.5
        layer.lora_B.data *= 3
    save_adapter(model, tmp_path / "b", "some/base")
    adapter.main(["average", str(folder), str(tmp_path / "b"), str(tmp_path / "b"),
                  "--out", str(tmp_path / "mean")])
    assert "the mean of" in capsys.readouterr().out
    a, b, mean = (load_file(path / "adapter_model.safetensors")
                  for path in (folder, tmp_path / "b", tmp_path / "mean"))
    assert a.keys() == mean.keys()
    for name in a:
        torch.testing.assert_close(mean[name], (a[name] + 2 * b[name]) / 3)
    assert json.loads((tmp_path / "mean" / "adapter_config.json").read_text()) == json.loads(
        (folder / "adapter_config.json").read_text())
    load_adapter(tiny_model(), tmp_path / "mean")
    adapter.main(["average", str(tmp_path / "mean"), "--dtype", "bf16",
                  "--out", str(tmp_path / "half")])
    for name, half in load_file(tmp_path / "half" / "adapter_model.safetensors").items():
        assert torch.equal(half, mean[name].bfloat16()) and half.dtype == torch.bfloat16
    load_adapter(tiny_model(), tmp_path / "half")


@pytest.mark.parametrize("scaling", [3.0, 6.0], ids=["plain", "rslora"])
@pytest.mark.parametrize("rank", [1, 3, 4])
def test_an_adapter_cut_to_a_rank(tmp_path, rank, scaling):
    """Each layer's change is the nearest one of that rank, by numpy's decomposition of the whole
    product, and at the full rank the same one."""
    save_adapter(trained(targets=ALL_TARGETS, scaling=scaling), tmp_path / "a", "some/base")
    adapter.main(["average", str(tmp_path / "a"), "--rank", str(rank),
                  "--out", str(tmp_path / "cut")])
    config = json.loads((tmp_path / "cut" / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["use_rslora"]) == (rank, rank, False)
    whole, cut = (lora_layers(load_adapter(tiny_model(), tmp_path / name)) for name in ("a", "cut"))
    assert whole.keys() == cut.keys()
    for name, layer in whole.items():
        change, short = (one.delta().detach().double().numpy() for one in (layer, cut[name]))
        u, values, v = np.linalg.svd(change, full_matrices=False)
        nearest = u[:, :rank] * values[:rank] @ v[:rank]
        np.testing.assert_allclose(short, nearest, atol=1e-5)


def test_what_cannot_be_cut(tmp_path, folder):
    for rank, said in ((0, "must be 1 or more"), (5, "or a layer's width is 4")):
        with pytest.raises(UserError, match=f"--rank {rank}.*{said}"):
            adapter.main(["average", str(folder), "--rank", str(rank),
                          "--out", str(tmp_path / "cut")])
    edit(folder, r=3)
    with pytest.raises(UserError, match="not hold matrices A and B of the rank 3"):
        adapter.average([folder], tmp_path / "cut", rank=2)
    edit(folder, r=4)
    rewrite(folder, lambda tensors: tensors.pop(f"{Q0}.lora_B.weight"))
    with pytest.raises(UserError, match="not hold matrices A and B"):
        adapter.average([folder], tmp_path / "cut", rank=2)
    assert not (tmp_path / "cut").exists()


def test_the_mean_of_value_heads(tmp_path, folder):
    """A setting that is absent in one file and false, 0 or empty in the other is the same one."""
    save_adapter(trained(), tmp_path / "b", "some/base")
    edit(tmp_path / "b", use_rslora=None, exclude_modules="", lora_dropout=None)
    edit(folder, lora_dropout=0.0)
    head = {"value_head.weight": torch.ones(1, 32), "value_head.bias": torch.zeros(1)}
    save_file(head, folder / "value_head.safetensors")
    with pytest.raises(UserError, match="not every adapter has a value head"):
        adapter.average([tmp_path / "b", folder], tmp_path / "mean")
    save_file({name: 3 * t + 1 for name, t in head.items()}, tmp_path / "b/value_head.safetensors")
    adapter.average([tmp_path / "b", folder], tmp_path / "mean")
    mean = load_file(tmp_path / "mean" / "value_head.safetensors")
    assert mean["value_head.weight"].eq(2.5).all() and mean["value_head.bias"].item() == 0.5


@pytest.mark.parametrize("other, said", [
    (dict(rank=8), "r is 8, but 4"), (dict(alpha=6.0), "lora_alpha is 6.0, but 12"),
    (dict(targets=("q_proj",)), "target_modules is"),
    (dict(model=tiny_model(tiny_config(dim=64, n_heads=4))), "shape")])
def test_adapters_that_have_no_mean(tmp_path, folder, other, said):
    save_adapter(trained(**other), tmp_path / "other", "some/base")
    with pytest.raises(UserError, match=said):
        adapter.average([folder, tmp_path / "other"], tmp_path / "mean")
    assert not (tmp_path / "mean").exists()
    with pytest.raises(UserError, match="neither adapter_model"):
        (tmp_path / "other" / "adapter_model.safetensors").unlink()
        adapter.average([tmp_path / "other"], tmp_path / "mean")
    with pytest.raises(UserError, match="the folder is not empty"):
        adapter.average([folder], folder)
