"""Rows as the loss sees them: what `train.py --peek` prints."""

import os
import sys
from collections.abc import Iterator
from itertools import count

import torch
import torch.nn.functional as F
from torch import Tensor

from goat.llama.model import Llama
from goat.llama.tokenizer import Tokenizer
from goat.training.batches import IGNORE, Batch

GREEN, PLAIN = "\033[32m", "\033[0m"
HEAD = f"{'position':>8}{'id':>8}  {'token':<16}{'to be guessed':<16}{'loss':>9}"


def peek(model: Llama, tokenizer: Tokenizer, data) -> Iterator[str]:
    """The rows of the windows, without end, one text each: every token with its position in the
    row, its id and, where something is learnt, what must be guessed behind it and the loss of the
    guess (marked *; on a terminal in colour too).

    `data` gives windows of batches, as `RowBatches` and `SkillStream` do; the shortest rows of a
    window come first. Dropout is off.
    """
    colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    model.eval()
    for step in count():
        numbers = data.row_numbers(step)[data.share]
        for batch in reversed(data.window(step)):
            losses = token_losses(model, batch).split(batch.lengths)
            for (tokens, labels, values), loss in reversed(list(zip(batch.rows(), losses))):
                if not ((labels != IGNORE) | (values != 0)).any():
                    continue  # an empty row
                name = f"row {numbers.pop()}" if numbers else "rows of a block"
                yield "\n".join([name + summary(labels, loss), HEAD, *lines(
                    tokenizer, tokens.tolist(), labels.tolist(), loss.tolist(), values.tolist(),
                    colour)])


@torch.no_grad()
def token_losses(model: Llama, batch: Batch) -> Tensor:
    """(N,) fp32: the cross-entropy at each token, 0 where nothing is learnt."""
    hidden = model.hidden(batch.tokens.to(model.device), model.rows(batch.lengths))
    found = torch.zeros(len(batch.tokens))
    for places in (batch.labels != IGNORE).nonzero()[:, 0].split(1024):  # many logits at a time
        logits = model.lm_head(hidden[places.to(model.device)]).float().cpu()
        found[places] = F.cross_entropy(logits, batch.labels[places], reduction="none").abs()
    return found


def summary(labels: Tensor, loss: Tensor) -> str:
    """How much of a row is learnt, and how well it is known."""
    learnt = int((labels != IGNORE).sum())
    return (f": {learnt} tokens are learnt (*)"
            + (f", mean loss {loss.sum().item() / learnt:.4f}" if learnt else ""))


def lines(tokenizer: Tokenizer, tokens: list[int], labels: list[int], losses: list[float],
          values: list[int], colour: bool) -> Iterator[str]:
    """One line for each token of a row, without the filler behind it."""
    last = max(i for i, label in enumerate(labels) if label != IGNORE or values[i])
    for i in range(last + 1):
        line = f"{i:>8}{tokens[i]:>8}  {written(tokenizer, tokens[i]):<16}"
        if labels[i] != IGNORE:
            line += f"{written(tokenizer, labels[i]):<16}{losses[i]:>9.4f} *"
        if values[i]:
            line += f"  value {values[i]:+d}"
        yield GREEN + line + PLAIN if colour and labels[i] != IGNORE else line.rstrip()


def written(tokenizer: Tokenizer, token: int) -> str:
    """A token's piece, with what is no visible character escaped."""
    return repr(tokenizer.piece(token))[1:-1]
