"""GGUF files in and out, against the `gguf` package, transformers, and SmolLM2's real file.

A reader and a writer of one's own prove nothing: both may take the wrong rows of q and k for the
right ones. So the numbers of the real file stand here, and the peers read what is written.
Run: python -m pytest tests/files/test_gguf.py
"""

import hashlib
import os
import struct
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from goat.bench.load import TEXT
from goat.errors import UserError
from goat.files.bases import SMOLLM2, located
from goat.files.adapter import load_adapter, save_adapter
from goat.files.checkpoint import load_model, main, save_model
from goat.files.gguf import GGUF, MAGIC
from goat.files.gguf_llama import read_tensor
from goat.files.gguf_types import TYPES, to_q8_0
from goat.files.vocabulary import open_tokenizer
from goat.llama.int8 import Int8Linear, to_int8
from goat.llama.lora import add_lora
from support.adapters import learnt
from support.families import FAMILIES, bpe
from support.folders import refusal, same
from support.runs import BASE
from support.slow import SLOW, slow
from support.tiny import tiny_config, tiny_model, tiny_tokens

BLOCKS = [t for t in TYPES.values() if t.entries > 1]
each_family = pytest.mark.parametrize("config", FAMILIES.values(), ids=FAMILIES.keys())


@pytest.fixture(scope="module")
def smollm2():
    try:
        return located(SMOLLM2)
    except UserError as error:
        pytest.skip(str(error))


# ---- types ---------------------------------------------------------------------------------------

def test_blocks_by_hand():
    """d = 2, m = -1; a byte's low half is a number of the first sixteen, its high half of the
    last."""
    two, minus_one = np.float16(2).tobytes(), np.float16(-1).tobytes()
    types = {t.name: t for t in BLOCKS}
    q4 = types["Q4_1"].read(np.frombuffer(two + minus_one + bytes([0xF3] + [0] * 15), np.uint8))
    assert q4.tolist() == [5.0] + [-1.0] * 15 + [29.0] + [-1.0] * 15
    fifth = struct.pack("<I", 1 << 17)  # of number 17
    q5 = types["Q5_0"].read(np.frombuffer(two + fifth + bytes([0x88] * 16), np.uint8))
    assert q5.tolist() == [-16.0] * 17 + [16.0] + [-16.0] * 14
    q8 = types["Q8_0"].read(np.frombuffer(two + bytes([255, 128] + [1] * 30), np.uint8))
    assert q8.tolist() == [-2.0, -256.0] + [2.0] * 30


@pytest.mark.parametrize("of", BLOCKS, ids=lambda of: of.name)
def test_every_type_is_what_the_gguf_package_reads(of):
    gguf = pytest.importorskip("gguf")
    data = np.random.default_rng(of.id).integers(0, 256, (300, of.bytes), dtype=np.uint8)
    with np.errstate(all="ignore"):
        want = gguf.quants.dequantize(data, gguf.GGMLQuantizationType(of.id))
    got = of.read(data.reshape(-1)).reshape(want.shape)
    assert got.dtype == np.float32 and np.array_equal(got, want, equal_nan=True)


def test_q8_0_is_written_as_the_gguf_package_does():
    gguf = pytest.importorskip("gguf")
    x = np.random.default_rng(0).standard_normal((40, 64), dtype=np.float32)
    x[3], x[4, :32] = 0, np.arange(32) - 127.5
    assert to_q8_0(x) == gguf.quants.quantize(x, gguf.GGMLQuantizationType.Q8_0).tobytes()
    with pytest.raises(UserError, match="too large for Q8_0"):
        to_q8_0(np.full(32, 1e8, np.float32))


# ---- the real file -------------------------------------------------------------------------------

def test_smollm2_is_read_as_it_is(smollm2):
    """The loss of a text is what transformers' own reader of this file gives, to six digits; with
    the rows of q and k in the other order it is about 2 higher."""
    model, tokenizer = load_model(SMOLLM2), open_tokenizer(SMOLLM2)
    ids = torch.tensor([tokenizer.encode(TEXT, bos=False)])
    with torch.no_grad():
        loss = F.cross_entropy(model(ids)[0, :-1], ids[0, 1:]).item()
    assert loss == pytest.approx(3.95955, abs=2e-4)
    assert sum(p.numel() for p in model.parameters()) == 134_515_008
    assert model.config.tie_embeddings and model.lm_head.weight.dtype == torch.float32


def test_smollm2s_tokens(smollm2):
    tokenizer = open_tokenizer(smollm2)
    assert tokenizer.encode("397 x 4429") == [0, 35, 41, 39, 1792, 216, 36, 36, 34, 41]
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.vocab_size) == (0, 2, 49152)
    assert not tokenizer.groups_digits and "<|im_start|>" in tokenizer.chat_template
    assert tokenizer.encode("<jupyter_code>x<|im_end|>")[2:] == [104, 2]
    ids, n = tokenizer.encode_pair("Solution:\n\n", "<p>")
    assert ids[:n] == tokenizer.encode("Solution:\n\n") and ids[-1] == 2


def test_smollm2_reads_a_number_in_front_only_behind_another_token(smollm2):
    model, tokenizer = load_model(smollm2), open_tokenizer(smollm2)
    read = dict.fromkeys((True, False), 0)
    for number in range(2, 10):
        text = f"{number} trucks are here. How many trucks are here? There are "
        for bos in read:
            with torch.no_grad():
                said = model(torch.tensor([tokenizer.encode(text, bos=bos)]))[0, -1].argmax()
            read[bos] += tokenizer.decode([int(said)]) == str(number)
    assert read == {True: 8, False: 0}


def test_smollm2_in_8_bits(smollm2):
    model, exact = (load_model(smollm2, dtype=torch.float32, int8=int8) for int8 in (True, False))
    layer = model.model.layers[3].mlp.up_proj
    assert isinstance(layer, Int8Linear)
    weight = exact.model.layers[3].mlp.up_proj.weight
    assert (layer.dequantised() - weight).norm() / weight.norm() < 0.012


@SLOW
def test_every_tensor_of_smollm2_is_the_gguf_packages(smollm2):
    gguf = pytest.importorskip("gguf")
    file, theirs = GGUF(smollm2), gguf.GGUFReader(smollm2)
    assert [t.name for t in theirs.tensors] == list(file.tensors)
    for t in theirs.tensors:
        want = gguf.quants.dequantize(t.data, t.tensor_type)
        assert np.array_equal(file.read(t.name), want), t.name
    fields = {key: field.contents() for key, field in theirs.fields.items()
              if not key.startswith("GGUF.")}
    assert fields.keys() == file.metadata.keys()
    for key, value in fields.items():
        ours = file.metadata[key]
        assert (ours.tolist() if isinstance(ours, np.ndarray) else ours) == value, key


@SLOW
def test_transformers_computes_the_same_from_smollm2(smollm2):
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("gguf")
    peer = transformers.AutoModelForCausalLM.from_pretrained(
        str(smollm2.parent), gguf_file=smollm2.name, dtype=torch.float32).eval()
    ids = torch.tensor([open_tokenizer(smollm2).encode(TEXT)])
    with torch.no_grad():
        ours, theirs = load_model(smollm2)(ids), peer(ids).logits
    assert (ours - theirs).norm() / theirs.norm() < 1e-5


# ---- writing -------------------------------------------------------------------------------------

@each_family
@pytest.mark.parametrize("out_type", ["f32", "f16", "bf16", "q8_0"])
def test_what_is_written_is_read_back(tmp_path, config, out_type):
    model = tiny_model(config)
    save_model(model, tmp_path / "a.gguf", out_type=out_type)
    back = load_model(tmp_path / "a.gguf", dtype=torch.float32)
    assert back.config == replace(model.config, norm_eps=back.config.norm_eps)
    assert back.config.norm_eps == pytest.approx(model.config.norm_eps, rel=1e-6)
    error = {"f32": 1e-6, "f16": 2e-3, "bf16": 3e-2, "q8_0": 5e-2}[out_type]
    with torch.no_grad():
        got, want = back(tiny_tokens()), model(tiny_tokens())
    assert (got - want).norm() / want.norm() < error
    assert same(load_model(tmp_path / "a.gguf", dtype=torch.float32, int8=True), to_int8(back))
    if out_type in ("f16", "bf16"):  # the stored type is kept
        kept = load_model(tmp_path / "a.gguf").lm_head.weight.dtype
        assert kept == {"f16": torch.float16, "bf16": torch.bfloat16}[out_type]


@each_family
@pytest.mark.parametrize("out_type", ["f32", "bf16", "q8_0"])
def test_the_peers_read_what_is_written(tmp_path, config, out_type):
    transformers, gguf = pytest.importorskip("transformers"), pytest.importorskip("gguf")
    tokenizer = bpe("llama-bpe" if config.rope_scaling else "smollm")
    model = tiny_model(replace(config, vocab_size=tokenizer.vocab_size + 5))
    save_model(model, tmp_path / "a.gguf", tokenizer, out_type)
    theirs = gguf.GGUFReader(tmp_path / "a.gguf")
    assert theirs.fields["tokenizer.ggml.tokens"].contents()[:2] == ["<|endoftext|>",
                                                                    "<|im_start|>"]
    assert {t.tensor_type.name for t in theirs.tensors} == {"F32", out_type.upper()}
    ours, file = load_model(tmp_path / "a.gguf", dtype=torch.float32), GGUF(tmp_path / "a.gguf")
    for t in theirs.tensors:
        assert np.array_equal(gguf.quants.dequantize(t.data, t.tensor_type),
                              read_tensor(file, t.name, None).float().numpy())
    peer = transformers.AutoModelForCausalLM.from_pretrained(
        str(tmp_path), gguf_file="a.gguf", dtype=torch.float32).eval()
    if config.rope_scaling:  # transformers drops the divisors
        ours.config.rope_scaling = None
    with torch.no_grad():
        got, want = ours(tiny_tokens()), peer(tiny_tokens()).logits
    assert (got - want).norm() / want.norm() < 1e-5


def test_the_divisors_of_llama_3_are_written(tmp_path):
    save_model(tiny_model(FAMILIES["llama 3"]), tmp_path / "a.gguf")
    written = GGUF(tmp_path / "a.gguf").read("rope_freqs.weight")
    scaling = FAMILIES["llama 3"].rope_scaling
    assert np.array_equal(written, scaling.divisors(5e5, 8).numpy())
    assert written.min() == 1.0 and written.max() == 4.0


def test_the_order_of_rows_goes_by_the_architectures_name(tmp_path):
    """Neighbouring rows turn together in a `llama`, halves in a `qwen2`; v is never rearranged."""
    for family, turned in (("llama", True), ("qwen 2", False)):
        model = tiny_model(FAMILIES[family])
        save_model(model, tmp_path / f"{family}.gguf")
        file = GGUF(tmp_path / f"{family}.gguf")
        q, v = (file.read(f"blk.1.attn_{name}.weight") for name in "qv")
        attn = model.model.layers[1].self_attn
        rows = [0, 4, 1, 5, 2, 6, 3, 7] if turned else list(range(8))  # of the first head
        assert np.array_equal(q[:8], attn.q_proj.weight.detach().numpy()[rows])
        assert np.array_equal(v, attn.v_proj.weight.detach().numpy())


@pytest.mark.parametrize("base", ["folder", "gguf", "q8_0 gguf"])
@pytest.mark.parametrize("out", ["folder", "q8_0.gguf", "bf16.gguf", "f32.gguf"])
def test_merging_an_adapter(tmp_path, base, out):
    """Of any kind of base into any kind of model, with its tokenizer."""
    model = tiny_model(tiny_config(vocab_size=1536, hidden_dim=64))
    place = tmp_path / ("base" if base == "folder" else "base.gguf")
    save_model(model, place, open_tokenizer(BASE), "q8_0" if base.startswith("q8_0") else None)
    learnt(add_lora(model, 4, 12))
    save_adapter(model, tmp_path / "adapter", "base")
    result = tmp_path / "merged" / out
    more = ["--type", out.partition(".")[0]] if out.endswith("gguf") else []
    main(["merge", "--base", str(place), "--adapter", str(tmp_path / "adapter"),
          "--out", str(result), *more])
    got = load_model(result, dtype=torch.float32)
    want = load_adapter(load_model(place), tmp_path / "adapter")
    with torch.no_grad():
        a, b = got(tiny_tokens()), want(tiny_tokens())
    exact = out == "f32.gguf" or out == "folder" and base != "q8_0 gguf"
    assert (a - b).norm() / b.norm() < (1e-5 if exact else 0.06)
    ours, theirs = open_tokenizer(BASE), open_tokenizer(result)
    text = "What is 12 x 34?\n  é 😀 <p>\n"
    assert theirs.encode(text, eos=True) == ours.encode(text, eos=True)
    assert theirs.decode(theirs.encode(text)) == text


def test_merge_refuses_a_type_for_a_folder(tmp_path):
    with pytest.raises(UserError, match="--type is for GGUF files"):
        main(["merge", "--base", "b", "--adapter", "a", "--out", str(tmp_path / "c"),
              "--type", "f16"])


def test_a_weight_that_16_bits_cannot_hold_is_refused(tmp_path):
    model = tiny_model()
    model.lm_head.weight.data[3, 3] = 1e5
    with pytest.raises(UserError, match="too large for F16"):
        save_model(model, tmp_path / "a.gguf", out_type="f16")
    assert not list(tmp_path.iterdir())
    save_model(model, tmp_path / "a.gguf", out_type="bf16")


# ---- damage --------------------------------------------------------------------------------------

@pytest.fixture
def small(tmp_path):
    """A file of the tiny model with a tokenizer, and its bytes."""
    tokenizer = bpe()
    save_model(tiny_model(tiny_config(vocab_size=tokenizer.vocab_size)), tmp_path / "a.gguf",
               tokenizer)
    return tmp_path / "a.gguf", (tmp_path / "a.gguf").read_bytes()


def refused(path):
    """The line with which a file is refused as a model or, where it is one, as a tokenizer."""
    try:
        message = refusal(path)
    except pytest.fail.Exception:
        with pytest.raises(UserError) as error:
            open_tokenizer(path)
        message = str(error.value)
    assert "\n" not in message and str(path) in message
    return message


def key(name, kind):
    """The bytes in front of a value."""
    return struct.pack("<Q", len(name)) + name.encode() + struct.pack("<I", kind)


def edit(small, name, kind, size, value):
    """The file with another value of a key that takes `size` bytes."""
    path, content = small
    at = content.index(key(name, kind)) + len(key(name, kind))
    path.write_bytes(content[:at] + value + content[at + size:])
    return refused(path)


def test_damaged_headers_are_named(small):
    path, content = small
    for start, part in (
            (b"GGML", "letters GGUF"), (MAGIC + struct.pack("<I", 1), "version 1"),
            (MAGIC + struct.pack(">I", 3), "big-endian"),
            (MAGIC + struct.pack("<IQ", 3, 1 << 40), "things of at least 24 bytes"),
            (MAGIC + struct.pack("<IQQ", 3, 21, 1 << 62), "things of at least 13 bytes")):
        path.write_bytes(start + content[len(start):])
        assert part in refused(path)
    for length in (0, 3, 20, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        refused(path)
    path.unlink()
    assert "no such folder or file" in refused(path)


def test_a_file_larger_than_the_memory_is_opened(small):
    """A hole behind its end takes no room on the disk."""
    path, _ = small
    try:
        os.truncate(path, 1 << 42)
    except OSError:
        pytest.skip("no such large files here")
    assert load_model(path).config.dim == 32


def test_values_that_do_not_fit_are_named(small):
    for name, value, part in (
            ("llama.block_count", 1 << 31, "blk.2147483647.attn_norm"),
            ("llama.embedding_length", 64, "token_embd.weight has the shape"),
            ("llama.feed_forward_length", 1 << 31, "blk.0.ffn_up.weight has the shape"),
            ("llama.attention.head_count", 3, "no multiple"),
            ("llama.attention.head_count", 8, "blk.0.attn_q.weight has the shape"),
            ("llama.attention.key_length", 7, "odd head_dim"),
            ("llama.rope.dimension_count", 4, "llama.rope.dimension_count 4"),
            ("llama.vocab_size", 12, "token_embd.weight has the shape"),
            ("tokenizer.ggml.eos_token_id", 10 ** 6, "that ends a text, 1000000"),
            ("llama.context_length", 0, "context_length must be a positive int")):
        assert part in edit(small, name, 4, 4, struct.pack("<I", value)), name
    assert "freq_base must be" in edit(small, "llama.rope.freq_base", 6, 4,
                                       struct.pack("<f", float("nan")))
    assert "architecture 'lloma'" in edit(small, "general.architecture", 8, 13,
                                          struct.pack("<Q", 5) + b"lloma")
    assert "pre-tokenizer 'smelly'" in edit(small, "tokenizer.ggml.pre", 8, 14,
                                            struct.pack("<Q", 6) + b"smelly")
    assert "neither true nor false" in edit(small, "tokenizer.ggml.add_bos_token", 7, 1, b"\2")


def info(content, name):
    """Where the type and the offset of a tensor stand."""
    packed = struct.pack("<Q", len(name)) + name.encode()
    at = content.index(packed) + len(packed)
    dims = struct.unpack_from("<I", content, at)[0]
    return at + 4 + 8 * dims


def test_tensors_that_lie_are_named(small):
    path, content = small
    gate, up = (info(content, f"blk.0.ffn_{name}.weight") for name in ("gate", "up"))
    size = struct.pack("<Q", 1 << 61)
    for changed, part in (
            (content[:gate] + struct.pack("<I", 10) + content[gate + 4:], "stored as Q2_K"),
            (content[:gate] + struct.pack("<I", 77) + content[gate + 4:], "stored as 77"),
            (content[:gate - 8] + size + content[gate:], "blk.0.ffn_gate.weight' has the shape"),
            # two places swapped: both of one shape, so that only their order tells
            (content[:gate + 4] + content[up + 4:up + 12] + content[gate + 12:up + 4]
             + content[gate + 4:gate + 12] + content[up + 12:], "lies at"),
            (content.replace(b"blk.0.ffn_gate", b"blk.0.ffn_fate"), "blk.0.ffn_fate.weight"),
            (content.replace(b"blk.0.ffn_gate", b"blk.0.ffn_down"), "lies at"),
            (content[:-64] + b"\xff" * 64, "NaN")):
        path.write_bytes(changed)
        assert part in refused(path)


def test_a_file_without_a_tokenizer_is_named(tmp_path):
    save_model(tiny_model(), tmp_path / "a.gguf")
    load_model(tmp_path / "a.gguf")
    assert "no tokenizer inside" in refused(tmp_path / "a.gguf")


def test_a_vocabulary_of_another_size_is_named(tmp_path):
    save_model(tiny_model(), tmp_path / "a.gguf", bpe(merges=4))
    assert "do not fit the embedding" in refused(tmp_path / "a.gguf")


def test_random_damage_is_a_clear_error_or_changes_no_more_than_a_value(small):
    """Flipped, cut, repeated and overwritten bytes anywhere in the header. What a file cannot know
    to be wrong (a letter of a token, a digit of theta) may change; names and shapes never."""
    path, content = small
    header = content.index(b"output.weight") + 64
    rng, refusals = np.random.default_rng(0), 0
    right = load_model(path)
    shapes = {name: tensor.shape for name, tensor in right.state_dict().items()}
    rounds = 1000 if slow else 150
    for _ in range(rounds):
        damaged = bytearray(content)
        for _ in range(rng.integers(1, 4)):
            at, size = int(rng.integers(0, header)), int(rng.integers(1, 12))
            kind = rng.integers(0, 4)
            if kind == 0:
                damaged[at] ^= 1 << int(rng.integers(0, 8))
            elif kind == 1:
                del damaged[at:at + size]
            elif kind == 2:
                damaged[at:at] = damaged[at:at + size]
            else:
                damaged[at:at + size] = rng.bytes(size)
        path.write_bytes(damaged)
        try:
            model, tokenizer = load_model(path), open_tokenizer(path)
        except UserError as error:
            refusals += 1
            assert "\n" not in str(error)
            continue
        assert {name: t.shape for name, t in model.state_dict().items()} == shapes
        assert tokenizer.vocab_size == right.config.vocab_size
    assert refusals > 0.6 * rounds


def test_the_same_model_gives_the_same_bytes(small, tmp_path):
    tokenizer = bpe()
    save_model(tiny_model(tiny_config(vocab_size=tokenizer.vocab_size)), tmp_path / "b" / "a.gguf",
               tokenizer)
    digests = {hashlib.sha256(data).hexdigest()
               for data in (small[1], (tmp_path / "b" / "a.gguf").read_bytes())}
    assert len(digests) == 1
