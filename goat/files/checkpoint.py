"""Models on disk: read Hugging Face and Meta folders and GGUF files, write the first and the last.

A model is built on the meta device (shapes without memory) and filled tensor by tensor, rounding
to 8 bits on the way if asked, so that the host needs room for the finished model and one tensor.
Every name, shape and setting is checked: a file that does not fit is refused with the reason, and
nothing is ever loaded in part. Meta's own files are the business of meta.py, GGUF's of
gguf_llama.py, LoRA adapters that of adapter.py.

Fold an adapter into its base, for transformers, or for llama.cpp, Ollama and LM Studio:
`python -m goat.files.checkpoint merge --base DIR --adapter DIR --out DIR`
`python -m goat.files.checkpoint merge --base DIR --adapter DIR --out FILE.gguf --type q8_0`
"""

from pathlib import Path

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from goat.cli import parser_for, run
from goat.errors import UserError
from goat.files.adapter import CONFIG, load_adapter
from goat.files.atomic import check_place, refuse_full, write_bytes
from goat.files.bases import SMOLLM2, located
from goat.files.gguf_llama import OF_DTYPE, OUT_TYPES, few_bits, open_gguf, save_gguf
from goat.files.hf_config import config_json, hf_config
from goat.files.meta import open_meta
from goat.files.tensors import (Readers, checked, is_finite, open_tensors, read_json, same_names,
                                write_json, write_tensors)
from goat.files.tokenizer_json import BPE, CHAT, TOKENIZER_CONFIG
from goat.files.vocabulary import SENTENCEPIECE, gguf_keys, open_tokenizer, save_tokenizer
from goat.llama.bpe import PARTING
from goat.llama.int8 import Int8Linear, to_int8
from goat.llama.lora import LoRALinear, merge
from goat.llama.model import Llama, LlamaConfig
from goat.llama.tokenizer import GROUPED, Tokenizer

# In this order of preference; an index names the files of a sharded model.
HF_FILES = ("model.safetensors", "model.safetensors.index.json",
            "pytorch_model.bin", "pytorch_model.bin.index.json")
# what a merged model's folder takes from its base's
COPIED = (SENTENCEPIECE, BPE, TOKENIZER_CONFIG, CHAT, "added_tokens.json",
          "special_tokens_map.json", "generation_config.json")
# Older files, or their index alone, hold this table of each block, which follows from the config.
IMPLIED = "rotary_emb.inv_freq"
HEAD, EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"


def load_model(path: str | Path, *, dtype: torch.dtype | None = None,
               device: str | torch.device = "cpu", int8: bool = False) -> Llama:
    """The model in a Hugging Face or Meta folder or a GGUF file, or "smollm2"; in eval mode.

    `dtype` None keeps that of the stored embedding (fp32 where GGUF stores it in few bits); `int8`
    rounds the linear layers of the blocks to 8 bits while they are read. Raises UserError with the
    reason for anything that does not fit.
    """
    path = located(path)
    config, readers = open_model(path)
    model = blank_model(config)
    shapes = {name: tuple(p.shape) for name, p in model.state_dict().items()}
    spare_head = None
    if config.tie_embeddings:
        shapes.pop(HEAD)
        spare_head = readers.pop(HEAD, None)
    same_names(readers, shapes, str(path), "the model's settings against its files")
    if spare_head and not torch.equal(spare_head(), readers[EMBEDDING]()):
        raise UserError(f"{path}: tie_word_embeddings is true, but {HEAD} differs from "
                        f"{EMBEDDING}: set it to false")
    if int8:
        to_int8(model)
    for name, shape in shapes.items():
        tensor = checked(readers.pop(name)(), f"{path}: {name}", shape)
        dtype = dtype or tensor.dtype  # the first tensor is the embedding
        stem, _, kind = name.rpartition(".")
        module = model.get_submodule(stem)
        if isinstance(module, Int8Linear) and kind == "weight":
            module.store(tensor.to(device))
        else:  # a copy: the tensor may be a view of its file
            setattr(module, kind, nn.Parameter(tensor.to(device=device, dtype=dtype, copy=True)))
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
    """The configuration of a model folder or GGUF file, and a reader for each tensor, under its HF
    name."""
    if folder.is_file():
        if folder.suffix != ".gguf":
            raise UserError(f"{folder}: give the model's folder, or a file that ends in .gguf")
        return open_gguf(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder or file")
    for name in HF_FILES:
        if (folder / name).is_file():
            config = hf_config(folder / "config.json")
            return config, (sharded if name.endswith(".json") else weights)(folder / name)
    if any(folder.glob("consolidated.*.pth")):
        return open_meta(folder)
    if (folder / CONFIG).is_file():
        raise UserError(f"{folder}: this is a LoRA adapter, no model: give it as --adapter, and "
                        "the model that it was trained on as --base")
    shards = sorted(f.name for f in [*folder.glob("*.safetensors"), *folder.glob("*.bin")])
    found = f"; {', '.join(shards[:3])} cannot be read without their index" if shards else ""
    raise UserError(f"{folder}: no *.safetensors (model.safetensors or shards with their index), "
                    f"pytorch_model*.bin or consolidated.*.pth here{found}; a GGUF file is given "
                    "by its own name")


def read_config(path: str | Path) -> LlamaConfig:
    """The dimensions of a model; an HF folder needs no weights for that."""
    folder = located(path)
    if (folder / "config.json").is_file():
        return hf_config(folder / "config.json")
    return open_model(folder)[0]


def tokenizer_of(base: str | Path, config: LlamaConfig) -> Tokenizer:
    """The tokenizer of a base with these settings; notes ids that differ, and digits that share a
    token. Raises UserError for one with more pieces than the model has embedding rows.

    Early conversions came with wrong bos and eos ids in `config.json`, so the tokenizer's count.
    """
    tokenizer = open_tokenizer(base)
    if tokenizer.vocab_size > config.vocab_size:
        raise UserError(f"{tokenizer.path}: {tokenizer.vocab_size} pieces, but the model embeds "
                        f"only {config.vocab_size}: it belongs to another model")
    ours, theirs = (tokenizer.bos_id, tokenizer.eos_id), (config.bos_id, config.eos_id)
    begins = None if tokenizer.bos_id is None else tokenizer.piece(tokenizer.bos_id)
    if ours[1] != theirs[1] or ours[0] != theirs[0] and begins not in (None, PARTING):
        print(f"note: bos and eos are {ours} in {tokenizer.path}, {theirs} in the model's "
              "settings; the tokenizer's are used")
    if tokenizer.groups_digits:
        print(f"note: {GROUPED}")
    return tokenizer


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


def save_model(model: Llama, path: str | Path, tokenizer: Tokenizer | None = None,
               out_type: str | None = None) -> None:
    """Write the model, and its tokenizer if one is given, as a Hugging Face folder that
    transformers loads, or, where `path` ends in .gguf, as one file for llama.cpp and its kind.

    8-bit layers are written out in the model's 16 or 32 bits (what they stand for, not what they
    were rounded from). A GGUF file is stored in the model's own number format, or as `out_type`
    says: f32, f16, bf16 or q8_0. Raises UserError while an adapter is not merged, and for a weight
    that is not finite.
    """
    config, path = model.config, Path(path)
    dtype = model.model.embed_tokens.weight.dtype
    if dtype not in OF_DTYPE:
        raise UserError(f"a model in {dtype} is not saved: call model.float() first")
    names = list(blank_model(config).state_dict())
    if config.tie_embeddings:
        names.remove(HEAD)
        if getattr(model.lm_head, "weight", None) is not model.model.embed_tokens.weight:
            raise UserError(f"{HEAD} was adapted, but is written as the embedding, whose weight it "
                            "shares: set config.tie_embeddings to False and merge first")
    tensors = {}
    for name in names:
        stem, _, kind = name.rpartition(".")
        module = model.get_submodule(stem)
        if isinstance(module, LoRALinear):
            raise UserError("the adapter is not merged: call merge(model) before save_model, or "
                            "save_adapter to keep it apart")
        weight = (module.dequantised() if isinstance(module, Int8Linear) and kind == "weight"
                  else model.get_parameter(name).detach())
        tensors[name] = weight.to(dtype)
        if not is_finite(tensors[name]):
            raise UserError(f"{name} is NaN or infinite in some place, so the model is not saved: "
                            "lower the learning rate, or use bf16 or fp32 instead of fp16")
    if path.suffix == ".gguf":
        keys = gguf_keys(tokenizer, config.vocab_size) if tokenizer else {}
        save_gguf(path, config, tensors, out_type or OF_DTYPE[dtype], keys)
        return
    write_tensors(tensors, path / HF_FILES[0])
    write_json(config_json(config, dtype), path / "config.json")
    if tokenizer:
        save_tokenizer(tokenizer, path)


def main(argv: list[str] | None = None) -> None:
    parser = parser_for("python -m goat.files.checkpoint", __doc__)
    merging = parser.add_subparsers(dest="command", required=True).add_parser(
        "merge", help="fold a LoRA adapter into its base model")
    merging.add_argument("--base", required=True,
                         help=f"the base model: folder (HF or Meta), GGUF file, or {SMOLLM2}")
    merging.add_argument("--adapter", required=True, help="PEFT folder of the adapter")
    merging.add_argument("--out", required=True,
                         help="new folder for the merged model, or a file that ends in .gguf")
    merging.add_argument("--type", choices=OUT_TYPES, help="of the numbers in a GGUF file "
                         "(default: the base's; bf16 where it stores few bits)")
    args = parser.parse_args(argv)
    base, out = located(args.base), Path(args.out)
    if args.type and out.suffix != ".gguf":
        raise UserError("--type is for GGUF files: give an --out that ends in .gguf")
    refuse_full(out)
    if out.suffix == ".gguf":
        check_place(out)
    tokenizer = None
    if base.is_file() or out.suffix == ".gguf":  # before the weights, which take long
        tokenizer = tokenizer_of(base, read_config(base))
    # from few bits: bf16 is near enough for what is stored in it, or in 8 bits; else from fp32
    halved = args.type in (None, "bf16", "q8_0")
    dtype = None if not few_bits(base) else torch.bfloat16 if halved else torch.float32
    model = load_adapted(base, args.adapter, dtype=dtype)
    merge(model)
    save_model(model, out, tokenizer, args.type)
    for name in COPIED if base.is_dir() and out.suffix != ".gguf" else ():
        if (base / name).is_file():
            write_bytes(out / name, (base / name).read_bytes())
    print(f"{out}: {args.adapter} merged into {base}")


if __name__ == "__main__":
    run(main)
