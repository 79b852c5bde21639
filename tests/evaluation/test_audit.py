"""`generate_data.py --check`: finds every kind of bad row, reads ours and the published format.

Run: python -m pytest tests/evaluation/test_audit.py
"""

import json

import pytest

import generate_data
from goat.errors import UserError
from goat.evaluation import audit
from goat.files.rows import write_lines

GOOD = {"instruction": "Work out 62x5083.", "input": "62 * 5083", "answer": "315146",
        "output": "62 * 5083 = 5083 * (60 + 2) = 5083 * 60 + 5083 * 2 = 304980 + 10166 = 315146"}


@pytest.mark.parametrize("change, reason", [
    ({"output": GOOD["output"].replace("10166", "10176")}, "equation 3: 5083 * 2 is 10166"),
    ({"answer": "315147"}, "answer '315147' is not that of the output"),
    ({"instruction": "Work out 62x5084."}, "does not ask 62 * 5083"),
    ({"instruction": "Work out 62 + 5083."}, "does not ask 62 * 5083"),
    ({"instruction": "Add 62 and 5083."}, "does not ask 62 * 5083"),
    ({"instruction": "Work out 62 x 5083 x 2"}, "cannot find the question"),
    ({"instruction": "Tell me a joke."}, "cannot find the question"),
    ({"input": "62*5083"}, "no expression of the form"),
    ({"input": ""}, "no expression of the form"),
    ({"output": None}, "'output' must be a string"),
])
def test_check_names_what_is_wrong(change, reason, tmp_path, capsys):
    path = tmp_path / "rows.jsonl"
    write_lines(path, [GOOD, GOOD, {**GOOD, **change}])
    assert generate_data.main(["--check", str(path), "--workers", "1"]) == 1
    shown = capsys.readouterr().out
    assert "3 rows, 1 bad" in shown and "line 3: " in shown and reason in shown


@pytest.mark.parametrize("prompt, output", [
    ("12 + 30 = ", "42"), ("12 + 30", "42"), ("12 + 30", "12 + 30 = 42"),
    ("62 * 5083 = ", "5083 * (60 + 2) = 5083 * 60 + 5083 * 2 = 304980 + 10166 = 315146")])
def test_rows_whose_input_is_the_whole_prompt_are_checked(prompt, output, tmp_path):
    row = {"instruction": "", "input": prompt, "output": output, "answer": output.split(" ")[-1]}
    write_lines(tmp_path / "rows.jsonl", [row])
    assert generate_data.main(["--check", str(tmp_path / "rows.jsonl"), "--workers", "1"]) == 0


def test_check_of_skills(tmp_path, capsys):
    """Each equation of two numbers, and the answer; all rows that are written hold."""
    path = tmp_path / "skills.jsonl"
    generate_data.main(["--mixture", "skills", "--rows", "300", "--out", str(path)])
    assert generate_data.main(["--check", str(path), "--workers", "1"]) == 0
    write_lines(path, ({"instruction": "", "answer": a, "input": i, "output": o, "task": "running"}
                       for i, o, a in (("7 + 5 - 3 = ", "12 - 3 = 8", "8"),
                                       ("38 / 5 = ", "7 R 2", "7 R 2"), ("4 / 0 = ", "1", "1"),
                                       ("1" * 5000 + " + 1 = ", "2", "2"), ("1 + 1 = ", "2", "3"))))
    capsys.readouterr()
    assert generate_data.main(["--check", str(path), "--workers", "1"]) == 1
    shown = capsys.readouterr().out
    for said in ("5 bad", "12 - 3 is 9, not 8", "38 / 5 is 7 R 3", "4 / 0 is not", "+ 1 is not",
                 "'3', the output ends in '2'"):
        assert said in shown


def test_check_of_subtraction_wordings():
    row = {"input": "9 - 5", "output": "9 - 5 = 4", "answer": "4"}
    assert audit.audit_row(json.dumps({**row, "instruction": "Subtract 5 from 9."})) is None
    assert audit.audit_row(json.dumps({**row, "instruction": "Subtract 9 from 5."})) is not None


def test_check_reads_the_published_format(tmp_path, capsys):
    """One indented list of four fields, in templates that are not ours."""
    rows = [{**GOOD, "instruction": text} for text in
            ("Kindly resolve {}!", "{} => ?", "I say {}, you say?")
            for text in (text.format("62 * 5083"), text.format("the product of 62 and 5083"))]
    path = tmp_path / "dataset.json"
    path.write_text(" \n" + json.dumps(rows, indent=4))
    assert generate_data.main(["--check", str(path), "--workers", "1"]) == 0
    rows[4]["answer"] = "1"
    path.write_text(json.dumps(rows))
    assert generate_data.main(["--check", str(path), "--workers", "1"]) == 1
    assert "row 5: answer '1'" in capsys.readouterr().out


@pytest.mark.parametrize("text, message", [
    ("instruction,input\n1,2\n", "line 1: expected a row"), ("[1, 2", "breaks off"),
    ("[{}, nonsense]", "after row 1"), ("", "no rows"), ("[]", "no rows"),
    ("[{}, " + "1" * 5000 + "]", "row 2: this cannot be read"),
])
def test_check_of_other_files(text, message, tmp_path):
    path = tmp_path / "rows.json"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        generate_data.main(["--check", str(path), "--workers", "1"])


def test_a_task_that_is_no_text_is_a_finding():
    for task in ([], ["x"], {}):
        found = audit.audit_row(json.dumps({**GOOD, "task": task}))
        assert found == "the field 'task' is not a string"
    assert audit.audit_row(json.dumps({**GOOD, "task": None})) is None
    assert "not a JSON object" in audit.audit_row('{"x": ' + "1" * 5000 + "}")


def test_check_keeps_the_first_bad_rows(tmp_path, capsys):
    path = tmp_path / "rows.jsonl"
    path.write_text((json.dumps(GOOD) + "\n") * 5000 + "{\n" * 25)
    assert generate_data.main(["--check", str(path), "--workers", "2"]) == 1
    shown = capsys.readouterr().out
    assert "5,025 rows, 25 bad" in shown and "line 5001: not a JSON object" in shown
    assert "and 15 more" in shown
