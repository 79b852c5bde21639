"""How cost grows: `python -m goat.bench scale`.

One forward and backward pass with LoRA on q, k, v, o of a model with random weights, one quantity
changed at a time: rows of a micro-batch, tokens in each, the rank, the model's width. Every token
is a target, so nothing is left out.

    saved MB     what autograd keeps for the backward pass, parameters not counted
    adapter MB   weight, gradient and AdamW's two moments of A and B, all fp32

MB = 1e6 bytes. Behind each figure stands, as `x …`, its ratio to the line above: where the
quantity doubles and the ratio is 2, the cost is proportional to it; 4 means its square, 1 means
that it does not matter.
"""

import time
from dataclasses import dataclass, replace

import torch
from torch import Tensor

import train
from goat import device
from goat.cli import parser_for
from goat.errors import UserError
from goat.llama import lora
from goat.llama.model import Llama, LlamaConfig
from goat.training.batches import Batch
from goat.training.memory_meter import storages


@dataclass(frozen=True)
class Sizes:
    rows: int = 16
    length: int = 128
    rank: int = 64
    width: int = 256


SWEEPS = {"rows": (4, 8, 16, 32, 64), "length": (64, 128, 256, 512, 1024),
          "rank": (8, 16, 32, 64, 128), "width": (128, 256, 512, 1024)}
TOY = Sizes(rows=2, length=16, rank=2, width=64)
TOY_SWEEPS = {"rows": (2, 4), "length": (16, 32), "rank": (2, 4), "width": (64, 128)}
LAYERS, HEAD_DIM = 4, 64


def main(argv: list[str] | None = None) -> None:
    parser = parser_for("python -m goat.bench scale", __doc__)
    parser.add_argument("--repeats", type=int, default=5, help="the best counts (default 5)")
    parser.add_argument("--device", default="auto", help="default auto")
    parser.add_argument("--dtype", default="auto", choices=("auto", *device.DTYPES),
                        help="default auto")
    parser.add_argument("--toy", action="store_true", help="sizes that take a second in all")
    args = parser.parse_args(argv)
    if args.repeats < 1:
        raise UserError("--repeats must be above 0")
    where, dtype = device.choose(args.device, args.dtype)
    usual, sweeps = (TOY, TOY_SWEEPS) if args.toy else (Sizes(), SWEEPS)
    print(f"{where.type}, {str(dtype)[6:]}, {torch.get_num_threads()} threads, "
          f"torch {torch.__version__}; {LAYERS} layers; where not changed: "
          + ", ".join(f"{name} {value}" for name, value in vars(usual).items()))
    for name, values in sweeps.items():
        print(f"\n{name:>8}" + "".join(f"{title:>18}" for title in
                                       ("ms", "tokens/s", "saved MB", "adapter MB")))
        before = None
        for value in values:
            now = measure(replace(usual, **{name: value}), where, dtype, args.repeats)
            print(f"{value:8}" + "".join(cells(now, before)), flush=True)
            before = now


def cells(now: list[float], before: list[float] | None) -> list[str]:
    """Each figure with its ratio to that of the line above."""
    ratios = [f"x {new / old:.2f}" for new, old in zip(now, before)] if before else [""] * len(now)
    return [f"{f'{figure:,.1f}':>11}{ratio:>7}" for figure, ratio in zip(now, ratios)]


def measure(sizes: Sizes, where: torch.device, dtype: torch.dtype,
            repeats: int) -> list[float]:
    """Milliseconds of a pass, tokens/s, saved MB, adapter MB."""
    heads = max(1, sizes.width // HEAD_DIM)
    config = LlamaConfig(vocab_size=1536, dim=sizes.width, hidden_dim=sizes.width * 11 // 4,
                         n_layers=LAYERS, n_heads=heads, n_kv_heads=heads, head_dim=HEAD_DIM,
                         tie_embeddings=True)
    model = Llama(config)
    model.init_weights(torch.Generator().manual_seed(0))
    lora.add_lora(model.to(where, dtype), sizes.rank).train()
    tokens = torch.randint(config.vocab_size, (sizes.rows, sizes.length),
                           generator=torch.Generator().manual_seed(0))
    batch, best = Batch(tokens, tokens, []), float("inf")
    saved = saved_bytes(model, batch, where)
    for _ in range(repeats + 1):  # the first pass builds kernels
        began = time.perf_counter()
        train.answer_loss(model, batch, where).backward()
        if where.type == "cuda":
            torch.cuda.synchronize(where)
        best = min(best, time.perf_counter() - began)
    adapter = 16 * sum(p.numel() for p in lora.trainable(model))
    return [1e3 * best, tokens.numel() / best, saved / 1e6, adapter / 1e6]


def saved_bytes(model: Llama, batch: Batch, where: torch.device) -> int:
    """The bytes, parameters not counted, that autograd keeps for a backward pass."""
    kept: list[Tensor] = []  # alive to the end, so that no address is used twice

    def pack(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        train.answer_loss(model, batch, where)
    own = storages(model.parameters())
    return sum(size for at, size in storages(kept).items() if at not in own)
