"""Ask a model the questions, judge its answers, count them by cell."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from goat.distributed import ALONE, Group
from goat.evaluation import scoring
from goat.llama.beam import beam_search
from goat.llama.generate import stream
from goat.llama.model import Llama
from goat.llama.sampling import Row
from goat.papers import PAPERS, Question
from goat.papers.word_problems.format import NEITHER, complete, interpreter_spans
from goat.papers.word_problems.interpreter import TOO_LONG, Solution, solve
from goat.stats import wilson


@dataclass(frozen=True)
class Record:
    """One question, its working and what is to be said about it (see `Question`, `Verdict`)."""

    suite: str
    cell: str
    wording: str
    small: bool
    prompt: str
    expression: str | None
    answer: str
    working: str  # what the model wrote; after a bare question, that question and what it wrote
    given: str
    right: bool
    kind: str | None
    first_error: str | None
    runs: int | None = None  # programs that the interpreter ran; None where there was none
    failed_runs: int = 0
    subject: str = ""


class Score(NamedTuple):
    """The scores of a group of records, as shares; `low` and `high` bound `exact` (95 %)."""

    n: int
    right: int
    exact: float
    low: float
    high: float
    last_token: float
    digits: float
    errors: dict[str, int]  # first false steps of the wrong answers by kind, commonest first
    small: bool


Scores = dict[tuple[str, str], Score]  # (suite, cell) -> score


def evaluate(model: Llama, tokenizer, questions: Sequence[Question], *, beams: int = 1,
             interpreter: bool = False, progress: bool = False, group: Group = ALONE,
             **decoding) -> tuple[list[Record], bool]:
    """Records in the order of the questions, and whether all were answered.

    `decoding` goes to `generate.stream`, with `beams` > 1 to `beam_search`, with `interpreter` to
    `interpreter.solve`. Ctrl-C ends the work early: the records so far are returned, with False.
    The processes of `group` share the questions, and each returns all records.
    """
    prompts = [question.prompt for question in questions]
    decoding["share"] = group.share
    rows: Iterator[Row] | Iterator[Solution]
    if beams > 1:
        rows = beam_search(model, tokenizer, prompts, beams=beams, **decoding)
    elif interpreter:
        rows = solve(model, tokenizer, prompts, **decoding)
    else:
        rows = stream(model, tokenizer, prompts, **decoding)
    judge: Callable[[Question, Any], Record] = solved_record if interpreter else (
        lambda question, row: unaided_record(question, row, tokenizer))
    found, _ = group.gather(((row.problem, judge(questions[row.problem], row)) for row in rows),
                            len(prompts), "problem", progress)
    records = dict(found)
    return [records[i] for i in sorted(records)], len(records) == len(questions)


def record(question: Question, output: str) -> Record:
    """The judged output of one question, by that of its answers which it gives, if it gives any."""
    verdicts = [PAPERS[question.paper].judge(replace(question, answer=answer), output)
                for answer in (question.answer, *question.also)]
    verdict = next((verdict for verdict in verdicts if verdict.right), verdicts[0])
    return Record(question.suite, question.cell, question.wording, question.small, question.prompt,
                  question.expression, question.answer, question.working(output),
                  **verdict._asdict(), subject=question.subject)


def unaided_record(question: Question, row: Row, tokenizer) -> Record:
    """The judged output where no code is run. To a word problem no answer is right where the model
    has invented what its code prints, or may have been cut off within the answer."""
    assert row.text is not None
    judged = record(question, row.text)
    if not PAPERS[question.paper].interpreter:
        return judged
    if interpreter_spans(row.text):
        return unanswered(judged, NEITHER)
    ended = len(row.new) < row.limit or row.new[-1] == tokenizer.eos_id
    return judged if complete(row.text, ended) or not judged.given else unanswered(judged, TOO_LONG)


def solved_record(question: Question, solution: Solution) -> Record:
    """The judged solution of one word problem; without an answer, `kind` is its outcome."""
    judged = replace(record(question, solution.text), runs=solution.runs,
                     failed_runs=solution.failed)
    return judged if solution.answered else unanswered(judged, solution.outcome)


def unanswered(judged: Record, why: str | None) -> Record:
    return replace(judged, given="", right=False, kind=why)


def score(records: Sequence[Record]) -> Score:
    """The scores of at least one record, all taken together."""
    true = [r.answer for r in records]  # which a right one may spell in another way: "18 eggs"
    said = [r.answer if r.right else r.given for r in records]
    right = sum(r.right for r in records)
    errors = Counter(r.kind or "answer" for r in records if not r.right)
    return Score(len(records), right, right / len(records), *wilson(right, len(records)),
                 scoring.last_token_match(said, true), scoring.digit_match(said, true),
                 dict(errors.most_common()), any(r.small for r in records))


def grouped(records: Iterable[Record], field: str = "cell") -> dict[tuple[str, str], list[Record]]:
    """The records of each suite and cell, or another field, in order of appearance."""
    groups: dict[tuple[str, str], list[Record]] = {}
    for r in records:
        groups.setdefault((r.suite, getattr(r, field)), []).append(r)
    return groups


def scores_of(records: Iterable[Record], field: str = "cell") -> Scores:
    """The score of each group of `grouped`."""
    return {key: score(group) for key, group in grouped(records, field).items()}


def all_scores(records: Sequence[Record]) -> Scores:
    """The scores of the cells and, where questions have subjects, of these."""
    subjects = scores_of((r for r in records if r.subject), "subject")
    return scores_of(records) | {(f"{suite}, by subject", subject): s
                                 for (suite, subject), s in subjects.items()}
