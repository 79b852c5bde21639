r"""The problems of MATH with their worked solutions, as rows and as questions.

A solution in prose becomes steps without code, a paragraph each, and a last one that states what
is in its last `\boxed{...}`: LaTeX, which math_answers.py compares. Pictures (between `[asy]` and
`[/asy]`) are cut out of solutions, which do not need them; a problem that is asked by a picture
gives no row, but the test asks it, as for every published figure. Rows are made of training
problems only; the test problems are for final evaluation.

Data: Hendrycks et al. 2021, arXiv 2103.03874. Two layouts are read: `train.jsonl` and `test.jsonl`
with a problem a line, and the original one, `train/algebra/17.json`. Fields `problem`, `level`,
`type` (the subject) and `solution`.
"""

import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path

from goat.errors import UserError
from goat.files.rows import Row, check_texts, open_text, parse_row, read_rows
from goat.papers import Question
from goat.papers.word_problems.format import (FENCE, FINAL, MATH, MAX_STEPS, TAGS, TASK, Step,
                                              render)
from goat.papers.word_problems.gsm8k import Rejection
from goat.papers.word_problems.math_answers import boxed

LEVELS = ("1", "2", "3", "4", "5")
SUBJECTS = ("algebra", "counting_and_probability", "geometry", "intermediate_algebra",
            "number_theory", "prealgebra", "precalculus")
# Why a problem has no row.
NO_ANSWER = "no answer in a box"
PICTURE = "asked by a picture"
MARKED = "its text holds a tag of the trace format"
_PICTURE = re.compile(r"\[asy\].*?\[/asy\]", re.DOTALL)


def math_rows(path: str | os.PathLike, levels: Collection[str] = (),
              subjects: Collection[str] = ()) -> Iterator[Row | Rejection]:
    """A row for each training problem in the folder `path`, or why there is none; with `levels` or
    `subjects` of these only. Raises UserError for a missing folder and for what is no problem."""
    for row, worked in problems(path, "train"):
        if levels and row["level"] not in levels or subjects and row["subject"] not in subjects:
            continue
        if reason := unfit(row, worked):
            yield Rejection(row["source"], reason, row["instruction"])
        else:
            yield {**row, "output": solution_text(worked, row["answer"])}


def evaluation_questions(path: str | os.PathLike, limit: int | None = None) -> list[Question]:
    """The test problems in the folder `path`, counted by level and by subject; `limit` of them, as
    far apart in their order as can be; easy ones first. Raises UserError for a missing folder and
    for what is no problem with an answer."""
    questions = []
    for row, _ in problems(path, "test"):
        if not row["answer"]:
            raise UserError(f"{path}: {row['source']}: {NO_ANSWER}")
        questions.append(Question("MATH test", f"level {row['level']}", row["instruction"], "",
                                  row["answer"], paper=TASK, task=MATH, subject=row["subject"]))
    count = min(limit or len(questions), len(questions))
    spread = (questions[i * len(questions) // count] for i in range(count))
    return sorted(spread, key=lambda question: question.cell)


def unfit(row: Row, worked: str) -> str:
    """Why a problem gives no row; "" if it does."""
    if not row["answer"]:
        return NO_ANSWER
    if "[asy]" in row["instruction"]:
        return PICTURE
    return MARKED if any(mark in worked for mark in (*TAGS, FENCE, FINAL)) else ""


def solution_text(worked: str, answer: str) -> str:
    """The tagged solution: a step for each paragraph (the last takes what is too much for one)."""
    parts = [part.strip() for part in re.split(r"\n\s*\n", _PICTURE.sub("", worked))]
    parts = [part for part in parts if part]
    most = MAX_STEPS - 1
    if len(parts) > most:
        parts[most - 1:] = ["\n".join(parts[most - 1:])]
    return render([Step(part) for part in parts], answer)


def problems(path: str | os.PathLike, split: str) -> Iterator[tuple[Row, str]]:
    """(a row without a solution, the worked solution) of each problem of a split."""
    found = False
    for where, source, problem in _files(Path(path), split):
        check_texts(problem, where, "problem", "level", "type", "solution")
        found = True
        answer = " ".join((boxed(problem["solution"]) or "").split())
        subject = problem["type"].lower().replace(" & ", "_and_").replace(" ", "_")
        yield {"instruction": problem["problem"].strip(), "input": "", "output": "",
               "answer": answer, "task": MATH, "source": source,
               "level": problem["level"].removeprefix("Level "),
               "subject": subject}, problem["solution"].strip()
    if not found:
        raise UserError(f"{path}: its {split} problems are none")


def _files(folder: Path, split: str) -> Iterator[tuple[str, str, dict]]:
    """(where it stands, for messages; its source; the object) of each problem of a split."""
    lines, original = folder / f"{split}.jsonl", folder / split
    if lines.is_file():
        for count, (where, problem) in enumerate(read_rows(lines), 1):
            yield where, f"{split} {count}", problem
    elif original.is_dir():
        def order(path: Path) -> tuple:
            return path.parent.name, len(path.stem), path.stem  # 9.json before 10.json

        for path in sorted(original.glob("*/*.json"), key=order):
            with open_text(path) as file:
                try:
                    problem = parse_row(file.read())
                except UserError as error:
                    raise UserError(f"{path}: {error}")
            yield str(path), f"{split}/{path.parent.name}/{path.stem}", problem
    else:
        raise UserError(f"{folder}: neither {split}.jsonl nor a folder {split} is there; give the "
                        "folder that holds MATH")
