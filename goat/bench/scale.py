"""How cost grows: `python -m goat.bench scale`.

One forward and backward pass with LoRA on q, k, v, o of a model with random weights, one quantity
changed at a time: rows of a micro-batch, tokens in each, the rank, the model's width. Every token
is a target, so nothing is left out.

    saved MB     what autograd keeps for the backward pass, parameters not counted
    adapter MB   weight, gradient and AdamW's two moments of A and B, all fp32

MB = 1e6 bytes. Behind each figure stands, as `x …`, its ratio to the line above: where the
quantity doubles and the ratio is 2, the cost is proportional to it; 4 means its square, 1 means
that it does not matter.

Then, `models`: where the products and the memory of a pass of 4,096 tokens go in models of three
sizes. Nothing is computed: torch counts the products on the meta device, and the memory is the
ledger's (goat/training/memory.py), for a GPU and 16 bits. What the head and LoRA work is what
doubling the vocabulary and the rank adds.

    MFLOP a token   products forward and backward; attention's squares are counted whole
    x 4 P           the same over 4 FLOP a parameter, the rule of thumb for LoRA
    LoRA GB         its weights, gradients and moments
    KB a token      what autograd keeps for the backward pass, hardly more in long rows; 1e3 bytes
    fits            the largest pass under 21.5 GiB, in tokens, without recomputation
"""

from dataclasses import replace
from itertools import product

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

import train
from goat import device
from goat.bench.peers import now
from goat.cli import parser_for, refuse_below
from goat.files.bases import EMBEDDED
from goat.files.checkpoint import blank_model, read_config
from goat.llama import lora
from goat.llama.model import Llama, LlamaConfig
from goat.training import memory
from goat.training.batches import Batch
from goat.training.memory_meter import storages


USUAL = {"rows": 16, "length": 128, "rank": 64, "width": 256}
SWEEPS = {"rows": (4, 8, 16, 32, 64), "length": (64, 128, 256, 512, 1024),
          "rank": (8, 16, 32, 64, 128), "width": (128, 256, 512, 1024)}
TOY = {"rows": 2, "length": 16, "rank": 2, "width": 64}
TOY_SWEEPS = {"rows": (2, 4), "length": (16, 32), "rank": (2, 4), "width": (64, 128)}
LAYERS, HEAD_DIM = 4, 64
MODELS = {"embedded": read_config(EMBEDDED),
          **{name: memory.PRESETS[name] for name in ("smollm2", "llama-7b")}}
PASS = [*MODELS], 4096, (128, 512, 2048)  # which of them, tokens in all, and in a row
TOY_PASS = ["embedded"], 64, (16, 32)
PARTS = ("blocks", "attention", "head", "LoRA")
PART_OF = {"attention": "attention", "head,": "head", "LoRA": "LoRA"}  # first words of the ledger


def main(argv: list[str] | None = None) -> None:
    parser = parser_for("python -m goat.bench scale", __doc__)
    parser.add_argument("--repeats", type=int, default=5, help="the best counts (default 5)")
    device.add_flags(parser.add_argument)
    parser.add_argument("--only", nargs="+", choices=[*SWEEPS, "models"], metavar="NAME",
                        default=[*SWEEPS, "models"],
                        help=f"some of {', '.join(SWEEPS)}, models (default: all)")
    parser.add_argument("--toy", action="store_true", help="sizes that take seconds in all")
    args = parser.parse_args(argv)
    refuse_below(args, 1, "repeats")
    where, dtype = device.choose(args.device, args.dtype)
    usual, sweeps = (TOY, TOY_SWEEPS) if args.toy else (USUAL, SWEEPS)
    print(f"{where.type}, {str(dtype)[6:]}, {torch.get_num_threads()} threads, "
          f"torch {torch.__version__}; {LAYERS} layers; where not changed: "
          + ", ".join(f"{name} {value}" for name, value in usual.items()))
    for name, values in ((name, sweeps[name]) for name in sweeps if name in args.only):
        print(f"\n{name:>8}" + "".join(f"{title:>18}" for title in
                                       ("ms", "tokens/s", "saved MB", "adapter MB")))
        before = [0.0] * 4  # the first line has no ratios
        for value in values:
            figures = measure(where, dtype, args.repeats, **usual | {name: value})
            print(f"{value:8}" + "".join(
                f"{f'{new:,.1f}':>11}{f'x {new / old:.2f}' if old else '':>7}"
                for new, old in zip(figures, before)), flush=True)
            before = figures
    if "models" in args.only:
        print_models(usual["rank"], *(TOY_PASS if args.toy else PASS))


def print_models(rank: int, models: list[str], tokens: int, lengths: tuple[int, ...]) -> None:
    """The tables of these models, for passes of so many tokens in rows of each length."""
    shares = "".join(f"{part + ' %':>13}" for part in PARTS)
    sizes = {name: sum(p.numel() for p in blank_model(MODELS[name]).parameters())
             for name in models}
    print(f"\nmodels: rank {rank}, passes of {tokens:,} tokens, as a GPU takes them in 16 bits\n\n"
          f"{'products':9}{'length':>7}{'MFLOP a token':>15}{'x 4 P':>7}{shares}")
    for name, length in product(models, lengths):
        parts = products(MODELS[name], rank, tokens // length, length)
        flop = sum(parts.values()) / tokens
        print(f"{name:9}{length:7}{flop / 1e6:15,.1f}{flop / 4 / sizes[name]:7.2f}{percent(parts)}",
              flush=True)
    length = lengths[0]
    print(f"\n{'memory':9}{'weights GB':>12}{'LoRA GB':>9}{'KB a token':>12}{shares}{'fits':>9}")
    for name in models:
        held = "{:12.3f}{:9.3f}".format(*(n / memory.GB for n in memory_held(MODELS[name], rank)))
        parts = memory_kept(MODELS[name], rank, tokens // length, length)
        fits = length * memory.largest(MODELS[name], memory.Workload(rank, length=length))
        print(f"{name:9}{held}{sum(parts.values()) / tokens / 1e3:12,.1f}{percent(parts)}{fits:9,}")


def percent(parts: dict[str, int]) -> str:
    return "".join(f"{100 * parts[part] / sum(parts.values()):13.1f}" for part in PARTS)


def products(config: LlamaConfig, rank: int, rows: int, length: int) -> dict[str, int]:
    """The FLOP of a pass by PARTS, as torch counts them."""
    total, plain = count(config, rank, rows, length)
    wider = replace(config, vocab_size=2 * config.vocab_size)
    head = count(wider, rank, rows, length)[0] - total
    adapter = count(config, 2 * rank, rows, length)[0] - total
    return {"blocks": plain - head - adapter, "attention": total - plain, "head": head,
            "LoRA": adapter}


def count(config: LlamaConfig, rank: int, rows: int, length: int) -> tuple[int, int]:
    """The FLOP of a pass: all, and those of plain products, which attention's are not (there is one
    for each row and head)."""
    model = blank_model(config)
    with torch.device("meta"):
        lora.add_lora(model, rank).train()
    tokens = torch.zeros(rows * length, dtype=torch.int64)
    with FlopCounterMode(display=False) as counter:
        train.answer_loss(model, Batch(tokens, tokens, [length] * rows)).backward()
    return counter.get_total_flops(), counter.get_flop_counts()["Global"][torch.ops.aten.mm]


def memory_held(config: LlamaConfig, rank: int) -> tuple[int, int]:
    """The bytes of the weights, and of LoRA with its gradients and moments, by the ledger."""
    one, two = (sum(memory.state(config, memory.Workload(r)).values()) for r in (rank, 2 * rank))
    return 2 * one - two, two - one


def memory_kept(config: LlamaConfig, rank: int, rows: int, length: int) -> dict[str, int]:
    """The bytes that a forward pass keeps, by PARTS, by the ledger."""
    kept = dict.fromkeys(PARTS, 0)
    workload = memory.Workload(rank, micro_batch=rows, length=length)
    for name, size in memory.plan(config, workload).saved.items():
        kept[PART_OF.get(name.split()[1], "blocks")] += size
    return kept


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
    saved = saved_bytes(model, batch)
    for _ in range(repeats + 1):  # the first pass builds kernels
        began = now(where)
        train.answer_loss(model, batch).backward()
        best = min(best, now(where) - began)
    adapter = 16 * sum(p.numel() for p in lora.trainable(model))
    return [1e3 * best, tokens.numel() / best, saved / 1e6, adapter / 1e6]


def saved_bytes(model: Llama, batch: Batch) -> int:
    """The bytes, parameters not counted, that autograd keeps for a backward pass."""
    kept: list[Tensor] = []  # alive to the end, so that no address is used twice

    def pack(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        train.answer_loss(model, batch)
    own = storages(model.parameters())
    return sum(size for at, size in storages(kept).items() if at not in own)
