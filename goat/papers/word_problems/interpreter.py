"""Solving with a code interpreter: the model writes prose and code, the sandbox runs the code.

A solution grows in turns. In each the model writes up to the end of its code; that code is run
behind the earlier snippets of the same problem, what it prints is put behind it, and the next
turn goes on from there, until a turn states the final answer. Many problems are decoded together,
in one batch; a problem whose code was run goes on in its place, with what the model has read
still in the cache, and is solved before others begin: so work that is broken off has finished
most of what it began. Source: the loop of MARIO (Liao et al. 2024, arXiv 2401.08190), which takes
a turn with both code and answer, or with neither, for a failure.

Every solution ends in one of OUTCOMES, whatever the model writes; the bounds are the number of
turns, the tokens of a solution, the model's context, and the sandbox's own.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from goat.llama.generate import ALL, decode, new_rows
from goat.llama.model import Llama
from goat.llama.sampling import Row, Sampling
from goat.papers.word_problems import sandbox
from goat.papers.word_problems.format import (BOTH, MARKUPS, MAX_STEPS, NEITHER, complete,
                                              observation, observed, stated)

ANSWERED = "answered"
TOO_LONG = "no room left"  # the limit of tokens or the model's context
TOO_DEEP = "too many turns"
OUTCOMES = (ANSWERED, BOTH, NEITHER, TOO_LONG, TOO_DEEP)
ASK = tuple(markup.ask for markup in MARKUPS.values())  # the model waits for an output


@dataclass
class Solution:
    """Sample number `sample` of problem number `problem`, with the interpreter's parts in it."""

    problem: int
    sample: int
    prompt: str
    text: str = ""
    outcome: str | None = None  # None while it grows
    answer: str = ""  # what it states; empty unless `outcome` is ANSWERED
    history: list[str] = field(default_factory=list)  # what later code builds on
    turns: int = 0
    runs: int | None = None  # programs that were run; None without an interpreter
    failed: int = 0  # runs that ended in an error or were stopped

    @property
    def answered(self) -> bool:
        return self.outcome == ANSWERED

    def take(self, written: str, ended: bool, run: Callable | None) -> None:
        """Take in a turn, and run its code; `ended` says that the model has closed the turn. Code
        that was stopped (by the clock, or for a flood of output) leaves no state behind: it is not
        run again."""
        self.text += written
        self.turns += 1
        answer, why = stated(written)
        markup = next((m for m in MARKUPS.values() if written.endswith(m.ask)), None)
        if run is None and any(m.code in written for m in MARKUPS.values()):
            self.outcome = NEITHER  # an output that it has invented is no working
        elif answer and complete(written, ended):
            self.outcome, self.answer = ANSWERED, answer
        elif why == BOTH:
            self.outcome = BOTH
        elif not ended:
            self.outcome = TOO_LONG
        elif run is None or markup is None or markup.code not in written:
            self.outcome = NEITHER
        else:
            code = written.removesuffix(markup.ask).rpartition(markup.code)[2].strip("\n")
            result = run(code, history=self.history)
            self.text += observed(observation(result), markup)
            self.runs = (self.runs or 0) + 1
            self.failed += result.error is not None
            if not result.stopped:
                self.history.append(code)


def solve(model: Llama, tokenizer, prompts: list[str], max_new_tokens: int = 512,
          batch_size: int = 128, *, samples: int = 1, temperature: float = 0.0,
          top_p: float = 1.0, seed: int = 0, interpreter: bool = True,
          run: Callable = sandbox.run_code, share: slice = ALL) -> Iterator[Solution]:
    """Yield each solution as soon as it has an outcome, in any order.

    `max_new_tokens` bounds what the model writes in a whole solution. With `samples` above 1 and
    a temperature, samples differ, and none depends on the others or, up to rounding, on the batch
    size (see `Sampling`). `interpreter=False` gives one turn without code. `run(code,
    history=[...])` is `sandbox.run_code`, or returns something with the fields of its `Run`.
    `share`: of the prompts, see `new_rows`.
    """
    sampling = Sampling(temperature, top_p, seed)
    rows = new_rows(model, tokenizer, prompts, max_new_tokens, samples, share)
    solutions = {}
    for row in rows:
        row.uniforms = sampling.uniforms(row)
        solutions[row.problem, row.sample] = Solution(row.problem, row.sample, row.prompt,
                                                      runs=0 if interpreter else None)
    stop, waiting = ASK if interpreter else (), deque(rows)
    for row in decode(model, tokenizer, waiting, batch_size, sampling, stop):
        solution = solutions[row.problem, row.sample]
        assert row.text is not None  # `decode` gives rows that have finished
        ended = row.new[-1] == tokenizer.eos_id or row.text.endswith(stop)
        solution.take(row.text, ended, run if interpreter else None)
        if solution.outcome is None and solution.turns == MAX_STEPS:
            solution.outcome = TOO_DEEP
        if solution.outcome is None:  # the next turn has the room and the random numbers left
            prompt = solution.prompt + solution.text
            ids = tokenizer.encode_prompt(solution.prompt, solution.text)
            limit = min(row.limit - len(row.new), model.config.max_positions - len(ids))
            if limit > 0:
                if not row.go_on(prompt, ids, limit):  # another row has to write it
                    rest = None if row.uniforms is None else row.uniforms[len(row.new):]
                    waiting.appendleft(Row(row.problem, row.sample, prompt, ids, limit,
                                           uniforms=rest))
                continue
            solution.outcome = TOO_LONG
        yield solution
