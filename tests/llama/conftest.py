"""transformers' LLaMA, Mistral and Qwen 2, to compare with where it is installed."""

import pytest

from goat.files.checkpoint import save_model


@pytest.fixture
def peer_of(tmp_path):
    """A function that gives transformers' model of ours, read from a folder that we write."""
    transformers = pytest.importorskip("transformers")

    def peer(model):
        save_model(model, tmp_path / "peer")
        theirs = transformers.AutoModelForCausalLM.from_pretrained(
            tmp_path / "peer", dtype=model.lm_head.weight.dtype, attn_implementation="eager")
        assert theirs.config.eos_token_id == model.config.eos_id
        return theirs.eval()
    return peer
