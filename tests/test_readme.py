"""The README is true: its commands parse, the quick ones run, the files it names exist.

Run: python -m pytest tests/test_readme.py
"""

import re
import shlex

import pytest
from conftest import ROOT

import eval as evaluation
import generate_data
import train

README = (ROOT / "README.md").read_text(encoding="utf-8")
CARD = (ROOT / "goat" / "base" / "README.md").read_text(encoding="utf-8")
PARSERS = {"train.py": train.parse_args, "eval.py": evaluation.parse_args,
           "generate_data.py": generate_data.parse_args}


def commands(text: str) -> list[list[str]]:
    """Every script call in the indented blocks of a page: [script, argument, …]."""
    found = []
    for line in re.findall(r"^    (?!\s)(.*)$", text, flags=re.M):
        for part in line.split("&&"):
            words = shlex.split(part, comments=True) if part.count("'") % 2 == 0 else []
            scripts = [i for i, word in enumerate(words) if word in PARSERS]
            if scripts and ("python" in words[0] or "torchrun" in words[0]):
                found.append(words[scripts[0]:])
    return found


ALL = commands(README) + commands(CARD)


def test_there_are_commands_for_every_script():
    assert {words[0] for words in ALL} == set(PARSERS)
    assert len(ALL) >= 12


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_flags_are_understood(words):
    PARSERS[words[0]](words[1:])


@pytest.mark.parametrize("words", [w for w in ALL if w[0] == "generate_data.py" and "--rows" in w
                                   and "--from-model" not in w], ids=" ".join)
def test_small_data_commands_run(words, tmp_path, monkeypatch):
    """At most 2,000 rows each, to save time."""
    monkeypatch.chdir(tmp_path)
    place = words.index("--rows") + 1
    words = [*words[:place], str(min(2000, int(words[place]))), *words[place + 1:]]
    assert not generate_data.main(words[1:])
    out = words[words.index("--out") + 1]
    lines = (tmp_path / out).read_text().splitlines()
    assert len(lines) == int(words[place])
    assert not generate_data.main(["--check", out])


def test_files_named_in_the_table_exist():
    named = re.findall(r"^\| (`.*?) \|", README, flags=re.M)
    paths = [path for cell in named for path in re.findall(r"`([^` ]+)`", cell)]
    assert len(paths) > 10
    for path in paths:
        assert (ROOT / path).exists(), path


def test_the_one_line_commands_are_complete():
    """Both set up a fresh environment by themselves; .ci/run looks them up by these words."""
    one_liners = re.findall(r"^    python3 -m venv \.venv && .*$", README, flags=re.M)
    assert len(one_liners) == 2
    assert one_liners[0].endswith("train.py --lora-r 64") and one_liners[1].endswith("-m pytest")
