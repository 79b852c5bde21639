"""LoRA by hand: a frozen linear layer plus a trained product of two thin matrices.

Fine-tuning changes a weight W (out, in) by a matrix dW. LoRA (Hu et al. 2021, arXiv 2106.09685)
supposes that dW may have a low rank R and trains only its two factors:

    y = W x + (alpha / R) * B A dropout(x)        A (R, in), B (out, R)

A starts random (Kaiming uniform with a = sqrt(5), as PEFT does) and B starts at zero, so that at
step 0 the adapted model is the base model to the bit. Shapes, scaling and the place of the
dropout are PEFT's, so adapters travel both ways without any rearranging. (Layers that read the
same input, as q, k and v do, share the dropout's mask here; PEFT draws one for each.)

A worked number. in = out = 2, R = 1, alpha = 2, so the scaling is 2 / 1 = 2:

    W = [[1, 0],   A = [[1, 2]]   B = [[3],   x = [1, 1]
         [0, 1]]                       [0]]
    W x = [1, 1];  A x = [3];  B A x = [9, 0];  y = [1, 1] + 2 * [9, 0] = [19, 1]
    merged: W + 2 * B A = [[7, 12], [0, 1]], and [[7, 12], [0, 1]] x = [19, 1], the same.

Parameter count: R * (in + out) for each wrapped layer. LLaMA-7B with R = 64 on q, k, v, o:
64 * (4096 + 4096) * 4 * 32 = 67,108,864, about 1 % of the model.

A and B stay in fp32 whatever the base's type (the optimizer's small steps would vanish in bf16);
their products run in the type of the activations.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from goat.errors import UserError
from goat.llama.int8 import Int8Linear

ATTENTION_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj")  # the paper's choice
ALL_TARGETS = ATTENTION_TARGETS + ("gate_proj", "up_proj", "down_proj")


def keep_mask(x: Tensor, dropout: float) -> Tensor:
    """Ones, and zeros with probability `dropout`, of x's shape; on a CPU of x's type, else bool.

    A CPU's `bernoulli_` takes as long as the product with A. Here one random 64-bit number serves
    four entries, with 16 bits each: the probability is right to 2^-17.
    """
    if x.device.type != "cpu":
        return torch.empty_like(x, dtype=torch.bool).bernoulli_(1 - dropout)
    bits = torch.randint(-2 ** 63, 2 ** 63 - 1, (math.ceil(x.numel() / 4),)).view(torch.int16)
    bits = bits[: x.numel()].view(x.shape)  # -2^15 … 2^15 - 1
    return bits.ge_(round(dropout * 2 ** 16) - 2 ** 15).to(x.dtype)


def masked(x: Tensor, keep: Tensor | None) -> Tensor:
    return x if keep is None else x * keep


class LoRAProducts(torch.autograd.Function):
    """y_i + s_i B_i A_i (mask x) for layers i that read the same x: (..., in) -> (..., out_i) each.

    The mask, of 0 and 1, is that of the dropout with probability p; the 1 / (1 - p) that makes up
    for what is dropped is in s_i = alpha_i / R_i / (1 - p). With G_i the gradient of the i-th
    output, that of y_i is G_i too, and, with x, G_i and h_i as columns of one token,

        h_i = A_i (mask x)          dB_i = s_i G_i h_i^T
        g_i = s_i B_i^T G_i         dA_i = g_i (mask x)^T          dx = mask * sum_i A_i^T g_i

    The A_i stand in one matrix, so that x is read once. Kept for the backward pass are x, the
    mask, the h_i, and casts of A and B: not one dropped-out copy of x for each layer.
    """

    @staticmethod
    def forward(ctx, x: Tensor, dropout: float, scalings: Sequence[float], *tensors: Tensor):
        n = len(scalings)
        outputs, many_a, many_b = tensors[:n], tensors[n:2 * n], tensors[2 * n:]
        rows = x.reshape(-1, x.size(-1))  # (M, in)
        keep = keep_mask(rows, dropout) if dropout else None
        scalings = [scaling / (1 - dropout) for scaling in scalings]
        a = torch.cat(many_a).to(x.dtype)  # (n R, in)
        scaled_b = [(B * s).to(x.dtype) for B, s in zip(many_b, scalings)]  # (out_i, R)
        h = masked(rows, keep) @ a.t()  # (M, n R)
        ctx.scalings, ctx.ranks = scalings, [A.size(0) for A in many_a]
        ctx.save_for_backward(rows, keep, h, a if ctx.needs_input_grad[0] else None, *scaled_b)
        return tuple(torch.addmm(y.reshape(-1, y.size(-1)), part, b.t()).view(y.shape)
                     for y, part, b in zip(outputs, h.split(ctx.ranks, dim=1), scaled_b))

    @staticmethod
    def backward(ctx, *grads: Tensor):
        rows, keep, h, a, *scaled_b = ctx.saved_tensors
        flat = [grad.reshape(-1, grad.size(-1)) for grad in grads]
        grads_b = [(part.t() @ grad).t().float() * s  # faster than grad.t() @ part
                   for grad, part, s in zip(flat, h.split(ctx.ranks, dim=1), ctx.scalings)]
        grad_h = torch.cat([grad @ b for grad, b in zip(flat, scaled_b)], dim=1)  # the g_i
        grad_a = (grad_h.t() @ masked(rows, keep)).float()
        grad_x = None
        if a is not None:
            grad_x = masked(grad_h @ a, keep).view(*grads[0].shape[:-1], -1)
        return grad_x, None, None, *grads, *grad_a.split(ctx.ranks), *grads_b


class LoRALinear(nn.Module):
    """Wraps a frozen linear layer: base(x) + scaling * B(A(dropout(x))). (..., in) -> (..., out).

    `scaling` is alpha / rank unless given. `base` is an `nn.Linear` without bias or an
    `Int8Linear`.
    """

    def __init__(self, base: nn.Linear | Int8Linear, rank: int, alpha: float, dropout: float = 0.0,
                 scaling: float | None = None, generator: torch.Generator | None = None):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.rank, self.alpha, self.dropout = rank, alpha, dropout
        self.scaling = alpha / rank if scaling is None else scaling
        self.lora_A = nn.Parameter(torch.empty(rank, base.in_features))
        self.lora_B = nn.Parameter(torch.zeros(base.out_features, rank))
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5), generator=generator)
        self.to(base.weight.device)

    def forward(self, x: Tensor) -> Tensor:
        return self.together(x, [self])[0]

    @staticmethod
    def together(x: Tensor, layers: Sequence[nn.Module]) -> list[Tensor]:
        """The outputs of layers that read the same input, which is dropped out once. At least one
        of them has LoRA."""
        outputs = [getattr(layer, "base", layer)(x) for layer in layers]
        learning = [i for i, layer in enumerate(layers) if isinstance(layer, LoRALinear)]
        some = [layers[i] for i in learning]
        dropout = some[0].dropout if some[0].training else 0.0
        added = LoRAProducts.apply(x, dropout, [layer.scaling for layer in some],
                                   *(outputs[i] for i in learning),
                                   *(layer.lora_A for layer in some),
                                   *(layer.lora_B for layer in some))
        for i, output in zip(learning, added):
            outputs[i] = output
        return outputs

    def delta(self) -> Tensor:
        """The learnt change of the weight, scaling * B A, (out, in) in fp32."""
        return self.scaling * (self.lora_B @ self.lora_A)


def lora_layers(model: nn.Module) -> dict[str, LoRALinear]:
    """Every LoRA layer of the model by its module name."""
    return {name: m for name, m in model.named_modules() if isinstance(m, LoRALinear)}


def linear_layers(model: nn.Module) -> dict[str, nn.Linear | Int8Linear]:
    """Every linear layer by its module name; under the name of a LoRA layer stands its base."""
    return {name.removesuffix(".base"): m for name, m in model.named_modules()
            if isinstance(m, (nn.Linear, Int8Linear))}


def add_lora(model: nn.Module, rank: int = 64, alpha: float | None = None, dropout: float = 0.05,
             targets: tuple[str, ...] = ATTENTION_TARGETS, seed: int = 0,
             scaling: float | None = None) -> nn.Module:
    """Freeze the model and wrap every linear layer whose last name part is in `targets`.

    `alpha` defaults to `rank` (scaling 1, as in Goat). A is drawn from a generator of its own
    with `seed`, on the CPU, so that the same seed gives the same adapter on every device.
    Returns the model. Raises UserError for a rank below 1, a dropout outside [0, 1), a target
    that names no linear layer, and for a model that already carries LoRA.
    """
    if rank < 1:
        raise UserError(f"LoRA rank must be at least 1, not {rank}: give --lora-r 1 or more")
    if not 0 <= dropout < 1:
        raise UserError(f"LoRA dropout must be in [0, 1), not {dropout}: see --lora-dropout")
    if lora_layers(model):
        raise UserError("the model carries LoRA layers already: merge them or load the bare base")
    linear = linear_layers(model)
    known = {name.rpartition(".")[2] for name in linear}
    unknown = sorted(set(targets) - known)
    if unknown or not targets:
        raise UserError(f"LoRA target {', '.join(unknown) or '(none)'} is no linear layer of this "
                        f"model; choose from {', '.join(sorted(known))}")
    model.requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    alpha = rank if alpha is None else alpha
    for name, base in linear.items():
        if name.rpartition(".")[2] in targets:
            layer = LoRALinear(base, rank, alpha, dropout, scaling, generator)
            model.set_submodule(name, layer.train(model.training))
    return model


@torch.no_grad()
def merge(model: nn.Module) -> nn.Module:
    """Fold every adapter into its base weight: plain linear layers again, so that a forward pass
    costs no more than before LoRA. Returns the model.

    An int8 base becomes a layer of the type that the model computes in, 16-bit as a rule (rounding
    the sum to 8 bits again would lose the small change): the message says how many did.
    """
    widened, wide = 0, next(model.parameters()).dtype  # of the embedding
    for name, layer in lora_layers(model).items():
        base, dtype = layer.base, layer.base.weight.dtype
        weight: Tensor = base.weight
        if isinstance(base, Int8Linear):
            weight, dtype, widened = base.dequantised(), wide, widened + 1
        linear = nn.Linear(base.in_features, base.out_features, bias=False, device="meta")
        merged = (weight.float() + layer.delta()).to(dtype)
        linear.weight = nn.Parameter(merged, requires_grad=False)
        model.set_submodule(name, linear)
    if widened:
        print(f"merge: {widened} int8 layers are {8 * wide.itemsize}-bit now ({str(wide)[6:]})")
    return model


def trainable(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that receive gradients: with LoRA exactly the A and B matrices."""
    return [p for p in model.parameters() if p.requires_grad]
