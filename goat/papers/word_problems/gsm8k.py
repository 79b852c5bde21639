"""GSM8K's calculator annotations as code-interpreter traces, and what cannot be made one.

A worked answer of GSM8K is lines such as "Natalia sold 48/2 = <<48/2=24>>24 clips in May.", then
"#### 72". Each calculation becomes one step: its expression is the code, the text without the
result is the prose, so that nothing is written before the interpreter has said it. Nearly all
lines that calculate carry an annotation; the others are searched for plain equations ("a total of
7+6=13 chickens"), which count where they are exactly true. A trace is kept only if every output
of the interpreter is the exact value and one of them is the gold answer; every other problem is
returned with the reason. Traces are made of training problems only.

Data: Cobbe et al. 2021, arXiv 2110.14168; `train.jsonl`, fields `question` and `answer`.
"""

import math
import os
import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from goat.errors import UserError
from goat.files.rows import Row, check_texts, read_rows
from goat.papers import Question
from goat.papers.word_problems.amounts import NUMBER, exact
from goat.papers.word_problems.amounts import values as values_in
from goat.papers.word_problems.format import (MAX_STEPS, TASK, Number, Step, calculate,
                                              parse_number, printed, render, same_number)

if TYPE_CHECKING:
    from goat.papers.word_problems.corrections import Corrections

SPLITS = ("train.jsonl", "test.jsonl")
DOUBTFUL = "?"  # in the place of a label that no correction can save
# Why a problem has no trace.
NO_LABEL = "no number after '####'"
NO_CALCULATION = "no calculation that can be read"
MISSING = "the step to the answer is not written as a calculation"
DISAGREE = "working and label disagree: one of them is suspected wrong"
TOO_LONG = f"more than {MAX_STEPS - 1} calculations"
WRONG_OUTPUT = "the interpreter gives another result"
DOUBTED = "the problem can be read in two ways, or asks for what it does not tell"


class Rejection(NamedTuple):
    """A problem without a trace: which one, as in `train 17`, why, and its question."""

    source: str
    reason: str
    question: str


def gsm8k_rows(path: str | os.PathLike, run: Callable,
               corrections: "Corrections | None" = None,
               code: bool = True) -> Iterator[Row | Rejection]:
    """A row for each problem of `path` (train.jsonl or its folder), or why there is none. Without
    `code` the same problems are solved in the prose of their workings, results in it.
    `run(code)` is `sandbox.run_code`, or returns something with the fields `output` and `error` as
    that does. `corrections` are made before. Raises UserError for a missing file and for a line
    that is no problem."""
    for _, row, worked in problems(path, corrections=corrections):
        output, reason = trace(row["instruction"], worked, row["answer"], run)
        if reason:
            yield Rejection(row["source"], reason, row["instruction"])
        else:
            yield {**row, "output": output if code else in_prose(worked, row["answer"])}


def unsolved_rows(path: str | os.PathLike,
                  corrections: "Corrections | None" = None) -> Iterator[Row | Rejection]:
    """A row without a solution for each problem of `path` whose label is a number, if need be a
    corrected one, a Rejection for each other."""
    for _, row, _ in problems(path, corrections=corrections):
        labelled = parse_number(row["answer"]) is not None
        yield row if labelled else Rejection(row["source"], unlabelled(row["answer"]),
                                             row["instruction"])


def unlabelled(gold: str) -> str:
    """Why a problem has no number as its label."""
    return DOUBTED if gold == DOUBTFUL else NO_LABEL


def own_files(*places: str | None) -> list[Path]:
    """What must not be written over of each data set given, a file or a folder: it itself, and the
    files in it."""
    return [Path(place, name) for place in places if place for name in ("", *SPLITS)]


def evaluation_questions(folder: str | os.PathLike, limit: int | None = None) -> list[Question]:
    """The first `limit` problems of GSM8K's test.jsonl in `folder`. Raises UserError for a missing
    file and, naming the line, for one that is no problem with a number behind `####`."""
    questions = []
    for where, row, _ in islice(problems(folder, "test.jsonl"), limit):
        if parse_number(row["answer"]) is None:
            raise UserError(f"{where}: no number stands behind '####'")
        questions.append(Question(TASK, "GSM8K test", row["instruction"], "", row["answer"],
                                  paper=TASK))
    if not questions:
        raise UserError(f"{folder}: test.jsonl holds no problem")
    return questions


def problems(path: str | os.PathLike, name: str = "train.jsonl",
             corrections: "Corrections | None" = None) -> Iterator[tuple[str, Row, str]]:
    """(where it stands, a row without a solution, the worked answer) of each line of `path`, or of
    the file `name` in it; errors as of `gsm8k_rows`."""
    path = Path(path)
    if path.is_file() and path.name in SPLITS and path.name != name:
        raise UserError(f"{path}: here the problems of {name} are meant; give that file, or the "
                        "folder that holds it")
    path = path if path.is_file() else path / name
    if not path.is_file():
        raise UserError(f"{path}: no such file; give the folder that holds GSM8K's {name}")
    for count, (where, problem) in enumerate(read_rows(path), 1):
        check_texts(problem, where, "question", "answer")
        question, answer = problem["question"].strip(), problem["answer"]
        if corrections:
            answer = corrections.apply(question, answer)
        worked, _, gold = answer.partition("####")
        yield where, {"instruction": question, "input": "", "output": "",
                      "answer": gold.strip().replace(",", ""), "task": TASK,
                      "source": f"{path.stem} {count}"}, worked.strip()


def trace(question: str, worked: str, gold: str, run: Callable) -> tuple[str, str]:
    """(the tagged solution, "") of one problem, or ("", the reason why there is none)."""
    target = parse_number(gold)
    if target is None:
        return "", unlabelled(gold)
    pieces = [piece for line in worked.splitlines() for piece in read_line(line)]
    values = [piece.value for piece in pieces if piece.code]
    if not values:
        return "", NO_CALCULATION
    steps, closing = plan(question, pieces)
    if values[-1] != target and not (target in values and target in values_in(closing)):
        extra = last_step(values[-1], target, question)
        if extra is None:
            end = pieces[-1].tail if pieces[-1].code else pieces[-1].prose
            return "", MISSING if target in values_in(end) else DISAGREE
        steps, values = [*steps, extra], [*values, target]
    if len(steps) >= MAX_STEPS:
        return "", TOO_LONG
    outputs = printed([step.code for step in steps], run)
    if not outputs or not all(map(same_number, outputs, map(str, values))):
        return "", WRONG_OUTPUT
    steps = [step._replace(output=output) for step, output in zip(steps, outputs)]
    return render(steps, gold, closing), ""


def in_prose(worked: str, gold: str) -> str:
    """The tagged solution without code: the lines of the working, less the annotations."""
    lines = [_MARK.sub("", _ADDED.sub("", line)).strip() for line in worked.splitlines()]
    return render([Step("\n".join(filter(None, lines)))], gold)


# -------------------------------------------------------------------- from lines to calculations

class Piece(NamedTuple):
    """A part of a line: its text without the result; code and exact value, where it calculates."""

    prose: str
    code: str = ""
    value: Number = 0
    tail: str = ""  # what followed the result; part of `prose` too


_VALUE = r"-?(?:\d[\d,]*\d|\d)?(?:\.\d+)?"
_ANNOTATION = re.compile(r"\s*=?\s*[$€£¢]?\s*<<([^<>]*)=([^<>=]*)>>" + _VALUE)
_MARK = re.compile(r"<<[^<>]*>>")  # left where an annotation calculates nothing: "x=<<5=5>>5"
_ADDED = re.compile(r": <<[^<>]*>>$")  # a correction's, see `annotate`
_IDLE = re.compile(r"<<([^<>=]*)=\1>>")  # of these, the ones that hide a plain equation
_OPERATOR = re.compile(r"[\d)]\s*[-+*/]")
_RESULT = re.compile(r"\s*=\s*[$€£]?\s*([-−]?[$€£]?(?:\d[\d,]*(?:\.\d+)?|\.\d+))(?![\d/])")


def read_line(line: str) -> list[Piece]:
    """The calculations of a line, each with the text up to it; the last has the rest as well. A
    line that calculates nothing is one piece without code."""
    pieces, start = [], 0
    for match, code, value in _annotated(line) or _equations(line):
        prose = line[start:match.start()]
        if _expression(prose, value) is None:  # "a total of <<5+3=8>>8 apples"
            prose = f"{prose} {code}"
        pieces.append(Piece(_MARK.sub("", prose).strip(), code, value))
        start = match.end()
    tail = _MARK.sub("", line[start:]).rstrip()
    if not pieces:
        return [Piece(tail.strip())] if tail.strip() else []
    last = pieces[-1]
    unit = re.search(r" \w+$", last.prose)  # "20 chairs - 2 chairs = 18 chairs": once is enough
    text = last.prose + (tail.removeprefix(unit[0]) if unit else tail)
    return [*pieces[:-1], last._replace(prose=text.strip(), tail=tail)]


def _annotated(line: str) -> list[tuple[re.Match, str, Number]]:
    """(where the result stands, code, value) of each annotation that calculates its value."""
    found = []
    for match in _ANNOTATION.finditer(line):
        try:
            code, value = calculate(match[1])
        except ValueError:
            continue
        if value == parse_number(match[2]) and _OPERATOR.search(code):
            found.append((match, code, value))
    return found


def _equations(line: str) -> list[tuple[re.Match, str, Number]]:
    """(where the result stands, code, value) of each plain equation that is exactly true."""
    found: list[tuple[re.Match, str, Number]] = []
    start = 0
    for match in _RESULT.finditer(line):
        value = parse_number(match[1].rstrip(","))
        if value is not None and (code := _expression(line[start:match.start()], value)):
            found.append((match, code, value))
        start = match.end()
    return found


def mark(expression: str) -> str:
    """The mark of a calculation, without the result behind it. ValueError where it is none."""
    return f"<<{expression}={calculate(expression)[1]}>>"


def annotation(expression: str) -> str:
    """A calculation as GSM8K writes it, the result, a fraction to six digits, behind its mark:
    "<<6/4=3/2>>1.5". ValueError where it is none."""
    value = calculate(expression)[1]
    return f"{mark(expression)}{value if isinstance(value, int) else f'{float(value):g}'}"


def annotate(line: str, expression: str) -> str:
    """The line with the mark of a calculation: before its result, where that stands behind "=",
    else at the end, as in "Dividing by 9, m = 3: <<27/9=3>>"."""
    line, value = _IDLE.sub("", line), calculate(expression)[1]
    for match in reversed(list(_RESULT.finditer(line))):
        if value == parse_number(match[1]) and _expression(line[:match.start()], value):
            return line[:match.start(1)] + mark(expression) + line[match.start(1):]
    return f"{line.rstrip(' .,')}: {mark(expression)}"


_SIGNS = str.maketrans({"×": "*", "·": "*", "÷": "/", "−": "-", "–": "-", "[": "(", "]": ")",
                        **dict.fromkeys("$€£¢%")})
_TO_PYTHON = (  # applied in this order
    (r"(?<=\d),(?=\d{3})", ""),  # 1,200
    (r"(?<![A-Za-z])[xX](?=\s*[\d(.])", "*"),  # 2 x 3
    (r"/\s*[A-Za-z]+|[A-Za-z]+", " "),  # 5 miles/hour
    (r"(?<=[\d)])\s*(?=\()|(?<=\))\s*(?=\d)", "*"),  # 3(4 + 5)
)


def _expression(text: str, value: Number) -> str | None:
    """The longest end of `text`, words and units apart, that is a calculation with this value. "He
    runs 3 miles/hour * 2 hours" and 6 give "3 * 2"; per cents may count as hundredths. None where
    there is no such end, as at the end of "He runs 6"."""
    plain = text.translate(_SIGNS)
    for pattern, replacement in _TO_PYTHON:
        plain = re.sub(pattern, replacement, plain)
    for begin in re.finditer(r"(?<![\d.])[-(]*\.?\d", plain):
        end = plain[begin.start():]
        if not _OPERATOR.search(end):
            return None
        for candidate in (end, f"({end}) / 100") if "%" in text else (end,):
            try:
                code, result = calculate(candidate)
            except ValueError:
                continue
            if result == value:
                return code
    return None


# -------------------------------------------------------------------------- from pieces to steps

def masked(text: str, value: Number) -> str:
    """The text with "?" in the place of a number."""
    return NUMBER.sub(lambda match: "?" if exact(match[0]) == value else match[0], text)


def plan(question: str, pieces: list[Piece]) -> tuple[list[Step], str]:
    """(steps whose outputs are still empty, the prose after the last calculation). Lines without a
    calculation are prose of the step that follows. A result that its own line tells in advance ("He
    ate 32 because 2 * 16 = 32") is masked by "?"."""
    steps, prose = [], []
    known: set[Number] = set(values_in(question))
    for piece in pieces:
        told = not piece.code or piece.value in {*known, *values_in(piece.code)}
        prose.append(piece.prose if told else masked(piece.prose, piece.value))
        if piece.code:
            steps.append(Step("\n".join(prose), f"print({piece.code})"))
            known.add(piece.value)
            prose = []
    return steps, "\n".join(prose)


def last_step(value: Number, target: Fraction, question: str) -> Step | None:
    """The step from the last result to the answer where it is a matter of form: dollars to cents,
    a share to per cent, a fraction to the whole number above or below. Else None."""
    shown = value if isinstance(value, int) else float(value)
    if value * 100 == target and re.search(r"cents|percent|%", question):
        unit = "cents" if "cents" in question else "per cent"
        return Step(f"This is asked for in {unit}.", f"print({shown} * 100)")
    for function, word in ((math.ceil, "up"), (math.floor, "down")):
        if function(value) == target != value:
            return Step(f"Round {word}.", f"import math\nprint(math.{function.__name__}({shown}))")
    return None
