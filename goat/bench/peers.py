"""What the benchmarks share: rows, a training step of ours and of transformers + peft, a clock.

LoRA r = 64 on q, k, v, o for both; a step is forward, backward, clipping and AdamW over a window.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

import train  # the script at the top level, whose loss is ours
from goat.files.bases import EMBEDDED
from goat.files.vocabulary import open_tokenizer
from goat.llama import lora
from goat.llama.kernels import round_up
from goat.llama.model import Llama
from goat.papers.arithmetic import dataset, suites
from goat.training.batches import IGNORE, Batch, RowBatches

CUTOFF = 512  # tokens of the longest row
Window = Callable[[int], list[Batch]]  # step number -> its micro-batches
Step = Callable[[list[Batch]], None]  # one optimizer step over these


def installed(*packages: str) -> bool:
    return all(map(find_spec, packages))


def now(where: torch.device) -> float:
    """Seconds, read when the device has done all it was given."""
    if where.type == "cuda":
        torch.cuda.synchronize(where)
    return time.perf_counter()


# ---- rows ----------------------------------------------------------------------------------------

def goat_rows(folder: str | Path, mixture: str, rows: int, batch: int,
              micro_tokens: int, base: str | Path = EMBEDDED) -> RowBatches:
    """Windows of `batch` rows of a mixture, in the tokens of `base`. (The embedded tokenizer writes
    digits as LLaMA's does, so that the lengths are alike; which ids they are does not matter.)"""
    file = Path(folder) / "rows.jsonl"
    dataset.write_mixture(file, dataset.Recipe(mixture, rows), suites.reserved())
    return RowBatches(file, open_tokenizer(base), batch, micro_tokens, CUTOFF, seed=0)


def by_rows(data: RowBatches, step: int, size: int, group: bool = False) -> list[Batch]:
    """A window's rows as peft's users take them: `size` a micro-batch, in random order or grouped
    by length."""
    rows = data.drawn(step)  # longest first
    if not group:
        rows.sort()  # as they stand in the file
    parts = [rows[i:i + size] for i in range(0, len(rows), size)]
    return [data.collate(part, len(part), max(map(data.size, part))) for part in parts]


def count_tokens(data: RowBatches, window: Window, steps: int) -> tuple[int, int]:
    """The tokens of the first steps: (without padding, with that of a rectangle)."""
    batches = [batch for step in range(steps) for batch in window(step)]
    return (sum(int((batch.tokens != data.pad_id).sum()) for batch in batches),
            sum(len(batch.lengths) * width(batch) for batch in batches))


def padded(batch: Batch, x: Tensor, value: int) -> Tensor:
    """What stands beside each token of a batch, x (N,), as a rectangle (B, T)."""
    rows = pad_sequence(list(x.split(batch.lengths)), batch_first=True, padding_value=value)
    return F.pad(rows, (0, width(batch) - rows.size(1)), value=value)


def width(batch: Batch) -> int:
    """T of that rectangle, a multiple of 8."""
    return round_up(max(batch.lengths), 8)


# ---- steps ---------------------------------------------------------------------------------------

def our_step(model: Llama) -> Step:
    """A step of ours: the head on answer positions only."""
    lora.add_lora(model, 64).train()
    return stepper(model, partial(train.answer_loss, model))


def transformers_model(folder: str | Path, dtype: torch.dtype, where: torch.device) -> Any:
    """transformers' LLaMA with the weights in a folder."""
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    return model.to(where)


def peft_step(model: Any, where: torch.device) -> Step:
    """A step of transformers' LLaMA wrapped by peft: the whole row's logits, as their training
    computes."""
    import peft

    model = peft.get_peft_model(model, peft.LoraConfig(
        r=64, lora_alpha=64, lora_dropout=0.05, task_type="CAUSAL_LM",
        target_modules=list(lora.ATTENTION_TARGETS))).train()

    def loss(batch: Batch) -> Tensor:
        tokens, labels = (padded(batch, x, value).to(where)
                          for x, value in ((batch.tokens, 0), (batch.labels, IGNORE)))
        mask = padded(batch, torch.ones_like(batch.tokens), 0).to(where)
        logits = model(input_ids=tokens, attention_mask=mask).logits
        return F.cross_entropy(logits.float().flatten(0, 1), labels.flatten(),
                               ignore_index=IGNORE, reduction="sum")

    return stepper(model, loss)


def stepper(model: nn.Module, loss: Callable[[Batch], Tensor]) -> Step:
    params = lora.trainable(model)
    optimizer = torch.optim.AdamW(params, lr=1e-4)

    def step(window: Sequence[Batch]) -> None:
        answers = sum(int((b.labels != IGNORE).sum()) for b in window)
        for batch in window:
            (loss(batch) / answers).backward()
        torch.nn.utils.clip_grad_norm_(params, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step
