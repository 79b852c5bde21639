"""The flags of eval.py."""

import argparse

from goat import device
from goat.cli import processes, refuse_below, refuse_empty, refuse_given
from goat.errors import UserError
from goat.evaluation.questions import suite_names
from goat.files.bases import SMOLLM2
from goat.papers import PAPERS, WORDINGS, Paper


def add_flags(parser: argparse.ArgumentParser) -> None:
    add_model_flags(parser)
    add_question_flags(parser)
    add_decoding_flags(parser)
    for paper in PAPERS.values():
        paper.add_evaluation_flags(parser)
    add_report_flags(parser)


def add_model_flags(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("model").add_argument
    add("--base", help=f"LLaMA folder, HF or Meta, or GGUF file, or {SMOLLM2} (default: the "
        "embedded model)")
    add("--adapter", help="LoRA folder in PEFT's format, or none (default: the embedded one if "
        "--base is not given, else none)")
    add("--merge", action="store_true",
        help="fold the adapter into the weights: faster, rounded a little differently")
    add("--int8", action="store_true", help="hold the base in 8 bits")
    device.add_flags(add)


def add_question_flags(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("questions").add_argument
    add("--ask", nargs="?", const="", metavar="QUESTION",
        help="answer one question; without QUESTION read them from the terminal")
    add("--suite", nargs="+", metavar="NAME",
        help=f"of {', '.join(suite_names())} (default: bigbench large)")
    add("--data", help="file of questions: rows as generate_data.py writes them, BIG-bench JSON, "
        "lines question|answer, or a question and its answer on every two lines")
    add("--limit", type=int, help="at most so many questions per cell, or of --data")
    add("--cell", nargs="+", metavar="NAME", help="only these kinds of questions, as results name "
        "them; * stands for anything: --cell 'mul 4D*'")
    add("--leave-out", metavar="FILE", help="leave out what rows of FILE ask, which a model may "
        "have been trained on (matters with another --seed)")
    add("--seed", type=int, default=0, help="of suites and sampling (default 0)")
    add("--wording", choices=WORDINGS,
        help="ask all questions of suites in this way (default: the suite's own)")
    add("--bare", action="store_true",
        help="short for --wording bare: `a + b = `, the base's own notation, also for --ask")


def add_decoding_flags(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("decoding").add_argument
    add("--batch-size", type=int, default=128, help="at most so many rows at a time; a GPU takes "
        "what its memory has room for (default 128)")
    add("--max-new-tokens", type=int, help=f"per answer (default {Paper.new_tokens}; "
        + "".join(f"for {name} {paper.new_tokens:,}, or what the context has room for"
                  for name, paper in PAPERS.items() if paper.new_tokens != Paper.new_tokens) + ")")
    add("--beams", type=int, default=1, help="beam search (default 1: greedy)")
    add("--temperature", type=float,
        help="above 0: choose tokens at random (default 0; 0.7 with --samples)")
    add("--top-p", type=float, default=1.0,
        help="with a temperature: the share of likely tokens kept (default 1)")


def add_report_flags(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("report").add_argument
    add("--show", type=int, default=0, metavar="N", help="print N wrong workings with the first "
        "false step marked; solutions of word problems with what training masks marked (default 0)")
    add("--out", default="out/results.json",
        help="results with every answer (default out/results.json; replaced)")
    add("--html", metavar="FILE", help="also write a page that shows the results")
    add("--compare", nargs="+", metavar="FILE", help="no model: put results files side by side, or "
        "the losses that runs of train.py have logged (log.jsonl)")
    add("--plot", metavar="FILE", help="with --compare: also draw them as a PNG, results along the "
        "last number in their names, losses along the steps (needs matplotlib)")


# Flags that choose questions, or what is shown or kept of their answers.
ASKING = ("suite", "data", "gsm8k", "math", "limit", "cell", "leave_out", "html", "show", "out")


def check_flags(args: argparse.Namespace, given: argparse.Namespace) -> None:
    """Refuse flags that make no sense, alone or together. `given` has None for those that are not
    on the command line."""
    refuse_empty(args, "base", "data", "adapter", "leave_out", "html", "plot", "out")
    refuse_below(args, 1, "limit", "batch_size", "max_new_tokens", "beams")
    refuse_below(args, 0, "show")
    if args.compare:
        refuse_given(given, "--compare asks nothing: leave out {flag}",
                     *sorted(vars(given).keys() - {"compare", "plot"}))
    elif args.plot:
        raise UserError("--plot draws what --compare puts side by side: add --compare FILE …")
    if args.ask is not None:
        refuse_given(given, "--ask is a question of its own: leave out {flag}", *ASKING)
        if args.ask and not args.ask.strip():
            raise UserError("--ask: the question is empty")
        if args.wording not in (None, "bare"):
            raise UserError("--ask asks in your words: leave out --wording")
        if args.interpreter and (args.bare or args.wording):
            raise UserError("--interpreter solves word problems: leave out --bare")
    if processes() > 1 and (args.compare or args.ask is not None):
        raise UserError("torchrun shares the questions of suites and files: --ask and --compare go "
                        "without it")
    if args.bare and args.wording not in (None, "bare"):
        raise UserError(f"--bare is short for --wording bare, not {args.wording}: leave one out")
    if args.bare or args.wording:
        if args.data:
            raise UserError("--wording and --bare word the questions of suites; those of --data "
                            "are asked as they stand")
        unworded = {name for paper in PAPERS.values() for name in paper.suite_names
                    if not paper.worded}
        if found := sorted(unworded & set(args.suite or ())):
            raise UserError("--wording and --bare are for sums, products and quotients: the suite "
                            f"{found[0]} has one wording")
    if args.beams > 1 and args.temperature:
        raise UserError("--beams and --temperature exclude each other: beam search is not random")
    for paper in PAPERS.values():
        paper.check_evaluation_flags(args)
    if args.top_p != 1 and not args.temperature and args.samples == 1:
        raise UserError("--top-p is for tokens chosen at random: add --temperature or --samples")
