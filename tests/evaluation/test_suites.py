"""Suites: sizes, operands, answers, wordings, what is reserved; files of questions.

Run: python -m pytest tests/evaluation/test_suites.py
"""

import json
import re
from collections import Counter
from dataclasses import replace

import pytest

from goat.errors import UserError
from goat.evaluation.evaluate import record
from goat.evaluation.questions import fingerprint, load_suites, read_questions, suite_names
from goat.papers import Question, paper_of
from goat.papers.arithmetic import suites, wordings
from goat.papers.arithmetic.operations import OPERATIONS
from support.asking import judge, suite, true_answer


def cells(name, **options):
    groups = {}
    for question in suite(name, **options):
        groups.setdefault(question.cell, []).append(question)
    return groups


@pytest.mark.parametrize("name", sorted(suites.CELLS))
def test_every_suite(name):
    """Answers by Python's integers, no question twice, the prompt names the operands."""
    for cell, questions in cells(name, size=60).items():
        assert len({q.operands for q in questions}) == len(questions), cell
        for q in questions:
            assert q.answer == true_answer(*q.operands)
            a, _, b = q.operands
            assert str(a) in q.instruction and str(b) in q.instruction
            assert q.prompt == q.instruction + "\nAnswer: "
            assert q.input == q.expression == "{} {} {}".format(*q.operands)


def test_bigbench():
    """BIG-bench's 20 cells: wording, small ones whole with zero operands, exact divisions."""
    groups = cells("bigbench")
    assert list(groups) == [f"{op} {n}D" for op in ("add", "sub", "mul", "div")
                            for n in range(1, 6)]
    sizes = {cell: len(questions) for cell, questions in groups.items()}
    assert [sizes[f"{op} 1D"] for op in ("add", "sub", "mul", "div")] == [100, 100, 100, 23]
    whole = sum(a % b == 0 for a in range(10, 100) for b in range(1, 100))
    assert sizes.pop("div 2D") == whole == 450
    assert all(n == 1000 for cell, n in sizes.items() if not cell.endswith("1D"))
    assert any(0 in q.operands for q in groups["mul 1D"])
    for n in range(2, 6):
        for q in groups[f"div {n}D"]:
            a, _, b = q.operands
            assert a % b == 0 and len(str(a)) == n and q.answer == str(a // b)
        for op in ("add", "sub", "mul"):
            assert all(len(str(x)) == n for q in groups[f"{op} {n}D"]
                       for x in (q.operands[0], q.operands[2]))
    assert {len(str(q.operands[2])) for q in groups["div 5D"]} == {1, 2, 3, 4, 5}
    assert any(q.answer.startswith("-") for q in groups["sub 3D"])
    q = groups["mul 3D"][0]
    assert q.instruction == f"What is {q.operands[0]} times {q.operands[2]}?"


def test_large():
    """The paper's twelve cells; the name says the digits."""
    groups = cells("large")
    assert " ".join(groups) == (
        "add 8D+8D add 16D+8D add 16D+16D sub 8D-8D sub 16D-8D sub 16D-16D "
        "mul 1Dx16D mul 4Dx8D mul 6Dx6D div 16D/1D div 6D/3D div 12D/6D")
    for cell, questions in groups.items():
        digits = [int(n) for n in re.findall(r"(\d+)D", cell)]
        assert len(questions) == 1000
        assert all([len(str(q.operands[0])), len(str(q.operands[2]))] == digits for q in questions)
    assert any(" R " in q.answer for q in groups["div 12D/6D"])


def test_extrapolation_goes_beyond_the_training_sizes():
    for q in suite("extrapolation", size=5):
        (_, op, _), digits = q.operands, [len(str(x)) for x in q.operands[::2]]
        if op in "+-":
            assert min(digits) >= 17
        elif 1 in digits:
            assert max(digits) >= 17
        elif op == "*":
            assert sum(digits) > 12
        else:
            assert digits[1] > 6 or digits[0] - digits[1] >= 7


def test_demo_composites_have_no_learnable_operand():
    """An operand of one non-zero digit makes the product a single step."""
    for cell, questions in cells("demo").items():
        if cell in ("mul 2Dx2D", "mul 3Dx3D", "div 3D/2D"):
            assert all(len(str(x).strip("0")) > 1 for q in questions for x in q.operands[::2])
    sizes = {"add 1-8D": 7, "mul 3Dx3D": 3}
    assert {c: len(qs) for c, qs in cells("demo", size=sizes).items()} == sizes


def test_wordings():
    """Held-out questions use held-out templates only, seen ones the others; bare ones none."""
    for q in suite("large", size=10):
        a, op, b = q.operands
        possible = {t.format(input=wordings.vary(a, op, b, *noise), a=a, b=b)
                    for t in set(wordings.slots(op, q.wording == "held out"))
                    for noise in [[i >> k & 1 for k in range(4)] for i in range(16)]}
        assert q.instruction in possible
    asked = Counter(q.wording for q in suite("large", size=10))
    assert asked == {"seen": 60, "held out": 60}
    bare = next(iter(suite("demo", wording="bare")))
    assert bare.instruction == "" and bare.prompt == bare.expression + " = "


def test_fingerprint():
    some = load_suites(["demo"], limit=20)
    assert fingerprint(some) == fingerprint(load_suites(["demo"], limit=20))
    assert fingerprint(some) != fingerprint(load_suites(["demo"], limit=20, seed=1))
    assert fingerprint(some) != fingerprint(some[:-1])


@pytest.mark.parametrize("name", sorted(set(suite_names()) - {"grid"}))
def test_a_limit_takes_the_first_of_each_cell(name):
    """Also where a cell is listed whole, or has fewer questions."""
    first = [q for questions in cells(name).values() for q in questions[:30]]
    assert load_suites([name], limit=30) == first


def test_a_thousand_questions_a_cell():
    """Of the grid too: one number of digits against another, fewer where there are no more."""
    sizes = {c.name: len(suites.operands("grid", c, suites.SIZES["grid"]))
             for c in list(suites.CELLS["grid"]())[:30]}
    assert sizes.pop("add 1D+1D") == 81 and sizes.pop("add 1D+2D") == sizes.pop("add 2D+1D") == 810
    assert set(sizes.values()) == {1000}
    assert {suites.SIZES[name] for name in suites.CELLS if name != "demo"} == {1000}


def test_reserved_questions():
    """All of the reserved suites but small kinds, sums and products both ways."""
    kept_out = suites.reserved()
    for name in suites.CELLS:
        some = list(suites.CELLS[name]())[:: 13 if name == "grid" else 1]
        sizes = {c.name: suites.SIZES[name] for c in some}
        for q in suite(name, size=sizes, wording="bare"):
            a, op, b = q.operands
            assert q.small or q.operands in kept_out
            assert q.small or not OPERATIONS[op].commutative or (b, op, a) in kept_out
    sizes = Counter((op, len(str(a)), len(str(b))) for a, op, b in kept_out)
    assert ("+", 2, 2) not in sizes and ("-", 1, 3) not in sizes and ("/", 2, 1) not in sizes
    # 500 questions of the demo cell 2Dx2D (of 6,561), most of them both ways
    assert 500 < sizes["*", 2, 2] <= 1000


# ------------------------------------------------------------------------------ files of questions


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_rows_as_lines_and_as_a_list(tmp_path):
    rows = [{"instruction": "What is 397x4429?", "input": "397 * 4429", "output": "…",
             "answer": "1758313"},
            {"instruction": "", "input": "12 - 30 = ", "output": "-18", "answer": "-18"},
            {"instruction": "Tom has 3 eggs.", "input": "", "answer": "3", "task": "words"}]
    lines = write(tmp_path / "rows.jsonl", "\n".join(map(json.dumps, rows)) + "\n\n")
    questions = read_questions(lines)
    assert [q.cell for q in questions] == ["mul 3Dx4D", "sub 2D-2D", "words"]
    assert questions[0].operands == (397, "*", 4429) and questions[0].suite == "rows"
    assert questions[1].prompt == "12 - 30 = " and questions[2].operands is None
    whole = write(tmp_path / "rows.json", json.dumps(rows, indent=2))
    assert read_questions(whole) == questions
    assert read_questions(whole, limit=1) == questions[:1]


def test_an_expression_that_is_not_what_is_asked(tmp_path):
    """A row of the mixture `skills` and a story; but a wrong label is asked for all the same."""
    rows = [{"instruction": "", "input": "What is 5 plus 3?\nExpression: ", "answer": "5 + 3",
             "task": "question"},
            {"instruction": "Tom runs 3-5 miles a day. How far in a week?", "answer": "28",
             "task": "word_problems"},
            {"instruction": "What is 397 x 4429?", "answer": "1,758,313"}]
    path = write(tmp_path / "rows.jsonl", "\n".join(map(json.dumps, rows)))
    questions = read_questions(path)
    assert [(q.operands, q.cell) for q in questions] == [
        (None, "question"), (None, "word_problems"), ((397, "*", 4429), "mul 3Dx4D")]
    assert judge(questions[0], "5 + 3").right
    assert [q.operands for q in read_questions(path, answers=False, anywhere=True)] == [
        (5, "+", 3), None, (397, "*", 4429)]


@pytest.mark.parametrize("task, flags", [
    ("skills", "skills"), ("alone", "skills"), ("climb", "skills"), ("add", "demo"), ("", "demo"),
    ("longhand columns", "longhand"), ("word_problems", "word_problems --interpreter")])
def test_what_a_run_is_evaluated_on(task, flags):
    assert paper_of(task).evaluation_flags(task) == f"--suite {flags}"


def test_bigbench_json_and_line_pairs(tmp_path):
    task = {"name": "x", "examples": [{"input": "What is 417 plus 285?", "target": "702"},
                                      {"input": "What is 8 divided by 4?", "target": ["2"]}]}
    for indent, before in ((None, ""), (2, ""), (2, " \n")):
        path = write(tmp_path / "task.json", before + json.dumps(task, indent=indent))
        assert [(q.operands, q.answer) for q in read_questions(path)] == [
            ((417, "+", 285), "702"), ((8, "/", 4), "2")]
    task["examples"] = [{"input": "What is 3 times 4?",
                         "target_scores": {"10": 0, "12": 1, "14": 0}}]
    path = write(tmp_path / "choices.json", json.dumps(task))
    assert [q.answer for q in read_questions(path)] == ["12"]
    task["examples"] = [{"input": "A dozen?", "target": ["12", "twelve", ""]},
                        {"input": "6?", "target_scores": {"six": 1, "7": 0, "6": 1}}]
    questions = read_questions(write(tmp_path / "more.json", json.dumps(task)))
    assert [(q.answer, q.also) for q in questions] == [("12", ("twelve",)), ("six", ("6",))]
    said = ("12", "twelve", "6", "six", "")
    assert [[text for text in said if record(q, text).right] for q in questions] == [
        ["12", "twelve"], ["6", "six"]]
    assert fingerprint(questions) != fingerprint([replace(q, also=()) for q in questions])
    row = {"instruction": "Add.", "input": "1 + 1", "output": "", "answer": "2", "examples": [1]}
    path = write(tmp_path / "rows.jsonl", f"{json.dumps(row)}\n{json.dumps(row)}\n")
    assert [q.prompt for q in read_questions(path)] == ["Add.\nAnswer: "] * 2  # a further field
    path = write(tmp_path / "pairs.txt", "Work out 8 * 31.\n248\nSubtract 5 from 9.\n4\n")
    assert read_questions(path) == [
        Question("pairs", "mul 1Dx2D", "Work out 8 * 31.", "", "248", operands=(8, "*", 31)),
        Question("pairs", "sub 1D-1D", "Subtract 5 from 9.", "", "4", operands=(9, "-", 5))]


@pytest.mark.parametrize("text, message", [
    ('{"instruction": "a", "answer": "1"}\n{"instruction": "b"}\n', "line 2: the row has no ans"),
    ('{"instruction": "a", "answer": "1"}\n{"instruc\n', "line 2: not a JSON object"),
    ('{"instruction": "a", "answer": 1}\n', "line 1: the field 'answer' must be a string"),
    ('{"instruction": "a", "answer": "\\ud800"}\n', "line 1: the field 'answer' holds half of"),
    ('{"instruction": "a", "answer": ' + "1" * 5000 + "}\n", "line 1: not a JSON object"),
    ('{"answer": "1"}\n', "line 1: the row has neither"),
    ('{"instruction": "a", "answer": "1"}\n[1]\n', "line 2: a row must be a JSON object"),
    ('[{"instruction": "a", "answer": "1"}, {"instruction": "b"}]', "row 2: the row has no answer"),
    ('[{"instruction": "a",\n nonsense}]', "the list breaks off or is not JSON after row 0"),
    ('{"examples": [{"input": "a", "target": ["1", 1]}]}', "field 'answer' must be a string"),
    ('{"examples": [{"input": "a"}]}', "example 1: the row has no answer"),
    ('{"examples": [{"input": "a", "target_scores": {"1": 0}}]}', "example 1: the row has no ans"),
    ("What is 3 + 4?\n7\nWhat is 1 + 1?\n", "line 3: the last question has no answer line"),
    ("", "no questions in this file"),
])
def test_bad_files_are_named_with_their_line(tmp_path, text, message):
    path = write(tmp_path / "bad.jsonl", text)
    with pytest.raises(UserError) as error:
        read_questions(path)
    assert message in str(error.value) and str(error.value).count(str(path)) == 1
    assert "\n" not in str(error.value)


def test_a_file_that_is_no_text(tmp_path):
    (tmp_path / "model.bin").write_bytes(b"\x80\xff" * 9)
    with pytest.raises(UserError, match="model.bin: this is not a text file in UTF-8"):
        read_questions(tmp_path / "model.bin")
