"""Meta's own model files: `params.json` and one or several `consolidated.NN.pth`.

Two things differ from the Hugging Face layout. A large model is cut into shards, each tensor
along a dimension that follows from its *name* (square matrices look the same cut either way). And
the rotary embedding turns neighbouring rows (2j, 2j + 1) of a head, where Hugging Face turns the
rows (j, j + D/2), so the rows of the query and key weights must be rearranged:

    HF row  h D + s D/2 + j    =    Meta row  h D + 2 j + s        (head h, pair j, side s = 0, 1)

Position 0 is not rotated at all, so a forgotten rearrangement shows only from position 1 on:
"first word fine, then nonsense".
"""

import re
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from goat.errors import UserError
from goat.files.tensors import Readers, open_tensors, positive, read_json, same_names
from goat.llama.kernels import round_up
from goat.llama.model import LlamaConfig

REPLICATED = None
# Meta name -> (HF name, dimension along which shards are joined)
TENSORS = {
    "tok_embeddings.weight": ("model.embed_tokens.weight", 1),
    "norm.weight": ("model.norm.weight", REPLICATED),
    "output.weight": ("lm_head.weight", 0),
}
LAYER = {
    "attention.wq.weight": ("self_attn.q_proj.weight", 0),
    "attention.wk.weight": ("self_attn.k_proj.weight", 0),
    "attention.wv.weight": ("self_attn.v_proj.weight", 0),
    "attention.wo.weight": ("self_attn.o_proj.weight", 1),
    "feed_forward.w1.weight": ("mlp.gate_proj.weight", 0),
    "feed_forward.w2.weight": ("mlp.down_proj.weight", 1),
    "feed_forward.w3.weight": ("mlp.up_proj.weight", 0),
    "attention_norm.weight": ("input_layernorm.weight", REPLICATED),
    "ffn_norm.weight": ("post_attention_layernorm.weight", REPLICATED),
}
PARAMS = {"dim", "n_layers", "n_heads", "n_kv_heads", "multiple_of", "norm_eps", "vocab_size",
          "ffn_dim_multiplier", "rope_theta", "max_seq_len", "max_batch_size"}


def open_meta(folder: Path) -> tuple[LlamaConfig, Readers]:
    """The configuration of a Meta folder and a reader for each tensor, under its HF name.

    Raises UserError when a shard is missing or does not fit the others, and for settings that
    this project's model does not compute.
    """
    files = sorted(folder.glob("consolidated.*.pth"))
    for number, file in enumerate(files):
        if file.name != f"consolidated.{number:02d}.pth":
            raise UserError(f"{folder}: consolidated.{number:02d}.pth is missing "
                            f"(the folder has {', '.join(f.name for f in files)})")
    shards = [{name: read for name, read in open_tensors(file).items() if name != "rope.freqs"}
              for file in files]
    for file, shard in zip(files[1:], shards[1:]):
        same_names(shard, shards[0], str(file), f"against {files[0].name}")
    if "output.weight" not in shards[0]:
        raise UserError(f"{files[0]}: no output.weight: not a LLaMA of Meta's")
    rows = sum(shard["output.weight"]().size(0) for shard in shards)
    config = meta_config(folder / "params.json", rows)

    readers: Readers = {}
    for name in shards[0]:
        block = re.fullmatch(r"(layers\.\d+\.)(.+)", name)
        start, own, table = (f"model.{block[1]}", block[2], LAYER) if block else ("", name, TENSORS)
        if own not in table:
            raise UserError(f"{files[0]}: unexpected tensor {name}: not a LLaMA of Meta's")
        hf_name, dim = table[own]
        if name == "tok_embeddings.weight" and shards[0][name]().size(0) < rows:
            dim = 0  # Llama 3 cuts the vocabulary, LLaMA-1 and -2 cut the width
        parts, heads = [shard[name] for shard in shards], turned(hf_name, config)
        readers[start + hf_name] = partial(assembled, folder / name, parts, dim, heads)
    return config, readers


def assembled(name: Path, parts: list, dim: int | None, heads: int | None) -> Tensor:
    """One tensor from its shards, joined along `dim` or the one that all of them hold, with
    rotated rows in HF's order."""
    tensors = [read() for read in parts]
    whole = tensors[0]
    if dim is REPLICATED:
        if not all(torch.equal(whole, other) for other in tensors[1:]):
            raise UserError(f"{name}: the shards hold different values, but should hold the same: "
                            "are they all of one model?")
    elif len(tensors) > 1:
        if len({(t.dim(), t.dtype, t.shape[1 - dim]) for t in tensors}) > 1:
            shapes = ", ".join(str(tuple(t.shape)) for t in tensors)
            raise UserError(f"{name}: shards of shapes {shapes} cannot be joined: are they all of "
                            "one model?")
        whole = torch.cat(tensors, dim)
    return half_split(whole, heads)


def turned(name: str, config: LlamaConfig) -> int | None:
    """The heads of a tensor whose rows turn in pairs, by its HF name; else None."""
    of = {"q_proj": config.n_heads, "k_proj": config.n_kv_heads}
    return of.get(name.split(".")[-2])


def half_split(weight: Tensor, heads: int | None, back: bool = False) -> Tensor:
    """Rows, or a bias's numbers, from Meta's order (pairs side by side) to HF's (halves), or back.
    `heads` None: not turned."""
    if heads is None or weight.size(0) % (2 * heads):
        return weight  # a wrong shape is reported by the caller, who knows the right one
    sides = (2, -1) if back else (-1, 2)  # of a head's rows as a table, which are read by columns
    return weight.view(heads, *sides, *weight.shape[1:]).transpose(1, 2).reshape(weight.shape)


def meta_config(file: Path, vocab_size: int) -> LlamaConfig:
    """Read `params.json`. `vocab_size` is the number of output rows, which the file may leave out
    (-1: "ask the tokenizer")."""
    raw = read_json(file)
    number = partial(positive, raw, file)
    unknown = sorted(key for key, value in raw.items() if key not in PARAMS and value)
    if unknown:
        raise UserError(f"{file}: {', '.join(unknown)}: not supported, only plain LLaMA models are")
    if raw.get("vocab_size", -1) not in (-1, vocab_size):
        raise UserError(f"{file}: vocab_size {raw['vocab_size']}, but output.weight has "
                        f"{vocab_size} rows: is a consolidated.NN.pth missing?")
    dim, heads = number("dim"), number("n_heads")
    kv_heads = number("n_kv_heads", heads)
    if dim % heads or (dim // heads) % 2 or heads % kv_heads:
        raise UserError(f"{file}: dim {dim}, n_heads {heads}, n_kv_heads {kv_heads} do not divide")
    norm_eps = number("norm_eps", 1e-5, float)
    return LlamaConfig(
        vocab_size=vocab_size, dim=dim, n_layers=number("n_layers"), n_heads=heads,
        hidden_dim=mlp_width(dim, number("multiple_of"), number("ffn_dim_multiplier", 1.0, float)),
        n_kv_heads=kv_heads, head_dim=dim // heads, norm_eps=norm_eps,
        rope_theta=number("rope_theta", 10000.0, float),
        # Meta's files do not tell; LLaMA-2, with twice as many, has another epsilon than most of 1
        max_positions=number("max_seq_len", 4096 if norm_eps == 1e-5 else 2048))


def mlp_width(dim: int, multiple_of: int, multiplier: float) -> int:
    """Meta's rule: 8/3 of dim, cut, times the multiplier, cut, rounded up to a multiple.

    4096 with multiple_of 256: 10922, then 11008 = 43 * 256.
    """
    return round_up(int(multiplier * int(8 * dim / 3)), multiple_of)
