"""A `tokenizer.model` as bytes: SentencePiece's protocol buffer, written and read by hand.

A protocol buffer is a list of fields, each a number and a value: a whole number (seven bits a byte,
lowest first), four bytes, or bytes behind their count. Only the fields that a LLaMA's vocabulary
needs are known here. Source: google/sentencepiece, src/sentencepiece_model.proto.
"""

import struct
from collections.abc import Iterable, Iterator
from typing import Any

Piece = tuple[str, float, int]  # text, score, type
PIECE, TRAINER, NORMALIZER = 1, 2, 3  # of the whole
TEXT, SCORE, TYPE = 1, 2, 3  # of a piece


def model_file(pieces: Iterable[Piece], names: list[str], space_first: bool) -> bytes:
    """The file of a byte-pair vocabulary that falls back on bytes and changes no text; with
    `space_first` a space is put before it, as LLaMA's does. `names` are unknown, bos and eos."""
    listed = [field(PIECE, field(TEXT, text.encode()) + field(SCORE, struct.pack("<f", score), 5)
                    + field(TYPE, kind)) for text, score, kind in pieces]
    trainer: dict[int, int | bytes] = {
        3: 2, 4: len(listed), 35: 1,  # byte pairs, how many pieces, byte fallback
        **{45 + i: name.encode() for i, name in enumerate(names)}}
    normalizer: dict[int, int | bytes] = {
        1: b"identity", 3: int(space_first), 4: 0, 5: 1}  # spaces: all kept, made visible
    return b"".join(listed) + b"".join(
        field(number, b"".join(field(key, value) for key, value in settings.items()))
        for number, settings in ((TRAINER, trainer), (NORMALIZER, normalizer)))


def pieces_of(data: bytes) -> Iterator[Piece]:
    """The pieces of a file that SentencePiece has accepted, in their order."""
    for number, value in fields(data):
        if number == PIECE:
            piece = dict(fields(value))
            score = struct.unpack("<f", piece.get(SCORE, bytes(4)))[0]
            yield piece[TEXT].decode(), score, piece.get(TYPE, 1)


def settings_of(data: bytes) -> tuple[bool, bool]:
    """Whether a vocabulary is one of byte pairs, and whether a space is put before a text."""
    trainer, normalizer = (dict(fields(dict(fields(data)).get(number, b"")))
                           for number in (TRAINER, NORMALIZER))
    return trainer.get(3, 1) == 2, bool(normalizer.get(3, 1))


def field(number: int, value: int | bytes, kind: int = 2) -> bytes:
    """One field: a whole number, or bytes, of kind 5 four of them."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | kind) + (varint(len(value)) if kind == 2 else b"") + value


def varint(n: int) -> bytes:
    return bytes([n]) if n < 128 else bytes([n & 127 | 128]) + varint(n >> 7)


def fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """(number, value) of each field."""
    at = 0

    def number() -> int:
        nonlocal at
        n = shift = 0
        while True:
            n |= (data[at] & 127) << shift
            at, shift = at + 1, shift + 7
            if data[at - 1] < 128:
                return n

    while at < len(data):
        head = number()
        if head & 7 == 0:
            yield head >> 3, number()
            continue
        size = {1: 8, 5: 4}.get(head & 7) or number()
        yield head >> 3, data[at:at + size]
        at += size
