"""SentencePiece with LLaMA's conventions, and the one rule for where a prompt ends.

LLaMA writes every digit as a token of its own, which the Goat paper (App. B) holds to be the main
cause of its success; the project's own tokenizer does the same. A space before a digit is a token
apart, but a space before a letter, minus or bracket fuses with it (` -` is one piece). So the
prompt `… Answer: ` is a token prefix of prompt + answer only for some answers.

The rule here: **trailing spaces of the prompt belong to the answer.** The prompt `… Answer: ` is
encoded as `… Answer:`, and the first thing the model writes is the space, fused or not. Training
(`encode_pair`) and generation (`encode_prompt`, `decode_answer`) share it, so it holds for answers
that begin with a digit, a minus, a bracket, a letter or a tag, and is checked for every sample.
"""

import os
from pathlib import Path

import sentencepiece

from goat.errors import UserError

TOKENIZER = "tokenizer.model"  # the file in a model's folder

# What some tokenizers rewrite: OpenLLaMA's first merges spaces, SentencePiece's own rule NFKC too.
NORMALISED = "a  b\n   c\td\u00a0e² ½ ﬁ −1 é e\u0301"

LLAMA_3 = ("Llama 3 and later are not supported: their tokenizers put up to three digits into one "
           "token, and the methods here need one token for each digit")


class Tokenizer:
    """Text to token ids and back. `path` is a `tokenizer.model` file or the folder that holds one.

    Raises UserError when the file is missing, is not SentencePiece, or lacks bos or eos.
    """

    def __init__(self, path: str | os.PathLike):
        path = Path(path)
        file = path / TOKENIZER if path.is_dir() else path
        if not file.is_file() and (path / "tokenizer.json").is_file():
            raise UserError(f"{path}: only a tokenizer.json is here. For LLaMA-1 and -2, copy the "
                            f"base model's tokenizer.model there. {LLAMA_3}")
        if not file.is_file():
            raise UserError(f"{path}: no {TOKENIZER} here; copy the base model's file there")
        self.path = file
        self.model = sentencepiece.SentencePieceProcessor()
        try:
            self.model.LoadFromSerializedProto(file.read_bytes())
        except RuntimeError:
            raise UserError(f"{file}: no whole SentencePiece model. {LLAMA_3}")
        self.bos_id, self.eos_id = self.model.bos_id(), self.model.eos_id()
        self.vocab_size = self.model.vocab_size()
        if self.bos_id < 0 or self.eos_id < 0:
            raise UserError(f"{file}: this tokenizer has no bos or no eos token")
        self.exact = self.decode(self.encode(NORMALISED)) == NORMALISED

    def encode(self, text: str, bos: bool = True, eos: bool = False) -> list[int]:
        """Token ids of `text`, with bos before and eos behind as asked.

        Raises UserError for what is no Unicode text (half of a surrogate pair).
        """
        try:
            ids = self.model.EncodeAsIds(text)
        except (RuntimeError, UnicodeEncodeError):
            raise UserError(f"{text[:80]!r} is not text that can be written in UTF-8")
        return [self.bos_id] * bos + ids + [self.eos_id] * eos

    def decode(self, ids: list[int]) -> str:
        """The text of `ids`; bos and eos are dropped. An id without a piece, which a model with
        more embedding rows than pieces may choose, reads as the unknown piece does."""
        return self.model.DecodeIds([i if i < self.vocab_size else self.model.unk_id()
                                     for i in ids if i not in (self.bos_id, self.eos_id)])

    def piece(self, token: int) -> str:
        """How the vocabulary writes a token: "▁What" begins with a space, "<0x0A>" is one byte."""
        return self.model.IdToPiece(token)

    def encode_prompt(self, prompt: str) -> list[int]:
        """The ids that generation starts from: bos + prompt without its trailing spaces."""
        return self.encode(prompt.rstrip(" "))

    def encode_pair(self, prompt: str, answer: str) -> tuple[list[int], int]:
        """(ids of bos + prompt + answer + eos, how many of them are the prompt's).

        Raises UserError when the prompt's ids are no prefix of the whole: text that would be
        masked wrongly is refused; and for an answer that this tokenizer rewrites.
        """
        ids = self.encode(prompt + answer, eos=True)
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

        A tokenizer may write the prompt otherwise than it was given, so its tokens say where it
        ends; white space at its end that they lack is the first that the answer begins with.
        """
        start = self.encode_prompt(prompt)
        shown = self.decode(start)
        text = self.decode(start + ids)[len(shown):]
        for _ in range(trailing(prompt) - trailing(shown)):
            text = text.removeprefix(" ")
        return text


def trailing(text: str) -> int:
    """How many characters of white space end a text."""
    return len(text) - len(text.rstrip())


def difference(text: str, other: str) -> str:
    """What two texts are from their first different character on, for a message."""
    at = len(os.path.commonprefix([text, other]))
    return f"{text[at:at + 20]!r} becomes {other[at:at + 20]!r}"
