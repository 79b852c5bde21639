"""What the tests share: where things are, a tiny LLaMA with the tokenizer, a short run."""

import contextlib
import json
import shutil
from pathlib import Path

import pytest

import train
from goat.files import checkpoint
from goat.files.vocabulary import open_tokenizer
from support.runs import BASE, ROOT, flags
from support.tiny import tiny_config, tiny_model


@pytest.fixture(scope="session", autouse=True)
def at_the_root():
    """Tests, and the scripts that they start, run in the project's folder, whatever pytest's is."""
    with contextlib.chdir(ROOT):
        yield


@pytest.fixture(scope="session")
def tokenizer():
    """The embedded base's."""
    return open_tokenizer(BASE)


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory) -> Path:
    """A folder with a random fp32 model of two small layers and the project's tokenizer."""
    folder = tmp_path_factory.mktemp("tiny")
    model = tiny_model(tiny_config(vocab_size=1536, max_positions=256))
    checkpoint.save_model(model, folder)
    shutil.copy(BASE / "tokenizer.model", folder)
    return folder


@pytest.fixture(scope="session")
def rows(tmp_path_factory) -> Path:
    """96 sums of two digits, some with a chain behind them so that lengths differ."""
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    with open(path, "w") as file:
        for i in range(96):
            a, b = 10 + i * 37 % 90, 10 + i * 53 % 90
            tail = f" = {b} + {a}" * (i % 4)
            file.write(json.dumps({"instruction": f"{a} + {b}", "input": f"{a} + {b}",
                                   "output": f"{a} + {b} = {a + b}{tail}",
                                   "answer": str(a + b)}) + "\n")
    return path


@pytest.fixture(scope="session")
def straight(tiny_base, rows, tmp_path_factory) -> Path:
    """A run of six steps without interruption."""
    out = tmp_path_factory.mktemp("straight") / "run"
    assert train.main(flags(tiny_base, rows, out)) is None
    return out
