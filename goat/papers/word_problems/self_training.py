"""Rejection sampling: a model solves training questions many times, and what is right is kept.

Right is what states the gold answer (the outputs in it are the sandbox's own). Of each question at
most KEPT different solutions are kept, and as many wrong ones, for the value model. Two solutions
are the same if their code that came to its end is, spaces and comments apart; without such code, if
their text is. Source: the self-training of MARIO (Liao et al. 2024, arXiv 2401.08190) at its
temperature of 0.7.

A solution that states no answer is counted, not kept: nobody will ever have to choose it.
"""

import argparse
import ast
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from goat import device
from goat.distributed import Group
from goat.files import checkpoint
from goat.files.bases import EMBEDDED
from goat.files.rows import Row
from goat.llama.sampling import Sampling
from goat.papers import row_prompt
from goat.papers.word_problems.format import interpreter_spans
from goat.papers.word_problems.interpreter import Solution, solve
from goat.papers.word_problems.math_answers import rule
from goat.stats import wilson

KEPT = 4  # right solutions of a question, and wrong ones


class Harvest(NamedTuple):
    """Rows with the labels "correct" and "wrong", and what they were taken from: the questions
    that have all their samples."""

    right: list[Row]
    wrong: list[Row]
    first_right: list[int | None]  # of each question: the first sample that solves it
    samples: int  # of each question
    solved: int  # samples that are right
    unanswered: int  # samples without an answer
    asked: int  # questions in all: more than have all samples where the work was broken off

    @property
    def complete(self) -> bool:
        return len(self.first_right) == self.asked


def normalised(solution: Solution) -> str:
    """What makes a solution different from others: its code, formatted alike, or its text."""
    code = "\n".join(solution.history)
    try:
        return ast.unparse(ast.parse(code)) if code else solution.text
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return code


def harvest(questions: Sequence[Row], solutions: Iterable[Solution], samples: int) -> Harvest:
    """Sort the `samples` solutions of each row in `questions`; these may come in any order."""
    found = sorted(solutions, key=lambda s: (s.problem, s.sample))
    counts = Counter(s.problem for s in found)
    first: dict[int, int | None] = {p: None for p, count in counts.items() if count == samples}
    kept: dict[str, list[Row]] = {"correct": [], "wrong": []}
    seen: dict[tuple[int, str], set[str]] = {}
    solved = unanswered = 0
    for s in (s for s in found if s.problem in first):
        row = questions[s.problem]
        if not s.answered:
            unanswered += 1
            continue
        right = rule(row.get("task"))(s.answer, row["answer"])
        if right:
            solved += 1
            first[s.problem] = s.sample if first[s.problem] is None else first[s.problem]
        label = "correct" if right else "wrong"
        known, what = seen.setdefault((s.problem, label), set()), normalised(s)
        if len(known) < KEPT and what not in known:
            known.add(what)
            kept[label].append({**row, "output": s.text, "label": label})
    return Harvest(kept["correct"], kept["wrong"], list(first.values()), samples, solved,
                   unanswered, len(questions))


def sample(questions: Sequence[Row], args: argparse.Namespace, group: Group) -> Harvest:
    """Let the model of args.base and args.from_model solve each row args.samples times. Ctrl-C ends
    it early: what has been found by then is returned, if any question has all its samples. `args`
    are the flags of generate_data.py. The processes of `group` share the questions."""
    Sampling(args.temperature)  # refuses what makes no sense before a model is loaded
    where, dtype = device.choose("auto", "auto")
    base = args.base or EMBEDDED
    model = checkpoint.load_adapted(base, args.from_model, dtype=dtype, device=where,
                                    int8=args.int8)
    tokenizer = checkpoint.tokenizer_of(base, model.config)
    solutions = solve(model, tokenizer, [row_prompt(row) for row in questions],
                      max_new_tokens=args.max_new_tokens, batch_size=args.batch_size,
                      samples=args.samples, temperature=args.temperature, seed=args.seed,
                      interpreter=not args.no_code, share=group.share)
    with device.out_of_memory(f"lower --batch-size (now {args.batch_size}), or hold the base in 8 "
                              "bits with --int8"):
        found, complete = group.gather(solutions, len(questions) * args.samples, "solution", True)
    kept = harvest(questions, found, args.samples)
    if not complete and not kept.first_right:
        raise KeyboardInterrupt
    return kept


def summary(found: Harvest) -> str:
    """The coverage, the share of questions with a right solution, as the samples grow in number."""
    questions = len(found.first_right)
    total = questions * found.samples
    coded = sum(bool(interpreter_spans(row["output"])) for row in found.right)
    counts = [2 ** i for i in range(found.samples.bit_length()) if 2 ** i < found.samples]
    lines = [""]
    if not found.complete:
        lines += [f"interrupted: {questions:,} of {found.asked:,} questions have all their samples"]
    lines += [f"{questions:,} questions, {found.samples} samples each: {found.solved:,} of "
              f"{total:,} samples are right, {found.unanswered:,} state no answer",
              f"kept, at most {KEPT} different ones of a question: {len(found.right):,} right "
              f"({coded:,} with code), {len(found.wrong):,} wrong", "",
              "coverage, questions with a right solution among the first n samples:"]
    for count in [*counts, found.samples]:
        covered = sum(first is not None and first < count for first in found.first_right)
        low, high = wilson(covered, questions)
        lines.append(f"  n = {count:<4} {100 * covered / max(1, questions):5.1f} %   "
                     f"({100 * low:.1f} - {100 * high:.1f})")
    return "\n".join(lines)
