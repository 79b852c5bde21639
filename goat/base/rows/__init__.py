"""What the embedded base was pretrained on: skills, in a notation of its own. No paper, but its
rows are written, checked and asked like those of one."""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator

from goat.cli import refuse_below
from goat.errors import UserError
from goat.files.rows import Report, Row
from goat.papers import MAX_DIGITS, PAPERS, Paper, Question, Verdict


class Skills(Paper):
    name = "skills"
    suite_names = ("skills",)
    worded = True  # in one wording, bare
    held_out = False
    expressions = False
    mix_names = ("growing", "even", "sheets", "words", "names", "sizes", "carries")  # see mixes.py

    def add_flags(self, parser: ArgumentParser) -> None:
        add = parser.add_argument_group("with --task skills").add_argument
        add("--mixture", choices=[self.name], default=self.name,
            help="another way to ask for this task")
        add("--max-digits", type=int, default=8, metavar="N", help="of the operands (default 8)")

    def check_flags(self, args: Namespace, given: Namespace) -> None:
        refuse_below(args, 1, "rows", "max_digits")
        refuse_below(args, 0, "seed")
        if args.max_digits > MAX_DIGITS // 2:
            raise UserError(f"--max-digits {args.max_digits} must be at most {MAX_DIGITS // 2:,}")

    def write(self, out: str, args: Namespace, count_tokens: Callable[[Row], int] | None) -> Report:
        return self.dataset.write(out, args.rows, args.seed, args.max_digits, args.workers,
                                  count_tokens)

    def owns(self, task: str) -> bool:
        return task == self.name or task in self.mixes.KINDS

    def audit(self, row: Row) -> str | None:
        return self.dataset.audit(row)

    def check_evaluation_flags(self, args: Namespace) -> None:
        if self.name in (args.suite or ()) and args.wording not in (None, "bare"):
            raise UserError(f"--suite {self.name} is asked in its own notation, --wording bare")

    def suite(self, name: str, **options) -> Iterator[Question]:
        return self.dataset.suite(**options)

    def judge(self, question: Question, output: str) -> Verdict:
        return PAPERS["arithmetic"].judge(question, output)


PAPER = Skills()
