"""Rows of word problems, as the script writes them."""

import json

import pytest

import generate_data


@pytest.fixture
def make(tmp_path, capsys):
    """Run generate_data.py: (the rows, what it printed)."""
    def call(*flags, out="rows.jsonl", code=0):
        assert generate_data.main(["--task", "word_problems", "--out", str(tmp_path / out),
                                   *map(str, flags)]) == code
        rows = [json.loads(line) for line in (tmp_path / out).read_text().splitlines()]
        return rows, capsys.readouterr().out
    return call
