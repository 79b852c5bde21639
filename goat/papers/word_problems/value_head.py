"""The outcome value model: a head on the hidden states that says how good a solution looks.

    value(t) = tanh(w . dropout(h(t)) + b)           h(t): the last layer's output at token t

Trained together with LoRA, on solutions of which the outcome is known: at the last token of each
step the value shall be +1 where the solution is correct, -1 where it is wrong. The loss of a
window is

    cross-entropy of the answers that are correct + 0.1 * mean over the marked tokens of
    (value - target)^2

A worked number: two correct steps with values 0.8 and 0.5 and a wrong one with 0.2 give
0.1 * (0.04 + 0.25 + 1.44) / 3 = 0.0577. The value of a whole solution is that of its last token.
Source: OVM (Yu et al. 2023, arXiv 2311.09724) as MARIO and its successor train it (Liao et al.
2024, arXiv 2401.08190; Chen et al. 2024, arXiv 2405.03553).

On disk: `value_head.safetensors` beside the adapter, with `value_head.weight` (1, C) and
`value_head.bias` (1). The model itself knows nothing of the head: it is put on from outside.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from goat.errors import UserError
from goat.files.adapter import VALUE_HEAD, has_value_head
from goat.files.tensors import checked, open_tensors, same_names, write_tensors
from goat.llama.generate import evaluating
from goat.llama.model import Llama

TOKENS_A_ROW = 128  # times the rows of a batch: the tokens of a pass that values solutions


class ValueHead(nn.Module):
    """Hidden states (..., C) to values (...) between -1 and 1, in fp32. It starts at 0."""

    dropout = 0.1

    def __init__(self, dim: int):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.zeros(1, dim)), nn.Parameter(torch.zeros(1))

    def forward(self, hidden: Tensor) -> Tensor:
        hidden = F.dropout(hidden.float(), self.dropout, self.training)
        return F.linear(hidden, self.weight, self.bias).squeeze(-1).tanh()

    def squared_error(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """The sum of (value - target)^2 where `targets` is not 0. hidden (N, C), targets of N."""
        at = targets.nonzero()[:, 0].to(hidden.device)
        wanted = targets.to(hidden.device)[at]
        return (self(hidden[at]) - wanted).square().sum()


def add(model: Llama) -> Llama:
    """Put a fresh head on the model as `model.value_head`. Returns the model."""
    model.value_head = ValueHead(model.config.dim).to(model.device)
    return model.train(model.training)


def save(model: Llama, adapter: str | Path) -> None:
    """Write the head beside the adapter."""
    head = model.get_submodule("value_head")
    write_tensors({f"value_head.{name}": p for name, p in head.state_dict().items()},
                  Path(adapter) / VALUE_HEAD)


def load(model: Llama, adapter: str | Path) -> Llama:
    """Put the head that lies beside an adapter on the model. Raises UserError where there is none,
    or one of another shape, or one that is not finite."""
    file = Path(adapter) / VALUE_HEAD
    if not has_value_head(adapter):
        raise UserError(f"{file}: no value model here; train one with train.py --value-head")
    readers = open_tensors(file)
    head = add(model).get_submodule("value_head")
    want = {f"value_head.{name}": p for name, p in head.named_parameters()}
    same_names(readers, want, str(file), "is it a file of train.py --value-head?")
    with torch.no_grad():
        for name, parameter in want.items():
            parameter.copy_(checked(readers[name](), f"{file}: {name}", parameter.shape))
    return model


@torch.no_grad()
def values(model: Llama, tokenizer, solutions: Sequence[tuple[str, str]],
           budget: int = 128 * TOKENS_A_ROW) -> Iterator[tuple[int, float]]:
    """The number of each (prompt, solution) and its value, read at its last token; longest first.
    `budget` is the largest number of solutions times tokens of the longest in a pass."""
    ids = [tokenizer.continued(prompt, text)[:model.config.max_positions]
           for prompt, text in solutions]
    order = sorted(range(len(ids)), key=lambda i: -len(ids[i]))
    head = model.get_submodule("value_head")
    with evaluating(model):
        while order:
            count = max(1, budget // len(ids[order[0]]))
            some, order = order[:count], order[count:]
            lengths = [len(ids[i]) for i in some]
            tokens = torch.tensor([token for i in some for token in ids[i]]).to(model.device)
            last = torch.tensor(lengths).cumsum(0).to(model.device) - 1
            hidden = model.hidden(tokens, model.rows(lengths), last)  # (B, C)
            yield from zip(some, head(hidden).tolist())
