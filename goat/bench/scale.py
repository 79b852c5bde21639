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

import torch
from torch import Tensor

import train
from goat import device
from goat.bench.peers import now
from goat.cli import parser_for
from goat.errors import UserError
from goat.llama import lora
from goat.llama.model import Llama, LlamaConfig
from goat.training.batches import Batch
from goat.training.memory_meter import storages


USUAL = {"rows": 16, "length": 128, "rank": 64, "width": 256}
SWEEPS = {"rows": (4, 8, 16, 32, 64), "length": (64, 128, 256, 512, 1024),
          "rank": (8, 16, 32, 64, 128), "width": (128, 256, 512, 1024)}
TOY = {"rows": 2, "length": 16, "rank": 2, "width": 64}
TOY_SWEEPS = {"rows": (2, 4), "length": (16, 32), "rank": (2, 4), "width": (64, 128)}
LAYERS, HEAD_DIM = 4, 64


def main(argv: list[str] | None = None) -> None:
    parser = parser_for("python -m goat.bench scale", __doc__)
    parser.add_argument("--repeats", type=int, default=5, help="the best counts (default 5)")
    device.add_flags(parser.add_argument)
    parser.add_argument("--toy", action="store_true", help="sizes that take a second in all")
    args = parser.parse_args(argv)
    if args.repeats < 1:
        raise UserError("--repeats must be above 0")
    where, dtype = device.choose(args.device, args.dtype)
    usual, sweeps = (TOY, TOY_SWEEPS) if args.toy else (USUAL, SWEEPS)
    print(f"{where.type}, {str(dtype)[6:]}, {torch.get_num_threads()} threads, "
          f"torch {torch.__version__}; {LAYERS} layers; where not changed: "
          + ", ".join(f"{name} {value}" for name, value in usual.items()))
    for name, values in sweeps.items():
        print(f"\n{name:>8}" + "".join(f"{title:>18}" for title in
                                       ("ms", "tokens/s", "saved MB", "adapter MB")))
        before = [0.0] * 4  # the first line has no ratios
        for value in values:
            figures = measure(where, dtype, args.repeats, **usual | {name: value})
            print(f"{value:8}" + "".join(
                f"{f'{new:,.1f}':>11}{f'x {new / old:.2f}' if old else '':>7}"
                for new, old in zip(figures, before)), flush=True)
            before = figures


def measure(where: torch.device, dtype: torch.dtype, repeats: int, rows: int, length: int,
            rank: int, width: int) -> list[float]:
    """Milliseconds of a pass, tokens/s, saved MB, adapter MB."""
    heads = max(1, width // HEAD_DIM)
    config = LlamaConfig(vocab_size=1536, dim=width, hidden_dim=width * 11 // 4, n_layers=LAYERS,
                         n_heads=heads, n_kv_heads=heads, head_dim=HEAD_DIM, tie_embeddings=True)
    model = Llama(config)
    model.init_weights(torch.Generator().manual_seed(0))
    lora.add_lora(model.to(where, dtype), rank).train()
    tokens = torch.randint(config.vocab_size, (rows * length,),
                           generator=torch.Generator().manual_seed(0))
    batch, best = Batch(tokens, tokens, [length] * rows), float("inf")
    saved = saved_bytes(model, batch, where)
    for _ in range(repeats + 1):  # the first pass builds kernels
        began = now(where)
        train.answer_loss(model, batch, where).backward()
        best = min(best, now(where) - began)
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
