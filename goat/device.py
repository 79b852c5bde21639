"""Which device and which number format to compute in."""

import ctypes
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from goat.errors import UserError

OUT_OF_MEMORY = ("can't allocate memory", "MPS backend out of memory")  # no class of their own
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def add_flags(add: Callable) -> None:
    """Add --device and --dtype to a parser, by its method `add_argument`."""
    add("--device", default="auto", help="auto, cuda, mps or cpu (default auto)")
    add("--dtype", default="auto", choices=("auto", *DTYPES),
        help="of the products (default auto: bf16 where the hardware has units for it, else fp16 "
             "on a GPU, in training with a loss scale, and fp32 on a CPU)")


def has_fast_bf16(device: torch.device) -> bool:
    """Whether the hardware multiplies bf16 matrices in units of its own (not by emulation)."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8  # Ampere and later
    if device.type == "cpu":
        checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        return any(getattr(torch.cpu, check, bool)() for check in checks)  # bool() is False
    return False


def choose(device: str = "auto", dtype: str = "auto") -> tuple[torch.device, torch.dtype]:
    """Resolve `--device auto|cuda|mps|cpu` and `--dtype auto|bf16|fp16|fp32`.

    Device auto: CUDA, then MPS, then CPU; under torchrun each process has a CUDA device of its
    own, and MPS, which processes cannot share, is left out. Dtype auto: bf16 where the hardware has
    units for it, else fp16 on a GPU and fp32 on a CPU.
    Raises UserError for a device that is not there.
    """
    keep_memory()
    available = {"cpu": True, "cuda": torch.cuda.is_available(),
                 "mps": torch.backends.mps.is_available() and "LOCAL_RANK" not in os.environ}
    if device == "auto":
        device = next(kind for kind in ("cuda", "mps", "cpu") if available[kind])
        if torch.version.cuda and device == "cpu" and shutil.which("nvidia-smi"):
            print("warning: there seems to be an NVIDIA GPU, but this torch cannot use it (is the "
                  f"driver too old for CUDA {torch.version.cuda}?): computing on the CPU",
                  file=sys.stderr)
    if device.startswith("cuda") and "LOCAL_RANK" in os.environ:
        device = f"cuda:{os.environ['LOCAL_RANK']}"
    kind = device.partition(":")[0]
    if kind == "mps" and "LOCAL_RANK" in os.environ:
        raise UserError("--device mps: processes cannot share it; start one, without torchrun")
    if not available.get(kind, False):
        there = ", ".join(name for name, yes in available.items() if yes)
        raise UserError(f"--device {device} is not available here; there is: {there}")
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise UserError(f"--device {device}: write {kind} or {kind}:0")
    if kind == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise UserError(f"--device {device}: there are {torch.cuda.device_count()} CUDA devices, "
                        "counted from 0")
    if dtype != "auto":
        return chosen, DTYPES[dtype]
    if has_fast_bf16(chosen):
        return chosen, torch.bfloat16
    return chosen, torch.float32 if kind == "cpu" else torch.float16


def keep_memory() -> None:
    """Let this process keep the memory that its tensors free (glibc alone; elsewhere nothing).

    As it is, glibc gives every block above 32 MB back at once, and the next tensor's pages are
    mapped and cleared anew: with a vocabulary of 49,152 pieces a tenth of a CPU's training time
    (goat/bench/README.md). Of these three numbers none changes a result.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt:
        no_mmap, trim_threshold, top_pad = -4, -1, -2  # their names in malloc.h
        mallopt(no_mmap, 0)
        mallopt(trim_threshold, 2 ** 31 - 1)
        mallopt(top_pad, 256 << 20)


@contextmanager
def out_of_memory(advice: str) -> Iterator[None]:
    """Running out of memory becomes a UserError with what helps against it."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        named = isinstance(error, (torch.OutOfMemoryError, MemoryError))
        if not named and not any(said in str(error) for said in OUT_OF_MEMORY):
            raise
        reason = (str(error).strip() or "of the host").splitlines()[0]
        raise UserError(f"out of memory: {advice} ({reason})")
