"""LLaMA: embedding, blocks of attention and SwiGLU, head. Of the formulas that they call, RMSNorm
stands in kernels.py, rotary positions and who looks at whom in attention.py.

Llama 3, Mistral, SmolLM 2 and Qwen 2 are the same model with other settings.

The parameters carry the names of the Hugging Face checkpoints, and the rotary layout is theirs
too (a head's dimension j turns together with j + D/2), so HF weights and PEFT adapters load as
they are. This file knows nothing of LoRA or of 8-bit weights: both replace `nn.Linear` from
outside. Source: LLaMA (arXiv 2302.13971).

Tokens are one flat list from end to end; which of them stand in one row, and what each may look
at, is known by `seq` alone (attention.py).

Shape letters: N tokens, W of them that count, C dim, H query heads, K key/value heads, D head_dim,
V vocabulary; where rows are seen, B of them, T tokens in each, S slots of a cache.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from goat.llama.attention import KVCache, RopeScaling, Rows, Seq, rotate
from goat.llama.kernels import rms_norm


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
    rope_scaling: RopeScaling | None = None  # Llama 3.1 and later
    max_positions: int = 2048
    sliding_window: int | None = None  # Mistral 7B v0.1; rows longer than that are refused
    tie_embeddings: bool = False
    qkv_bias: bool = False  # Qwen 2
    bos_id: int = 1
    eos_id: int = 2


class RMSNorm(nn.Module):
    """x / rms(x) * weight over the last dimension, computed in fp32. (N, C) -> (N, C)."""

    def __init__(self, dim: int, eps: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.weight, self.eps)


class Attention(nn.Module):
    """Causal self-attention; several query heads may share a key/value head. (N, C) -> (N, C)."""

    def __init__(self, config: LlamaConfig, layer: int):
        super().__init__()
        self.layer, self.head_dim = layer, config.head_dim
        queries, keys = config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim
        self.q_proj = nn.Linear(config.dim, queries, bias=config.qkv_bias)
        self.k_proj = nn.Linear(config.dim, keys, bias=config.qkv_bias)
        self.v_proj = nn.Linear(config.dim, keys, bias=config.qkv_bias)
        self.o_proj = nn.Linear(queries, config.dim, bias=False)

    def forward(self, x: Tensor, seq: Seq) -> Tensor:
        return self.o_proj(self.heads(x, seq))  # behind `heads` q, k and v are freed

    def heads(self, x: Tensor, seq: Seq) -> Tensor:
        """What each head brings, side by side. (N, C) -> (N, H * D)."""
        q, k, v = (y.view(len(y), -1, self.head_dim) for y in self.qkv(x))
        return seq.attention(self.layer, rotate(q, *seq.rotary), rotate(k, *seq.rotary), v)

    def qkv(self, x: Tensor) -> tuple[Tensor, ...]:
        """Queries (N, H * D), keys and values (N, K * D). For decoding joined.py puts one product
        here."""
        return self.q_proj(x), self.k_proj(x), self.v_proj(x)


class MLP(nn.Module):
    """SwiGLU: down(silu(gate(x)) * up(x)). (N, C) -> (N, C)."""

    def __init__(self, config: LlamaConfig):
        super().__init__()
        self.gate_proj = nn.Linear(config.dim, config.hidden_dim, bias=False)
        self.up_proj = nn.Linear(config.dim, config.hidden_dim, bias=False)
        self.down_proj = nn.Linear(config.hidden_dim, config.dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.gate_up(x)
        return self.down_proj(F.silu(gate) * up)

    def gate_up(self, x: Tensor) -> tuple[Tensor, ...]:
        """The two factors. For decoding joined.py puts one product here."""
        return self.gate_proj(x), self.up_proj(x)


class Block(nn.Module):
    """A token looks at the others, then thinks by itself. (N, C) -> (N, C)."""

    def __init__(self, config: LlamaConfig, layer: int):
        super().__init__()
        self.input_layernorm = RMSNorm(config.dim, config.norm_eps)
        self.self_attn = Attention(config, layer)
        self.post_attention_layernorm = RMSNorm(config.dim, config.norm_eps)
        self.mlp = MLP(config)

    def attend(self, x: Tensor, seq: Seq) -> Tensor:
        return x + self.self_attn(self.input_layernorm(x), seq)

    def think(self, x: Tensor) -> Tensor:
        return x + self.mlp(self.post_attention_layernorm(x))

    def forward(self, x: Tensor, seq: Seq) -> Tensor:
        return self.think(self.attend(x, seq))


class LlamaBody(nn.Module):
    """Embedding, blocks and final norm: the part that HF names `model.…`."""

    def __init__(self, config: LlamaConfig):
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.dim)
        self.layers = nn.ModuleList(Block(config, i) for i in range(config.n_layers))
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

    @property
    def device(self) -> torch.device:
        """Where the model is, and its inputs must be."""
        return self.model.embed_tokens.weight.device

    def forward(self, tokens: Tensor) -> Tensor:
        B, T = tokens.shape
        return self.lm_head(self.hidden(tokens.flatten(), self.rows([T] * B))).view(B, T, -1)

    def rows(self, lengths: Sequence[int]) -> Rows:
        """The `seq` of whole rows of these lengths, laid end to end."""
        return Rows(lengths, self.config, self.model.embed_tokens.weight)

    def cache(self, rows: int, slots: int) -> KVCache:
        """Keys and values of so many rows, up to `slots` tokens each; its `at(positions)` is the
        `seq` of a pass."""
        return KVCache(rows, slots, self.config, self.model.embed_tokens.weight)

    def hidden(self, tokens: Tensor, seq: Seq, counts: Tensor | None = None) -> Tensor:
        """tokens (N,) -> the normed last hidden states (N, C), to which `lm_head` may be applied.

        `counts` (W,) lists the tokens whose results are wanted, if not all: (W, C) is returned.
        """
        def run(part, *inputs):
            again = self.checkpointing and self.training  # computed again in the backward pass
            return checkpoint(part, *inputs, use_reentrant=False) if again else part(*inputs)

        *blocks, last = self.model.layers
        x = self.model.embed_tokens(tokens)
        for block in blocks:
            x = run(block, x, seq)
        x = run(last.attend, x, seq)
        if counts is not None:  # after the last attention nobody looks at the others
            x = x.index_select(0, counts)
        x = run(last.think, x)
        return self.model.norm(x)

    @torch.no_grad()
    def init_weights(self, generator: torch.Generator) -> None:
        """Random weights, for training a model from scratch: normal(0, 0.02), norms 1, biases 0,
        and the two matrices of a block that write to the residual stream smaller by
        sqrt(2 * n_layers). The model is in fp32 and on the CPU."""
        for name, p in self.named_parameters():
            if p.dim() == 1:
                p.fill_(0.0 if name.endswith("bias") else 1.0)
            else:
                into_residual = name.endswith(("o_proj.weight", "down_proj.weight"))
                std = 0.02 / (2 * self.config.n_layers) ** 0.5 if into_residual else 0.02
                p.normal_(0.0, std, generator=generator)
