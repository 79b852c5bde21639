"""Beam search: keep the k likeliest beginnings instead of one. The Goat paper used k = 4.

At each step every beginning is continued by every token, and the k likeliest of all these go on.
One that ends (EOS) is set aside with the score log P / number of its new tokens, EOS included. The
search for a problem ends when k have ended and none of those still open scores better, or at the
limit of new tokens. The best of the ended ones is the answer. Rules and scores are those of
transformers' `generate(num_beams=k)` with its defaults.
"""

from collections import deque
from collections.abc import Iterator

import torch
from torch import Tensor

from goat.errors import UserError
from goat.llama.generate import ALL, DecodingBatch, evaluating, most_rows, new_rows
from goat.llama.model import Llama
from goat.llama.sampling import NOT_FINITE, Row


class Search:
    """The beams of one problem: open `rows` with the log probabilities `scores`, and ended ones."""

    def __init__(self, rows: list[Row], places: list[int]):
        self.rows, self.places = rows, places
        self.scores = [0.0] + [float("-inf")] * (len(rows) - 1)  # at first all beams are the same
        self.ended: list[tuple[float, list[int]]] = []  # (score, new tokens), best first

    def advance(self, values: Tensor, tokens: Tensor, eos: int) -> list[int]:
        """Take the k best continuations; return which old beam each new beam goes on from.

        values and tokens (k, 2k): the log probabilities of each beam's likeliest next tokens, and
        these. Of the 2k best continuations at most k end, so k others are always there.
        """
        k = len(self.rows)
        found = [(score + value, beam, token)
                 for beam, score in enumerate(self.scores)
                 for value, token in zip(values[beam].tolist(), tokens[beam].tolist())]
        found.sort(key=lambda candidate: -candidate[0])
        length = len(self.rows[0].new) + 1
        self.ended += [(score / length, self.rows[beam].new)
                       for score, beam, token in found[:k] if token == eos]
        going_on = [candidate for candidate in found if candidate[2] != eos][:k]
        before = [row.new for row in self.rows]
        for row, (_, beam, token) in zip(self.rows, going_on):
            row.new, row.pending = before[beam] + [token], [token]
        self.scores = [score for score, _, _ in going_on]
        if length == self.rows[0].limit:
            self.ended += [(s / length, row.new) for s, row in zip(self.scores, self.rows)]
        self.ended = sorted(self.ended, key=lambda e: -e[0])[:k]
        return [beam for _, beam, _ in going_on]

    def done(self) -> bool:
        length = len(self.rows[0].new)
        full = len(self.ended) == len(self.rows)
        return length == self.rows[0].limit or full and (
            self.ended[-1][0] >= self.scores[0] / length)


def beam_search(model: Llama, tokenizer, prompts: list[str], max_new_tokens: int = 512,
                batch_size: int = 128, *, beams: int = 4, share: slice = ALL) -> Iterator[Row]:
    """Yield a finished row for each prompt, in any order. `batch_size` counts beams. `share`: of
    the prompts, see `new_rows`."""
    if beams > batch_size:
        raise UserError(f"{beams} beams do not fit into a batch of {batch_size} rows: raise "
                        "batch_size")
    rows = new_rows(model, tokenizer, prompts, max_new_tokens, beams, share)
    if not rows:
        return
    waiting = deque(rows[i:i + beams] for i in range(0, len(rows), beams))
    most = min(batch_size, most_rows(model, rows)) // beams
    batch = DecodingBatch(model, max(1, min(most, len(waiting))) * beams)
    searches: list[Search] = []
    with evaluating(model):
        while waiting or searches:
            with torch.inference_mode():
                if waiting and batch.free():
                    rows = waiting.popleft()
                    fresh = [Search(rows, batch.free()[:beams])]
                    logits = batch.admit(rows, beams)  # (k, V)
                    searches += fresh
                else:
                    fresh = list(searches)
                    read = [row.pending if row else [0] for row in batch.rows]
                    logits = batch.step(read)[:, 0]  # (B, V)
                    logits = logits[[place for s in fresh for place in s.places]]
                step(batch, fresh, logits, tokenizer.eos_id)
            for search in [s for s in fresh if s.done()]:
                searches.remove(search)
                for place in search.places:
                    batch.rows[place] = None
                answer = search.rows[0]
                answer.new = search.ended[0][1]
                answer.text = tokenizer.decode_answer(answer.prompt, answer.new)
                yield answer


def step(batch: DecodingBatch, searches: list[Search], logits: Tensor, eos: int) -> None:
    """One step of some searches: new beams, each with the cache of the beam it goes on from."""
    beams = len(searches[0].rows)
    values, tokens = logits.float().log_softmax(-1).topk(min(2 * beams, logits.size(-1)))
    if not values[:, 0].isfinite().all():
        raise UserError(NOT_FINITE)
    moves = [(search.places[parent], place)
             for search, v, t in zip(searches, values.split(beams), tokens.split(beams))
             for parent, place in zip(search.advance(v, t, eos), search.places)
             if search.places[parent] != place]
    if moves:
        source, target = (batch.tensor(list(side)) for side in zip(*moves))
        for held in batch.cache.kept:
            held[target] = held[source]  # the right side is a copy first
