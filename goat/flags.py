"""The flags of train.py. Defaults are the paper's (Goat, Table 4) when --base is given, and those
of goat/base/recipe.json for the embedded base."""

import argparse
import json
from pathlib import Path

from goat import device, lora, memory
from goat.errors import UserError
from goat.tasks.pretraining import MIXES

EMBEDDED = Path(__file__).parent / "base"


def parse_args(argv: list[str]) -> argparse.Namespace:
    """The flags. Defaults are the paper's; without --base, those of goat/base/recipe.json."""
    parser = argparse.ArgumentParser(
        prog="train.py", description="Teach a LLaMA arithmetic with LoRA.",
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
        help="recompute each block in the backward pass (default auto: when a GPU needs it)")
    add("--device", default="auto", help="auto, cuda, mps or cpu (default auto)")
    add("--dtype", default="auto", choices=("auto", *device.DTYPES),
        help="of the products (default auto: bf16 where the hardware has units for it)")
    group = parser.add_argument_group("LoRA")
    add = group.add_argument
    add("--lora-r", type=int, default=64, help="rank (default %(default)s)")
    add("--lora-alpha", type=float, help="scaling is alpha / rank (default: the rank)")
    add("--lora-dropout", type=float, default=0.05,
        help="dropout on the input of A (default %(default)s)")
    add("--lora-targets", default=",".join(lora.ATTENTION_TARGETS),
        help="last name parts of the wrapped layers, or `all` (default %(default)s)")
    group = parser.add_argument_group("data")
    add = group.add_argument
    add("--data", help="rows file (default: data/demo.jsonl for the embedded base, else "
                       "data/arithmetic.jsonl; written first if missing)")
    add("--rows", type=int, help="size of a rows file that is written (default: the mixture's)")
    add("--skills", type=int, metavar="DIGITS",
        help="no file, but an endless stream of `skills` rows that grow to so many digits")
    add("--skills-mix", default="growing", choices=MIXES,
        help="of that stream: growing is a curriculum of digits; even, sheets: all sizes alike, "
             "with more subtraction, with scratch sheets (default %(default)s)")
    add("--cutoff", type=int, default=512, help="longest row in tokens (default %(default)s)")
    add("--seed", type=int, default=0, help="of everything random (default %(default)s)")
    group = parser.add_argument_group("optimization")
    add = group.add_argument
    add("--batch", type=int, default=128, help="rows per step (default %(default)s)")
    add("--micro-tokens", type=int, default=8192,
        help="tokens, padding included, of a forward pass (default %(default)s)")
    add("--epochs", type=float, default=1.0, help="passes over the rows (default %(default)s)")
    add("--max-steps", type=int, help="steps, whatever --epochs says")
    add("--lr", type=float, default=3e-4, help="AdamW's learning rate (default %(default)s)")
    add("--muon-lr", type=float, default=0.0,
        help="above 0: Muon at this rate for the matrices of the blocks (default %(default)s)")
    add("--beta2", type=float, default=0.999, help="AdamW's second beta (default %(default)s)")
    add("--weight-decay", type=float, default=0.0, help="AdamW's (default %(default)s)")
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
    add("--out", help="run folder (default: the first free of out/lora, out/lora-2, …)")
    add("--resume", action="store_true", help="go on from the last checkpoint")
    add("--save-every", type=int, default=200, help="steps per checkpoint (default %(default)s)")
    add("--log-every", type=int, default=10, help="steps per log line (default %(default)s)")
    add("--eval-every", type=int, default=0,
        help="steps between exact-match checks by generation, 0 = never (default %(default)s)")
    add("--before-after", action="store_true",
        help="ask the suite `demo` before and after, and print the table")
    add("--plan", nargs="?", const="base", metavar="MODEL",
        help="train nothing: print what each byte of a step is for; MODEL is llama-7b or "
             "llama-13b (no weights needed; default: the one of --base)")
    if parser.parse_known_args(argv)[0].base is None:
        parser.set_defaults(**json.loads((EMBEDDED / "recipe.json").read_text()))
    args = parser.parse_args(argv)
    positive = ("batch", "micro_tokens", "cutoff", "save_every", "log_every", "epochs", "lr",
                "max_steps", "skills", "rows")
    for name in positive:
        if getattr(args, name) is not None and getattr(args, name) <= 0:
            raise UserError(f"--{name.replace('_', '-')} must be above 0")
    if args.plan not in (None, "base", *memory.PRESETS):
        raise UserError(f"--plan {args.plan}: there are {', '.join(memory.PRESETS)}; for a model "
                        "of your own give --plan alone and the model as --base")
    if args.scratch and not args.full:
        raise UserError("--scratch starts from random weights, all of which must learn: add --full")
    if args.skills and not args.max_steps:
        raise UserError("--skills is an endless stream: say how long with --max-steps")
    return args
