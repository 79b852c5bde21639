"""Writes data sets: rows as JSON lines, in seeded random order, streamed from several processes.

A row has the string fields instruction, input (the clean expression), output (the worked
solution), answer, and task. Rows are made in blocks of 4,096. A block depends on nothing but the
recipe and its number: so the bytes are the same whatever the number of processes, and the
questions are the same in every ablation of the working.
"""

import contextlib
import filecmp
import json
import os
import random
import sys
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
from tqdm import tqdm

from goat.errors import UserError, spelt
from goat.tasks import mixtures, phrasing, pretraining
from goat.tasks.arithmetic import OMITTABLE, work
from goat.tasks.parallel import ordered_map

BLOCK = 4096  # rows; part of what a seed means
SKILLS_ROWS = 1_000_000
SAMPLES = 3  # rows of each task that the report keeps
NAMES = (*mixtures.MIXTURES, "skills")


@dataclass(frozen=True)
class Recipe:
    """Everything that the bytes of a data set depend on (besides the questions left out)."""

    mixture: str = "paper"  # one of NAMES
    rows: int | None = None  # None: as many as the mixture has
    seed: int = 0
    order: str = "random"  # or "blocks": cell after cell, as published
    steps: bool = True  # False: "question = answer"
    omit: tuple[str, ...] = ()  # stages left out of the workings, see arithmetic.solve
    bare: bool = False  # expression -> answer, without template, noise or working
    held_out: bool = False  # wordings that training never shows
    max_digits: int = 8  # of `skills`

    def __post_init__(self):
        if self.mixture not in NAMES:
            raise UserError(f"--mixture: there is no {self.mixture!r}; choose {', '.join(NAMES)}")
        if unknown := set(self.omit) - set(OMITTABLE):
            raise UserError(f"--omit: there is no stage {', '.join(sorted(unknown))}; "
                            f"there are {', '.join(OMITTABLE)}")
        for name, least in (("rows", 1), ("seed", 0), ("max_digits", 1)):
            if (value := getattr(self, name)) is not None and value < least:
                raise UserError(f"{spelt(name)} {value}: must be {least} or more")
        variants = [self.omit, not self.steps, self.bare]
        if sum(map(bool, variants)) > 1:
            raise UserError("--omit, --no-steps and --bare exclude one another: choose one")
        if self.mixture == "skills" and any([*variants, self.held_out, self.order != "random"]):
            raise UserError("--mixture skills has one form only: leave out --omit, --no-steps, "
                            "--bare, --held-out and --order")

    @property
    def size(self) -> int:
        """The number of rows."""
        if self.rows is None and self.mixture == "skills":
            return SKILLS_ROWS
        return self.rows or _table(self.mixture, None).rows


@dataclass
class Summary:
    """What was written of one task. Lengths are characters of the outputs or, when a tokenizer
    counts, tokens of the rows."""

    rows: int = 0
    total: int = 0
    longest: int = 0
    samples: list[str] = field(default_factory=list)  # the first lines

    def add(self, other: "Summary") -> None:
        self.rows += other.rows
        self.total += other.total
        self.longest = max(self.longest, other.longest)
        self.samples += other.samples[: SAMPLES - len(self.samples)]


@dataclass
class Report:
    tasks: dict[str, Summary] = field(default_factory=dict)
    left_out: int = 0  # draws that were questions of an evaluation suite, and drawn again
    kept: int = 0  # rows that are such questions, in cells too small to leave them out

    def add(self, other: "Report") -> None:
        for task, summary in other.tasks.items():
            self.tasks.setdefault(task, Summary()).add(summary)
        self.left_out += other.left_out
        self.kept += other.kept


# -------------------------------------------------------------------------------------- blocks

@dataclass(frozen=True)
class Maker:
    """Makes any block of a data set. Picklable: every process gets a copy."""

    recipe: Recipe
    reserved: frozenset  # of (a, op, b): the questions of the evaluation suites
    count_tokens: Callable[[dict], int] | None = None  # row -> tokens

    def block(self, number: int) -> tuple[bytes, Report]:
        """(the lines of block `number`, what they are). Bytes pass between processes faster."""
        positions = np.arange(number * BLOCK, min((number + 1) * BLOCK, self.recipe.size))
        report = Report()
        if self.recipe.mixture == "skills":
            rng = random.Random(f"{self.recipe.seed}:{number}")
            top = self.recipe.max_digits
            rows = [pretraining.sample(rng, top, self.reserved) for _ in positions]
            rows_of = defaultdict(list)
            for i, row in enumerate(rows):
                rows_of[row["task"]].append(i)
            lines = [json.dumps(row) + "\n" for row in rows]
            lengths = [len(row["output"]) for row in rows]
        else:
            rng = np.random.default_rng([self.recipe.seed, number])
            rows_of, first, second = self._questions(positions, rng, report)
            lines, lengths = self._lines(rows_of, first, second, rng)
        if self.count_tokens:
            lengths = [self.count_tokens(json.loads(line)) for line in lines]
        for task, rows in rows_of.items():
            own = [lengths[i] for i in rows]
            report.tasks[task] = Summary(len(rows), sum(own), max(own),
                                         [lines[i] for i in rows[:SAMPLES]])
        return "".join(lines).encode(), report

    def _questions(self, positions: np.ndarray, rng: np.random.Generator,
                   report: Report) -> tuple[dict[str, list[int]], list[int], list[int]]:
        """(rows of each task, first operands, second operands) of the rows at these positions."""
        recipe = self.recipe
        table = _table(recipe.mixture, recipe.rows)
        if recipe.order == "random":
            positions = mixtures.permute(positions, table.rows, recipe.seed)
        cells, places = table.locate(positions)
        first, second = table.draw(cells, places, rng)
        kinds = table.kinds[cells]
        rows_of = {task: np.flatnonzero(kinds == kind).tolist()
                   for kind, task in enumerate(mixtures.OPERATORS) if kind in kinds}
        again = range(len(cells)) if self.reserved else []
        for _ in range(1000):
            ops = [mixtures.OPERATORS[table.tasks[cell]] for cell in cells[again].tolist()]
            questions = zip(again, first[again].tolist(), ops, second[again].tolist(), strict=True)
            hits = [question for question in questions if question[1:] in self.reserved]
            again = [i for i, *question in hits if mixtures.excluded(recipe.mixture, *question)]
            report.kept += len(hits) - len(again)
            if not again:
                return rows_of, first.tolist(), second.tolist()
            report.left_out += len(again)
            first[again], second[again] = table.draw(cells[again], places[again], rng)
        a, b, task = first[again[0]], second[again[0]], table.tasks[cells[again[0]]]
        raise UserError(f"the evaluation suites ask all questions like {a} "
                        f"{mixtures.OPERATORS[task]} {b}: none is left to train on")

    def _lines(self, rows_of: dict[str, list[int]], first: list[int], second: list[int],
               rng: np.random.Generator) -> tuple[list[str], list[int]]:
        """(JSON lines, lengths of the outputs) of these questions, worded at random."""
        recipe, size = self.recipe, len(first)
        steps = recipe.steps and not recipe.bare
        flips = rng.random((size, len(phrasing.NOISE))) < phrasing.NOISE
        codes = flips @ (1 << np.arange(len(phrasing.NOISE)))
        slots = (rng.random(size) * len(phrasing.slots("+", recipe.held_out))).astype(int)
        places = (slots << len(phrasing.NOISE) | codes).tolist()
        lines, lengths = [""] * size, [0] * size
        for task, rows in rows_of.items():
            op = mixtures.OPERATORS[task]
            frames = phrasing.frames(op, recipe.held_out)
            if recipe.bare:
                frames = [phrasing.Frame("", f" {op} ", "", False)] * len(frames)
            for i in rows:
                x, y = first[i], second[i]
                solution, answer = work(x, op, y, steps, recipe.omit)
                if recipe.bare:
                    solution = answer
                lengths[i] = len(solution)
                if op == "/":  # nothing else has several lines
                    solution = solution.replace("\n", "\\n")
                a, b = str(x), str(y)
                head, middle, tail, turned = frames[places[i]]
                left, right = (b, a) if turned else (a, b)
                # What json.dumps would write: all is ASCII, and only newlines need an escape.
                lines[i] = (f'{{"instruction": "{head}{left}{middle}{right}{tail}", '
                            f'"input": "{a} {op} {b}", "output": "{solution}", '
                            f'"answer": "{answer}", "task": "{task}"}}\n')
        return lines, lengths


@cache
def _table(mixture: str, rows: int | None) -> mixtures.Table:
    return mixtures.Table(mixture, rows)


# ------------------------------------------------------------------------------------- writing

def write_rows(path: str | os.PathLike, recipe: Recipe, reserved: Collection[tuple[int, str, int]],
               workers: int = 1, count_tokens: Callable[[dict], int] | None = None,
               progress: bool = True) -> Report:
    """Write a data set to `path`, whole or not at all, and say what is in it.

    path: a `.json` file gets the single list of the published format, any other JSON lines; "-"
        is standard output.
    reserved: the (a, op, b) that evaluation asks, left out as far as the mixture can
        (`goat.suites.reserved()`).
    count_tokens: row -> tokens; without it lengths are counted in characters of the output.
    Raises UserError for a bad recipe, an unwritable path or a full disk.
    """
    maker = Maker(recipe, frozenset(reserved), count_tokens)
    n_blocks = -(-recipe.size // BLOCK)
    report = Report()
    as_list = str(path).endswith(".json")
    with _destination(path) as file, _bar(recipe.size, progress) as bar:
        separator = b"[\n" if as_list else b""
        for text, part in ordered_map(maker.block, range(n_blocks), min(workers, n_blocks)):
            file.write(separator + (text[:-1].replace(b"\n", b",\n") if as_list else text))
            separator = b",\n" if as_list else b""
            report.add(part)
            bar.update(sum(summary.rows for summary in part.tasks.values()))
        file.write(b"\n]\n" if as_list else b"")
    return report


def write_once(path: str | os.PathLike, recipe: Recipe,
               reserved: Collection[tuple[int, str, int]]) -> bool:
    """`write_rows` where there is no such file yet, which is told; else the file must be the same.

    Raises UserError where it holds other rows: nobody's file is replaced, and none is taken for
    what it is not.
    """
    path = Path(path)
    if not path.exists():
        write_rows(path, recipe, reserved)
        return True
    fresh = path.with_name(f".{path.stem}.{os.getpid()}.jsonl")
    try:
        write_rows(fresh, recipe, reserved)
        if filecmp.cmp(fresh, path, shallow=False):
            return False
    finally:
        fresh.unlink(missing_ok=True)
    raise UserError(f"{path} holds other rows than the {recipe.size:,} of the mixture "
                    f"{recipe.mixture!r} that would be written here: name it as --data to train "
                    "on it, or move it away")


def write_list(path: str | os.PathLike, rows: Sequence[dict[str, str]],
               count_tokens: Callable[[dict], int] | None = None) -> Report:
    """Write rows that are already made to `path`, in the formats of `write_rows`."""
    report = Report()
    for row, line in zip(rows, write_lines(path, rows)):
        length = count_tokens(row) if count_tokens else len(row["output"])
        report.tasks.setdefault(row["task"], Summary()).add(Summary(1, length, length, [line]))
    return report


def write_lines(path: str | os.PathLike, rows: Sequence[dict[str, str]]) -> list[str]:
    """Write objects of any kind in the formats of `write_rows`; their lines."""
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    text = "[\n" + ",\n".join(lines) + "\n]" if str(path).endswith(".json") else "\n".join(lines)
    with _destination(path) as file:
        file.write(text.encode() + b"\n")
    return lines


def _bar(size: int, progress: bool) -> tqdm:
    """A progress bar, on terminals only."""
    return tqdm(total=size, unit=" rows", unit_scale=True, leave=False,
                disable=None if progress else True)


@contextlib.contextmanager
def _destination(path: str | os.PathLike) -> Iterator:
    """A binary file that takes its name only when all has been written; "-" is standard output."""
    if str(path) == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path = Path(path)
    if path.is_dir():
        raise UserError(f"cannot write {path}: it is a folder; name a file in it")
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(part, "wb") as file:
            try:
                yield file
                file.close()  # a full disk may show only now
                os.replace(part, path)
            except BaseException:
                part.unlink()
                raise
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error
