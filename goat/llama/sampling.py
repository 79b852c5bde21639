"""Which token comes next: the state of one row, the choice from logits, and guesses ahead."""

import hashlib
import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from goat.errors import UserError


COLDEST = 1e-6  # temperature; logits over less may pass the largest number of fp32
NOT_FINITE = ("the model's logits are NaN or infinite: its numbers pass what the number format can "
              "hold, so try --dtype fp32; if that does not help, its weights are broken")


class Lookup:
    """The text so far, and where each one, two or three tokens of it last stood."""

    def __init__(self, ids: list[int]):
        self.ids: list[int] = []
        self.behind: dict[tuple[int, ...], int] = {}  # some tokens -> the place behind them
        for token in ids:
            self.add(token)

    def add(self, token: int) -> None:
        for n in (1, 2, 3):  # before it is added, so a guess finds an earlier place
            self.behind[tuple(self.ids[-n:])] = len(self.ids)
        self.ids.append(token)

    def guess(self, count: int) -> list[int]:
        """`count` tokens that may come next: what followed the last three tokens before, else
        the last two, else the last one (filled up with 0 where nothing is known)."""
        places = (self.behind.get(tuple(self.ids[-n:])) for n in (3, 2, 1))
        place = next((p for p in places if p is not None), len(self.ids))
        found = self.ids[place:place + count]
        return found + [0] * (count - len(found))


@dataclass
class Row:
    """One continuation in the making: sample number `sample` of problem number `problem`."""

    problem: int
    sample: int
    prompt: str
    ids: list[int]  # the prompt's token ids
    limit: int  # at most this many new tokens
    new: list[int] = field(default_factory=list)
    pending: list[int] = field(default_factory=list)  # known, but not read yet by the model
    text: str | None = None  # set when the row has finished
    uniforms: Tensor | None = None  # one random number in [0, 1) for each new token
    lookup: Lookup | None = None  # from the first step on
    foreseen: bool = False  # would the last new token have been guessed?

    @property
    def position(self) -> int:
        """The place of the next token to be read."""
        return len(self.ids) + len(self.new) - len(self.pending)

    def reading(self, count: int) -> list[int]:
        """The next `count` tokens to be read: the pending ones, and guesses behind them."""
        self.lookup = self.lookup or Lookup(self.ids + self.new)
        return (self.pending + self.lookup.guess(max(0, count - len(self.pending))))[:count]

    def go_on(self, prompt: str, ids: list[int], limit: int) -> bool:
        """Turn a finished row into one that continues `prompt`, whose tokens are `ids`.

        What the model has read stays read. False, and no change, where `ids` do not begin with
        the tokens so far: then the prompt has to be read anew.
        """
        known = self.ids + self.new
        if ids[:len(known)] != known:
            return False
        if self.lookup:
            for token in ids[len(known):]:
                self.lookup.add(token)
        if self.uniforms is not None:
            self.uniforms = self.uniforms[len(self.new):]
        self.pending = ids[len(known) - 1:]  # the last token so far is not read yet
        self.prompt, self.ids, self.new, self.limit, self.text = prompt, ids, [], limit, None
        self.foreseen = False
        return True

    def add(self, token: int) -> None:
        self.new.append(token)
        if self.lookup:
            self.foreseen = self.lookup.guess(1) == [token]
            self.lookup.add(token)


@dataclass(frozen=True)
class Sampling:
    """How to choose the next token: greedily at temperature 0, else at random.

    Random choice: probabilities softmax(logits / temperature), cut to the smallest set of likely
    tokens that holds at least the share `top_p`. Each row has its own random numbers, keyed by
    (seed, problem, sample), so that neither the batch size nor the order in which prompts are read,
    nor how many samples are drawn, changes them.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self):
        if self.temperature != 0 and not COLDEST <= self.temperature < math.inf:
            raise UserError(f"temperature must be 0, which is greedy, or at least {COLDEST}, not "
                            f"{self.temperature}")
        if not 0 < self.top_p <= 1:
            raise UserError(f"top-p must be in (0, 1], not {self.top_p}")

    def uniforms(self, row: Row) -> Tensor | None:
        if self.temperature == 0:
            return None
        key = hashlib.sha256(f"{self.seed}/{row.problem}/{row.sample}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(key[:8], "little") >> 1)
        return torch.rand(row.limit, generator=generator)

    def choose(self, logits: Tensor, rows: list[Row | None]) -> list[list[int]]:
        """Token ids from logits (B, T, V): of each row (free ones too) what follows each of the T
        tokens that it has read, pending ones first, then guesses; -1 where there is no telling,
        since logits are NaN or infinite."""
        if self.temperature == 0:
            best = logits.max(-1)  # on a CPU ten times faster than argmax
            return best.indices.masked_fill(~best.values.isfinite(), -1).tolist()
        length = logits.size(1)
        draws = torch.zeros(logits.shape[:2])  # (B, T)
        for i, row in enumerate(rows):
            if row:
                assert row.uniforms is not None  # drawn where the temperature is not 0
                first = max(0, len(row.pending) - 1)  # behind the last pending token
                some = row.uniforms[len(row.new):][:max(0, length - first)]
                draws[i, first:first + len(some)] = some
        p = (logits.float() / self.temperature).softmax(-1)
        order = None  # of the vocabulary, unless a share is cut off
        if self.top_p < 1:  # sorting takes as long as a small model's step
            p, order = p.sort(dim=-1, descending=True)
            before = p.cumsum(-1) - p  # the share of the likelier tokens
            p = p.masked_fill(before >= self.top_p, 0.0)
        total = p.cumsum(-1)  # (B, T, V), not normalised: the draw is stretched instead
        draws = draws[..., None].to(p.device) * total[..., -1:]
        pick = (total <= draws).sum(-1, keepdim=True).clamp(max=logits.size(-1) - 1)
        pick = pick if order is None else order.gather(-1, pick)
        return pick.masked_fill(~total[..., -1:].isfinite(), -1)[..., 0].tolist()
