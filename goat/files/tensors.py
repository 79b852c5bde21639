"""Files of named tensors, read one tensor at a time and written in one piece.

Reading is lazy: a file gives a table of names, each with a function that reads that one tensor.
What it returns may be a view of the file, mapped into memory by the operating system, so a caller
that keeps a tensor copies it.
"""

import json
import math
import pickle
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save, save_file
from torch import Tensor

from goat.errors import UserError
from goat.files.atomic import replacing, write_text

Readers = dict[str, Callable[[], Tensor]]
DAMAGE = (RuntimeError, pickle.UnpicklingError, EOFError, ValueError, KeyError, IndexError,
          AttributeError, TypeError, OSError, AssertionError,
          zipfile.BadZipFile)  # what torch.load raises on broken files


def read_json(file: Path) -> dict:
    """The object in a JSON file. Raises UserError when it is missing or no JSON object."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"), parse_constant=no_number)
    except FileNotFoundError:
        raise UserError(f"{file}: no such file")
    except (ValueError, RecursionError) as error:  # JSON and UTF-8 errors are both ValueErrors
        raise UserError(f"{file}: not valid JSON ({error})")
    if not isinstance(content, dict):
        raise UserError(f"{file}: a JSON object is expected, not a {type(content).__name__}")
    return content


def no_number(word: str):
    """Python's JSON reader would let NaN and Infinity pass."""
    raise ValueError(f"{word} is no number")


def positive(content: dict, file: Path, key: str, default=None,
             kind: type[int] | type[float] = int):
    """The positive number under `key`, or `default` if the key is absent or null."""
    value = content.get(key)
    value = default if value is None else value
    if isinstance(value, bool) or not isinstance(value, (int, kind)) or not 0 < value < math.inf:
        raise UserError(f"{file}: {key} must be a positive {kind.__name__}, not {value!r:.60}")
    return kind(value)


def unsupported(file: Path, condition: object, what: str) -> None:
    """Raise UserError, naming the file, where `condition` says that its model has what is not
    computed here."""
    if condition:
        raise UserError(f"{file}: {what} is not supported: only plain LLaMA, Mistral and Qwen 2 "
                        "models are")


def open_tensors(file: Path) -> Readers:
    """Name -> reader for a `.safetensors` file or a pickled `.bin` / `.pth` one.

    Raises UserError when the file is missing, cut short or damaged. Pickles are loaded with
    `weights_only`, so that no code in them can run.
    """
    if not file.is_file():
        raise UserError(f"{file}: no such file")
    if file.suffix == ".safetensors":
        try:
            handle = safe_open(file, framework="pt")
            return {name: partial(read_slice, handle, file, name)
                    for name in handle.keys()}  # noqa: SIM118  # it is no dictionary
        except (SafetensorError, OSError) as error:
            raise UserError(f"{file}: cut short or damaged ({error}); copy or download it again")
    try:
        # Files older than torch 1.6 are no zip archives and cannot be mapped into memory.
        content = torch.load(file, map_location="cpu", weights_only=True,
                             mmap=zipfile.is_zipfile(file))
    except DAMAGE as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"{file}: cut short, damaged, or more than plain tensors ({reason}); "
                        "copy or download it again")
    if not isinstance(content, dict) or not all(isinstance(t, Tensor) for t in content.values()):
        raise UserError(f"{file}: not a table of named tensors")
    return {name: tensor.detach for name, tensor in content.items()}


def read_slice(handle, file: Path, name: str) -> Tensor:
    try:
        return handle.get_tensor(name)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{file}: {name} cannot be read ({error})")


def checked(tensor: Tensor, name: str, shape: tuple[int, ...]) -> Tensor:
    """`tensor`, if it has this shape, a floating-point type that the model can compute in, and no
    number that is NaN or infinite."""
    if tuple(tensor.shape) != tuple(shape):
        raise UserError(f"{name}: shape {tuple(tensor.shape)} in the file, {tuple(shape)} is "
                        "wanted")
    if tensor.dtype not in (torch.float32, torch.bfloat16, torch.float16):
        raise UserError(f"{name}: stored as {tensor.dtype}; only float32, bfloat16 and float16 "
                        "weights are read (take the unquantised original)")
    if not is_finite(tensor):
        raise UserError(f"{name} is NaN or infinite in some place: it is damaged, or was saved by "
                        "a run that had gone wrong; take another copy")
    return tensor


def is_finite(tensor: Tensor) -> bool:
    """Whether no number in a tensor is NaN or infinite: the extremes tell, and are found ten times
    faster than by `isfinite` of each number."""
    return tensor.numel() == 0 or all(map(math.isfinite, tensor.aminmax()))


def same_names(have, want, where: str, hint: str) -> None:
    """Raise UserError naming the first five missing and unexpected tensors, if there are any."""
    missing, unexpected = sorted(set(want) - set(have)), sorted(set(have) - set(want))
    parts = [f"{len(names)} {kind}: {', '.join(names[:5])}{', …' if len(names) > 5 else ''}"
             for kind, names in (("missing", missing), ("unexpected", unexpected)) if names]
    if parts:
        raise UserError(f"{where}: the tensors do not fit; {'; '.join(parts)} ({hint})")


def write_json(content: dict, file: Path) -> None:
    write_text(file, json.dumps(content, indent=2) + "\n")


def write_tensors(tensors: dict[str, Tensor], file: Path) -> None:
    """Write a `.safetensors` file, marked as PyTorch's (transformers refuses it otherwise)."""
    contiguous = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    metadata = {"format": "pt"}
    with replacing(file) as place:
        if place.is_file():
            try:
                save_file(contiguous, place, metadata)
            except SafetensorError as error:  # the disk is full, say
                raise UserError(f"{file}: cannot write it ({error})")
        else:  # a device or a pipe, which save_file would replace
            place.write_bytes(save(contiguous, metadata))
