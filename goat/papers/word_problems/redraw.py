"""GSM8K's training problems with other numbers: new problems, without a teacher.

A trace is a program. Numbers of the question that its code calculates with are drawn anew, and the
program tells the new answer: "Natalia sold clips to 48 of her friends" becomes 36, every 48 of the
working too, and every 24 that its code gave for 48 // 2 becomes 18. One table from old to new
numbers serves question, prose, code and answer, so that all change together; where equal numbers
would have to become different ones, nothing tells which is meant, and the draw is dropped.

A problem is left alone unless every number of its working is explained: by the question, by an
earlier result, or by a word ("twice", "dozen", "week"), whose number then stays. A draw is kept
where every value, parts of expressions included, keeps its kind, where the question's numbers and
the results keep their order, and where the interpreter prints what was calculated. amounts.py tells
which numbers may change.
"""

import ast
import operator
import re
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from random import Random
from typing import NamedTuple

from goat.files.rows import Row
from goat.papers.word_problems.amounts import (COUNTED, FACTORS, Relation, alike, brought_along,
                                               choices, exact, is_amount, is_percent, numbers,
                                               relations, rewrite, values, words, written)
from goat.papers.word_problems.format import FINAL, Step, parse_number, printed, render

TRIES = 200  # draws for a version, at most
# Why a problem has no version.
NO_PLAIN = "its code is more than calculations"
AGES = "it compares ages"
ALGEBRA = "its working solves an equation"
NOWHERE = "a number or number word of its working comes from nowhere"
UNUSED = "a number of its question plays no part in the working"
NOTHING = "none of its numbers may change"
NO_DRAW = "no draw keeps the kind and order of all values"
ROUNDED = "the interpreter rounds what it prints"

_STEP = re.compile(r"<p>\n(.*?)\n</p>\n<code>\n(.*?)\n</code>\n<output>\n(.*?)\n</output>",
                   re.DOTALL)
_CLOSING = re.compile(rf"<step>\n<p>\n((?:(?!<step>).)*)\n</p>\n<p>\n{FINAL}", re.DOTALL)
_ALGEBRA = re.compile(r"\d[a-wyzA-WYZ]\b|\b[a-zA-Z] ?=|= ?[a-zA-Z]\b|\b[Ll]et [a-zA-Z]\b|\^")
_OPERATIONS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul,
               ast.Div: operator.truediv, ast.FloorDiv: operator.truediv, ast.Mod: operator.mod}
_SHARES = (lambda p: p / 100, lambda p: 100 - p, lambda p: 1 - p / 100, lambda p: 100 + p,
           lambda p: 1 + p / 100)  # what a working makes of p per cent
Table = dict[Fraction, Fraction]  # from old to new numbers


class Story(NamedTuple):
    """A problem: its solution, what may change in it, and what has to hold."""

    steps: list[Step]
    closing: str
    code: list[ast.expr]  # what each step calculates
    worth: list[list[Fraction]]  # what the parts of these are worth, inner ones first
    recalled: list[bool]  # whether the result of a step is written down again behind it
    staying: set[Fraction]
    choices: dict[Fraction, list[Fraction]]  # new numbers for each old one that may change
    percents: set[Fraction]  # which of these are per cents
    relations: list[Relation]  # of the question's numbers


def redrawn_rows(rows: list[Row], count: int, seed: int,
                 run: Callable) -> tuple[list[Row], Counter[str]]:
    """(`count` further versions of each row where they are found, why others have none). No
    question is asked twice. `run` is `sandbox.run_code`, or returns something like it."""
    asked, why = {row["instruction"] for row in rows}, Counter[str]()
    found: list[Row] = []
    for row in rows:
        new, reason = versions(row, count, seed, run)
        why.update([reason] * bool(reason))
        found += [row for row in new if row["instruction"] not in asked]
        asked |= {row["instruction"] for row in new}
    return found, why


def versions(row: Row, count: int, seed: int, run: Callable) -> tuple[list[Row], str]:
    """(up to `count` rows with other numbers, ""), or ([], why there is none)."""
    story = read(row)
    if isinstance(story, str):
        return [], story
    random, tries = Random(f"{seed} {row['source']}"), TRIES * count
    found: dict[str, Row | None] = {}
    for i in range(tries):  # at first all numbers are drawn, later on ever fewer
        if len(found) == count:
            break
        if drawn := draw(story, random, staying=i / tries):
            text = rewrite(row["instruction"], drawn[0])
            if text not in found:
                source = f"{row['source']}, redrawn {len(found) + 1}"
                found[text] = retold({**row, "instruction": text, "source": source}, story, *drawn,
                                     run)
    new = [row for row in found.values() if row]
    return new, "" if new else ROUNDED if found else NO_DRAW


def retold(row: Row, story: Story, table: Table, results: list[Fraction],
           run: Callable) -> Row | None:
    """The row with a solution in new numbers; None where the interpreter prints others."""
    codes = [rewrite(step.code, table, code=True) for step in story.steps]
    outputs = printed(codes, run)
    if [parse_number(text) for text in outputs] != results:
        return None
    steps = [Step(rewrite(step.prose, table), *parts)
             for step, *parts in zip(story.steps, codes, outputs)]
    gold = parse_number(row["answer"])  # which may be written as $180
    assert gold is not None  # else it has no trace
    answer = written(results[-1] if story.worth[-1][-1] == gold else table[gold], "")
    return {**row, "output": render(steps, answer, rewrite(story.closing, table)), "answer": answer}


# ---------------------------------------------------------------------------- what may change

def read(row: Row) -> Story | str:
    """What may change in a problem, or why nothing may."""
    question, steps = row["instruction"], [Step(*parts) for parts in _STEP.findall(row["output"])]
    closing = match[1] if (match := _CLOSING.search(row["output"])) else ""
    if (render(steps, row["answer"], closing) != row["output"]
            or not all(step.code.startswith("print(") for step in steps)):
        return NO_PLAIN
    prose = " ".join([*(step.prose for step in steps), closing])
    if _ALGEBRA.search(prose):
        return ALGEBRA
    asked, told = words(question), words(prose)
    if asked & {"older", "younger", "age", "ages", "elder"}:
        return AGES  # a grandfather of 144 years
    if told & (FACTORS | COUNTED.keys()) - asked:
        return NOWHERE
    code = [ast.parse(step.code.removeprefix("print"), mode="eval").body for step in steps]
    worth = [parts(step) for step in code]
    amounts = {value for match, value in numbers(question) if is_amount(question, match)}
    counted = {COUNTED[word] for word in asked & COUNTED.keys()}
    shares = {p: {share(p) for share in _SHARES}
              for match, p in numbers(question) if is_percent(question, match)}
    staying = brought_along(asked | told)
    recalled = followed([*steps, Step(closing)], [step[-1] for step in worth],
                        staying.union(values(question), *shares.values()))
    if recalled is None:
        return NOWHERE
    used = set(values(" ".join(step.code for step in steps)))
    if ({n for n in counted if n > 2} | amounts - {1, 100}) - used - {
            p for p in shares if shares[p] & used}:
        return UNUSED
    staying |= {exact("2")} | squares(code) | {
        value for match, value in numbers(question) if not is_amount(question, match)}
    staying |= {p for p in shares if shares[p] & used & (staying | amounts - {p})}
    staying |= {share for p in staying & shares.keys() for share in shares[p]}
    new = choices(question, staying)
    if not any(len(numbers) > 1 for numbers in new.values()):
        return NOTHING
    return Story(steps, closing, code, worth, recalled, staying, new, shares.keys() - staying,
                 relations(amounts | counted))


def followed(steps: list[Step], results: list[Fraction], known: set[Fraction]) -> list[bool] | None:
    """Whether the result of each step is written down again behind its calculation; None where a
    number comes from nowhere. The last step is the closing prose."""
    recalled = []
    for i, (step, result) in enumerate(zip(steps, [*results, None])):
        told, calculated = values(step.prose), values(step.code)
        if {*told, *calculated} - known:
            return None
        if result is not None:
            known = known | {result}
            later = [n for step in steps[i + 1:] for n in values(f"{step.prose} {step.code}")]
            recalled.append(result in later or told.count(result) > calculated.count(result))
    return recalled


def squares(code: list[ast.expr]) -> set[Fraction]:
    """Numbers that are multiplied by themselves: one may be a constant (4 dogs with 4 legs)."""
    return {exact(a) for step in code for a, b in
            re.findall(r"(?<![\d.])([\d.]+) \* ([\d.]+)", ast.unparse(step)) if a == b}


def parts(step: ast.expr, table: Table | None = None) -> list[Fraction]:
    """The exact values of the parts of a calculation, inner ones first and the whole last, after
    its numbers have been replaced. Raises ZeroDivisionError."""
    found: list[Fraction] = []

    def value(node) -> Fraction:
        match node:
            case ast.Constant():
                number = exact(str(node.value))
                return table[number] if table else number
            case ast.UnaryOp():
                return value(node.operand) * (-1 if isinstance(node.op, ast.USub) else 1)
        found.append(_OPERATIONS[type(node.op)](value(node.left), value(node.right)))
        return found[-1]

    whole = value(step)
    return found or [whole]


# ---------------------------------------------------------------------------------- drawing

def draw(story: Story, random: Random, staying: float) -> tuple[Table, list[Fraction]] | None:
    """(the table of numbers, the new results), or None where they do not fit. Each number stays
    with the probability `staying`."""
    table = {value: value for value in story.staying}
    for value, new in story.choices.items():
        table[value] = value if random.random() < staying else random.choice(new or [value])
    pairs = [(n, n) for n in map(Fraction, (0, 1))] + [(n, table[n]) for n in story.choices]
    if (all(table[value] == value for value in story.choices) or not rising(pairs)
            or any(f(table[a], table[b]) != table[c] for f, a, b, c in story.relations)):
        return None
    for p in story.percents:
        for share in _SHARES:
            if table.setdefault(share(p), share(table[p])) != share(table[p]):
                return None
    results = []
    for step, worth, recalled in zip(story.code, story.worth, story.recalled):
        try:
            new = parts(step, table)
        except ZeroDivisionError:
            return None
        old, result = worth[-1], new[-1]
        if not all(map(alike, worth, new)) or recalled and table.setdefault(old, result) != result:
            return None
        results.append(result)
        pairs.append((old, result))
    return (table, results) if rising(pairs) else None


def rising(pairs: list[tuple[Fraction, Fraction]]) -> bool:
    """Whether the new numbers are in the order of the old ones."""
    line = sorted(pairs)
    return all(a[0] == b[0] or a[1] < b[1] for a, b in zip(line, line[1:]))
