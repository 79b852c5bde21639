"""SentencePiece with LLaMA's conventions, and the one rule for where a prompt ends.

LLaMA writes every digit as a token of its own, which the Goat paper (App. B) holds to be the main
cause of its success; the project's own tokenizer does the same. A space before a digit is a token
apart, but a space before a letter, minus or bracket fuses with it (` -` is one piece). So the
prompt `… Answer: ` is a token prefix of prompt + answer only for some answers.

The rule here: **trailing spaces of the prompt belong to the answer.** The prompt `… Answer: ` is
encoded as `… Answer:`, and the first thing the model writes is the space, fused or not. Training
(`encode_pair`) and generation (`encode_prompt`, `decode_answer`) share it, so it holds for answers
that begin with a digit, a minus, a bracket, a letter or a tag, and is checked for every sample.

Make a tokenizer: `python -m goat.tokenizer TEXT_OR_JSONL … --out goat/base/tokenizer.model`.
"""

import argparse
import io
import json
import os
import re
import string
from pathlib import Path

import sentencepiece

from goat.errors import UserError, check_place, run
from goat.tasks.word_problems import TAGS

TEXT_FIELDS = ("question", "instruction", "input", "output", "answer")  # of rows and of GSM8K
ANNOTATION = re.compile(r"<<.*?>>|####")  # GSM8K's calculator marks are no words of English

LLAMA_3 = ("Llama 3 and later are not supported: their tokenizers put up to three digits into one "
           "token, and the methods here need one token for each digit")


class Tokenizer:
    """Text to token ids and back. `path` is a `tokenizer.model` file or the folder that holds one.

    Raises UserError when the file is missing, is not SentencePiece, or lacks bos or eos.
    """

    def __init__(self, path: str | os.PathLike):
        path = Path(path)
        file = path / "tokenizer.model" if path.is_dir() else path
        if not file.is_file() and (path / "tokenizer.json").is_file():
            raise UserError(f"{path}: only a tokenizer.json is here. For LLaMA-1 and -2, copy the "
                            f"base model's tokenizer.model there. {LLAMA_3}")
        if not file.is_file():
            raise UserError(f"{path}: no tokenizer.model here; copy the base model's file there")
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

    def encode_prompt(self, prompt: str) -> list[int]:
        """The ids that generation starts from: bos + prompt without its trailing spaces."""
        return self.encode(prompt.rstrip(" "))

    def encode_pair(self, prompt: str, answer: str) -> tuple[list[int], int]:
        """(ids of bos + prompt + answer + eos, how many of them are the prompt's).

        Raises UserError when the prompt's ids are no prefix of the whole: text that would be
        masked wrongly is refused.
        """
        ids = self.encode(prompt + answer, eos=True)
        start = self.encode_prompt(prompt)
        if ids[: len(start)] != start:
            raise UserError(f"the tokens of prompt {prompt[-30:]!r} change when {answer[:20]!r} "
                            "follows: end the prompt in a newline or a space")
        return ids, len(start)

    def decode_answer(self, prompt: str, ids: list[int]) -> str:
        """The text that generated `ids` add to `prompt`; the inverse of `encode_pair`."""
        bare = prompt.rstrip(" ")
        text = self.decode(self.encode_prompt(prompt) + ids)[len(bare):]
        for _ in range(len(prompt) - len(bare)):
            text = text.removeprefix(" ")
        return text


def read_corpus(path: str) -> list[str]:
    """The texts of a file: the text fields of JSON lines, or the lines of plain text."""
    texts = []
    with open(path, "rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                text = line.decode().rstrip("\r\n")
                if not path.endswith(".jsonl"):
                    texts.append(text)
                    continue
                row = json.loads(text)
                texts += [ANNOTATION.sub("", row[field]) for field in TEXT_FIELDS if field in row]
            except UnicodeDecodeError:
                raise UserError(f"{path}, line {number}: this is not text in UTF-8")
            except (ValueError, TypeError):
                raise UserError(f"{path}, line {number}: not a JSON object")
    return texts


def train_tokenizer(texts: list[str], vocab_size: int, group_digits: bool = False) -> bytes:
    """A byte-pair vocabulary with LLaMA's settings; returns the bytes of a `tokenizer.model`.

    Digits apart, byte fallback, identity normaliser, white space kept, unk/bos/eos 0/1/2. A
    newline, `print(` and each tag of the code-interpreter format are pieces of their own.
    `group_digits` lets frequent runs of digits become pieces, as in GPT's vocabularies: for the
    paper's comparison (App. B) only. Raises UserError for a size that the texts do not allow.
    """
    model = io.BytesIO()
    settings = dict(
        model_type="bpe", vocab_size=vocab_size, character_coverage=0.9999, byte_fallback=True,
        split_digits=not group_digits, normalization_rule_name="identity",
        remove_extra_whitespaces=False, allow_whitespace_only_pieces=True, add_dummy_prefix=True,
        unk_id=0, bos_id=1, eos_id=2, pad_id=-1, num_threads=1, minloglevel=2,
        required_chars="".join(sorted(set(string.printable) - set(string.whitespace))),
        user_defined_symbols=["\n", "print(", *TAGS])
    try:
        sentencepiece.SentencePieceTrainer.Train(sentence_iterator=iter(texts), model_writer=model,
                                                 **settings)
    except RuntimeError as error:  # "INTERNAL: file(line) [condition] Vocabulary size too high …"
        raise UserError(f"--vocab-size {vocab_size}: {str(error).rpartition('] ')[2]}")
    return model.getvalue()


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m goat.tokenizer", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", help=".jsonl files (string fields) or plain text")
    parser.add_argument("--vocab-size", type=int, default=1536, help="pieces (default 1536)")
    parser.add_argument("--group-digits", action="store_true",
                        help="let runs of digits become one token, to show what that costs")
    parser.add_argument("--out", default="tokenizer.model", help="file to write")
    args = parser.parse_args(argv)
    check_place(args.out)
    texts = [text for path in args.files for text in read_corpus(path)]
    data = train_tokenizer(texts, args.vocab_size, args.group_digits)
    temporary = Path(f"{args.out}.tmp")
    temporary.write_bytes(data)
    os.replace(temporary, args.out)
    print(f"{args.out}: {args.vocab_size} pieces from {len(texts):,} texts")


if __name__ == "__main__":
    run(main)
