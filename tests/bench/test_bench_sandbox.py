"""The sandbox beside plain subprocesses.

Run: python -m pytest tests/bench/test_bench_sandbox.py
"""

from goat.bench import sandbox as bench
from goat.papers.word_problems import sandbox


def test_bench_compares_with_plain_subprocesses(capsys):
    bench.main(["--snippets", "20", "--sympy", "2", "--plain", "3"])
    text = capsys.readouterr().out
    assert "snippets/s" in text and "x as fast" in text
    assert ("with sympy" in text) == bool(sandbox.sympy_folders())
