"""The flags of train.py. Defaults are the paper's (Goat, Table 4) when --base is given, and those
of goat/base/recipe.json for the embedded base."""

import argparse
import json
import math
from dataclasses import replace
from pathlib import Path

import torch

from goat import device
from goat.cli import (given_flags, parser_for, processes, refuse_empty, refuse_given,
                      spelt)
from goat.errors import UserError
from goat.files import adapter
from goat.files.bases import EMBEDDED, SMOLLM2
from goat.files.tensors import open_tensors
from goat.llama import lora
from goat.llama.model import LlamaConfig
from goat.papers import PAPERS
from goat.training import memory
from goat.training.batches import rounded
from goat.training.optim import MUON_DECAY

PASS = 8192  # tokens of one
TAKEN = 3 * memory.GB  # by a pass without a CUDA GPU; the process takes 2 more, of a laptop's 8
ENOUGH = 1536  # tokens of a pass: faster than recomputing one of 8,192 (goat/bench/README.md)


def parse_args(argv: list[str]) -> argparse.Namespace:
    """The flags, checked."""
    parser = parser_for("train.py", "Teach a LLaMA arithmetic with LoRA. The defaults below are "
                        "those of the embedded base; with --base they are the paper's, and "
                        "`--base DIR --help` shows them.")
    add_model_flags(parser)
    add_data_flags(parser)
    add_run_flags(parser)
    given = given_flags(parser, argv)
    check_given(given)
    if given.base is None and given.plan not in memory.PRESETS:
        recipe = json.loads((EMBEDDED / "recipe.json").read_text())
        if given.epochs is not None or given.skills:
            del recipe["max_steps"]
        parser.set_defaults(**recipe)
    args = parser.parse_args(argv)
    if args.adapter and Path(args.adapter).is_dir():
        vars(args).update(lora_settings(Path(args.adapter)))
    check_ranges(args)
    if (args.val_rows or args.val_data) and given.eval_every is None:
        args.eval_every = args.save_every
    if args.muon_lr and not (args.full or args.value_head or "lm_head" in lora_targets(args)):
        refuse_given(given, "{flag} is AdamW's, and here Muon takes every matrix of the adapter: "
                     "give --muon-lr instead, or --muon-lr 0 for AdamW",
                     "lr", "beta2", "weight_decay")
    if args.plan not in (None, "base", *memory.PRESETS):
        raise UserError(f"--plan {args.plan}: there are {', '.join(memory.PRESETS)}; for a model "
                        "of your own give --plan alone and the model as --base")
    if args.scratch and not args.full:
        raise UserError("--scratch starts from random weights, all of which must learn: add --full")
    if args.full and args.int8:
        raise UserError("--int8 holds a frozen base, but with --full every weight learns: leave "
                        "one of them out")
    if args.value_head and (args.full or args.skills):
        raise UserError("--value-head is trained beside LoRA on labelled rows: leave out --full "
                        "and --skills")
    if args.skills and not args.max_steps:
        raise UserError("--skills is an endless stream: say how long with --max-steps")
    return args


def add_model_flags(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("model").add_argument
    add("--base", help=f"LLaMA folder, HF or Meta, or GGUF file, or {SMOLLM2} (default: the "
        "embedded goat/base)")
    add("--full", action="store_true", help="train every weight instead of LoRA")
    add("--scratch", action="store_true",
        help="with --full: take config and tokenizer of the base, but random weights")
    add("--int8", action=argparse.BooleanOptionalAction, default=None,
        help="hold the frozen base in 8 bits (default: when it would fill half of the GPU)")
    add("--checkpointing", default="auto", choices=("auto", "on", "off"),
        help="recompute each block in the backward pass (default auto: off; a GPU without the room "
             "takes smaller passes first, and recomputes only where these would be below "
             f"{ENOUGH:,} tokens)")
    device.add_flags(add)
    add = parser.add_argument_group("LoRA").add_argument
    add("--adapter", help="LoRA folder in PEFT's format to train further, with its rank, alpha, "
                          "dropout and targets, with --value-head also its value head (default: a "
                          "fresh one)")
    add("--lora-r", type=int, default=64, help="rank (default %(default)s)")
    add("--lora-alpha", type=float, help="scaling is alpha / rank (default: the rank)")
    add("--lora-dropout", type=float, default=0.05,
        help="dropout on the input of A (default %(default)s)")
    add("--value-head", action="store_true",
        help="also learn to tell correct solutions from wrong ones, by the rows' label")
    add("--value-weight", type=float, default=0.1,
        help="of that head's squared error in the loss (default %(default)s)")
    add("--lora-targets", default=",".join(lora.ATTENTION_TARGETS),
        help="last name parts of the wrapped layers, or `all` (default %(default)s)")


def add_data_flags(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("data").add_argument
    add("--data", help="rows file (default: data/demo.jsonl for the embedded base, else "
                       "data/arithmetic.jsonl; written first if missing)")
    add("--rows", type=int, help="size of the rows file that is written, without --data (default: "
                                 "%(default)s; None: as many as the mixture has)")
    add("--skills", type=int, metavar="DIGITS",
        help="no file, but an endless stream of `skills` rows that grow to so many digits")
    add("--skills-mix", default="growing", choices=PAPERS["skills"].mix_names,
        help="of that stream: growing is a curriculum of digits; the others draw a size for "
             "each row; even has more subtraction, sheets has scratch sheets, words also text, "
             "names also numbers with names, sizes and carries many sums of unequal sizes and "
             "with long carries (default %(default)s)")
    add("--val-rows", type=int, metavar="N",
        help="keep N rows of the file out of training and tell, every --eval-every steps (default "
             "then: every --save-every), their loss and how many of up to 100 are answered right")
    add("--val-data", metavar="FILE", help="the same with all rows of another file")
    add("--learn-output", action="store_true",
        help="learn what the interpreter prints in word problems too (default: masked)")
    add("--cutoff", type=int, default=512, help="longest row in tokens (default %(default)s)")
    add("--seed", type=int, default=0,
        help="of weights, order and dropout (default %(default)s); rows that are written without "
             "--data are those of seed 0")


def add_run_flags(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("optimization").add_argument
    add("--batch", type=int, default=128, help="rows per step (default %(default)s)")
    add("--micro-tokens", type=int,
        help="of a forward pass at most: rows times tokens of the longest, see --checkpointing; "
             f"several processes share them (default {PASS:,}; without a CUDA GPU fewer, if these "
             f"take more than {TAKEN // memory.GB} GB)")
    add("--epochs", type=float, default=1.0, help="passes over the rows (default %(default)s)")
    add("--max-minutes", type=float, metavar="M",
        help="at most as many steps as this machine manages in M minutes of training, with the "
             "whole schedule (default: no limit)")
    add("--max-steps", type=int, help="steps, whatever --epochs says (default: for the embedded "
                                      "base as in its recipe.json, unless --epochs is given)")
    add("--lr", type=float, default=3e-4,
        help="AdamW's learning rate (default %(default)s); where --muon-lr is above 0, of "
             "embeddings, norms and heads only, which an adapter by itself has not")
    add("--muon-lr", type=float, default=0.0,
        help="above 0: Muon, an optimizer for matrices (goat/training/optim.py), at this rate for "
             "the matrices of the blocks, LoRA's included (default %(default)s)")
    add("--beta2", type=float, default=0.999, help="AdamW's second beta (default %(default)s)")
    add("--weight-decay", type=float, default=0.0,
        help=f"AdamW's (default %(default)s; Muon's is {MUON_DECAY} always)")
    add("--warmup", type=int, default=100, help="steps of linear warm-up (default %(default)s)")
    add("--hold", type=float, default=0.0,
        help="share of the run before the linear decay begins (default %(default)s)")
    add("--final-lr", type=float, default=0.0,
        help="factor of the learning rate at the end (default %(default)s)")
    add("--clip", type=float, default=1.0, help="largest gradient norm (default %(default)s)")
    add("--skip-bad-steps", type=int, default=0, metavar="N",
        help="pass over up to N steps whose loss is not finite (default %(default)s)")
    add = parser.add_argument_group("run").add_argument
    add("--out", help="run folder (default: the first free of out/lora, out/lora-2, …; with "
                      "--full of out/full, …)")
    add("--resume", action="store_true", help="go on from the last checkpoint")
    add("--save-every", type=int, default=200, help="steps per checkpoint (default %(default)s)")
    add("--log-every", type=int, default=10, help="steps per log line (default %(default)s)")
    add("--eval-every", type=int, default=0,
        help="steps between looks at held-out rows, see --val-rows (default then: as --save-every; "
             "without such rows 0, never)")
    add("--keep", default="last", choices=("last", "best"),
        help="the weights that are saved at the end: the last, or those with the lowest loss of "
             "held-out rows (default %(default)s)")
    add("--before-after", action=argparse.BooleanOptionalAction, default=False,
        help="ask the suite `demo` before and after, and print the table")
    add("--peek", type=int, metavar="N",
        help="train nothing: print N rows of the first steps, of each the shortest first, as "
             "the loss sees them, each token with its position and id, and what is learnt with its "
             "loss")
    add("--plan", nargs="?", const="base", metavar="MODEL",
        help="train nothing: print what each byte of a step is for; MODEL needs no weights and is "
             f"one of {', '.join(memory.PRESETS)} (default: the one of --base)")
    add("--card", type=float, metavar="GIB",
        help="with --plan: for a GPU of so many GiB (default: the one that is here, else 24)")


def check_given(given: argparse.Namespace) -> None:
    """Raises UserError for a flag that another one makes useless."""
    refuse_empty(given, "base", "adapter", "data", "val_data", "out")
    if given.data and given.rows:
        raise UserError("--rows is the size of a file that is written, and --data names one that "
                        "is there: leave one of them out")
    if given.skills:
        refuse_given(given, "{flag} is for files of rows, and --skills is an endless stream: leave "
                     "one of them out", "data", "rows", "batch", "epochs", "cutoff", "learn_output",
                     "val_rows")
        refuse_given(given, "--skills grows by --max-steps: leave {flag} out", "max_minutes")
    else:
        refuse_given(given, "{flag} goes with --skills", "skills_mix")
    if given.val_rows and given.val_data:
        raise UserError("--val-rows holds out rows of --data, and --val-data names a file of them: "
                        "leave one of them out")
    if given.val_rows or given.val_data:
        if given.eval_every == 0:
            raise UserError("--eval-every 0 never looks at the held-out rows: give it another "
                            "number, or leave --val-rows and --val-data out")
    elif given.keep == "best" or given.eval_every:
        flag = "--keep best" if given.keep == "best" else "--eval-every"
        raise UserError(f"{flag} goes by the loss of held-out rows: add --val-rows N or "
                        "--val-data FILE")
    if not given.plan:
        refuse_given(given, "{flag} goes with --plan", "card")
    if not given.value_head:
        refuse_given(given, "{flag} goes with --value-head", "value_weight")
    if given.full:
        refuse_given(given, "{flag} is for an adapter, and with --full all weights learn instead: "
                     "leave one of them out", "adapter", *LORA_SETTINGS)
    if given.adapter:
        refuse_given(given, "{flag} is for a fresh adapter, and the one of --adapter has its own: "
                     "leave one of them out", *LORA_SETTINGS)


ABOVE_0 = ("batch", "micro_tokens", "cutoff", "save_every", "log_every", "epochs", "max_steps",
           "lr", "skills", "rows", "value_weight", "clip", "lora_alpha", "lora_r", "peek",
           "val_rows", "max_minutes", "card")
AT_LEAST_0 = ("muon_lr", "weight_decay", "warmup", "eval_every", "seed", "skip_bad_steps")
SHARES = ("hold", "final_lr")  # of 1
BELOW_1 = ("beta2", "lora_dropout")  # shares too, but never all
BELOW_2_63 = ("seed", "epochs", "max_minutes")


def check_ranges(args: argparse.Namespace) -> None:
    """Raises UserError naming the first flag whose number makes no sense."""
    for names, fits, said in ((BELOW_2_63, lambda x: x < 2**63, "below 2^63"),
                              (ABOVE_0, lambda x: x > 0, "above 0"),
                              (AT_LEAST_0, lambda x: x >= 0, "0 or more"),
                              (SHARES, lambda x: 0 <= x <= 1, "between 0 and 1"),
                              (BELOW_1, lambda x: 0 <= x < 1,
                               "between 0 and 1, and it must be below 1")):
        for name in names:
            value = getattr(args, name)
            if value is not None and not (math.isfinite(value) and fits(value)):
                raise UserError(f"{spelt(name)} {value}: must be {said}")


LORA_SETTINGS = ("lora_r", "lora_alpha", "lora_dropout", "lora_targets")


def lora_settings(folder: Path) -> dict:
    """LORA_SETTINGS of the adapter in `folder`; as targets the kinds of layers that it adapts."""
    config = adapter.read_adapter_config(folder / adapter.CONFIG)
    adapted = {name.partition(".lora_")[0].rpartition(".")[2]
               for name in open_tensors(adapter.weights_file(folder))}
    kinds = [t for t in (*lora.ALL_TARGETS, "lm_head") if t in adapted] or lora.ALL_TARGETS
    return dict(zip(LORA_SETTINGS, (config["r"], config["lora_alpha"],
                                    config.get("lora_dropout") or 0.0, ",".join(kinds))))


def lora_targets(args: argparse.Namespace) -> tuple[str, ...]:
    """The names in --lora-targets, `all` spelt out."""
    spelt = args.lora_targets.replace(" ", "").split(",")
    names = [t for name in spelt for t in (lora.ALL_TARGETS if name == "all" else (name,))]
    return tuple(dict.fromkeys(names))


def memory_choices(args: argparse.Namespace, config: LlamaConfig, where: torch.device,
                   dtype: torch.dtype, card: int) -> tuple[dict, memory.Workload]:
    """What memory decides: (flags, workload).

    `flags` has int8, checkpointing, micro_tokens and cutoff by their names: cutoff is at most the
    model's positions; on a GPU of `card` bytes the others follow from the plan, elsewhere
    micro_tokens is what fits TAKEN. `workload` is a pass over the longest rows they allow. Raises
    UserError for --lora-targets that the model has not."""
    cutoff = min(args.cutoff, config.max_positions)
    length = rounded(cutoff)
    gpu = where.type == "cuda" or args.plan is not None
    if args.plan and (where.type == "cpu" or args.card):
        dtype = device.DTYPES.get(args.dtype, torch.bfloat16)
    size = processes()
    workload = memory.Workload(
        rank=0 if args.full else args.lora_r, targets=block_targets(args, config),
        adapted_head="lm_head" in lora_targets(args), dropout=args.lora_dropout, micro_batch=1,
        length=length, dtype=dtype, fused=gpu, checkpointing=args.checkpointing == "on",
        muon=args.muon_lr > 0)
    micro_tokens = args.micro_tokens or PASS
    if not gpu and not args.micro_tokens:
        kept = replace(workload, checkpointing=False)  # --resume may switch it on
        state = sum(memory.state(config, kept).values())
        rows = memory.largest(config, kept, state + TAKEN // size)
        micro_tokens = min(PASS, max(1, rows) * length * size)
    workload = replace(workload, micro_batch=max(1, micro_tokens // size // length))
    int8 = args.int8
    if int8 is None:
        blocks = next(iter(memory.state(config, workload).values()))  # their weights
        int8 = gpu and not args.full and blocks > card / 2
    workload = replace(workload, int8=int8)
    fits = memory.plan(config, workload).fits(card)
    if args.checkpointing == "auto" and gpu and not fits:
        rows = memory.largest(config, workload, card)
        if rows * length < ENOUGH:
            workload = replace(workload, checkpointing=True)
            rows = memory.largest(config, workload, card) or 1
        if rows < workload.micro_batch:
            workload = replace(workload, micro_batch=rows)
            micro_tokens = rows * length * size
    return dict(int8=int8, checkpointing="on" if workload.checkpointing else "off",
                micro_tokens=micro_tokens, cutoff=cutoff), workload


def block_targets(args: argparse.Namespace, config: LlamaConfig) -> tuple[str, ...]:
    """The layers of a block that --lora-targets names; UserError for those that do not exist."""
    targets = lora_targets(args)
    if unknown := set(targets) - {*lora.ALL_TARGETS, "lm_head"}:
        raise UserError(f"--lora-targets: there is no layer {', '.join(sorted(unknown))}; choose "
                        f"from {', '.join(lora.ALL_TARGETS)}, lm_head, or all")
    if "lm_head" in targets and config.tie_embeddings:
        raise UserError("--lora-targets lm_head: in this model it shares its weight with the "
                        "embedding and cannot be adapted alone; leave it out")
    return tuple(t for t in targets if t in lora.ALL_TARGETS)
