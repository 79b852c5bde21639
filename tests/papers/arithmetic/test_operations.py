"""What a record of an operation needs, and that an odd one is written, drawn and worded.

tests/test_own_operation.py does what README.md says of a new one. Run: python -m pytest
tests/papers/arithmetic/test_operations.py
"""

import json
from dataclasses import replace
from functools import partial

import pytest

from goat.errors import UserError
from goat.papers import Question
from goat.papers.arithmetic import dataset, mixtures, suites
from goat.papers.arithmetic.operation import Operation
from goat.papers.arithmetic.operations import (OPERATIONS, PLUS, add_own, operation, register,
                                                spellings)
from goat.papers.arithmetic.solutions import first_error, parse_question
from goat.papers.arithmetic.wordings import vary


@pytest.mark.parametrize("use", [
    operation, lambda op: first_error(48, op, 18, "6"),
    lambda op: vary(48, op, 18, False, False, False, False)])
def test_an_unknown_symbol_lists_the_known_ones(use):
    with pytest.raises(UserError, match="there is no operation 'lcm'; there are") as error:
        use("lcm")
    assert all(symbol in str(error.value) for symbol in OPERATIONS)
    with pytest.raises(UserError, match="cannot read '48 lcm 18'"):
        parse_question("48 lcm 18")


@pytest.mark.parametrize("change, message", [
    ({"symbol": "plus one"}, "no white space"), ({"symbol": "+1"}, "no white space, digits"),
    ({"wordings": ()}, "needs a wording"), ({"wordings": ("Add {a}.",)}, "must name"),
    ({"wordings": ("Add {a}, {a} and {b}.",)}, "must name"),
    ({"wordings": ("{c}: {a} and {b}",)}, "must name"), ({"sizes": ((0, 2),)}, "1 to 18 digits"),
    ({"sizes": ((2, 19),)}, "1 to 18 digits")])
def test_a_record_that_cannot_be_used_is_refused(change, message):
    with pytest.raises(UserError, match=message):
        replace(PLUS, **change)


def solve_oddly(a, b, steps, omit):
    """A working of everything that JSON escapes."""
    return f'"{a}"\\\t→ {b}\r\n= {a}\n"é"', '"é"'


@pytest.fixture
def odd(monkeypatch):
    """An operation that is no word, has a single wording and no words for noise."""
    op = Operation('"\\', "odd", solve_oddly, lambda a, b, text: None, ('Say "{b}\\{a}"',),
                   commutative=True, sizes=((1, 1), (2, 3)))
    monkeypatch.setitem(OPERATIONS, op.symbol, op)
    monkeypatch.setitem(mixtures.OPERATORS, "odd", op.symbol)
    monkeypatch.setitem(mixtures.MIXTURES, "odd", partial(mixtures.own_cells, op))
    monkeypatch.setitem(suites.CELLS, "odd", partial(suites.own_cells, op))
    monkeypatch.setitem(suites.SIZES, "odd", 40)
    dataset._table.cache_clear()
    return op


@pytest.mark.parametrize("variant", [{}, {"bare": True}, {"held_out": True}, {"order": "blocks"}])
def test_rows_of_any_working_are_valid_json(odd, variant, tmp_path):
    recipe = dataset.Recipe(mixture="odd", rows=6000, **variant)
    report = dataset.write_mixture(tmp_path / "rows", recipe, ())
    rows = [json.loads(line) for line in (tmp_path / "rows").read_text().splitlines()]
    assert report.tasks["odd"].rows == len(rows) == 6000
    for row in rows:
        a, symbol, b = row["input"].split(" ")
        solution, answer = solve_oddly(a, b, True, ())
        assert symbol == odd.symbol and row["answer"] == answer
        assert row["output"] == (answer if recipe.bare else solution)
        assert a in row["instruction"] and b in row["instruction"]
    worded = {f'Say "{b}\\{a}"' for a, _, b in (row["input"].split(" ") for row in rows)}
    assert any(row["instruction"] in worded for row in rows) == (not recipe.bare
                                                               and not recipe.held_out)


def test_its_suite_is_kept_out_of_its_rows(odd, tmp_path):
    asked = list(suites.questions("odd", size=5000))
    assert {q.cell for q in asked} == {'odd 1D"\\1D', 'odd 2D"\\3D'}
    assert [q.small for q in asked].count(True) == 81  # those of one digit, which are all asked
    assert {q.wording for q in asked} == {"seen", "held out"}
    kept = frozenset(q.operands for q in asked if not q.small)
    path = tmp_path / "rows"
    report = dataset.write_mixture(path, dataset.Recipe("odd", 6000), kept)
    rows = [json.loads(line)["input"] for line in path.read_text().splitlines()]
    assert report.left_out > 100 and not {"{} {} {}".format(*o) for o in kept} & set(rows)


@pytest.mark.parametrize("op", OPERATIONS.values(), ids=lambda op: op.name)
def test_the_same_question_either_way(op):
    questions = [Question("s", "c", "", "", "", operands=pair)
                 for pair in ((7, op.symbol, 9), (9, op.symbol, 7))]
    assert (questions[0].asked == questions[1].asked) == op.commutative


def test_names_are_not_taken_twice(monkeypatch):
    monkeypatch.setitem(OPERATIONS, "&", replace(PLUS, symbol="&", name="demo", sizes=((1, 1),)))
    with pytest.raises(UserError, match="something else called 'demo'"):
        add_own(dict(mixtures.MIXTURES), lambda op: op)
    with pytest.raises(UserError, match="'plus' stands for two operations"):
        spellings(lambda op: op.spoken)


@pytest.mark.parametrize("changes", [
    dict(symbol="+"), dict(name="add"), dict(tasks=("mul n x 1",)), dict(name="div n / m"),
    dict(name="skills"), dict(name="word_problems")], ids=str)
def test_no_operation_passes_for_another(changes):
    before = dict(OPERATIONS)
    fresh = dict(symbol="cat", name="cat", tasks=("cat",), verbs=(), noun="")
    with pytest.raises(UserError, match="already|the name of a task"):
        register(replace(PLUS, **fresh | changes))
    assert before == OPERATIONS


