"""Adapters that change a tiny model. Nothing here is a test."""

import torch

from goat.files import checkpoint
from goat.files.adapter import save_adapter
from goat.llama import lora


def learnt(model, std=0.1, seed=1):
    """The model, with random numbers in every B of its adapter, which is zero in a fresh one."""
    generator = torch.Generator().manual_seed(seed)
    for layer in lora.lora_layers(model).values():
        layer.lora_B.data.normal_(0, std, generator=generator)
    return model


def adapted(base, folder, fill=0.1, **settings):
    """The model of `base` under an adapter of rank 2 whose every B is filled with one number; the
    adapter is saved in `folder`."""
    model = lora.add_lora(checkpoint.load_model(base), rank=2, **settings)
    for layer in lora.lora_layers(model).values():
        layer.lora_B.data.fill_(fill)
    save_adapter(model, folder, base)
    return model
