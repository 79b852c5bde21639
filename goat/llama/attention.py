"""What a token knows of the others: its row, its position in it, and which tokens it may look at.

Everywhere else in the model a token is computed by itself, so tokens are one flat list (N, C). Here
alone they stand in rows. Training reads whole rows of unequal length, laid end to end (`Rows`);
decoding reads a few tokens of each row at a time and keeps the keys and values of those before them
(`KVCache`). Both are the `seq` of model.py, which asks two things of it:

    seq.rotary                        the tables that turn queries and keys, see `rotary_angles`
    seq.attention(layer, q, k, v)     (N, H, D), (N, K, D), (N, K, D) -> (N, H * D)

Sources: RoPE (arXiv 2104.09864), grouped heads (2305.13245). The shape letters are model.py's.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from goat.errors import UserError
from goat.llama.kernels import round_up

if TYPE_CHECKING:
    from goat.llama.model import LlamaConfig

WIDTH = 32  # rows are spread over a multiple of so many tokens


@dataclass(frozen=True)
class RopeScaling:
    """How Llama 3.1 and later stretch positions: a pair's angle is divided by a number.

    A pair that turns fully in fewer than `original / high` positions keeps its angle, one that
    needs more than `original / low` has it divided by `factor`, and between them the share that is
    kept grows evenly with original / turn. Source: The Llama 3 Herd of Models (2407.21783) and
    Meta's published code.
    """

    factor: float = 8.0
    low: float = 1.0
    high: float = 4.0
    original: int = 8192

    def divisors(self, theta: float, head_dim: int) -> Tensor:
        """Of the angles of the D/2 pairs, fp32."""
        turn = 2 * math.pi * theta ** (torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
        kept = ((self.original / turn - self.low) / (self.high - self.low)).clamp(0, 1)
        return (1 / (kept + (1 - kept) / self.factor)).float()


def rotary_angles(positions: Tensor, config: "LlamaConfig",
                  dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Cosine and sine of the angle p * theta^(-2j/D) of pair j at position p, for `rotate`.

    positions (N,) int64 -> two tensors (N, 1, D), computed in fp32. Both halves of D hold the same
    angles; the first half of the sines is negated.
    """
    D = config.head_dim
    pairs = torch.arange(0, D, 2, dtype=torch.float32, device=positions.device)
    step = config.rope_theta ** (-pairs / D)
    if config.rope_scaling:
        step = step / config.rope_scaling.divisors(config.rope_theta, D).to(step.device)
    angles = positions[:, None, None].float() * step  # (N, 1, D/2)
    cos, sin = angles.cos(), angles.sin()
    return torch.cat((cos, cos), dim=-1).to(dtype), torch.cat((-sin, sin), dim=-1).to(dtype)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Each pair (j, j + D/2) of x turned by its angle: x_j cos - x_(j + D/2) sin, and
    x_(j + D/2) cos + x_j sin; the minus sign is in the table. (N, heads, D) -> the same.

    `cos` and `sin` (N, 1, D) are the tables of `rotary_angles`.
    """
    return x * cos + x.roll(x.size(-1) // 2, dims=-1) * sin


def bias_of(seen: Tensor, dtype: torch.dtype) -> Tensor:
    """What is added to the scores: 0 where a query may look, -inf where not."""
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, -torch.inf)


def attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, causal: bool = False) -> Tensor:
    """softmax(q k^T / sqrt(D) + bias) v. q (B, H, T, D), k and v (B, K, S, D), bias (B or 1, T, S)
    -> (B, H, T, D). Query head h reads key/value head h // (H / K).

    `causal` says that the bias is the plain causal one, which a GPU's fused kernel has built in.
    """
    B, H, T, D = q.shape
    K, S = k.size(1), k.size(2)
    if q.device.type != "cpu":
        return F.scaled_dot_product_attention(
            q, k, v, attn_mask=None if causal else bias[:, None], is_causal=causal,
            enable_gqa=H > K)
    # On a CPU, plain batched products are several times faster for short sequences. The queries of
    # one group stand one after another along T.
    bias = bias[:, None, None].expand(B, K, H // K, T, S).reshape(B * K, H // K * T, S)
    q = q.reshape(B * K, H // K * T, D)
    k, v = k.reshape(B * K, S, D), v.reshape(B * K, S, D)
    scores = torch.baddbmm(bias, q, k.transpose(1, 2), alpha=D ** -0.5)
    return torch.bmm(scores.softmax(dim=-1), v).view(B, H, T, D)


class Rows:
    """Rows of unequal `lengths`, laid end to end; a token looks at its row up to itself.

    For attention the tokens are spread over a rectangle (B, T), T a multiple of 32, and what comes
    out is gathered again. A place behind the end of its row holds some later token, or the last
    one again: none that counts looks at it. `like` is a tensor of the device and type of what is
    computed.

    A worked number, rows a b c and d e f g h, for T = 5:

        a b c d e      spread (place -> token):    0 1 2 3 4, 3 4 5 6 7
        d e f g h      gathered (token -> place):  0 1 2, 5 6 7 8 9
    """

    def __init__(self, lengths: Sequence[int], config: "LlamaConfig", like: Tensor):
        if config.sliding_window and max(lengths) > config.sliding_window:
            raise UserError(f"a row of {max(lengths)} tokens, but this model looks back at most "
                            f"{config.sliding_window} (sliding_window), which is not supported: "
                            "shorten the rows")
        self.B, self.T = len(lengths), round_up(max(lengths), WIDTH)
        size = torch.tensor(lengths)
        start, row = size.cumsum(0) - size, torch.arange(self.B).repeat_interleave(size)
        position = torch.arange(len(row)) - start[row]  # (N,)
        token = (start[:, None] + torch.arange(self.T)).clamp(max=len(row) - 1)  # (B, T)
        self.spread = token.flatten().to(like.device)
        self.gathered = (row * self.T + position).to(like.device)
        self.rotary = rotary_angles(position.to(like.device), config, like.dtype)
        causal = torch.ones(1, self.T, self.T, dtype=torch.bool, device=like.device).tril()
        self.bias = bias_of(causal, like.dtype)

    def attention(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        # index_select: its backward pass is faster than that of plain x[index]
        q, k, v = (x.index_select(0, self.spread).view(self.B, self.T, *x.shape[1:])
                   .transpose(1, 2).contiguous() for x in (q, k, v))  # (B, H or K, T, D)
        y = attention(q, k, v, self.bias, causal=True)  # (B, H, T, D)
        return y.transpose(1, 2).reshape(self.B * self.T, -1).index_select(0, self.gathered)


class KVCache:
    """Keys and values of the tokens read so far: a pair of tensors (B, K, S, D) of each layer,
    one behind the other in `kept`.

    A token's slot is its position, so rows of unequal length share a cache without left padding:
    what stands in slots beyond a row's own position is never looked at, and is overwritten later.
    """

    def __init__(self, rows: int, slots: int, config: "LlamaConfig", like: Tensor):
        shape = (rows, config.n_kv_heads, slots, config.head_dim)
        self.kept = [like.new_zeros(shape) for _ in range(2 * config.n_layers)]
        self.config = config

    @property
    def slots(self) -> int:
        return self.kept[0].size(2)

    def at(self, positions: Tensor) -> "KVCache":
        """Itself, ready for a pass over T tokens of each row, which stand at `positions` (B, T)."""
        device, dtype = self.kept[0].device, self.kept[0].dtype
        self.rows, self.positions = torch.arange(len(positions), device=device)[:, None], positions
        self.rotary = rotary_angles(positions.flatten(), self.config, dtype)
        seen = torch.arange(self.slots, device=device) <= positions[:, :, None]  # (B, T, S)
        self.bias = bias_of(seen, dtype)
        return self

    def attention(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        keys, values = self.kept[2 * layer:2 * layer + 2]
        q, k, v = (x.view(*self.positions.shape, *x.shape[1:]) for x in (q, k, v))  # (B, T, …, D)
        keys[self.rows, :, self.positions], values[self.rows, :, self.positions] = k, v
        y = attention(q.transpose(1, 2), keys, values, self.bias)
        return y.transpose(1, 2).reshape(self.positions.numel(), -1)


Seq = Rows | KVCache
