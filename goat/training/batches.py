"""Rows to token batches: what is learnt (the answer), in which order, in which shapes.

A *window* is what one optimizer step sees: the next `batch` rows of a shuffled epoch. Inside a
window the rows are sorted by length, and cut into micro-batches in which they lie end to end. A
CPU's matrix library builds a kernel for every new shape, so a few filler tokens behind the rows
keep the shapes few (`filled_up`). Windows are functions of (seed, step) alone, so a resumed run
sees the very same ones.

Labels are shifted here, once: the logits of token n are compared with `labels[n]`, the token that
follows. They are IGNORE at the prompt and at filler; the answer and its EOS count, apart from what
a paper's loss mask takes out.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from goat.errors import UserError
from goat.files.rows import Row, check_texts, read_rows
from goat.llama.generate import ALL
from goat.llama.kernels import round_up
from goat.llama.tokenizer import Tokenizer
from goat.papers import PAPERS, row_prompt

if TYPE_CHECKING:
    from goat.papers.word_problems.loss_mask import LossMask

IGNORE = -100  # a label that counts nothing
LENGTHS = (32, 64, 96, 128, 160, 192, 256, 320, 384, 512, 768, 1024, 1536, 2048)  # of longest rows
ROWS = 8  # rows of a micro-batch come in multiples of this, where the budget has room for it


class Batch(NamedTuple):
    """tokens and labels (N,) int64: rows of these `lengths`, filler behind them included, end to
    end.

    `values` (N,) int64 are 1 and -1 at the tokens whose value is learnt, else 0; None where no
    value is learnt at all.
    """

    tokens: Tensor
    labels: Tensor
    lengths: list[int]
    values: Tensor | None = None

    @property
    def counts(self) -> Tensor:
        """The places (W,) of the tokens that count, for an answer or a value is asked there, with
        others behind them up to one of few sizes."""
        learnt = self.labels != IGNORE
        if self.values is not None:
            learnt |= self.values != 0
        places, others = learnt.nonzero()[:, 0], (~learnt).nonzero()[:, 0]
        missing = one_of_few(max(1, len(places))) - len(places)
        return torch.cat((places, others[:missing]))

    def rows(self) -> list[tuple[Tensor, Tensor, Tensor]]:
        """(tokens, labels, values) of each row, with the filler behind it; values of 0 where none
        is learnt."""
        values = torch.zeros_like(self.tokens) if self.values is None else self.values
        return list(zip(*(x.split(self.lengths) for x in (self.tokens, self.labels, values))))


def training_rows(path: str | os.PathLike) -> Iterator[Row]:
    """The rows of a file, each with what training needs.

    Raises UserError naming file and line for a row that lacks the text `instruction` or `output`,
    or asks nothing.
    """
    for where, row in read_rows(path):
        row.setdefault("input", "")
        check_texts(row, where, "instruction", "input", "output")
        if not row["instruction"] and not row["input"]:
            raise UserError(f"{where}: instruction and input are both empty: there is no question")
        yield row


class RowBatches:
    """Windows over the rows of a file, encoded once and kept as flat arrays.

    `batch` rows a window, of which `share` is this process's; `budget` is the largest number of
    rows times tokens of the longest in one micro-batch, of all processes together; rows of more
    than `cutoff` tokens are left out, their numbers kept in `left_out`. `learn_output` and `valued`
    (is a value learnt too?) go to the papers' loss masks. So many rows as `held_out` says, drawn
    by the seed, are in no window.
    """

    def __init__(self, path: str | os.PathLike, tokenizer: Tokenizer, batch: int, budget: int,
                 cutoff: int, seed: int, learn_output: bool = False, valued: bool = False,
                 share: slice = ALL, held_out: int = 0):
        self.path = path
        self.batch, self.seed, self.valued, self.share = batch, seed, valued, share
        self.budget = budget // share.step
        self.shuffled: tuple[int, np.ndarray] = -1, np.zeros(0)  # an epoch, its order of rows
        self.masks: dict[int, LossMask] = {}  # of the rows that have any
        self.left_out: list[int] = []
        self.pad_id = tokenizer.eos_id  # any id will do: filler is never looked at
        self.task = ""  # of the first row that names one: what to evaluate the result on
        ids: list[np.ndarray] = []
        self.starts, self.prompt_sizes, self.numbers = [0], [], []
        progress = tqdm(training_rows(path), desc=f"reading {path}", unit=" rows", leave=False)
        for number, row in enumerate(progress, 1):
            prompt = row_prompt(row)
            try:
                row_ids, n_prompt = tokenizer.encode_pair(prompt, row["output"])
                # a row need not name its task, so every paper looks at it
                masks = (paper.mask_row(row, prompt, row_ids, tokenizer.encode_prompt,
                                         learn_output, valued) for paper in PAPERS.values())
                mask = next(filter(None, masks), None)
            except UserError as error:
                raise UserError(f"{path}, row {number}: {error}")
            self.task = self.task or str(row.get("task", ""))
            if len(row_ids) > cutoff + 1:
                self.left_out.append(number)
                continue
            if mask:
                self.masks[len(ids)] = mask
            ids.append(np.asarray(row_ids, dtype=np.uint32))
            self.starts.append(self.starts[-1] + len(row_ids))
            self.prompt_sizes.append(n_prompt)
            self.numbers.append(number)
        if not ids:
            raise UserError(f"{path}: no row of at most {cutoff} tokens (see --cutoff)"
                            if self.left_out else f"{path}: the file holds no rows")
        self.ids = np.concatenate(ids)
        drawn = np.random.default_rng(seed).permutation(len(self.prompt_sizes))
        self.held_out = sorted(map(int, drawn[:held_out]))
        self.learnt = np.sort(drawn[held_out:])
        if not len(self.learnt):
            raise UserError(f"{path}: it has {len(drawn)} rows, and as many are held out "
                            "(--val-rows): none is left to learn")
        with open(path, "rb") as file:
            self.fingerprint = hashlib.file_digest(file, "sha256").hexdigest()

    def __len__(self) -> int:
        """The rows of an epoch."""
        return len(self.learnt)

    def window(self, step: int) -> list[Batch]:
        """The micro-batches of a step, longest rows first; of several processes, one's share."""
        return self.cut(self.drawn(step)[self.share])

    def cut(self, rows: list[int]) -> list[Batch]:
        """The micro-batches of some rows, which stand longest first."""
        batches = []
        while rows:
            length = rounded(self.size(rows[0]))
            fitting = rows[:max(1, self.budget // length)]
            count = self.count(length, sum(rounded(self.size(row)) == length for row in fitting))
            batches.append(self.collate(rows[:count], count, length))
            rows = rows[count:]
        return batches

    def drawn(self, step: int) -> list[int]:
        """The rows of a step, of all processes, longest first."""
        rows = (int(self.order(i // len(self))[i % len(self)])
                for i in range(step * self.batch, (step + 1) * self.batch))
        return self.longest_first(rows)

    def longest_first(self, rows: Iterable[int]) -> list[int]:
        return sorted(rows, key=lambda row: (-self.size(row), row))

    def row_numbers(self, step: int) -> list[int]:
        """The places of a step's rows in the file, counted from 1; longest rows first."""
        return [self.numbers[row] for row in self.drawn(step)]

    def largest(self) -> list[Batch]:
        """Of each length the fullest micro-batches, with the longest answers and with the longest
        rows: one of these needs the most memory."""
        of_length: dict[int, list[int]] = {}
        for row in range(len(self.prompt_sizes)):
            of_length.setdefault(rounded(self.size(row)), []).append(row)
        batches = []
        for length, rows in of_length.items():
            count = self.count(length, -(-self.batch // self.share.step))  # the largest share
            for longest in (self.size, lambda row: self.size(row) - self.prompt_sizes[row]):
                most = sorted(rows, key=longest, reverse=True)
                batches.append(self.collate((most[:count] * count)[:count], count, length))
        return batches

    def count(self, length: int, rows: int) -> int:
        """How many rows a micro-batch of this length has where `rows` of it are left: the multiple
        of 8 that holds them, or as many as the budget has room for. Shorter rows fill the rest,
        empty ones when none is left. With room for 20, 11 rows give 16, and so do 40."""
        fitting = max(1, self.budget // length)
        multiple = min(ROWS, fitting)
        return min(round_up(rows, multiple), fitting // multiple * multiple)

    def size(self, row: int) -> int:
        """The tokens that a row gives as inputs: all but its last."""
        return self.starts[row + 1] - self.starts[row] - 1

    def order(self, epoch: int) -> np.ndarray:
        """A seeded permutation of the rows for each epoch (the last one is kept)."""
        if self.shuffled[0] != epoch:
            rng = np.random.default_rng((self.seed, epoch))
            self.shuffled = epoch, self.learnt[rng.permutation(len(self))]
        return self.shuffled[1]

    def collate(self, rows: list[int], count: int, length: int) -> Batch:
        """`count` rows of up to `length` tokens, of which the last may be empty."""
        sizes = [self.size(row) for row in rows] + [0] * (count - len(rows))
        lengths = filled_up(sizes, length)
        tokens = np.full(sum(lengths), self.pad_id, dtype=np.int64)
        labels = np.full(len(tokens), IGNORE, dtype=np.int64)
        values = np.zeros(len(tokens), dtype=np.int64) if self.valued else None
        for row, size, start in zip(rows, sizes, np.cumsum([0, *lengths])):
            ids = self.ids[self.starts[row]: self.starts[row + 1]].astype(np.int64)
            own = slice(start, start + size)
            put(tokens[own], labels[own], ids, self.prompt_sizes[row])
            if mask := self.masks.get(row):
                apply_mask(mask, labels[own], None if values is None else values[own])
        return Batch(torch.from_numpy(tokens), torch.from_numpy(labels), lengths,
                     torch.from_numpy(values) if self.valued else None)


def put(tokens: np.ndarray, labels: np.ndarray, ids: np.ndarray, n_prompt: int) -> None:
    """Write one row: inputs ids[:-1], labels ids[1:] from the first token of the answer on."""
    tokens[:] = ids[:-1]
    labels[n_prompt - 1:] = ids[n_prompt:]


def filled_up(sizes: list[int], length: int) -> list[int]:
    """The lengths of rows of these sizes with filler behind them: the first rows become `length`
    long, until the tokens have one of few sizes or all rows are so long."""
    missing = one_of_few(sum(sizes)) - sum(sizes)
    lengths = []
    for size in sizes:
        more = min(missing, length - size)
        lengths.append(size + more)
        missing -= more
    return lengths


def apply_mask(mask: "LossMask", labels: np.ndarray, values: np.ndarray | None) -> None:
    """Write a mask into a row of a batch; labels stand one place before their tokens."""
    for start, end in mask.masked:
        labels[start - 1: end - 1] = IGNORE
    if mask.value < 0:  # what is wrong is never learnt as an answer
        labels[:] = IGNORE
    if values is not None:
        values[mask.steps] = mask.value


def one_of_few(count: int) -> int:
    """The smallest size that holds so many tokens: a multiple of 8, above 256 one of 16 that lie
    evenly between a power of two and the next, so that a sixteenth is filler at most."""
    return round_up(count, 1 << max(3, count.bit_length() - 5))


def rounded(length: int) -> int:
    """The smallest of LENGTHS that holds `length` tokens (beyond them: multiples of 512)."""
    return next((size for size in LENGTHS if size >= length), round_up(length, 512))
