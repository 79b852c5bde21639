"""Which part of the project may import which: the source is read, nothing is run.

A wing stands on a floor, and imports run downwards only. Each rule is shown to catch a violation.
Run: python -m pytest tests/test_imports.py
"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from support.runs import ROOT

FLOORS = [("errors",), ("device", "cli", "stats"), ("distributed",), ("llama",), ("files",),
          ("papers",), ("base",), ("evaluation",), ("training",),
          ("train", "eval", "generate_data"), ("bench",)]
FLOOR = {wing: number for number, wings in enumerate(FLOORS) for wing in wings}
PAPERS = ("arithmetic", "longhand", "word_problems")
WITH_LLAMA = ("interpreter", "value_head", "rerank", "self_training")  # of word_problems
SCRIPTS = ("train", "eval", "generate_data")
OURS = [*(ROOT / "goat").rglob("*.py"), *(ROOT / f"{script}.py" for script in SCRIPTS)]


def name_of(file: Path) -> str:
    """goat/llama/model.py -> "goat.llama.model"."""
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(source: str, everywhere: bool = True) -> set[str]:
    """The modules that a source imports, those for type checkers alone excepted; with
    `everywhere=False` only those that it imports when it is imported itself."""
    found, todo = set(), list(ast.parse(source).body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif everywhere or not isinstance(node, ast.FunctionDef):
            todo += ast.iter_child_nodes(node)
    return found


def wing(module: str) -> str | None:
    """ "goat.llama.model" -> "llama", "train" -> "train"; None for what is not ours."""
    parts = module.split(".")
    if parts[0] != "goat":
        return parts[0] if parts[0] in FLOOR else None
    return parts[1] if len(parts) > 1 and parts[1] in FLOOR else None


def violations(module: str, source: str) -> list[str]:
    """Every import of a module that a rule forbids, with the rule."""
    own, found = module.split("."), []
    for imported in sorted(imports(source)):
        parts = imported.split(".")
        mine, other = wing(module), wing(imported)
        if mine and other and mine != other and FLOOR[other] >= FLOOR[mine]:
            found.append(f"{module} imports {imported}: {other} stands above {mine}")
        room = parts[2] if imported.startswith(tuple(f"goat.papers.{p}" for p in PAPERS)) else None
        if room and own[:2] == ["goat", "papers"] and own[2:3] != [room]:
            found.append(f"{module} imports {imported}: no paper imports another")
        if room and module in SCRIPTS:
            found.append(f"{module} imports {imported}: scripts reach a paper through PAPERS")
        if other == "llama" and own[:2] == ["goat", "papers"] and own[-1] not in WITH_LLAMA:
            found.append(f"{module} imports {imported}: only {', '.join(WITH_LLAMA)} may")
    return found


@pytest.mark.parametrize("file", OURS, ids=name_of)
def test_imports_run_downwards(file):
    assert violations(name_of(file), file.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("module, source, rule", [
    ("goat.llama.tokenizer", "from goat.papers.word_problems.format import TAGS", "above"),
    ("goat.llama.model", "from goat import cli\nfrom goat.files import rows", "above"),
    ("goat.distributed", "from goat.llama.model import Llama", "above"),
    ("goat.files.rows", "def f():\n    import goat.training.batches", "above"),
    ("goat.papers.arithmetic.suites", "from goat.evaluation import questions", "above"),
    ("goat.evaluation.report", "from goat.training.memory import GB", "above"),
    ("goat.training.batches", "import train", "above"),
    ("train", "from goat.bench import gpu", "above"),
    ("goat.errors", "from goat.cli import run", "above"),
    ("goat.papers.longhand.forms", "from goat.papers.arithmetic.solutions import check", "another"),
    ("goat.papers", "from goat.papers.arithmetic import suites", "another"),
    ("eval", "from goat.papers.word_problems import rerank", "through PAPERS"),
    ("goat.papers.word_problems.gsm8k", "from goat.llama.model import Llama", "only interpreter"),
    ("goat.papers.longhand.questions", "import goat.llama.generate", "only interpreter")])
def test_a_planted_violation_is_caught(module, source, rule):
    assert any(rule in said for said in violations(module, source))


def test_what_is_for_type_checkers_alone_does_not_count():
    assert violations("goat.llama.model", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n"
                      "    from goat.papers import Question") == []


def test_there_is_no_circle():
    graph = {name_of(file): imports(file.read_text(encoding="utf-8"), everywhere=False)
             for file in OURS}
    graph = {module: found & graph.keys() - {module} for module, found in graph.items()}
    while leaves := {module for module, found in graph.items() if not found & graph.keys()}:
        graph = {module: found for module, found in graph.items() if module not in leaves}
    assert not graph  # what is left imports one another


def fresh(code: str) -> str:
    """What a new interpreter prints."""
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True,
                          check=True).stdout.strip()


def test_the_public_names_come_when_they_are_used():
    assert fresh("import goat, sys; print('torch' in sys.modules, 'goat.llama' in sys.modules)") \
        == "False False"
    assert fresh("import goat\nfor name in goat.__all__: assert getattr(goat, name).__doc__, name\n"
                 "print(*goat.__all__)") == (
        "Tokenizer add_lora check digit_match exact_match generate load_adapter load_model merge "
        "run_code same_answer save_adapter save_model solve")
    with pytest.raises(subprocess.CalledProcessError):
        fresh("import goat; goat.no_such_name")


def test_rows_and_questions_come_without_torch(tmp_path):
    """And word problems, with their sandbox, without numpy."""
    flags = ["--rows", "9", "--workers", "1", "--out", str(tmp_path / "rows.jsonl"), "--task"]
    code = ("import sys\nfrom goat.papers.word_problems import gsm8k, sandbox, templates\n"
            "assert 'numpy' not in sys.modules\n"
            "import generate_data\nfor task in generate_data.PAPERS:\n"
            f"    generate_data.main([*{flags}, task])\n"
            "from goat.evaluation.questions import load_suites, suite_names\n"
            "load_suites(suite_names(), limit=1)\n"
            "print(sys.modules.keys() & {'torch', 'sentencepiece'})")
    assert fresh(code).endswith("set()")
