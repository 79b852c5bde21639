"""A question with its answer, and files of them.

`read_questions` takes three kinds of file, told apart by their content:
  - rows as `generate_data.py` writes them: JSON lines, or one JSON list as published, with the
    fields `instruction`, `input`, `answer` (and others, which are not looked at);
  - a BIG-bench task: a JSON object with the list `examples` of {"input": …, "target": …}, or of
    {"input": …, "target_scores": {choice: 0 or 1, …}};
  - plain text: `question|answer` lines or, as in the DeepMind mathematics dataset, a question and
    its answer on every two lines.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from goat.errors import UserError
from goat.tasks import audit, longhand, phrasing, pretraining
from goat.tasks.arithmetic import parse_question
from goat.tasks.gsm8k import problems
from goat.tasks.word_problems import TASK, number


@dataclass(frozen=True)
class Question:
    """One question of a suite or of a file.

    `wording` says how it is asked: "seen" or "held out" (of the training rows), "bare", "BIG-bench"
    or, from a file, "given". `operands` is (a, op, b) where the question is arithmetic; op is one
    of + - * / %.
    """

    suite: str
    cell: str  # the kind of question: results are counted by suite and cell
    instruction: str  # empty for a bare question: `input` is then the whole prompt
    input: str
    answer: str
    wording: str = "given"
    operands: tuple[int, str, int] | None = None
    small: bool = False  # one of so few possible questions that training may have shown it
    task: str = ""  # the row's: says how an answer is read and compared

    @property
    def prompt(self) -> str:
        """What the model reads before its answer."""
        return phrasing.row_prompt({"instruction": self.instruction, "input": self.input})

    def working(self, output: str) -> str:
        """The text that is judged: after a bare expression, `a + b = `, that is its beginning."""
        return output if self.instruction or not self.operands else self.input + output

    @property
    def expression(self) -> str | None:
        """ "397 * 4429", or None where the question is not arithmetic."""
        return "{} {} {}".format(*self.operands) if self.operands else None

    @property
    def asked(self) -> tuple:
        """The same for the same question, in whatever words; a + b is b + a, and so with `*`."""
        if self.operands is None:
            return self.instruction, self.input
        a, op, b = self.operands
        return (op, *sorted((a, b))) if op in "+*" else (op, a, b)


def fingerprint(questions: Iterable[Question]) -> str:
    """Twelve hex digits that change with any prompt or answer: names exactly what was asked."""
    digest = hashlib.sha256()
    for question in questions:
        digest.update(f"{question.prompt}\0{question.answer}\0".encode(errors="surrogatepass"))
    return digest.hexdigest()[:12]


_EXPRESSION = re.compile(rf"([0-9]+) ?([-+*/xX×÷]|{audit.SIGN_WORDS}) ?([0-9]+)")


def find_expression(text: str) -> tuple[int, str, int] | None:
    """The (a, op, b) that a text asks for: "What is 397 x 4429?" -> (397, "*", 4429), "Multiply 12
    and 7." -> (12, "*", 7) and "What is the remainder when 67 is divided by 45?" -> (67, "%", 45).

    None where a number or a sign is left over: "3 + 4 * 5", "-3 + 4" and "0.5 * 3" ask for more
    than the two whole numbers that stand beside the operator.
    """
    try:
        x, y = longhand.parse_question(text)
        return x, "%", y
    except UserError:
        match = _EXPRESSION.search(text)
    if match is None and len(text) < 2000:
        return audit.read_instruction(text)  # the wordings without a sign
    if match is None or len(match[0]) > 2000:
        return None
    head, tail = text[:match.start()], text[match.end():]
    left_over = set("0123456789+*/^%") & set(head + tail)
    negative, part_of_a_number = head.rstrip().endswith("-"), head.endswith((".", ","))
    if left_over or negative or part_of_a_number or tail.startswith("!"):
        return None
    a, sign, b = match.groups()
    return parse_question(f"{a} {audit.OPERATIONS.get(sign, sign)} {b}")


def read_questions(path: str | os.PathLike, limit: int | None = None,
                   answers: bool = True) -> list[Question]:
    """The questions of a file (the first `limit` of them); its stem is the suite's name.

    With `answers=False` only what they hold matters: rows may lack an answer, as those for training
    may, and any expression counts as asked.

    Raises UserError naming file and line (or row) for anything that cannot be used.
    """
    path = Path(path)
    with open(path, encoding="utf-8-sig") as file:
        try:
            start = file.read(4096).lstrip()[:1]
            file.seek(0)
            if start == "{":
                records = _json_lines(path, file)
            elif start == "[":
                records = ((f"row {i}", row) for i, row in enumerate(json.load(file), 1))
            else:
                records = ((f"line {number}", {"instruction": question, "answer": answer})
                           for number, question, answer in longhand.read_pairs(path))
            questions = [_question(path, where, row, answers)
                         for where, row in islice(records, limit)]
        except UserError:  # a ValueError too, but said already
            raise
        except json.JSONDecodeError as error:
            raise UserError(f"{path}, line {error.lineno}: this is not JSON ({error.msg})")
        except UnicodeDecodeError:
            raise UserError(f"{path}: this is not a text file in UTF-8")
        except ValueError as error:  # a number of thousands of digits
            raise UserError(f"{path}: this cannot be read ({error})")
    if not questions:
        raise UserError(f"{path}: no questions in this file")
    return questions


def _json_lines(path: Path, file) -> Iterator[tuple[str, object]]:
    """Rows of a JSON-lines file, or the examples of a BIG-bench task."""
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            if number == 1:  # an object over several lines
                file.seek(0)
                row = json.load(file)
            else:
                raise UserError(f"{path}, line {number}: this is not JSON ({error.msg})")
        if isinstance(row, dict) and isinstance(row.get("examples"), list):
            for i, example in enumerate(row["examples"], 1):
                yield f"example {i}", _bigbench_row(example)
            return
        yield f"line {number}", row


def _bigbench_row(example: object) -> object:
    """A BIG-bench example as a row; anything else is passed on, and refused later."""
    if not isinstance(example, dict):
        return example
    target, choices = example.get("target", ""), example.get("target_scores")
    if isinstance(target, list) and target:
        target = target[0]
    elif not target and isinstance(choices, dict):  # {choice: 1 if it is right, else 0}
        target = next((choice for choice, score in choices.items() if score == 1), "")
    return {"instruction": example.get("input", ""), "answer": target}


def _question(path: Path, where: str, row: object, answers: bool) -> Question:
    if not isinstance(row, dict):
        raise UserError(f"{path}, {where}: a row must be an object with the fields instruction, "
                        "input and answer")
    texts = {key: row.get(key, "") for key in ("instruction", "input", "answer")}
    for key, text in texts.items():
        if not isinstance(text, str):
            raise UserError(f"{path}, {where}: the field {key!r} must be a string")
        if not text.isascii() and re.search(r"[\ud800-\udfff]", text):
            raise UserError(f"{path}, {where}: the field {key!r} holds half of a surrogate pair, "
                            "which is no text")
    if answers and not texts["answer"].strip():
        raise UserError(f"{path}, {where}: the row has no answer; evaluation needs the field "
                        "'answer' in every row")
    if not (texts["instruction"] or texts["input"]):
        raise UserError(f"{path}, {where}: the row has neither instruction nor input")
    task = row.get("task") if isinstance(row.get("task"), str) else ""
    operands = find_expression(texts["input"]) or find_expression(texts["instruction"])
    if answers and (task == TASK or task in pretraining.KINDS):
        operands = None  # an expression may stand in a story or a skill, but is not what is asked
    cell = task or "all"
    if operands and operands[1] != "%":
        a, op, b = operands
        cell = cell_name(op, len(str(a)), len(str(b)))
    return Question(path.stem, cell, **texts, operands=operands, task=task)


def gsm8k_questions(folder: str | os.PathLike, limit: int | None = None) -> list[Question]:
    """The first `limit` problems of GSM8K's test.jsonl in `folder`, as word problems.

    Raises UserError naming file and line for a missing file and for a line that is no problem
    with a number behind `####`.
    """
    questions = []
    for count, (_, text, _, gold) in enumerate(islice(problems(folder, "test.jsonl"), limit), 1):
        if number(gold) is None:
            raise UserError(f"{folder}: test.jsonl, line {count}: no number stands behind '####'")
        questions.append(Question(TASK, "GSM8K test", text, "", gold, task=TASK))
    if not questions:
        raise UserError(f"{folder}: test.jsonl holds no problem")
    return questions


def cell_name(op: str, digits_a: int, digits_b: int) -> str:
    """The name of the cell of all questions of these sizes: "mul 3Dx4D"."""
    name, sign = {"+": ("add", "+"), "-": ("sub", "-"), "*": ("mul", "x"), "/": ("div", "/")}[op]
    return f"{name} {digits_a}D{sign}{digits_b}D"
