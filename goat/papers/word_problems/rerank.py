"""Many solutions of one problem, and which of them to believe.

Greedy decoding gives one solution. Of `n` samples, *vote* takes the answer that most of them give
(Wang et al. 2022, arXiv 2203.11171), *value* the answer of the solution that the value model likes
best (OVM, Yu et al. 2023, arXiv 2311.09724), and *value-vote* the answer with the largest sum of
values, each moved to 0 … 1. pass@n says whether any sample is right: no choice can do better.

A worked number: samples answer 24, 24, 18 with the values -0.8, -0.6, 0.9. The vote says 24 (2
against 1), the value 18, the value-vote 18 (0.95 against 0.1 + 0.2 = 0.3).

Answers are the same by the rule of their problem (math_answers.py). A sample without an answer has
no vote. A tie goes to the answer that was sampled first.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Protocol

from goat.distributed import ALONE, Group
from goat.papers import Question
from goat.papers.word_problems.interpreter import Solution, solve
from goat.papers.word_problems.math_answers import rule
from goat.stats import mcnemar, wilson

NAMES = {"greedy": "greedy", "vote": "majority vote", "value": "best value",
         "value-vote": "value-weighted vote", "pass": "any sample right (pass@n)"}
# (prompt, solution) pairs -> the number and value of each, in any order
Valuer = Callable[[Sequence[tuple[str, str]]], Iterable[tuple[int, float]]]


class Judged(Protocol):
    """What is asked of a judged solution (`goat.evaluation.evaluate.Record` has more)."""

    suite: str
    cell: str
    given: str
    right: bool


@dataclass
class Candidates:
    """The greedy solution of one question, its samples and, given a value model, their values."""

    greedy: Judged
    samples: list[Judged]
    values: list[float] | None = None
    task: str = ""  # of the question

    def chosen(self, how: str) -> Judged:
        """The greedy solution, or the sample that `how` (one of the paper's CHOICES) takes."""
        if how == "greedy":
            return self.greedy
        values = self.values or []  # there are some where `how` asks for them
        if not self.keys:
            return self.samples[0]
        if how == "value":
            return self.samples[max(self.keys, key=values.__getitem__)]
        weights: dict[int, float] = defaultdict(float)
        for i, key in self.keys.items():
            weights[key] += 1.0 if how == "vote" else (1 + values[i]) / 2
        best = max(weights, key=weights.__getitem__)
        return next(self.samples[i] for i, key in self.keys.items() if key == best)

    @cached_property
    def keys(self) -> dict[int, int]:
        """Of each sample with an answer, the first sample that gives the same answer."""
        same = rule(self.task)
        return {i: next(j for j, one in enumerate(self.samples) if same(sample.given, one.given))
                for i, sample in enumerate(self.samples) if sample.given}

    def right(self, how: str) -> bool:
        if how == "pass":
            return any(sample.right for sample in self.samples)
        return self.chosen(how).right


def sample(model, tokenizer, questions: Sequence[Question],
           judge: Callable[[Question, Solution], Judged], samples: int, temperature: float,
           valuer: Valuer | None = None, *, progress: bool = False, group: Group = ALONE,
           **decoding) -> tuple[list[Candidates], bool]:
    """The candidates of each question, and whether all questions have theirs.

    `judge` says what a solution is worth. `decoding` goes to `interpreter.solve`. Ctrl-C ends the
    work early: questions that have all their samples are returned, with False, and without values
    if these were not ready. The processes of `group` share the work, and each returns all of it.
    """
    prompts = [question.prompt for question in questions]
    decoding["share"] = group.share
    found, _ = group.gather(
        ((s, judge(questions[s.problem], s)) for s in chain(
            solve(model, tokenizer, prompts, **decoding),
            solve(model, tokenizer, prompts, samples=samples, temperature=temperature,
                  **decoding))), len(prompts) * (samples + 1), "solution", progress)
    solutions: list[list[tuple[Solution, Judged]]] = [[] for _ in prompts]
    for solution, judged in found:
        solutions[solution.problem].append((solution, judged))
    candidates, texts = [], []
    for question, ((_, greedy), *some) in ((q, s) for q, s in zip(questions, solutions)
                                           if len(s) == samples + 1):
        some.sort(key=lambda pair: pair[0].sample)
        candidates.append(Candidates(greedy, [judged for _, judged in some], task=question.task))
        texts += [(s.prompt, s.text) for s, _ in some]
    if valuer:
        numbers = range(len(texts))[group.share]
        values, complete = group.gather(
            ((numbers[i], value) for i, value in valuer([texts[i] for i in numbers])),
            len(texts), "value", progress)
        if not complete:
            return candidates, False
        ordered = [value for _, value in sorted(values)]
        for i, one in enumerate(candidates):
            one.values = ordered[i * samples:(i + 1) * samples]
    return candidates, len(candidates) == len(questions)


def methods(candidates: Sequence[Candidates]) -> list[str]:
    """What can be said of these: without values, greedy, vote and pass only."""
    valued = all(one.values is not None for one in candidates)
    return [how for how in NAMES if valued or not how.startswith("value")]


def cells(candidates: Sequence[Candidates]) -> dict[tuple[str, str], list[Candidates]]:
    """The candidates of each (suite, cell)."""
    groups = defaultdict(list)
    for one in candidates:
        groups[one.greedy.suite, one.greedy.cell].append(one)
    return groups


def scores(candidates: Sequence[Candidates]) -> list[dict]:
    """How many questions of each cell each method gets right, with the 95 % interval."""
    found = []
    for (suite, cell), group in cells(candidates).items():
        for how in methods(group):
            right = sum(one.right(how) for one in group)
            low, high = wilson(right, len(group))
            found.append({"suite": suite, "cell": cell, "method": how, "n": len(group),
                          "samples": len(group[0].samples), "right": right, "low": low,
                          "high": high})
    return found


def summary(candidates: Sequence[Candidates]) -> str:
    """All methods side by side, and value against vote on the same questions."""
    if not candidates:
        return "no question has all its samples"
    lines = []
    for (suite, cell), group in cells(candidates).items():
        count = len(group[0].samples)
        lines += [f"{suite}, {cell}: {len(group)} questions, {count} samples each",
                  f"  {'':28}{'right in %':>10}   95 % range"]
        lines += [f"  {NAMES[score['method']]:28}{100 * score['right'] / score['n']:10.1f}   "
                  f"{100 * score['low']:.1f} - {100 * score['high']:.1f}"
                  for score in scores(group)]
        for how in methods(group):
            if not how.startswith("value"):
                continue
            test = mcnemar(*([one.right(h) for one in group] for h in (how, "vote")))
            lines.append(f"  {NAMES[how]} against majority: {test.only_first} questions right by "
                         f"it alone, {test.only_second} by majority alone, p = {test.p:.3f}")
    return "\n".join(lines)
