"""An endless stream of fresh rows for pretraining: what train.py --skills reads."""

from collections.abc import Collection
from random import Random

import numpy as np
import torch

from goat.base.rows import mixes
from goat.llama.tokenizer import Tokenizer
from goat.papers import Operands, row_prompt
from goat.papers.arithmetic import suites
from goat.training.batches import ALL, IGNORE, Batch, put


class SkillStream:
    """Endless fresh rows of the mixture `skills`, packed, with a digit curriculum.

    In the mix `growing` the largest digit count grows linearly from 2 to `max_digits` over the
    first half of `steps`; the others draw a size for each row (`goat.base.rows.mixes.sample`).
    A window is one batch of `budget` tokens: blocks of 256 (of 512 in the mix `sheets`), at every
    sixteenth step of 1,024, so that every position up to there is trained, and rows that are
    longer than a block have their turn; rows follow one another in a block, each with its own bos,
    and only their answers count. Questions in `reserved` (None: those of the evaluation suites)
    never occur.
    """

    def __init__(self, tokenizer: Tokenizer, budget: int, max_digits: int, steps: int, seed: int,
                 mix: str = "growing", reserved: Collection[Operands] | None = None,
                 share: slice = ALL):
        self.tokenizer, self.budget, self.max_digits = tokenizer, budget, max_digits
        self.steps, self.seed, self.mix, self.share = steps, seed, mix, share
        self.reserved = suites.reserved() if reserved is None else reserved
        self.fingerprint = f"skills of {max_digits} digits over {steps} steps, {mix}"
        self.task = "skills"

    def digits(self, step: int) -> int:
        if self.mix != "growing":
            return self.max_digits
        grown = 2 + (self.max_digits - 2) * step / max(1, self.steps / 2)
        return min(self.max_digits, int(grown))

    def largest(self) -> list[Batch]:
        """What may need the most memory: the largest share of the long blocks."""
        return self.blocks(15, slice(0, None, self.share.step))

    def row_numbers(self, step: int) -> list[int]:
        """No numbers: the rows stand in no file."""
        return []

    def window(self, step: int) -> list[Batch]:
        """The one batch of a step; of several processes, one's share of its blocks."""
        return self.blocks(step, self.share)

    def blocks(self, step: int, share: slice) -> list[Batch]:
        """The one batch of a share of a step's blocks, if there are any in it."""
        length = 1024 if step % 16 == 15 else 512 if self.mix == "sheets" else 256
        rng, top = Random(f"{self.seed}/{step}"), self.digits(step)
        blocks = max(1, self.budget // length)
        tokens = np.full((blocks, length), self.tokenizer.eos_id, dtype=np.int64)
        labels = np.full((blocks, length), IGNORE, dtype=np.int64)
        for b in range(blocks):
            used = 0
            while used < length:
                row = mixes.sample(rng, top, self.reserved, self.mix)
                ids, n_prompt = self.tokenizer.encode_pair(row_prompt(row), row["output"])
                if used + len(ids) - 1 > length:
                    break
                own = slice(used, used + len(ids) - 1)
                put(tokens[b, own], labels[b, own], np.asarray(ids), n_prompt)
                used = own.stop
        tokens, labels = tokens[share], labels[share]
        return [Batch(torch.from_numpy(tokens.flatten()), torch.from_numpy(labels.flatten()),
                      [length] * len(tokens))] * (len(tokens) > 0)
