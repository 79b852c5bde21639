"""Several processes, one run: what `torchrun --nproc-per-node N train.py …` needs, and no more.

Every process draws the same rows of a window and takes its share of them; losses are divided by the
*global* count of answer tokens, so the plain sum of all gradients is the gradient of the whole
window. One process alone (no torchrun) goes through the same calls, which then do nothing. When a
process dies, the others end at their next meeting, over gloo (CPUs) with one clear line, over nccl
when torchrun ends them: what was saved last is whole, since only one process writes, and it writes
atomically.
"""

import atexit
import importlib
import os
from contextlib import contextmanager, suppress
from datetime import timedelta

import torch
import torch.distributed as dist

from goat.errors import UserError

PATIENCE = timedelta(hours=2)  # the others wait this long while the writer evaluates or saves


def processes() -> int:
    """How many processes torchrun has started for this run."""
    return int(os.environ.get("WORLD_SIZE", 1))


class Group:
    """This process among the others: `rank` of `size`; rank 0 writes and prints."""

    def __init__(self, device: torch.device):
        self.rank, self.size = int(os.environ.get("RANK", 0)), processes()
        self.device = device
        if self.size > 1:
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
        with together():
            dist.all_reduce(flat)
        for p, grad in zip(params, flat.split([p.numel() for p in params])):
            p.grad = grad.view_as(p)

    def total(self, value: float) -> float:
        """The sum of everybody's `value`."""
        if self.size == 1:
            return value
        tensor = torch.tensor(value, dtype=torch.float64, device=self.device)
        with together():
            dist.all_reduce(tensor)
            return tensor.item()

    def agree(self, text: str) -> str:
        """The writer's `text`, on every process."""
        if self.size == 1:
            return text
        box = [text]
        with together():
            dist.broadcast_object_list(box, src=0)
        return box[0]

    def same(self, values: dict[str, object]) -> None:
        """Raises UserError, in every process, where a flag has not the same value in all."""
        if self.size == 1:
            return
        everybody: list = [None] * self.size
        with together():
            dist.all_gather_object(everybody, values)
        for name in values:
            if len(found := {str(theirs[name]) for theirs in everybody}) > 1:
                raise UserError(f"the processes chose {name} {' and '.join(sorted(found))}, by the "
                                f"memory of their cards: give {name} as the smallest card needs it")

    def close(self) -> None:
        if self.size > 1:
            with together():
                dist.barrier()
            leave()


def leave() -> None:
    """Leave the group of processes, if there is one still: its threads must not outlive the
    interpreter, or they may crash this process at the exit."""
    if dist.is_initialized():
        with suppress(RuntimeError):
            dist.destroy_process_group()


@contextmanager
def together():
    """A meeting of all processes. Where it fails, since one is gone, a UserError says so."""
    try:
        yield
    except RuntimeError as error:  # torch's errors of communication are of this kind
        leave()
        raise UserError("another process of this run has ended, so this one stops too: see its "
                        "message, and go on from the last checkpoint with --resume "
                        f"({str(error).splitlines()[0]})")
