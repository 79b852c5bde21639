"""MARIO (Liao et al. 2024, arXiv 2401.08190): word problems in prose, Python and its output."""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from goat.cli import refuse_below, refuse_empty, refuse_given
from goat.errors import UserError
from goat.files.rows import Report, Row
from goat.papers import Paper, Question, Verdict

if TYPE_CHECKING:
    from goat.papers.word_problems.loss_mask import LossMask

CHOICES = ("vote", "value", "value-vote")  # among samples, see rerank.py


class WordProblems(Paper):
    name = "word_problems"
    suite_names = ("word_problems",)
    expressions = False
    interpreter = True
    instead = {"--no-steps": "; --no-code leaves the interpreter out"}

    def add_flags(self, parser: ArgumentParser) -> None:
        add = parser.add_argument_group("with --task word_problems").add_argument
        more = len(self.templates.further())
        add("--more-templates", type=int, nargs="?", default=0, const=more, metavar="N",
            help=f"draw from N further templates too, for a base that has read a language, without "
            f"N from all {more} (default: 45 templates)")
        add("--gsm8k", metavar="DIR", help="GSM8K's training problems, the first --rows of them "
            "(default: templates of our own, 20,000 rows)")
        add("--math", metavar="DIR", help="MATH's training problems, worked in prose, the first "
            "--rows of them (default: the templates)")
        add("--levels", nargs="+", choices=self.math_problems.LEVELS, metavar="N",
            help="of MATH, only problems of these levels, 1 to 5 (default: all)")
        subjects = self.math_problems.SUBJECTS
        add("--subjects", nargs="+", choices=subjects, metavar="NAME",
            help=f"of MATH, only problems of these, of {', '.join(subjects)} (default: all)")
        add("--skip", type=int, default=0, metavar="N",
            help="leave out the first N problems of --gsm8k or --math (default 0)")
        add("--original-labels", action="store_true", help="take --gsm8k as it was published "
            "(default: some labels and workings corrected, see gsm8k_corrections.tsv)")
        add("--redraw", type=int, default=0, metavar="N", help="with --gsm8k: N further "
            "versions of each problem, with other numbers, drawn by --seed (default 0)")
        add("--no-code", action="store_true",
            help="solve in prose, without an interpreter; of --gsm8k, the problems that code "
            "solves, as they were worked (default: in prose and code)")
        add("--markup", choices=tuple(self.format.MARKUPS), default="tags",
            help="of code and output in the solutions: the paper's tags, or Markdown, which a base "
            "that has read the web knows, in a third fewer tokens (default tags)")
        add("--from-model", metavar="ADAPTER", help="keep what this model solves by itself, wrong "
            "solutions apart (of data/own.jsonl in data/own.wrong.jsonl); torchrun shares the "
            "questions among processes (default: the solutions of the source)")
        add = parser.add_argument_group("with --from-model").add_argument
        add("--base", metavar="MODEL", help="its base (default: the embedded one)")
        add("--samples", type=int, default=8, metavar="N",
            help="of the model for each question (default 8)")
        add("--temperature", type=float, default=0.7, help="of these (default 0.7)")
        add("--max-new-tokens", type=int, default=self.new_tokens, metavar="N",
            help="of a solution (default %(default)s)")
        add("--batch-size", type=int, default=128, metavar="N",
            help="solutions at a time (default 128)")
        add("--int8", action="store_true", help="hold the base in 8 bits (default: not)")

    def check_flags(self, args: Namespace, given: Namespace) -> None:
        if args.from_model and args.samples > 1 and args.temperature == 0:
            raise UserError("--temperature 0: all --samples of a question would be the same")
        if not args.from_model:
            refuse_given(given, "{flag} goes with --from-model", "base", "samples", "temperature",
                         "max_new_tokens", "batch_size", "int8")
        else:
            refuse_given(given, "{flag}: a model marks its code as it has learnt to", "markup")
        refuse_below(args, 1, "rows", "samples", "max_new_tokens", "batch_size")
        refuse_below(args, 0, "more_templates")
        if args.more_templates > (most := len(self.templates.further())):
            raise UserError(f"--more-templates {args.more_templates}: there are {most}")
        if args.gsm8k and args.math:
            raise UserError("--gsm8k and --math exclude each other: write a file of each")
        if (args.levels or args.subjects) and not args.math:
            raise UserError("--levels and --subjects choose among the problems of --math")
        source = "--gsm8k" if args.gsm8k else "--math" if args.math else None
        if args.skip < 0 or args.skip and not source:
            raise UserError("--skip leaves out the first problems of --gsm8k or --math: 0 or more")
        if args.original_labels and args.gsm8k is None:
            raise UserError("--original-labels is about the problems of --gsm8k")
        if args.redraw < 0 or args.redraw and (not args.gsm8k or args.from_model or args.no_code):
            raise UserError("--redraw gives N further versions, 0 or more, of the solved problems "
                            "of --gsm8k; it goes without --from-model and --no-code")
        if source and (args.held_out or args.more_templates):
            raise UserError(f"{source} goes without --held-out and --more-templates, which are "
                            "about the templates")
        if args.held_out and args.more_templates:
            raise UserError("--held-out: none of --more-templates is held out")
        if args.math and args.no_code and not args.from_model:
            raise UserError("--no-code: the solutions of --math are in prose as they are")
        if source and args.seed and not args.from_model and not args.redraw:
            raise UserError(f"--seed: the problems of {source} are not drawn; --skip N leaves out "
                            "the first N")
        if args.out == "-" and args.from_model:
            raise UserError("--from-model writes a file beside the rows: name one with --out, "
                            "not -")

    def write(self, out: str, args: Namespace, count_tokens: Callable[[Row], int] | None) -> Report:
        return self.dataset.write(out, args, count_tokens)

    def add_evaluation_flags(self, parser: ArgumentParser) -> None:
        add = parser.add_argument_group("word problems").add_argument
        add("--gsm8k", metavar="DIR", help="ask the problems of GSM8K's test.jsonl in DIR")
        add("--math", metavar="DIR", help="ask the test problems of MATH in DIR; with --limit N, N "
            "of them, evenly spread")
        add("--interpreter", action="store_true", help="run the code of solutions in the sandbox, "
            "and go on from what it prints")
        add("--samples", type=int, default=1, metavar="N", help="solve each problem N times at "
            "random, and compare ways to choose (default 1)")
        add("--rerank", choices=CHOICES, help="with --samples: the choice that counts, by number, "
            "by value model, or by both (default vote)")
        add("--value-adapter", metavar="DIR", help="another adapter on the same base, with the "
            "value model (default: the one beside --adapter, if any)")

    def check_evaluation_flags(self, args: Namespace) -> None:
        refuse_empty(args, "gsm8k", "math", "value_adapter")
        refuse_below(args, 1, "samples")
        if (args.gsm8k or args.math) and (args.bare or args.wording):
            raise UserError("--wording and --bare word the questions of suites; those of --gsm8k "
                            "and --math are asked as they stand")
        if args.samples > 1 and args.temperature == 0:
            raise UserError("--temperature 0: all --samples of a problem would be the same")
        if args.beams > 1 and (args.interpreter or args.samples > 1):
            raise UserError("--beams goes with neither --interpreter nor --samples")
        if args.ask is not None and args.samples > 1:
            raise UserError("--ask answers once: --samples is for suites and files of questions")
        if args.samples == 1 and (args.rerank or args.value_adapter):
            raise UserError("--rerank and --value-adapter choose among samples: add --samples 20")

    def flag_questions(self, args: Namespace) -> list[Question]:
        questions = []
        if args.gsm8k is not None:
            questions += self.gsm8k.evaluation_questions(args.gsm8k, args.limit)
        if args.math is not None:
            questions += self.math_problems.evaluation_questions(args.math, args.limit)
        return questions

    def owns(self, task: str) -> bool:
        return task in (self.name, self.format.MATH)

    def audit(self, row: Row) -> str | None:
        """What is wrong with the stated answer or the label. The code is not run, so an invented
        output goes unnoticed."""
        given, failure = self.format.stated(row["output"])
        right = bool(given) and self.math_answers.rule(row.get("task"))(given, row["answer"])
        label = row.get("label")
        if label not in (None, *self.loss_mask.LABELS):
            return f"label {label!r} is neither 'correct' nor 'wrong'"
        if label == "wrong":
            return "labelled wrong, but its answer is right" if right else None
        return None if right else failure or f"the output answers {given!r}, not {row['answer']!r}"

    def mask_row(self, row: Row, prompt: str, ids: list[int], encode: Callable,
                 learn_output: bool, valued: bool) -> "LossMask | None":
        return self.loss_mask.loss_mask(row, prompt, ids, encode, learn_output, valued)

    def suite(self, name: str, **options) -> Iterator[Question]:
        return self.templates.suite(**options)

    def judge(self, question: Question, output: str) -> Verdict:
        """Answers are compared as numbers: "$1,234.50" equals 1234.5, 18 is not 18.002; those of
        MATH as what they are worth. `kind` tells why a solution states none."""
        given, failure = self.format.stated(question.working(output))
        same = self.math_answers.rule(question.task)
        return Verdict(given, same(given, question.answer), failure, None)

    def evaluation_flags(self, task: str) -> str:
        return "--suite word_problems --interpreter" if task == self.name else "--math DIR"


PAPER = WordProblems()
