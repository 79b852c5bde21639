"""Batched decoding with a KV cache: rows that finish leave, waiting ones take their place.

A row is one prompt being continued. Prompts have unequal lengths, and none is padded on the left:
a token's cache slot is its position (see `KVCache`), so every row sees exactly what it would see
alone. A prompt is read in one pass (prefill), then all rows go on step by step. When an eighth of
the rows has finished, that many waiting prompts are read and take their places; when nobody waits
any more, the batch is halved as it empties. So no step is spent on many dead rows, and there are
few different tensor shapes, which matters on a CPU, where the matrix library builds a kernel for
each new shape: prefill batches have one size (where fewer prompts are left, a smaller power of two;
and on a CPU a wide model reads the first prompts together, up to 2,048 tokens), and prefill lengths
and the cache are rounded up.

Two tokens read at once often cost little more than one: the time goes into fetching weights and
cache from memory. So rows guess their next tokens (`Lookup`: what followed the last time these
words were written?) and read them too. Where a guess differs from what the model then says, the
rest is dropped, so the result is the same; it takes as few as half the steps, since workings copy a
lot (drafting by look-up: Saxena 2023, "prompt lookup decoding"). Dropping costs nothing: the slots
of wrong guesses are simply written again. Tokens that are known, as an interpreter's output is, are
read in the same way, without a guess.

`generate` is greedy unless a temperature is given. In fp32 it gives token for token what
transformers' `generate` gives (tests/llama/test_generate.py). Beam search is in beam.py.
"""

import sys
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from tqdm import tqdm

from goat.errors import UserError
from goat.llama.kernels import round_up
from goat.llama.model import Llama, LlamaConfig
from goat.llama.sampling import NOT_FINITE, Row, Sampling

PREFILL_STEP = 8  # prompt lengths are rounded up to a multiple of this
SLOT_STEP = 32  # and so is the number of cache slots
PREFILL_TOKENS = 2048  # of the first prompts, which on a CPU a wide model reads at once
GUESSES = 7  # tokens guessed ahead at most
TOKENS_PER_STEP = 32  # in all, where rows guess more than one
WIDE = 512  # dim from which on a CPU's time goes into products (measured in fp32, at 576)
ALL = slice(0, None, 1)  # the share of a process that is alone


class DecodingBatch:
    """The rows that are being decoded, and their cache. A free place is None in `rows`."""

    def __init__(self, model: Llama, size: int):
        self.model = model
        self.rows: list[Row | None] = [None] * size
        self.cache = model.cache(size, 0)

    def tensor(self, ids: list[int] | list[list[int]]) -> Tensor:
        return torch.tensor(ids, dtype=torch.long, device=self.model.device)

    def free(self) -> list[int]:
        return [i for i, row in enumerate(self.rows) if row is None]

    def resize(self, slots: int) -> None:
        """Give every row room for `slots` positions (rounded up), or less room than before.

        Attention reads all slots, and reads them fastest when nothing lies between them. So the
        cache is copied to its new size; one step too large is left, for copying costs more.
        """
        slots, before = round_up(slots, SLOT_STEP), self.cache.slots
        if slots <= before <= slots + SLOT_STEP:
            return
        both = min(slots, before)
        for i, old in enumerate(self.cache.kept):  # one by one: a GPU has no room for two caches
            self.cache.kept[i] = new = old.new_zeros(*old.shape[:2], slots, old.size(3))
            new[:, :, :both] = old[:, :, :both]

    def admit(self, newcomers: list[Row], group: int) -> Tensor:
        """Read the prompts of up to `group` rows into free places; logits (newcomers, V) behind.

        Samples of one prompt share its reading. The pass has `group` rows, or the next power of
        two where the prompts are fewer: few shapes.
        """
        every = [row.ids for row in newcomers]
        prompts = [ids for i, ids in enumerate(every) if ids not in every[:i]]
        prompt_of = self.tensor([prompts.index(ids) for ids in every])
        group = min(group, 1 << (len(prompts) - 1).bit_length())
        prompts += [[0]] * (group - len(prompts))
        longest = max(map(len, prompts))
        length = round_up(longest, PREFILL_STEP)
        tokens = self.tensor([ids + [0] * (length - len(ids)) for ids in prompts])
        positions = torch.arange(length, device=self.model.device).expand(group, length)
        read = self.model.cache(group, length)
        last = self.tensor([i * length + len(ids) - 1 for i, ids in enumerate(prompts)])
        hidden = self.model.hidden(tokens.flatten(), read.at(positions), last)  # (group, C)
        logits = self.model.lm_head(hidden)

        self.resize(max(self.cache.slots, longest))
        places = self.free()[:len(newcomers)]
        into = self.tensor(places)
        for held, new in zip(self.cache.kept, read.kept):
            held[into, :, :longest] = new[prompt_of, :, :longest]
        for place, row in zip(places, newcomers):
            self.rows[place] = row
        return logits[prompt_of]

    def step(self, reading: list[list[int]]) -> Tensor:
        """Every row reads T tokens: its pending ones, then those guessed to follow.

        Returns logits (B, T, V): what follows each of them. Free rows get nonsense.
        """
        tokens = self.tensor(reading)
        first = self.tensor([[row.position if row else 0] for row in self.rows])  # (B, 1)
        positions = first + torch.arange(tokens.size(1), device=self.model.device)  # (B, T)
        self.resize(max(row.position for row in self.rows if row) + tokens.size(1))
        hidden = self.model.hidden(tokens.flatten(), self.cache.at(positions))
        return self.model.lm_head(hidden).view(*tokens.shape, -1)

    def shrink(self) -> None:
        """Halve the batch as often as the live rows allow."""
        live = [i for i, row in enumerate(self.rows) if row]
        size = len(self.rows)
        while len(live) <= size // 2:
            size //= 2
        if size == len(self.rows):
            return
        keep = self.tensor((live + self.free())[:size])
        for i, old in enumerate(self.cache.kept):
            self.cache.kept[i] = old[keep]
        self.rows = [self.rows[i] for i in keep.tolist()]


def most_rows(model: Llama, rows: Iterable[Row]) -> int:
    """How many of these rows may be continued together: on a GPU as many as its free memory has
    room for at their longest, elsewhere as many as there are."""
    weight = model.model.embed_tokens.weight
    if weight.device.type != "cuda":
        return sys.maxsize
    longest = max(len(row.ids) + row.limit for row in rows)
    free = torch.cuda.mem_get_info(weight.device)[0] + (
        torch.cuda.memory_reserved(weight.device) - torch.cuda.memory_allocated(weight.device))
    return rows_in(free, model.config, longest, weight.element_size())


def rows_in(free: int, config: LlamaConfig, longest: int, itemsize: int) -> int:
    """Rows of `longest` positions whose caches fill at most 80 % of `free` bytes; at least 1."""
    slot = 2 * config.n_layers * config.n_kv_heads * config.head_dim * itemsize
    return max(1, free * 4 // 5 // (slot * round_up(longest + SLOT_STEP, SLOT_STEP)))


def finish(row: Row, tokenizer, stop: tuple[str, ...]) -> bool:
    """Has the row ended: by EOS, by a stop string, or at its limit? If so, set its text."""
    if row.new[-1] == tokenizer.eos_id:
        row.text = tokenizer.decode_answer(row.prompt, row.new[:-1])
        return True
    if stop:
        # A character is at most four byte tokens, so that many last tokens hold any stop string
        # that has just been completed; the whole text is decoded only when one shows there. A text
        # loses the space that it begins with, so a token more stands in front.
        tail = tokenizer.decode((row.ids[-1:] + row.new)[-1 - 4 * max(map(len, stop)):])
        if any(s in tail for s in stop):
            text = tokenizer.decode_answer(row.prompt, row.new)
            ends = [text.index(s) + len(s) for s in stop if s in text]
            row.text = text[:min(ends)] if ends else None
    if row.text is None and len(row.new) == row.limit:
        row.text = tokenizer.decode_answer(row.prompt, row.new)
    return row.text is not None


def new_rows(model: Llama, tokenizer, prompts: list[str], max_new_tokens: int,
             samples: int = 1, share: slice = ALL) -> list[Row]:
    """One row for each sample of each prompt of a share; new tokens are limited by the context too.

    The longest prompts come first: neighbours are then padded little, rows that are likely to take
    longest start first, and shares (every second prompt, say) take about as long as each other.
    """
    if isinstance(prompts, str):
        raise UserError("prompts must be a list of texts, not one text")
    if max_new_tokens < 1 or samples < 1:
        raise UserError("max_new_tokens and samples must be at least 1")
    room = model.config.max_positions
    problems = []
    for problem, prompt in enumerate(prompts):
        ids = tokenizer.encode_prompt(prompt)
        if len(ids) >= room:
            raise UserError(f"prompt {problem + 1} has {len(ids)} tokens and leaves no room for an "
                            f"answer in the model's context of {room}: shorten it")
        limit = min(max_new_tokens, room - len(ids))
        problems.append([Row(problem, sample, prompt, ids, limit) for sample in range(samples)])
    problems.sort(key=lambda rows: -len(rows[0].ids))
    return [row for rows in problems[share] for row in rows]


@contextmanager
def evaluating(model: Llama) -> Iterator[None]:
    """Switches dropout off inside, and restores the mode afterwards."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def stream(model: Llama, tokenizer, prompts: list[str], max_new_tokens: int = 512,
           batch_size: int = 128, *, samples: int = 1, temperature: float = 0.0,
           top_p: float = 1.0, seed: int = 0, stop: tuple[str, ...] = (),
           share: slice = ALL) -> Iterator[Row]:
    """Yield each finished row as soon as it is done, in any order; see `generate`. `share`: of the
    prompts, see `new_rows`."""
    sampling = Sampling(temperature, top_p, seed)
    rows = new_rows(model, tokenizer, prompts, max_new_tokens, samples, share)
    stop = (stop,) if isinstance(stop, str) else stop
    for row in rows:
        row.uniforms = sampling.uniforms(row)
    yield from decode(model, tokenizer, deque(rows), batch_size, sampling, stop)


def decode(model: Llama, tokenizer, waiting: deque[Row], batch_size: int, sampling: Sampling,
           stop: tuple[str, ...] = ()) -> Iterator[Row]:
    """Continue rows that have their ids, limits and random numbers; yield each when it is done.

    At most `batch_size` at a time, on a GPU fewer where its memory has room for no more. Rows are
    taken from the front of `waiting`, which the caller may add to between two rows. A row that
    the caller has let go on (`Row.go_on`) keeps its place.
    """
    if batch_size < 1:
        raise UserError("batch_size must be at least 1")
    if not waiting:
        return
    size = min(batch_size, len(waiting), most_rows(model, waiting))
    group = max(1, size // 8)
    first, costly = group, guesses_are_costly(model)
    if costly:  # what the passes of a small model save, the padding of longer ones costs again
        first = min(size, PREFILL_TOKENS // max(len(row.ids) for row in waiting))
        first = max(group, first - first % group)
    batch = DecodingBatch(model, size)
    fresh: list[Row | None]  # the rows that read in a step
    with evaluating(model):
        while waiting or any(batch.rows):
            most = group if any(batch.rows) else first
            count = min(most, len(waiting), len(batch.rows))
            with torch.inference_mode():
                if waiting and len(batch.free()) >= count:
                    newcomers = [waiting.popleft() for _ in range(count)]
                    fresh, reading = [*newcomers], [row.ids[-1:] for row in newcomers]
                    logits = batch.admit(newcomers, most)[:, None]  # (count, 1, V)
                else:
                    if not waiting:
                        batch.shrink()
                    fresh = batch.rows
                    length = tokens_to_read(fresh, costly)
                    reading = [row.reading(length) if row else [0] * length for row in fresh]
                    logits = batch.step(reading)
                chosen = sampling.choose(logits, fresh)
            for row, tokens, read in zip(fresh, chosen, reading):
                if row:
                    take(row, tokens, read, tokenizer, stop)
            for place, row in enumerate(batch.rows):
                if row and row.text is not None:
                    yield row
                    if row.text is not None:
                        batch.rows[place] = None


def guesses_are_costly(model: Llama) -> bool:
    """Does a second token to read cost nearly as much as the first? On a CPU it does in a wide
    model, whose products take the time."""
    return model.device.type == "cpu" and model.config.dim >= WIDE


def tokens_to_read(rows: list[Row | None], costly: bool) -> int:
    """How many tokens each row reads in a step: one, and those that it knows or guesses to follow.

    Small batches guess up to seven, large ones a single one. Where guesses are costly, large
    batches make none, and small ones only while half of the rows' last tokens or more could have
    been guessed.
    """
    live = [row for row in rows if row]
    most = 1 + max(0 if costly else 1, min(GUESSES, TOKENS_PER_STEP // len(rows) - 1))
    if costly and 2 * sum(row.foreseen for row in live) < len(live):
        return min(most, max(len(row.pending) for row in live))
    return most


def take(row: Row, chosen: list[int], read: list[int], tokenizer, stop: tuple[str, ...]) -> None:
    """Add the tokens chosen behind the pending ones of those that were read, up to the row's end
    or to the first that was guessed wrongly."""
    known = max(1, len(row.pending))
    if known > len(read):  # there are more to be read first
        row.pending = row.pending[len(read):]
        return
    # what the model chose, beside what was guessed there (None: nothing was)
    for token, next_read in zip(chosen[known - 1:], [*read[known:], None]):
        if token < 0:
            raise UserError(NOT_FINITE)
        row.add(token)
        if finish(row, tokenizer, stop) or token != next_read:
            break
    row.pending = row.new[-1:]


def generate(model: Llama, tokenizer, prompts: list[str], max_new_tokens: int = 512,
             batch_size: int = 128, *, progress: bool = False, **options) -> list[str]:
    """Continue every prompt; return the continuations only.

    A continuation ends at EOS (not part of it), with one of the strings in `stop` (the last part
    of it), after `max_new_tokens`, or where the model's context ends. `temperature`, `top_p` and
    `seed` choose at random instead of greedily, see `Sampling`; `samples` = n returns n
    continuations of each prompt, one after another. `progress` shows a bar in problems/s. Raises
    UserError for a prompt that fills the model's context and for numbers that make no sense.
    """
    samples = options.get("samples", 1)
    texts = [""] * (len(prompts) * samples)
    rows = stream(model, tokenizer, prompts, max_new_tokens, batch_size, **options)
    for row in tqdm(rows, total=len(texts), unit="problem", disable=not progress):
        texts[row.problem * samples + row.sample] = row.text
    return texts
