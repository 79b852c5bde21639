"""Questions asked and judged as eval.py does, and their true answers. Nothing here is a test."""

from goat.evaluation.questions import load_suites
from goat.papers import PAPERS, Question, Verdict, read_question


def judge(question: Question, output: str) -> Verdict:
    return PAPERS[question.paper].judge(question, output)


def operands_in(text: str):
    """What a text asks for: (a, op, b), or None."""
    found = read_question(text)
    return found and found[1]


def suite(name: str, **options) -> list[Question]:
    """The questions of one suite."""
    return load_suites([name], **options)


def true_answer(a, op, b):
    """The answer of an arithmetic question, by Python's own integers."""
    if op == "/":
        if b == 0:
            return "undefined"
        return f"{a // b} R {a % b}" if a % b else f"{a // b}"
    return str({"+": a + b, "-": a - b, "*": a * b}[op])
