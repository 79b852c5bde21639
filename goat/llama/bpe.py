r"""Byte-level BPE, the tokenizer of GPT-2, SmolLM 2, Llama 3 and Qwen 2, to be read.

A text goes through four steps:

    added tokens     `<|im_end|>` and the like are cut out: each is a token
    words            patterns cut the rest: "in 12 cups" -> "in", " 12", " cups" by GPT-2's
    bytes            each word's UTF-8 bytes, written as one visible character each (space: Ġ)
    merges           the pair of neighbours that was learnt first becomes one symbol, again and
                     again, until no pair is known: Ġ c u p s -> Ġc u p s -> Ġc up s -> Ġcup s -> …

What is then left of a word are tokens. How numbers are cut differs: GPT-2 cuts them anyhow, Llama 3
by three digits, SmolLM 2 and Qwen 2 into single digits. A space before a digit of theirs is a token
of its own, which is not so before a letter. Since the words of a prompt and of what is put behind
it may differ from those of the two together, both are encoded apart here, in training and in
generation alike, and the rule of tokenizer.py holds for every prompt and answer.

The patterns are written as they are published, with \p{L} for letters and \p{N} for numbers, which
Python's `re` does not know; `compiled` writes them out. Sources: Sennrich et al. 2016 (1508.07909);
GPT-2's encoder.py; the `tokenizer.json` files of the models.
"""

import re
import unicodedata
from collections.abc import Collection, Iterable
from functools import cached_property, lru_cache
from itertools import groupby, pairwise
from pathlib import Path

from goat.errors import UserError
from goat.llama.tokenizer import Tokenizer

DIGIT = r"\p{N}|[^\p{N}]+"
GPT_2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA_3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
           r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN_2 = LLAMA_3.replace(r"\p{N}{1,3}", r"\p{N}")
# By llama.cpp's names. Each pattern cuts what the one before has left whole.
PATTERNS = {"gpt-2": (GPT_2,), "smollm": (DIGIT, GPT_2), "llama-bpe": (LLAMA_3,),
            "qwen2": (QWEN_2,)}
PARTING = "<|endoftext|>"  # behind each document of a pretraining

# The visible character of each byte: itself where it has one, else the next from U+0100 on.
SEEN = [*range(33, 127), *range(161, 173), *range(174, 256)]
CHARACTERS = {byte: chr(byte) for byte in SEEN} | {
    byte: chr(256 + n) for n, byte in enumerate(sorted({*range(256)} - {*SEEN}))}
BYTES = {character: byte for byte, character in CHARACTERS.items()}
REMEMBERED = 1 << 16  # words, and tokens, that are kept: a text repeats few of them often


class ByteLevelBPE(Tokenizer):
    """A byte-level BPE vocabulary.

    `tokens` are the pieces by id (None: no such id), `merges` pairs of them in the order they were
    learnt, `added` the tokens that stand for themselves in a text, of which `special` ones are no
    text; `pre` is a name in PATTERNS. With `whole_words` a word that the vocabulary holds is taken
    without merging (Llama 3); with `composed` e + accent is written as é first (NFC, Qwen 2).
    Raises UserError, naming `path`, for another name of `pre`.

    SmolLM's tokenizer puts nothing before a text, yet the model rests its attention on whatever
    comes first and does not read it (Xiao et al. 2023, arXiv 2309.17453): of "8 trucks carry 41
    crates" it cannot tell the 8. So here its texts begin with PARTING.
    """

    def __init__(self, tokens: list[str | None], merges: Iterable[tuple[str, str]],
                 added: dict[str, int], pre: str, path: Path, *, eos_id: int,
                 bos_id: int | None = None, special: Collection[str] = (),
                 whole_words: bool = False, composed: bool = False,
                 chat_template: str | None = None):
        if pre not in PATTERNS:
            raise UserError(f"{path}: the pre-tokenizer {pre!r} is not supported; these are: "
                            f"{', '.join(PATTERNS)}")
        self.path, self.pre, self.added, self.chat_template = path, pre, added, chat_template
        self.special, self.whole_words, self.composed = special, whole_words, composed
        self.tokens, self.eos_id = tokens, eos_id
        self.bos_id = added.get(PARTING) if pre == "smollm" and bos_id is None else bos_id
        self.vocab_size = len(tokens)
        self.id_of = {token: i for i, token in enumerate(tokens) if token is not None}
        self.rank = {pair: rank for rank, pair in enumerate(merges)}
        longest_first = sorted(filter(None, added), key=len, reverse=True)
        self.cut = re.compile(f"({'|'.join(map(re.escape, longest_first)) or '(?!)'})")

    def text_ids(self, text: str) -> list[int]:
        ids: list[int] = []
        for i, part in enumerate(self.cut.split(text)):
            if i % 2:
                ids.append(self.added[part])
                continue
            if self.composed:
                part = unicodedata.normalize("NFC", part)
            words = [part]
            for pattern in PATTERNS[self.pre]:
                words = [word for whole in words for word in compiled(pattern).findall(whole)]
            for word in words:
                ids += self.word_ids(word)
        return ids

    @lru_cache(REMEMBERED)  # noqa: B019  # kept in the object it could not be pickled
    def word_ids(self, word: str) -> tuple[int, ...]:
        """The ids of one word. Bytes that the vocabulary lacks are dropped, as others drop them."""
        seen = [CHARACTERS[byte] for byte in word.encode()]
        if self.whole_words and (whole := self.id_of.get("".join(seen))) is not None:
            return (whole,)
        symbols = [symbol for symbol in seen if symbol in self.id_of]
        while known := [pair for pair in pairwise(symbols) if pair in self.rank]:
            symbols = merged(symbols, min(known, key=self.rank.__getitem__))
        return tuple(self.id_of[symbol] for symbol in symbols)

    def continued(self, prompt: str, text: str) -> list[int]:
        start = prompt.rstrip(" ")
        return self.encode_prompt(prompt) + self.encode(prompt[len(start):] + text, bos=False)

    def decode(self, ids: list[int]) -> str:
        """A character may be split over several tokens, so all bytes are put together first."""
        return b"".join(map(self.bytes_of, ids)).decode(errors="replace")

    @lru_cache(REMEMBERED)  # noqa: B019
    def bytes_of(self, token: int) -> bytes:
        if token in (self.eos_id, self.bos_id):
            return b""
        piece = self.tokens[token] if token < self.vocab_size else None
        if piece is None:
            return "\ufffd".encode()
        if piece in self.added or not BYTES.keys() >= set(piece):
            return piece.encode()
        return bytes(map(BYTES.__getitem__, piece))

    def piece(self, token: int) -> str:
        """ "ĠWhat" begins with a space, "Ċ" is a line's end."""
        return self.tokens[token] or ""

    @cached_property
    def exact(self) -> bool:
        return not self.composed and self.id_of.keys() >= BYTES.keys()


def merged(symbols: list[str], pair: tuple[str, str]) -> list[str]:
    """The symbols with each `pair` of neighbours made one, from left to right."""
    result, i = [], 0
    while i < len(symbols):
        found = tuple(symbols[i:i + 2]) == pair
        result.append("".join(pair) if found else symbols[i])
        i += 1 + found
    return result


@lru_cache
def compiled(pattern: str) -> re.Pattern:
    r"""A published pattern for Python's `re`: \p{L} and \p{N} written out, and \s as Unicode has it
    (Python counts four control characters as spaces, too)."""
    classes = ranges()
    written, inside = "", False
    for part in re.findall(r"\\p\{[LN]\}|\\.|.", pattern):
        inside = part == "[" or inside and part != "]"
        if part == r"\S":
            part = "[^" + classes[r"\s"] + "]"
        elif part in classes:
            part = classes[part] if inside else f"[{classes[part]}]"
        written += part
    return re.compile(written)


@lru_cache
def ranges() -> dict[str, str]:
    """The characters of a class as ranges, to be put between brackets."""
    found = {r"\p{L}": "", r"\p{N}": "",
             r"\s": r"\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"}
    for kind, span in groupby(range(0x110000), lambda code: unicodedata.category(chr(code))[0]):
        if kind in "LN":
            codes = list(span)
            found[f"\\p{{{kind}}}"] += f"\\U{codes[0]:08x}-\\U{codes[-1]:08x}"
    return found
