"""Meta's folders: rotation, shards and names; and the memory that loading any format takes.

The rotation is checked over 16 positions against tests/support/reference.py, which turns
neighbouring rows as Meta does. Run: python -m pytest tests/files/test_meta.py
"""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from goat.files.checkpoint import load_model, save_model
from goat.files.meta import mlp_width
from goat.llama.int8 import to_int8
from goat.llama.model import LlamaConfig
from support import reference
from support.folders import META_CONFIG, meta_folder, refusal, same, split, weights_of
from support.tiny import tiny_model, tiny_tokens


@pytest.mark.parametrize("shards", [1, 2])
@pytest.mark.parametrize("changes, positions", [
    ({}, 4096), (dict(n_kv_heads=4, rope_theta=300.0, norm_eps=1e-6), 2048)],
    ids=["grouped, LLaMA-2", "plain, LLaMA-1"])
def test_meta_weights_compute_what_metas_rotation_says(tmp_path, shards, changes, positions):
    config = replace(META_CONFIG, **changes, max_positions=positions)
    weights = weights_of(tiny_model(config))
    path = meta_folder(tmp_path / "meta", weights, shards, **changes)
    model, tokens = load_model(path), tiny_tokens(1, 16)
    assert model.config == config
    want = reference.logits(weights, config, tokens[0], neighbours=True)  # 16 positions
    torch.testing.assert_close(model(tokens)[0].double(), want, rtol=1e-4, atol=1e-4)
    wrong = reference.logits(weights, config, tokens[0], neighbours=False)
    torch.testing.assert_close(wrong[0], want[0])  # position 0 cannot tell
    assert (wrong[1:] - want[1:]).abs().max() > 0.1
    save_model(model, tmp_path / "hf")
    assert same(load_model(tmp_path / "hf"), model)
    params = json.loads((path / "params.json").read_text())
    (path / "params.json").write_text(json.dumps({k: params[k] for k in params if "eps" not in k}))
    assert load_model(path).config.norm_eps == 1e-5  # as in Meta's code


def test_the_number_of_shards_and_the_cut_of_the_embedding_do_not_matter(tmp_path):
    weights = weights_of(tiny_model(META_CONFIG))
    single = load_model(meta_folder(tmp_path / "1", weights))
    for shards, embedding_dim in ((2, 1), (2, 0), (4, 1), (8, 0)):
        path = meta_folder(tmp_path / f"{shards}{embedding_dim}", weights, shards, embedding_dim)
        assert same(load_model(path), single)
    assert same(load_model(tmp_path / "21", int8=True), to_int8(single))


@pytest.mark.parametrize("dim, multiple, multiplier, width", [
    (4096, 256, 1.0, 11008), (5120, 256, 1.0, 13824), (6656, 256, 1.0, 17920),
    (8192, 256, 1.0, 22016), (8192, 4096, 1.3, 28672), (4096, 1024, 1.3, 14336),
])
def test_mlp_width_of_the_published_models(dim, multiple, multiplier, width):
    assert mlp_width(dim, multiple, multiplier) == width


def test_meta_folders_that_do_not_fit_are_refused(tmp_path):
    weights = weights_of(tiny_model(META_CONFIG))

    def broken(change, shards=2, **params):
        path = tmp_path / f"meta{len(list(tmp_path.iterdir()))}"
        meta_folder(path, weights, shards, **params)
        change(path)
        return refusal(path)

    def edit(path, shard, name, function):
        file = path / f"consolidated.{shard:02d}.pth"
        tensors = torch.load(file)
        tensors[name] = function(tensors[name])
        torch.save({n: t for n, t in tensors.items() if t is not None}, file)

    def nothing(path):
        pass

    assert "consolidated.00.pth is missing" in broken(
        lambda p: (p / "consolidated.00.pth").unlink())
    assert "shape" in broken(lambda p: (p / "consolidated.01.pth").unlink())
    assert "consolidated.NN.pth missing?" in broken(
        lambda p: (p / "consolidated.01.pth").unlink(), vocab_size=64)
    assert "different values" in broken(lambda p: edit(p, 1, "norm.weight", lambda t: t + 1))
    assert "cannot be joined" in broken(
        lambda p: edit(p, 1, "layers.0.attention.wq.weight", lambda t: t[:, :20]))
    assert "1 missing: output.weight" in broken(
        lambda p: edit(p, 1, "output.weight", lambda t: None))
    assert "no output.weight" in broken(
        lambda p: edit(p, 0, "output.weight", lambda t: None), shards=1)
    assert "use_scaled_rope" in broken(nothing, use_scaled_rope=True)
    assert "do not divide" in broken(nothing, n_heads=3)
    assert "n_layers" in broken(nothing, n_layers=None)
    assert "ffn_dim_multiplier must be a positive float" in broken(
        nothing, ffn_dim_multiplier="1.3")
    assert "18 missing" in broken(nothing, n_layers=4)
    assert "params.json: no such file" in broken(lambda p: (p / "params.json").unlink())
    for name in ("consolidated.00.pth", "consolidated.01.pth", "params.json"):
        for share in (0, 0.5, 0.99):
            def cut(path, name=name, share=share):
                content = (path / name).read_bytes()
                (path / name).write_bytes(content[: int(share * len(content))])
            assert name in broken(cut)


MEASURE = """
import sys, threading, torch
import goat.files.checkpoint as checkpoint
def anonymous():
    line = next(line for line in open("/proc/self/status") if line.startswith("RssAnon"))
    return int(line.split()[1]) << 10  # of KiB
def watch():
    global peak
    while not done.wait(0.0005):
        peak = max(peak, anonymous())
for form, folder in zip(sys.argv[1::2], sys.argv[2::2]):
    peak, done, before = 0, threading.Event(), anonymous()
    watcher = threading.Thread(target=watch)
    watcher.start()
    model = checkpoint.load_model(folder, int8=form == "int8")
    done.set(), watcher.join()
    print(peak - before, sum(t.numel() * t.element_size() for t in model.state_dict().values()))
    del model
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")
def test_loading_needs_the_finished_model_and_one_tensor(tmp_path):
    config = LlamaConfig(vocab_size=16384, dim=512, hidden_dim=1536, n_layers=4, n_heads=8,
                         n_kv_heads=8, head_dim=64)
    model = tiny_model(config).bfloat16()  # 61 MB, the largest tensor 17 MB
    folders = {form: tmp_path / form for form in ("hf", "bin", "meta", "int8")}
    for form in ("hf", "bin", "int8"):
        save_model(model, folders[form])
    split(folders["bin"], "bin")
    meta_folder(folders["meta"], weights_of(model), 2, dim=512, n_layers=4, n_heads=8,
                n_kv_heads=8, multiple_of=512)
    arguments = [str(word) for pair in folders.items() for word in pair]
    # Without this setting the C library keeps freed tensors of this size for itself.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}
    result = subprocess.run([sys.executable, "-c", MEASURE, *arguments], env=environment,
                            capture_output=True, text=True, check=True)
    for form, line in zip(folders, result.stdout.splitlines(), strict=True):
        peak, finished = map(int, line.split())
        assert finished / 2 < peak < finished + 16384 * 512 * 2 + (4 << 20), form
