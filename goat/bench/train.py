"""Training speed beside transformers + peft: `python -m goat.bench train`.

LoRA r = 64 on q, k, v, o; the same weights, rows, rows per step and number format, in one run, by
turns (machines are noisy). A step is forward, backward, clipping and AdamW over 128 rows.

    goat             our loop: length buckets, head on answer positions only
    peft, bucketed   transformers + peft on the very micro-batches of ours: equal padding
    peft, padded     as its users train: random rows by 16, padded to the longest
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F

from goat import device
from goat.cli import parser_for
from goat.errors import UserError
from goat.files import checkpoint
from goat.files.checkpoint import EMBEDDED
from goat.llama import lora
from goat.llama.model import Llama, LlamaConfig
from goat.llama.padding import used
from goat.llama.tokenizer import Tokenizer
from goat.papers.arithmetic import dataset, suites
from goat.training.batches import IGNORE, Batch, RowBatches

MIDDLE = dict(dim=512, hidden_dim=1408, n_layers=6, n_heads=8, n_kv_heads=8, head_dim=64)


def main(argv: list[str] | None = None) -> None:
    parser = parser_for("python -m goat.bench train", __doc__)
    parser.add_argument("--steps", type=int, default=6, help="timed steps each (default 6)")
    parser.add_argument("--rounds", type=int, default=3, help="turns (default 3; the best counts)")
    parser.add_argument("--micro-tokens", type=int, default=4096,
                        help="tokens of a forward pass, padding included (default 4096)")
    parser.add_argument("--device", default="auto", help="default auto")
    parser.add_argument("--dtype", default="auto", choices=("auto", *device.DTYPES),
                        help="default auto")
    parser.add_argument("--small", action="store_true", help="the embedded base only")
    args = parser.parse_args(argv)
    if min(args.steps, args.rounds, args.micro_tokens) < 1:
        raise UserError("--steps, --rounds and --micro-tokens must be 1 or more")
    where, dtype = device.choose(args.device, args.dtype)
    print(f"{where.type}, {str(dtype)[6:]}, {torch.get_num_threads()} threads, "
          f"torch {torch.__version__}; {args.steps} steps of 128 rows, best of {args.rounds}")
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows.jsonl"
        dataset.write_mixture(rows, dataset.Recipe("demo", rows=4000), suites.reserved(),
                           progress=False)
        compare("embedded base", EMBEDDED, rows, where, dtype, args)
        if not args.small:
            base = checkpoint.load_model(EMBEDDED)
            model = Llama(LlamaConfig(vocab_size=base.config.vocab_size, **MIDDLE))
            model.init_weights(torch.Generator().manual_seed(0))
            checkpoint.save_model(model.to(dtype), Path(folder) / "middle")
            compare("6 layers x 512", Path(folder) / "middle", rows, where, dtype, args)


def compare(name: str, base: Path, rows: Path, where, dtype, args) -> None:
    """Time all contestants by turns and print tokens/s, real and with the padding counted."""
    tokenizer = Tokenizer(EMBEDDED)
    bucketed = RowBatches(rows, tokenizer, 128, args.micro_tokens, 512, seed=0)
    contestants = {"goat": (ours(base, where, dtype), bucketed.window)}
    theirs = peers(base, where, dtype)
    contestants["peft, bucketed"] = theirs, bucketed.window
    contestants["peft, padded"] = theirs, lambda step: as_users_pad(bucketed, step)
    best = dict.fromkeys(contestants, float("inf"))
    for turn in range(args.rounds + 1):  # the first turn warms up
        for who, (step, window) in contestants.items():
            began = time.perf_counter()
            for number in range(args.steps):
                step(window(number))
            if turn:
                best[who] = min(best[who], time.perf_counter() - began)
    print(f"\n{name:16}{'real tok/s':>12}{'padded tok/s':>14}{'rows/s':>9}{'goat is':>10}")
    real_of = {}
    for who, (_, window) in contestants.items():
        batches = [batch for number in range(args.steps) for batch in window(number)]
        real = sum(int((b.tokens != bucketed.pad_id).sum()) for b in batches)
        padded = sum(b.tokens.numel() for b in batches)
        real_of[who] = real / best[who]
        print(f"{who:16}{real / best[who]:12,.0f}{padded / best[who]:14,.0f}"
              f"{128 * args.steps / best[who]:9.0f}{real_of['goat'] / real_of[who]:9.2f}x")


def ours(base: Path, where, dtype) -> Callable:
    import train  # the script at the top level, whose loss this is

    model = checkpoint.load_model(base, dtype=dtype, device=where)
    lora.add_lora(model, 64).train()
    return stepper(lora.trainable(model), lambda batch: train.answer_loss(model, batch, where))


def peers(base: Path, where, dtype) -> Callable:
    """transformers' LLaMA wrapped by peft; the whole row's logits, as their training computes."""
    try:
        import peft
        import transformers
    except ImportError:
        raise UserError("this benchmark compares with transformers and peft: "
                        "pip install -r tests/requirements.txt")
    model = transformers.LlamaForCausalLM.from_pretrained(base, dtype=dtype).to(where)
    model = peft.get_peft_model(model, peft.LoraConfig(
        r=64, lora_alpha=64, lora_dropout=0.05, target_modules=list(lora.ATTENTION_TARGETS)))

    def loss(batch: Batch):
        mask = used(batch.labels != IGNORE)  # up to the last answer token
        logits = model(input_ids=batch.tokens.to(where), attention_mask=mask.to(where)).logits
        return F.cross_entropy(logits.float().flatten(0, 1), batch.labels.flatten().to(where),
                               ignore_index=IGNORE, reduction="sum")

    return stepper([p for p in model.train().parameters() if p.requires_grad], loss)


def stepper(params: list, loss: Callable) -> Callable:
    """One optimizer step over a window."""
    optimizer = torch.optim.AdamW(params, lr=1e-4)

    def step(window: list[Batch]) -> None:
        answers = sum(int((b.labels != IGNORE).sum()) for b in window)
        for batch in window:
            (loss(batch) / answers).backward()
        torch.nn.utils.clip_grad_norm_(params, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def as_users_pad(data: RowBatches, step: int) -> list[Batch]:
    """The same rows in random order, 16 at a time, padded to the longest (a multiple of 8)."""
    numbers = {number: row for row, number in enumerate(data.numbers)}
    rows = sorted(numbers[n] for batch in data.window(step) for n in batch.rows)
    batches = []
    for i in range(0, len(rows), 16):
        part = rows[i:i + 16]
        longest = max(data.starts[r + 1] - data.starts[r] - 1 for r in part)
        batches.append(data.collate(part, len(part), -(-longest // 8) * 8))
    return batches
