"""transformers' LLaMA, to compare with where it is installed."""

import pytest


@pytest.fixture
def peer_of():
    """A function that gives transformers' model with the dimensions and weights of ours."""
    transformers = pytest.importorskip("transformers")

    def peer(model):
        c = model.config
        settings = transformers.LlamaConfig(
            vocab_size=c.vocab_size, hidden_size=c.dim, intermediate_size=c.hidden_dim,
            num_hidden_layers=c.n_layers, num_attention_heads=c.n_heads,
            num_key_value_heads=c.n_kv_heads, head_dim=c.head_dim, rms_norm_eps=c.norm_eps,
            max_position_embeddings=c.max_positions, rope_theta=c.rope_theta,
            tie_word_embeddings=c.tie_embeddings, attn_implementation="eager")
        theirs = transformers.LlamaForCausalLM(settings).to(model.lm_head.weight.dtype).eval()
        missing, unexpected = theirs.load_state_dict(model.state_dict(), strict=False)
        assert not unexpected and not [name for name in missing if "rotary" not in name]
        return theirs
    return peer
