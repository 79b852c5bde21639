"""transformers' LLaMA, Mistral and Qwen 2, to compare with where it is installed."""

import pytest


@pytest.fixture
def peer_of():
    """A function that gives transformers' model with the dimensions and weights of ours."""
    transformers = pytest.importorskip("transformers")

    def peer(model):
        c = model.config
        kind, rule = ("Qwen2" if c.qkv_bias else "Mistral" if c.sliding_window else "Llama",
                      c.rope_scaling)
        rope = {"rope_type": "default", "rope_theta": c.rope_theta} if rule is None else {
            "rope_type": "llama3", "rope_theta": c.rope_theta, "factor": rule.factor,
            "low_freq_factor": rule.low, "high_freq_factor": rule.high,
            "original_max_position_embeddings": rule.original}
        settings = getattr(transformers, f"{kind}Config")(
            **({"sliding_window": c.sliding_window} if c.sliding_window else {}),
            vocab_size=c.vocab_size, hidden_size=c.dim, intermediate_size=c.hidden_dim,
            num_hidden_layers=c.n_layers, num_attention_heads=c.n_heads,
            num_key_value_heads=c.n_kv_heads, head_dim=c.head_dim, rms_norm_eps=c.norm_eps,
            max_position_embeddings=c.max_positions, rope_parameters=rope,
            tie_word_embeddings=c.tie_embeddings, attn_implementation="eager")
        theirs = getattr(transformers, f"{kind}ForCausalLM")(settings)
        theirs = theirs.to(model.lm_head.weight.dtype).eval()
        missing, unexpected = theirs.load_state_dict(model.state_dict(), strict=False)
        assert not unexpected and not [name for name in missing if "rotary" not in name]
        return theirs
    return peer
