"""The pages are true: their commands parse, the quick ones run, what they name exists.

Pages are README.md, the front page, and every README.md under goat/. All but the front page are
results pages: each of their tables stands under one line that says where its figures come from,

    Measured: date | torch | device | seed | command
    Quoted: from where                                     other people's figures only
    Key: of what                                           no figures

Run: python -m pytest tests/test_readme.py
"""

import importlib
import re
import shlex
import subprocess
import sys
from argparse import ArgumentParser

import pytest

import eval as evaluation
import generate_data
import train
from goat.bench import __main__ as bench
from goat.errors import UserError
from goat.files.vocabulary import open_tokenizer
from goat.papers.arithmetic.solutions import solve
from support.runs import BASE, ROOT

FRONT = ROOT / "README.md"
RESULTS = sorted((ROOT / "goat").rglob("README.md"))
PAGES = [FRONT, *RESULTS]
TEXT = {page: page.read_text(encoding="utf-8") for page in PAGES}
PARSERS = {"train.py": train.parse_args, "eval.py": evaluation.parse_args,
           "generate_data.py": generate_data.parse_args}
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
each_result = pytest.mark.parametrize("page", RESULTS, ids=lambda page: page.parent.name)


def commands(text: str) -> list[tuple[str, ...]]:
    """Every script call of a page, in indented blocks and in `…`: (script, argument, …)."""
    found, text = [], re.sub(r"(?ms)^```python\n.*?^```$", "", text)
    indented = re.findall(r"(?m)^    (?!\s)(.*)$", text)
    for line in indented + re.findall(r"`(python [^`]+)`", text):
        for part in line.split("&&"):
            words = shlex.split(part, comments=True) if part.count("'") % 2 == 0 else []
            scripts = [i for i, word in enumerate(words) if word in PARSERS]
            if scripts and ("python" in words[0] or "torchrun" in words[0]):
                found.append(tuple(words[scripts[0]:]))
    return found


ALL = list(dict.fromkeys(words for text in TEXT.values() for words in commands(text)))


def test_the_journey_of_a_row_tells_true_numbers():
    told = re.search(r"makes (\d+) ids.*?prompt's are (\d+).*?answer, whose (\d+).*?"
                     r"(\d+) ids are read.*?The (\d+)\s+labels", TEXT[FRONT], re.S).groups()
    ids, n = open_tokenizer(BASE).encode_pair("What is 12 x 34?\nAnswer: ",
                                              solve("12 * 34").solution)
    assert list(map(int, told)) == [len(ids), n, len(ids) - n, len(ids) - 1, n - 1]


def test_there_are_commands_for_every_script():
    assert {words[0] for words in commands(TEXT[FRONT])} == set(PARSERS)
    assert len(ALL) >= 120 and len(MODULES) >= 10


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_flags_are_understood(words):
    PARSERS[words[0]](list(words[1:]))


MODULES = sorted({tuple(shlex.split(line, comments=True)) for text in TEXT.values()
                  for line in re.findall(r"(?m)^    python -m (goat.*)$", text)
                  + re.findall(r"\| `python -m (goat[^`]*)`$", text, re.MULTILINE)})


@pytest.mark.parametrize("words", MODULES, ids=" ".join)
def test_flags_of_modules_are_understood(words, monkeypatch):
    """`python -m goat.files.adapter average …`, `python -m goat.bench data`: parsed, no more."""
    class Parsed(Exception):
        pass

    def parse(parser, arguments):
        parse_args(parser, arguments)
        raise Parsed

    parse_args = ArgumentParser.parse_args
    monkeypatch.setattr(ArgumentParser, "parse_args", parse)
    name, *flags = words
    with pytest.raises(Parsed):
        if name == "goat.bench":
            monkeypatch.setattr(sys, "argv", words)
            bench.main()
        importlib.import_module(name).main(flags)


def test_a_benchmark_that_does_not_exist_is_named(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["goat.bench", "speed"])
    with pytest.raises(UserError, match="no benchmark is called 'speed'; there are: data, dec"):
        bench.main()


def kind(words: tuple[str, ...]) -> tuple[str, ...]:
    """A command without its rows, seed and place."""
    return tuple(word for before, word in zip(("", *words), words)
                 if not {before, word} & {"--rows", "--seed", "--out"})


SMALL = {kind(words): words for words in ALL if words[0] == "generate_data.py"
         and "--rows" in words and not {"--from-model", "gcd"} & set(words)}


@pytest.mark.parametrize("words", SMALL.values(), ids=" ".join)
def test_small_data_commands_run(words, tmp_path, monkeypatch):
    """One of each kind, at most 2,000 rows, to save time. (The mixture gcd is the reader's own: see
    test_own_operation.py.)"""
    monkeypatch.chdir(tmp_path)
    place = words.index("--rows") + 1
    words = [*words[:place], str(min(2000, int(words[place]))), *words[place + 1:]]
    assert not generate_data.main(words[1:])
    out = words[words.index("--out") + 1]
    lines = (tmp_path / out).read_text().splitlines()
    assert len(lines) == int(words[place])
    assert not generate_data.main(["--check", out])


def test_the_one_line_commands_are_complete():
    """Both set up a fresh environment by themselves; .ci/run looks them up by these words."""
    one_liners = re.findall(r"(?m)^    python3 -m venv \.venv && .*$", TEXT[FRONT])
    assert len(one_liners) == 2
    assert one_liners[0].endswith("train.py --lora-r 64") and one_liners[1].endswith("-m pytest")


def test_the_front_page_is_one_page():
    """With the code of an operation, which a reader adds."""
    assert len(TEXT[FRONT].splitlines()) <= 290


def test_the_lines_from_python_run():
    block = re.search(r"(?m)^## From Python\n\n((?:    .*\n)+)", TEXT[FRONT])[1]
    code = re.sub(r"(?m)^    ", "", block)
    assert len(code.splitlines()) == 6
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True,
                         check=False)
    assert run.returncode == 0, run.stderr
    checked, answers = run.stdout.split("\n", 1)  # what the sandbox prints ends in one too
    assert "1758313" in checked and answers.split() == ["1758313", "1758313"]


# ------------------------------------------------------------------------------- what is named


@each_page
def test_files_named_on_a_page_exist(page):
    """All in `…` that begin with goat/ or tests/, and all in the front page's tables."""
    named = re.findall(r"`((?:goat|tests)/[^` ]*)`", TEXT[page])
    if page == FRONT:
        cells = re.findall(r"(?m)^\| (`.*?) \|", TEXT[page])
        named += [path for cell in cells for path in re.findall(r"`([^` ]+)`", cell)]
        assert len(named) > 20
    written = re.findall(r"Write `([^`]*)`", TEXT[page])  # by the reader
    for path in set(named) - set(written):
        assert (ROOT / path).exists(), path


@each_page
def test_modules_named_on_a_page_exist(page):
    for name in re.findall(r"python -m (goat[\w.]*)", TEXT[page]):
        path = ROOT / name.replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), name


def anchors(text: str) -> set[str]:
    """The names that GitHub gives to the headings of a page."""
    headings = re.findall(r"(?m)^#+ (.*)$", text)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@each_page
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", TEXT[page]):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        place = (page.parent / path).resolve() if path else page
        assert place.is_file(), target
        assert not anchor or anchor in anchors(TEXT[place]), target


def test_the_front_page_leads_to_every_results_page():
    linked = {(ROOT / path).resolve() for path in re.findall(r"\]\(([^)\s#]+)\)", TEXT[FRONT])}
    assert linked >= set(RESULTS)


# ------------------------------------------------------------------------- where figures are from


def wrong_sources(text: str) -> list[str]:
    """The first lines of the tables that do not have one line of provenance to themselves, between
    them and the heading or table before; and the `Measured:` lines without five fields."""
    wrong, sources, before = [], [], ""
    for line in text.splitlines():
        if line.startswith("Measured:"):
            fields = [field.strip() for field in line.removeprefix("Measured:").split(" | ")]
            if len(fields) != 5 or not all(fields) or not re.match(r"\d{4}-\d\d-\d\d", fields[0]):
                wrong.append(line)
        if line.startswith(("Measured:", "Quoted:", "Key:")):
            sources.append(line)
        elif line.startswith("#"):
            sources = []
        elif line.startswith("|") and not before.startswith("|"):
            if len(sources) != 1:
                wrong.append(line)
            sources = []
        before = line
    return wrong


@each_result
def test_every_table_says_where_its_figures_come_from(page):
    assert wrong_sources(TEXT[page]) == []


def test_a_table_without_provenance_is_found():
    table = "| a | b |\n|---|---|\n| 1 | 2 |\n"
    line = "Measured: 2026-11-26 | torch 2.13.0 | a CPU | seed 0 | the commands above\n\n"
    assert wrong_sources(f"# A\n\n{line}{table}") == []
    assert wrong_sources(f"# A\n\n{table}") == ["| a | b |"]
    assert wrong_sources(f"# A\n\n{line}{table}\nText.\n\n{table}") == ["| a | b |"]  # the second
    assert wrong_sources(f"# A\n\n{line}## B\n\n{table}") == ["| a | b |"]
    assert len(wrong_sources(f"# A\n\n{line.replace(' | seed 0', '')}{table}")) == 1
