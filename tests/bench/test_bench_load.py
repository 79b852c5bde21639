"""Reading a model, measured in fresh processes.

Run: python -m pytest tests/bench/test_bench_load.py
"""

import pytest

from goat.bench import load
from goat.errors import UserError


def test_a_model_is_read_and_its_loss_told(tiny_base, monkeypatch, capsys):
    monkeypatch.setattr(load, "installed", lambda *names: False)
    load.main(["--base", str(tiny_base), "--rounds", "1"])
    lines = capsys.readouterr().out.splitlines()
    for name in ("settings and tokenizer", "fp32", "8 bits"):
        line = next(line for line in lines if line.startswith(f"{name:24}"))
        seconds, peak = map(float, line[24:].split())
        assert seconds >= 0 and peak > 50, line
    assert any(line.startswith("loss of a text of ") for line in lines)


def test_why_a_fresh_process_failed_is_told():
    with pytest.raises(UserError, match="a fresh process failed: ValueError: no such thing"):
        load.timed("raise ValueError('no such thing')")
