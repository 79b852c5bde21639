"""Several processes, one work: what `torchrun --nproc-per-node N SCRIPT …` needs, and no more.

Training: every process draws the same rows of a window and takes its share of them; losses are
divided by the *global* count of answer tokens, so the plain sum of all gradients is the gradient of
the whole window. Questions: every process knows them all and answers its share, and what all have
found is gathered. One process alone (no torchrun) goes through the same calls, which then do
nothing. When a process dies, the others end at their next meeting, over gloo (CPUs) with one clear
line, over nccl when torchrun ends them: what was saved last is whole, since only one process
writes, and it writes atomically.
"""

import atexit
import importlib
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from tqdm import tqdm

from goat.cli import processes
from goat.errors import UserError

T = TypeVar("T")
# The others wait this long while the writer evaluates or saves, or one has more to answer.
PATIENCE = timedelta(days=7)


class Group:
    """This process among the others: `rank` of `size`; rank 0 is the writer. Without a `device`
    it is alone, whatever torchrun has started. `advice`: what helps when another one has ended."""

    def __init__(self, device: torch.device | None, advice: str = "see its message"):
        self.rank, self.size = 0, 1
        self.device, self.advice = device, advice
        if device and processes() > 1:
            self.rank, self.size = int(os.environ["RANK"]), processes()
            if device.type == "cuda":
                torch.cuda.set_device(device)
            kind = "nccl" if device.type == "cuda" else "gloo"
            # Its functions have the group of all processes as a default argument. Were it imported
            # later, as optimizers do, it would keep the group beyond its end, and the group's
            # threads could crash this process at the exit.
            importlib.import_module("torch.distributed.nn.functional")
            dist.init_process_group(kind, timeout=PATIENCE)
            atexit.register(leave)

    @property
    def writer(self) -> bool:
        return self.rank == 0

    @property
    def share(self) -> slice:
        """Every size-th of some rows, from this process's rank on."""
        return slice(self.rank, None, self.size)

    def sum_gradients(self, params: list) -> None:
        """Add up the gradients of all processes, in one message."""
        if self.size == 1:
            return
        flat = torch.cat([torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten()
                          for p in params])
        with self.meeting():
            dist.all_reduce(flat)
        for p, grad in zip(params, flat.split([p.numel() for p in params])):
            p.grad = grad.view_as(p)

    def total(self, value: float) -> float:
        """The sum of everybody's `value`."""
        if self.size == 1:
            return value
        tensor = torch.tensor(value, dtype=torch.float64, device=self.device)
        with self.meeting():  # a number alone: several times a step, and pickling takes longer
            dist.all_reduce(tensor)
            return tensor.item()

    def agree(self, value: T) -> T:
        """The writer's `value`, on every process."""
        return self.everybodys(value)[0]

    def everybodys(self, value: T) -> list[T]:
        """The `value` of each process, on every process."""
        if self.size == 1:
            return [value]
        box: list = [None] * self.size
        with self.meeting():
            dist.all_gather_object(box, value)
        return box

    def gather(self, items: Iterable[T], total: int, unit: str,
               progress: bool = False) -> tuple[list[T], bool]:
        """What the `items` of all processes give, in every process, and whether all have come to
        their end. Ctrl-C, and in several processes SIGTERM (torchrun passes both on to all), ends
        the work early, with what there is by then. `progress`: the writer shows a bar, of `total`
        items, by its own share. Raises UserError when a process has died."""
        found: list[T] = []
        ended = False
        with (tqdm(total=total, unit=unit, disable=not (progress and self.writer)) as bar,
              interruptible(self.size) as ignore):
            try:
                for item in items:
                    found.append(item)
                    bar.update(min(self.size, total - bar.n))  # the others are about as far
                ignore()
                ended = True
            except KeyboardInterrupt:
                pass
            everybody = self.everybodys((found, ended))
        return [item for theirs, _ in everybody for item in theirs], all(e for _, e in everybody)

    def hush(self) -> None:
        """From now on what others than the writer print goes nowhere, errors apart."""
        if not self.writer:
            sys.stdout = open(os.devnull, "w", errors="replace")  # noqa: SIM115 (stays open)

    def leave_to_writer(self) -> None:
        """Nothing is left to share: only the writer goes on behind this."""
        self.close()
        if not self.writer:
            sys.exit()

    @contextmanager
    def meeting(self):
        """A meeting of all processes. Where it fails, since one is gone, a UserError says so."""
        try:
            yield
        except RuntimeError as error:  # torch's errors of communication are of this kind
            leave()
            raise UserError(f"another process of this run has ended, so this one stops too: "
                            f"{self.advice} ({str(error).splitlines()[0]})")

    def close(self) -> None:
        if self.size > 1:
            with self.meeting():
                dist.barrier()
            leave()


ALONE = Group(None)


def sharing() -> Group:
    """The group of a script whose questions are shared, of which only the writer prints. It meets
    over gloo, whatever device its models are on."""
    group = Group(torch.device("cpu"))
    group.hush()
    return group


@contextmanager
def interruptible(size: int) -> Iterator[Callable[[], None]]:
    """Inside, the first Ctrl-C or SIGTERM raises KeyboardInterrupt, and further ones do nothing: a
    process must not miss the meeting that follows. It yields a function; once that is called, the
    first one does nothing either. For a process alone nothing changes."""
    kinds = (signal.SIGINT, signal.SIGTERM) if size > 1 else ()
    before = [signal.getsignal(kind) for kind in kinds]

    def ignore() -> None:
        for kind in kinds:
            signal.signal(kind, signal.SIG_IGN)

    def interrupt(*_) -> None:
        ignore()
        raise KeyboardInterrupt

    for kind in kinds:
        signal.signal(kind, interrupt)
    try:
        yield ignore
    finally:
        for kind, handler in zip(kinds, before):
            signal.signal(kind, handler)


def leave() -> None:
    """Leave the group of processes, if there is one still: its threads must not outlive the
    interpreter, or they may crash this process at the exit."""
    if dist.is_initialized():
        with suppress(RuntimeError):
            dist.destroy_process_group()
