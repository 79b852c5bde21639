"""Accuracy against whatever a row of runs varies, as a picture: `eval.py --compare … --plot`.

Needs matplotlib, which is not among the project's packages: the table of `--compare` shows the
same figures without it.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from goat.errors import UserError
from goat.evaluation.evaluate import Score, scores_of
from goat.evaluation.report import read_results
from goat.files.atomic import check_place, replacing

Curves = dict[str, list[tuple[float, Score]]]  # cell -> (place on the axis, score)


def curves(paths: Sequence[str | os.PathLike]) -> tuple[Curves, list[str], bool]:
    """(the curves, the names of the files, whether the places are numbers).

    A file's place is the last number in its name, as in `rows-1000.json`; where a file has none,
    or two have the same, all are placed by their order.
    """
    names = [Path(path).stem for path in paths]
    numbers = [re.findall(r"\d+(?:\.\d+)?", name) for name in names]
    places = [float(last) for *_, last in filter(None, numbers)]
    numeric = len(set(places)) == len(paths)
    found: Curves = {}
    for place, path in zip(places if numeric else range(len(paths)), paths):
        for key, score in scores_of(read_results(path)).items():
            found.setdefault(" ".join(key), []).append((place, score))
    return {cell: sorted(points) for cell, points in found.items()}, names, numeric


def new_figure():
    """An empty figure of matplotlib. Raises UserError where that is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise UserError("--plot needs matplotlib (pip install matplotlib); the table of --compare "
                        "does without")
    return Figure(figsize=(8, 5), layout="constrained")


def save(figure, out: str | os.PathLike) -> None:
    """Write a figure as a PNG."""
    check_place(out)
    with replacing(Path(out)) as temporary:
        figure.savefig(temporary, format="png", dpi=150)


def plot(paths: Sequence[str | os.PathLike], out: str | os.PathLike) -> None:
    """Write the curves with their 95 % intervals as a PNG. Raises UserError without matplotlib."""
    figure = new_figure()
    cells, names, numeric = curves(paths)
    axes = figure.subplots()
    for cell, points in cells.items():
        x = [place for place, _ in points]
        y = [100 * score.exact for _, score in points]
        bars = [[100 * (score.exact - score.low) for _, score in points],
                [100 * (score.high - score.exact) for _, score in points]]
        axes.errorbar(x, y, bars, label=cell, marker="o", capsize=3)
    if numeric and min((x for points in cells.values() for x, _ in points), default=0) > 0:
        axes.set_xscale("log")
    elif not numeric:
        axes.set_xticks(range(len(names)), names, rotation=30, ha="right")
    axes.set(ylabel="exact match, % (95 % interval)", ylim=(-2, 102))
    axes.legend(fontsize="small")
    axes.grid(alpha=0.3)
    save(figure, out)
