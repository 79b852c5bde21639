"""Rows that are never learnt, and how well a model knows them."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from goat.evaluation.evaluate import evaluate
from goat.evaluation.questions import read_questions
from goat.llama.generate import evaluating
from goat.llama.model import Llama
from goat.llama.tokenizer import Tokenizer
from goat.papers import PAPERS
from goat.training.batches import IGNORE, Batch, RowBatches

ASKED = 100  # rows at most that are also answered by generation, which takes long


class Validation:
    """Held-out rows: their mean loss per answer token and, where they have answers, the share of
    the first ASKED of them that is answered right, greedily."""

    def __init__(self, data: RowBatches, rows: Iterable[int]):
        self.rows = data.longest_first(rows)
        self.batches, self.fingerprint = data.cut(self.rows), data.fingerprint
        numbers = sorted(data.numbers[row] for row in self.rows)[:ASKED]
        self.questions = read_questions(data.path, answers=False, only=set(numbers))
        if not all(question.answer.strip() for question in self.questions):
            self.questions = []

    def measure(self, model: Llama, tokenizer: Tokenizer,
                loss_of: Callable[[Llama, Batch], Tensor]) -> dict:
        """val_loss, val_rows and, if they have answers, val_exact and val_asked: a line of the
        log. `loss_of` gives the sum of the losses of a batch's answer tokens."""
        with evaluating(model), torch.no_grad():
            loss = sum(loss_of(model, batch).item() for batch in self.batches)
        tokens = sum(int((batch.labels != IGNORE).sum()) for batch in self.batches)
        found = {"val_loss": round(loss / max(1, tokens), 5), "val_rows": len(self.rows)}
        if self.questions:
            papers = {PAPERS[question.paper] for question in self.questions}
            records, _ = evaluate(
                model, tokenizer, self.questions, interpreter=all(p.interpreter for p in papers),
                max_new_tokens=max(p.new_tokens for p in papers))
            right = sum(record.right for record in records)
            found |= {"val_exact": round(right / len(records), 4), "val_asked": len(records)}
        return found
