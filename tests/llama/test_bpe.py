"""Byte-level BPE: what it makes of texts, and that the `tokenizers` package makes the same.

The peer reads a tokenizer.json that is written here; the published patterns are in it. Where the
vocabulary of SmolLM2 is installed, it is used, else a tiny one of our own.
Run: python -m pytest tests/llama/test_bpe.py
"""

import json
import pickle
import random

import pytest

from goat.errors import UserError
from goat.files.bases import SMOLLM2
from goat.files.vocabulary import gguf_keys, open_tokenizer, save_tokenizer
from goat.llama.bpe import CHARACTERS, PATTERNS, ByteLevelBPE
from goat.papers import prompt as prompt_of
from support.families import SPECIAL, TEXT, bpe
from support.slow import slow

SETTINGS = {"smollm": {}, "gpt-2": {}, "llama-bpe": dict(whole_words=True, bos_id=1),
            "qwen2": dict(composed=True)}
each_kind = pytest.mark.parametrize("pre", PATTERNS)
# What texts are mixed of: languages, code, digits, spacing, emoji, control characters.
ALPHABETS = [
    "abcdefghijklmnopqrstuvwxyz", "ABCXYZ", "0123456789", "0123456789", " ", " ", "  ", "\n", "\t",
    ".,;:!?'\"()[]{}<>/\\|@#$%^&*-_=+~`", "äöüßéèñçøåœæ", "абвгджАБВ", "αβγδΩ", "漢字日本語中文",
    "かなカナ", "한국어", "العربية", "עברית", "हिन्दी", "ไทย", "😀😎👩‍👩‍👧🏽🇩🇪", "½¼²³⅓Ⅷ①",
    "ﬁﬂſ", "𝒜𝟘𝟙𐍈",
    "\u00a0\u2003\u200b\u3000\u2028\u0085", "\x00\x01\x04\x06\x13\x14\x16\x1c\x1d\x1e\x1f\x7f",
    "e\u0301a\u0308\u0327", "can't I'LL we've they're 'S it's"]


def mixed(size, seed=0):
    """About so many bytes of everything."""
    rng, parts = random.Random(seed), []
    while size > 0:
        alphabet = rng.choice(ALPHABETS)
        part = "".join(rng.choices(alphabet, k=rng.choice([1, 1, 2, 3, 5, 8])))
        parts.append(part if rng.random() < 0.8 else alphabet)
        size -= len(parts[-1].encode())
    return "".join(parts)


def of_smollm2(pre, **settings):
    """Its vocabulary under another pre-tokenizer, or the tiny one."""
    try:
        real = open_tokenizer(SMOLLM2)
    except UserError:
        return bpe(pre, missing=(0x04, 0x1d), **settings)
    return ByteLevelBPE(real.tokens, real.rank, real.added, pre, real.path, eos_id=2,
                        special=real.special, **settings)


def pieces(tokenizer, text):
    return [tokenizer.piece(i) for i in tokenizer.encode(text, bos=False)]


@each_kind
def test_token_for_token_as_the_tokenizers_package(pre, tmp_path):
    peers = pytest.importorskip("tokenizers")
    tokenizer = of_smollm2(pre, **SETTINGS[pre])
    save_tokenizer(tokenizer, tmp_path)
    peer = peers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    again = open_tokenizer(tmp_path)
    for number in range(300 if slow else 30):
        text = mixed(3500, number) + "<|im_start|>12<|im_end|> 3\n" * (number % 2)
        ids = tokenizer.encode(text)
        assert ids == peer.encode(text).ids == again.encode(text), number
        said = peer.decode([i for i in ids if i not in (2, tokenizer.bos_id)],
                           skip_special_tokens=False)
        assert tokenizer.decode(ids) == said


@pytest.mark.parametrize("pre, text, want", [
    ("smollm", "397 x 44", ["3", "9", "7", "Ġ", "x", "Ġ", "4", "4"]),
    ("smollm", "x  12", ["x", "ĠĠ", "1", "2"]),  # both spaces are the end of a part
    ("smollm", "x  y", ["x", "Ġ", "Ġ", "y"]),
    ("gpt-2", "x  12", ["x", "Ġ", "Ġ", "1", "2"]),
    ("llama-bpe", ">\n\n4", [">ĊĊ", "4"]), ("qwen2", "e\u0301", ["Ã", "©"]),
    ("gpt-2", "e\u0301", ["e", "Ì", "ģ"])])
def test_where_words_are_cut(pre, text, want):
    """With merges of two spaces, of > and line ends, and none of a space and a letter."""
    merges = [("Ġ", "Ġ"), ("Ċ", "Ċ"), (">", "ĊĊ")]
    tokens = [*SPECIAL, *CHARACTERS.values(), "ĠĠ", "ĊĊ", ">ĊĊ"]
    tokenizer = ByteLevelBPE(tokens, merges, {}, pre, bpe().path, eos_id=2, **SETTINGS[pre])
    assert pieces(tokenizer, text) == want


def test_the_pair_that_was_learnt_first_is_merged_first():
    tokens = [*SPECIAL, *"abc", "ab", "bc", "abc", "aa"]
    merges = [("b", "c"), ("a", "b"), ("ab", "c"), ("a", "a")]
    tokenizer = ByteLevelBPE(tokens, merges, {}, "gpt-2", bpe().path, eos_id=2)
    assert pieces(tokenizer, "abc") == ["a", "bc"] and pieces(tokenizer, "ab") == ["ab"]
    assert pieces(tokenizer, "aaaaa") == ["aa", "aa", "a"]  # from left to right
    whole = ByteLevelBPE(tokens, merges, {}, "gpt-2", bpe().path, eos_id=2, whole_words=True)
    assert pieces(whole, "abc") == ["abc"]


@each_kind
def test_text_comes_back_and_a_split_character_is_whole(pre):
    tokenizer = bpe(pre, **SETTINGS[pre])
    text = mixed(20_000).replace("e\u0301", "é").replace("a\u0308", "ä")
    ids = tokenizer.encode(text, eos=True)
    assert pre == "qwen2" or tokenizer.decode(ids) == text
    smiley = tokenizer.encode("😀", bos=False)
    assert len(smiley) == 4 and tokenizer.decode(smiley) == "😀"
    assert tokenizer.decode(smiley[:3]) == "\ufffd"
    assert tokenizer.decode([tokenizer.vocab_size + 3]) == "\ufffd"


@each_kind
@pytest.mark.parametrize("prompt", [prompt_of("What is 5 - 7?"), "5 - 7 = ", "Solution:\n\n", "x\n",
                                    "The numb", "", "  "])
@pytest.mark.parametrize("answer", ["5", "-5", "(3)", "<p>\nx", "  in", "\n 7", "ers", "é", "<|"])
def test_the_prompt_is_a_prefix_and_the_answer_comes_back(pre, prompt, answer):
    """Wherever the two are put together, even within a word."""
    tokenizer = bpe(pre, **SETTINGS[pre])
    ids, n = tokenizer.encode_pair(prompt, answer)
    assert ids[:n] == tokenizer.encode_prompt(prompt) and ids[-1] == tokenizer.eos_id
    assert tokenizer.decode_answer(prompt, ids[n:]) == answer
    begun = tokenizer.encode_prompt(prompt, answer + "\n")
    assert begun == tokenizer.continued(prompt, answer + "\n")
    assert begun[:n] == ids[:n]


def test_missing_bytes_are_dropped_and_rows_with_them_are_refused():
    tokenizer = bpe(missing=(0x04, 0x1d))
    assert not tokenizer.exact and bpe().exact
    assert tokenizer.decode(tokenizer.encode("a\x04b\x1dc")) == "abc"
    tokenizer.encode_pair("x\x04\nAnswer: ", "12")
    with pytest.raises(UserError, match="tiny.gguf: this tokenizer rewrites .* becomes 'b'"):
        tokenizer.encode_pair("x\nAnswer: ", "a\x04b")


def test_what_a_text_begins_with():
    assert bpe("llama-bpe", **SETTINGS["llama-bpe"]).encode("7")[0] == 1  # bos
    smollm, parting = bpe("smollm"), bpe().added["<|endoftext|>"]
    assert smollm.encode("7")[0] == parting and smollm.decode([parting]) == ""
    assert smollm.encode_pair("7", "8")[0][0] == parting and bpe("gpt-2").bos_id is None
    assert bpe("smollm", bos_id=1).encode("7")[0] == 1  # another, where the file names one


def test_digits_and_names():
    assert bpe().groups_digits is False
    many = [*bpe().tokens, "41", "741"]
    grouping = ByteLevelBPE(many, [("4", "1"), ("7", "41")], {}, "llama-bpe", bpe().path, eos_id=2)
    assert grouping.groups_digits
    with pytest.raises(UserError, match="pre-tokenizer 'tekken' is not supported; these are: gpt"):
        bpe("tekken")


def test_it_can_be_sent_to_another_process():
    sent, ids = pickle.loads(pickle.dumps(bpe())), bpe().encode(TEXT)
    assert sent.encode(TEXT) == ids and sent.decode(ids) == bpe().decode(ids)


def test_half_of_a_surrogate_pair_is_refused():
    with pytest.raises(UserError, match="not text that can be written in UTF-8"):
        bpe().encode("x\ud800")


# ---- tokenizer.json ------------------------------------------------------------------------------

@pytest.fixture
def folder(tmp_path):
    save_tokenizer(bpe(), tmp_path)
    return tmp_path


def edited(folder, change, name="tokenizer.json"):
    content = json.loads((folder / name).read_text())
    change(content)
    (folder / name).write_text(json.dumps(content))
    try:
        return open_tokenizer(folder)
    except UserError as error:
        assert "\n" not in str(error) and str(folder) in str(error)
        return str(error)


@pytest.mark.parametrize("change, part", [
    (lambda c: c["model"].update(type="Unigram"), "no byte-level BPE"),
    (lambda c: c["model"].update(byte_fallback=True), "copy the tokenizer.model there"),
    (lambda c: c.update(model=[]), "no byte-level BPE"),
    (lambda c: c.update(normalizer={"type": "NFKC"}), "normalizer {'type': 'NFKC'}"),
    (lambda c: c.update(pre_tokenizer=None), "pre_tokenizer None is not supported"),
    (lambda c: c["pre_tokenizer"]["pretokenizers"].pop(0), None),  # GPT-2's own
    (lambda c: c["pre_tokenizer"]["pretokenizers"].pop(1), "Digits"),
    (lambda c: c["pre_tokenizer"]["pretokenizers"][1].update(add_prefix_space=True), "not supp"),
    (lambda c: c["pre_tokenizer"]["pretokenizers"][1].update(trim_offsets=False), None),
    (lambda c: c["model"]["merges"].append(["q", "zzz"]), "merge ('q', 'zzz') is damaged"),
    (lambda c: c["model"]["merges"].append("a b c"), "merge ('a', 'b', 'c') is damaged"),
    (lambda c: c["model"]["vocab"].update(zz=10 ** 9), "ids up to 1000000000"),
    (lambda c: c["model"]["vocab"].update(zz="x"), "damaged (ValueError"),
    (lambda c: c["model"].pop("vocab"), "damaged (KeyError"),
    (lambda c: c["model"]["merges"].append(["q", ["z"]]), "is damaged"),
    (lambda c: c.update(post_processor=5), "post_processor is damaged: 5"),
    (lambda c: c.update(post_processor={"processors": None}), "post_processor is damaged"),
    (lambda c: c.update(post_processor={"single": [{"SpecialToken": 1}]}), "is damaged"),
    (lambda c: c.update(post_processor={"single": [{"SpecialToken": {"id": "no"}}]}),
     "that begins a text"),
    (lambda c: c.update(normalizer={"type": "Sequence", "normalizers": []}), None),
    (lambda c: c["added_tokens"][0].update(lstrip=True), "takes in spaces"),
    (lambda c: c.update(added_tokens=[]), None)])
def test_a_tokenizer_json_of_another_kind_is_refused(folder, change, part):
    found = edited(folder, change)
    assert isinstance(found, ByteLevelBPE) if part is None else part in found


def test_merges_as_text_and_what_ends_a_text(folder):
    """Older files write "a b"; the end is named in either of two files."""
    def text(content):
        content["model"]["merges"] = [" ".join(pair) for pair in content["model"]["merges"]]
    assert edited(folder, text).encode(TEXT) == bpe().encode(TEXT)
    name = "tokenizer_config.json"
    assert edited(folder, lambda c: c.update(eos_token={"content": "<|endoftext|>"}),
                  name).eos_id == 0
    assert "that ends a text" in edited(folder, lambda c: c.update(eos_token="no_such"), name)
    assert "is no text" in edited(folder, lambda c: c.update(eos_token=["</s>"]), name)
    assert "which token ends a text" in edited(folder, lambda c: c.pop("eos_token"), name)
    (folder / "config.json").write_text('{"eos_token_id": [1, 2]}')
    assert open_tokenizer(folder).eos_id == 1
    (folder / name).unlink()
    assert open_tokenizer(folder).eos_id == 1


def test_bos_behind_another_step(tmp_path):
    """Llama 3's post_processor is a sequence."""
    save_tokenizer(bpe("llama-bpe", whole_words=True), tmp_path)
    steps = [{"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False},
             {"type": "TemplateProcessing", "single": [
                 {"SpecialToken": {"id": "<|im_start|>", "type_id": 0}},
                 {"Sequence": {"id": "A", "type_id": 0}}]}]
    assert edited(tmp_path, lambda c: c.update(
        post_processor={"type": "Sequence", "processors": steps})).bos_id == 1


def test_chat_templates(folder, tmp_path):
    """One, several by name, or in a file of its own; none of them hinders a GGUF file."""
    name, several = "tokenizer_config.json", [{"name": "tools", "template": "T"},
                                              {"name": "default", "template": "D"}]
    for found, want in (("A", "A"), (several, "D"), (several[:1], None), (5, None)):
        tokenizer = edited(folder, lambda c, found=found: c.update(chat_template=found), name)
        assert tokenizer.chat_template == want
        assert gguf_keys(tokenizer, 400).get("tokenizer.chat_template") == want
    edited(folder, lambda c: c.pop("chat_template"), name)
    (folder / "chat_template.jinja").write_text("J")
    assert open_tokenizer(folder).chat_template == "J"
    save_tokenizer(open_tokenizer(folder), tmp_path / "copy")
    assert open_tokenizer(tmp_path / "copy").chat_template == "J"
    (folder / "tokenizer.json").rename(folder / "mine.json")
    save_tokenizer(open_tokenizer(folder / "mine.json"), tmp_path / "other")
    assert open_tokenizer(tmp_path / "other").tokens == open_tokenizer(tmp_path / "copy").tokens


def test_bos_is_put_where_the_file_says_so(tmp_path):
    save_tokenizer(bpe("llama-bpe", **SETTINGS["llama-bpe"]), tmp_path)
    assert open_tokenizer(tmp_path).bos_id == 1
    assert edited(tmp_path, lambda c: c.update(post_processor=None)).bos_id == 1  # add_bos_token
    name = "tokenizer_config.json"
    assert edited(tmp_path, lambda c: c.pop("add_bos_token"), name).bos_id is None


def test_a_cut_tokenizer_json_is_refused(folder):
    content = (folder / "tokenizer.json").read_bytes()
    for length in range(0, len(content) - 2, len(content) // 50):
        (folder / "tokenizer.json").write_bytes(content[:length])
        with pytest.raises(UserError, match=r"tokenizer\.json: not valid JSON"):
            open_tokenizer(folder)
