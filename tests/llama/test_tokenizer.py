"""The tokenizer: LLaMA's conventions, and the boundary between prompt and answer.

Run: python -m pytest tests/llama/test_tokenizer.py
"""

import io
import random
import string

import pytest
import sentencepiece

from goat.errors import UserError
from goat.files.vocabulary import open_tokenizer
from goat.papers import prompt as prompt_of
from goat.papers.word_problems.format import TAGS
from support.runs import BASE

ANSWERS = ["5", "-5", "(30 + 2)", "Therefore", "<p>\nCount.\n</p>", "  indented", "é", "0 R 7"]


def trained(folder, **options):
    """A tokenizer of a few dozen pieces."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.Train(
        sentence_iterator=iter(["What is 12 + 34 ? Answer: one two three four 56789 -0 (7)"] * 9),
        model_writer=model, vocab_size=400, hard_vocab_limit=False, minloglevel=2,
        model_type="bpe", **options)
    (folder / "tokenizer.model").write_bytes(model.getvalue())
    return open_tokenizer(folder)


def test_ids_and_size_are_llamas(tokenizer):
    assert (tokenizer.model.unk_id(), tokenizer.bos_id, tokenizer.eos_id) == (0, 1, 2)
    assert tokenizer.model.pad_id() == -1
    assert 1000 <= tokenizer.vocab_size <= 2000


def test_every_digit_is_a_token(tokenizer):
    ids = tokenizer.encode("70518 + 29", bos=False)
    pieces = [tokenizer.model.IdToPiece(i) for i in ids]
    assert pieces == ["▁", "7", "0", "5", "1", "8", "▁+", "▁", "2", "9"]
    digits = [i for i in range(tokenizer.vocab_size)
              if any(c.isdigit() for c in tokenizer.model.IdToPiece(i))
              and not tokenizer.model.IsByte(i)]
    assert len(digits) == 10


def test_each_tag_is_one_token(tokenizer):
    for tag in TAGS:
        assert tag in [tokenizer.model.IdToPiece(i) for i in tokenizer.encode(f"\n{tag}\n")]


@pytest.mark.parametrize("text", [
    string.printable.replace("\r", "").replace("\x0b", "").replace("\x0c", ""), "a  b   c\n\n\td",
    "café … 12 €", "\n", " 5", "def f(x):\n    return x * 2\n"])
def test_text_survives(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text, eos=True)) == text


@pytest.mark.parametrize("prompt", ["", "  "])
def test_a_row_without_a_prompt_where_texts_have_no_bos(prompt):
    tokenizer = open_tokenizer(BASE)
    tokenizer.bos_id = None
    ids, count = tokenizer.encode_pair(prompt, "12 + 3")
    assert ids[:count] == tokenizer.encode_prompt(prompt) == [tokenizer.eos_id]
    assert tokenizer.decode_answer(prompt, ids[count:-1]) == "12 + 3"


def test_eos_and_bos_only_where_asked(tokenizer):
    assert tokenizer.encode("5", bos=False)[0] != 1 and tokenizer.encode("5")[0] == 1
    assert tokenizer.encode("5")[-1] != 2 and tokenizer.encode("5", eos=True)[-1] == 2


@pytest.mark.parametrize("prompt", [prompt_of("What is 5 - 7?"), "5 - 7 = ", "Solve:\n", "x"])
@pytest.mark.parametrize("answer", ANSWERS)
def test_prompt_is_a_prefix_and_the_answer_comes_back(tokenizer, prompt, answer):
    if prompt == "x" and answer in ("Therefore", "é"):
        return  # no boundary at all: see the next test
    ids, n = tokenizer.encode_pair(prompt, answer)
    assert ids[:n] == tokenizer.encode_prompt(prompt)
    assert ids[-1] == tokenizer.eos_id and ids.count(tokenizer.eos_id) == 1
    assert tokenizer.decode(ids) == prompt + answer
    assert tokenizer.decode_answer(prompt, ids[n:]) == answer


def test_a_boundary_inside_a_piece_is_refused(tokenizer):
    with pytest.raises(UserError, match="end the prompt in a newline or a space"):
        tokenizer.encode_pair("The numb", "ers 5 and 7")


REWRITING = [{"byte_fallback": True}, {"byte_fallback": False},  # NFKC, and spaces merged
             {"byte_fallback": True, "normalization_rule_name": "identity"}]  # spaces merged


@pytest.mark.parametrize("options", [None, *REWRITING])
def test_the_answer_comes_back_behind_any_spacing(tokenizer, tmp_path, options):
    """Whatever the tokenizer makes of the prompt; an answer that it would change is refused."""
    used = tokenizer if options is None else trained(tmp_path, **options)
    assert used.exact == (options is None)
    letters = ["What", "12", "+", "-", "x", "é", "e\u0301", "\u00bd", "\u2009", "\u3000", "\u2212",
               "\ufb01", "\n", "\t", " ", " ", "  ", "\u00a0"]
    rng, back, refused = random.Random(0), 0, 0
    for _ in range(400):
        odd = "".join(rng.choices(letters, k=rng.randrange(9)))
        prompt = odd + rng.choice(["\nAnswer: ", "\nAnswer:", "\n", " ", "   ", "\u00a0 ", "\n  "])
        answer = rng.choice(["4826", "-5", "(7) x", "".join(rng.choices(letters, k=5))])
        try:
            ids, n = used.encode_pair(prompt, answer)
        except UserError as error:
            refused += "rewrites" in str(error)
            continue
        assert used.decode_answer(prompt, ids[n:]) == answer, (prompt, answer)
        back += 1
    assert back > 200 and (refused > 20) == (options is not None)


def test_what_a_tokenizer_rewrites_is_named(tmp_path):
    merging = trained(tmp_path, byte_fallback=True)
    prompt = "What  is   397 + 4429 ?\nAnswer: "
    ids, n = merging.encode_pair(prompt, "4826")
    assert merging.decode_answer(prompt, ids[n:]) == "4826"
    with pytest.raises(UserError, match=r"tokenizer.model: .* rewrites .*' \(7\)' becomes"):
        merging.encode_pair(prompt, "12  (7)")


def test_the_real_llama_vocabulary_is_not_needed_but_bad_files_are_named(tmp_path):
    with pytest.raises(UserError, match="no tokenizer.model or tokenizer.json here"):
        open_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(UserError, match="no byte-level BPE.* copy the tokenizer.model there"):
        open_tokenizer(tmp_path)
    (tmp_path / "tokenizer.model").write_bytes(b"IQ== 0\n")  # Meta's Llama 3: base64 and rank
    with pytest.raises(UserError, match="no whole SentencePiece model.* copy the tokenizer.json"):
        open_tokenizer(tmp_path)


def test_a_file_cut_short_anywhere_is_refused(tmp_path):
    content = (BASE / "tokenizer.model").read_bytes()
    for length in (0, 1, *range(97, len(content), 997), len(content) // 2, len(content) - 1):
        (tmp_path / "tokenizer.model").write_bytes(content[:length])
        with pytest.raises(UserError, match="no whole SentencePiece model"):
            open_tokenizer(tmp_path)


@pytest.mark.parametrize("missing", ["bos_id", "eos_id"])
def test_a_tokenizer_without_bos_or_eos_is_refused(tmp_path, missing):
    with pytest.raises(UserError, match="tokenizer.model: this tokenizer has no bos or no eos"):
        trained(tmp_path, **{missing: -1})


def test_an_id_without_a_piece_is_no_error(tokenizer):
    """Models may have more embedding rows than their tokenizer has pieces."""
    ids = tokenizer.encode("12 + 7")
    assert tokenizer.decode([*ids, tokenizer.vocab_size + 5]).startswith("12 + 7")
