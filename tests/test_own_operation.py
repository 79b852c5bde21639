"""README.md, "Add your own operation", done as it says, in a copy of the project: at most sixty
lines in at most two files, and then rows, their check, training, evaluation and questions.

Run: python -m pytest tests/test_own_operation.py
"""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from goat.files.rows import write_lines
from support.asking import operands_in
from support.runs import ROOT

SECTION = re.search(r"(?ms)^## Add your own operation\n.*?(?=^## )",
                    (ROOT / "README.md").read_text(encoding="utf-8"))[0]
NEW, REGISTRY = re.findall(r"(?:Write|In) `(goat/\S+\.py)`", SECTION)
WHOLE, ADDED = re.findall(r"(?ms)^```python\n(.*?)^```$", SECTION)
COMMANDS = [shlex.split(line)[1:] for line in re.findall(r"(?m)^    (python .*)$", SECTION)]
SHORTER = {"--rows": "600", "--max-steps": "2", "--limit": "2", "--batch": "8"}


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A copy with the new operation, written and patched as the page says."""
    folder = tmp_path_factory.mktemp("own")
    shutil.copytree(ROOT / "goat", folder / "goat", ignore=shutil.ignore_patterns("__pycache__"))
    for script in ROOT.glob("*.py"):
        shutil.copy(script, folder)
    (folder / NEW).write_text(WHOLE, encoding="utf-8")
    lines = (folder / REGISTRY).read_text(encoding="utf-8").splitlines()
    first, second = ADDED.splitlines()
    lines.insert(next(i for i, line in enumerate(lines) if line.startswith("from goat")), first)
    (folder / REGISTRY).write_text("\n".join([*lines, second, ""]), encoding="utf-8")
    return folder


def run(project, *arguments, fails=0) -> str:
    done = subprocess.run([sys.executable, *arguments], cwd=project, capture_output=True, text=True,
                          check=False)
    assert done.returncode == fails, done.stdout + done.stderr
    return done.stdout


def test_it_is_short():
    assert len((WHOLE + ADDED).splitlines()) <= 60
    assert max(map(len, (WHOLE + ADDED).splitlines())) <= 110
    assert operands_in("48 gcd 18") is operands_in("gcd of 48 and 18") is None  # it is not ours


def test_what_the_page_says(project):
    """Every command, cut short; each finds what the one before it wrote."""
    said = {}
    for command in COMMANDS:
        short = [SHORTER.get(before, word) for before, word in zip(["", *command], command)]
        said[command[0], *(word for word in command if word in ("--check", "--ask"))] = run(
            project, *short)
    assert all(told in said["generate_data.py",] for told in ("600 rows", "0 such rows stay"))
    assert "600 rows, 0 bad" in said["generate_data.py", "--check"]
    assert said["train.py",].rstrip().endswith(" --suite gcd")
    assert "gcd 2D 2D" in said["eval.py",] and "(not checked" not in said["eval.py", "--ask"]
    rows = [json.loads(line) for line in (project / "data/gcd.jsonl").read_text().splitlines()]
    assert {row["task"] for row in rows} == {"gcd"}
    row = next(row for row in rows if row["output"].count("\n") > 2)
    first, second, *rest = row["output"].split("\n")
    digit = str((int(second[-1]) + 1) % 10)
    wrong = "\n".join([first, second[:-1] + digit, *rest])
    write_lines(project / "data/wrong.jsonl", [row, {**row, "output": wrong}])
    shown = run(project, "generate_data.py", "--check", "data/wrong.jsonl", fails=1)
    assert "2 rows, 1 bad" in shown and "line 2: output, line 2: " in shown
    assert "(subtraction)" in shown


def test_everything_looks_it_up(project):
    """Python's own, questions in words, help texts, and what is kept out of its rows."""
    code = """
import generate_data, goat
from goat.errors import UserError
from goat.evaluation.questions import suite_names
from goat.papers import PAPERS, read_question
from goat.papers.arithmetic import suites
solved = goat.solve("48 gcd 18")
assert solved.answer == "6" and goat.check("48 gcd 18", solved.solution).ok
assert goat.check("48 gcd 18", "6").ok and goat.check("48 gcd 18", "48 gcd 18 = 6").ok
assert not goat.check("48 gcd 18", "9").ok
for a in range(30):
    for b in range(30):
        assert goat.check(f"{a} gcd {b}", goat.solve(f"{a} gcd {b}").solution).ok, (a, b)
found = goat.check("48 gcd 18", solved.solution.replace("36 = 12", "36 = 13"))
assert found.kind == "subtraction" and found.first_error.startswith("line 1: "), found
for text in ("gcd of 48 and 18", "What is the gcd of 48 and 18?", "GCD of 48 and 18, please",
             "What is 48 gcd 18?", "the greatest common divisor of 48 and 18"):
    assert read_question(text)[1] == (48, "gcd", 18), text
for text in ("48gcd18", "gcd of -48 and 18", "48 gcd 18 gcd 6", "gcd of 48 and 18 and 6"):
    assert read_question(text) is None, text
asked = list(PAPERS["arithmetic"].suite("gcd"))
assert {q.cell for q in asked} == {"gcd 1D 1D", "gcd 2D 1D", "gcd 2D 2D"}
assert all(q.small or {q.operands, q.operands[::-1]} <= suites.reserved() for q in asked)
assert "gcd" in suite_names() and "gcd" in generate_data.parser_of("arithmetic").format_help()
try:
    generate_data.main(["--mixture", "lcm"])
    raise AssertionError
except UserError as error:
    assert "gcd" in str(error)
"""
    run(project, "-c", code)
