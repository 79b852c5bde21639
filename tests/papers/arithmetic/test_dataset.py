"""Writing data sets: exact workings, determinism, variants, questions left out, bad input.

Run: python -m pytest tests/papers/arithmetic/test_dataset.py
"""

import hashlib
import json
import resource
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

import generate_data
from goat.cli import CLOSED
from goat.errors import UserError
from goat.papers import prompt
from goat.papers.arithmetic import mixtures, suites
from goat.papers.arithmetic.dataset import BLOCK, Recipe, write_mixture
from support.asking import true_answer
from support.runs import BASE, ROOT


def make(path, reserved=(), workers=1, **recipe):
    """(rows, report) of a data set written to `path`."""
    report = write_mixture(path, Recipe(**recipe), reserved, workers)
    return [json.loads(line) for line in path.read_text().splitlines()], report


# ------------------------------------------------------------------------------------- writing

def assert_solved(row):
    """Every `=` of a row joins equal values, by Python's own arithmetic."""
    a, op, b = row["input"].split(" ")
    answer = true_answer(int(a), op, int(b))
    assert row["answer"] == answer
    *lines, last = row["output"].split("\n")
    if op == "/":
        start = "Therefore, " if lines else ""
        end = " is undefined" if answer == "undefined" else f" = {answer}"
        assert last == start + row["input"] + end
    else:
        lines.append(last)
        assert last.startswith(f"{row['input']} = ") and last.endswith(f" = {answer}")
    for line in lines:
        assert len({eval(expression) for expression in line.split(" = ")}) == 1, line
    for line, following in zip(lines, lines[1:] if op == "/" else []):
        assert following.startswith(line.rpartition(" = ")[2] + f" - {b} * ")
    if op == "/" and lines:
        assert lines[0].startswith(f"{a} - {b} * ")
        assert len(lines) == sum(c != "0" for c in answer.split(" ")[0])


@pytest.mark.parametrize("mixture", list(mixtures.MIXTURES))
def test_rows_are_solved_independently_checked(mixture, tmp_path):
    """10,000 rows of every task of `paper`, fewer of the others."""
    size = 106_000 if mixture == "paper" else 6_000
    rows, report = make(tmp_path / "rows.jsonl", mixture=mixture, rows=size, workers=2)
    assert len(rows) == size
    found = Counter(row["task"] for row in rows)
    assert found == {task: summary.rows for task, summary in report.tasks.items()}
    assert mixture != "paper" or min(found.values()) >= 10_000
    lines = (tmp_path / "rows.jsonl").read_text().splitlines()
    for row, line in zip(rows, lines, strict=True):
        assert_solved(row)
        assert line == json.dumps(row)
        assert mixtures.OPERATORS[row["task"]] == row["input"].split(" ")[1]


def test_golden_bytes(tmp_path):
    """The bytes for seed 0; numpy's generators keep their streams, so they hold across versions."""
    for mixture, golden in GOLDEN.items():
        make(tmp_path / mixture, mixture=mixture, rows=5000)
        assert hashlib.sha256((tmp_path / mixture).read_bytes()).hexdigest()[:16] == golden


GOLDEN = {"paper": "c67da00fd6ebb8b8", "notebook": "15abdd45eaee35e9", "demo": "a28f02f8e84394c5"}


def test_bytes_do_not_depend_on_workers(tmp_path):
    size = 3 * BLOCK + 17
    for mixture in ("paper", "skills"):
        texts = set()
        for workers in (1, 2, 3):
            path = tmp_path / f"{workers}"
            generate_data.main(["--mixture", mixture, "--rows", str(size), "--workers",
                                str(workers), "--out", str(path)])
            texts.add(path.read_bytes())
        assert len(texts) == 1 and texts.pop().count(b"\n") == size
    make(tmp_path / "other", mixture="paper", rows=size, seed=1)
    assert (tmp_path / "other").read_bytes() != (tmp_path / "1").read_bytes()


def test_variants_ask_the_same_questions(tmp_path):
    variants = [{}, {"steps": False}, {"bare": True}, {"held_out": True},
                *({"omit": (stage,)} for stage in ("split", "expand", "accumulate", "product"))]
    sets = [make(tmp_path / "rows", rows=2000, **variant)[0] for variant in variants]
    for rows in sets:
        assert [r["input"] for r in rows] == [r["input"] for r in sets[0]]
        assert [r["answer"] for r in rows] == [r["answer"] for r in sets[0]]
    for rows in sets[:2] + sets[4:]:  # all but --bare and --held-out are worded alike, too
        assert [r["instruction"] for r in rows] == [r["instruction"] for r in sets[0]]
    assert len({tuple(r["output"] for r in rows) for rows in sets}) == len(variants) - 1
    assert all(" = " in r["output"] or r["answer"] == "undefined" for r in sets[1])
    assert not any("\n" in r["output"] for r in sets[1])
    assert all(r["output"] == r["answer"] and r["instruction"] == r["input"] for r in sets[2])
    assert not any("(" in r["output"] for r in sets[4])


@pytest.mark.parametrize("flags, recipe", [
    ("--no-steps", {"steps": False}), ("--bare", {"bare": True}), ("--seed 3", {"seed": 3}),
    ("--held-out", {"held_out": True}), ("--order blocks", {"order": "blocks"}),
    ("--omit split --omit product", {"omit": ("split", "product")})])
def test_each_flag_is_its_recipe(tmp_path, flags, recipe):
    generate_data.main(["--mixture", "demo", "--rows", "500", "--out", str(tmp_path / "a"),
                        *flags.split()])
    make(tmp_path / "b", suites.reserved(), mixture="demo", rows=500, **recipe)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_scaling_keeps_the_proportions():
    full, small = mixtures.Table("notebook"), mixtures.Table("notebook", 12_345)
    exact = np.diff(full.ends) * 12_345 / 1_746_300
    assert small.ends[-1] == 12_345 and abs(np.diff(small.ends) - exact).max() < 1
    assert mixtures.Table("demo", 10**7).ends[-1] == 10**7


def test_orders(tmp_path):
    blocks = [r["task"] for r in make(tmp_path / "a", rows=1000, order="blocks")[0]]
    mixed = [r["task"] for r in make(tmp_path / "b", rows=1000)[0]]
    changes = [sum(x != y for x, y in zip(tasks, tasks[1:])) for tasks in (blocks, mixed)]
    assert changes[0] == 5 and changes[1] > 500 and Counter(blocks) == Counter(mixed)


def test_reserved_questions_are_left_out(tmp_path):
    """Questions that would be drawn are reserved: they go, but for those of small cells."""
    for mixture in ("paper", "demo"):
        rows, _ = make(tmp_path / "a", mixture=mixture, rows=9000)
        asked = {question(row) for row in rows}
        rows, report = make(tmp_path / "b", reserved=asked, mixture=mixture, rows=9000)
        left = [question(row) for row in rows if question(row) in asked]
        assert len(left) == report.kept > 0 and report.left_out > 8000
        most = 4 if mixture == "paper" else 2
        assert all(len(f"{a}{b}") <= most for a, _, b in left)
    _, report = make(tmp_path / "c", reserved=asked, mixture="notebook", rows=3000)
    assert report.left_out == 0  # as published


def question(row):
    a, op, b = row["input"].split(" ")
    return int(a), op, int(b)


def test_the_suites_are_left_out(tmp_path):
    rows, report = make(tmp_path / "a", suites.reserved(), mixture="demo", rows=20_000)
    assert report.left_out > 0
    assert not any(question(row) in suites.reserved() for row in rows)


def test_impossible_exclusion(tmp_path):
    everything = {(a, "*", b) for a in range(100) for b in range(100)}
    with pytest.raises(UserError, match="none is left to train on"):
        make(tmp_path / "a", reserved=everything, mixture="demo", rows=2000)
    assert list(tmp_path.iterdir()) == []


def test_json_list_and_standard_output(tmp_path, capfdbinary):
    rows, _ = make(tmp_path / "rows.jsonl", rows=5000)
    write_mixture(tmp_path / "rows.json", Recipe(rows=5000), ())
    assert json.loads((tmp_path / "rows.json").read_text()) == rows
    write_mixture("-", Recipe(rows=5000), ())
    assert capfdbinary.readouterr().out == (tmp_path / "rows.jsonl").read_bytes()


# --------------------------------------------------------------------------------- command line

def test_command_line(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert generate_data.main(["--rows", "3000", "--workers", "1"]) == 0
    shown = capsys.readouterr().out
    assert "data/arithmetic.jsonl: 3,000 rows" in shown and "mul n x m" in shown
    assert generate_data.main(["--check", "data/arithmetic.jsonl", "--workers", "2"]) == 0
    assert "3,000 rows, 0 bad" in capsys.readouterr().out
    generate_data.main(["--mixture", "demo", "--rows", "10", "--workers", "1"])
    assert (tmp_path / "data/demo.jsonl").exists()


def test_token_counts(tmp_path, tokenizer, capsys):
    """With a tokenizer the table shows whole rows in tokens."""
    path = tmp_path / "rows.jsonl"
    generate_data.main(["--rows", "500", "--workers", "2", "--tokenizer", str(BASE),
                        "--out", str(path)])
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    lengths = [len(tokenizer.encode_pair(prompt(row["instruction"]), row["output"])[0])
               for row in rows if row["task"] == "mul n x m"]
    figures = [f"{len(lengths)}", f"{sum(lengths) / len(lengths):.1f}", f"{max(lengths)}"]
    shown = capsys.readouterr().out
    assert "tokens a row" in shown
    assert ["mul", "n", "x", "m", *figures] in [line.split() for line in shown.splitlines()]


BAD_ARGUMENTS = [
    (["--mixture", "nope"], "there is no 'nope'"),
    (["--mixture", "longhand"], "there is no 'longhand'"),
    (["--task", "arithmetic", "--mixture", "skills"], "(skills: --task skills)"),
    (["--rows", "0"], "--rows 0"), (["--rows", "-3"], "--rows"),
    (["--omit", "nope"], "nope"), (["--seed", "-1"], "--seed"), (["--workers", "0"], "--workers"),
    (["--bare", "--no-steps"], "choose one"),
    (["--mixture", "skills", "--bare"], "--bare goes with --task arithmetic"),
    (["--task", "longhand", "--questions", "x", "--split", "hard"], "--split and --questions"),
    (["--out", "."], "folder"), (["--out", "/dev/null/rows.jsonl"], "cannot write"),
    (["--tokenizer", "/nowhere"], "no such file or folder"), (["--check", "/dev/null"], "no rows"),
    (["--check", "rows.jsonl", "--seed", "3"], "--seed and --check"),
    (["--check", ""], "--check is empty"), (["--out", ""], "--out is empty"),
]


@pytest.mark.parametrize("arguments, message", BAD_ARGUMENTS)
def test_bad_arguments(arguments, message):
    with pytest.raises(UserError, match=message):
        generate_data.main(arguments)


def test_full_disk_leaves_no_half_file(tmp_path):
    """A limit on the size of files stands for the full disk."""
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    done = subprocess.run([sys.executable, "generate_data.py", "--rows", "9000", "--out",
                           str(tmp_path / "rows.jsonl")], text=True, capture_output=True, cwd=ROOT,
                          preexec_fn=limit)
    assert done.returncode == 2 and "cannot write" in done.stderr and done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_closed_pipe_is_no_error():
    done = subprocess.run(f"{sys.executable} generate_data.py --rows 50000 --out - | head -n 2; "
                          "exit ${PIPESTATUS[0]}", shell=True, text=True, capture_output=True,
                          cwd=ROOT, executable="/bin/bash")
    assert done.stdout.count("\n") == 2 and (done.returncode, done.stderr) == (CLOSED, "")
