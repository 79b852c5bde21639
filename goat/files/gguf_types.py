"""How the types of GGUF store numbers: plain, or in blocks of few bits with shared scales.

A quantised row is cut into blocks of 32 or 256 numbers; a block holds whole numbers q of 4 to 8
bits and, in fp16, a scale d, some also a minimum m:

    Q4_0, Q5_0, Q8_0    d * q                 Q4_1, Q5_1   d * q + m
    Q4_K, Q5_K          d * s * q - dmin * t  s and t of 6 bits for each 32 of 256 numbers
    Q6_K                d * s * q             s of 8 bits for each 16 of 256 numbers

Each reader takes blocks, uint8 (N, bytes of a block), and gives fp32 (N, numbers of a block); low
and high halves of a byte belong to numbers 16, 32 or 64 apart, not to neighbours. Sources:
ggml-org/llama.cpp, gguf-py/gguf/{constants,quants}.py; tests/files/test_gguf.py compares with it.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from goat.errors import UserError

CHUNK = 1 << 16  # blocks at a time: bounds what is needed beside the result


class Type(NamedTuple):
    """A type of tensor: blocks of so many bytes for so many entries."""

    id: int
    name: str
    entries: int
    bytes: int
    blocks: Callable[[np.ndarray], np.ndarray]

    def read(self, data: np.ndarray) -> np.ndarray:
        """Numbers from bytes, uint8 (n,): fp32, or fp16 where they are stored so; of BF16 the bits,
        as int16."""
        if self.entries == 1:
            return self.blocks(data)
        data = data.reshape(-1, self.bytes)
        out = np.empty((len(data), self.entries), np.float32)
        with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is refused later
            for start in range(0, len(data), CHUNK):
                out[start:start + CHUNK] = self.blocks(data[start:start + CHUNK])
        return out.reshape(-1)


def half(b: np.ndarray, at: int) -> np.ndarray:
    """The fp16 number at a place of each block, as fp32 (N, 1)."""
    return np.ascontiguousarray(b[:, at:at + 2]).view("<f2").astype(np.float32)


def nibbles(b: np.ndarray) -> np.ndarray:
    """The low halves of all bytes, then the high ones. (N, n) -> (N, 2 n)."""
    return np.concatenate((b & 15, b >> 4), axis=1)


def bits(b: np.ndarray) -> np.ndarray:
    """The 32 bits of four bytes, lowest first. (N, 4) -> (N, 32)."""
    return np.unpackbits(b, axis=1, bitorder="little")


def q4_0(b: np.ndarray) -> np.ndarray:
    return half(b, 0) * (nibbles(b[:, 2:]).astype(np.int8) - 8)


def q4_1(b: np.ndarray) -> np.ndarray:
    return half(b, 0) * nibbles(b[:, 4:]) + half(b, 2)


def q5_0(b: np.ndarray) -> np.ndarray:
    return half(b, 0) * ((nibbles(b[:, 6:]) | bits(b[:, 2:6]) << 4).astype(np.int8) - 16)


def q5_1(b: np.ndarray) -> np.ndarray:
    return half(b, 0) * (nibbles(b[:, 8:]) | bits(b[:, 4:8]) << 4) + half(b, 2)


def q8_0(b: np.ndarray) -> np.ndarray:
    return half(b, 0) * b[:, 2:].view(np.int8)


def scales(b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eight scales and eight minima of 6 bits from 12 bytes: the first four of each have the low
    bits of a byte, the others half a byte and the two bits left over of the first."""
    low, mid, high = b[:, :4], b[:, 4:8], b[:, 8:]
    return (np.concatenate((low & 63, high & 15 | (low >> 6) << 4), axis=1),
            np.concatenate((mid & 63, high >> 4 | (mid >> 6) << 4), axis=1))


def k_blocks(b: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Whole numbers q (N, 8, 32), with the scales and minima that Q4_K and Q5_K share."""
    s, t = scales(b[:, 4:16])
    return ((half(b, 0) * s)[..., None] * q - (half(b, 2) * t)[..., None]).reshape(-1, 256)


def by_32(b: np.ndarray) -> np.ndarray:
    """The halves of each 32 bytes, low ones first. (N, 32 n) -> (N, 2 n, 32)."""
    b = b.reshape(len(b), -1, 1, 32)
    return np.concatenate((b & 15, b >> 4), axis=2).reshape(len(b), -1, 32)


def q4_k(b: np.ndarray) -> np.ndarray:
    return k_blocks(b, by_32(b[:, 16:]))


def q5_k(b: np.ndarray) -> np.ndarray:
    fifth = b[:, None, 16:48] >> np.arange(8, dtype=np.uint8)[:, None] & 1  # (N, 8, 32)
    return k_blocks(b, by_32(b[:, 48:]) | fifth << 4)


def q6_k(b: np.ndarray) -> np.ndarray:
    N = len(b)
    low = b[:, :128].reshape(N, 2, 1, 64)  # of two halves of 128 numbers
    low = np.concatenate((low & 15, low >> 4), axis=2).reshape(N, 2, 4, 32)
    top = b[:, 128:192].reshape(N, 2, 1, 32) >> np.array([[0], [2], [4], [6]], np.uint8) & 3
    q = (low | top << 4).astype(np.int8) - 32
    s = half(b, 208) * b[:, 192:208].view(np.int8)  # (N, 16)
    return (s[..., None] * q.reshape(N, 16, 16)).reshape(N, 256)


TYPES = {t.id: t for t in (
    Type(0, "F32", 1, 4, lambda data: data.view("<f4")),
    Type(1, "F16", 1, 2, lambda data: data.view("<f2")),
    Type(30, "BF16", 1, 2, lambda data: data.view("<i2")),  # numpy has no such numbers: the bits
    Type(2, "Q4_0", 32, 18, q4_0), Type(3, "Q4_1", 32, 20, q4_1),
    Type(6, "Q5_0", 32, 22, q5_0), Type(7, "Q5_1", 32, 24, q5_1), Type(8, "Q8_0", 32, 34, q8_0),
    Type(12, "Q4_K", 256, 144, q4_k), Type(13, "Q5_K", 256, 176, q5_k),
    Type(14, "Q6_K", 256, 210, q6_k))}
NAMED = {t.name: t for t in TYPES.values()}
NAMES = {id: t.name for id, t in TYPES.items()} | {  # the others, for messages
    9: "Q8_1", 10: "Q2_K", 11: "Q3_K", 15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS",
    19: "IQ1_S", 20: "IQ4_NL", 21: "IQ3_S", 22: "IQ2_S", 23: "IQ4_XS", 24: "I8", 25: "I16",
    26: "I32", 27: "I64", 28: "F64", 29: "IQ1_M", 34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4"}


# ---- writing -------------------------------------------------------------------------------------

def to_q8_0(x: np.ndarray) -> bytes:
    """fp32 numbers, a multiple of 32, as Q8_0. Halves are rounded away from zero, as ggml does."""
    x = x.reshape(-1, 32)
    d = np.abs(x).max(axis=1, keepdims=True) / np.float32(127)
    inverse = np.divide(1, d, out=np.zeros_like(d), where=d > 0)
    q = np.trunc(x * inverse + np.copysign(np.float32(0.5), x)).astype(np.int8)
    with np.errstate(over="ignore"):
        d = d.astype("<f2")
    if not np.isfinite(d).all():
        raise UserError("a weight is too large for Q8_0, whose scales end at 65504: write bf16")
    return np.concatenate((d.view(np.uint8), q.view(np.uint8)), axis=1).tobytes()
