"""The keys of a GGUF file: values of wrong types, and tokenizers as published files describe them.

Run: python -m pytest tests/files/test_gguf_metadata.py
"""

import sys

import numpy as np
import pytest

from goat.errors import UserError
from goat.files.checkpoint import load_model, save_model
from goat.files.gguf import GGUF, Put, write_gguf
from goat.files.vocabulary import open_tokenizer
from support.families import bpe
from support.folders import refusal
from support.runs import BASE
from support.tiny import tiny_config, tiny_model


def saved(path, tokenizer):
    save_model(tiny_model(tiny_config(vocab_size=tokenizer.vocab_size)), path, tokenizer)
    return path


def edited(path, changes, content=None):
    """The file, first written with its `content` if given, with other values of some keys; None
    takes a key out."""
    if content:
        path.write_bytes(content)
    file = GGUF(path)
    metadata = {key: value.tolist() if isinstance(value, np.ndarray) else value
                for key, value in file.metadata.items()} | changes
    puts = [Put(name, place.type, place.shape, file.raw(name).tobytes)
            for name, place in file.tensors.items()]
    write_gguf(path, {key: value for key, value in metadata.items() if value is not None}, puts)
    return path


@pytest.fixture(scope="module")
def byte_level(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("bpe") / "a.gguf", bpe()).read_bytes()


@pytest.fixture(scope="module")
def pieces(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("pieces") / "a.gguf", open_tokenizer(BASE)).read_bytes()


@pytest.mark.parametrize("value", [[1, 2], [float("nan")] * 100, ["a", "b"], -1.5],
                         ids=["numbers", "long", "texts", "fraction"])
@pytest.mark.parametrize("key", [
    "general.architecture", "split.count", "general.alignment", "llama.context_length",
    "llama.expert_count", "llama.rope.scaling.type", "llama.rope.scale_linear",
    "llama.attention.sliding_window", "llama.rope.freq_base", "tokenizer.ggml.model",
    "tokenizer.ggml.pre", "tokenizer.ggml.add_bos_token", "tokenizer.ggml.bos_token_id",
    "tokenizer.ggml.eos_token_id", "tokenizer.ggml.tokens", "tokenizer.ggml.token_type",
    "tokenizer.ggml.merges", "tokenizer.chat_template"])
def test_a_value_of_the_wrong_type_is_named(byte_level, tmp_path, key, value):
    path = edited(tmp_path / "a.gguf", {key: value}, byte_level)
    with pytest.raises(UserError) as error:
        load_model(path)
        open_tokenizer(path)
    assert "\n" not in str(error.value) and str(path) in str(error.value)


@pytest.mark.parametrize("key, value, part", [
    ("llama.expert_count", 8, "expert_count 8 (a mixture of experts)"),
    ("split.count", 3, "a model in 3 files")])
def test_what_is_not_plain_is_refused_by_name(byte_level, tmp_path, key, value, part):
    assert part in refusal(edited(tmp_path / "a.gguf", {key: value}, byte_level))


def test_a_file_that_was_put_together_of_several_is_one(byte_level, tmp_path):
    """llama-gguf-split --merge writes 0 files."""
    path = edited(tmp_path / "a.gguf", {"split.count": 0}, byte_level)
    load_model(path)


@pytest.mark.parametrize("key, value", [
    ("bos_token_id", "x"), ("bos_token_id", 10 ** 6), ("eos_token_id", [1]),
    ("unknown_token_id", 0.0), ("add_space_prefix", [1, 2]), ("scores", ["a"])])
def test_a_value_of_the_wrong_type_is_named_beside_pieces(pieces, tmp_path, key, value):
    path = edited(tmp_path / "a.gguf", {f"tokenizer.ggml.{key}": value}, pieces)
    with pytest.raises(UserError, match=f"tokenizer.ggml.{key} "):
        open_tokenizer(path)


def test_a_bos_that_is_no_token_is_named(byte_level, tmp_path):
    path = edited(tmp_path / "a.gguf", {
        "tokenizer.ggml.add_bos_token": True, "tokenizer.ggml.bos_token_id": 10 ** 6}, byte_level)
    with pytest.raises(UserError, match="that begins a text, 1000000, is not in the vocabulary"):
        open_tokenizer(path)


def test_names_under_other_types(pieces, tmp_path):
    """An eos that is called a user's token, a bos that is called a word, an unknown one that is
    called a control token: as files made from Hugging Face's tokenizers say."""
    path = tmp_path / "a.gguf"
    path.write_bytes(pieces)
    types = GGUF(path).metadata["tokenizer.ggml.token_type"].tolist()
    tokenizer = open_tokenizer(edited(path, {"tokenizer.ggml.token_type": [3, 1, 4, *types[3:]]}))
    ours = open_tokenizer(BASE)
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.model.unk_id()) == (1, 2, 0)
    assert tokenizer.encode("a  12 é\n", eos=True) == ours.encode("a  12 é\n", eos=True)


@pytest.mark.parametrize("change, part", [
    ({"token_type": [-1] * 1536}, "token_type is damaged"),
    ({"token_type": [1.0] * 1536}, "token_type is damaged"),
    ({"token_type": [4] * 1536}, "Tokens or their types are damaged"),
    ({"tokens": ["same"] * 1536}, "Tokens or their types are damaged")],
    ids=["below 0", "no whole numbers", "no unknown", "all the same"])
def test_damaged_pieces_are_named(pieces, tmp_path, change, part):
    changes = {f"tokenizer.ggml.{key}": value for key, value in change.items()}
    path = edited(tmp_path / "a.gguf", changes, pieces)
    with pytest.raises(UserError, match=part):
        open_tokenizer(path)


def test_settings_of_pieces_survive_writing(pieces, tmp_path):
    """No bos, no space in front, a chat template: read, written and read again."""
    path = tmp_path / "a.gguf"
    path.write_bytes(pieces)
    edited(path, {"tokenizer.ggml.add_bos_token": False, "tokenizer.ggml.add_space_prefix": False,
                  "tokenizer.chat_template": "{{ messages }}"})
    for _ in range(2):
        tokenizer = open_tokenizer(path)
        assert tokenizer.bos_id is None and tokenizer.chat_template == "{{ messages }}"
        assert tokenizer.decode(tokenizer.encode("ab")) == "ab"
        assert tokenizer.piece(tokenizer.encode("12")[0]) == "1"
        folder = tmp_path / "folder"
        save_model(tiny_model(tiny_config(vocab_size=tokenizer.vocab_size)), folder, tokenizer)
        path = saved(tmp_path / "b.gguf", open_tokenizer(folder))  # which keeps them too


def test_pieces_that_are_not_merged_in_pairs_are_no_gguf(tmp_path):
    import sentencepiece
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["a b c ab bc abc"] * 9), model_prefix=str(tmp_path / "tokenizer"),
        vocab_size=11, model_type="unigram", minloglevel=9)
    tokenizer = open_tokenizer(tmp_path / "tokenizer.model")
    with pytest.raises(UserError, match="merges pairs, which this one does not"):
        saved(tmp_path / "a.gguf", tokenizer)


def test_a_vocabulary_without_merges(tmp_path):
    path = saved(tmp_path / "a.gguf", bpe(merges=0))
    assert open_tokenizer(path).encode("ab 1") == bpe(merges=0).encode("ab 1")


@pytest.mark.skipif(sys.platform == "darwin", reason="file names there are UTF-8")
def test_a_large_number_and_a_name_that_is_no_text(tmp_path):
    path = tmp_path / "a\udcff.gguf"
    save_model(tiny_model(tiny_config(max_positions=1 << 40)), path)
    assert load_model(path).config.max_positions == 1 << 40
    assert GGUF(path).metadata["general.name"] == "a?"


@pytest.mark.parametrize("name", ["llama3", "llama-v3", "falcon3"])
def test_other_names_of_llama_3s_words(byte_level, tmp_path, name):
    path = tmp_path / "a.gguf"
    path.write_bytes(byte_level)
    tokenizer = open_tokenizer(edited(path, {
        "tokenizer.ggml.pre": name, "tokenizer.ggml.add_bos_token": None,
        "tokenizer.ggml.bos_token_id": 1}))
    assert (tokenizer.pre, tokenizer.whole_words, tokenizer.bos_id) == ("llama-bpe", True, 1)


def test_tokens_that_llama_cpp_reads_otherwise_are_told(tmp_path, capsys):
    """Ours has "\\n" as a token of its own; LLaMA's has no such ones."""
    saved(tmp_path / "a.gguf", open_tokenizer(BASE))
    assert r"tokens like '\n', behind which llama.cpp puts a space" in capsys.readouterr().out
    types = GGUF(tmp_path / "a.gguf").metadata["tokenizer.ggml.token_type"]
    saved(tmp_path / "b.gguf", open_tokenizer(edited(tmp_path / "a.gguf", {
        "tokenizer.ggml.token_type": [1 if t == 4 else t for t in types.tolist()]})))
    assert "note" not in capsys.readouterr().out
