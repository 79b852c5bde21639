"""The `config.json` of a Hugging Face folder, read and written.

Read are plain models of four families, which differ in settings alone: LLaMA (and SmolLM), Llama 3
with its stretched positions, Mistral, Qwen 2. Everything else that such a file may ask for is
refused by name, so that no model is ever computed otherwise than it was trained.
"""

from functools import partial
from pathlib import Path

import torch

from goat.errors import UserError
from goat.files.tensors import positive, read_json, unsupported
from goat.llama.attention import RopeScaling
from goat.llama.model import LlamaConfig

# Class of transformers -> its model_type
FAMILIES = {"LlamaForCausalLM": "llama", "MistralForCausalLM": "mistral",
            "Qwen2ForCausalLM": "qwen2"}
# Of rope_scaling, in the order of RopeScaling
STRETCHED = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")


def hf_config(file: Path) -> LlamaConfig:
    """Read a `config.json`. Missing keys take the defaults of transformers' LlamaConfig.

    Raises UserError for everything that this project's model does not compute.
    """
    raw = read_json(file)
    number, refuse = partial(positive, raw, file), partial(unsupported, file)
    names = raw.get("architectures") or ["LlamaForCausalLM"]
    refuse(not isinstance(names, list), f"architectures {names!r:.60}")
    families = {name.lower(): kind for name, kind in FAMILIES.items()}  # once it was LLaMAFor…
    family = families.get(str(names[0]).lower(), "")
    refuse(not family, f"architecture {names[0]}")
    refuse(raw.get("model_type", family) != family, f"model_type {raw.get('model_type')!r}")
    refuse(raw.get("hidden_act", "silu") != "silu", f"hidden_act {raw.get('hidden_act')!r}")
    partial_rotary = raw.get("partial_rotary_factor") or 1
    refuse(partial_rotary != 1, f"partial_rotary_factor {partial_rotary!r:.60}")
    for key in ("attention_bias", "mlp_bias", "quantization_config"):
        refuse(bool(raw.get(key)), f"{key} {raw.get(key)!r}")
    if family != "llama":  # their classes have other defaults
        for key in ("num_key_value_heads", "intermediate_size", "vocab_size", "hidden_size",
                    "num_attention_heads", "num_hidden_layers"):
            number(key)
    window = None
    if family == "mistral" or raw.get("use_sliding_window"):
        window = number("sliding_window", 4096) if raw.get("sliding_window", 1) else None
    heads, dim = number("num_attention_heads", 32), number("hidden_size", 4096)
    kv_heads = number("num_key_value_heads", heads)
    refuse(heads % kv_heads != 0, f"{heads} heads with {kv_heads} key/value heads (no multiple)")
    refuse(raw.get("head_dim") is None and dim % heads != 0, f"{heads} heads in {dim} dimensions")
    head_dim = number("head_dim", dim // heads)
    refuse(head_dim % 2 != 0, f"an odd head_dim ({head_dim})")
    theta, scaling = rope(raw, file)
    positions = number("max_position_embeddings", raw.get("max_sequence_length") or 2048)
    bos, eos = (found[0] if isinstance(found, list) and found else found
                for found in (raw.get("bos_token_id", 1), raw.get("eos_token_id", 2)))
    return LlamaConfig(
        vocab_size=number("vocab_size", 32000), dim=dim,
        hidden_dim=number("intermediate_size", 11008), n_layers=number("num_hidden_layers", 32),
        n_heads=heads, n_kv_heads=kv_heads, head_dim=head_dim,
        norm_eps=number("rms_norm_eps", 1e-6, float), rope_theta=theta, rope_scaling=scaling,
        max_positions=min(positions, window or positions),
        sliding_window=window,
        tie_embeddings=bool(raw.get("tie_word_embeddings")), qkv_bias=family == "qwen2",
        bos_id=bos, eos_id=eos)


def rope(raw: dict, file: Path) -> tuple[float, RopeScaling | None]:
    """The base of the rotary angles, and Llama 3's rule for stretching them, if any; at top level
    (older) or in `rope_parameters` (newer).

    Every other stretched variant (linear, dynamic, yarn …) is refused in both spellings.
    """
    thetas = {positive(raw, file, "rope_theta", kind=float)} if raw.get("rope_theta") else set()
    scalings = set()
    for key in ("rope_scaling", "rope_parameters"):
        found = raw.get(key) or {}
        kind = found.get("rope_type", found.get("type")) if isinstance(found, dict) else repr(found)
        if kind == "llama3":
            scalings.add(RopeScaling(*(positive(found, file, name, kind=of)
                                       for name, of in zip(STRETCHED, (float, float, float, int)))))
        elif not (kind == "default" or kind is None and not set(found) - {"rope_theta"}) or \
                found.get("partial_rotary_factor", 1) != 1:
            raise UserError(f"{file}: {key} {found!r} is not supported: only rope_type default and "
                            "llama3 are")
        if found.get("rope_theta"):
            thetas.add(positive(found, file, "rope_theta", kind=float))
    if len(thetas) > 1 or len(scalings) > 1:
        raise UserError(f"{file}: rope_theta or rope_scaling differs from rope_parameters: "
                        f"{thetas}, {scalings}")
    scaling = scalings.pop() if scalings else None
    if scaling and scaling.low >= scaling.high:
        raise UserError(f"{file}: {STRETCHED[1]} must be below {STRETCHED[2]}")
    return thetas.pop() if thetas else 10000.0, scaling


def config_json(config: LlamaConfig, dtype: torch.dtype) -> dict:
    """What transformers needs to know of a model."""
    name = "Qwen2ForCausalLM" if config.qkv_bias else \
        "MistralForCausalLM" if config.sliding_window else "LlamaForCausalLM"
    scaling = config.rope_scaling
    stretched = scaling and {"rope_type": "llama3", **dict(zip(STRETCHED, (
        scaling.factor, scaling.low, scaling.high, scaling.original)))}
    return {
        "architectures": [name], "model_type": FAMILIES[name],
        "vocab_size": config.vocab_size, "hidden_size": config.dim,
        "intermediate_size": config.hidden_dim, "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads, "num_key_value_heads": config.n_kv_heads,
        "head_dim": config.head_dim, "hidden_act": "silu", "rms_norm_eps": config.norm_eps,
        "rope_theta": config.rope_theta, **({"rope_scaling": stretched} if stretched else {}),
        "max_position_embeddings": config.max_positions,
        **({"sliding_window": config.sliding_window} if name == "MistralForCausalLM" else {}),
        "tie_word_embeddings": config.tie_embeddings, "attention_bias": False, "mlp_bias": False,
        "bos_token_id": config.bos_id, "eos_token_id": config.eos_id,
        "torch_dtype": str(dtype).removeprefix("torch."),
    }
