"""Logs of training runs side by side, against figures worked out by hand; a log of a real run.

Run: python -m pytest tests/evaluation/test_learning_curves.py
"""

import json
import math
import re
import sys

import pytest

import eval as script
from goat.errors import UserError
from goat.evaluation import learning_curves
from support.runs import log

SETTINGS = {"settings": {"lr": 0.01}, "command": ["train.py"]}
SHORT = [SETTINGS, {"step": 18, "loss": "nan", "norm": 0.5, "rows": [1]},
         {"step": 20, "loss": 2.0, "norm": 1.5, "lr": 0.01},
         {"step": 25, "val_loss": 1.5, "val_exact": 0.25, "val_rows": 100},
         {"step": 31, "norm": "inf", "loss_scale": 1024.0},
         {"step": 33, "loss": "nan", "norm": 0.5, "rows": [4, 7]},
         {"step": 40, "loss": 9.0, "norm": 1.5},
         SETTINGS,  # resumed from step 25, and logged more often: step 40 comes again
         {"step": 35, "loss": 0.25, "norm": 1.5},
         {"step": 40, "loss": 0.5, "norm": 1.5},
         {"step": 50, "val_loss": 0.75, "val_exact": 0.5, "val_rows": 100},
         {"step": 75, "val_loss": 0.25, "val_exact": 1.0, "val_rows": 100},
         {"step": 80, "loss": 0.125, "norm": 1.5},
         {"step": 100, "loss": 0.1, "norm": 1.5},
         {"step": 100, "val_loss": 0.375, "val_exact": 0.994, "val_rows": 100}]
PLAIN = [SETTINGS, {"step": 50, "loss": 3.0}, {"step": 50, "val_exact": 0.125},
         {"step": 60, "loss": 123456.0}]


def written(path, lines) -> str:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


@pytest.fixture
def logs(tmp_path):
    return [written(tmp_path / "short" / "log.jsonl", SHORT),
            written(tmp_path / "plain" / "results.json", PLAIN)]  # the name tells nothing


def test_the_table(logs, capsys):
    script.main(["--compare", *logs])
    names, steps, ends = capsys.readouterr().out.rstrip("\n").split("\n\n")
    assert names.splitlines() == [f"A: {logs[0]}", f"B: {logs[1]}"]
    head, *rows = steps.splitlines()
    assert re.split(r"  +", head.strip()) == [
        "step", "A loss", "A held-out", "A exact %", "B loss", "B exact %"]
    assert [row.split() for row in rows] == [
        ["18", "nan", "-", "-", "-", "-"],
        ["20", "2.0000", "-", "-", "-", "-"],
        ["25", "-", "1.5000", "25.0", "-", "-"],
        ["40", "0.5000", "-", "-", "-", "-"],  # the later line, and the last of its tenth
        ["50", "-", "0.7500", "50.0", "3.0000", "12.5"],
        ["60", "-", "-", "-", "1.23e+05", "-"],
        ["75", "-", "0.2500", "100", "-", "-"],  # not 80: what is held out counts double
        ["100", "0.1000", "0.3750", "99.4", "-", "-"]]
    assert len({len(line) for line in (head, *rows)}) == 1
    head, *rows = ends.splitlines()
    assert re.split(r"  +", head.strip()) == ["first", "last", "lowest loss, highest exact"]
    assert [re.split(r"  +", row.replace(" at ", "@")) for row in rows] == [
        ["A loss", "nan@", "18", "0.1000@", "100", "0.1000@", "100"],
        ["A held-out", "1.5000@", "25", "0.3750@", "100", "0.2500@", "75"],
        ["A exact %", "25.0@", "25", "99.4@", "100", "100@", "75"],
        ["B loss", "3.0000@", "50", "1.23e+05@", "60", "3.0000@", "50"],
        ["B exact %", "12.5@", "50", "12.5@", "50", "12.5@", "50"]]


def test_few_of_many_steps_are_shown():
    loss = learning_curves.Column(0, "loss", dict.fromkeys(range(0, 1001, 5), 1.0))
    held = learning_curves.Column(0, "val_loss", dict.fromkeys(range(0, 1001, 150), 1.0))
    assert learning_curves.chosen_steps([loss]) == list(range(0, 1001, 100))
    assert learning_curves.chosen_steps([loss, held]) == [
        0, 100, 150, 300, 400, 450, 600, 700, 750, 900, 1000]
    held = held._replace(points={152: 1.0})  # counts more than the loss at 155, 160, … 200
    assert learning_curves.chosen_steps([loss, held])[:4] == [0, 100, 152, 300]
    assert learning_curves.chosen_steps([held._replace(points={0: 1.0})]) == [0]


def test_a_log_of_train_py(straight, capsys):
    script.main(["--compare", str(straight / "log.jsonl")])
    shown = capsys.readouterr().out
    [column] = learning_curves.read_log(straight / "log.jsonl")
    losses = {record["step"]: record["loss"] for record in log(straight)}
    assert column.field == "loss" and column.points == losses and len(losses) == 6
    for step, loss in losses.items():
        assert re.search(rf"(?m)^ +{step} +{loss:.4f}$", shown)


def test_what_is_drawn(logs, tmp_path):
    pytest.importorskip("matplotlib")
    out = tmp_path / "loss.png"
    script.main(["--compare", *logs, "--plot", str(out)])
    assert out.read_bytes().startswith(b"\x89PNG")
    figure = learning_curves.draw(logs)
    losses, shares = figure.axes
    drawn = [(line.get_color(), [(x, None if math.isnan(y) else y) for x, y in line.get_xydata()])
             for axes in (losses, shares) for line in axes.lines if len(line.get_xdata())]
    assert drawn == [
        ("C0", [(18, None), (20, 2), (33, None), (35, 0.25), (40, 0.5), (80, 0.125), (100, 0.1)]),
        ("C0", [(25, 1.5), (50, 0.75), (75, 0.25), (100, 0.375)]), ("C1", [(50, 3), (60, 123456)]),
        ("C0", [(25, 25), (50, 50), (75, 100), (100, 99.4)]), ("C1", [(50, 12.5)])]
    assert losses.get_yscale() == "log" and shares.get_yscale() == "linear"
    [legend] = figure.legends
    assert [(text.get_text(), line.get_color()) for text, line in zip(
        legend.get_texts(), legend.get_lines())] == [(f"A: {logs[0]}", "C0"),
                                                     (f"B: {logs[1]}", "C1")]


@pytest.mark.skipif(sys.platform == "darwin", reason="file names there are UTF-8")
def test_drawn_without_exact_match_and_with_odd_names(tmp_path):
    pytest.importorskip("matplotlib")
    for lowest, scale in ((0.0, "linear"), (0.2, "linear"), (0.19, "log")):
        lines = [SETTINGS, {"step": 1, "loss": 2.0}, {"step": 2, "loss": lowest}]
        odd = written(tmp_path / "$a_{$\udcff" / "log.jsonl", lines)
        [axes] = learning_curves.draw([odd] * 12).axes
        assert axes.get_yscale() == scale
        assert len({line.get_color() for line in axes.lines}) == 12
    learning_curves.plot([odd], tmp_path / "loss.png")
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")


def test_the_table_comes_before_matplotlib_is_missed(logs, monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(UserError, match="needs matplotlib"):
        script.main(["--compare", *logs, "--plot", str(tmp_path / "loss.png")])
    assert "A held-out" in capsys.readouterr().out


@pytest.mark.parametrize("content, message", [
    ("", " is empty: leave it out"), ("\n", " is empty: leave it out"),
    ('{"settings": {}}\n', ": no step is logged yet"),
    ('{"settings": {"lr', ", line 1: not a JSON object"),
    ('{"settings": {}}\n{"step": 1, "loss": 2.0}\n{"step": 2, "lo', ", line 3: not a JSON object"),
    ('{"settings": {}}\n{"loss": 2.0}\n', ", line 2: 'step' and 'loss' must be numbers"),
    ('{"step": 1, "loss": [2]}\n', ", line 1: 'step' and 'loss' must be numbers"),
    ('{"step": 1, "val_loss": "low"}\n', ", line 1: 'step' and 'val_loss' must be numbers"),
    ('{"step": "inf", "loss": 1}\n', ", line 1: 'step' and 'loss' must be numbers"),
    ('{"step": Infinity, "loss": 1}\n', ", line 1: 'step' and 'loss' must be numbers"),
    ("# notes\n", ": this is no results file"),
    ('{"records": [' + "1" * 5000 + "]}", ": this is no results file"),
    ('{"records": ' + "[" * 200_000, ": this is no results file"),
    ('{"settings": ' + "[" * 200_000, ", line 1: not a JSON object"),
])
def test_what_is_no_log_is_named(tmp_path, content, message):
    bad = tmp_path / "bad.jsonl"
    bad.write_text(content)
    with pytest.raises(UserError, match=re.escape(f"{bad}{message}")) as error:
        script.main(["--compare", str(bad)])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("indent", [1, None])
def test_logs_and_results_do_not_mix(logs, tmp_path, indent):
    results = tmp_path / "log.jsonl"
    results.write_text(json.dumps({"settings": {}, "scores": [], "records": []}, indent=indent))
    for files in ([*logs, str(results)], [str(results), *logs]):
        message = f"{logs[0]} is a log of train.py and {results} is none"
        with pytest.raises(UserError, match=re.escape(message)) as error:
            script.main(["--compare", *files])
        assert "\n" not in str(error.value)
    assert script.main(["--compare", str(results)]) is None


def test_a_run_that_has_just_started_is_named_beside_the_others(logs, tmp_path, capsys):
    young = tmp_path / "young.jsonl"
    young.write_text('{"settings": {}}\n')
    script.main(["--compare", *logs, str(young)])
    said = capsys.readouterr().out
    assert f"C: {young} (no step is logged yet)\n" in said and "C loss" not in said
    assert "A held-out" in said
