"""Models on disk: read Hugging Face and Meta folders, write Hugging Face ones.

A model is built on the meta device (shapes without memory) and filled tensor by tensor, rounding
to 8 bits on the way if asked, so that the host needs room for the finished model and one tensor.
Every name, shape and setting is checked: a file that does not fit is refused with the reason, and
nothing is ever loaded in part. Meta's own files are the business of meta.py, LoRA adapters that of
adapter.py; their functions can be imported from here.

Fold an adapter into its base:
`python -m goat.files.checkpoint merge --base DIR --adapter DIR --out DIR`
"""

from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from goat.cli import parser_for, run
from goat.errors import UserError
from goat.files.adapter import load_adapter, save_adapter
from goat.files.atomic import refuse_full, write_bytes
from goat.files.meta import open_meta
from goat.files.tensors import (Readers, checked, is_finite, open_tensors, positive, read_json,
                                same_names, write_json, write_tensors)
from goat.llama.int8 import Int8Linear, to_int8
from goat.llama.lora import LoRALinear, merge
from goat.llama.model import Llama, LlamaConfig
from goat.llama.tokenizer import TOKENIZER, Tokenizer

__all__ = ["EMBEDDED", "check_tokenizer", "load_adapted", "load_adapter", "load_model",
           "read_config", "save_adapter", "save_model"]

EMBEDDED = Path(__file__).parents[1] / "base"  # the model that comes with the project
# In this order of preference; an index names the files of a sharded model.
HF_FILES = ("model.safetensors", "model.safetensors.index.json",
            "pytorch_model.bin", "pytorch_model.bin.index.json")
COPIED = (TOKENIZER, "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
          "generation_config.json")  # what a merged model takes from its base
# Older files, or their index alone, hold this table of each block, which follows from the config.
IMPLIED = "rotary_emb.inv_freq"
HEAD, EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"


def load_model(path: str | Path, *, dtype: torch.dtype | None = None,
               device: str | torch.device = "cpu", int8: bool = False) -> Llama:
    """The model in a Hugging Face or Meta folder, in eval mode.

    `dtype` None keeps the stored one; `int8` rounds the linear layers of the blocks to 8 bits
    while they are read. Raises UserError with the reason for anything that does not fit.
    """
    config, readers = open_model(Path(path))
    model = blank_model(config)
    shapes = {name: tuple(p.shape) for name, p in model.state_dict().items()}
    spare_head = None
    if config.tie_embeddings:
        shapes.pop(HEAD)
        spare_head = readers.pop(HEAD, None)
    same_names(readers, shapes, str(path), "config.json or params.json against the files")
    if spare_head and not torch.equal(spare_head(), readers[EMBEDDING]()):
        raise UserError(f"{path}: tie_word_embeddings is true, but {HEAD} differs from "
                        f"{EMBEDDING}: set it to false")
    if int8:
        to_int8(model)
    for name, shape in shapes.items():
        tensor = checked(readers.pop(name)(), f"{path}: {name}", shape)
        dtype = dtype or tensor.dtype  # the first tensor is the embedding
        module = model.get_submodule(name.removesuffix(".weight"))
        if isinstance(module, Int8Linear):
            try:
                module.store(tensor.to(device))
            except UserError as error:
                raise UserError(f"{name}: {error}")
        else:  # a copy: the tensor may be a view of its file
            module.weight = nn.Parameter(tensor.to(device=device, dtype=dtype, copy=True))
    if config.tie_embeddings:
        model.lm_head.weight = model.model.embed_tokens.weight
    return model.eval()


class NoInit(TorchFunctionMode):
    """Skip the random initial weights: on the meta device they are none, but cost 2 s of imports
    (torch runs its compiler's Python version of `normal_` there)."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in (nn.init.normal_, nn.init.kaiming_uniform_):
            return kwargs["tensor"]
        return func(*args, **kwargs)


def load_adapted(base: str | Path, adapter: str | Path | None = None, **options) -> Llama:
    """The model of `load_model(base, **options)`, with the adapter on it if there is one.

    Raises UserError when the adapter does not fit the base, naming both.
    """
    model = load_model(base, **options)
    if adapter is None:
        return model
    try:
        return load_adapter(model, adapter)
    except UserError as error:
        raise UserError(f"cannot put the adapter {adapter} on the base {base}: {error}")


def blank_model(config: LlamaConfig) -> Llama:
    """The model on the meta device: every name, shape and layer, and no memory at all."""
    with torch.device("meta"), NoInit():
        return Llama(config)


def open_model(folder: Path) -> tuple[LlamaConfig, Readers]:
    """The configuration of a model folder and a reader for each tensor, under its HF name."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    for name in HF_FILES:
        if (folder / name).is_file():
            config = hf_config(folder / "config.json")
            return config, (sharded if name.endswith(".json") else weights)(folder / name)
    if any(folder.glob("consolidated.*.pth")):
        return open_meta(folder)
    if (folder / "adapter_config.json").is_file():
        raise UserError(f"{folder}: this is a LoRA adapter, no model: give it as --adapter, and "
                        "the model that it was trained on as --base")
    shards = sorted(f.name for f in [*folder.glob("*.safetensors"), *folder.glob("*.bin")])
    found = f"; {', '.join(shards[:3])} cannot be read without their index" if shards else ""
    raise UserError(f"{folder}: no *.safetensors (model.safetensors or shards with their index), "
                    f"pytorch_model*.bin or consolidated.*.pth here{found}")


def read_config(path: str | Path) -> LlamaConfig:
    """The dimensions of the model in a folder; an HF folder needs no weights for that."""
    folder = Path(path)
    if (folder / "config.json").is_file():
        return hf_config(folder / "config.json")
    return open_model(folder)[0]


def check_tokenizer(config: LlamaConfig, tokenizer) -> None:
    """Refuse a tokenizer with more pieces than the model has embedding rows; note ids that differ.

    Early conversions came with wrong bos and eos ids in `config.json`, so the tokenizer's count.
    """
    if tokenizer.vocab_size > config.vocab_size:
        raise UserError(f"{tokenizer.path}: {tokenizer.vocab_size} pieces, but the model embeds "
                        f"only {config.vocab_size}: it belongs to another model")
    ours, theirs = (tokenizer.bos_id, tokenizer.eos_id), (config.bos_id, config.eos_id)
    if ours != theirs:
        print(f"note: bos and eos are {ours} in {tokenizer.path}, {theirs} in config.json; "
              "the tokenizer's are used")


def weights(file: Path) -> Readers:
    """The readers of a file's tensors, without what is implied."""
    return {name: read for name, read in open_tensors(file).items() if not name.endswith(IMPLIED)}


def sharded(index: Path) -> Readers:
    """The readers of all files that an index names; each must hold what the index says."""
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise UserError(f"{index}: no weight_map (tensor name -> file name)")
    readers: Readers = {}
    for shard in sorted(set(map(str, weight_map.values()))):
        file = index.parent / shard
        if Path(shard).name != shard or not file.is_file():
            raise UserError(f"{index} names {shard}, which is not in the folder: copy it there")
        have = weights(file)
        same_names(have, [name for name, where in weight_map.items()
                          if where == shard and not name.endswith(IMPLIED)],
                   str(file), f"against {index.name}")
        readers |= have
    return readers


def hf_config(file: Path) -> LlamaConfig:
    """Read a `config.json`. Missing keys take the defaults of transformers' LlamaConfig.

    Raises UserError for everything that this project's model does not compute.
    """
    raw = read_json(file)
    number = partial(positive, raw, file)

    def refuse(condition: bool, what: str):
        if condition:
            raise UserError(f"{file}: {what} is not supported: only plain LLaMA models are")

    names = raw.get("architectures") or ["LlamaForCausalLM"]  # LLaMAFor… in early conversions
    refuse(str(names[0]).lower() != "llamaforcausallm", f"architecture {names[0]}")
    refuse(raw.get("model_type", "llama") != "llama", f"model_type {raw.get('model_type')!r}")
    refuse(raw.get("hidden_act", "silu") != "silu", f"hidden_act {raw.get('hidden_act')!r}")
    for key in ("attention_bias", "mlp_bias", "quantization_config"):
        refuse(bool(raw.get(key)), f"{key} {raw.get(key)!r}")
    heads, dim = number("num_attention_heads", 32), number("hidden_size", 4096)
    kv_heads = number("num_key_value_heads", heads)
    refuse(heads % kv_heads != 0, f"{heads} heads with {kv_heads} key/value heads (no multiple)")
    refuse(raw.get("head_dim") is None and dim % heads != 0, f"{heads} heads in {dim} dimensions")
    head_dim = number("head_dim", dim // heads)
    refuse(head_dim % 2 != 0, f"an odd head_dim ({head_dim})")
    bos, eos = (found[0] if isinstance(found, list) and found else found
                for found in (raw.get("bos_token_id", 1), raw.get("eos_token_id", 2)))
    return LlamaConfig(
        vocab_size=number("vocab_size", 32000), dim=dim,
        hidden_dim=number("intermediate_size", 11008), n_layers=number("num_hidden_layers", 32),
        n_heads=heads, n_kv_heads=kv_heads, head_dim=head_dim,
        norm_eps=number("rms_norm_eps", 1e-6, float), rope_theta=rope_theta(raw, file),
        max_positions=number("max_position_embeddings", raw.get("max_sequence_length") or 2048),
        tie_embeddings=bool(raw.get("tie_word_embeddings")), bos_id=bos, eos_id=eos)


def rope_theta(raw: dict, file: Path) -> float:
    """The base of the rotary angles, at top level (older) or in `rope_parameters` (newer).

    Any stretched variant (linear, dynamic, yarn, llama3 …) is refused in both spellings.
    """
    thetas = {positive(raw, file, "rope_theta", kind=float)} if raw.get("rope_theta") else set()
    for key in ("rope_scaling", "rope_parameters"):
        rope = raw.get(key) or {}
        kind = rope.get("rope_type", rope.get("type")) if isinstance(rope, dict) else rope
        plain = kind == "default" or (kind is None and not set(rope) - {"rope_theta"})
        if not plain or rope.get("partial_rotary_factor", 1) != 1:
            raise UserError(f"{file}: {key} {rope!r} is not supported: only rope_type default is "
                            "(Llama 3.1 and later use others)")
        if rope.get("rope_theta"):
            thetas.add(positive(rope, file, "rope_theta", kind=float))
    if len(thetas) > 1:
        raise UserError(f"{file}: rope_theta differs from the one in rope_parameters: {thetas}")
    return thetas.pop() if thetas else 10000.0


def save_model(model: Llama, path: str | Path, tokenizer: Tokenizer | None = None) -> None:
    """Write the model as a Hugging Face folder that transformers loads: config and one file, and
    the tokenizer's file if one is given.

    8-bit layers are written out in the model's 16 or 32 bits (what they stand for, not what they
    were rounded from). Raises UserError while an adapter is not merged, and for a weight that is
    not finite.
    """
    config, folder = model.config, Path(path)
    dtype = model.model.embed_tokens.weight.dtype
    names = list(blank_model(config).state_dict())
    if config.tie_embeddings:
        names.remove(HEAD)
    tensors = {}
    for name in names:
        module = model.get_submodule(name.removesuffix(".weight"))
        if isinstance(module, LoRALinear):
            raise UserError("the adapter is not merged: call merge(model) before save_model, or "
                            "save_adapter to keep it apart")
        weight = (module.dequantised() if isinstance(module, Int8Linear)
                  else model.get_parameter(name).detach())
        tensors[name] = weight.to(dtype)
        if not is_finite(tensors[name]):
            raise UserError(f"{name} is NaN or infinite in some place, so the model is not saved: "
                            "lower the learning rate, or use bf16 or fp32 instead of fp16")
    write_tensors(tensors, folder / HF_FILES[0])
    write_json({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama",
        "vocab_size": config.vocab_size, "hidden_size": config.dim,
        "intermediate_size": config.hidden_dim, "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads, "num_key_value_heads": config.n_kv_heads,
        "head_dim": config.head_dim, "hidden_act": "silu", "rms_norm_eps": config.norm_eps,
        "rope_theta": config.rope_theta, "max_position_embeddings": config.max_positions,
        "tie_word_embeddings": config.tie_embeddings, "attention_bias": False, "mlp_bias": False,
        "bos_token_id": config.bos_id, "eos_token_id": config.eos_id,
        "torch_dtype": str(dtype).removeprefix("torch."),
    }, folder / "config.json")
    if tokenizer:
        write_bytes(folder / TOKENIZER, tokenizer.path.read_bytes())


def main(argv: list[str] | None = None) -> None:
    parser = parser_for("python -m goat.files.checkpoint", __doc__)
    merging = parser.add_subparsers(dest="command", required=True).add_parser(
        "merge", help="fold a LoRA adapter into its base model")
    merging.add_argument("--base", required=True, help="folder of the base model (HF or Meta)")
    merging.add_argument("--adapter", required=True, help="PEFT folder of the adapter")
    merging.add_argument("--out", required=True, help="new folder for the merged model")
    args = parser.parse_args(argv)
    base, out = Path(args.base), Path(args.out)
    refuse_full(out)
    model = load_adapter(load_model(base), args.adapter)
    merge(model)
    save_model(model, out)
    for name in COPIED:
        if (base / name).is_file():
            write_bytes(out / name, (base / name).read_bytes())
    print(f"{out}: {args.adapter} merged into {base}")


if __name__ == "__main__":
    run(main)
