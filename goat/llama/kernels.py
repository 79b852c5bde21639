"""Two operations of the model with gradients by hand: fewer passes over memory, and less to keep.

Automatic differentiation keeps what each small operation was given, and goes back through them
one by one. Where the derivative of the whole is short, it pays to write it down.
"""

import torch
from torch import Tensor


class Normalise(torch.autograd.Function):
    """(..., C) -> (..., C): n * weight with n = x / rms(x), rms(x)^2 = mean(x^2) + eps, in fp32.

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


class Rotate(torch.autograd.Function):
    """(B, heads, T, D) -> the same: each pair (j, j + D/2) of x turned by its angle.

    `cos` and `sin` are the tables of `goat.llama.model.rotary_angles`, in x's type. The gradient is
    turned back, by the negative angles; nothing of the size of x is kept.
    """

    @staticmethod
    def forward(ctx, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return turned(x, cos, sin)

    @staticmethod
    def backward(ctx, grad: Tensor):
        cos, sin = ctx.saved_tensors
        return turned(grad, cos, -sin), None, None


def turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x_j cos - x_(j + D/2) sin, and x_(j + D/2) cos + x_j sin; the minus sign is in the table."""
    if x.device.type == "cpu":  # whose elementwise operations are slow on transposed tensors
        x = x.contiguous()
    return (x * cos).addcmul_(x.roll(x.size(-1) // 2, dims=-1), sin)


normalise, rotate = Normalise.apply, Rotate.apply
