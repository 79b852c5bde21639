"""Loss against steps: logs of training runs side by side, `eval.py --compare out/*/log.jsonl`.

A log is what train.py writes (goat/training/run_folder.py): JSON lines, each of them settings or
what was measured at a step. After --resume steps may come again: the later line counts.
"""

import math
import os
from collections.abc import Sequence
from colorsys import hsv_to_rgb
from pathlib import Path
from typing import NamedTuple

from goat.errors import UserError
from goat.evaluation import curves
from goat.evaluation.report import letters, percent
from goat.files.atomic import is_special
from goat.files.rows import open_text, parse_row, read_rows

TITLES = {"loss": "loss", "val_loss": "held-out", "val_exact": "exact"}
STYLES: dict[str, dict] = {  # dots on the thin line too: a run may have logged only once
    "loss": {"linewidth": 0.8, "alpha": 0.6, "marker": ".", "markersize": 2},
    "val_loss": {"marker": "o", "markersize": 4},
    "val_exact": {"linestyle": "--", "marker": "^", "markersize": 4}}


class Column(NamedTuple):
    """What a run has logged under one name."""

    run: int  # its place among the files
    field: str  # of TITLES
    points: dict[int, float]  # step -> value, in the order of the steps

    @property
    def share(self) -> bool:
        """Whether it is exact match: more is better, and shown in %."""
        return "exact" in self.field

    def finite(self) -> dict[int, float]:
        return {step: value for step, value in self.points.items() if math.isfinite(value)}

    def shown(self, step: int) -> str:
        if (value := self.points.get(step)) is None:
            return "-"
        loss = f"{value:.4f}" if value < 1e5 else f"{value:.3g}"  # not finite: the latter
        return percent(value) if self.share else loss


def are_logs(paths: Sequence[str | os.PathLike]) -> bool:
    """Whether the files are logs, by what they hold. UserError where some are and some are not."""
    logs = [is_log(path) for path in paths]
    if len(set(logs)) > 1:
        raise UserError(f"--compare: {paths[logs.index(True)]} is a log of train.py and "
                        f"{paths[logs.index(False)]} is none: compare logs with logs, results "
                        "files with results files")
    return logs[0]


def is_log(path: str | os.PathLike) -> bool:
    """Whether a file begins as a log does. Raises UserError where it is empty."""
    if is_special(Path(path)):
        return False  # a pipe can be read only once: it is left to results files
    with open_text(path) as file:
        first = next(filter(str.strip, file), "")
    if not first:
        raise UserError(f"{path} is empty: leave it out")
    try:
        row = parse_row(first)
    except UserError:
        return first.startswith('{"settings"')  # cut short: `read_log` names the line
    return "records" not in row and ("settings" in row or "step" in row)


def read_log(path: str | os.PathLike, run: int = 0) -> list[Column]:
    """The columns of a log, none if no step is logged yet. UserError for a damaged line."""
    found: dict[str, dict[int, float]] = {field: {} for field in TITLES}
    for where, row in read_rows(path):
        for field in found.keys() & row.keys():
            try:
                found[field][int(row["step"])] = float(row[field])  # "nan" and "inf" are strings
            except (KeyError, TypeError, ValueError, OverflowError):
                raise UserError(f"{where}: 'step' and {field!r} must be numbers; remove the line, "
                                "or leave the log out")
    return [Column(run, field, dict(sorted(points.items())))
            for field, points in found.items() if points]


def read_logs(paths: Sequence[str | os.PathLike]) -> tuple[list[str], list[str], list[Column]]:
    """(what the runs are called, that and the path of each, the columns of all)."""
    called = letters(len(paths))
    logs = [read_log(path, run) for run, path in enumerate(paths)]
    if not any(logs):
        raise UserError(f"{', '.join(map(str, paths))}: no step is logged yet")
    names = [f"{letter}: {path}{'' if log else ' (no step is logged yet)'}"
             for letter, path, log in zip(called, paths, logs)]
    return called, names, [column for log in logs for column in log]


def chosen_steps(columns: Sequence[Column]) -> list[int]:
    """The first step, the last, and of each tenth of the way the one at which most was measured;
    what is held out, which is measured less often, counts double. Of equals the last."""
    steps = sorted({step for column in columns for step in column.points})
    best: dict[int, tuple[int, int]] = {}
    for step in steps:
        known = sum(1 + (c.field != "loss") for c in columns if step in c.points)
        part = (step - 1) * 10 // max(1, steps[-1])
        best[part] = max(best.get(part, (0, 0)), (known, step))
    return sorted({steps[0], *(step for _, step in best.values()), steps[-1]})


def table(paths: Sequence[str | os.PathLike]) -> str:
    """The runs side by side at a few steps, then the first, last and best value of each column."""
    called, lines, columns = read_logs(paths)
    heads = [f"{called[c.run]} {TITLES[c.field]}{' %' * c.share}" for c in columns]
    widths = [max(10, len(head) + 2) for head in heads]
    lines += ["", "    step" + "".join(map(str.rjust, heads, widths))]
    lines += [f"{step:8}" + "".join(c.shown(step).rjust(w) for c, w in zip(columns, widths))
              for step in chosen_steps(columns)]
    lines += ["", f"{'':14}{'first':>20}{'last':>20}{'lowest loss, highest exact':>30}"]
    for head, c in zip(heads, columns):
        best = (max if c.share else min)(c.finite() or c.points, key=c.points.__getitem__)
        first, last, top = (f"{c.shown(step)} at {step:>6}"
                            for step in (min(c.points), max(c.points), best))
        lines.append(f"{head:14}{first:>20}{last:>20}{top:>30}")
    return "\n".join(lines)


def draw(paths: Sequence[str | os.PathLike]):
    """A matplotlib figure of the runs, one colour each; what is not finite is a gap."""
    figure, (_, names, columns) = curves.new_figure(), read_logs(paths)
    axes = shares = figure.subplots()
    axes.set(xlabel="step", ylabel="loss (thin: training, dots: held-out)")
    axes.grid(alpha=0.3)
    if any(c.share for c in columns):
        shares = axes.twinx()
        shares.set(ylabel="exact match, % (dashed)", ylim=(-2, 102))
    colors = [f"C{i}" if len(paths) <= 10 else hsv_to_rgb(i / len(paths), 1, 0.8)
              for i in range(len(paths))]
    for name, color in zip(names, colors):  # a dollar would begin a formula
        label = name.encode(errors="backslashreplace").decode().replace("$", r"\$")
        axes.plot([], [], color=color, label=label)
    for c in columns:
        y = [100 * value if c.share else value for value in c.points.values()]
        (shares if c.share else axes).plot(list(c.points), y, color=colors[c.run],
                                           **STYLES[c.field])
    losses = [value for c in columns if not c.share for value in c.finite().values()]
    if losses and 0 < 10 * min(losses) < max(losses):
        axes.set_yscale("log")
    figure.legend(loc="outside upper left", fontsize="small")
    return figure


def plot(paths: Sequence[str | os.PathLike], out: str | os.PathLike) -> None:
    """Write the drawing as a PNG. Raises UserError without matplotlib."""
    curves.save(draw(paths), out)
