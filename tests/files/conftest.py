"""What the tests of files share."""

import pytest

from goat.files.checkpoint import save_model
from support.tiny import tiny_model


@pytest.fixture
def folder(tmp_path):
    """A Hugging Face folder with the tiny model."""
    save_model(tiny_model(), tmp_path / "base")
    return tmp_path / "base"
