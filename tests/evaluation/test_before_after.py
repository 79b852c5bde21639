"""The table of the first command.

Run: python -m pytest tests/evaluation/test_before_after.py
"""

from goat.evaluation.before_after import comparison
from goat.evaluation.evaluate import Record


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
