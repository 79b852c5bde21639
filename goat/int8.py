"""Eight bits for each frozen weight: the layer that fits LLaMA-7B on a 24 GB card.

**Storing.** Each row w of a weight matrix (out, in) becomes whole numbers Q in -127 … 127 and one
fp32 scale, the row's largest absolute value over 127 ("row-wise absmax", LLM.int8(), Dettmers et
al. 2022, arXiv 2208.07339):

    s = max|w| / 127        Q = round(w / s)        w is about s Q, off by at most s / 2

A worked number. For w = [0.6, -1.0], s = 1 / 127 = 0.00787 and Q = [76, -127]. With x = [1, 0.5]:
x Q = 76 - 63.5 = 12.5, times s is 0.0984; the exact product is 0.1. A Gaussian matrix loses 0.87 %
(Frobenius norm), and so does its product with any input.

**Forward, default ("weight only").** All entries of a row share s, so the scale can be taken out
of the sum and be applied to the *output*:

    y_o = sum_i x_i s_o Q_oi = s_o (x Q^T)_o

Q is cast to x's type for the product, which is exact: bf16 and fp16 hold every whole number up to
256. The scale stays fp32 and is never cast down. (In fp16 the sum x Q^T could pass 65504, the
largest number there, so fp16 scales the weight copy instead of the output.)

**Forward, int8 inputs (opt-in).** x is rounded row by row in the same way, the product runs on
whole numbers (`torch._int_mm`, int32 sums) and both scales are applied to the result. One large
entry x_i spoils its whole row, because it sets the scale: with one input column 60 times the
others the error grows from 1.2 % to over 9 %. LLM.int8() therefore multiplies the columns of x
that hold any entry above a threshold (6.0) apart, unrounded; the error is then 1.1 % again.

**Backward.** Q is frozen, so only the gradient of x is wanted, with G the gradient of y:

    dL/dx_i = sum_o G_o s_o Q_oi        that is        (G * s) Q

The scale folds into G, so that no scaled copy of the weight is needed; and x does not appear, so
that **no activation is saved**. Rounding of int8 inputs is passed through as if it were not there
(its true slope is 0 almost everywhere), as LLM.int8() does.

Memory: 1 byte for a weight + 4 bytes for a row, + one temporary 16-bit copy of the layer at work.
"""

import functools
import sys

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from goat.errors import UserError

CHUNK = 1 << 22  # weights rounded at a time: bounds the fp32 temporary to 16 MiB
OUTLIER = 6.0  # LLM.int8()'s threshold
INT_MM_ROWS = 32  # torch._int_mm wants more than 16 rows on CUDA; we pad to a multiple of this


def quantise(x: Tensor) -> tuple[Tensor, Tensor]:
    """Row-wise absmax rounding. (M, N) float -> (int8 (M, N), fp32 scales (M,)).

    Row m of x is about scale[m] * q[m]. A row of zeros gets scale 1 and stays zero.
    """
    scale = x.abs().amax(dim=1).float() / 127
    scale = torch.where(scale == 0, 1.0, scale)
    q = (x / scale[:, None]).round_().clamp_(-127, 127)  # a bare cast would cut toward zero
    return q.to(torch.int8), scale


def int_product(a: Tensor, b: Tensor) -> Tensor:
    """a b^T on whole numbers. int8 (M, K) and int8 (N, K) -> int32 (M, N)."""
    rows = a.size(0)
    a = F.pad(a, (0, 0, 0, -rows % INT_MM_ROWS))
    return torch._int_mm(a, b.t())[:rows]  # b.t() is a view: the column-major operand it wants


def weight_only(x: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
    """x (s Q)^T with the scale on the output. (..., in) -> (..., out)."""
    if x.dtype == torch.float16:
        return F.linear(x, weight.to(x.dtype).mul_(scale[:, None]))
    return F.linear(x, weight.to(x.dtype)).mul_(scale)


def int8_inputs(x: Tensor, weight: Tensor, scale: Tensor, threshold: float) -> Tensor:
    """The same product with x rounded too; columns of outliers apart. (..., in) -> (..., out).

    `threshold` 0 rounds every column (no outliers are looked for).
    """
    rows = x.reshape(-1, x.size(-1))  # (M, in)
    large = (rows.abs() >= threshold).any(dim=0).nonzero()[:, 0] if threshold > 0 else ()
    inliers = rows.index_fill(1, large, 0) if len(large) else rows
    q, row_scale = quantise(inliers)
    y = int_product(q, weight) * row_scale[:, None]  # fp32 (M, out)
    if len(large):
        y += F.linear(rows[:, large], weight[:, large].to(x.dtype)).float()
    return y.mul_(scale).to(x.dtype).view(*x.shape[:-1], -1)


class Int8Product(torch.autograd.Function):
    """y = x (s Q)^T with a frozen Q. `threshold` None: weight only; else int8 inputs."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, scale: Tensor, threshold: float | None) -> Tensor:
        ctx.save_for_backward(weight, scale)  # the layer's own buffers: no new memory
        if threshold is None:
            return weight_only(x, weight, scale)
        return int8_inputs(x, weight, scale, threshold)

    @staticmethod
    def backward(ctx, grad: Tensor):
        weight, scale = ctx.saved_tensors
        if grad.dtype == torch.float16:
            return grad @ weight.to(grad.dtype).mul_(scale[:, None]), None, None, None
        scaled = torch.mul(grad, scale, out=torch.empty_like(grad))  # multiplied in fp32
        return scaled @ weight.to(grad.dtype), None, None, None


class Int8Linear(nn.Module):
    """A frozen linear layer without bias, its weight in int8. (..., in) -> (..., out).

    Buffers: `weight` int8 (out, in) and `scale` fp32 (out,), empty until `store`. `threshold` is
    None for the weight-only product, else that of int8 inputs (see `use_int8_inputs`).
    """

    def __init__(self, in_features: int, out_features: int, device=None):
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.threshold: float | None = None
        shape = (out_features, in_features)
        self.register_buffer("weight", torch.empty(shape, dtype=torch.int8, device=device))
        self.register_buffer("scale", torch.empty(out_features, dtype=torch.float32, device=device))

    @torch.no_grad()
    def store(self, weight: Tensor) -> None:
        """Round `weight` (out, in) into the buffers, on its device, a few rows at a time.

        Raises UserError when a weight is not finite.
        """
        q = torch.empty_like(weight, dtype=torch.int8)
        scale = torch.empty(weight.size(0), dtype=torch.float32, device=weight.device)
        rows = max(1, CHUNK // weight.size(1))
        for start in range(0, weight.size(0), rows):
            part = slice(start, start + rows)
            q[part], scale[part] = quantise(weight[part])
        if not scale.isfinite().all():
            raise UserError("a weight is NaN or infinite, so it cannot be rounded to 8 bits")
        self.weight, self.scale = q, scale

    def dequantised(self) -> Tensor:
        """The weight that this layer stands for, s Q, fp32 (out, in)."""
        return self.weight.float() * self.scale[:, None]

    def forward(self, x: Tensor) -> Tensor:
        return Int8Product.apply(x, self.weight, self.scale, self.threshold)

    def _apply(self, fn, recurse=True):
        """Keep the scale in fp32 when a model is cast with `.to(dtype)`; devices follow."""
        exact = self.scale
        super()._apply(fn, recurse)
        if self.scale.dtype != torch.float32:
            self.scale = exact.to(self.scale.device)
        return self

    def extra_repr(self) -> str:
        inputs = "16-bit" if self.threshold is None else f"int8, threshold {self.threshold}"
        return f"{self.in_features}, {self.out_features}, inputs={inputs}"


def to_int8(model: nn.Module, skip: tuple[str, ...] = ("lm_head",)) -> nn.Module:
    """Replace every `nn.Linear` except those named in `skip` by an `Int8Linear`; return the model.

    The head keeps its 16 bits: it is small, and its errors go straight into the answer. On the
    meta device the new layers are left empty, to be filled by `store` while a file is read.
    """
    linears = {name: m for name, m in model.named_modules() if isinstance(m, nn.Linear)}
    for name, linear in linears.items():
        if name in skip:
            continue
        device = linear.weight.device
        layer = Int8Linear(linear.in_features, linear.out_features, device).train(linear.training)
        if device.type != "meta":
            layer.store(linear.weight)
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, layer)
    return model


def use_int8_inputs(model: nn.Module, threshold: float = OUTLIER) -> nn.Module:
    """Switch every int8 layer of the model to int8 inputs (int8 x int8 products); return it.

    Checks `torch._int_mm` on the model's device first and says so on standard error. Raises
    UserError where it is missing or wrong, or where the layers' sizes do not suit it.
    """
    layers = [m for m in model.modules() if isinstance(m, Int8Linear)]
    if not layers:
        raise UserError("int8 inputs need an int8 base: add --int8")
    if any(m.in_features % 8 or m.out_features % 8 for m in layers):
        raise UserError("int8 inputs need layer sizes that are multiples of 8: leave them off")
    check_int_mm(str(layers[0].weight.device))
    for layer in layers:
        layer.threshold = threshold
    return model


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
