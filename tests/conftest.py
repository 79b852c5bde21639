"""What the tests share: where things are, and a tiny LLaMA with the project's tokenizer."""

import shutil
from pathlib import Path

import pytest
from tiny import tiny_config, tiny_model

from goat import checkpoint

ROOT = Path(__file__).parent.parent
BASE = ROOT / "goat" / "base"


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory) -> Path:
    """A folder with a random fp32 model of two small layers and the project's tokenizer."""
    folder = tmp_path_factory.mktemp("tiny")
    model = tiny_model(tiny_config(vocab_size=1536, max_positions=256))
    checkpoint.save_model(model, folder)
    shutil.copy(BASE / "tokenizer.model", folder)
    return folder
