"""Layers that read the same input, joined to one product: for decoding.

A step for few rows is mostly the fixed cost of its many small products. One of q, k, v and one of
gate, up make a third of them fewer.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from goat.llama.model import MLP, Attention, Llama


class Joined:
    """Several plain linear layers as one; their weights become views of it, so this takes no more
    memory. (N, in) -> (N, out) for each."""

    def __init__(self, *layers: nn.Linear):
        self.sizes = [layer.out_features for layer in layers]
        self.weight = torch.cat([layer.weight.detach() for layer in layers])
        self.bias = None
        if layers[0].bias is not None:
            self.bias = torch.cat([layer.bias.detach() for layer in layers])
        for layer, part in zip(layers, self.weight.split(self.sizes)):
            layer.weight.data = part

    def __call__(self, x: Tensor) -> tuple[Tensor, ...]:
        return F.linear(x, self.weight, self.bias).split(self.sizes, dim=-1)


def join(model: Llama) -> Llama:
    """Join q, k, v and gate, up where they are plain linear layers. Returns the model.

    It is the last thing to do with a model: to move or wrap it after would part them again.
    """
    for module in model.modules():
        if isinstance(module, Attention):
            name, layers = "qkv", [module.q_proj, module.k_proj, module.v_proj]
        elif isinstance(module, MLP):
            name, layers = "gate_up", [module.gate_proj, module.up_proj]
        else:
            continue
        if all(type(layer) is nn.Linear for layer in layers):  # not LoRA's, not in 8 bits
            setattr(module, name, Joined(*layers))
    return model
