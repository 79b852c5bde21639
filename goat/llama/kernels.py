"""Every gradient that is written by hand, each beside the plain form that it equals.

Automatic differentiation keeps what each small operation was given, and goes back through them one
by one. Where the derivative of the whole is short, it pays to write it down: fewer passes over
memory, and less to keep. tests/llama/test_kernels.py holds each pair equal, values and gradients.

    plain               by hand      memory that it spares
    rms_norm_plain      rms_norm     one tensor of x's size
    low_rank_plain      low_rank     with dropout, the dropped-out copy of x
    int8_linear_plain   int8_linear  a 16-bit copy of the weight
    head_loss_plain     head_loss    all logits, in fp32 and more than once
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


PIECE = 256  # tokens of which `head_loss` has logits at a time
FP16_SCALE = 1024  # of the gradient that it keeps


def round_up(n: int, step: int) -> int:
    """The next multiple of `step`. Sizes of tensors are rounded up to few different ones, since a
    CPU's matrix library builds a new kernel for each shape that it has not met."""
    return -(-n // step) * step


# ---- RMSNorm -------------------------------------------------------------------------------------

def rms_norm_plain(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x / rms(x) * weight over the last dimension, in fp32. (..., C) -> (..., C)."""
    x32 = x.float()
    return (x32 * torch.rsqrt(x32.square().mean(-1, keepdim=True) + eps)).to(x.dtype) * weight


class Norm(torch.autograd.Function):
    """n * weight with n = x / rms(x), rms(x)^2 = mean(x^2) + eps.

    With h the gradient of n: dL/dx = (h - n * mean(h * n)) / rms(x), since rms(x) grows with every
    entry of x by that entry / (C rms(x)). Kept are x and 1 / rms(x).

    A worked number, C = 2: x = [3, 4] has rms 3.54 and n = [0.85, 1.13]. For h = [1, 0] the mean of
    h * n is 0.42, so dL/dx = ([1, 0] - 0.42 * [0.85, 1.13]) / 3.54 = [0.18, -0.14]. It is at a
    right angle to x, for making x longer does not change n.
    """

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        x32 = x.float()
        inverse = torch.rsqrt(x32.square().mean(-1, keepdim=True) + eps)  # 1 / rms, (..., 1)
        ctx.save_for_backward(x, weight, inverse)
        return (x32 * inverse).to(x.dtype) * weight

    @staticmethod
    def backward(ctx, grad: Tensor):
        x, weight, inverse = ctx.saved_tensors
        n, h = x.float() * inverse, (grad * weight).float()
        grad_weight = None
        if ctx.needs_input_grad[1]:  # else a frozen base's
            grad_weight = (n * grad).flatten(0, -2).sum(0).to(weight.dtype)
        along = (h * n).mean(-1, keepdim=True)
        grad_x = h.addcmul_(n, along, value=-1).mul_(inverse)
        return grad_x.to(x.dtype), grad_weight, None


# ---- LoRA ----------------------------------------------------------------------------------------

def low_rank_plain(x: Tensor, A: Tensor, B: Tensor, scaling: float, dropout: float) -> Tensor:
    """scaling * B A dropout(x), in x's type. x (N, in), A (R, in), B (out, R) -> (N, out)."""
    dropped = x * keep_mask(x, dropout) / (1 - dropout) if dropout else x
    return scaling * F.linear(F.linear(dropped, A.to(x.dtype)), B.to(x.dtype))


class LowRank(torch.autograd.Function):
    """s B A (mask x): the mask, of 0 and 1, is that of a dropout with probability p, and the
    1 / (1 - p) that makes up for what is dropped is in s = scaling / (1 - p).

    With G the gradient of the output and, as columns of one token,

        h = A (mask x)          dB = s G h^T
        g = s B^T G             dA = g (mask x)^T          dx = mask * A^T g

    Kept for the backward pass are x (one tensor for all layers that read it), the mask, h, and
    casts of A and B: no dropped-out copy of x.
    """

    @staticmethod
    def forward(ctx, x: Tensor, A: Tensor, B: Tensor, scaling: float, dropout: float) -> Tensor:
        keep = keep_mask(x, dropout) if dropout else None
        ctx.s = scaling / (1 - dropout)
        a, b = A.to(x.dtype), (B * ctx.s).to(x.dtype)
        h = masked(x, keep) @ a.t()  # (N, R)
        ctx.save_for_backward(x, keep, h, a if ctx.needs_input_grad[0] else None, b)
        return h @ b.t()

    @staticmethod
    def backward(ctx, grad: Tensor):
        x, keep, h, a, b = ctx.saved_tensors
        grad_b = (h.t() @ grad).t().float() * ctx.s  # faster than grad.t() @ h
        grad_h = grad @ b  # g
        grad_a = (grad_h.t() @ masked(x, keep)).float()
        return None if a is None else masked(grad_h @ a, keep), grad_a, grad_b, None, None


def masked(x: Tensor, keep: Tensor | None) -> Tensor:
    return x if keep is None else x * keep


def keep_mask(x: Tensor, dropout: float) -> Tensor:
    """Ones, and zeros with probability `dropout`, of x's shape; on a CPU of x's type, else bool.

    A CPU's `bernoulli_` takes as long as the product with A. Here one random 64-bit number serves
    four entries, with 16 bits each: the probability is right to 2^-17. torch gives the seed.
    """
    if x.device.type != "cpu":
        return torch.empty_like(x, dtype=torch.bool).bernoulli_(1 - dropout)
    generator = np.random.SFC64(int(torch.randint(2 ** 63 - 1, ())))
    bits = torch.from_numpy(generator.random_raw(math.ceil(x.numel() / 4)).view(np.int16))
    bits = bits[: x.numel()].view(x.shape)  # -2^15 … 2^15 - 1
    return bits.ge_(min(round(dropout * 2 ** 16), 2 ** 16 - 1) - 2 ** 15).to(x.dtype)


# ---- int8 weights --------------------------------------------------------------------------------

def int8_linear_plain(x: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
    """x W^T with W = scale * weight. x (..., in), int8 weight (out, in), fp32 scale (out,)."""
    return F.linear(x, (weight.float() * scale[:, None]).to(x.dtype))


class Int8Product(torch.autograd.Function):
    """The scale on the output, and no activation saved: see int8.py, where both are derived."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
        ctx.save_for_backward(weight, scale)  # the layer's own buffers: no new memory
        if x.dtype == torch.float16:
            return F.linear(x, weight.to(x.dtype).mul_(scale[:, None]))
        return F.linear(x, weight.to(x.dtype)).mul_(scale)

    @staticmethod
    def backward(ctx, grad: Tensor):
        return int8_input_gradient(grad, *ctx.saved_tensors), None, None


def int8_input_gradient(grad: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
    """(G * s) Q, the gradient of x. grad (..., out) -> (..., in)."""
    if grad.dtype == torch.float16:
        return grad @ weight.to(grad.dtype).mul_(scale[:, None])
    # The product with the fp32 scale is rounded once, to grad's 16 bits; no fp32 copy is made.
    scaled = torch.mul(grad, scale, out=torch.empty_like(grad))
    return scaled @ weight.to(grad.dtype)


# ---- The head and its loss -----------------------------------------------------------------------

def head_loss_plain(hidden: Tensor, weight: Tensor, labels: Tensor, ignore: int) -> Tensor:
    """The sum of the cross-entropies, in fp32, of the tokens whose label is not `ignore`. hidden
    (N, C), weight of the head (V, C), labels of N."""
    logits = F.linear(hidden, weight).float()
    return F.cross_entropy(logits, labels, ignore_index=ignore, reduction="sum")


class HeadLoss(torch.autograd.Function):
    """-log p_y, p = softmax(W h), summed over the tokens. W, the head, is frozen.

    The gradient of a token's h is W^T (p - e_y), where e_y is 1 at y and 0 elsewhere: nothing in it
    has to wait for the backward pass. So it is computed at once, for a few tokens at a time, and is
    all that is kept: C numbers a token instead of V (4,096 instead of 128,256 in Llama 3.1 8B). In
    fp16, where p - e_y can be too small for a number, it is kept FP16_SCALE times as large.
    Source: the idea of Wijmans et al. 2024 (arXiv 2411.09009) and Hsu et al. 2024 (2410.10989).

    A worked number, V = 2: logits [0, 0] give p = [0.5, 0.5]. For y = 0 the loss is 0.69 and
    p - e_y = [-0.5, 0.5], so h moves towards the first row of W and away from the second.
    """

    @staticmethod
    def forward(ctx, hidden: Tensor, weight: Tensor, labels: Tensor, ignore: int) -> Tensor:
        grad = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        loss = hidden.new_zeros((), dtype=torch.float32)
        ctx.scale = FP16_SCALE if hidden.dtype == torch.float16 else 1
        for start in range(0, len(hidden), PIECE):
            some = slice(start, start + PIECE)
            y, log_p = labels[some], F.linear(hidden[some], weight).float().log_softmax(-1)
            loss += F.nll_loss(log_p, y, ignore_index=ignore, reduction="sum")
            if grad is not None:
                error, counts = log_p.exp_(), y != ignore  # p
                error[torch.arange(len(y), device=y.device), y * counts] -= 1
                error *= counts[:, None]
                grad[some] = error.mul_(ctx.scale).to(weight.dtype) @ weight
                del error
            del log_p  # before the next piece's are made
        ctx.save_for_backward(grad)
        return loss

    @staticmethod
    def backward(ctx, grad_loss: Tensor):
        [grad] = ctx.saved_tensors
        return (grad.float() * (grad_loss / ctx.scale)).to(grad.dtype), None, None, None


rms_norm, low_rank, int8_linear = Norm.apply, LowRank.apply, Int8Product.apply
head_loss = HeadLoss.apply
