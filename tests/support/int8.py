"""What the tests of 8-bit layers share. Nothing here is a test."""

from goat.llama.int8 import Int8Linear
from support.tiny import random


def layer_of(weight):
    layer = Int8Linear(weight.size(1), weight.size(0))
    layer.store(weight)
    return layer


def wide():
    """A Gaussian layer of LLaMA-like width, an input, and the exact product."""
    weight, x = random(1376, 4096), random(40, 4096, seed=1)
    return weight, layer_of(weight), x, x.double() @ weight.double().T
