"""Rows of a batch, one by one."""

from torch import Tensor

from goat.training.batches import Batch, RowBatches


def rows_of(batch: Batch) -> list[tuple[Tensor, Tensor, Tensor | None]]:
    """(tokens, labels, values) of each row, with the filler behind it."""
    values = [None] * len(batch.lengths) if batch.values is None else batch.values.split(
        batch.lengths)
    return list(zip(batch.tokens.split(batch.lengths), batch.labels.split(batch.lengths), values))


def numbers_of(data: RowBatches, step: int) -> list[int]:
    """The numbers of a step's rows in the file, in the order of its micro-batches."""
    return [data.numbers[row] for row in sorted(data.drawn(step), key=lambda row: (
        -data.size(row), row))]
