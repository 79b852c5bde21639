"""Data sets of a mixture: rows in seeded random order, made by several processes.

A row has the string fields instruction, input (the clean expression), output (the worked
solution), answer, and task. A block of rows depends on nothing but the recipe, its number and the
questions left out: so the bytes are the same whatever the number of processes, and the questions
are the same in every ablation of the working.
"""

import filecmp
import json
import os
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np

from goat.cli import refuse_below
from goat.errors import UserError
from goat.files.rows import BLOCK, SAMPLES, Report, Row, Summary, write_blocks
from goat.papers import Operands
from goat.papers.arithmetic import mixtures, suites, wordings
from goat.papers.arithmetic.operations import operation
from goat.papers.arithmetic.solutions import OMITTABLE


@dataclass(frozen=True)
class Recipe:
    """Everything that the bytes of a data set depend on (besides the questions left out)."""

    mixture: str = "paper"  # one of mixtures.MIXTURES
    rows: int | None = None  # None: as many as the mixture has
    seed: int = 0
    order: str = "random"  # or "blocks": cell after cell, as published
    steps: bool = True  # False: "question = answer"
    omit: tuple[str, ...] = ()  # stages left out of the workings, see solutions.solve
    bare: bool = False  # expression -> answer, without template, noise or working
    held_out: bool = False  # wordings that training never shows

    def __post_init__(self):
        if self.mixture not in mixtures.MIXTURES:
            raise UserError(f"--mixture: there is no {self.mixture!r}; choose "
                            f"{', '.join(mixtures.MIXTURES)} (skills: --task skills)")
        if unknown := set(self.omit) - set(OMITTABLE):
            raise UserError(f"--omit: there is no stage {', '.join(sorted(unknown))}; "
                            f"there are {', '.join(OMITTABLE)}")
        refuse_below(self, 1, "rows")
        refuse_below(self, 0, "seed")
        if sum(map(bool, (self.omit, not self.steps, self.bare))) > 1:
            raise UserError("--omit, --no-steps and --bare exclude one another: choose one")

    @property
    def size(self) -> int:
        """The number of rows."""
        return self.rows or _table(self.mixture, None).rows


_table = cache(mixtures.Table)


def _block(recipe: Recipe, reserved: frozenset[Operands],
           count_tokens: Callable[[Row], int] | None, number: int) -> tuple[bytes, Report]:
    """(the lines of block `number`, what they are). Bytes pass between processes faster."""
    positions = np.arange(number * BLOCK, min((number + 1) * BLOCK, recipe.size))
    drawn = Report()
    rng = np.random.default_rng([recipe.seed, number])
    rows_of, first, second = _questions(recipe, reserved, positions, rng, drawn)
    lines, lengths = _lines(recipe, rows_of, first, second, rng)
    if count_tokens:
        lengths = [count_tokens(json.loads(line)) for line in lines]
    report = Report({task: Summary(len(rows), sum(lengths[i] for i in rows),
                                   max(lengths[i] for i in rows),
                                   [lines[i] for i in rows[:SAMPLES]])
                     for task, rows in rows_of.items()})
    report.add(drawn)
    return "".join(lines).encode(), report


def _questions(recipe: Recipe, reserved: frozenset[Operands], positions: np.ndarray,
               rng: np.random.Generator,
               report: Report) -> tuple[dict[str, list[int]], list[int], list[int]]:
    """(rows of each task, first operands, second operands) of the rows at these positions."""
    table = _table(recipe.mixture, recipe.rows)
    if recipe.order == "random":
        positions = mixtures.permute(positions, table.rows, recipe.seed)
    cells, places = table.locate(positions)
    first, second = table.draw(cells, places, rng)
    tasks = table.tasks[cells]
    rows_of = {task: np.flatnonzero(tasks == task).tolist()
               for task in mixtures.OPERATORS if task in tasks}
    again = range(len(cells)) if reserved else []
    for _ in range(1000):
        ops = [mixtures.OPERATORS[task] for task in tasks[again].tolist()]
        questions = zip(again, first[again].tolist(), ops, second[again].tolist(), strict=True)
        hits = [question for question in questions if question[1:] in reserved]
        again = [i for i, a, _, b in hits if mixtures.excluded(recipe.mixture, a, b)]
        report.kept += len(hits) - len(again)
        if not again:
            return rows_of, first.tolist(), second.tolist()
        report.left_out += len(again)
        first[again], second[again] = table.draw(cells[again], places[again], rng)
    a, b, task = first[again[0]], second[again[0]], tasks[again[0]]
    raise UserError(f"the evaluation suites ask all questions like {a} {mixtures.OPERATORS[task]} "
                    f"{b}: none is left to train on")


def _lines(recipe: Recipe, rows_of: dict[str, list[int]], first: list[int], second: list[int],
           rng: np.random.Generator) -> tuple[list[str], list[int]]:
    """(JSON lines, lengths of the outputs) of these questions, worded at random."""
    size, steps = len(first), recipe.steps and not recipe.bare
    noise = (rng.random((size, len(wordings.NOISE))) < wordings.NOISE).tolist()
    drawn = rng.random(size).tolist()
    lines, lengths = [""] * size, [0] * size
    for task, rows in rows_of.items():
        op = operation(mixtures.OPERATORS[task])
        templates = wordings.slots(op.symbol, recipe.held_out)
        for i in rows:
            a, b = first[i], second[i]
            expression = f"{a} {op.symbol} {b}"
            solution, answer = op.solve(a, b, steps, recipe.omit)
            if recipe.bare:
                text, solution = expression, answer
            else:
                template = templates[int(drawn[i] * len(templates))]
                text = wordings.filled(template, a, op.symbol, b, noise[i])
            lengths[i] = len(solution)
            lines[i] = json.dumps({"instruction": text, "input": expression, "output": solution,
                                   "answer": answer, "task": task}) + "\n"
    return lines, lengths


def write_mixture(path: str | os.PathLike, recipe: Recipe, reserved: Collection[Operands],
                  workers: int = 1,
                  count_tokens: Callable[[Row], int] | None = None) -> Report:
    """Write a data set to `path`, whole or not at all, and say what is in it.

    path: a `.json` file gets the single list of the published format, any other JSON lines; "-"
        is standard output.
    reserved: the (a, op, b) that evaluation asks, left out as far as the mixture can
        (`suites.reserved()`).
    count_tokens: row -> tokens; without it lengths are counted in characters of the output.
    Raises UserError for a bad recipe, an unwritable path or a full disk.
    """
    block = partial(_block, recipe, frozenset(reserved), count_tokens)
    return write_blocks(path, block, recipe.size, workers)


def write_default(file: str, mixture: str, rows: int | None) -> str:
    """Write a mixture, without the questions of the suites, to a file that may hold the same
    already; the line that tells what it holds. Raises UserError where it holds other rows: nobody's
    file is replaced, and none is taken for what it is not."""
    path, recipe, reserved = Path(file), Recipe(mixture, rows), suites.reserved()
    told = f"{recipe.size:,} rows of the mixture {mixture!r}"
    if not path.exists():
        write_mixture(path, recipe, reserved)
        return f"{path}: {told} written"
    fresh = path.with_name(f".{path.stem}.{os.getpid()}.jsonl")
    try:
        write_mixture(fresh, recipe, reserved)
        if filecmp.cmp(fresh, path, shallow=False):
            return f"{path}: {told}"
    finally:
        fresh.unlink(missing_ok=True)
    raise UserError(f"{path} holds other rows than the {recipe.size:,} of the mixture "
                    f"{recipe.mixture!r} that would be written here: name it as --data to train "
                    "on it, or move it away")
