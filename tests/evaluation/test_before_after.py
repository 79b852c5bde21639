"""The table of the first command, and files that are no results.

Run: python -m pytest tests/evaluation/test_report.py
"""

import pytest

from goat.errors import UserError
from goat.evaluation.before_after import comparison
from goat.evaluation.evaluate import Record
from goat.evaluation.report import read_results


def records(right: dict[tuple[str, str], list[bool]]) -> list[Record]:
    return [Record("demo", cell, wording, False, "?", None, "1", "1", "1", found, None, None)
            for (wording, cell), several in right.items() for found in several]


def test_the_table_before_and_after():
    bare, words = "bare", "held out"
    before = records({(bare, "add 1-8D"): [True] * 2 + [False] * 2, (bare, "sub 1-8D"): [True] * 4,
                      (words, "add 1-8D"): [False], (words, "sub 1-8D"): [True]})
    after = records({(bare, "add 1-8D"): [True] * 4, (bare, "sub 1-8D"): [True] * 3 + [False],
                     (words, "add 1-8D"): [True], (words, "sub 1-8D"): [True]})
    rows = [line.rsplit(maxsplit=6) for line in comparison(before, after).splitlines()]
    assert [[row[0].strip(), *row[1:]] for row in rows if row[-2] == "to"] == [
        ["add 1-8D", "4", "50.0", "100.0", "51.0", "to", "100.0"],
        ["sub 1-8D", "4", "100.0", "75.0", "30.1", "to", "95.4"],
        ["add and sub pooled", "8", "75.0", "87.5", "52.9", "to", "97.8"],
        ["add 1-8D", "1", "0.0", "100.0", "20.7", "to", "100.0"],
        ["sub 1-8D", "1", "100.0", "100.0", "20.7", "to", "100.0"],
        ["add and sub pooled", "2", "50.0", "100.0", "34.2", "to", "100.0"]]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"records": 1}', '{"records": [{"a": 1}]}',
                                  '{"records": [' + "1" * 5000 + "]}"])
def test_what_is_no_results_file_is_refused(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(UserError, match="a.json: this is no results file of eval.py"):
        read_results(tmp_path / "a.json")
