"""The base's tokenizer: a vocabulary with LLaMA's settings, counted on texts of one's own.

    python -m goat.base.train_tokenizer TEXT_OR_JSONL … --out out/tokenizer.model
"""

import io
import re
import string

import sentencepiece

from goat.cli import parser_for, refuse_below, run
from goat.errors import UserError
from goat.files.atomic import check_place, refuse_same, write_bytes
from goat.files.rows import check_texts, open_text, read_rows
from goat.papers.word_problems.format import TAGS

TEXT_FIELDS = ("question", "instruction", "input", "output", "answer")  # of rows and of GSM8K
ANNOTATION = re.compile(r"<<.*?>>|####")  # GSM8K's calculator marks are no words of English


def read_corpus(path: str) -> list[str]:
    """The texts of a file: the text fields of rows, or the lines of plain text."""
    texts = []
    if path.endswith((".jsonl", ".json")):
        for where, row in read_rows(path):
            fields = [field for field in TEXT_FIELDS if field in row]
            check_texts(row, where, *fields)
            texts += [ANNOTATION.sub("", row[field]) for field in fields]
        return texts
    with open_text(path) as lines:
        for number, line in enumerate(lines, 1):
            try:
                line.encode()
            except UnicodeEncodeError:
                raise UserError(f"{path}, line {number}: this is not text in UTF-8")
            texts.append(line.rstrip("\r\n"))
    return texts


def train_tokenizer(texts: list[str], vocab_size: int, group_digits: bool = False) -> bytes:
    """A byte-pair vocabulary with LLaMA's settings; returns the bytes of a `tokenizer.model`.

    Digits apart, byte fallback, identity normaliser, white space kept, unk/bos/eos 0/1/2. A
    newline, `print(` and each tag of the code-interpreter format are pieces of their own.
    `group_digits` lets frequent runs of digits become pieces, as in GPT's vocabularies: for the
    paper's comparison (App. B) only. Raises UserError for a size that the texts do not allow.
    """
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.Train(
            sentence_iterator=iter(texts), model_writer=model, model_type="bpe",
            vocab_size=vocab_size, character_coverage=0.9999, byte_fallback=True,
            split_digits=not group_digits, normalization_rule_name="identity",
            remove_extra_whitespaces=False, allow_whitespace_only_pieces=True,
            add_dummy_prefix=True, unk_id=0, bos_id=1, eos_id=2, pad_id=-1, num_threads=1,
            max_sentence_length=1 << 30, minloglevel=2,
            user_defined_symbols=["\n", "print(", *TAGS],
            required_chars="".join(sorted(set(string.printable) - set(string.whitespace))))
    except RuntimeError as error:  # "INTERNAL: file(line) [condition] Vocabulary size too high …"
        raise UserError(f"--vocab-size {vocab_size}: {str(error).rpartition('] ')[2]}")
    return model.getvalue()


def main(argv: list[str] | None = None) -> None:
    parser = parser_for("python -m goat.base.train_tokenizer", __doc__)
    parser.add_argument("files", nargs="+",
                        help="rows (.jsonl or .json; what they ask and answer) or plain text")
    parser.add_argument("--vocab-size", type=int, default=1536, help="pieces (default 1536)")
    parser.add_argument("--group-digits", action="store_true",
                        help="let runs of digits become one token, to show what that costs")
    parser.add_argument("--out", default="tokenizer.model", help="file to write")
    args = parser.parse_args(argv)
    refuse_below(args, 1, "vocab_size")
    check_place(args.out)
    refuse_same(args.out, *args.files)
    texts = [text for path in args.files for text in read_corpus(path)]
    if not any(texts):
        raise UserError(f"{', '.join(args.files)}: no text; of rows the fields "
                        f"{', '.join(TEXT_FIELDS)} are read")
    data = train_tokenizer(texts, args.vocab_size, args.group_digits)
    write_bytes(args.out, data)
    print(f"{args.out}: {args.vocab_size} pieces from {len(texts):,} texts")


if __name__ == "__main__":
    run(main)
