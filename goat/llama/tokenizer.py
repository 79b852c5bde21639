"""Text to tokens and back, SentencePiece, and the one rule for where a prompt ends.

LLaMA writes every digit as a token of its own, which the Goat paper (App. B) holds to be the main
cause of its success; the project's own tokenizer does the same. A space before a digit is a token
apart, but a space before a letter, minus or bracket fuses with it (` -` is one piece). So the
prompt `… Answer: ` is a token prefix of prompt + answer only for some answers.

The rule here: **trailing spaces of the prompt belong to the answer.** The prompt `… Answer: ` is
encoded as `… Answer:`, and the first thing the model writes is the space, fused or not. Training
(`encode_pair`) and generation (`encode_prompt`, `decode_answer`) share it, so it holds for answers
that begin with a digit, a minus, a bracket, a letter or a tag, and is checked for every sample.

Two kinds of vocabulary follow it: SentencePiece's, here, and byte-level BPE's (bpe.py). How one is
found in a folder or a GGUF file is the business of goat/files/vocabulary.py.
"""

import os
from functools import cached_property
from pathlib import Path

import sentencepiece

from goat.errors import UserError

# What some tokenizers rewrite: OpenLLaMA's first merges spaces, SentencePiece's own rule NFKC too.
NORMALISED = "a  b\n   c\td\u00a0e² ½ ﬁ −1 é e\u0301"
GROUPED = ("this tokenizer puts several digits into one token. The Goat paper (App. B) holds one "
           "token for each digit to be the main cause of LLaMA's success: expect less of it")


class Tokenizer:
    """What all tokenizers share. A subclass has `text_ids`, `decode` and `piece`, and sets:

    `path`          where it was found, for messages
    `bos_id`        put before a text, or None where this tokenizer puts none
    `eos_id`        ends an answer
    `vocab_size`    number of ids
    """

    path: Path
    bos_id: int | None
    eos_id: int
    vocab_size: int
    chat_template: str | None = None  # kept for programs that chat; not used here

    def text_ids(self, text: str) -> list[int]:
        """The ids of a text, without bos and eos. Raises ValueError for half of a surrogate pair,
        which is no Unicode text."""
        raise NotImplementedError

    def decode(self, ids: list[int]) -> str:
        """The text of `ids`; bos and eos are dropped. An id without a piece, which a model with
        more embedding rows than pieces may choose, reads as an unknown piece does."""
        raise NotImplementedError

    def piece(self, token: int) -> str:
        """How the vocabulary writes a token, its spaces and single bytes made visible."""
        raise NotImplementedError

    def encode(self, text: str, bos: bool = True, eos: bool = False) -> list[int]:
        """Token ids of `text`, with bos before (if this tokenizer has one) and eos behind as asked.

        Raises UserError for what is no Unicode text (half of a surrogate pair).
        """
        try:
            ids = self.text_ids(text)
        except ValueError:
            raise UserError(f"{text[:80]!r} is not text that can be written in UTF-8")
        start = [self.bos_id] if bos and self.bos_id is not None else []
        return start + ids + ([self.eos_id] if eos else [])

    def encode_prompt(self, prompt: str, begun: str = "") -> list[int]:
        """The ids that generation starts from: bos + prompt + what of the answer has `begun`,
        without trailing spaces. Of an empty text that is the bos, or the eos where there is none.
        """
        if begun := begun.rstrip(" "):
            return self.continued(prompt, begun)
        return self.encode(prompt.rstrip(" ")) or [self.eos_id]

    def continued(self, prompt: str, text: str) -> list[int]:
        """The ids of bos + prompt + a text behind it, in one piece; they begin with those of
        `encode_prompt`."""
        nothing = self.bos_id is None and not prompt.rstrip(" ")
        return [self.eos_id] * nothing + self.encode(prompt + text)

    def encode_pair(self, prompt: str, answer: str) -> tuple[list[int], int]:
        """(ids of bos + prompt + answer + eos, how many of them are the prompt's).

        Raises UserError when the prompt's ids are no prefix of the whole: text that would be
        masked wrongly is refused; and for an answer that this tokenizer rewrites.
        """
        ids = [*self.continued(prompt, answer), self.eos_id]
        start = self.encode_prompt(prompt)
        if ids[: len(start)] != start:
            raise UserError(f"the tokens of prompt {prompt[-30:]!r} change when {answer[:20]!r} "
                            "follows: end the prompt in a newline or a space")
        if not self.exact and (said := self.decode_answer(prompt, ids[len(start):])) != answer:
            raise UserError(f"{self.path}: this tokenizer rewrites what is to be learnt, "
                            f"{difference(answer, said)}: take a base whose tokenizer keeps every "
                            "character, as LLaMA's does")
        return ids, len(start)

    def decode_answer(self, prompt: str, ids: list[int]) -> str:
        """The text that generated `ids` add to `prompt`; the inverse of `encode_pair`.

        The prompt's ids and these are decoded together, and what the prompt's alone decode to (not
        always the prompt as given) is cut off. Spaces that end the prompt are in `ids`: they are
        cut off too.
        """
        start = self.encode_prompt(prompt)
        shown = self.decode(start)
        text = self.decode(start + ids)[len(shown):]
        for _ in range(trailing(prompt) - trailing(shown)):
            text = text.removeprefix(" ")
        return text

    @cached_property
    def exact(self) -> bool:
        """Whether every text comes back as it was, as far as a short one tells."""
        return self.decode(self.encode(NORMALISED)) == NORMALISED

    @property
    def groups_digits(self) -> bool:
        """Whether several digits make one token."""
        return len(self.encode("7413", bos=False)) < 4


class SentencePiece(Tokenizer):
    """LLaMA's own kind, from the bytes of a `tokenizer.model`.

    Raises UserError, naming `path`, when they are not SentencePiece's, or lack bos or eos.
    """

    def __init__(self, data: bytes, path: Path):
        self.path, self.data = path, data
        self.model = sentencepiece.SentencePieceProcessor()
        try:
            self.model.LoadFromSerializedProto(data)
        except RuntimeError:
            raise UserError(f"{path}: no whole SentencePiece model. " + (
                "Tokens or their types are damaged: download it again" if path.suffix == ".gguf"
                else "Of Llama 3 copy the tokenizer.json there instead, and remove this file"))
        self.bos_id, self.eos_id = self.model.bos_id(), self.model.eos_id()
        self.vocab_size = self.model.vocab_size()
        if self.bos_id < 0 or self.eos_id < 0:
            raise UserError(f"{path}: this tokenizer has no bos or no eos token")

    def text_ids(self, text: str) -> list[int]:
        try:
            return self.model.EncodeAsIds(text)
        except RuntimeError as error:
            raise ValueError(text) from error

    def decode(self, ids: list[int]) -> str:
        return self.model.DecodeIds([i if i < self.vocab_size else self.model.unk_id()
                                     for i in ids if i not in (self.bos_id, self.eos_id)])

    def piece(self, token: int) -> str:
        """ "▁What" begins with a space, "<0x0A>" is one byte."""
        return self.model.IdToPiece(token)


def trailing(text: str) -> int:
    """How many characters of white space end a text."""
    return len(text) - len(text.rstrip())


def difference(text: str, other: str) -> str:
    """What two texts are from their first different character on, for a message."""
    at = len(os.path.commonprefix([text, other]))
    return f"{text[at:at + 20]!r} becomes {other[at:at + 20]!r}"
