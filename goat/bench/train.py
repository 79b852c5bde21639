"""Training speed beside transformers + peft: `python -m goat.bench train [--base MODEL]`.

LoRA r = 64 on q, k, v, o; the same weights, rows, rows per step and number format, in one run, by
turns (machines are noisy). A step is forward, backward, clipping and AdamW over --batch rows.

    goat             our loop: length buckets, head on answer positions only
    peft, bucketed   transformers + peft on the very micro-batches of ours: equal padding
    peft, padded     as its users train: random rows by 16, padded to the longest

Then the FLOP of our steps, as torch counts them, beside what the machine sustains: in the bare
products of a block, forward and back to its inputs, for as many tokens as our largest pass.
"""

import argparse
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from goat import device
from goat.bench.peers import (Step, Window, by_rows, count_tokens, goat_rows, installed, now,
                              our_step, peft_step, transformers_model)
from goat.cli import parser_for, refuse_below
from goat.errors import UserError
from goat.files import checkpoint
from goat.files.bases import EMBEDDED, SMOLLM2
from goat.llama import lora
from goat.llama.model import Llama, LlamaConfig
from goat.training.batches import RowBatches


def main(argv: list[str] | None = None) -> None:
    parser = parser_for("python -m goat.bench train", __doc__)
    parser.add_argument("--steps", type=int, default=6, help="timed steps each (default 6)")
    parser.add_argument("--rounds", type=int, default=3, help="turns (default 3; the best counts)")
    parser.add_argument("--micro-tokens", type=int, default=4096,
                        help="tokens of a forward pass, padding included (default 4096)")
    parser.add_argument("--batch", type=int, default=128, help="rows of a step (default 128)")
    device.add_flags(parser.add_argument)
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument("--small", action="store_true", help="the embedded base only")
    sizes.add_argument("--base", help=f"a model of your own, or {SMOLLM2} (default: the embedded "
                       "base and a larger one with random weights)")
    args = parser.parse_args(argv)
    refuse_below(args, 1, "steps", "rounds", "micro_tokens", "batch")
    if not installed("transformers", "peft"):
        raise UserError("this benchmark compares with transformers and peft: "
                        "pip install -r tests/requirements.txt")
    where, dtype = device.choose(args.device, args.dtype)
    print(f"{where.type}, {str(dtype)[6:]}, {torch.get_num_threads()} threads, "
          f"torch {torch.__version__}; {args.steps} steps of {args.batch} rows, "
          f"best of {args.rounds}")
    with tempfile.TemporaryDirectory() as folder:
        data = goat_rows(folder, "demo", 4000, args.batch, args.micro_tokens, args.base or EMBEDDED)
        if args.base:
            model = checkpoint.load_model(args.base, dtype=dtype)
            checkpoint.save_model(model, Path(folder) / "base")
            compare(args.base, Path(folder) / "base", data, where, dtype, args)
        else:
            compare("embedded base", EMBEDDED, data, where, dtype, args)
        if not (args.small or args.base):
            model = Llama(LlamaConfig(checkpoint.read_config(EMBEDDED).vocab_size, 512, 1408,
                                      n_layers=6, n_heads=8, n_kv_heads=8, head_dim=64))
            model.init_weights(torch.Generator().manual_seed(0))
            checkpoint.save_model(model.to(dtype), Path(folder) / "middle")
            compare("6 layers x 512", Path(folder) / "middle", data, where, dtype, args)


def compare(name: str, base: Path, data: RowBatches, where: torch.device, dtype: torch.dtype,
            args: argparse.Namespace) -> None:
    """Time all contestants by turns and print tokens/s, real and with the padding counted; of ours
    the share of what bare products sustain."""
    model = checkpoint.load_model(base, dtype=dtype, device=where)
    largest = max(len(batch.tokens) for step in range(args.steps) for batch in data.window(step))
    products = bare_products(model, largest)
    ours, theirs = our_step(model), peft_step(transformers_model(base, dtype, where), where)
    contestants: dict[str, tuple[Step, Window]] = {
        "goat": (ours, data.window), "peft, bucketed": (theirs, data.window),
        "peft, padded": (theirs, partial(by_rows, data, size=16))}
    work = {who: partial(run, *step_and_window, args.steps)
            for who, step_and_window in contestants.items()} | {"products": products}
    best, flop = dict.fromkeys(work, float("inf")), {}
    for who, task in work.items():  # to warm up
        flop[who] = count_flop(task)
    for _ in range(args.rounds):
        for who, task in work.items():
            began = now(where)
            task()
            best[who] = min(best[who], now(where) - began)
    print(f"\n{name:16}{'real tok/s':>12}{'padded tok/s':>14}{'rows/s':>9}{'goat is':>10}")
    real_of = {}
    for who, (_, window) in contestants.items():
        real, padded = count_tokens(data, window, args.steps)
        real_of[who] = real / best[who]
        print(f"{who:16}{real_of[who]:12,.0f}{padded / best[who]:14,.0f}"
              f"{args.batch * args.steps / best[who]:9.1f}{real_of['goat'] / real_of[who]:9.2f}x")
    reached, bare = (flop[who] / best[who] / 1e9 for who in ("goat", "products"))
    print(f"goat: {reached:,.0f} GFLOP/s, {100 * reached / bare:.0f} % of the {bare:,.0f} of bare "
          f"products of {largest:,} tokens")


def run(step: Step, window: Window, steps: int) -> None:
    for number in range(steps):
        step(window(number))


def bare_products(model: Llama, tokens: int) -> Callable[[], None]:
    """The products of the model's first block, forward and back to their inputs, and no more."""
    weights = [layer.weight for layer in lora.linear_layers(model.model.layers[0]).values()]
    inputs = [weight.new_ones(tokens, weight.size(1)) for weight in weights]

    def multiply() -> None:
        with torch.no_grad():
            for x, weight in zip(inputs, weights):
                F.linear(x, weight) @ weight

    return multiply


def count_flop(work: Callable[[], None]) -> int:
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()
