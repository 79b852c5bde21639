"""The questions that are asked: suites by their names, and files.

Files are told apart by their content: rows with the fields `instruction`, `input` and `answer`, the
examples of a BIG-bench task ({"input": …, "target": …} or {"input": …, "target_scores": {choice: 0
or 1, …}}; a target that is a list, and several choices with 1, are all right), or plain text;
goat/files/rows.py reads them.
"""

import hashlib
import os
from collections.abc import Collection, Iterable
from itertools import islice
from pathlib import Path

from goat.errors import UserError
from goat.files.rows import check_texts, is_json, read_pairs, read_rows
from goat.papers import PAPERS, Question, paper_of, read_question


def suite_names() -> list[str]:
    """The suites of all papers."""
    return [name for paper in PAPERS.values() for name in paper.suite_names]


def load_suites(names: Iterable[str], limit: int | None = None, **options) -> list[Question]:
    """The questions of the named suites, of each cell the first `limit`.

    `options` (seed, wording; for suites of arithmetic also size) go to the suites. Raises UserError
    for a name that does not exist.
    """
    papers = {name: paper for paper in PAPERS.values() for name in paper.suite_names}
    names = list(dict.fromkeys(names))  # one that is named twice is asked once
    if unknown := [name for name in names if name not in papers]:
        raise UserError(f"no suite is called {unknown[0]!r}; there are: {', '.join(papers)}")
    return [question for name in names
            for question in papers[name].suite(name, limit=limit, **options)]


def fingerprint(questions: Iterable[Question]) -> str:
    """Twelve hex digits that change with any prompt or answer: names exactly what was asked."""
    digest = hashlib.sha256()
    for question in questions:
        texts = question.prompt, question.answer, *question.also, ""
        digest.update("\0".join(texts).encode(errors="surrogatepass"))
    return digest.hexdigest()[:12]


def read_questions(path: str | os.PathLike, limit: int | None = None, answers: bool = True,
                   anywhere: bool = False,
                   only: Collection[int] | None = None) -> list[Question]:
    """The questions of a file (the first `limit` of them, or those whose numbers `only` lists,
    counted from 1); its stem is the suite's name.

    With `answers=False` rows may lack an answer, as those for training may; with `anywhere` an
    expression counts as asked wherever it stands, in a story too.

    Raises UserError naming file and line (or row) for anything that cannot be used.
    """
    if is_json(path):
        rows = ((where, *_bigbench_row(row)) for where, row in read_rows(path))
    else:
        rows = ((where, {"instruction": question, "answer": answer}, [])
                for where, question, answer in read_pairs(path))
    suite = Path(path).stem
    asked = (row for number, row in enumerate(islice(rows, limit), 1)
             if only is None or number in only)
    questions = [_question(suite, *row, answers, anywhere) for row in asked]
    if not questions:
        raise UserError(f"{path}: no questions in this file")
    return questions


def _bigbench_row(row: dict) -> tuple[dict, list]:
    """An example of a BIG-bench task as a row, and its other right answers; a row as it is."""
    target, choices = row.get("target", ""), row.get("target_scores")
    if "instruction" in row or not (target or choices):
        return row, []
    if not target and isinstance(choices, dict):  # {choice: 1 if it is right, else 0}
        target = [choice for choice, score in choices.items() if score == 1]
    answer, *also = target if isinstance(target, list) and target else [target or ""]
    return {"instruction": row.get("input", ""), "answer": answer}, also


def _question(suite: str, where: str, row: dict, also: list, answers: bool,
              anywhere: bool) -> Question:
    texts = {key: row.get(key, "") for key in ("instruction", "input", "answer")}
    check_texts(texts, where, *texts)
    for answer in also:
        check_texts({"answer": answer}, where, "answer")
    if answers and not texts["answer"].strip():
        raise UserError(f"{where}: the row has no answer; evaluation needs the field 'answer' in "
                        "every row")
    if not (texts["instruction"] or texts["input"]):
        raise UserError(f"{where}: the row has neither instruction nor input")
    if not isinstance(task := row.get("task"), str):
        task = ""
    paper, operands = paper_of(task), None
    if paper.expressions or anywhere:
        found = read_question(texts["input"]) or read_question(texts["instruction"])
        paper, operands = found or (PAPERS["arithmetic"], None)
    cell = operands and paper.cell(operands) or task or "all"
    return Question(suite, cell, **texts, operands=operands, paper=paper.name,
                    also=tuple(filter(str.strip, also)), task=task)
