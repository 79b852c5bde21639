"""Goat (Liu and Low 2023, arXiv 2305.14201): arithmetic learnt from worked solutions."""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator

from goat.files.rows import Report, Row
from goat.papers import Operands, Paper, Question, Verdict
from goat.papers.arithmetic.operations import own


class Arithmetic(Paper):
    name = "arithmetic"
    suite_names = ("bigbench", "large", "grid", "extrapolation", "demo",
                   *(op.name for op in own()))
    worded = True

    def add_flags(self, parser: ArgumentParser) -> None:
        add = parser.add_argument_group("with --task arithmetic").add_argument
        add("--mixture", default="paper", metavar="NAME",
            help="paper, notebook (as published), demo (for the embedded base), demo-large and "
            "demo-16 (for its adapter), demo-products (for SmolLM2) or skills (what the base was "
            "pretrained on: another task, see --task skills --help)"
            + "".join(f", {op.name}" for op in own())
            + "; default paper; --rows scales its parts alike")
        add("--order", choices=["random", "blocks"], default="random",
            help="seeded random order, or cell after cell as published (default random)")
        add("--no-steps", action="store_true",
            help="no working: question = answer (default: with working)")
        add("--omit", action="append", default=[], metavar="STAGE",
            help=f"leave a stage out of the workings, {', '.join(self.solutions.OMITTABLE)}; "
            "may be repeated (default: none)")
        add("--bare", action="store_true",
            help="the paper's simplified rows (App. D): the expression alone as the instruction, "
            "the answer alone as the output (default: worded and worked)")

    def file_name(self, args: Namespace) -> str:
        return "arithmetic" if args.mixture == "paper" else args.mixture

    def write(self, out: str, args: Namespace, count_tokens: Callable[[Row], int] | None) -> Report:
        recipe = self.dataset.Recipe(
            mixture=args.mixture, rows=args.rows, seed=args.seed, order=args.order,
            steps=not args.no_steps, omit=tuple(args.omit), bare=args.bare, held_out=args.held_out)
        as_published = args.mixture == "notebook"  # with the questions that the suites ask
        reserved = () if as_published else self.suites.reserved()
        report = self.dataset.write_mixture(out, recipe, reserved, args.workers, count_tokens)
        if as_published:
            report.notes += ["", "as published: questions of the suites are not left out (see "
                             "eval.py --leave-out)"]
        return report

    def owns(self, task: str) -> bool:
        return not task or task in self.mixtures.OPERATORS

    def audit(self, row: Row) -> str | None:
        return self.questions.audit(row)

    def read_question(self, text: str) -> Operands | None:
        return self.questions.find_question(text)

    def cell(self, operands: Operands) -> str:
        a, op, b = operands
        return self.operations.operation(op).cell(len(str(a)), len(str(b)))

    def asked(self, operands: Operands) -> tuple:
        a, op, b = operands
        return (op, *sorted((a, b))) if self.operations.operation(op).commutative else (op, a, b)

    def solve(self, operands: Operands) -> str:
        a, op, b = operands
        return self.operations.operation(op).answer(a, b)

    def suite(self, name: str, **options) -> Iterator[Question]:
        return self.suites.questions(name, **options)

    def judge(self, question: Question, output: str) -> Verdict:
        """A working with a false step may still reach the right answer: then `right` is true and
        `first_error` is set. Without an expression there are no steps that could be checked."""
        text, answer = question.working(output), question.answer.strip()
        if question.expression is None:  # an answer may have an = of its own
            given = answer if text.strip() == answer else self.solutions.extract_answer(text)
            return Verdict(given, given == answer, None, None)
        return self.solutions.check(question.expression, text).verdict(question)

    def evaluation_flags(self, task: str) -> str:
        return "--suite " + next((op.name for op in own() if task in op.tasks), "demo")


PAPER = Arithmetic()
