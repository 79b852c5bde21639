"""Write the training data, or verify a file of it.

    python generate_data.py                                  the paper's data set, about 1 M rows
    python generate_data.py --mixture notebook --order blocks --out published.json
    python generate_data.py --mixture demo --rows 20000 --no-steps --out data/direct.jsonl
    python generate_data.py --task longhand --rows 200       remainders, worked by long division
    python generate_data.py --task word_problems             stories, solved with code
    python generate_data.py --check data/arithmetic.jsonl    every equation of every row

What is asked stands in goat/tasks/mixtures.py, how it is worded in goat/tasks/phrasing.py, and
how it is solved in goat/tasks/arithmetic.py; for remainders in goat/tasks/longhand.py. The same
seed gives the same questions in every variant of the workings, and the same bytes whatever the
number of processes.
"""

import argparse
import functools
import json
import os
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from tqdm import tqdm

from goat import suites, word_data
from goat.errors import INTERRUPTED, UserError, check_place, refuse_empty, run, spelt
from goat.tasks import audit, dataset, longhand, phrasing
from goat.tasks.arithmetic import OMITTABLE
from goat.tokenizer import Tokenizer


INSTEAD = {  # for a flag of another task: what does the same in this one
    ("longhand", "--no-steps"): "; --form answer has no working",
    ("word_problems", "--no-steps"): "; --no-code leaves the interpreter out"}


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_argument_group("what is asked")
    what.add_argument("--task", choices=["arithmetic", "longhand", "word_problems"],
                      default="arithmetic",
                      help="kind of question (default arithmetic)")
    what.add_argument("--rows", type=int, metavar="N", help="how many (default: as many as the "
                      "mixture has; of longhand 200)")
    what.add_argument("--seed", type=int, default=0, help="default 0")
    what.add_argument("--held-out", action="store_true",
                      help="with the wordings (of word problems: templates) that training never "
                      "shows (default: the others; longhand has none)")
    goat = parser.add_argument_group("with --task arithmetic").add_argument
    hand = parser.add_argument_group("with --task longhand").add_argument
    word = parser.add_argument_group("with --task word_problems").add_argument
    own = {"arithmetic": [
        goat("--mixture", default="paper", metavar="NAME",
             help="paper, notebook (as published), demo (for the embedded base), demo-large and "
             "demo-16 (for its adapter) or skills (the mix of the base's first stage); default "
             "paper; --rows scales its parts alike"),
        goat("--max-digits", type=int, default=8, metavar="N",
             help="of the operands in skills (default 8)"),
        goat("--order", choices=["random", "blocks"], default="random",
             help="seeded random order, or cell after cell as published (default random)"),
        goat("--no-steps", action="store_true",
             help="no working: question = answer (default: with working)"),
        goat("--omit", action="append", default=[], metavar="STAGE",
             help=f"leave a stage out of the workings, {', '.join(OMITTABLE)}; may be repeated "
             "(default: none)"),
        goat("--bare", action="store_true",
             help="the paper's simplified rows (App. D): the expression alone as the instruction, "
             "the answer alone as the output (default: worded and worked)")
    ], "longhand": [
        hand("--form", default=longhand.BEST, metavar="NAME",
             help=f"of the working: {', '.join(longhand.FORMS)} (default {longhand.BEST})"),
        hand("--split", default="train", metavar="NAME",
             help=f"sizes of the numbers: {', '.join(longhand.SPLITS)} (default train, "
             "which is easy, medium and hard in turn)"),
        hand("--questions", metavar="FILE",
             help="work these: question|answer lines, or a question and its answer on "
             "every two lines (default: draw --rows of them, 200 if not given)")
    ], "word_problems": [
        word("--gsm8k", metavar="DIR",
             help="GSM8K's training problems, the first --rows of them (default: "
             f"templates of our own, {word_data.ROWS:,} rows)"),
        word("--skip", type=int, default=0, metavar="N",
             help="leave out the first N of these (default 0)"),
        word("--no-code", action="store_true",
             help="solve in prose, without an interpreter (default: in prose and code)"),
        word("--from-model", metavar="ADAPTER",
             help="keep what this model solves by itself, wrong solutions apart in "
             "OUT.wrong.jsonl (default: the solutions of the source)")
    ]}
    model = parser.add_argument_group("with --from-model").add_argument
    sampling = [
        model("--base", metavar="DIR", help="its base (default: the embedded one)"),
        model("--samples", type=int, default=8, metavar="N",
              help="of the model for each question (default 8)"),
        model("--temperature", type=float, default=0.7, help="of these (default 0.7)"),
        model("--batch-size", type=int, default=128, metavar="N",
              help="solutions at a time (default 128)"),
        model("--int8", action="store_true", help="hold the base in 8 bits (default: not)")
    ]
    own["word_problems"] += sampling
    where = parser.add_argument_group("output")
    where.add_argument("--out", metavar="FILE",
                       help="JSON lines; a .json file gets one list; - is standard output (default "
                       "data/MIXTURE.jsonl, of paper data/arithmetic.jsonl; with another task "
                       "data/TASK.jsonl)")
    where.add_argument("--workers", type=int, default=os.cpu_count(), metavar="N",
                       help="processes (default: one for each core)")
    where.add_argument("--tokenizer", metavar="PATH",
                       help="count tokens with this tokenizer.model (default: count characters)")
    where.add_argument("--check", metavar="FILE",
                       help="write nothing; verify every row of FILE (default: off)")
    args = parser.parse_args(argv)
    refuse_empty(args, "out", "check", "questions", "gsm8k", "from_model", "base", "tokenizer")

    def given(names: Iterable[str]) -> list[str]:
        return [spelt(n) for n in names if getattr(args, n) != parser.get_default(n)]

    if args.check:
        if flags := given(n for n in vars(args) if n not in ("check", "workers")):
            raise UserError(f"{flags[0]} and --check exclude each other: a file is verified as "
                            "it stands")
        return args
    for task, actions in own.items():
        if args.task != task and (flags := given(a.dest for a in actions)):
            raise UserError(f"{flags[0]} goes with --task {task}, and this is --task {args.task}"
                            + INSTEAD.get((args.task, flags[0]), ""))
    if args.questions and (flags := given(("rows", "split", "seed"))):
        raise UserError(f"{flags[0]} and --questions exclude each other: a file is worked as a "
                        "whole")
    if args.task == "longhand" and args.held_out:
        raise UserError("--held-out: the questions of longhand have no other wordings")
    if args.mixture != "skills" and given(["max_digits"]):
        raise UserError("--max-digits goes with --mixture skills: the sizes of the others are set")
    if args.from_model and args.samples > 1 and args.temperature == 0:
        raise UserError("--temperature 0: all --samples of a question would be the same")
    if not args.from_model and (flags := given(a.dest for a in sampling)):
        raise UserError(f"{flags[0]} goes with --from-model")
    return args


def main(argv: list[str] | None = None) -> int:
    """Exit code 0; 1 when --check finds bad rows; 130 when Ctrl-C has cut sampling short."""
    args = parse_args(argv)
    if args.workers < 1:
        raise UserError(f"--workers {args.workers}: must be 1 or more")
    if args.check:
        return check(args.check, args.workers)
    count_tokens = None
    if args.tokenizer:
        count_tokens = functools.partial(row_tokens, Tokenizer(args.tokenizer))
    try:
        return WRITERS[args.task](args, count_tokens)
    except BrokenPipeError:  # the reader of our standard output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def write_arithmetic(args: argparse.Namespace, count_tokens: Callable[[dict], int] | None) -> int:
    """Rows of a mixture."""
    recipe = dataset.Recipe(
        mixture=args.mixture, rows=args.rows, seed=args.seed, order=args.order,
        steps=not args.no_steps, omit=tuple(args.omit), bare=args.bare, held_out=args.held_out,
        max_digits=args.max_digits)
    name = "arithmetic" if recipe.mixture == "paper" else recipe.mixture
    out = args.out or f"data/{name}.jsonl"
    started = time.perf_counter()
    report = dataset.write_rows(out, recipe, suites.reserved(), args.workers, count_tokens)
    seconds = time.perf_counter() - started
    say(out, table(report, count_tokens, f"{out}: {recipe.size:,} rows in {seconds:.1f} s"))
    return 0


def write_longhand(args: argparse.Namespace, count_tokens: Callable[[dict], int] | None) -> int:
    """Demonstrations: of the user's questions, or of drawn ones that no suite asks."""
    longhand.form_named(args.form)
    if args.questions:
        rows = list(longhand.from_questions(args.questions, args.form))
    else:
        count = 200 if args.rows is None else args.rows
        if count < 1:
            raise UserError(f"--rows {count}: must be 1 or more")
        rows = list(longhand.demonstrations(count, args.form, args.seed, args.split,
                                            suites.reserved_remainders()))
    out = args.out or "data/longhand.jsonl"
    report = dataset.write_list(out, rows, count_tokens)
    say(out, table(report, count_tokens, f"{out}: {len(rows):,} rows"))
    return 0


def write_word_problems(args: argparse.Namespace,
                        count_tokens: Callable[[dict], int] | None) -> int:
    """Worked problems of the templates or of GSM8K, or what a model makes of them.

    What does not go into the file itself stands beside it; files that an earlier run has left
    there go, so that all are of one run. Only where a model solves nothing do they stay.
    """
    out = args.out or "data/word_problems.jsonl"
    if out == "-" and args.from_model:
        raise UserError("--from-model writes a file beside the rows: name one with --out, not -")
    if out != "-":
        check_place(out)  # sampling may take hours
    source = word_data.source_rows(args)
    rows, notes, complete = source.rows, [], True
    wrong = []
    if args.from_model:
        from goat import self_training  # only here: it loads torch
        found = self_training.sample(rows, args)
        rows, wrong, complete = found.right, found.wrong, found.complete
        notes = [self_training.summary(found)]
        if not rows:
            say(out, *notes)
            kept = "nothing is written or replaced"  # what stands there may have taken hours too
            if wrong and not Path(out).exists():
                word_data.write_beside(out, "wrong", wrong)
                kept = f"its {len(wrong):,} wrong solutions are in {word_data.beside(out, 'wrong')}"
            raise UserError(f"{args.from_model}: solves none of {len(found.first_right):,} "
                            f"questions; {kept}")
    word_data.write_beside(out, "wrong", wrong)
    word_data.write_beside(out, "left-out", word_data.rejected_rows(source.rejections))
    if source.rejections:
        notes.append(word_data.rejected(out, source.rejections, len(rows)))
    if wrong:
        notes.append(f"wrong solutions: {word_data.beside(out, 'wrong')}")
    report = dataset.write_list(out, rows, count_tokens)
    report.left_out = source.drawn_again
    say(out, table(report, count_tokens, f"{out}: {len(rows):,} rows"), *notes)
    return 0 if complete else INTERRUPTED


WRITERS = {"arithmetic": write_arithmetic, "longhand": write_longhand,
           "word_problems": write_word_problems}


def say(out: str, *texts: str) -> None:
    """Print; on standard error where the rows themselves go to standard output."""
    print(*texts, sep="\n", file=sys.stderr if out == "-" else sys.stdout, flush=True)


def row_tokens(tokenizer: Tokenizer, row: dict[str, str]) -> int:
    """Tokens of a training row: bos, prompt, output, eos."""
    return len(tokenizer.encode_pair(phrasing.row_prompt(row), row["output"])[0])


def table(report: dataset.Report, count_tokens: Callable | None, title: str) -> str:
    """Rows, mean and longest length of each task, the questions left out, and samples."""
    unit = "tokens a row" if count_tokens else "characters of output"
    lines = [title, "", f"{'task':16}{'rows':>12}{'mean':>9}{'longest':>9}   {unit}"]
    for task, summary in sorted(report.tasks.items()):
        mean = summary.total / summary.rows
        lines.append(f"{task:16}{summary.rows:>12,}{mean:>9.1f}{summary.longest:>9,}")
    if report.left_out or report.kept:
        lines += ["", f"{report.left_out:,} draws were questions of the evaluation suites and were "
                  f"drawn again; {report.kept:,} such rows stay, in cells too small to spare them."]
    for task, summary in sorted(report.tasks.items()):
        lines += ["", f"{task}:"]
        for row in map(json.loads, summary.samples):
            text = phrasing.row_prompt(row) + row["output"]
            lines.append("    " + text.replace("\n", "\n    "))
    return "\n".join(lines)


def check(path: str, workers: int) -> int:
    """Verify a file and print what is wrong; the exit code."""
    started = time.perf_counter()
    with tqdm(unit=" rows", unit_scale=True, leave=False, disable=None) as bar:
        found = audit.audit_file(path, workers, progress=bar.update)
    print(f"{path}: {found.rows:,} rows, {found.bad:,} bad "
          f"({time.perf_counter() - started:.1f} s)")
    for number, reason in found.first_bad:
        print(f"  {found.unit} {number}: {reason}")
    if found.bad > len(found.first_bad):
        print(f"  … and {found.bad - len(found.first_bad):,} more")
    return 1 if found.bad else 0


if __name__ == "__main__":
    run(main)
