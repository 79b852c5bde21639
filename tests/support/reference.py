"""LLaMA once more, written for clarity only: complex numbers, loops, float64. Not a test.

The tests compare goat/llama/model.py and the loaders with this file, which shares no code with
them.
"""

import math

import torch


def norm(x, weight, eps):
    return x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * weight


def stretched(w, rule):
    """Llama 3's rule for an angular frequency w, in the words of Meta's code."""
    if rule is None:
        return w
    wavelength = 2 * math.pi / w
    if wavelength < rule.original / rule.high:
        return w
    if wavelength > rule.original / rule.low:
        return w / rule.factor
    smooth = (rule.original / wavelength - rule.low) / (rule.high - rule.low)
    return (1 - smooth) * w / rule.factor + smooth * w


def turn(x, theta, neighbours=False, rule=None):
    """Rotate one head x (T, D): pair j at position p by the angle p * theta^(-2j/D), stretched.

    A pair is (j, j + D/2) as in Hugging Face's files, or (2j, 2j + 1) as in Meta's.
    """
    half = x.size(1) // 2
    first, second = (x[:, 0::2], x[:, 1::2]) if neighbours else (x[:, :half], x[:, half:])
    angles = torch.tensor([[p * stretched(theta ** (-2 * j / x.size(1)), rule)
                            for j in range(half)] for p in range(x.size(0))], dtype=torch.float64)
    z = torch.complex(first, second) * torch.polar(torch.ones_like(angles), angles)
    return torch.stack((z.real, z.imag), -1).flatten(1) if neighbours \
        else torch.cat((z.real, z.imag), 1)


def attend(q, k, v):
    """Causal attention of one head, position by position. q, k, v (T, D) -> (T, D)."""
    rows = []
    for t in range(q.size(0)):
        weights = torch.softmax(k[: t + 1] @ q[t] / q.size(1) ** 0.5, dim=0)
        rows.append(weights @ v[: t + 1])
    return torch.stack(rows)


def block(x, w, config, neighbours=False):
    """One transformer block. x (T, C); w: its weights by their names within the block."""
    D = config.head_dim
    h = norm(x, w["input_layernorm.weight"], config.norm_eps)
    q, k, v = (h @ w[f"self_attn.{name}_proj.weight"].T
               + w.get(f"self_attn.{name}_proj.bias", torch.zeros(1).double()) for name in "qkv")
    heads, rule = [], config.rope_scaling
    for head in range(config.n_heads):
        kv = head * config.n_kv_heads // config.n_heads
        mine, shared = slice(head * D, head * D + D), slice(kv * D, kv * D + D)
        heads.append(attend(turn(q[:, mine], config.rope_theta, neighbours, rule),
                            turn(k[:, shared], config.rope_theta, neighbours, rule),
                            v[:, shared]))
    x = x + torch.cat(heads, 1) @ w["self_attn.o_proj.weight"].T
    h = norm(x, w["post_attention_layernorm.weight"], config.norm_eps)
    gate, up = h @ w["mlp.gate_proj.weight"].T, h @ w["mlp.up_proj.weight"].T
    return x + (gate / (1 + torch.exp(-gate)) * up) @ w["mlp.down_proj.weight"].T


def logits(weights, config, tokens, neighbours=False):
    """(T,) token ids -> (T, V) logits. `weights` by their Hugging Face names."""
    weights = {name: w.double() for name, w in weights.items()}
    x = weights["model.embed_tokens.weight"][tokens]
    for i in range(config.n_layers):
        start = f"model.layers.{i}."
        own = {n[len(start):]: w for n, w in weights.items() if n.startswith(start)}
        x = block(x, own, config, neighbours)
    x = norm(x, weights["model.norm.weight"], config.norm_eps)
    head = "model.embed_tokens.weight" if config.tie_embeddings else "lm_head.weight"
    return x @ weights[head].T
