"""Rows of a batch, one by one."""

from torch import Tensor

from goat.training.batches import Batch


def rows_of(batch: Batch) -> list[tuple[Tensor, Tensor, Tensor | None]]:
    """(tokens, labels, values) of each row, with the filler behind it."""
    values = [None] * len(batch.lengths) if batch.values is None else batch.values.split(
        batch.lengths)
    return list(zip(batch.tokens.split(batch.lengths), batch.labels.split(batch.lengths), values))
