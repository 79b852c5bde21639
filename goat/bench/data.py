"""Data generation beside the way of the original: rows per second and memory, in one run.

    python -m goat.bench data [--rows N] [--workers N] [--repeats N]

The original's way, written anew here: operands drawn one by one into a list of records, that list
written as indented JSON, read back, worded, and written again, in one process. Its workings come
from our `Operation.solve`, so the difference is the pipeline, not the arithmetic. Both contenders
make the same mixture (`notebook`), each in a fresh process; they take turns, and the median counts.
"""

import json
import multiprocessing
import os
import random
import resource
import statistics
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from goat.cli import parser_for, refuse_below
from goat.papers.arithmetic import dataset, mixtures, wordings
from goat.papers.arithmetic.operations import operation


def main(argv: list[str] | None = None) -> None:
    parser = parser_for("python -m goat.bench data", __doc__)
    parser.add_argument("--rows", type=int, default=1_746_300,
                        help="rows to write (default 1746300: all of the mixture)")
    parser.add_argument("--workers", type=int, default=os.cpu_count(),
                        help="our processes (default: one for each core)")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each (default 3)")
    args = parser.parse_args(argv)
    refuse_below(args, 1, "rows", "workers", "repeats")
    print(f"notebook mixture, {args.rows:,} rows, {os.cpu_count()} cores, "
          f"median of {args.repeats}\n")
    contenders = {"original's way, 1 process": (original_way, args.rows),
                  f"ours, {args.workers} processes": (our_way, args.rows, args.workers),
                  "ours, 1 process": (our_way, args.rows, 1)}
    runs = [{name: measure(*contender) for name, contender in contenders.items()}
            for _ in range(args.repeats)]
    print(f"{'':28}{'seconds':>9}{'rows/s':>10}{'CPU s':>8}{'peak MB':>9}{'file MB':>9}")
    rates = {}
    for name in contenders:
        wall, cpu, memory, size = map(statistics.median, zip(*(run[name] for run in runs)))
        rates[name] = args.rows / wall
        print(f"{name:28}{wall:9.2f}{rates[name]:10,.0f}{cpu:8.2f}{memory / 1e6:9,.0f}"
              f"{size / 1e6:9,.1f}")
    base, *others = rates
    for name in others:
        print(f"{name}: {rates[name] / rates[base]:.1f} times the original's way")


def measure(function, *args) -> tuple[float, float, float, int]:
    """(wall seconds, processor seconds, peak bytes of memory, bytes of the file) of
    function(folder, *args) in a fresh process."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(1, context) as pool:
        return pool.submit(_measured, function, Path(folder), *args).result()


def _measured(function, folder: Path, *args) -> tuple[float, float, float, int]:
    started = time.perf_counter()
    path, workers = function(folder, *args)
    wall = time.perf_counter() - started
    own = resource.getrusage(resource.RUSAGE_SELF)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)  # memory: of the largest one
    cpu = own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
    memory = own.ru_maxrss + (workers * children.ru_maxrss if workers > 1 else 0)
    unit = 1 if sys.platform == "darwin" else 1024
    return wall, cpu, unit * memory, path.stat().st_size


def our_way(folder: Path, rows: int, workers: int) -> tuple[Path, int]:
    path = folder / "rows.jsonl"
    dataset.write_mixture(path, dataset.Recipe("notebook", rows), frozenset(), workers)
    return path, workers


def original_way(folder: Path, rows: int) -> tuple[Path, int]:
    rng = random.Random(0)
    cells = mixtures.notebook()
    total, before, records = sum(cell.rows for cell in cells), 0, []
    for cell in cells:
        start, before = before * rows // total, before + cell.rows
        for _ in range(before * rows // total - start):
            a, b = draw(cell, rng)
            op = mixtures.OPERATORS[cell.task]
            output, answer = operation(op).solve(a, b, True, ())
            records.append({"input": f"{a} {op} {b}", "output": output, "answer": answer})
    plain, final = folder / "plain.json", folder / "rows.json"
    with open(plain, "w") as file:
        json.dump(records, file, indent=4)
    with open(plain) as file:
        loaded = json.load(file)
    worded = []
    for record in loaded:
        a, op, b = record["input"].split()
        worded.append({"instruction": wordings.phrase(a, op, b, rng), **record})
    with open(final, "w") as file:
        json.dump(worded, file, indent=4)
    return final, 1


def draw(cell: mixtures.Cell, rng: random.Random) -> tuple[int, int]:
    """The law of a cell, one question at a time."""
    first, second = rng.randint(*cell.first), rng.randint(*cell.second)
    coin = rng.random() < 0.5
    if cell.law is mixtures.quotient:
        rest = rng.randint(1, first - 1) if first > 1 and coin else 0
        return (first * second + rest if first else second), first
    if cell.law is mixtures.dividend:
        return (first - first % second if first > second and coin else first), second
    if cell.law is mixtures.scale and rng.random() < 0.1:
        first *= 10 ** rng.randint(1, 6)
    return (second, first) if coin else (first, second)
