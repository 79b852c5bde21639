"""Eight bits for each weight of the frozen blocks: the layer that fits LLaMA-7B on a 24 GB card.

**Storing.** Each row w of a weight matrix (out, in) becomes whole numbers Q in -127 … 127 and one
fp32 scale, the row's largest absolute value over 127 ("row-wise absmax", LLM.int8(), Dettmers et
al. 2022, arXiv 2208.07339):

    s = max|w| / 127        Q = round(w / s)        w is about s Q, off by at most s / 2

A worked number. For w = [0.6, -1.0], s = 1 / 127 = 0.00787 and Q = [76, -127]. With x = [1, 0.5]:
x Q = 76 - 63.5 = 12.5, times s is 0.0984; the exact product is 0.1. A Gaussian matrix loses 0.87 %
(Frobenius norm), its product with Gaussian inputs 0.88 %.

**Forward ("weight only").** All entries of a row share s, so the scale can be taken out
of the sum and be applied to the *output*:

    y_o = sum_i x_i s_o Q_oi = s_o (x Q^T)_o

Q is cast to x's type for the product. The cast is exact: bf16 and fp16 hold every whole number up
to 256. The scale stays fp32 and is never cast down. (In fp16 the sum x Q^T could pass 65504, the
largest number there, so fp16 scales the weight copy instead of the output.)

**Backward.** Q is frozen, so only the gradient of x is wanted, with G the gradient of y:

    dL/dx_i = sum_o G_o s_o Q_oi        that is        (G * s) Q

The scale folds into G, so that no scaled copy of the weight is needed; and x does not appear, so
that **no activation is saved**.

**Decoding on a CPU** reads a few tokens at a time, and the product waits for the weights to come
from memory. torch has a kernel that reads the 8 bits as they are; in it x and x Q^T are rounded to
bf16, which costs 0.2 % beside the 0.87 of the weights. So a row's logits depend a little on how
many tokens are read with it.

Memory: 1 byte for a weight + 4 bytes for a row, + one temporary copy of the layer at work, in x's
type.
"""

import torch
from torch import Tensor, nn

from goat.errors import UserError
from goat.llama.kernels import int8_linear

FEW = 8  # tokens; for more of them a cast of Q is faster on a CPU (measured in fp32)


def quantise(x: Tensor) -> tuple[Tensor, Tensor]:
    """Row-wise absmax rounding. (out, in) float -> (int8 (out, in), fp32 scales (out,)).

    Row o of x is about scale[o] * q[o]. A row of zeros gets scale 1 and stays zero.
    """
    scale = x.abs().amax(dim=1).float() / 127
    scale = torch.where(scale == 0, 1.0, scale)
    q = (x / scale[:, None]).round_().clamp_(-127, 127)  # a bare cast would cut toward zero
    return q.to(torch.int8), scale


class Int8Linear(nn.Module):
    """A frozen linear layer, its weight in int8, its bias, if any, as it was.
    (..., in) -> (..., out).

    Its buffers are on the meta device until `store`.
    """

    weight: Tensor  # int8 (out, in)
    scale: Tensor  # fp32 (out,)

    def __init__(self, in_features: int, out_features: int, bias: nn.Parameter | None = None):
        super().__init__()
        self.bias = bias
        self.in_features, self.out_features = in_features, out_features
        with torch.device("meta"):
            self.register_buffer("weight", torch.empty(out_features, in_features, dtype=torch.int8))
            self.register_buffer("scale", torch.empty(out_features))

    @torch.no_grad()
    def store(self, weight: Tensor) -> None:
        """Round `weight` (out, in) into the buffers, on its device. Raises UserError when a weight
        is not finite."""
        self.weight, self.scale = quantise(weight)
        if not self.scale.isfinite().all():
            raise UserError("a weight is NaN or infinite, so it cannot be rounded to 8 bits")

    def dequantised(self) -> Tensor:
        """The weight that this layer stands for, s Q, fp32 (out, in)."""
        return self.weight.float() * self.scale[:, None]

    def forward(self, x: Tensor) -> Tensor:
        product = int8_linear_few if few(x, self.weight) else int8_linear
        y = product(x, self.weight, self.scale)
        return y if self.bias is None else y + self.bias

    def _apply(self, fn, recurse=True):
        """`model.to(…)` moves the scale to another device, but never casts it: it multiplies every
        output of its row, so in 16 bits its rounding would show in all of them."""
        exact = self.scale
        super()._apply(fn, recurse)
        if self.scale.dtype != torch.float32:
            self.scale = exact.to(self.scale.device)
        return self


def few(x: Tensor, weight: Tensor) -> bool:
    """Whether `int8_linear_few` can and should be used: on a CPU, for a few tokens without
    gradients, and only where both sizes of the weight suit torch's kernel."""
    return (x.device.type == "cpu" and x.numel() <= FEW * x.size(-1)
            and not torch.is_grad_enabled() and not any(size % 32 for size in weight.shape))


def int8_linear_few(x: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
    """`int8_linear` without a copy of the weight. x (..., in), int8 weight (out, in), fp32 scale
    (out,) -> (..., out) in x's type."""
    flat = x.reshape(-1, x.size(-1)).bfloat16()
    product = torch._weight_int8pack_mm(flat, weight, flat.new_ones(len(weight)))
    return (product * scale).to(x.dtype).view(*x.shape[:-1], -1)


def to_int8(model: nn.Module) -> nn.Module:
    """Replace every `nn.Linear` but the head by an `Int8Linear`; return the model.

    The head keeps its 16 bits: it is small, and its errors go straight into the answer. On the
    meta device the new layers are left empty, to be filled by `store` while a file is read.
    """
    for name, linear in list(model.named_modules()):
        if isinstance(linear, nn.Linear) and name != "lm_head":
            layer = Int8Linear(linear.in_features, linear.out_features, linear.bias)
            if not linear.weight.is_meta:
                layer.store(linear.weight)
            model.set_submodule(name, layer)
    return model
