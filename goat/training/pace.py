"""How many steps a run has: as many as were asked for or, with --max-minutes, as many of them as
this machine manages in that time."""

import math
import time
from collections.abc import Callable, Iterator

from goat.training.batches import Batch
from goat.training.optim import falls_from

WATCHED = 5  # from so many steps on their mean time counts, not what was foreseen


def foresee(window: list[Batch], one_pass: Callable[[Batch], object]) -> float:
    """The seconds that a step over `window` may take, by those of a pass over its largest batch."""
    if not window:
        return 0.0
    batch = max(window, key=lambda batch: len(batch.tokens))
    began = time.monotonic()
    one_pass(batch)
    a_token = (time.monotonic() - began) / len(batch.tokens)
    return a_token * sum(len(batch.tokens) for batch in window)


class Pace:
    """The steps of a run, their number `steps`, and the time that they take.

    With `minutes` the number is planned before the first step and again after each one, from what
    they have taken, until the learning rate begins to fall (see `schedule`): from there on it is
    fixed, for the rate depends on it, and logged. The warm-up takes at most a quarter of the first
    plan. All that happens between the first step and the last counts. A run that goes on from a
    `state` has its plan and the time behind it.
    """

    def __init__(self, asked: int, minutes: float | None, warmup: int, hold: float, group,
                 log: Callable, state: dict):
        self.asked, self.minutes, self.hold = asked, minutes, hold
        self.group, self.log, self.first = group, log, state.get("step", 0)
        old = state.get("pace", {})
        self.steps, self.warmup = old.get("steps", asked), old.get("warmup", warmup)
        self.fixed = minutes is None or old.get("fixed", False)
        self.before, self.a_step = old.get("seconds", 0.0), 0.0
        self.began = time.monotonic()

    def start(self, a_step: float) -> str:
        """Plan with steps of `a_step` seconds, start the clock, and say what is to be expected."""
        self.began, self.a_step = time.monotonic(), a_step
        if self.first == 0 and not self.fixed:
            self.steps = self.fitting(0)
            self.warmup = min(self.warmup, self.steps // 4)
        self.plan(self.first)
        left = self.steps - self.first
        fewer = f" (of {self.asked}, for --max-minutes)" if self.steps < self.asked else ""
        return f"{left} steps{fewer} of about {duration(a_step)}: {duration(left * a_step)}"

    def __iter__(self) -> Iterator[int]:
        step = self.first
        while step < self.steps:
            yield step
            step += 1

    @property
    def seconds(self) -> float:
        """Since the first step, apart from what a resumed run had behind it."""
        return time.monotonic() - self.began

    def speed(self, tokens: int) -> float:
        """Of so many in this time, per second."""
        return tokens / max(self.seconds, 1e-9)

    def plan(self, done: int) -> None:
        """Plan anew, with `done` steps behind, unless the number of steps is fixed."""
        if self.fixed:
            return
        self.steps = self.fitting(done)
        self.fixed = done >= min(self.steps, falls_from(self.steps, self.warmup, self.hold))
        if self.fixed:
            self.log(step=done, planned_steps=self.steps, warmup=self.warmup)

    def fitting(self, done: int) -> int:
        """How many steps fit the time, at least one; the writer's clock decides."""
        if done - self.first >= WATCHED:
            self.a_step = self.seconds / (done - self.first)
        left = 60 * (self.minutes or 0) - self.before - self.seconds
        more = math.floor(left / self.a_step) if self.a_step else self.asked
        return self.group.agree(min(self.asked, max(1, done, done + more)))

    def state(self) -> dict:
        """What a checkpoint holds."""
        return {"steps": self.steps, "warmup": self.warmup, "fixed": self.fixed,
                "seconds": self.before + self.seconds}


def duration(seconds: float) -> str:
    """A length of time in words: "0.35 s", "40 s", "3.2 minutes", "5.1 hours"."""
    if seconds < 90:
        return f"{seconds:.2g} s"
    return f"{seconds / 60:.1f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
