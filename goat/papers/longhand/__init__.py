"""Recchia 2021 (arXiv 2109.02102): remainders of long divisions from 200 demonstrations."""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator

from goat.cli import refuse_below, refuse_given
from goat.errors import UserError
from goat.files.rows import Report, Row, write_rows
from goat.papers import Operands, Paper, Question, Verdict

ROWS = 200  # demonstrations, if the user does not say


class Longhand(Paper):
    name = "longhand"
    suite_names = ("longhand", "longhand-big")
    held_out = False
    new_tokens = 2048  # a long division takes many
    instead = {"--no-steps": "; --form answer has no working"}

    def add_flags(self, parser: ArgumentParser) -> None:
        questions = self.questions
        add = parser.add_argument_group("with --task longhand").add_argument
        add("--form", default=questions.BEST, metavar="NAME",
            help=f"of the working: {', '.join(questions.FORMS)} (default {questions.BEST})")
        add("--split", default="train", metavar="NAME",
            help=f"sizes of the numbers: {', '.join(questions.SPLITS)} (default train, "
            "which is easy, medium and hard in turn)")
        add("--questions", metavar="FILE",
            help="work these: question|answer lines, or a question and its answer on "
            f"every two lines (default: draw --rows of them, {ROWS} if not given)")

    def check_flags(self, args: Namespace, given: Namespace) -> None:
        if args.questions:
            refuse_given(given, "{flag} and --questions exclude each other: a file is worked as a "
                         "whole", "rows", "split", "seed")
        refuse_below(args, 1, "rows")

    def write(self, out: str, args: Namespace, count_tokens: Callable[[Row], int] | None) -> Report:
        """Demonstrations: of the user's questions, or of drawn ones that no suite asks."""
        questions = self.questions
        questions.form_named(args.form)
        if args.questions:
            rows = list(questions.from_questions(args.questions, args.form))
        else:
            rows = list(questions.demonstrations(args.rows or ROWS, args.form, args.seed,
                                                 args.split, questions.reserved()))
        return write_rows(out, rows, count_tokens)

    def owns(self, task: str) -> bool:
        return task.startswith("longhand ")

    def audit(self, row: Row) -> str | None:
        return self.questions.audit(row)

    def read_question(self, text: str) -> Operands | None:
        try:
            x, y = self.questions.parse_question(text)
            return x, "%", y
        except UserError:
            return None

    def solve(self, operands: Operands) -> str:
        return str(operands[0] % operands[2])

    def suite(self, name: str, **options) -> Iterator[Question]:
        return self.questions.suite(name, **options)

    def judge(self, question: Question, output: str) -> Verdict:
        """The working may have any form of this paper."""
        assert question.operands  # a suite gives them, and a file is read for them
        x, _, y = question.operands
        return self.questions.check_any(x, y, output).verdict(question)


PAPER = Longhand()
