"""An adapter that changes a tiny model. Nothing here is a test."""

from goat.files import checkpoint
from goat.files.adapter import save_adapter
from goat.llama import lora


def adapted(base, folder, fill=0.1, **settings):
    """The model of `base` under an adapter of rank 2 whose every B is filled with one number; the
    adapter is saved in `folder`."""
    model = lora.add_lora(checkpoint.load_model(base), rank=2, **settings)
    for layer in lora.lora_layers(model).values():
        layer.lora_B.data.fill_(fill)
    save_adapter(model, folder, base)
    return model
