"""What a training run's tensors really take, to stand beside the ledger of goat/training/memory.py.

A CUDA card's allocator keeps the peak of a pass. Nothing else does: a CPU's process also holds
libraries, data and freed memory that the C library keeps for itself, so its size says little.
There, the pass is followed tensor by tensor instead, from birth to death (`LiveTensors`).
"""

import resource
import sys
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from goat.training.memory import GB
from goat.training.optim import Optimizer


def storages(tensors: Iterable[Tensor]) -> dict[int, int]:
    """Address -> bytes of the memory behind some tensors; what several share counts once."""
    found = (t.untyped_storage() for t in tensors)
    return {storage._cdata: storage.nbytes() for storage in found}


class LiveTensors(TorchDispatchMode):
    """Counts the bytes of all storages that operations make and that are still alive, apart from
    the `known` ones, and their peak. Temporary memory inside an operation is not seen."""

    def __init__(self, known: Iterable[int] = ()):
        super().__init__()
        self.sizes, self.now, self.peak = dict.fromkeys(known, 0), 0, 0

    def freed(self, address: int) -> None:
        self.now -= self.sizes.pop(address)

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                if storage._cdata not in self.sizes:
                    self.sizes[storage._cdata] = storage.nbytes()
                    self.now += storage.nbytes()
                    weakref.finalize(storage, self.freed, storage._cdata)
        self.peak = max(self.peak, self.now)
        return result


class MemoryMeter:
    """The memory of a run on `where`: the bytes `predicted` for a pass over its largest batch, and
    what `first_pass`, which is to be entered for this pass, measures."""

    def __init__(self, where: torch.device, predicted: int):
        self.where, self.predicted = where, predicted

    @contextmanager
    def first_pass(self, kept: list[Tensor]) -> Iterator[None]:
        """Follows one pass. The caller holds gradients and optimizer state of full size meanwhile;
        `kept` are the tensors that stay for the whole run."""
        if self.where.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.where)
            yield
            self.peaks = (torch.cuda.max_memory_allocated(self.where) / GB,
                          torch.cuda.max_memory_reserved(self.where) / GB)
            return
        known = storages(kept)
        self.bytes, self.live = sum(known.values()), LiveTensors(known)
        with self.live:
            yield

    def measured(self, optimizer: Optimizer) -> str:
        """What was measured, in GB = 1e9 bytes."""
        if self.where.type == "cuda":
            return (f"{self.peaks[0]:.2f} GB allocated, {self.peaks[1]:.2f} GB reserved, in a pass "
                    "over the largest batch")
        unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB on Linux
        process = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
        return (f"{self.total(optimizer) / GB:.2f} GB of tensors, in a pass over the largest "
                f"batch (the whole process: {process / GB:.2f} GB)")

    def total(self, optimizer: Optimizer) -> int:
        """Bytes of what stays, of the optimizer's state, and of the pass at its worst moment."""
        return self.bytes + self.live.peak + sum(storages(optimizer.state()).values())
