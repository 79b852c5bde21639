"""Model folders for the tests, as Hugging Face and Meta lay them out. Nothing here is a test.

Meta's names and cuts are stated once more here, apart from goat/files/meta.py.
"""

import json
import re

import pytest
import torch
from safetensors.torch import load_file, save_file

from goat.errors import UserError
from goat.files.checkpoint import load_model
from support.tiny import tiny_config


def weights_of(model):
    return {name: w.detach().clone() for name, w in model.state_dict().items()}


def same(model, other):
    a, b = model.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[n], b[n]) and a[n].dtype == b[n].dtype
                                        for n in a)


def refusal(folder, **options):
    """The message with which `load_model` refuses; one line, and never another kind of error."""
    with pytest.raises(UserError) as error:
        load_model(folder, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def edit_config(folder, remove=(), name="config.json", **changes):
    content = json.loads((folder / name).read_text()) | changes
    (folder / name).write_text(json.dumps({k: v for k, v in content.items() if k not in remove}))


def rewrite(folder, change, name="model.safetensors"):
    """Let `change` edit the dictionary of tensors in a file."""
    file = folder / name
    tensors = {name: tensor.clone() for name, tensor in load_file(file).items()}
    change(tensors)
    save_file(tensors, file)


def split(folder, suffix, parts=3):
    """Turn model.safetensors into `parts` shards and their index."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    stem = {"safetensors": "model", "bin": "pytorch_model"}[suffix]
    weight_map = {}
    for part in range(parts):
        name = f"{stem}-{part + 1:05d}-of-{parts:05d}.{suffix}"
        own = dict(list(tensors.items())[part::parts])
        save_file(own, folder / name) if suffix == "safetensors" else torch.save(own, folder / name)
        weight_map |= dict.fromkeys(own, name)
    index = folder / f"{stem}.{suffix}.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}))
    return index


# HF name within a block -> (Meta name, dimension in which Meta cuts it; None: each shard has it)
META = {"self_attn.q_proj": ("attention.wq", 0), "self_attn.k_proj": ("attention.wk", 0),
        "self_attn.v_proj": ("attention.wv", 0), "self_attn.o_proj": ("attention.wo", 1),
        "mlp.gate_proj": ("feed_forward.w1", 0), "mlp.down_proj": ("feed_forward.w2", 1),
        "mlp.up_proj": ("feed_forward.w3", 0), "input_layernorm": ("attention_norm", None),
        "post_attention_layernorm": ("ffn_norm", None), "embed_tokens": ("tok_embeddings", 1),
        "norm": ("norm", None), "lm_head": ("output", 0)}
# Square matrices: q, o (32 x 32), so that a join along the wrong dimension fits.
META_CONFIG = tiny_config(hidden_dim=96, n_layers=2, max_positions=4096)


def meta_folder(path, weights, shards=1, embedding_dim=1, **params):
    """Write weights with HF names, whose q and k rows are in Meta's order, as Meta would."""
    path.mkdir()
    for shard in range(shards):
        tensors = {"rope.freqs": torch.ones(4)}
        for name, tensor in weights.items():
            stem = name.removesuffix(".weight").removeprefix("model.")
            place, own = re.fullmatch(r"(layers\.\d+\.|)(.+)", stem).groups()
            meta, dim = META[own]
            dim = embedding_dim if meta == "tok_embeddings" else dim
            part = tensor if dim is None else tensor.chunk(shards, dim)[shard].clone()
            tensors[f"{place}{meta}.weight"] = part
        torch.save(tensors, path / f"consolidated.{shard:02d}.pth")
    content = {"dim": 32, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "multiple_of": 32,
               "norm_eps": 1e-5, "vocab_size": -1} | params
    (path / "params.json").write_text(json.dumps(content))
    return path
