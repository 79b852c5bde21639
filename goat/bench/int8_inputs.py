"""Eight bits for the inputs of a layer too: slower than weights alone, so it is only measured.

x is rounded row by row as the weights are (goat/llama/int8.py), the product runs on whole numbers
(`torch._int_mm`, int32 sums) and both scales are applied to the result. One large entry x_i spoils
its whole row, because it sets the scale: with one input column 60 times the others the error grows
from 1.2 % to over 9 %. LLM.int8() (Dettmers et al. 2022, arXiv 2208.07339) therefore multiplies the
columns of x that hold any entry above a threshold (6.0) apart, unrounded; the error is then 1.1 %
again. In the backward pass the rounding is passed through as if it were not there (its true slope
is 0 almost everywhere), as LLM.int8() does.
"""

import functools
import sys

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from goat.errors import UserError
from goat.llama.int8 import Int8Linear, quantise
from goat.llama.kernels import int8_input_gradient, round_up

OUTLIER = 6.0  # LLM.int8()'s threshold
INT_MM_ROWS = 32  # torch._int_mm wants more than 16 rows on CUDA; we pad to a multiple of this


def int_product(a: Tensor, b: Tensor) -> Tensor:
    """a b^T on whole numbers. int8 (M, K) and int8 (N, K) -> int32 (M, N)."""
    rows = a.size(0)
    a = F.pad(a, (0, 0, 0, round_up(rows, INT_MM_ROWS) - rows))
    return torch._int_mm(a, b.t())[:rows]  # b.t() is a view: the column-major operand it wants


class Int8InputsProduct(torch.autograd.Function):
    """y = x (s Q)^T with x rounded too; columns of outliers apart. (..., in) -> (..., out).

    `threshold` 0 rounds every column (no outliers are looked for).
    """

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, scale: Tensor, threshold: float) -> Tensor:
        ctx.save_for_backward(weight, scale)
        rows = x.reshape(-1, x.size(-1))  # (M, in)
        large = x.new_empty(0)  # the columns of outliers
        if threshold > 0:
            large = (rows.abs() >= threshold).any(dim=0).nonzero()[:, 0]
        q, row_scale = quantise(rows.index_fill(1, large, 0) if len(large) else rows)
        y = int_product(q, weight) * row_scale[:, None]  # fp32 (M, out)
        if len(large):
            y += F.linear(rows[:, large], weight[:, large].to(x.dtype)).float()
        return y.mul_(scale).to(x.dtype).view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx, grad: Tensor):
        return int8_input_gradient(grad, *ctx.saved_tensors), None, None, None


class Int8InputsLinear(Int8Linear):
    """An int8 layer that rounds its inputs to 8 bits. (..., in) -> (..., out)."""

    def __init__(self, layer: Int8Linear, threshold: float):
        super().__init__(layer.in_features, layer.out_features)
        self.weight, self.scale, self.threshold = layer.weight, layer.scale, threshold

    def forward(self, x: Tensor) -> Tensor:
        return Int8InputsProduct.apply(x, self.weight, self.scale, self.threshold)


def use_int8_inputs(model: nn.Module, threshold: float = OUTLIER) -> None:
    """Switch every int8 layer of the model, whose sizes are multiples of 8, to int8 inputs (int8 x
    int8 products).

    Checks `torch._int_mm` on the model's device first and says so on standard error. Raises
    UserError where it is missing or wrong.
    """
    layers = {name: m for name, m in model.named_modules() if isinstance(m, Int8Linear)}
    check_int_mm(str(next(iter(layers.values())).weight.device))
    for name, layer in layers.items():
        model.set_submodule(name, Int8InputsLinear(layer, threshold))


@functools.cache
def check_int_mm(device: str) -> None:
    """Compare `torch._int_mm` with an exact product, once for each device.

    It is a private function that has given wrong numbers silently (CUDA 12.1, pytorch #107671).
    """
    generator = torch.Generator().manual_seed(0)
    for rows, inner, out in ((17, 16, 16), (32, 64, 48), (100, 256, 128)):
        a, b = (torch.randint(-127, 128, (n, inner), generator=generator, dtype=torch.int8)
                for n in (rows, out))
        try:
            got = int_product(a.to(device), b.to(device)).cpu()
        except (AttributeError, NotImplementedError, RuntimeError) as error:
            raise UserError(f"int8 x int8 products do not run on {device}: use weight-only int8 "
                            f"({str(error).splitlines()[0]})")
        if not torch.equal(got.double(), a.double() @ b.double().t()):
            raise UserError(f"torch._int_mm gives wrong numbers on {device}: use weight-only int8")
    print(f"int8 inputs: torch._int_mm runs on {device} and is exact there", file=sys.stderr)
