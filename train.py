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
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from goat import checkpoint, device, lora, memory, optim, probe, suites, value_head
from goat.batching import IGNORE, Batch, RowBatches, SkillStream
from goat.distributed import Group
from goat.errors import UserError, run, spelt
from goat.flags import EMBEDDED, fit, lora_targets, memory_advice, parse_args
from goat.meter import Meter
from goat.model import Llama
from goat.padding import places
from goat.run_folder import RunFolder, StopSignal, fingerprint, restore, snapshot
from goat.tasks import dataset
from goat.tokenizer import Tokenizer


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
    if args.adapter:
        checkpoint.load_adapter(model, args.adapter)
    else:
        lora.add_lora(model, args.lora_r, args.lora_alpha, args.lora_dropout, lora_targets(args),
                      seed=args.seed)
    if args.value_head:
        kept = value_head.is_beside(args.adapter)
        value_head.load(model, args.adapter) if kept else value_head.add(model)
    return model


def load_data(args: argparse.Namespace, tokenizer: Tokenizer,
              say: Callable = print) -> RowBatches | SkillStream:
    """Windows of rows as functions of (seed, step); a missing default file is written first."""
    if args.skills:
        return SkillStream(tokenizer, args.micro_tokens, args.skills, args.max_steps, args.seed,
                           suites.reserved(), args.skills_mix)
    path = args.data or ("data/arithmetic.jsonl" if args.base else "data/demo.jsonl")
    if args.data is None:
        recipe = dataset.Recipe(mixture="paper" if args.base else "demo", rows=args.rows)
        new = dataset.write_once(path, recipe, suites.reserved())
        say(f"{path}: {recipe.size:,} rows of the mixture {recipe.mixture!r}" + " written" * new)
    data = RowBatches(path, tokenizer, args.batch, args.micro_tokens, args.cutoff, args.seed,
                      args.learn_output, args.value_head)
    if data.left_out:
        numbers = ", ".join(map(str, data.left_out[:10])) + ", …" * (len(data.left_out) > 10)
        say(f"{len(data.left_out):,} rows of more than {args.cutoff} tokens are left out "
            f"(--cutoff): rows {numbers}")
    return data


def answer_loss(model: Llama, batch: Batch, where: torch.device,
                value_scale: float = 0.0) -> Tensor:
    """The sum of the cross-entropies of the batch's answer tokens, in fp32, plus, where the batch
    has values, `value_scale` times the sum of their squared errors.

    Padding is not computed, and what follows the last attention, head included, is computed for
    the answers alone (`places`).
    """
    real, wanted, at = places(batch.targets)
    hidden = model.hidden(batch.tokens.to(where), real=None if real is None else real.to(where),
                          wanted=wanted.to(where))  # (W, C)
    labels = batch.labels.flatten()[at].to(where)
    logits = model.lm_head(hidden).float()  # (W, V)
    loss = F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="sum")
    if batch.values is not None:
        loss += value_scale * model.value_head.squared_error(hidden, batch.values.flatten()[at])
    return loss


def largest_batch_first(model: Llama, masters: optim.MasterWeights, optimizers: list,
                        batches: Iterable[Batch], where: torch.device,
                        setting: memory.Setting) -> Meter:
    """A forward and backward pass that learns nothing, over the one of `batches` that needs most,
    beside gradients and optimizer state of full size: a run that does not fit fails now and not
    hours later. Returns what measured it."""
    meters = [(Meter(where, batch.targets), batch) for batch in batches]
    meter, batch = max(meters, key=lambda pair: pair[0].predicted(model.config, setting))
    reserve = optim.future_state(optimizers)
    for p in masters.masters:
        p.grad = torch.zeros_like(p)
    with meter.first_pass([*model.state_dict().values(), *masters.masters,
                           *(p.grad for p in masters.masters)]):
        answer_loss(model, batch, where).backward()
    for p in (*masters.masters, *masters.params):
        p.grad = None
    del reserve
    return meter


@memory_advice()
def main(argv: list[str] | None = None) -> int | None:
    # settings: everything that can be refused is refused before anything is loaded
    args = parse_args(sys.argv[1:] if argv is None else argv)
    if args.data and not Path(args.data).is_file():
        raise UserError(f"--data {args.data}: there is no such file")
    if args.adapter and not Path(args.adapter).is_dir():
        raise UserError(f"--adapter {args.adapter}: there is no such folder")
    where, dtype = device.pick(args.device, args.dtype)
    config = memory.PRESETS.get(args.plan) or checkpoint.read_config(args.base or EMBEDDED)
    setting = fit(args, config, where, dtype)
    if args.plan:
        print(memory.plan(config, **vars(setting)).table(memory.room(where)))
        return
    group = Group(where)
    group.same({spelt(flag): getattr(args, flag) for flag in ("int8", "micro_tokens")})
    folder = RunFolder(args, "out/full" if args.full else "out/lora", group)
    say = folder.say
    say(f"{folder.path}: {where.type}, {str(dtype)[6:]}, {torch.get_num_threads()} threads; "
        + " ".join(f"{k}={v}" for k, v in vars(args).items() if v is not None and v is not False))

    # model: a frozen base and its adapter, or all weights with fp32 master copies
    torch.manual_seed(args.seed)
    tokenizer = Tokenizer(args.base or EMBEDDED)
    checkpoint.check_tokenizer(config, tokenizer)
    model = load_model(args, where, dtype).train()
    model.checkpointing = setting.checkpointing
    if args.compile:
        model.run_block = device.compiled(model.run_block, where)
    masters = optim.MasterWeights(lora.trainable(model))
    if value_head.is_beside(args.adapter) and not args.value_head:
        say(f"note: the value head of {args.adapter} is left out; --value-head trains it further")
    learning, total = (sum(p.numel() for p in ps) for ps in (masters.params, model.parameters()))
    say(f"{learning:,} of {total:,} parameters learn ({100 * learning / total:.2f} %)")

    # data: what a step sees depends on (seed, step) only
    data = load_data(args, tokenizer, say)
    steps = args.max_steps or math.ceil(len(data) * args.epochs / args.batch)

    # optimizer, and the checkpoint to go on from
    optimizers = optim.make_optimizers(model, masters, lr=args.lr, muon_lr=args.muon_lr,
                                       betas=(0.9, args.beta2), weight_decay=args.weight_decay)
    rates = [g["lr"] for o in optimizers for g in o.param_groups]
    scaler = optim.LossScaler(dtype)
    stateful = optimizers + [scaler] * scaler.active  # what a checkpoint holds beside the weights
    settings = {**vars(args), "steps": steps, "data_hash": data.fingerprint,
                "base_hash": fingerprint(args.base or EMBEDDED), "dtype": str(dtype)[6:],
                "adapter_hash": args.adapter and fingerprint(args.adapter),
                "device": where.type, "processes": group.size}
    state = folder.begin(settings)
    finished = state is not None and state["step"] >= steps
    ask = args.before_after and group.writer and not finished
    before = probe.probe(model, tokenizer) if ask else None
    first = restore(state, masters, stateful)

    # loop: one window, one optimizer step
    largest = [group.share(batch, rank=0) for batch in data.largest()]
    meter = largest_batch_first(model, masters, optimizers, largest, where, setting)
    began, seen, bad_steps, stop = time.time(), 0, 0, StopSignal()
    progress = tqdm(range(first, steps), initial=first, total=steps, unit="step",
                    disable=not group.writer)
    for step in progress:
        dropout_seed = (args.seed * 1_000_003 + step) * 1009 + group.rank
        torch.manual_seed(dropout_seed % 2**63)
        window = data.window(step)
        answers = max(1, sum(int((b.labels != IGNORE).sum()) for b in window))  # of them all
        also = [value_head.scale(window, args.value_weight, answers)] if args.value_head else []
        parts = []  # read when all are on their way: a GPU need not wait for Python in between
        for batch in map(group.share, window):
            if len(batch.tokens):
                part = answer_loss(model, batch, where, *also) / answers
                (part * scaler.scale).backward()
                masters.collect()
                parts.append(part.detach())
            seen += batch.tokens.numel()
        group.sum_gradients(masters.masters)
        scaler.unscale(masters.masters)
        loss = group.total(sum(part.item() for part in parts))
        norm = torch.nn.utils.clip_grad_norm_(masters.masters, args.clip).item()
        factor = optim.schedule(step, steps, args.warmup, args.hold, args.final_lr)
        for param_group, rate in zip((g for o in optimizers for g in o.param_groups), rates):
            param_group["lr"] = rate * factor
        if math.isfinite(loss + norm):
            for optimizer in optimizers:
                optimizer.step()
            scaler.stepped()
        elif math.isfinite(loss) and scaler.lower():  # fp16 looks for its scale in this way
            folder.log(step=step + 1, norm=norm, loss_scale=scaler.scale)
        else:
            bad_steps += 1
            folder.log(step=step + 1, loss=loss, norm=norm,
                       rows=[row for batch in window for row in batch.rows])
            if bad_steps > args.skip_bad_steps:
                raise UserError(f"step {step + 1}: loss {loss}, gradient norm {norm}: lower --lr "
                                "and --muon-lr, try --dtype fp32, or let some steps pass by "
                                "--skip-bad-steps N. The rows of the step stand in "
                                f"{folder.log_file}")
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        masters.publish()

        done, seconds = step + 1, time.time() - began
        stopping = group.total(stop.number) > 0
        if done % args.log_every == 0 or done == steps:
            speed = group.size * seen / seconds
            folder.log(step=done, loss=round(loss, 5), norm=round(norm, 4),
                       lr=optimizers[-1].param_groups[0]["lr"], answer_tokens=answers,
                       tokens_per_s=round(speed), seconds=round(seconds, 1))
            progress.set_postfix(loss=f"{loss:.4f}", tok_s=f"{speed:,.0f}")
        if args.eval_every and done % args.eval_every == 0 and group.writer:
            scores = probe.probe(model, tokenizer, size=16, notations=("held out",), progress=False)
            right, asked = (sum(getattr(s, key) for s in scores.values()) for key in ("right", "n"))
            folder.log(step=done, exact_match=right / asked, questions=asked)
            progress.write(f"step {done}: exact match {right} of {asked} held-out questions")
        if done % args.save_every == 0 or done == steps or stopping:
            folder.save_state(snapshot(done, settings, masters, stateful))
        if stopping:
            stop.release()
            say(f"stopped after step {done}; go on with --resume --out {folder.path}")
            group.close()  # not before the writer has saved
            return 128 + stop.number

    # result: written by one process, read again and compared
    stop.release()
    seconds = time.time() - began
    if group.writer:
        model.eval()
        say(f"{steps - first} steps in {seconds:.0f} s, "
            f"{group.size * seen / max(seconds, 1e-9):,.0f} tokens/s, padding included")
        predicted = meter.predicted(config, setting) / memory.GB
        say(f"memory: predicted {predicted:.2f} GB (--plan shows for what), measured "
            f"{meter.measured(optimizers)}")
        if args.full:
            result = f"--base {folder.path / 'model'}"
            checkpoint.save_model(model, folder.path / "model")
            shutil.copy(tokenizer.path, folder.path / "model" / "tokenizer.model")
        else:
            base = f"--base {args.base} " if args.base else ""
            result = f"{base}--adapter {folder.path / 'adapter'}"
            checkpoint.save_adapter(model, folder.path / "adapter", args.base or EMBEDDED)
            if args.value_head:
                value_head.save(model, folder.path / "adapter")
        say(f"ask it:       python eval.py {result} --ask\n"
            f"evaluate it:  python eval.py {result} {suites.flags_for(data.task)}")
        if before is not None:
            say(probe.table(before, probe.probe(model, tokenizer)))
    group.close()


if __name__ == "__main__":
    run(main)
