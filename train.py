"""Teach a LLaMA arithmetic: the training loop, from top to bottom.

    python train.py --lora-r 64                      # the embedded base, any CPU, minutes
    python train.py --lora-r 64 --base path/to/7B    # the paper's settings, one 24 GB GPU

Read main() first. It goes: settings, model, data, optimizer, loop, result.
"""

import argparse
import json
import math
import shutil
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from goat import checkpoint, device, lora, optim, probe, suites
from goat.batching import IGNORE, Batch, RowBatches, SkillStream
from goat.distributed import Group
from goat.errors import UserError, run
from goat.model import Llama
from goat.run_folder import RunFolder, StopSignal, fingerprint, peak_memory, restore, snapshot
from goat.tasks import dataset
from goat.tokenizer import Tokenizer

EMBEDDED = Path(__file__).parent / "goat" / "base"


def parse_args(argv: list[str]) -> argparse.Namespace:
    """The flags. Defaults are the paper's; without --base, those of goat/base/recipe.json."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    group = parser.add_argument_group("model")
    add = group.add_argument
    add("--base", help="LLaMA folder, HF or Meta (default: the embedded goat/base)")
    add("--full", action="store_true", help="train every weight instead of LoRA")
    add("--scratch", action="store_true",
        help="with --full: take config and tokenizer of the base, but random weights")
    add("--int8", action="store_true", help="hold the frozen base in 8 bits")
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
    if parser.parse_known_args(argv)[0].base is None:
        parser.set_defaults(**json.loads((EMBEDDED / "recipe.json").read_text())["train"])
    args = parser.parse_args(argv)
    positive = ("batch", "micro_tokens", "cutoff", "save_every", "log_every", "epochs", "lr",
                "max_steps", "skills", "rows")
    for name in positive:
        if getattr(args, name) is not None and getattr(args, name) <= 0:
            raise UserError(f"--{name.replace('_', '-')} must be above 0")
    if args.scratch and not args.full:
        raise UserError("--scratch starts from random weights, all of which must learn: add --full")
    if args.skills and not args.max_steps:
        raise UserError("--skills is an endless stream: say how long with --max-steps")
    return args


def load_model(args: argparse.Namespace, where: torch.device, dtype: torch.dtype) -> Llama:
    """The model to train: base + LoRA, or a base of which every weight learns."""
    base = args.base or EMBEDDED
    if args.scratch:
        model = Llama(checkpoint.read_config(base))
        model.init_weights(torch.Generator().manual_seed(args.seed))
        return model.to(where, dtype)
    model = checkpoint.load_model(base, dtype=dtype, device=where, int8=args.int8)
    if args.full:
        return model.requires_grad_(True)
    names = args.lora_targets
    targets = lora.ALL_TARGETS if names == "all" else tuple(names.replace(" ", "").split(","))
    return lora.add_lora(model, args.lora_r, args.lora_alpha, args.lora_dropout, targets,
                         seed=args.seed)


def load_data(args: argparse.Namespace, tokenizer: Tokenizer) -> RowBatches | SkillStream:
    """Windows of rows as functions of (seed, step); a missing default file is written first."""
    if args.skills:
        return SkillStream(tokenizer, args.micro_tokens, args.skills, args.max_steps, args.seed,
                           suites.reserved())
    path = args.data or ("data/arithmetic.jsonl" if args.base else "data/demo.jsonl")
    if args.data is None and not Path(path).exists():
        recipe = dataset.Recipe(mixture="paper" if args.base else "demo", rows=args.rows)
        dataset.write_rows(path, recipe, suites.reserved())
        print(f"{path}: {recipe.size:,} rows of the mixture {recipe.mixture!r} written")
    data = RowBatches(path, tokenizer, args.batch, args.micro_tokens, args.cutoff, args.seed)
    if data.left_out:
        print(f"{data.left_out:,} rows of more than {args.cutoff} tokens are left out (--cutoff)")
    return data


def answer_loss(model: Llama, batch: Batch, where: torch.device) -> Tensor:
    """The sum of the cross-entropies of the batch's answer tokens, in fp32.

    The head is applied to answer positions only; their number is padded to a multiple of 256,
    since every new shape costs a CPU's matrix library a new kernel.
    """
    hidden = model.hidden(batch.tokens.to(where)).flatten(0, 1)  # (B * T, C)
    labels = batch.labels.flatten()
    at = (labels != IGNORE).nonzero()[:, 0]
    padding = -len(at) % 256
    labels = F.pad(labels[at], (0, padding), value=IGNORE).to(where)
    at = F.pad(at, (0, padding)).to(where)
    logits = model.lm_head(hidden[at]).float()  # (N, V)
    return F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="sum")


def main(argv: list[str] | None = None) -> int | None:
    # settings: everything that can be refused is refused before anything is loaded
    args = parse_args(sys.argv[1:] if argv is None else argv)
    where, dtype = device.pick(args.device, args.dtype)
    group = Group(where)
    where = group.device
    folder = RunFolder(args, "out/full" if args.full else "out/lora", group)
    say = folder.say
    say(f"{folder.path}: {where.type}, {str(dtype)[6:]}, {torch.get_num_threads()} threads; "
        + " ".join(f"{k}={v}" for k, v in vars(args).items() if v not in (None, False)))

    # model: a frozen base and its adapter, or all weights with fp32 master copies
    torch.manual_seed(args.seed)
    model = load_model(args, where, dtype).train()
    tokenizer = Tokenizer(args.base or EMBEDDED)
    masters = optim.MasterWeights(lora.trainable(model))
    learning, total = (sum(p.numel() for p in ps) for ps in (masters.params, model.parameters()))
    say(f"{learning:,} of {total:,} parameters learn ({100 * learning / total:.2f} %)")

    # data: what a step sees depends on (seed, step) only
    data = load_data(args, tokenizer)
    steps = args.max_steps or math.ceil(len(data) * args.epochs / args.batch)

    # optimizer, and the checkpoint to go on from
    optimizers = optim.make_optimizers(model, masters, lr=args.lr, muon_lr=args.muon_lr,
                                       betas=(0.9, args.beta2), weight_decay=args.weight_decay)
    rates = [g["lr"] for o in optimizers for g in o.param_groups]
    settings = {**vars(args), "steps": steps, "data_hash": data.fingerprint,
                "base_hash": fingerprint(args.base or EMBEDDED)}
    first = restore(folder.begin(settings), masters, optimizers)
    before = probe.probe(model, tokenizer) if args.before_after and group.writer else None

    # loop: one window, one optimizer step
    began, seen, stop = time.time(), 0, StopSignal()
    progress = tqdm(range(first, steps), initial=first, total=steps, unit="step",
                    disable=not group.writer)
    for step in progress:
        torch.manual_seed((args.seed * 1_000_003 + step) * 1009 + group.rank)  # for the dropout
        window = data.window(step)
        answers = sum(int((b.labels != IGNORE).sum()) for b in window)  # of the whole window
        loss = 0.0
        for batch in map(group.share, window):
            if len(batch.tokens):
                part = answer_loss(model, batch, where) / answers
                part.backward()
                masters.collect()
                loss += part.item()
            seen += batch.tokens.numel()
        group.sum_gradients(masters.masters)
        loss = group.total(loss)
        norm = torch.nn.utils.clip_grad_norm_(masters.masters, args.clip).item()
        if not math.isfinite(loss + norm):
            rows = [row for batch in window for row in batch.rows]
            raise UserError(f"step {step}: loss {loss}, gradient norm {norm}; lower --lr or try "
                            f"--dtype fp32. The step's rows: {rows}")
        factor = optim.schedule(step, steps, args.warmup, args.hold, args.final_lr)
        for param_group, rate in zip((g for o in optimizers for g in o.param_groups), rates):
            param_group["lr"] = rate * factor
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        masters.publish()

        done, seconds = step + 1, time.time() - began
        stopping = group.total(stop.number) > 0
        if done % args.log_every == 0 or done == steps:
            speed = group.size * seen / seconds
            folder.log(step=done, loss=round(loss, 5), norm=round(norm, 4), lr=args.lr * factor,
                       answer_tokens=answers, tokens_per_s=round(speed), seconds=round(seconds, 1))
            progress.set_postfix(loss=f"{loss:.4f}", tok_s=f"{speed:,.0f}")
        if args.eval_every and done % args.eval_every == 0 and group.writer:
            scores = probe.probe(model, tokenizer, size=16, notations=("held out",), progress=False)
            right, asked = (sum(getattr(s, key) for s in scores.values()) for key in ("right", "n"))
            folder.log(step=done, exact_match=right / asked, questions=asked)
            progress.write(f"step {done}: exact match {right} of {asked} held-out questions")
        if done % args.save_every == 0 or done == steps or stopping:
            folder.save_state(snapshot(done, settings, masters, optimizers))
        if stopping:
            stop.release()
            say(f"stopped after step {done}; go on with --resume --out {folder.path}")
            return 128 + stop.number

    # result: written by one process, read again and compared
    stop.release()
    seconds = time.time() - began
    if group.writer:
        model.eval()
        say(f"{steps - first} steps in {seconds:.0f} s, "
            f"{(steps - first) * args.batch / seconds:.1f} rows/s, peak memory {peak_memory(where)}")
        if before:
            say(probe.table(before, probe.probe(model, tokenizer)))
        if args.full:
            checkpoint.save_model(model, folder.path / "model")
            shutil.copy(tokenizer.path, folder.path / "model" / "tokenizer.model")
            say(f"evaluate it:  python eval.py --base {folder.path / 'model'}")
        else:
            checkpoint.save_adapter(model, folder.path / "adapter", args.base or EMBEDDED)
            base = f" --base {args.base}" if args.base else ""
            say(f"evaluate it:  python eval.py{base} --adapter {folder.path / 'adapter'}")
    group.close()


if __name__ == "__main__":
    run(main)
