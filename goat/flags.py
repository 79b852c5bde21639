"""The flags of train.py. Defaults are the paper's (Goat, Table 4) when --base is given, and those
of goat/base/recipe.json for the embedded base."""

import argparse
import json
import math
from dataclasses import replace
from pathlib import Path

import torch

from goat import adapter, device, distributed, lora, memory
from goat.batching import padded_length
from goat.errors import UserError, refuse_empty, spelt
from goat.model import LlamaConfig
from goat.optim import MUON_DECAY
from goat.tasks.pretraining import MIXES

EMBEDDED = Path(__file__).parent / "base"
ENOUGH = 1536  # tokens of a pass: faster than recomputing one of 8,192 (README, Speed)


def parse_args(argv: list[str]) -> argparse.Namespace:
    """The flags. Defaults are the paper's; without --base, those of goat/base/recipe.json."""
    parser = argparse.ArgumentParser(
        prog="train.py", description="Teach a LLaMA arithmetic with LoRA. The "
        "defaults below are those of the embedded base; with --base they are the paper's, and "
        "`--base DIR --help` shows them.",
        formatter_class=argparse.RawDescriptionHelpFormatter)
    group = parser.add_argument_group("model")
    add = group.add_argument
    add("--base", help="LLaMA folder, HF or Meta (default: the embedded goat/base)")
    add("--full", action="store_true", help="train every weight instead of LoRA")
    add("--scratch", action="store_true",
        help="with --full: take config and tokenizer of the base, but random weights")
    add("--int8", action=argparse.BooleanOptionalAction, default=None,
        help="hold the frozen base in 8 bits (default: when it would fill half of the GPU)")
    add("--checkpointing", default="auto", choices=("auto", "on", "off"),
        help="recompute each block in the backward pass (default auto: no, and where a GPU has no "
             "room for that, fewer --micro-tokens; yes only where these would be very few)")
    add("--compile", action="store_true", default=None,  # as in checkpoints older than the flag
        help="let torch.compile fuse each block's small operations, mainly for long runs on a GPU: "
             "it compiles for minutes at the start, and again whenever a batch of a new kind comes "
             "(lengths alone are no new kind, but fixed shapes save most: leave --micro-tokens and "
             "--cutoff as they are); needs a C++ compiler, and for a GPU Triton (default off)")
    add("--device", default="auto", help="auto, cuda, mps or cpu (default auto)")
    add("--dtype", default="auto", choices=("auto", *device.DTYPES),
        help="of the products (default auto: bf16 where the hardware has units for it, else fp16 "
             "on a GPU, with a loss scale, and fp32 on a CPU)")
    group = parser.add_argument_group("LoRA")
    add = group.add_argument
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
    group = parser.add_argument_group("data")
    add = group.add_argument
    add("--data", help="rows file (default: data/demo.jsonl for the embedded base, else "
                       "data/arithmetic.jsonl; written first if missing)")
    add("--rows", type=int, help="size of the rows file that is written, without --data (default: "
                                 "%(default)s; None is the mixture's)")
    add("--skills", type=int, metavar="DIGITS",
        help="no file, but an endless stream of `skills` rows that grow to so many digits")
    add("--skills-mix", default="growing", choices=MIXES,
        help="of that stream: growing is a curriculum of digits; the others draw a size for "
             "each row; even has more subtraction, sheets has scratch sheets, words also text, "
             "names also numbers with names, sizes and carries many sums of unequal sizes and "
             "with long carries (default %(default)s)")
    add("--learn-output", action="store_true",
        help="learn what the interpreter prints in word problems too (default: masked)")
    add("--cutoff", type=int, default=512, help="longest row in tokens (default %(default)s)")
    add("--seed", type=int, default=0,
        help="of weights, order and dropout (default %(default)s); rows that are written without "
             "--data are those of seed 0")
    group = parser.add_argument_group("optimization")
    add = group.add_argument
    add("--batch", type=int, default=128, help="rows per step (default %(default)s)")
    add("--micro-tokens", type=int, default=8192,
        help="tokens, padding included, of a forward pass at most, see --checkpointing; several "
             "processes share them (default %(default)s)")
    add("--epochs", type=float, default=1.0, help="passes over the rows (default %(default)s)")
    add("--max-steps", type=int, help="steps, whatever --epochs says (default: for the embedded "
                                      "base as in its recipe.json, unless --epochs is given)")
    add("--lr", type=float, default=3e-4,
        help="AdamW's learning rate (default %(default)s); where --muon-lr is above 0, of "
             "embeddings, norms and heads only, which an adapter by itself has not")
    add("--muon-lr", type=float, default=0.0,
        help="above 0: Muon, an optimizer for matrices (goat/optim.py), at this rate for the "
             "matrices of the blocks, LoRA's included (default %(default)s)")
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
    group = parser.add_argument_group("run")
    add = group.add_argument
    add("--out", help="run folder (default: the first free of out/lora, out/lora-2, …; with "
                      "--full of out/full, …)")
    add("--resume", action="store_true", help="go on from the last checkpoint")
    add("--save-every", type=int, default=200, help="steps per checkpoint (default %(default)s)")
    add("--log-every", type=int, default=10, help="steps per log line (default %(default)s)")
    add("--eval-every", type=int, default=0,
        help="steps between exact-match checks by generation, 0 = never (default %(default)s)")
    add("--before-after", action=argparse.BooleanOptionalAction, default=False,
        help="ask the suite `demo` before and after, and print the table")
    add("--plan", nargs="?", const="base", metavar="MODEL",
        help="train nothing: print what each byte of a step is for; MODEL is llama-7b or "
             "llama-13b (no weights needed; default: the one of --base)")
    given = [arg for arg in argv if arg not in ("-h", "--help")]  # help waits for the defaults
    nothing = argparse.Namespace(**dict.fromkeys(vars(parser.parse_args([]))))
    known = parser.parse_known_args(given, nothing)[0]  # None where a flag is not given
    check_given(known)
    if known.base is None and known.plan not in memory.PRESETS:
        recipe = json.loads((EMBEDDED / "recipe.json").read_text())
        if known.epochs is not None or known.skills:
            del recipe["max_steps"]
        parser.set_defaults(**recipe)
    args = parser.parse_args(argv)
    if args.adapter and Path(args.adapter).is_dir():
        vars(args).update(lora_settings(Path(args.adapter)))
    check_ranges(args)
    check_adamw(known, args)
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


def check_given(known: argparse.Namespace) -> None:
    """Raises UserError for a flag that another one makes useless. `known` has None for flags that
    are not given."""
    refuse_empty(known, "base", "adapter", "data", "out")
    if known.data and known.rows:
        raise UserError("--rows is the size of a file that is written, and --data names one that "
                        "is there: leave one of them out")
    for flag in ("data", "rows", "batch", "epochs", "cutoff", "learn_output"):
        if known.skills and getattr(known, flag) is not None:
            raise UserError(f"{spelt(flag)} is for files of rows, and --skills is an "
                            "endless stream: leave one of them out")
    for flag, needed in (("skills_mix", "skills"), ("value_weight", "value_head")):
        if getattr(known, flag) is not None and not getattr(known, needed):
            raise UserError(f"{spelt(flag)} goes with {spelt(needed)}")
    for flag in ("adapter", *LORA_SETTINGS):
        if known.full and getattr(known, flag) is not None:
            raise UserError(f"{spelt(flag)} is for an adapter, and with --full all "
                            "weights learn instead: leave one of them out")
    for flag in LORA_SETTINGS:
        if known.adapter and getattr(known, flag) is not None:
            raise UserError(f"{spelt(flag)} is for a fresh adapter, and the one of --adapter "
                            "has its own: leave one of them out")


def check_adamw(known: argparse.Namespace, args: argparse.Namespace) -> None:
    """Raises UserError for a given flag of AdamW's where Muon takes all that learns."""
    if not args.muon_lr or args.full or args.value_head or "lm_head" in lora_targets(args):
        return
    for flag in ("lr", "beta2", "weight_decay"):
        if getattr(known, flag) is not None:
            raise UserError(f"{spelt(flag)} is AdamW's, and here Muon takes every "
                            "matrix of the adapter: give --muon-lr instead, or --muon-lr 0 for "
                            "AdamW")


ABOVE_0 = ("batch", "micro_tokens", "cutoff", "save_every", "log_every", "epochs", "max_steps",
           "lr", "skills", "rows", "value_weight", "clip", "lora_alpha", "lora_r")
AT_LEAST_0 = ("muon_lr", "weight_decay", "warmup", "eval_every", "seed", "skip_bad_steps")
SHARES = ("hold", "final_lr")  # of 1
BELOW_1 = ("beta2", "lora_dropout")  # shares too, but never all


def check_ranges(args: argparse.Namespace) -> None:
    """Raises UserError naming the first flag whose number makes no sense."""
    for names, fits, said in ((ABOVE_0, lambda x: x > 0, "above 0"),
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
    """LORA_SETTINGS of the adapter in `folder`; as targets the kinds of layers that it names."""
    config = adapter.read_adapter_config(folder / adapter.CONFIG)
    named = str(config["target_modules"])  # a list, or a regular expression
    kinds = [t for t in (*lora.ALL_TARGETS, "lm_head") if t in named] or lora.ALL_TARGETS
    return dict(zip(LORA_SETTINGS, (config["r"], config["lora_alpha"],
                                    config.get("lora_dropout") or 0.0, ",".join(kinds))))


def lora_targets(args: argparse.Namespace) -> tuple[str, ...]:
    """The names in --lora-targets, `all` spelt out."""
    names = args.lora_targets
    return lora.ALL_TARGETS if names == "all" else tuple(names.replace(" ", "").split(","))


def fit(args: argparse.Namespace, config: LlamaConfig, where: torch.device,
        dtype: torch.dtype) -> memory.Setting:
    """Decide what is left to be decided by memory (args.int8, args.checkpointing and, with the
    latter, args.micro_tokens) or by the model (args.cutoff, at most its positions), and return what
    a pass over the longest possible rows is made of. A plan without a GPU assumes a 24 GB card."""
    args.cutoff = min(args.cutoff, config.max_positions)
    card, length = memory.room(where), padded_length(args.cutoff)
    gpu = where.type == "cuda" or args.plan is not None
    if args.plan and where.type == "cpu":
        dtype = device.DTYPES.get(args.dtype, torch.bfloat16)
    targets = lora_targets(args)
    if unknown := set(targets) - {*lora.ALL_TARGETS, "lm_head"}:
        raise UserError(f"--lora-targets: there is no layer {', '.join(sorted(unknown))}; choose "
                        f"from {', '.join(lora.ALL_TARGETS)}, or all")
    if "lm_head" in targets and config.tie_embeddings:
        raise UserError("--lora-targets lm_head: in this model it shares its weight with the "
                        "embedding and cannot be adapted alone; leave it out")
    targets = tuple(t for t in targets if t in lora.ALL_TARGETS)
    setting = memory.Setting(
        rank=0 if args.full else args.lora_r, targets=targets,
        dropout=args.lora_dropout,
        micro_batch=-(-max(1, args.micro_tokens // length) // distributed.processes()),
        length=length, dtype=dtype, fused=gpu, checkpointing=args.checkpointing == "on",
        muon=args.muon_lr > 0)
    if args.int8 is None:
        blocks = next(iter(memory.state(config, setting).values()))
        args.int8 = gpu and not args.full and blocks > card / 2
    setting = replace(setting, int8=args.int8)
    if args.checkpointing == "auto" and gpu and not memory.plan(config, **vars(setting)).fits(card):
        rows = memory.largest(config, card, **vars(setting))
        if rows * length >= ENOUGH:
            setting = replace(setting, micro_batch=rows)
            args.micro_tokens = rows * length * distributed.processes()
        else:
            setting = replace(setting, checkpointing=True)
    args.checkpointing = "on" if setting.checkpointing else "off"
    return setting


def memory_advice():
    """Running out of memory is answered by the flags that need less of it."""
    return device.out_of_memory("lower --micro-tokens or --cutoff, give --checkpointing on, hold "
                                "the base in 8 bits with --int8, or lower --lora-r")
