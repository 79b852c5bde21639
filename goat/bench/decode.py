"""Decoding beside transformers' `generate`: new tokens per second, in one run.

    python -m goat.bench decode [--base DIR] [--adapter DIR] [--batch-sizes 1 32 128] [--int8]

Both answer the same questions greedily with the same weights in the same number format, an adapter
merged for both; with --int8 ours are in 8 bits. Counted are the new tokens up to EOS, so that idle
rows of a batch count nothing. Two kinds of work:

    questions   as they come: of all four operations and of all sizes, each answered to its end.
                transformers gets them in batches in the given order, padded on the left.
    even        prompts of one length and exactly --even new tokens for each, EOS ignored: no row
                waits for another, which is the best case for fixed batches.

"same" is the share of questions that got the same text from both: in fp32 all, in bf16 nearly
(the sums are rounded in another order). transformers is a peer to compare with, not needed to run.
"""

import random
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace

import torch

from goat import device
from goat.bench.peers import installed, transformers_model
from goat.cli import parser_for
from goat.errors import UserError
from goat.evaluation.questions import load_suites
from goat.files import checkpoint
from goat.files.bases import EMBEDDED, SMOLLM2
from goat.files.vocabulary import open_tokenizer
from goat.llama import lora
from goat.llama.generate import stream
from goat.llama.int8 import to_int8
from goat.llama.joined import join
from goat.llama.model import Llama
from goat.llama.tokenizer import Tokenizer

PROBLEMS = {1: 24, 32: 256}  # questions for a batch size; for others four batches
# (prompts, batch size, most new tokens, ignore EOS?) -> the new token ids of each prompt
Engine = Callable[[list[str], int, int, bool], list[list[int]]]


def main(argv: list[str] | None = None) -> None:
    parser = parser_for("python -m goat.bench decode", __doc__)
    parser.add_argument("--base", help=f"LLaMA folder, GGUF file, or "
                        f"{SMOLLM2} (default: the embedded model)")
    parser.add_argument("--adapter", help="LoRA folder, merged for both (default: the embedded one "
                        "if --base is not given and it is there, else none)")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 32, 128],
                        help="rows at a time (default 1 32 128)")
    parser.add_argument("--max-new-tokens", type=int, default=256, help="default 256")
    parser.add_argument("--even", type=int, default=64, help="new tokens of even work (default 64)")
    parser.add_argument("--int8", action="store_true", help="our blocks in 8 bits")
    device.add_flags(parser.add_argument)
    args = parser.parse_args(argv)
    if min(args.batch_sizes + [args.max_new_tokens, args.even]) < 1:
        raise UserError("--batch-sizes, --max-new-tokens and --even must be at least 1")
    where, dtype = device.choose(args.device, args.dtype)
    if not (args.adapter or args.base) and (EMBEDDED / "adapter").is_dir():
        args.adapter = EMBEDDED / "adapter"
    args.base = args.base or EMBEDDED
    model = checkpoint.load_adapted(args.base, args.adapter or None, dtype=dtype, device=where)
    lora.merge(model)
    tokenizer = open_tokenizer(args.base)
    peer = transformers_like(model, tokenizer)
    if args.int8:
        to_int8(model)
    ours = partial(new_ids, join(model), tokenizer)
    prompts = [q.prompt for q in load_suites(["demo", "large"], 100)]
    random.Random(0).shuffle(prompts)
    lengths = [len(tokenizer.encode_prompt(prompt)) for prompt in prompts]
    commonest = statistics.mode(lengths)
    one_length = [p for p, n in zip(prompts, lengths) if n == commonest]

    print(f"{args.base}, adapter {args.adapter or 'none'}, {dtype}{', ours int8' * args.int8} on "
          f"{where}, {torch.get_num_threads()} threads")
    print(f"{'work':11}{'batch':>6}{'problems':>10}{'ours tok/s':>13}"
          f"{'transformers':>14}{'ratio':>8}{'same':>8}")
    for size in args.batch_sizes:
        some = prompts[:PROBLEMS.get(size, 4 * size)]
        even = [one_length[i % len(one_length)] for i in range(size)]
        for work, asked, tokens, ignore_eos in (("questions", some, args.max_new_tokens, False),
                                                ("even", even, args.even, True)):
            row = [timed(engine, asked, size, tokens, ignore_eos)
                   for engine in (ours, peer) if engine]
            print(f"{work:11}{size:>6}{len(asked):>10}" + figures(*row), flush=True)
    if peer is None:
        print("transformers is not installed: pip install -r tests/requirements.txt")


def timed(engine: Engine, prompts: list[str], size: int, tokens: int,
          ignore_eos: bool) -> tuple[float, list[list[int]]]:
    """(new tokens per second, the new token ids of each prompt), after a short warm-up."""
    engine(prompts[:size], size, 8, ignore_eos)
    began = time.perf_counter()
    answers = engine(prompts, size, tokens, ignore_eos)
    return sum(map(len, answers)) / (time.perf_counter() - began), answers


def figures(ours: tuple[float, list], peer: tuple[float, list] | None = None) -> str:
    if peer is None:
        return f"{ours[0]:>13,.0f}{'-':>14}{'-':>8}{'-':>8}"
    same = sum(a == b for a, b in zip(ours[1], peer[1])) / len(ours[1])
    return f"{ours[0]:>13,.0f}{peer[0]:>14,.0f}{ours[0] / peer[0]:>8.1f}{100 * same:>7.1f}%"


def new_ids(model: Llama, tokenizer: Tokenizer, prompts: list[str], size: int, tokens: int,
            ignore_eos: bool) -> list[list[int]]:
    """Our `Engine`, given its first two arguments. Only ids count: no text is made of them."""
    end = None if ignore_eos else tokenizer.eos_id
    textless = SimpleNamespace(eos_id=end, encode_prompt=tokenizer.encode_prompt,
                               decode_answer=lambda prompt, ids: "")
    rows = sorted(stream(model, textless, prompts, tokens, size), key=lambda row: row.problem)
    return [until(row.new, end) for row in rows]


def transformers_like(model: Llama, tokenizer: Tokenizer) -> Engine | None:
    """The same weights in transformers; None if it is not installed."""
    if not installed("transformers"):
        return None
    weight = model.model.embed_tokens.weight
    with tempfile.TemporaryDirectory() as folder:
        checkpoint.save_model(model, folder)
        peer = transformers_model(folder, weight.dtype, weight.device)

    def answer(prompts: list[str], size: int, tokens: int, ignore_eos: bool) -> list[list[int]]:
        answers = []
        for start in range(0, len(prompts), size):
            some = [tokenizer.encode_prompt(prompt) for prompt in prompts[start:start + size]]
            length = max(map(len, some))
            ids = torch.tensor([[0] * (length - len(p)) + p for p in some], device=weight.device)
            mask = torch.tensor([[0] * (length - len(p)) + [1] * len(p) for p in some],
                                device=weight.device)
            end = None if ignore_eos else tokenizer.eos_id
            out = peer.generate(ids, attention_mask=mask, do_sample=False, max_new_tokens=tokens,
                                eos_token_id=end, pad_token_id=tokenizer.eos_id)
            answers += [until(row, end) for row in out[:, length:].tolist()]
        return answers

    return answer


def until(ids: list[int], end: int | None) -> list[int]:
    """The ids before `end`."""
    return ids[:ids.index(end)] if end in ids else ids
