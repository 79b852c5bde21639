"""Results as text: the paper's table with ours in it, a table of every cell, comparisons; and the
file `results.json`, which holds everything that was asked, answered and set."""

import json
import os
import platform
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from importlib.metadata import version
from itertools import zip_longest
from pathlib import Path

from goat.errors import UserError
from goat.evaluation.evaluate import (Record, Score, Scores, all_scores, grouped, score,
                                      scores_of)
from goat.evaluation.scoring import locate
from goat.files.atomic import write_text
from goat.papers.arithmetic.operations import OPERATIONS
from goat.papers.arithmetic.table_3 import COLUMNS, PUBLISHED
from goat.papers.word_problems.format import FINAL, interpreter_spans, with_mask
from goat.stats import mcnemar

TITLES = {op.name: op.name.upper() for op in OPERATIONS.values()}


def percent(share: float) -> str:
    """0.994 -> "99.4", 1.0 -> "100"."""
    text = f"{100 * share:.1f}"
    return "100" if text == "100.0" else text


def exact_digits(s: Score) -> str:
    """ "99.4/99.8", as the paper writes exact and digit match."""
    return f"{percent(s.exact)}/{percent(s.digits)}"


def range_of(s: Score, dash: str = " - ") -> str:
    """The 95 % interval of exact match."""
    return percent(s.low) + dash + percent(s.high)


def paper_columns(scores: Scores) -> dict[str, list[Score | None]]:
    """Our scores for the columns of the paper's table, of each operation that has any."""
    ours = {operation: [scores.get(("large" if "D" in column[:-1] else "bigbench",
                                    f"{operation} {column}")) for column in columns]
            for operation, columns in COLUMNS.items()}
    return {operation: row for operation, row in ours.items() if any(row)}


def paper_table(scores: Scores) -> str:
    """Our scores in the layout of the paper's Table 3; empty when no cell of it was run."""
    lines = ["Exact match / digit match in %, beside the paper's; ranges: 95 % of our exact match"]
    for operation, ours in paper_columns(scores).items():
        rows = {TITLES[operation]: list(COLUMNS[operation]),
                "  here": [exact_digits(s) if s else "-" for s in ours],
                "  range": [range_of(s, "-") if s else "" for s in ours]}
        rows |= {f"  {model}": PUBLISHED[model][operation].split() for model in PUBLISHED}
        width = max(11, *(len(text) + 1 for row in rows.values() for text in row))
        lines += [f"{name:10}" + "".join(f"{text:>{width}}" for text in row)
                  for name, row in rows.items()]
    return "\n".join(lines) if len(lines) > 1 else ""


def grids(scores: Scores) -> dict[str, tuple[list[int], dict[int, list[float | None]]]]:
    """Exact match of the suite `grid`: {operation: (digits of b, {digits of a: the shares})}."""
    found = {}
    for operation, title in TITLES.items():
        pattern = re.compile(rf"{operation} (\d+)D.(\d+)D")
        shares = {(int(match[1]), int(match[2])): s.exact for (suite, cell), s in scores.items()
                  if suite == "grid" and (match := pattern.fullmatch(cell))}
        if shares:
            across = sorted({b for _, b in shares})
            found[title] = across, {a: [shares.get((a, b)) for b in across]
                                    for a in sorted({a for a, _ in shares})}
    return found


def grid_tables(scores: Scores) -> str:
    """The suite `grid` as a table for each operation, digits of a down, of b across."""
    lines = []
    for title, (across, rows) in grids(scores).items():
        lines += ["", f"{title}, exact match in % by digits of the first (down) and the second "
                      "number (across)", " " * 5 + "".join(f"{b:>4}D" for b in across)]
        for a, shares in rows.items():
            cells = ["" if share is None else f"{100 * share:.0f}" for share in shares]
            lines.append(f"{a:>4}D" + "".join(f"{text:>5}" for text in cells).rstrip())
    if errors := all_errors(s for (suite, _), s in scores.items() if suite == "grid"):
        lines += ["", "grid, first false step of the wrong ones: " + listing(errors)]
    return "\n".join(lines[1:])


def all_errors(scores: Iterable[Score]) -> dict[str, int]:
    """The `errors` of all these scores together, commonest first."""
    return dict(sum((Counter(s.errors) for s in scores), Counter()).most_common())


def listing(errors: dict[str, int]) -> str:
    """ "sum 30, copying 2"."""
    return ", ".join(f"{kind} {n}" for kind, n in errors.items())


def cell_table(scores: Scores) -> str:
    """A line for each cell: exact match with its interval, the other scores, what went wrong.

    The many cells of the suite `grid` are left to `grid_tables`.
    """
    scores = {key: s for key, s in scores.items() if key[0] != "grid"}
    if not scores:
        return ""
    width = max(len(cell) for _, cell in scores) + 2
    lines, last_suite = [], None
    for (suite, cell), s in scores.items():
        if suite != last_suite:
            lines += ["", f"{suite:{width}}{'n':>6}{'exact':>8}   {'95 % range':13}"
                      f"{'last word':>9}{'digits':>8}   first false step of the wrong ones"]
            last_suite = suite
        lines.append(f"{cell + '*' * s.small:{width}}{s.n:>6}{percent(s.exact):>8}   "
                     f"{range_of(s):13}{percent(s.last_token):>9}{percent(s.digits):>8}   "
                     f"{listing(s.errors)}".rstrip())
    if any(s.small for s in scores.values()):
        lines += ["", "* so few questions are possible that training may have shown some of these"]
    return "\n".join(lines[1:])


def wording_lines(records: Sequence[Record]) -> list[str]:
    """Exact match by wording, for each suite that asks in more than one."""
    parts: dict[str, list[str]] = {}
    for (suite, wording), s in scores_of(records, "wording").items():
        parts.setdefault(suite, []).append(f"{wording} {percent(s.exact)} ({range_of(s)}, "
                                           f"n = {s.n})")
    return [f"{suite}, by wording: " + "; ".join(some) for suite, some in parts.items()
            if len(some) > 1]


def wrong_by_turns(records: Sequence[Record]) -> list[Record]:
    """The wrong ones, one of each cell after another, beginning with the cell that has most."""
    cells = sorted(grouped(r for r in records if not r.right).values(), key=len, reverse=True)
    return [r for group in zip_longest(*cells) for r in group if r]


def interpreter_lines(records: Sequence[Record]) -> str:
    """What the interpreter had to do in these solutions, how many answers did without it, and what
    it had not to."""
    lines = []
    if helped := [r for r in records if r.runs is not None]:
        idle = [r for r in helped if not r.runs]
        lines = [f"interpreter: {sum(r.runs or 0 for r in helped):,} programs run for "
                 f"{len(helped):,} questions, {sum(r.failed_runs for r in helped):,} ended in an "
                 f"error or were stopped; {len(idle):,} solutions ran no code, "
                 f"{sum(r.right for r in idle):,} of them right"]
    if unrun := sum(r.runs is None and interpreter_spans(r.working) != [] for r in records):
        lines.append(f"{unrun:,} solutions hold code that nobody has run: add --interpreter")
    return "\n".join(lines)


def shows_mask(record: Record) -> bool:
    """Whether it solves a word problem by steps, in tags or Markdown, or by an interpreter."""
    return FINAL in record.working or "<step>" in record.working or record.runs is not None


def mistakes(records: Sequence[Record], count: int) -> str:
    """Some wrong workings, with the first false step between >>> and <<<.

    Solutions of word problems show what training masks, and right ones follow the wrong ones.
    """
    lines, right = [], [r for r in records if r.right and shows_mask(r)]
    for r in (wrong_by_turns(records) + right)[:count]:
        if shows_mask(r):
            verdict = "right" if r.right else f"{r.kind or 'wrong answer'}; right is {r.answer}"
            lines += [f"--- {r.suite}, {r.cell} (# masked in training): {verdict}",
                      with_mask(r.prompt, r.working)]
            continue
        start, end = locate(r.working, r.first_error)
        step = f">>>{r.working[start:end]}<<<" if r.first_error else ""
        lines += [f"--- {r.suite}, {r.cell}: {r.prompt.splitlines()[0]}",
                  r.working[:start] + step + r.working[end:],
                  f"    {r.first_error or 'wrong answer'}; right is {r.answer}"]
    return "\n".join(lines)


def text_report(records: Sequence[Record], show: int = 0) -> str:
    """Everything that eval.py prints about its records."""
    scores = all_scores(records)
    parts = [paper_table(scores), cell_table(scores), grid_tables(scores),
             "\n".join(wording_lines(records)), interpreter_lines(records), mistakes(records, show)]
    return "\n\n".join(part for part in parts if part)


# -------------------------------------------------------------------------------- results.json

PACKAGES = ("torch", "numpy", "sentencepiece", "safetensors")


def versions() -> dict[str, str]:
    """Of Python, the machine and the packages that compute: what a rerun has to have alike."""
    return {"python": platform.python_version(), "platform": platform.platform(),
            **{name: version(name) for name in PACKAGES}}


def write_results(path: str | os.PathLike, setting: dict, records: Sequence[Record]) -> None:
    """Write settings, scores and every record, as a whole or not at all."""
    cells = [{"suite": suite, "cell": cell, **s._asdict()}
             for (suite, cell), s in all_scores(records).items()]
    whole = {**setting, "scores": cells, "records": [asdict(r) for r in records]}
    write_text(path, json.dumps(whole, indent=1, ensure_ascii=False))


def read_results(path: str | os.PathLike) -> list[Record]:
    """The records of a results file; UserError when it is none."""
    try:
        whole = json.loads(Path(path).read_text(encoding="utf-8"))
        return [Record(**record) for record in whole["records"]]
    except (ValueError, RecursionError, KeyError, TypeError):  # no JSON, no UTF-8, no records
        raise UserError(f"{path}: this is no results file of eval.py (see its --out)")


def letters(count: int) -> list[str]:
    """A, B, … Z, 27, 28, …: what files that are put side by side are called."""
    return [chr(ord("A") + i) if i < 26 else str(i + 1) for i in range(count)]


def compare(paths: Sequence[str]) -> str:
    """Results files side by side: exact match by cell, and where two have questions in common,
    McNemar's test of the first against each other one on these."""
    files = [read_results(path) for path in paths]
    cells = [grouped(records) for records in files]
    names = letters(len(files))
    lines = [f"{name}: {path}" for name, path in zip(names, paths)]
    keys = list(dict.fromkeys(key for file in cells for key in file))
    width = max((len(" ".join(key)) for key in keys), default=0) + 2
    head = "".join(f"{name + ' exact':>9}  {'95 % range':14}" for name in names)
    tests = "".join(f"{f'A:{name} only':>12}{'p':>8}" for name in names[1:])
    lines += ["", " " * width + head + tests]
    for key in keys:
        scores = [score(file[key]) if key in file else None for file in cells]
        lines.append(f"{' '.join(key):{width}}" + "".join(
            f"{percent(s.exact):>9}  {range_of(s):14}" if s else f"{'-':>9}  {'':14}"
            for s in scores) + "".join(paired(cells[0].get(key, []), file.get(key, []))
                                       for file in cells[1:]))
    return "\n".join(lines)


def paired(first: Sequence[Record], second: Sequence[Record]) -> str:
    """How many shared questions only the first and only the second got right, and p."""
    known = {(r.prompt, r.answer): r.right for r in second}
    shared = [r for r in first if (r.prompt, r.answer) in known]
    if not shared:
        return f"{'-':>12}{'-':>8}"
    test = mcnemar([r.right for r in shared], [known[r.prompt, r.answer] for r in shared])
    return f"{f'{test.only_first}:{test.only_second}':>12}{test.p:>8.3f}"
