"""Teach a LLaMA arithmetic: the training loop, from top to bottom.

    python train.py --lora-r 64                      # the embedded base, any CPU, minutes
    python train.py --lora-r 64 --base path/to/7B    # the paper's settings, one 24 GB GPU

Read main() first. It goes: settings, model, data, optimizer, loop, result.
"""

import argparse
import math
import shlex
import sys
from collections.abc import Iterable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from goat import cli, device
from goat.distributed import Group
from goat.errors import UserError
from goat.files import checkpoint
from goat.files.bases import EMBEDDED
from goat.llama import lora
from goat.llama.kernels import head_loss
from goat.llama.model import Llama, LlamaConfig
from goat.papers import paper_of
from goat.training import memory
from goat.training.batches import IGNORE, Batch
from goat.training.flags import memory_choices, parse_args
from goat.training.memory_meter import MemoryMeter
from goat.training.optim import Optimizer, schedule
from goat.training.pace import Pace, duration, foresee
from goat.training.peek import peek
from goat.training.run_folder import Best, RunFolder, StopSignal, snapshot
from goat.training.setup import (identity, load_data, load_held_out, load_model, parameter_counts,
                                 save_result)


def answer_loss(model: Llama, batch: Batch, value_scale: float = 0.0) -> Tensor:
    """The sum of the cross-entropies of the batch's answer tokens, in fp32, plus, where the batch
    has values, `value_scale` times the sum of their squared errors."""
    where, counts = model.device, batch.counts
    hidden = model.hidden(batch.tokens.to(where), model.rows(batch.lengths), counts.to(where))
    loss = token_loss(model.lm_head, hidden, batch.labels[counts].to(where))
    if batch.values is not None:
        head: Any = model.value_head
        loss += value_scale * head.squared_error(hidden, batch.values[counts])
    return loss


def token_loss(head: nn.Module, hidden: Tensor, labels: Tensor) -> Tensor:
    """The sum of the cross-entropies of tokens with these hidden states (W, C)."""
    if any(p.requires_grad for p in head.parameters()):
        logits = head(hidden).float()  # (W, V)
        return F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="sum")
    return head_loss(hidden, head.weight, labels, IGNORE)  # the same, for a frozen head


def trial_pass(model: Llama, optimizer: Optimizer, batches: Iterable[Batch],
               workload: memory.Workload) -> MemoryMeter:
    """A forward and backward pass that learns nothing, over the one of `batches` that needs most,
    beside gradients and optimizer state of full size: a run that does not fit fails now and not
    hours later. Returns what measured it."""
    def needed(batch: Batch) -> int:
        return memory.plan(model.config, memory.of_batch(workload, batch)).total

    batch = max(batches, key=needed)
    meter = MemoryMeter(model.device, needed(batch))
    reserve = optimizer.future_state()
    grads = [torch.zeros_like(p) for p in optimizer.masters]
    for p, grad in zip(optimizer.masters, grads):
        p.grad = grad
    with meter.first_pass([*model.state_dict().values(), *optimizer.masters, *grads]):
        answer_loss(model, batch).backward()
    optimizer.skip()
    del reserve
    return meter


def idle_pass(model: Llama, optimizer: Optimizer, batch: Batch) -> None:
    """A forward and backward pass that learns nothing, for the clock."""
    optimizer.backward(answer_loss(model, batch))
    optimizer.clip(1.0)  # waits for a GPU
    optimizer.skip()


def add_gradients(model: Llama, window: list[Batch], optimizer: Optimizer, group: Group,
                  value_weight: float | None) -> tuple[float, int]:
    """Forward and backward over a window, the gradients of all processes added up: (its loss, how
    many answer tokens it has). The loss is the mean over these plus, if values are learnt,
    `value_weight` times their mean squared error."""
    answers = max(1, round(group.total(sum(int((b.labels != IGNORE).sum()) for b in window))))
    value_scale = 0.0
    if value_weight is not None:
        valued = group.total(sum(int(b.values.count_nonzero()) for b in window
                                 if b.values is not None))
        value_scale = value_weight * answers / max(1, valued)  # divided by `answers` below
    losses = []  # read when all are on their way: a GPU need not wait for Python in between
    for batch in window:
        loss = answer_loss(model, batch, value_scale) / answers
        optimizer.backward(loss)
        losses.append(loss.detach())
    group.sum_gradients(optimizer.masters)
    return group.total(sum(loss.item() for loss in losses)), answers


def pass_over(optimizer: Optimizer, folder: RunFolder, step: int, loss: float, norm: float,
              rows: list[int], left: int) -> int:
    """Leave out a step, over these `rows`, whose loss or gradients are not finite; how many of the
    `left` bad steps this costs. fp16, which looks for its scale in this way, pays nothing.

    Raises UserError where none is left."""
    optimizer.skip()
    if math.isfinite(loss) and optimizer.scaler.lower():
        folder.log(step=step, norm=norm, loss_scale=optimizer.scaler.scale)
        return 0
    folder.log(step=step, loss=loss, norm=norm, rows=rows)
    if left < 1:
        raise UserError(f"step {step}: loss {loss}, gradient norm {norm}: lower --lr and "
                        "--muon-lr, try --dtype fp32, or let some steps pass by "
                        f"--skip-bad-steps N. The rows of the step stand in {folder.log_file}")
    return 1


def show(rows: Iterable[str], group: Group) -> None:
    """What --plan and --peek print, by one process."""
    if group.writer:
        for text in rows:
            print(f"\n{text}")
    group.close()


def settle(argv: list[str] | None) -> tuple[argparse.Namespace, LlamaConfig, torch.device,
                                            torch.dtype]:
    """Flags, model dimensions, device and number format; what can be refused is refused before
    anything is loaded."""
    args = parse_args(sys.argv[1:] if argv is None else argv)
    for flag, file in (("--data", args.data), ("--val-data", args.val_data)):
        if file and not Path(file).is_file():
            raise UserError(f"{flag} {file}: there is no such file")
    if args.adapter and not Path(args.adapter).is_dir():
        raise UserError(f"--adapter {args.adapter}: there is no such folder")
    where, dtype = device.choose(args.device, args.dtype)
    config = memory.PRESETS.get(args.plan) or checkpoint.read_config(args.base or EMBEDDED)
    return args, config, where, dtype


@device.out_of_memory("lower --micro-tokens or --cutoff, give --checkpointing on, hold the base in "
                      "8 bits with --int8, or lower --lora-r")
def main(argv: list[str] | None = None) -> int | None:
    # settings
    args, config, where, dtype = settle(argv)
    group = Group(where, "see its message, and go on from the last checkpoint with --resume")
    group.hush()
    say = partial(print, flush=True)
    card = min(group.everybodys(memory.room(where, args.card)))  # the smallest decides for all
    chosen, workload = memory_choices(args, config, where, dtype, card)
    vars(args).update(chosen)
    if args.plan:
        show([memory.plan(config, workload).table(card)], group)
        return None
    folder = RunFolder(args, "out/full" if args.full else "out/lora", group)
    say(f"{folder.path}: {where.type}, {str(dtype)[6:]}, {torch.get_num_threads()} threads; "
        + " ".join(f"{k}={v}" for k, v in vars(args).items() if v is not None and v is not False))

    # model: a frozen base and its adapter, or all weights with fp32 master copies
    torch.manual_seed(args.seed)
    tokenizer = checkpoint.tokenizer_of(args.base or EMBEDDED, config)
    model = load_model(args, where, dtype).train()
    model.checkpointing = workload.checkpointing
    params = lora.trainable(model)
    say(parameter_counts(model, params))

    # data: what a step sees depends on (seed, step) only
    data = load_data(args, tokenizer, group.share)
    if args.peek:
        show(islice(peek(model, tokenizer, data), args.peek), group)
        return None
    held_out = load_held_out(args, tokenizer, data)
    asked = args.max_steps or math.ceil(len(data) * args.epochs / args.batch)

    # optimizer, and the checkpoint to go on from
    optimizer = Optimizer(model, params, dtype, lr=args.lr, muon_lr=args.muon_lr,
                          betas=(0.9, args.beta2), weight_decay=args.weight_decay)
    settings = identity(args, asked, data, held_out, where, dtype, group)
    state = folder.begin(settings)
    pace = Pace(asked, args.max_minutes, args.warmup, args.hold, group, folder.log, state)
    best = Best(state)
    if ask := args.before_after and group.writer and pace.first < pace.steps:
        from goat.evaluation import before_after
        before = before_after.demo_records(model, tokenizer)
    if state:
        optimizer.load_state_dict(state)

    # loop: one window, one optimizer step; its dropout, too, depends on (seed, step) only
    meter = trial_pass(model, optimizer, data.largest(), workload)
    say(pace.start(foresee(data.window(pace.first), partial(idle_pass, model, optimizer))))
    seen, bad_steps, stopping = 0, 0, False
    progress = tqdm(pace, initial=pace.first, total=pace.steps, unit="step",
                    disable=not group.writer)
    with StopSignal() as stop:
        for step in progress:
            torch.manual_seed(((args.seed * 1_000_003 + step) * 1009 + group.rank) % 2**63)
            window = data.window(step)
            loss, answers = add_gradients(model, window, optimizer, group,
                                          args.value_weight if args.value_head else None)
            norm = optimizer.clip(args.clip)
            if math.isfinite(loss + norm):
                optimizer.step(schedule(step, pace.steps, pace.warmup, args.hold, args.final_lr))
            else:
                bad_steps += pass_over(optimizer, folder, step + 1, loss, norm,
                                       data.row_numbers(step), args.skip_bad_steps - bad_steps)

            done = step + 1
            seen += group.size * sum(len(batch.tokens) for batch in window)
            pace.plan(done)
            last, stopping = done == pace.steps, group.total(stop.number) > 0
            progress.total, speed = pace.steps, pace.speed(seen)
            if done % args.log_every == 0 or last:
                folder.log(step=done, loss=round(loss, 5), norm=round(norm, 4), lr=optimizer.lr,
                           answer_tokens=answers, tokens_per_s=round(speed),
                           seconds=round(pace.seconds, 1))
                progress.set_postfix(loss=f"{loss:.4f}", tok_s=f"{speed:,.0f}")
            if held_out and group.writer and (done % args.eval_every == 0 or last):
                found = held_out.measure(model, tokenizer, answer_loss)
                folder.log(step=done, **found)
                progress.write(f"step {done}: " + ", ".join(f"{k} {v:g}" for k, v in found.items()))
                if args.keep == "best":
                    best.offer(done, found["val_loss"], optimizer.masters)
            if done % args.save_every == 0 or last or stopping:
                folder.save_state(snapshot(done, settings, optimizer, pace, best))
            if stopping:
                break
    if stopping:
        say(f"stopped after step {done}; go on with --resume --out {shlex.quote(str(folder.path))}")
        group.close()  # not before the writer has saved
        return 128 + stop.number

    # result: written by one process (an adapter is read again and compared)
    say(f"{pace.steps - pace.first} steps in {duration(pace.seconds)}, {pace.speed(seen):,.0f} "
        f"tokens/s\nmemory: predicted {meter.predicted / memory.GB:.2f} GB (--plan shows for "
        f"what), measured {meter.measured(optimizer)}")
    if args.keep == "best" and best.weights:
        say(f"kept: the weights of step {best.step}, whose held-out loss {best.loss} is the lowest")
        optimizer.set_weights(best.weights)
    if group.writer:
        result = save_result(model.eval(), tokenizer, args, folder)
        say(f"ask it:       python eval.py {result} --ask\nevaluate it:  python eval.py {result} "
            + paper_of(data.task).evaluation_flags(data.task))
        if ask:
            say(before_after.comparison(before, before_after.demo_records(model, tokenizer)))
    group.close()
    return None


if __name__ == "__main__":
    cli.run(main)
