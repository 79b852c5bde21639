"""Write the training data, or verify a file of it.

    python generate_data.py                                  the paper's data set, about 1 M rows
    python generate_data.py --mixture notebook --order blocks --out published.json
    python generate_data.py --mixture demo --rows 20000 --no-steps --out data/direct.jsonl
    python generate_data.py --task longhand --rows 200       remainders, worked by long division
    python generate_data.py --task word_problems             stories, solved with code
    python generate_data.py --check data/arithmetic.jsonl    every equation of every row

`--task NAME --help` shows the flags of that task. What each asks, and how it is solved, stands in
its room in goat/papers/. The same seed gives the same questions in every variant of the workings,
and the same bytes whatever the number of processes.
"""

import argparse
import functools
import json
import os
import sys
import time
from collections.abc import Callable

from goat.cli import (INTERRUPTED, given_flags, parser_for, processes, refuse_below, refuse_empty,
                      refuse_given, run)
from goat.errors import UserError
from goat.files.atomic import refuse_same
from goat.files.rows import Report, Row
from goat.papers import PAPERS, row_prompt

PATHS = ("out", "check", "questions", "gsm8k", "math", "from_model", "base", "tokenizer")


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """The flags: those of all tasks and those of the task that is asked for.

    `--mixture skills` is another way to say `--task skills`.
    """
    argv = sys.argv[1:] if argv is None else argv
    first = argparse.ArgumentParser(add_help=False)
    first.add_argument("--task")
    first.add_argument("--mixture")
    asked = first.parse_known_args(argv)[0]
    task = asked.task or ("skills" if asked.mixture == "skills" else "arithmetic")
    parser = parser_of(task if task in PAPERS else "arithmetic")
    args, unknown = parser.parse_known_args(argv)
    if unknown:
        refuse_unknown(unknown[0], task, parser)
    args.task, given = task, given_flags(parser, argv)
    refuse_empty(args, *(name for name in PATHS if name in args))
    if args.check:
        refuse_given(given, "{flag} and --check exclude each other: a file is verified as it "
                     "stands", *sorted(vars(given).keys() - {"check", "workers"}))
        return args
    paper = PAPERS[task]
    if args.held_out and not paper.held_out:
        raise UserError(f"--held-out: the questions of {task} have no other wordings")
    paper.check_flags(args, given)
    return args


def parser_of(task: str) -> argparse.ArgumentParser:
    parser = parser_for("generate_data.py", __doc__)
    add = parser.add_argument_group("what is asked").add_argument
    add("--task", choices=list(PAPERS), default="arithmetic",
        help="kind of question; `--task NAME --help` shows its own flags (default arithmetic)")
    add("--rows", type=int, metavar="N", help="how many (default: as many as the mixture has; of "
        "longhand 200, of word_problems 20,000, of --gsm8k and --math all, of skills 1,000,000)")
    add("--seed", type=int, default=0, help="default 0")
    add("--held-out", action="store_true",
        help="with the wordings (of word problems: templates) that training never shows (default: "
        "the others; longhand and skills have none)")
    PAPERS[task].add_flags(parser)
    add = parser.add_argument_group("output").add_argument
    add("--out", metavar="FILE",
        help="JSON lines; a .json file gets one list; - is standard output (default "
        "data/MIXTURE.jsonl, of paper data/arithmetic.jsonl; with another task data/TASK.jsonl)")
    add("--workers", type=int, default=os.cpu_count(), metavar="N",
        help="processes (default: one for each core; longhand and word problems take one)")
    add("--tokenizer", metavar="PATH",
        help="count tokens with the tokenizer of this model, or file (default: count characters)")
    add("--check", metavar="FILE", help="write nothing; verify every row of FILE (default: off)")
    return parser


def refuse_unknown(word: str, task: str, parser: argparse.ArgumentParser) -> None:
    """End with what is wrong with a word that this task does not know: is it another task's?"""
    flag = word.partition("=")[0]
    for name, paper in PAPERS.items():
        own = argparse.ArgumentParser(add_help=False)
        paper.add_flags(own)
        if flag.startswith("--") and any(flag in a.option_strings for a in own._actions):
            raise UserError(f"{flag} goes with --task {name}, and this is --task {task}"
                            + PAPERS[task].instead.get(flag, ""))
    parser.error(f"unrecognized arguments: {word}")


def main(argv: list[str] | None = None) -> int:
    """Exit code 0; 1 when --check finds bad rows; 130 when Ctrl-C has cut sampling short."""
    args = parse_args(argv)
    refuse_below(args, 1, "workers")
    if processes() > 1 and not vars(args).get("from_model"):
        raise UserError("torchrun shares only what --from-model solves: start this with python, "
                        "and --workers N")
    if args.check:
        return verify_file(args.check, args.workers)
    count_tokens = None
    if args.tokenizer:
        from goat.files.vocabulary import open_tokenizer  # only here: rows need no tokenizer

        count_tokens = functools.partial(row_tokens, open_tokenizer(args.tokenizer))
    out = args.out or f"data/{PAPERS[args.task].file_name(args)}.jsonl"
    if out != "-":
        refuse_same(out, *(vars(args).get(name) for name in PATHS if name != "out"))
    started = time.perf_counter()
    report = PAPERS[args.task].write(out, args, count_tokens)
    rows = sum(summary.rows for summary in report.tasks.values())
    title = f"{out}: {rows:,} rows in {time.perf_counter() - started:.1f} s"
    print(report_table(report, count_tokens, title), *report.notes, sep="\n",
          file=sys.stderr if out == "-" else sys.stdout)
    return 0 if report.complete else INTERRUPTED


def row_tokens(tokenizer, row: Row) -> int:
    """Tokens of a training row: bos, prompt, output, eos."""
    return len(tokenizer.encode_pair(row_prompt(row), row["output"])[0])


def report_table(report: Report, count_tokens: Callable | None, title: str) -> str:
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
            text = row_prompt(row) + row["output"]
            lines.append("    " + text.replace("\n", "\n    "))
    return "\n".join(lines)


def verify_file(path: str, workers: int) -> int:
    """Verify a file and print what is wrong; the exit code."""
    from goat.evaluation import audit

    started = time.perf_counter()
    found = audit.audit_file(path, workers)
    print(f"{path}: {found.rows:,} rows, {found.bad:,} bad ({time.perf_counter() - started:.1f} s)")
    for number, reason in found.first_bad:
        print(f"  {found.unit} {number}: {reason}")
    if found.bad > len(found.first_bad):
        print(f"  … and {found.bad - len(found.first_bad):,} more")
    return 1 if found.bad else 0


if __name__ == "__main__":
    run(main)
