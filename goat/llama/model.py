"""LLaMA in one file: RMSNorm, rotary positions, grouped-head attention, SwiGLU, KV cache.

The parameters carry the names of the Hugging Face checkpoints, and the rotary layout is theirs
too (a head's dimension j turns together with j + D/2), so HF weights and PEFT adapters load as
they are. This file knows nothing of LoRA or of 8-bit weights: both replace `nn.Linear` from
outside. Sources: LLaMA (arXiv 2302.13971), RoPE (2104.09864), grouped heads (2305.13245).

Shape letters, here and everywhere: B batch, T sequence, C dim, H query heads, K key/value heads,
D head_dim, S cache slots, V vocabulary, N packed tokens and W scored ones (padding.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from goat.llama.kernels import normalise, rotate
from goat.llama.padding import Packed


@dataclass
class LlamaConfig:
    """Everything that fixes the model's function. The defaults are LLaMA-7B's."""

    vocab_size: int = 32000
    dim: int = 4096
    hidden_dim: int = 11008
    n_layers: int = 32
    n_heads: int = 32
    n_kv_heads: int = 32
    head_dim: int = 128
    norm_eps: float = 1e-6
    rope_theta: float = 10000.0
    max_positions: int = 2048
    tie_embeddings: bool = False
    bos_id: int = 1
    eos_id: int = 2


class RMSNorm(nn.Module):
    """x / rms(x) * weight over the last dimension, computed in fp32. (..., C) -> (..., C)."""

    def __init__(self, dim: int, eps: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return normalise(x, self.weight, self.eps)


def rotary_angles(positions: Tensor, head_dim: int, theta: float,
                  dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Cosine and sine of the angle p * theta^(-2j/D) of pair j at position p, for `rotate`.

    positions (B, T) int64 -> two tensors (B, 1, T, D), computed in fp32. Both halves of D hold
    the same angles; the first half of the sines is negated.
    """
    pairs = torch.arange(0, head_dim, 2, dtype=torch.float32, device=positions.device)
    angles = positions[:, None, :, None].float() * theta ** (-pairs / head_dim)  # (B, 1, T, D/2)
    cos, sin = angles.cos(), angles.sin()
    return torch.cat((cos, cos), dim=-1).to(dtype), torch.cat((-sin, sin), dim=-1).to(dtype)


class KVCache:
    """Keys and values of the tokens read so far: one pair of (B, K, S, D) tensors per layer.

    A token's slot is its position, so rows of unequal length share a cache without left padding:
    what stands in slots beyond a row's own position is never looked at, and is overwritten later.
    `span` says how many slots attention reads (at least the largest position + 1).
    """

    def __init__(self, config: LlamaConfig, batch: int, slots: int, device=None, dtype=None):
        shape = (batch, config.n_kv_heads, slots, config.head_dim)
        self.keys = [torch.zeros(shape, device=device, dtype=dtype) for _ in range(config.n_layers)]
        self.values = [torch.zeros_like(k) for k in self.keys]
        self.rows = torch.arange(batch, device=device)[:, None]  # (B, 1)
        self.span = slots

    def update(self, layer: int, positions: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Store k, v (B, K, T, D) at `positions` (B, T); return the first `span` slots."""
        keys, values = self.keys[layer], self.values[layer]
        keys[self.rows, :, positions] = k.transpose(1, 2)  # (B, T, K, D)
        values[self.rows, :, positions] = v.transpose(1, 2)
        return keys[:, :, : self.span], values[:, :, : self.span]


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """softmax(q k^T / sqrt(D)) v. q (B, H, T, D), k and v (B, K, S, D) -> (B, H, T, D).

    `mask` (B or 1, T, S) is added to the scores: 0 where a query may look, -inf where not;
    None means plain causal attention with S = T. Query head h reads key/value head h // (H / K).
    """
    groups = q.size(1) // k.size(1)
    if q.device.type != "cpu":
        return F.scaled_dot_product_attention(
            q, k, v, attn_mask=None if mask is None else mask[:, None], is_causal=mask is None,
            enable_gqa=groups > 1)
    # On a CPU, plain batched products are several times faster for short sequences.
    B, H, T, D = q.shape
    K, S = k.size(1), k.size(2)
    if mask is None:
        mask = causal_mask(T, q.device, q.dtype)
    # the queries of one group stand one after another along T
    bias = mask[:, None, None].expand(B, K, groups, T, S).reshape(B * K, groups * T, S)
    q = q.reshape(B * K, groups * T, D)
    k, v = k.reshape(B * K, S, D), v.reshape(B * K, S, D)
    scores = torch.baddbmm(bias, q, k.transpose(1, 2), alpha=D ** -0.5)
    return torch.bmm(scores.softmax(dim=-1), v).view(B, H, T, D)


def causal_mask(length: int, device, dtype) -> Tensor:
    """(1, T, T): 0 on and below the diagonal, -inf above it."""
    return torch.full((1, length, length), float("-inf"), device=device, dtype=dtype).triu(1)


def products(module: "Attention | MLP", x: Tensor) -> Sequence[Tensor]:
    """The layers that read the module's input x: one product where `Llama.join` has joined them,
    and shared work where they have a method `together` for it, as LoRA's layers do."""
    layers = [getattr(module, name) for name in module.READERS]
    if "joined" in module.__dict__:
        return F.linear(x, module.joined).split([layer.out_features for layer in layers], dim=-1)
    together = next((layer.together for layer in layers if hasattr(layer, "together")), None)
    return together(x, layers) if together else [layer(x) for layer in layers]


def picked(x: Tensor, scored: Tensor | None) -> Tensor:
    """x (B, T, C) or (N, C): its tokens `scored` as (W, C), or all of x if `scored` is None."""
    return x if scored is None else x.flatten(0, -2).index_select(0, scored)


class Attention(nn.Module):
    """Causal self-attention; several query heads may share a key/value head."""

    READERS = ("q_proj", "k_proj", "v_proj")  # the layers that read its input
    joined: Tensor  # their weights, once `Llama.join` has joined them

    def __init__(self, config: LlamaConfig):
        super().__init__()
        self.head_dim = config.head_dim
        self.q_proj = nn.Linear(config.dim, config.n_heads * config.head_dim, bias=False)
        self.k_proj = nn.Linear(config.dim, config.n_kv_heads * config.head_dim, bias=False)
        self.v_proj = nn.Linear(config.dim, config.n_kv_heads * config.head_dim, bias=False)
        self.o_proj = nn.Linear(config.n_heads * config.head_dim, config.dim, bias=False)

    def forward(self, x: Tensor, rotary: tuple[Tensor, Tensor], mask: Tensor | None,
                store=None, packed: Packed | None = None, scored: Tensor | None = None) -> Tensor:
        """(B, T, C), or (N, C) if `packed`, to the same, or to the (W, C) that `scored` picks.

        `store`, if given, keeps k and v and returns all cached ones.
        """
        if packed is None:  # (B, T, heads * D), or packed (N, heads * D), -> (B, heads, T, D)
            q, k, v = (y.view(*y.shape[:2], -1, self.head_dim).transpose(1, 2)
                       for y in products(self, x))
        else:
            q, k, v = (packed.spread(y, y.size(-1) // self.head_dim) for y in products(self, x))
        q, k = rotate(q, *rotary), rotate(k, *rotary)
        if store is not None:
            k, v = store(k, v)  # (B, K, S, D)
        y = attention(q, k, v, mask)  # (B, H, T, D)
        y = y.transpose(1, 2).flatten(2) if packed is None else packed.gather(y)
        return self.o_proj(picked(y, scored))


class MLP(nn.Module):
    """SwiGLU: down(silu(gate(x)) * up(x)). (..., C) -> (..., C)."""

    READERS = ("gate_proj", "up_proj")  # as in Attention
    joined: Tensor

    def __init__(self, config: LlamaConfig):
        super().__init__()
        self.gate_proj = nn.Linear(config.dim, config.hidden_dim, bias=False)
        self.up_proj = nn.Linear(config.dim, config.hidden_dim, bias=False)
        self.down_proj = nn.Linear(config.hidden_dim, config.dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = products(self, x)
        return self.down_proj(F.silu(gate) * up)


class Block(nn.Module):
    def __init__(self, config: LlamaConfig):
        super().__init__()
        self.input_layernorm = RMSNorm(config.dim, config.norm_eps)
        self.self_attn = Attention(config)
        self.post_attention_layernorm = RMSNorm(config.dim, config.norm_eps)
        self.mlp = MLP(config)

    def forward(self, x: Tensor, rotary, mask, store=None, packed=None, scored=None) -> Tensor:
        """(B, T, C) or (N, C), to the same, or to the (W, C) that `scored` (W,) picks of them."""
        added = self.self_attn(self.input_layernorm(x), rotary, mask, store, packed, scored)
        x = picked(x, scored) + added
        return x + self.mlp(self.post_attention_layernorm(x))


class LlamaBody(nn.Module):
    """Embedding, blocks and final norm: the part that HF names `model.…`."""

    def __init__(self, config: LlamaConfig):
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.dim)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.norm = RMSNorm(config.dim, config.norm_eps)


class Llama(nn.Module):
    """A decoder-only language model. `model(tokens)` maps (B, T) int64 to logits (B, T, V)."""

    def __init__(self, config: LlamaConfig):
        super().__init__()
        self.config = config
        self.checkpointing = False  # recompute each block in the backward pass: memory for time
        self.model = LlamaBody(config)
        self.lm_head = nn.Linear(config.dim, config.vocab_size, bias=False)
        if config.tie_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight

    def forward(self, tokens: Tensor, positions: Tensor | None = None,
                cache: KVCache | None = None) -> Tensor:
        """(B, T) -> logits (B, T, V). `positions` (B, T) default to 0 … T-1."""
        return self.lm_head(self.hidden(tokens, positions, cache))

    def hidden(self, tokens: Tensor, positions: Tensor | None = None, cache: KVCache | None = None,
               computed: Tensor | None = None, scored: Tensor | None = None) -> Tensor:
        """The normed last hidden states (B, T, C): `lm_head` may then be applied to some only.

        In training, `computed` (N,) lists the places of the tokens to compute: of each row those up
        to its last target. `scored` (W,) says which of these (or, without `computed`, of all) are
        returned, as (W, C).
        """
        config, packed = self.config, None
        if computed is not None:
            packed = Packed(tokens.shape, computed, {config.n_heads, config.n_kv_heads})
        x = self.model.embed_tokens(tokens if computed is None else tokens.flatten()[computed])
        if positions is None:
            positions = torch.arange(tokens.size(1), device=tokens.device)[None]  # (1, T)
        rotary = rotary_angles(positions, config.head_dim, config.rope_theta, x.dtype)
        mask: Tensor | None = None  # one for all layers; a GPU's fused kernel needs none
        if cache is not None:
            seen = torch.arange(cache.span, device=x.device) <= positions[:, :, None]  # (B, T, S)
            mask = torch.zeros(seen.shape, dtype=x.dtype, device=x.device)
            mask.masked_fill_(~seen, float("-inf"))
        elif x.device.type == "cpu":
            mask = causal_mask(tokens.size(1), x.device, x.dtype)
        for i, block in enumerate(self.model.layers):
            store = None if cache is None else partial(cache.update, i, positions)
            rest = rotary, mask, store, packed, scored if i == config.n_layers - 1 else None
            if self.checkpointing and self.training:
                x = checkpoint(block, x, *rest, use_reentrant=False)
            else:
                x = block(x, *rest)
        return self.model.norm(x)

    @torch.no_grad()
    def join(self) -> "Llama":
        """Make one product of q, k, v and one of gate, up, where they are plain linear layers, for
        decoding: a step for few rows is mostly the fixed cost of its many small products.

        The layers' weights become views of the joined ones, so this takes no more memory. It is
        the last thing to do with a model: to move or wrap it after would part them again.
        """
        for module in self.modules():
            if not isinstance(module, (Attention, MLP)):
                continue
            layers = [getattr(module, name) for name in module.READERS]
            if all(type(layer) is nn.Linear for layer in layers):
                module.joined = torch.cat([layer.weight for layer in layers])
                parts = module.joined.split([layer.out_features for layer in layers])
                for layer, part in zip(layers, parts):
                    layer.weight.data = part
        return self

    @torch.no_grad()
    def init_weights(self, generator: torch.Generator) -> None:
        """Random weights for training from scratch: normal(0, 0.02), norms 1, and the two
        matrices of a block that write to the residual stream smaller by sqrt(2 * n_layers)."""
        for name, p in self.named_parameters():
            if p.dim() == 1:
                p.fill_(1.0)
                continue
            into_residual = name.endswith(("o_proj.weight", "down_proj.weight"))
            std = 0.02 / (2 * self.config.n_layers) ** 0.5 if into_residual else 0.02
            drawn = torch.empty(p.shape, dtype=torch.float32)
            p.copy_(drawn.normal_(0.0, std, generator=generator))
