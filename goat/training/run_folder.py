"""The folder of a training run: its name, its log, and the state from which it resumes.

    out/NAME/log.jsonl              a line of settings, then one JSON line per log step
    out/NAME/checkpoint/state.pt    everything a resumed run needs, replaced as a whole
    out/NAME/adapter/ or model/     the result
"""

import argparse
import json
import math
import os
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from goat.errors import UserError
from goat.files.atomic import replacing
from goat.files.tensors import DAMAGE
from goat.training.optim import Optimizer
from goat.training.pace import Pace

# What may differ between a run and its continuation without changing how it learns. Of files
# their contents count (`data_hash`, `base_hash`, …), wherever they lie.
FREE_SETTINGS = ("out", "resume", "save_every", "log_every", "eval_every", "before_after",
                 "skip_bad_steps", "data", "rows", "base", "adapter", "val_data", "keep",
                 "checkpointing")


class RunFolder:
    """`args.out`, or the first free of default, default-2, … (to resume: the last with a state).

    Only the writer of `group` touches the disk. Raises UserError when the folder holds
    another run and --resume is not given; `begin` does so too, for a run that began meanwhile.
    """

    def __init__(self, args: argparse.Namespace, default: str, group):
        self.resume, self.writer = args.resume, group.writer
        self.path = group.agree(Path(args.out or choose(default, args.resume)))
        self.log_file, self.state_file = self.path / "log.jsonl", self.path / "checkpoint/state.pt"
        if self.log_file.exists() and not (args.resume or args.peek):  # which writes nothing
            raise self.taken()

    def taken(self) -> UserError:
        return UserError(f"{self.path} holds another run: give --resume to continue it, or "
                         "another --out")

    def log(self, **record) -> None:
        """Append one JSON line; numbers that are not finite become strings."""
        if self.writer:
            record = {key: str(value) if isinstance(value, float) and not math.isfinite(value)
                      else value for key, value in record.items()}
            with open(self.log_file, "a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")

    def save_state(self, state: dict) -> None:
        """Write the state beside the old one, flush it to the disk, then take its place: a run
        that is killed at any moment, or meets a full disk, leaves a whole state."""
        if not self.writer:
            return
        try:
            with replacing(self.state_file) as temporary, open(temporary, "wb") as file:
                torch.save(state, file)
                file.flush()
                os.fsync(file.fileno())
        except (OSError, RuntimeError) as error:
            raise UserError(f"{self.state_file}: could not be written ({error}); the checkpoint "
                            "before it, if any, is kept")

    def begin(self, settings: dict) -> dict:
        """Create the folder, log the settings; when resuming, return the last state, else {}.

        Raises UserError naming what differs when `settings` are not those of the run.
        """
        state = self.load_state(settings) if self.resume else {}
        if self.writer:
            self.state_file.parent.mkdir(parents=True, exist_ok=True)
            try:
                open(self.log_file, "a" if self.resume else "x").close()
            except FileExistsError:
                raise self.taken()
            self.log(settings=settings, command=sys.argv, torch=torch.__version__,
                     date=time.strftime("%Y-%m-%d %H:%M:%S"))
        return state

    def load_state(self, settings: dict) -> dict:
        """The last state, checked against `settings`; {} when nothing is saved yet."""
        if not self.state_file.exists():
            print(f"{self.path}: nothing is saved yet, starting from the beginning")
            return {}
        try:
            state = torch.load(self.state_file, map_location="cpu", weights_only=True)
        except DAMAGE as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise UserError(f"{self.state_file}: cut short or damaged ({reason}); remove it to "
                            "start from the beginning")
        before = json.loads(state["settings"])
        after = json.loads(json.dumps(settings))
        differ = [f"{key} was {before.get(key)!r}, is {after.get(key)!r}"
                  for key in sorted(before.keys() | after.keys())
                  if key not in FREE_SETTINGS and before.get(key) != after.get(key)]
        if differ:
            raise UserError(f"{self.path} was trained with other settings: {'; '.join(differ)}")
        if state["step"] >= state["pace"]["steps"]:
            print(f"{self.path}: all {state['step']} steps are done already")
        else:
            print(f"{self.path}: going on after step {state['step']}")
        return state


def choose(default: str, resume: bool) -> Path:
    """`default`, `default-2`, …: the first without a run; to resume, the last with a checkpoint,
    else the last run."""
    runs, path = [], Path(default)
    while (path / "log.jsonl").exists():
        runs.append(path)
        path = Path(f"{default}-{len(runs) + 1}")
    if not resume or not runs:
        return path
    saved = [run for run in runs if (run / "checkpoint/state.pt").exists()]
    return (saved or runs)[-1]


class StopSignal:
    """A context in which SIGINT (Ctrl-C) and SIGTERM only set `number`, to their own: the loop ends
    its step, saves, leaves."""

    number = 0

    def __enter__(self) -> "StopSignal":
        self.before = {which: signal.signal(which, self.note)
                       for which in (signal.SIGINT, signal.SIGTERM)}
        return self

    def note(self, number: int, frame) -> None:
        self.number = number

    def __exit__(self, *_) -> None:
        for which, handler in self.before.items():
            signal.signal(which, handler)


class Best:
    """The weights of the step with the lowest held-out loss."""

    def __init__(self, state: dict):
        """From a run's state, if it has one."""
        old = state.get("best", {})
        self.step, self.loss = old.get("step", 0), old.get("loss", float("inf"))
        self.weights: list[Tensor] = old.get("weights", [])

    def offer(self, step: int, loss: float, weights: Iterable[Tensor]) -> None:
        """Keep a copy of these, if the loss is the lowest so far."""
        if loss < self.loss:
            self.step, self.loss = step, loss
            self.weights = [weight.detach().cpu().clone() for weight in weights]

    def state(self) -> dict:
        """What a checkpoint holds."""
        return {"step": self.step, "loss": self.loss, "weights": self.weights}


def snapshot(step: int, settings: dict, optimizer: Optimizer, pace: Pace, best: Best) -> dict:
    """The state after `step` steps. Random numbers need no place in it: they depend on the step."""
    return {"step": step, "settings": json.dumps(settings), "pace": pace.state(),
            "best": best.state(), **optimizer.state_dict()}
