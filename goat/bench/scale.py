"""How cost grows: `python -m goat.bench scale`.

One forward and backward pass with LoRA on random weights, one quantity changed at a time: rows of
a micro-batch, their length, the rank, the model's width. Activations are the bytes that autograd
keeps for the backward pass (parameters not counted); the adapter's bytes are those of fp32 weight,
gradient and AdamW's two moments. MB = 1e6 bytes. Ratios are against the line above.
"""

import argparse
import time
from dataclasses import dataclass, replace

import torch
from torch import Tensor

import train
from goat import device, lora
from goat.batching import Batch
from goat.model import Llama, LlamaConfig


@dataclass(frozen=True)
class Setting:
    rows: int = 16
    length: int = 128
    rank: int = 64
    width: int = 256


SWEEPS = {"rows": (4, 8, 16, 32, 64), "length": (64, 128, 256, 512, 1024),
          "rank": (8, 16, 32, 64, 128), "width": (128, 256, 512, 1024)}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m goat.bench scale", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="the best counts (default 5)")
    parser.add_argument("--device", default="auto", help="default auto")
    parser.add_argument("--dtype", default="auto", choices=("auto", *device.DTYPES),
                        help="default auto")
    parser.add_argument("--points", type=int, default=5, help="of each sweep (default 5: all)")
    args = parser.parse_args(argv)
    where, dtype = device.pick(args.device, args.dtype)
    print(f"{where.type}, {str(dtype)[6:]}, {torch.get_num_threads()} threads, "
          f"torch {torch.__version__}; 4 layers, otherwise {Setting()}")
    for name, values in SWEEPS.items():
        print(f"\n{name:>8}{'ms':>9}{'ratio':>7}{'tokens/s':>11}{'activations MB':>16}{'ratio':>7}"
              f"{'adapter MB':>12}")
        before = None
        for value in values[:args.points]:
            setting = replace(Setting(), **{name: value})
            now = measure(setting, where, dtype, args.repeats)
            seconds, kept, adapter = now
            ratios = [new / old for new, old in zip(now, before)] if before else [1, 1]
            print(f"{value:8}{1e3 * seconds:9.1f}{ratios[0]:7.2f}"
                  f"{setting.rows * setting.length / seconds:11,.0f}{kept / 1e6:16.1f}"
                  f"{ratios[1]:7.2f}{adapter / 1e6:12.2f}")
            before = now


def measure(setting: Setting, where, dtype, repeats: int) -> tuple[float, int, int]:
    """(seconds of a pass, bytes of saved activations, bytes of the adapter in training)."""
    config = LlamaConfig(vocab_size=1536, dim=setting.width, hidden_dim=setting.width * 11 // 4,
                         n_layers=4, n_heads=max(1, setting.width // 64),
                         n_kv_heads=max(1, setting.width // 64), head_dim=64, tie_embeddings=True)
    model = Llama(config)
    model.init_weights(torch.Generator().manual_seed(0))
    lora.add_lora(model.to(where, dtype), setting.rank).train()
    tokens = torch.randint(config.vocab_size, (setting.rows, setting.length),
                           generator=torch.Generator().manual_seed(0))
    batch = Batch(tokens, tokens, [])
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        train.answer_loss(model, batch, where)
    best = float("inf")
    for _ in range(repeats + 1):
        began = time.perf_counter()
        train.answer_loss(model, batch, where).backward()
        if where.type == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - began)
    return best, sum(kept.values()), 16 * sum(p.numel() for p in lora.trainable(model))
