"""Word problems of our own, with solutions: what the embedded base can learn.

Fifty short stories (stories.txt) are filled with drawn numbers, names, things and currencies.
Numbers are drawn anew until every value of the solution is a whole number greater than zero. Up to
two sentences with numbers that do not matter stand before the question. Solutions are traces in the
format of format.py; their outputs are calculated exactly, and so equal to what the sandbox prints
(the tests run them). The same problems can be had with their steps in prose only, to measure what
the interpreter is worth.

Every tenth template is held out, to measure whether new stories are understood. For that a base
that has read a language needs many kinds of them: more_stories.txt has 373 others.
"""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from random import Random
from typing import NamedTuple

from goat.files.rows import Row
from goat.papers import Question
from goat.papers.word_problems.format import TASK, Number, Step, calculate, render

POOLS = {
    "people": "Amina Ben Carla Dmitri Elena Farid Grace Hugo Ines Jonas Keiko Liam Mara Nils Olga "
              "Pedro Quinn Rosa Samir Tara Umut Vera Wei Yara Zoe",
    "day": "Monday Tuesday Wednesday Thursday Friday",
    "animal": "hens ducks geese turkeys",
    "fruit": "apples pears plums oranges peaches lemons melons mangoes",
    "length_unit": "meters yards feet",
    "liquid": "water juice milk lemonade",
    "money": "dollars euros pounds francs",
    "plant": "tulips roses lilies daisies sunflowers",
    "sweet": "cookies muffins waffles biscuits doughnuts pretzels",
    "thing": "stickers marbles postcards buttons shells stamps coins beads badges cards",
    "tool": "pencils erasers rulers notebooks folders markers brushes",
    "way_unit": "kilometers miles",
    "weight": "kilograms pounds stones",
}
PEOPLE = "PQRS"  # the persons of a story, all different; the last one is for the distractors
DISTRACTORS = (
    "{S} is {n} years old.", "The bus there takes {n} minutes.", "{S} lives at number {n}.",
    "There are {n} clouds in the sky.", "The next holiday is in {n} days.",
    "{S} has read {n} pages today.", "It is {n} degrees warm.", "{S} has {n} cousins.",
    "Last year {S} won {n} games of chess.", "{S} has walked for {n} minutes.",
    "{S} has slept {n} hours this week.", "Yesterday {S} wrote {n} letters.")
MOST_DISTRACTORS = 2
SIZE = 500  # questions of a cell of the suite


class Template(NamedTuple):
    """A paragraph of stories.txt."""

    name: str
    numbers: tuple[str, ...]  # "rows 12-60" or "total = bags * each"
    story: str
    steps: tuple[tuple[str, tuple[str, ...]], ...]  # (prose, calculations "seats = {rows} * 3")


@cache
def templates(held_out: bool = False, more: int = 0) -> tuple[Template, ...]:
    """Every tenth template of stories.txt if `held_out`, else all others and the first `more` of
    further()."""
    found = [t for i, t in enumerate(_read("stories.txt")) if (i % 10 == 9) == held_out]
    return (*found, *(() if held_out else further()[:more]))


@cache
def further() -> list[Template]:
    """The templates of more_stories.txt, of which none is held out."""
    return _read("more_stories.txt")


def _read(name: str) -> list[Template]:
    text = Path(__file__).with_name(name).read_text(encoding="utf-8")
    return [_parse(p) for p in text.strip().split("\n\n") if not p.startswith("#")]


def _parse(paragraph: str) -> Template:
    head, *lines = paragraph.split("\n")
    name, _, numbers = head.partition(": ")
    start = next(i for i, line in enumerate(lines) if line.startswith("- "))
    steps = re.findall(r"((?:- .*\n)+)((?:> .*\n)+)", "\n".join(lines[start:]) + "\n")
    return Template(name, tuple(numbers.split(", ")), " ".join(lines[:start]),
                    tuple(("\n".join(_unmark(prose)), tuple(_unmark(code)))
                          for prose, code in steps))


def _unmark(lines: str) -> list[str]:
    return [line[2:] for line in lines.splitlines()]


def template_rows(seed: int | str, n: int, held_out: bool = False, code: bool = True,
                  more: int = 0) -> Iterator[Row]:
    """`n` rows; row i depends on the seed, i, `held_out` and `more` only. With `code=False` the
    same problems are solved in prose, with the results in it and without an interpreter."""
    for i in range(n):
        rng = Random(f"{TASK} {seed} {held_out} {i}")
        template = rng.choice(templates(held_out, more))
        numbers, values = draw_numbers(template, rng)
        words = {**fillings(rng), **numbers}
        yield {"instruction": story_text(template, words, rng), "input": "",
               "output": solution_text(template, words, code), "answer": str(values[-1]),
               "task": TASK, "source": template.name}


def suite(seed: int = 0, wording: str | None = None,
          limit: int | None = None) -> Iterator[Question]:
    """SIZE questions of the templates that training shows, and of the others; the first `limit`.
    Drawn apart from all training rows: their seeds are numbers."""
    count = min(SIZE, limit or SIZE)
    for cell, held_out in (("seen templates", False), ("held-out templates", True)):
        for row in template_rows(f"suite {seed}", count, held_out):
            yield Question(TASK, cell, row["instruction"], "", row["answer"], paper=TASK)


@cache
def reserved() -> frozenset[str]:
    """The questions of the suite at default seed and size, which rows avoid."""
    return frozenset(question.instruction for question in suite())


def draw_numbers(template: Template, rng: Random) -> tuple[dict[str, Number], list[Number]]:
    """(the numbers of the story, the values of the solution), all whole and greater than zero."""
    while True:
        numbers: dict[str, Number] = {}
        for rule in template.numbers:
            name, derived, expression = rule.partition(" = ")
            if derived:
                numbers[name] = calculate(expression, numbers)[1]
            else:
                name, low, high = re.split("[ -]", rule)
                numbers[name] = rng.randint(int(low), int(high))
        values = [value for _, lines in worked_steps(template, numbers) for _, _, value in lines]
        if all(isinstance(x, int) and x > 0 for x in (*numbers.values(), *values)):
            return numbers, values


Line = tuple[str, str, Number]  # variable, expression, value


def worked_steps(template: Template,
                 words: Mapping[str, object]) -> list[tuple[str, list[Line]]]:
    """The solution with its numbers: the prose and the calculations of each step."""
    variables: dict[str, Number] = {}
    steps = []
    for prose, lines in template.steps:
        done = []
        for line in lines:
            name, _, expression = line.format(**words).partition(" = ")
            expression, variables[name] = calculate(expression, variables)
            done.append((name, expression, variables[name]))
        steps.append((prose, done))
    return steps


def solution_text(template: Template, words: Mapping[str, object], code: bool) -> str:
    """The tagged solution, in code or in prose; `words` hold the numbers too."""
    steps = []
    variables: dict[str, Number] = {}
    for prose, lines in worked_steps(template, words):
        prose = prose.format(**words)
        last, _, result = lines[-1]  # the last step's is the answer
        if code:
            program = [f"{name} = {expression}" for name, expression, _ in lines]
            steps.append(Step(prose, "\n".join([*program, f"print({last})"]), str(result)))
            continue
        for name, expression, value in lines:
            known = re.sub(r"[a-z]\w*", lambda m: str(variables[m[0]]), expression)
            prose += f"\n{name} = {known.replace('//', '/')} = {value}"
            variables[name] = value
        steps.append(Step(prose))
    return render(steps, str(result))


def story_text(template: Template, words: Mapping[str, object], rng: Random) -> str:
    """The story with its words and numbers, and with sentences that do not matter."""
    story = re.sub(r"\[([^]]*)\]", lambda m: rng.choice(m[1].split("|")), template.story)
    [(before, question)] = re.findall(r"^(.*?[.!])? ?([^.!]*\?(?: Give[^.]*\.)?)$", story)
    sentences = [before, question]
    for distractor in rng.sample(DISTRACTORS, rng.randint(0, MOST_DISTRACTORS)):
        sentences.insert(rng.randint(0, len(sentences) - 1),
                         distractor.replace("{n}", str(rng.randint(2, 99))))
    return " ".join(filter(None, sentences)).format(**words)


def fillings(rng: Random) -> dict[str, str]:
    """One word of each pool, and the persons: the words of a story."""
    words = {name: rng.choice(pool.split()) for name, pool in POOLS.items()}
    return {**words, **dict(zip(PEOPLE, rng.sample(POOLS["people"].split(), len(PEOPLE))))}
