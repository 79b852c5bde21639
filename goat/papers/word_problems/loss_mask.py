"""The loss mask of a row: which tokens are not learnt, and where its value is asked.

The interpreter's parts of a solution (from behind the code to the output's end) are masked: at test
time the interpreter writes them, and a model that learns them learns to invent outputs. Rows with
the field `label` also teach a value (value_head.py): at the last token of each step +1 where
the label is "correct", -1 where it is "wrong". What is wrong is never learnt as an answer.

Tags are text; here they become places among the row's tokens: the number of tokens that the text
up to there shares with the whole. Tags and fences stand on lines of their own, where tokens end.
Where a model has written something else behind one, a token may reach over its end and belongs to
both: then the place is the one before that token.
"""

import os
from collections.abc import Callable
from typing import NamedTuple

from goat.errors import UserError
from goat.files.rows import Row
from goat.papers.word_problems.format import interpreter_spans, step_ends

LABELS = {"correct": 1, "wrong": -1}


class LossMask(NamedTuple):
    """Places in the ids of bos + prompt + output + eos."""

    masked: list[tuple[int, int]]  # ids[start:end] are not learnt
    value: int = 0  # 1 correct, -1 wrong, 0 not asked
    steps: list[int] = []  # the last token of each step


def loss_mask(row: Row, prompt: str, ids: list[int], encode: Callable[[str, str], list[int]],
              learn_output: bool, valued: bool) -> LossMask | None:
    """The mask of a row, or None where all of its answer is learnt and no value is asked.

    `encode` gives the ids of bos + a prompt + the beginning of an answer, without eos.
    `learn_output` masks no output.

    Raises UserError for a label that is neither, and for a wrong row where no value is learnt
    (`valued`).
    """
    text, label = row["output"], row.get("label")
    if label is not None and label not in list(LABELS):  # of any type: it may not be hashable
        raise UserError(f"the label {label!r} is neither {' nor '.join(map(repr, LABELS))}")
    if label == "wrong" and not valued:
        raise UserError("the row is labelled wrong: only --value-head learns from such rows")

    def place(end: int) -> int:
        return len(os.path.commonprefix((encode(prompt, text[:end]), ids)))

    masked = [] if learn_output else [(place(start), place(end))
                                      for start, end in interpreter_spans(text)]
    value = LABELS[label] if valued and label else 0
    if not masked and not value:
        return None
    return LossMask(masked, value, [place(end) - 1 for end in step_ends(text)] if value else [])
