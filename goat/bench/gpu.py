"""LLaMA-7B on one 24 GB card: speed and memory beside transformers + peft.

    python -m goat.bench gpu            # needs a CUDA GPU, of any size: the process is capped
    python -m goat.bench gpu --toy      # the same code in miniature, on any machine

Builds a model of LLaMA-7B's dimensions with random weights and trains LoRA r = 64 on q, k, v, o
over rows of Goat's dataset, 128 a step, under a cap of 21.5 GiB, which is what a 24 GB card
leaves. Ours comes with a 16-bit base, with int8 weights, and with int8 weights and inputs
(`int8 x int8`), each with and without recomputation (`ckpt`), in micro-batches as large as the
ledger (goat/training/memory.py) says. peft trains on the same rows, padded as its users do
(rows in random order) and grouped by length; its micro-batch is halved until it fits.

Columns. real tok/s: tokens without padding. alloc, reserved, predicted: peak memory in GB = 1e9
bytes. share: 4 FLOP for each parameter and real token (forward 2, gradient of the inputs 2) over
the rate at which this device multiplies large matrices, measured at the start; with `ckpt` the
share that counts the recomputed forward pass too, 6 FLOP, stands behind it.
"""

import argparse
import copy
import gc
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product

import torch

from goat import device
from goat.bench.int8_inputs import OUTLIER, use_int8_inputs
from goat.bench.peers import (CUTOFF, Step, Window, by_rows, count_tokens, goat_rows, installed,
                              now, our_step, peft_step)
from goat.cli import parser_for
from goat.errors import UserError
from goat.files.checkpoint import blank_model
from goat.llama.int8 import Int8Linear, to_int8
from goat.llama.model import Llama, LlamaConfig
from goat.training import memory
from goat.training.batches import RowBatches

TOY = LlamaConfig(vocab_size=1536, dim=64, hidden_dim=176, n_layers=2, n_heads=4, n_kv_heads=4,
                  head_dim=16)


@dataclass(frozen=True)
class Bench:
    """What all contenders share."""

    config: LlamaConfig
    where: torch.device
    dtype: torch.dtype
    data: RowBatches
    args: argparse.Namespace


@dataclass(frozen=True)
class Contender:
    name: str
    build: Callable[[], Step]
    windows: list[Window]  # the first that fits counts
    checkpointing: bool
    predicted: int | None = None  # bytes


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    where, dtype = device.choose("cpu" if args.toy else args.device)
    if not args.toy and where.type != "cuda":
        raise UserError("this benchmark needs a CUDA GPU; see it run in miniature with --toy")
    if where.type == "cuda":
        whole = torch.cuda.get_device_properties(where).total_memory
        share = min(1.0, args.cap * memory.GIB / whole)
        torch.cuda.set_per_process_memory_fraction(share, where.index)  # None: the current one
    config = TOY if args.toy else LlamaConfig()
    rate = product_rate(where, dtype, 512 if args.toy else 8192)
    parameters = sum(p.numel() for p in blank_model(config).parameters())
    name = torch.cuda.get_device_name(where) if where.type == "cuda" else where.type
    print(f"{name}, torch {torch.__version__}, {str(dtype)[6:]}: {rate / 1e12:.2f} TFLOP/s in "
          f"large products; {parameters / 1e9:.2f} G parameters; cap {args.cap} GiB; "
          f"{args.steps} steps of {args.batch} rows")
    print(f"\n{'':40}{'rows/s':>8}{'real tok/s':>12}{'padded':>10}{'alloc':>8}{'reserved':>10}"
          f"{'predicted':>11}{'share':>8}")
    with tempfile.TemporaryDirectory() as folder:
        data = goat_rows(folder, "paper", args.batch * (args.steps + 1), args.batch,
                         args.micro_tokens)
        bench = Bench(config, where, dtype, data, args)
        speeds = {contender.name: measure(contender, bench, rate / parameters)
                  for contender in ours(bench) + theirs(bench)
                  if any(part in contender.name for part in args.only)}
    if not speeds:
        raise UserError(f"--only {' '.join(args.only)}: no line of the benchmark has such a name")
    int8, peft = (max((speed for name, speed in speeds.items() if name.startswith(who)), default=0)
                  for who in ("goat, int8 weights", "peft"))
    if int8 and peft:
        print(f"\nint8 weights, the best, against peft, the best: {int8 / peft:.2f} times the real "
              "tok/s")
    if args.toy:
        print("a toy: the paths have run, but its figures mean nothing. Missing, for want of a "
              "CUDA GPU: the speeds at LLaMA-7B's size, peak memory (alloc, reserved)")


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = parser_for("python -m goat.bench gpu", __doc__)
    parser.add_argument("--toy", action="store_true", help="a tiny model on the CPU")
    parser.add_argument("--device", default="auto", help="default auto")
    parser.add_argument("--cap", type=float, default=memory.CARD / memory.GIB,
                        help="GiB that this process may take (default %(default)s)")
    parser.add_argument("--steps", type=int, default=4, help="timed steps (default %(default)s)")
    parser.add_argument("--batch", type=int, default=128, help="rows a step (default %(default)s)")
    parser.add_argument("--micro-tokens", type=int, default=8192,
                        help="most tokens of a forward pass (default %(default)s)")
    parser.add_argument("--threshold", type=float, default=OUTLIER,
                        help="of outliers in int8 inputs, 0 = none apart (default %(default)s)")
    parser.add_argument("--only", nargs="+", default=[""], metavar="PART",
                        help="measure the lines whose name holds one of these parts, as "
                             "'int8 weights' or peft (default: all)")
    args = parser.parse_args(argv)
    if min(args.cap, args.steps, args.batch, args.micro_tokens) <= 0:
        raise UserError("--cap, --steps, --batch and --micro-tokens must be above 0")
    return args


def product_rate(where: torch.device, dtype: torch.dtype, size: int) -> float:
    """FLOP/s of multiplying two (size, size) matrices, the best of five turns of ten."""
    a, b = (torch.randn(size, size, device=where).to(dtype) for _ in range(2))
    seconds = []
    for _ in range(5):
        began = now(where)
        for _ in range(10):
            a @ b
        seconds.append(now(where) - began)
    return 10 * 2 * size ** 3 / min(seconds)


# ---- ours ----------------------------------------------------------------------------------------

def ours(bench: Bench) -> list[Contender]:
    """Base in three forms x checkpointing, in micro-batches that the ledger allows."""
    args, contenders = bench.args, []
    for base, checkpointing in product(("plain base", "int8 weights", "int8 x int8"),
                                       (False, True)):
        workload = memory.Workload(length=CUTOFF, int8=base.startswith("int8"), dtype=bench.dtype,
                                   checkpointing=checkpointing, fused=bench.where.type == "cuda")
        rows = memory.largest(bench.config, workload, int(args.cap * memory.GIB))
        data = copy.copy(bench.data)
        data.budget = min(args.micro_tokens, max(1, rows) * CUTOFF)
        predicted = max(memory.plan(bench.config, memory.of_batch(workload, b)).total
                        for step in range(args.steps) for b in data.window(step))
        contenders.append(Contender(f"goat, {base}{', ckpt' * checkpointing}",
                                    partial(build_ours, bench, base, checkpointing),
                                    [data.window], checkpointing, predicted))
    return contenders


def build_ours(bench: Bench, base: str, checkpointing: bool) -> Step:
    model = random_model(bench.config, bench.where, bench.dtype, int8=base.startswith("int8"))
    if base == "int8 x int8":
        use_int8_inputs(model, bench.args.threshold)
    model.checkpointing = checkpointing
    return our_step(model)


@torch.no_grad()
def random_model(config: LlamaConfig, where, dtype, int8: bool) -> Llama:
    """Random weights, made where they are to be used."""
    model = blank_model(config).to(dtype)
    if int8:
        to_int8(model)
    model.to_empty(device=where)
    generator = torch.Generator(where).manual_seed(0)
    for p in model.parameters():
        p.fill_(1.0) if p.dim() == 1 else p.normal_(0, 0.02, generator=generator)
    for layer in model.modules():
        if isinstance(layer, Int8Linear):
            layer.weight.random_(-127, 128, generator=generator)
            layer.scale.fill_(3 * 0.02 / 127)  # a row's largest is about three deviations
    return model


# ---- peft ----------------------------------------------------------------------------------------

def theirs(bench: Bench) -> list[Contender]:
    """transformers + peft, with and without checkpointing, padded and grouped."""
    if not installed("transformers", "peft"):
        print("peft is not compared: pip install -r tests/requirements.txt")
        return []
    size = max(1, bench.args.micro_tokens // CUTOFF)
    sizes = [size >> halvings for halvings in range(size.bit_length())]  # 16, 8, 4, 2, 1
    return [Contender(f"peft, plain base{', ckpt' * checkpointing}, "
                      f"{'grouped' if group else 'padded'}",
                      partial(build_theirs, bench, checkpointing),
                      [partial(by_rows, bench.data, size=size, group=group) for size in sizes],
                      checkpointing)
            for checkpointing, group in product((False, True), (False, True))]


def build_theirs(bench: Bench, checkpointing: bool) -> Step:
    import transformers

    c, where = bench.config, bench.where
    settings = transformers.LlamaConfig(
        vocab_size=c.vocab_size, hidden_size=c.dim, intermediate_size=c.hidden_dim,
        num_hidden_layers=c.n_layers, num_attention_heads=c.n_heads,
        num_key_value_heads=c.n_kv_heads, max_position_embeddings=c.max_positions, use_cache=False)
    with torch.device(where):
        model = transformers.AutoModelForCausalLM.from_config(settings, dtype=bench.dtype)
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    return peft_step(model, where)


# ---- the stop-watch ------------------------------------------------------------------------------

def measure(contender: Contender, bench: Bench, flops: float) -> float:
    """Run one contender, print its line, and return its real tokens/s (0 if it did not run).

    `flops` is the measured FLOP/s for each parameter of the model.
    """
    args, where = bench.args, bench.where
    for window in contender.windows:
        try:
            seconds = timed(contender, window, bench)
            break
        except torch.OutOfMemoryError:
            reason = "out of memory"
        except (RuntimeError, UserError) as error:  # a compiler's, a kernel's, our check's
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:80]
        finally:
            gc.collect()
            if where.type == "cuda":
                torch.cuda.empty_cache()
    else:
        print(f"{contender.name:40} {reason}", flush=True)
        return 0.0
    real, padded = (n / seconds for n in count_tokens(bench.data, window, args.steps))
    peaks = ([torch.cuda.max_memory_allocated(where), torch.cuda.max_memory_reserved(where)]
             if where.type == "cuda" else [None, None])
    gb = [f"{n / memory.GB:.2f}" if n else "-" for n in (*peaks, contender.predicted)]
    share = 4 * real / flops
    print(f"{contender.name:40}{args.batch * args.steps / seconds:8.1f}{real:12,.0f}{padded:10,.0f}"
          f"{gb[0]:>8}{gb[1]:>10}{gb[2]:>11}{share:8.1%}"
          + f" ({1.5 * share:.1%})" * contender.checkpointing, flush=True)
    return real


def timed(contender: Contender, window: Window, bench: Bench) -> float:
    """Seconds for all steps, after a first round that builds kernels for all shapes."""
    step, where = contender.build(), bench.where
    windows = [window(number) for number in range(bench.args.steps)]
    if where.type == "cuda":
        torch.cuda.reset_peak_memory_stats(where)
    for _ in range(2):
        began = now(where)
        for batches in windows:
            step(batches)
    return now(where) - began
