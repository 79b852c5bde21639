"""A model's answers in every way of decoding. Nothing here is a test."""

from dataclasses import asdict

from goat.distributed import Group
from goat.evaluation.evaluate import evaluate
from goat.evaluation.questions import load_suites
from goat.files import checkpoint
from goat.files.vocabulary import open_tokenizer
from goat.papers.word_problems.interpreter import ANSWERED

WAYS = {"greedy": {}, "sampled": {"temperature": 1.0, "seed": 3}, "beams": {"beams": 2},
        "interpreter": {"interpreter": True}}


def answers(base: str, group: Group) -> dict[str, list[dict]]:
    """The records of questions of unequal lengths, an odd number of them, in each of WAYS."""
    model, tokenizer = checkpoint.load_model(base), open_tokenizer(base)
    found = {}
    for way, options in WAYS.items():
        questions = load_suites(["word_problems" if way == "interpreter" else "demo"], 3)[:5]
        records, complete = evaluate(model, tokenizer, questions, max_new_tokens=12, group=group,
                                     **options)
        assert complete and [r.prompt for r in records] == [q.prompt for q in questions]
        found[way] = [asdict(record) for record in records]
    return found


def take(solution, written, ended, run):
    """For `Solution.take`: whatever a random model writes is an answer."""
    solution.text, solution.turns = written, 1
    solution.outcome, solution.answer = ANSWERED, str(len(written) % 3)
