"""What train.py needs before its loop and after it: the model, the data, the result."""

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from goat.distributed import Group
from goat.errors import UserError
from goat.files import adapter, checkpoint
from goat.files.bases import EMBEDDED, folder_hash
from goat.llama import lora
from goat.llama.model import Llama
from goat.llama.tokenizer import Tokenizer
from goat.papers import PAPERS
from goat.training.batches import ALL, RowBatches
from goat.training.flags import PASS, lora_targets
from goat.training.run_folder import RunFolder

if TYPE_CHECKING:
    from goat.training.validation import Validation


def load_model(args: argparse.Namespace, where: torch.device, dtype: torch.dtype) -> Llama:
    """The model to train: base + LoRA, or a base of which every weight learns."""
    base = args.base or EMBEDDED
    if args.scratch:
        model = Llama(checkpoint.read_config(base))
        model.init_weights(torch.Generator().manual_seed(args.seed))
        return model.to(where, dtype)
    model = checkpoint.load_model(base, dtype=dtype, device=where, int8=args.int8)
    if args.full:
        return model.requires_grad_(True)
    if args.adapter:
        adapter.load_adapter(model, args.adapter)
    else:
        lora.add_lora(model, args.lora_r, args.lora_alpha, args.lora_dropout, lora_targets(args),
                      seed=args.seed)
    if args.value_head:
        value_head = PAPERS["word_problems"].value_head
        kept = adapter.has_value_head(args.adapter)
        value_head.load(model, args.adapter) if kept else value_head.add(model)
    elif adapter.has_value_head(args.adapter):
        print(f"note: the value head of {args.adapter} is left out; --value-head trains it further")
    return model


def parameter_counts(model: Llama, params: list[nn.Parameter]) -> str:
    some, total = (sum(p.numel() for p in ps) for ps in (params, model.parameters()))
    return f"{some:,} of {total:,} parameters learn ({100 * some / total:.2f} %)"


def load_data(args: argparse.Namespace, tokenizer: Tokenizer, share: slice = ALL):
    """Windows of rows as functions of (seed, step); a missing default file is written first."""
    if args.skills:
        from goat.training.skill_stream import SkillStream  # only here: it loads the base's rows

        return SkillStream(tokenizer, args.micro_tokens, args.skills, args.max_steps, args.seed,
                           args.skills_mix, share=share)
    path = args.data or ("data/arithmetic.jsonl" if args.base else "data/demo.jsonl")
    if args.data is None:
        mixture = "paper" if args.base else "demo"
        print(PAPERS["arithmetic"].dataset.write_default(path, mixture, args.rows))
    data = read_rows(args, path, tokenizer, share, args.val_rows or 0)
    if args.value_head and {1, -1} - {mask.value for mask in data.masks.values()}:
        raise UserError(f"{path}: --value-head needs rows with the field label, some correct and "
                        "some wrong: put both files of generate_data.py --from-model, OUT.jsonl "
                        "and OUT.wrong.jsonl, into one")
    return data


def read_rows(args: argparse.Namespace, path: str, tokenizer: Tokenizer, share: slice = ALL,
              held_out: int = 0) -> RowBatches:
    """The rows of a file; says which are left out."""
    data = RowBatches(path, tokenizer, args.batch, args.micro_tokens or PASS, args.cutoff,
                      args.seed, args.learn_output, args.value_head, share, held_out)
    if data.left_out:
        numbers = ", ".join(map(str, data.left_out[:10])) + ", …" * (len(data.left_out) > 10)
        print(f"{path}: {len(data.left_out):,} rows of more than {args.cutoff} tokens are left "
              f"out (--cutoff): rows {numbers}")
    return data


def load_held_out(args: argparse.Namespace, tokenizer: Tokenizer,
                  data) -> "Validation | None":
    """The rows that are never learnt, if any."""
    if not (args.val_rows or args.val_data):
        return None
    from goat.training.validation import Validation  # only here: it loads all of evaluation

    if args.val_rows:
        return Validation(data, data.held_out)
    other = read_rows(args, args.val_data, tokenizer)
    return Validation(other, range(len(other)))


def identity(args: argparse.Namespace, steps: int, data, held_out: "Validation | None",
             where: torch.device, dtype: torch.dtype, group: Group) -> dict:
    """All that the numbers of a run depend on: a run goes on only where it is the same."""
    return {**vars(args), "steps": steps, "data_hash": data.fingerprint,
            "val_hash": held_out and held_out.fingerprint,
            "base_hash": folder_hash(args.base or EMBEDDED), "dtype": str(dtype)[6:],
            "adapter_hash": args.adapter and folder_hash(Path(args.adapter)),
            "device": where.type, "processes": group.size}


def save_result(model: Llama, tokenizer: Tokenizer, args: argparse.Namespace,
                folder: RunFolder) -> str:
    """Write the adapter, or the model; the flags of eval.py that name it."""
    if args.full:
        checkpoint.save_model(model, folder.path / "model", tokenizer)
        return shlex.join(["--base", str(folder.path / "model")])
    adapter.save_adapter(model, folder.path / "adapter", args.base or EMBEDDED)
    if args.value_head:
        PAPERS["word_problems"].value_head.save(model, folder.path / "adapter")
    base = ["--base", args.base] if args.base else []
    return shlex.join([*base, "--adapter", str(folder.path / "adapter")])
