"""LLaMA's tensors and settings in GGUF's words, in both directions.

llama.cpp rotates neighbouring rows (2j, 2j + 1) of a head where the architecture is called `llama`
(Mistral and SmolLM are), as Meta does, and rows (j, j + D/2), as Hugging Face does, where it is
called `qwen2`. So the rows of q and k are rearranged by the name of the architecture, never by
their shape: a model with the wrong order still writes text, only worse.

The stretched positions of Llama 3 are written as the divisors of the angles, `rope_freqs.weight`;
they are read back into the four numbers that they were made of. Sources: llama.cpp,
gguf-py/gguf/{constants,tensor_mapping}.py and conversion/llama.py.
"""

import re
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from goat.errors import UserError
from goat.files.gguf import GGUF, Put, write_gguf
from goat.files.gguf_types import NAMED, to_q8_0
from goat.files.meta import half_split, turned
from goat.files.tensors import Readers, positive, unsupported
from goat.llama.attention import RopeScaling
from goat.llama.model import LlamaConfig

NEIGHBOURS = {"llama": True, "qwen2": False}  # architecture -> which rows turn together
HF_NAMES = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
IN_BLOCK = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
            "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
            "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
            "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}
DIVISORS = "rope_freqs.weight"
# What a file may be written as: a flag's word -> (type of the matrices, general.file_type)
OUT_TYPES = {"f32": ("F32", 0), "f16": ("F16", 1), "bf16": ("BF16", 32), "q8_0": ("Q8_0", 7)}
OF_DTYPE = {torch.float32: "f32", torch.float16: "f16", torch.bfloat16: "bf16"}


def open_gguf(path: Path) -> tuple[LlamaConfig, Readers]:
    """The configuration in a GGUF file and a reader for each tensor, under its HF name and with
    HF's order of rows.

    Raises UserError for a file that is damaged, and for what this project's model does not compute.
    """
    file = GGUF(path)
    config, pairs = gguf_config(file), NEIGHBOURS[file.metadata["general.architecture"]]
    readers: Readers = {}
    for name in file.tensors:
        if name == DIVISORS:
            continue
        hf_name = name_in_hf(name)
        heads = turned(hf_name, config) if pairs else None
        readers[hf_name] = partial(read_tensor, file, name, heads)
    return config, readers


def few_bits(path: Path) -> bool:
    """Whether a model is a GGUF file that stores some of its numbers in blocks of few bits."""
    return path.is_file() and any(place.type.entries > 1 for place in GGUF(path).tensors.values())


def name_in_hf(name: str) -> str:
    """ "blk.0.attn_q.weight" -> "model.layers.0.self_attn.q_proj.weight"; others as they are."""
    stem, _, last = name.rpartition(".")
    block = re.fullmatch(r"blk\.(\d+)\.(\w+)", stem)
    if block and block[2] in IN_BLOCK:
        return f"model.layers.{int(block[1])}.{IN_BLOCK[block[2]]}.{last}"
    return f"{HF_NAMES.get(stem, stem)}.{last}"


def name_in_gguf(name: str) -> str:
    stem, _, last = name.rpartition(".")
    if block := re.fullmatch(r"model\.layers\.(\d+)\.(.+)", stem):
        own = {hf: own for own, hf in IN_BLOCK.items()}[block[2]]
        return f"blk.{block[1]}.{own}.{last}"
    return {hf: own for own, hf in HF_NAMES.items()}[stem] + f".{last}"


def read_tensor(file: GGUF, name: str, heads: int | None) -> Tensor:
    with warnings.catch_warnings():  # torch warns of memory that it may not write to; nobody does
        warnings.simplefilter("ignore")
        tensor = torch.from_numpy(file.read(name))
    if file.tensors[name].type.name == "BF16":
        tensor = tensor.view(torch.bfloat16)
    return half_split(tensor, heads)


def gguf_config(file: GGUF) -> LlamaConfig:
    """The settings of a file's model. Raises UserError for one that is not plain."""
    path, refuse = file.path, partial(unsupported, file.path)
    kind, parts = file.get("general.architecture", str), file.get("split.count", int, 1)
    refuse(kind not in NEIGHBOURS, f"general.architecture {kind!r:.60}")
    refuse(parts > 1, f"a model in {parts} files (join them by llama-gguf-split --merge)")
    number = partial(positive, {key.removeprefix(f"{kind}."): value
                                for key, value in file.metadata.items()
                                if key.startswith(f"{kind}.")}, path)
    experts = file.get(f"{kind}.expert_count", int)
    scaling = file.get(f"{kind}.rope.scaling.type", str, "none")
    refuse(experts, f"expert_count {experts} (a mixture of experts)")
    refuse(scaling != "none", f"rope.scaling.type {scaling!r:.60}")
    refuse(file.get(f"{kind}.rope.scale_linear", float, 1.0) != 1, "rope.scale_linear")
    embedding = file.tensors.get("token_embd.weight")
    if embedding is None:
        raise UserError(f"{path}: token_embd.weight is missing: not a LLaMA")
    dim, heads = number("embedding_length"), number("attention.head_count")
    kv_heads = number("attention.head_count_kv", heads)
    head_dim = number("attention.key_length", dim // heads or 1)
    refuse(heads % kv_heads, f"{heads} heads with {kv_heads} key/value heads (no multiple)")
    refuse(head_dim % 2, f"an odd head_dim ({head_dim})")
    for key in ("attention.value_length", "rope.dimension_count"):
        refuse(number(key, head_dim) != head_dim,
               f"{kind}.{key} {number(key, head_dim)} with heads of {head_dim}")
    blocks, hidden = number("block_count"), number("feed_forward_length")
    vocab_size = number("vocab_size", embedding.shape[0])
    for name, shape in (("token_embd", (vocab_size, dim)), ("blk.0.ffn_up", (hidden, dim)),
                        ("blk.0.attn_q", (heads * head_dim, dim)),
                        ("blk.0.attn_k", (kv_heads * head_dim, dim)),
                        (f"blk.{blocks - 1}.attn_norm", (dim,))):
        found = file.tensors.get(f"{name}.weight")
        if found is None or found.shape != shape:  # before a model of such a size is made
            raise UserError(f"{path}: {name}.weight has the shape {found and found.shape}, "
                            f"{shape} by the {kind}.… keys: the file is damaged")
    theta = number("rope.freq_base", 10000.0, float)
    positions = number("context_length")
    window = file.get(f"{kind}.attention.sliding_window", int) and \
        number("attention.sliding_window")
    return LlamaConfig(
        vocab_size=vocab_size, dim=dim, hidden_dim=hidden, n_layers=blocks, n_heads=heads,
        n_kv_heads=kv_heads, head_dim=head_dim,
        norm_eps=number("attention.layer_norm_rms_epsilon", kind=float), rope_theta=theta,
        rope_scaling=read_scaling(file, theta, head_dim),
        max_positions=min(positions, window or positions),
        sliding_window=window or None,
        tie_embeddings="output.weight" not in file.tensors, qkv_bias=kind == "qwen2",
        bos_id=file.get("tokenizer.ggml.bos_token_id", int, 1),
        eos_id=file.get("tokenizer.ggml.eos_token_id", int, 2))


def read_scaling(file: GGUF, theta: float, head_dim: int) -> RopeScaling | None:
    """The rule that the divisors of a file follow: the slowest pair is divided by the factor, and
    all models published so far share the other numbers."""
    if DIVISORS not in file.tensors:
        return None
    divisors = read_tensor(file, DIVISORS, None).float()
    scaling = RopeScaling(factor=float(divisors.max()))
    expected = scaling.divisors(theta, head_dim)
    if divisors.shape != expected.shape or not torch.allclose(divisors, expected, rtol=1e-3):
        raise UserError(f"{file.path}: {DIVISORS} does not hold the numbers of Llama 3, and no "
                        "others are supported")
    return scaling


# ---- writing -------------------------------------------------------------------------------------

def save_gguf(path: Path, config: LlamaConfig, tensors: dict[str, Tensor], out_type: str,
              vocabulary: dict[str, Any]) -> None:
    """Write a model as one GGUF file. `tensors` by their HF names; matrices are stored as
    `out_type` says (Q8_0 where their rows are whole blocks of 32, else F16), vectors in fp32.
    `vocabulary` holds the keys that describe the tokenizer."""
    kind = "qwen2" if config.qkv_bias else "llama"
    stored, file_type = OUT_TYPES[out_type]
    metadata = {
        "general.architecture": kind, "general.name": path.stem, "general.file_type": file_type,
        "general.quantization_version": 2,
        **{f"{kind}.{key}": value for key, value in {
            "block_count": config.n_layers, "context_length": config.max_positions,
            "embedding_length": config.dim, "feed_forward_length": config.hidden_dim,
            "vocab_size": config.vocab_size, "attention.head_count": config.n_heads,
            "attention.head_count_kv": config.n_kv_heads,
            "attention.layer_norm_rms_epsilon": float(config.norm_eps),
            "attention.key_length": config.head_dim, "attention.value_length": config.head_dim,
            "rope.freq_base": float(config.rope_theta), "rope.dimension_count": config.head_dim,
        }.items()}, **vocabulary}
    if config.sliding_window:
        metadata[f"{kind}.attention.sliding_window"] = config.sliding_window
    if config.rope_scaling:
        tensors = tensors | {DIVISORS: config.rope_scaling.divisors(config.rope_theta,
                                                                    config.head_dim)}
    puts = []
    for name, tensor in tensors.items():
        as_type = NAMED["F32" if tensor.dim() == 1 else stored]
        if tensor.size(-1) % as_type.entries:
            as_type = NAMED["F16"]
        heads = turned(name, config) if NEIGHBOURS[kind] else None
        puts.append(Put(name if name == DIVISORS else name_in_gguf(name), as_type,
                        tuple(tensor.shape), partial(bytes_of, tensor, heads, as_type.name)))
    write_gguf(path, metadata, puts)


def bytes_of(tensor: Tensor, heads: int | None, as_type: str) -> bytes:
    tensor = half_split(tensor.detach().cpu(), heads, back=True).contiguous()
    if as_type == "BF16":
        return tensor.bfloat16().view(torch.int16).numpy().tobytes()
    numbers = tensor.float().numpy()
    if as_type == "Q8_0":
        return to_q8_0(numbers)
    if as_type == "F32":
        return numbers.tobytes()
    if np.abs(numbers).max() > np.finfo(np.float16).max:
        raise UserError("a weight is too large for F16, which ends at 65504: write bf16")
    return numbers.astype(np.float16).tobytes()
