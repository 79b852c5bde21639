"""LoRA by hand: a frozen linear layer plus a trained product of two thin matrices.

Fine-tuning changes a weight W (out, in) by a matrix dW. LoRA (Hu et al. 2021, arXiv 2106.09685)
supposes that dW may have a low rank R and trains only its two factors:

    y = W x + (alpha / R) * B A dropout(x)        A (R, in), B (out, R)

A starts random (Kaiming uniform with a = sqrt(5), as PEFT does) and B starts at zero, so that at
step 0 the adapted model is the base model to the bit. Shapes, scaling and the place of the
dropout are PEFT's, so adapters travel both ways without any rearranging.

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

import torch
from torch import Tensor, nn

from goat.errors import UserError
from goat.llama.int8 import Int8Linear
from goat.llama.kernels import low_rank

ATTENTION_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj")  # the paper's choice
ALL_TARGETS = ATTENTION_TARGETS + ("gate_proj", "up_proj", "down_proj")


class LoRALinear(nn.Module):
    """Wraps a frozen linear layer: base(x) + scaling * B(A(dropout(x))). (N, in) -> (N, out).

    `low_rank` is the second term, with its gradient by hand (its plain form, two lines, stands
    beside it). `scaling` is alpha / rank unless given. `base` is an `nn.Linear` or an `Int8Linear`;
    its bias, if any, stays as it is.
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
        dropout = self.dropout if self.training else 0.0
        return self.base(x) + low_rank(x, self.lora_A, self.lora_B, self.scaling, dropout)

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
             targets: tuple[str, ...] = ATTENTION_TARGETS, seed: int = 0) -> nn.Module:
    """Freeze the model and wrap every linear layer whose last name part is in `targets`.

    `alpha` defaults to `rank` (scaling 1, as in Goat). A is drawn from a generator of its own
    with `seed`, on the CPU, so that the same seed gives the same adapter on every device.
    Returns the model. Raises UserError for a rank below 1, a dropout outside [0, 1), a target
    that names no linear layer, and for a model that already carries LoRA.
    """
    if rank < 1:
        raise UserError(f"LoRA rank must be at least 1, not {rank}")
    if not 0 <= dropout < 1:
        raise UserError(f"LoRA dropout must be in [0, 1), not {dropout}")
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
            layer = LoRALinear(base, rank, alpha, dropout, generator=generator)
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
        linear.register_parameter("bias", base.bias)
        model.set_submodule(name, linear)
    if widened:
        print(f"merge: {widened} int8 layers are {8 * wide.itemsize}-bit now ({str(wide)[6:]})")
    return model


def trainable(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that receive gradients: with LoRA the A and B matrices, and a value head's if
    there is one."""
    return [p for p in model.parameters() if p.requires_grad]
