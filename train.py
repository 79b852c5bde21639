"""Teach a LLaMA arithmetic: the training loop, from top to bottom.

    python train.py --lora-r 64                      # the embedded base, any CPU, minutes
    python train.py --lora-r 64 --base path/to/7B    # the paper's settings, one 24 GB GPU

Read main() first. It goes: settings, model, data, optimizer, loop, result.
"""

import argparse
import math
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from goat import checkpoint, device, lora, memory, optim, probe, suites
from goat.batching import IGNORE, Batch, RowBatches, SkillStream
from goat.distributed import Group
from goat.errors import UserError, run
from goat.flags import EMBEDDED, parse_args
from goat.model import Llama, LlamaConfig
from goat.run_folder import RunFolder, StopSignal, fingerprint, peak_memory, restore, snapshot
from goat.tasks import dataset
from goat.tokenizer import Tokenizer


def lora_targets(args: argparse.Namespace) -> tuple[str, ...]:
    names = args.lora_targets
    return lora.ALL_TARGETS if names == "all" else tuple(names.replace(" ", "").split(","))


def fit(args: argparse.Namespace, config: LlamaConfig, where: torch.device,
        dtype: torch.dtype) -> memory.Setting:
    """Decide what is left to be decided by memory (args.int8, args.checkpointing), and return what
    a pass over the longest possible rows is made of. A plan without a GPU assumes a 24 GB card."""
    card = memory.CARD
    if where.type == "cuda":
        card = torch.cuda.mem_get_info(where)[1]
    gpu = where.type == "cuda" or args.plan is not None
    if args.plan and where.type == "cpu":
        dtype = device.DTYPES.get(args.dtype, torch.bfloat16)
    targets = tuple(t for t in lora_targets(args) if t in lora.ALL_TARGETS)  # add_lora checks them
    setting = memory.Setting(
        rank=0 if args.full else args.lora_r, targets=targets,
        dropout=args.lora_dropout, micro_batch=max(1, args.micro_tokens // args.cutoff),
        length=args.cutoff, dtype=dtype, fused=gpu, checkpointing=args.checkpointing == "on")
    if args.int8 is None:
        blocks = next(iter(memory.state(config, setting).values()))
        args.int8 = gpu and not args.full and blocks > card / 2
    setting = replace(setting, int8=args.int8)
    if args.checkpointing == "auto":
        needed = gpu and not memory.plan(config, **vars(setting)).fits(card)
        setting = replace(setting, checkpointing=needed)
    args.checkpointing = "on" if setting.checkpointing else "off"
    return setting


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
    return lora.add_lora(model, args.lora_r, args.lora_alpha, args.lora_dropout,
                         lora_targets(args), seed=args.seed)


def load_data(args: argparse.Namespace, tokenizer: Tokenizer) -> RowBatches | SkillStream:
    """Windows of rows as functions of (seed, step); a missing default file is written first."""
    if args.skills:
        return SkillStream(tokenizer, args.micro_tokens, args.skills, args.max_steps, args.seed,
                           suites.reserved(), args.skills_mix)
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


def longest_batch_first(model: Llama, data: RowBatches | SkillStream, where: torch.device) -> None:
    """A forward and backward pass that learns nothing, over the batch that needs most memory, so
    that a run which does not fit fails now and not hours later."""
    try:
        answer_loss(model, data.largest(), where).backward()
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise UserError("out of memory at the longest batch: lower --micro-tokens or --cutoff, "
                        f"hold the base in 8 bits with --int8, or lower --lora-r ({error})")
    model.zero_grad(set_to_none=True)


def main(argv: list[str] | None = None) -> int | None:
    # settings: everything that can be refused is refused before anything is loaded
    args = parse_args(sys.argv[1:] if argv is None else argv)
    where, dtype = device.pick(args.device, args.dtype)
    config = memory.PRESETS.get(args.plan) or checkpoint.read_config(args.base or EMBEDDED)
    setting = fit(args, config, where, dtype)
    if args.plan:
        print(memory.plan(config, **vars(setting)).table())
        return
    group = Group(where)
    where = group.device
    folder = RunFolder(args, "out/full" if args.full else "out/lora", group)
    say = folder.say
    say(f"{folder.path}: {where.type}, {str(dtype)[6:]}, {torch.get_num_threads()} threads; "
        + " ".join(f"{k}={v}" for k, v in vars(args).items() if v not in (None, False)))

    # model: a frozen base and its adapter, or all weights with fp32 master copies
    torch.manual_seed(args.seed)
    model = load_model(args, where, dtype).train()
    model.checkpointing = setting.checkpointing
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
    state = folder.begin(settings)
    finished = state is not None and state["step"] >= steps
    ask = args.before_after and group.writer and not finished
    before = probe.probe(model, tokenizer) if ask else None  # a fresh adapter changes nothing yet
    first = restore(state, masters, optimizers)

    # loop: one window, one optimizer step
    longest_batch_first(model, data, where)
    began, seen, bad_steps, stop = time.time(), 0, 0, StopSignal()
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
        factor = optim.schedule(step, steps, args.warmup, args.hold, args.final_lr)
        for param_group, rate in zip((g for o in optimizers for g in o.param_groups), rates):
            param_group["lr"] = rate * factor
        if math.isfinite(loss + norm):
            for optimizer in optimizers:
                optimizer.step()
        else:
            bad_steps += 1
            folder.log(step=step + 1, loss=loss, norm=norm,
                       rows=[row for batch in window for row in batch.rows])
            if bad_steps > args.skip_bad_steps:
                raise UserError(f"step {step + 1}: loss {loss}, gradient norm {norm}: lower --lr, "
                                "try --dtype fp32, or let some steps pass by --skip-bad-steps N. "
                                f"The rows of the step stand in {folder.log_file}")
        for optimizer in optimizers:
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
            f"{(steps - first) * args.batch / max(seconds, 1e-9):.1f} rows/s, "
            f"peak memory {peak_memory(where)}")
        rows, length = data.largest().tokens.shape
        predicted = memory.plan(config, **vars(replace(setting, micro_batch=rows, length=length)))
        say(f"predicted for the tensors of the largest batch, {rows} x {length}: "
            f"{predicted.total / memory.GB:.2f} GB (python train.py --plan shows them)")
        if args.full:
            result = f"--base {folder.path / 'model'}"
            checkpoint.save_model(model, folder.path / "model")
            shutil.copy(tokenizer.path, folder.path / "model" / "tokenizer.model")
        else:
            base = f"--base {args.base} " if args.base else ""
            result = f"{base}--adapter {folder.path / 'adapter'}"
            checkpoint.save_adapter(model, folder.path / "adapter", args.base or EMBEDDED)
        if before:
            say(probe.table(before, probe.probe(model, tokenizer)))
        say(f"ask it:       python eval.py {result} --ask \"What is 397 x 429?\"\n"
            f"evaluate it:  python eval.py {result} --suite demo")
    group.close()


if __name__ == "__main__":
    run(main)
