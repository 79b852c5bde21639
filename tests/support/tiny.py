"""Tiny models for the tests, and a measure of error. Nothing here is a test.

Weights are large enough that every part of the model shows in the logits, and the norms' weights
differ from 1, so that a swapped or forgotten tensor cannot pass.
"""

from dataclasses import replace

import torch

from goat.llama.model import Llama, LlamaConfig

GROUPED = LlamaConfig(vocab_size=64, dim=32, hidden_dim=48, n_layers=2, n_heads=4, n_kv_heads=2,
                      head_dim=8, norm_eps=1e-5, rope_theta=10000.0, max_positions=64)


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def tiny_config(**changes) -> LlamaConfig:
    """Two blocks with grouped heads, with `changes` applied."""
    return replace(GROUPED, **changes)


def tiny_model(config: LlamaConfig = GROUPED, seed: int = 0) -> Llama:
    """A model with random weights, in eval mode, the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    model = Llama(config)
    with torch.no_grad():
        for p in model.parameters():
            noise = torch.randn(p.shape, generator=generator)
            p.copy_(1 + 0.3 * noise if p.dim() == 1 else noise * 1.5 / p.size(1) ** 0.5)
    return model.eval()


def tiny_tokens(rows: int = 2, length: int = 16, vocab: int = 64, seed: int = 1) -> torch.Tensor:
    """Random token ids (rows, length)."""
    return torch.randint(vocab, (rows, length), generator=torch.Generator().manual_seed(seed))


def off(got, want):
    """Relative error in the Frobenius norm."""
    return ((got.double() - want.double()).norm() / want.double().norm()).item()
