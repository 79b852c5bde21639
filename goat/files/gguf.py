"""GGUF files, as llama.cpp, Ollama and LM Studio read them: one file with weights and metadata.

    "GGUF", version, number of tensors, number of keys
    key, type, value                                      for each key
    name, dimensions, type, offset                        for each tensor
    the tensors' bytes, each from the next multiple of `general.alignment`

This file knows the container: what the types' bytes mean is in gguf_types.py, what a LLaMA's keys
and tensors are called in gguf_llama.py. Dimensions stand fastest first, the reverse of torch's.

A file is mapped into memory, and everything in it is checked before it is used: counts and lengths
against what is left of the file, each tensor's place against the end of the one before (so none
overlap, none are swapped), names for their being unique. Source: ggml-org/ggml, docs/gguf.md.
"""

import math
import mmap
import struct
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from goat.errors import UserError
from goat.files.atomic import replacing
from goat.files.gguf_types import NAMES, TYPES, Type
from goat.llama.kernels import round_up

MAGIC = b"GGUF"
VERSIONS = (2, 3)  # they have the same layout
ALIGNMENT = "general.alignment"
# How a number of each type of value is written; 8 is a string, 9 an array.
NUMBERS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q",
           11: "<q", 12: "<d"}
U32, I32, F32, BOOL, STRING, ARRAY, U64 = 4, 5, 6, 7, 8, 9, 10
LEAST = {STRING: 8} | {kind: struct.calcsize(code) for kind, code in NUMBERS.items()}


class Place(NamedTuple):
    """Where a tensor lies in the file, and what it is. `shape` is torch's."""

    type: Type
    shape: tuple[int, ...]
    start: int
    size: int  # bytes


class GGUF:
    """The metadata of a GGUF file and the places of its tensors; `raw(name)` is one's bytes.

    Raises UserError, naming file and key or tensor, for a file that is cut short, damaged, or of
    another kind.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        try:
            with open(self.path, "rb") as file:
                # A map that may be written to is refused where the file is larger than the memory.
                self.data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:  # an empty file cannot be mapped
            raise UserError(f"{path}: cannot be read ({error})")
        self.at, self.reading = 0, "the header"
        if self.take(4) != MAGIC:
            raise self.damaged("is no GGUF file: it does not begin with the letters GGUF")
        version = self.number(U32)
        if version in (v << 24 for v in VERSIONS):
            raise self.damaged("is big-endian, which is not supported: take the usual file")
        if version not in VERSIONS:
            raise self.damaged(f"has GGUF version {version}; {' and '.join(map(str, VERSIONS))} "
                               "are read")
        tensors, keys = self.count(24), self.count(13)
        self.metadata: dict[str, Any] = {}
        for _ in range(keys):
            self.reading = f"the name of key {len(self.metadata) + 1}"
            key = self.text()
            if key in self.metadata:
                raise self.damaged(f"has the key {key[:60]!r} twice")
            self.reading = f"the value of {key[:60]!r}"
            self.metadata[key] = self.value(self.number(U32))
        self.tensors = self.places(tensors)

    def damaged(self, how: str) -> UserError:
        return UserError(f"{self.path}: {how}; copy or download it again")

    def take(self, size: int) -> bytes:
        if size > len(self.data) - self.at:
            raise self.damaged(f"is cut short or damaged in {self.reading}")
        self.at += size
        return self.data[self.at - size:self.at]

    def number(self, kind: int) -> Any:
        return struct.unpack(NUMBERS[kind], self.take(LEAST[kind]))[0]

    def count(self, least: int) -> int:
        """How many things follow that take at least so many bytes each; checked before anything is
        made of it."""
        count = self.number(U64)
        if count * least > len(self.data) - self.at:
            raise self.damaged(f"is cut short or damaged in {self.reading}: {count} things of at "
                               f"least {least} bytes in {len(self.data) - self.at} bytes")
        return count

    def text(self) -> str:
        try:
            return self.take(self.count(1)).decode()
        except UnicodeDecodeError:
            raise self.damaged(f"holds no UTF-8 in {self.reading}")

    def value(self, kind: int) -> Any:
        """A number, a string, a list of strings, or a numpy array of numbers."""
        if kind == STRING:
            return self.text()
        if kind in NUMBERS:
            if kind == BOOL and self.data[self.at:self.at + 1] not in (b"\0", b"\1"):
                raise self.damaged(f"is damaged in {self.reading}: neither true nor false")
            return self.number(kind)
        of = self.number(U32) if kind == ARRAY else kind
        if of not in LEAST:
            raise self.damaged(f"is damaged in {self.reading}: {of} is no type of value")
        count = self.count(LEAST[of])
        if of in NUMBERS:
            return np.frombuffer(self.take(count * LEAST[of]), NUMBERS[of])
        return [self.text() for _ in range(count)]

    def get(self, key: str, kind: type, default: Any = None) -> Any:
        """The value of a key, which must be a bool, int, float or str as `kind` says; `default`
        where there is no such key."""
        value = self.metadata.get(key)
        if value is None:
            return default
        if type(value) is not kind:
            raise self.damaged(f"is damaged: {key} is {value!r:.60}, no {kind.__name__}")
        return value

    def places(self, count: int) -> dict[str, Place]:
        found: dict[str, Place] = {}
        infos: list[tuple[str, tuple[int, ...], int, int]] = []
        for _ in range(count):
            self.reading = f"the list of tensors, number {len(infos) + 1}"
            name, dims = self.text(), self.number(U32)
            if not 1 <= dims <= 4:
                raise self.damaged(f"is damaged in {self.reading}: {dims} dimensions")
            shape = tuple(self.number(U64) for _ in range(dims))[::-1]
            infos.append((name, shape, self.number(U32), self.number(U64)))
        alignment = self.get(ALIGNMENT, int, 32)
        if alignment < 8 or alignment % 8:
            raise self.damaged(f"is damaged: {ALIGNMENT} is {alignment!r}")
        begin, end = round_up(self.at, alignment), 0
        for name, shape, kind, offset in infos:
            if kind not in TYPES:
                raise UserError(f"{self.path}: {name} is stored as {NAMES.get(kind, kind)}; read "
                                f"are {', '.join(t.name for t in TYPES.values())}: take the model "
                                "in one of these")
            of, entries = TYPES[kind], math.prod(shape)
            if not entries or shape[-1] % of.entries:
                raise self.damaged(f"is damaged: {name} has the shape {shape}, no whole blocks of "
                                   f"{of.entries}")
            size = entries // of.entries * of.bytes
            if name in found or offset != end or begin + offset + size > len(self.data):
                raise self.damaged(f"is cut short or damaged: {name[:60]!r} has the shape {shape} "
                                   f"and lies at {offset} behind {end}, of "
                                   f"{len(self.data) - begin} bytes")
            found[name] = Place(of, shape, begin + offset, size)
            end = round_up(offset + size, alignment)
        return found

    def raw(self, name: str) -> np.ndarray:
        """The bytes of a tensor, a view of the file."""
        place = self.tensors[name]
        return np.frombuffer(self.data, np.uint8, place.size, place.start)

    def read(self, name: str) -> np.ndarray:
        """The numbers of a tensor, in its shape: F16 as it is, BF16's bits (int16), others in fp32.
        """
        place = self.tensors[name]
        return place.type.read(self.raw(name)).reshape(place.shape)


# ---- writing -------------------------------------------------------------------------------------

class Put(NamedTuple):
    """A tensor to be written. `bytes_of()` makes its bytes when their turn comes."""

    name: str
    type: Type
    shape: tuple[int, ...]  # torch's
    bytes_of: Callable[[], bytes]


def write_gguf(path: str | Path, metadata: dict[str, Any], tensors: Iterable[Put]) -> None:
    """Write a version 3 file, whole or not at all.

    A value is written as what it is: bool, int (u32, a large one u64), float (f32), str, or a list
    of one of these (whole numbers as i32; an empty one counts as one of str).
    """
    tensors, alignment, offset = list(tensors), 32, 0
    header = [MAGIC, struct.pack("<IQQ", VERSIONS[-1], len(tensors), len(metadata))]
    for key, value in metadata.items():
        header += [packed(key), typed(value)]
    for tensor in tensors:
        size = math.prod(tensor.shape) // tensor.type.entries * tensor.type.bytes
        header += [packed(tensor.name), struct.pack(
            f"<I{len(tensor.shape)}QIQ", len(tensor.shape), *tensor.shape[::-1], tensor.type.id,
            offset)]
        offset += round_up(size, alignment)
    start = b"".join(header)
    with replacing(path) as temporary, open(temporary, "wb") as file:
        file.write(start.ljust(round_up(len(start), alignment), b"\0"))
        for tensor in tensors:
            data = tensor.bytes_of()
            file.write(data.ljust(round_up(len(data), alignment), b"\0"))


def packed(text: str) -> bytes:
    data = text.encode(errors="replace")  # a file's name may be no Unicode text
    return struct.pack("<Q", len(data)) + data


def typed(value: Any, listed: bool = False) -> bytes:
    """A value behind the number of its type."""
    if isinstance(value, list):
        items = [typed(item, listed=True) for item in value]
        of = items[0][:4] if items else struct.pack("<I", STRING)
        return struct.pack("<I", ARRAY) + of + struct.pack("<Q", len(items)) \
            + b"".join(item[4:] for item in items)
    if isinstance(value, str):
        return struct.pack("<I", STRING) + packed(value)
    whole = I32 if listed else U32 if isinstance(value, int) and value < 1 << 32 else U64
    kind = {bool: BOOL, int: whole, float: F32}[type(value)]
    return struct.pack("<I", kind) + struct.pack(NUMBERS[kind], value)
