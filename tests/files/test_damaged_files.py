"""Files cut short, flipped, missing or lying: one clear error each, never a wrong model.

Run: python -m pytest tests/files/test_damaged_files.py
"""

import json
import resource
import signal

import pytest
import torch

from goat.errors import UserError
from goat.files.checkpoint import load_model
from goat.files.tensors import write_tensors
from support.folders import refusal, same, split
from support.tiny import tiny_model


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_every_shard_cut_in_half_is_refused_and_a_missing_one_is_named(folder, suffix):
    index = split(folder, suffix)
    for file in [*folder.glob(f"*-of-*.{suffix}"), index, folder / "config.json"]:
        content = file.read_bytes()
        for length in (0, 5, len(content) // 2, len(content) - 1):
            file.write_bytes(content[:length])
            if file.suffix == ".json" and length == len(content) - 1 and content.endswith(b"\n"):
                continue  # only the last newline is gone
            assert str(file) in refusal(folder)
        file.unlink()
        assert file.name in refusal(folder) or "without their index" in refusal(folder)
        file.write_bytes(content)
    assert same(load_model(folder), tiny_model())


def test_no_flipped_header_byte_gives_another_model(folder):
    """The data carry no checksum, but every byte of the header is accounted for."""
    file, right = folder / "model.safetensors", tiny_model()
    content = file.read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    refused = 0
    for place in [*range(8), *range(8, header, 5)]:
        damaged = bytearray(content)
        damaged[place] ^= 1 << (place % 7)
        file.write_bytes(damaged)
        try:
            assert same(load_model(folder), right), f"byte {place}"
        except UserError:
            refused += 1
    assert refused > 0.9 * header / 5


def test_an_index_that_lies_is_refused(folder):
    index = split(folder, "safetensors")
    content = json.loads(index.read_text())
    names = list(content["weight_map"])
    old = "model.layers.0.self_attn.rotary_emb.inv_freq"  # what follows from the config may lack
    more = {**content["weight_map"], old: content["weight_map"][names[0]]}
    index.write_text(json.dumps({"weight_map": more}))
    load_model(folder)
    content["weight_map"][names[0]] = content["weight_map"][names[-1]]
    index.write_text(json.dumps(content))
    assert "against model.safetensors.index.json" in refusal(folder)
    content["weight_map"][names[0]] = "../base/model-00001-of-00003.safetensors"
    index.write_text(json.dumps(content))
    assert "not in the folder" in refusal(folder)
    index.write_text('{"weight_map": []}')
    assert "no weight_map" in refusal(folder)


def test_a_full_disk_is_one_clear_line(tmp_path):
    """A limit on the size of files stands for it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
        with pytest.raises(UserError, match="w.safetensors: cannot write it .*File too large"):
            write_tensors({"w": torch.zeros(100_000)}, tmp_path / "w.safetensors")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert not list(tmp_path.iterdir())
