"""Ask a model arithmetic questions and see how many it gets right, and where it fails.

    python eval.py                                  # the paper's table, with the embedded model
    python eval.py --ask "What is 397 x 4429?"      # one question, with its working checked
    python eval.py --adapter out/lora/adapter --suite demo --show 5
    python eval.py --base path/to/7B --adapter path/to/adapter --data questions.jsonl
    python eval.py --adapter out/word/adapter --suite word_problems --interpreter --show 2
    python eval.py --compare out/a.json out/b.json
"""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

import torch

from goat import checkpoint, curves, device, lora, page, report, rerank, suites, value_head
from goat.errors import INTERRUPTED, UserError, check_place, refuse_empty, run, spelt
from goat.evaluate import Record, evaluate
from goat.flags import EMBEDDED
from goat.model import Llama
from goat.questions import (Question, find_expression, fingerprint, gsm8k_questions,
                            read_questions)
from goat.run_folder import fingerprint as folder_hash
from goat.tasks.arithmetic import work
from goat.tasks.word_problems import TASK
from goat.tokenizer import Tokenizer

NEW_TOKENS, LONGHAND_TOKENS = 512, 2048  # of an answer; a long division takes many


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    group = parser.add_argument_group("model")
    group.add_argument("--base", help="LLaMA folder, HF or Meta (default: the embedded model)")
    group.add_argument("--adapter", help="LoRA folder in PEFT's format, or none (default: the "
                       "embedded one if --base is not given, else none)")
    group.add_argument("--merge", action="store_true", help="fold the adapter into the weights: "
                       "faster, rounded a little differently")
    group.add_argument("--int8", action="store_true", help="hold the base in 8 bits")
    group.add_argument("--device", default="auto", help="auto, cuda, mps or cpu (default auto)")
    group.add_argument("--dtype", default="auto", choices=("auto", *device.DTYPES),
                       help="default auto: bf16 where the hardware has units for it")
    group = parser.add_argument_group("questions")
    group.add_argument("--ask", nargs="?", const="", metavar="QUESTION",
                       help="answer one question; without QUESTION read them from the terminal")
    group.add_argument("--suite", nargs="+", metavar="NAME",
                       help=f"of {', '.join(suites.SUITES)} (default: bigbench large)")
    group.add_argument("--data", help="file of questions: rows as generate_data.py writes them, "
                       "BIG-bench JSON, or a question and its answer on every two lines")
    group.add_argument("--gsm8k", metavar="DIR", help="the problems of GSM8K's test.jsonl in DIR")
    group.add_argument("--limit", type=int, help="at most so many questions per cell, or of --data")
    group.add_argument("--cell", nargs="+", metavar="NAME", help="only these kinds of questions, "
                       "as results name them; * stands for anything: --cell 'mul 4D*'")
    group.add_argument("--leave-out", metavar="FILE", help="leave out what rows of FILE ask, which "
                       "a model may have been trained on (matters with another --seed)")
    group.add_argument("--seed", type=int, default=0, help="of suites and sampling (default 0)")
    group.add_argument("--wording", choices=suites.WORDINGS,
                       help="ask all questions of suites in this way (default: the suite's own)")
    group.add_argument("--bare", action="store_true", help="short for --wording bare: `a + b = `, "
                       "the base's own notation, also for --ask")
    group = parser.add_argument_group("decoding")
    group.add_argument("--batch-size", type=int, default=128, help="at most so many rows at a "
                       "time; a GPU takes what its memory has room for (default 128)")
    group.add_argument("--max-new-tokens", type=int, help=f"per answer (default {NEW_TOKENS}; for "
                       f"remainders {LONGHAND_TOKENS:,}, or what the context has room for)")
    group.add_argument("--beams", type=int, default=1, help="beam search (default 1: greedy)")
    group.add_argument("--temperature", type=float,
                       help="above 0: choose tokens at random (default 0; 0.7 with --samples)")
    group.add_argument("--top-p", type=float, default=1.0,
                       help="with a temperature: the share of likely tokens kept (default 1)")
    group.add_argument("--interpreter", action="store_true", help="run the code of solutions to "
                       "word problems in the sandbox, and go on from what it prints")
    group.add_argument("--samples", type=int, default=1, metavar="N", help="solve each word "
                       "problem N times at random, and compare ways to choose (default 1)")
    group.add_argument("--rerank", choices=rerank.CHOICES, help="with --samples: the choice that "
                       "counts, by number, by value model, or by both (default vote)")
    group.add_argument("--value-adapter", metavar="DIR", help="another adapter on the same base, "
                       "with the value model (default: the one beside --adapter, if any)")
    group = parser.add_argument_group("report")
    group.add_argument("--show", type=int, default=0, metavar="N",
                       help="print N wrong workings with the first false step marked; solutions "
                       "of word problems with what training masks marked (default 0)")
    group.add_argument("--out", default="out/results.json",
                       help="results with every answer (default out/results.json; replaced)")
    group.add_argument("--html", metavar="FILE", help="also write a page that shows the results")
    group.add_argument("--compare", nargs="+", metavar="FILE",
                       help="no model: put results files side by side")
    group.add_argument("--plot", metavar="FILE", help="with --compare: also draw them as a PNG, "
                       "along the last number in their names (needs matplotlib)")
    args = parser.parse_args(argv)
    check(args)
    if args.bare:
        args.wording = "bare"
    if args.samples > 1:
        args.rerank = args.rerank or "vote"
    if args.temperature is None:
        args.temperature = 0.7 if args.samples > 1 else 0.0
    return args


def check(args: argparse.Namespace) -> None:
    """Raises UserError for flags that make no sense, alone or together."""
    if args.bare and args.wording not in (None, "bare"):
        raise UserError(f"--bare is short for --wording bare, not {args.wording}: leave one out")
    if (args.bare or args.wording) and (args.data or args.gsm8k):
        raise UserError("--wording and --bare word the questions of suites; those of --data and "
                        "--gsm8k are asked as they stand")
    if args.wording and args.ask is not None and args.wording != "bare":
        raise UserError("--ask asks in your words: leave out --wording")
    unworded = {*suites.LONGHAND, TASK} & set(args.suite or ())
    if (args.bare or args.wording) and unworded:
        raise UserError("--wording and --bare are for sums, products and quotients: the suite "
                        f"{min(unworded)} has one wording")
    refuse_empty(args, "base", "data", "adapter", "gsm8k", "leave_out", "html", "plot",
                 "value_adapter")
    if args.plot and not args.compare:
        raise UserError("--plot draws what --compare puts side by side: add --compare FILE …")
    for flag in ("limit", "batch_size", "max_new_tokens", "beams", "samples"):
        if getattr(args, flag) is not None and getattr(args, flag) < 1:
            raise UserError(f"{spelt(flag)} must be at least 1")
    for flag in ("ask", "suite", "data", "gsm8k", "limit", "cell", "leave_out", "html", "adapter"):
        if args.compare and getattr(args, flag) is not None:
            raise UserError(f"--compare asks nothing: leave out {spelt(flag)}")
    if args.samples > 1 and args.temperature == 0:
        raise UserError("--temperature 0: all --samples of a problem would be the same")
    if args.beams > 1 and args.temperature:
        raise UserError("--beams and --temperature exclude each other: beam search is not random")
    if args.beams > 1 and (args.interpreter or args.samples > 1):
        raise UserError("--beams goes with neither --interpreter nor --samples")
    if args.ask is not None and args.samples > 1:
        raise UserError("--ask answers once: --samples is for suites and files of questions")
    for flag in ("suite", "data", "gsm8k", "limit", "cell", "leave_out", "html"):
        if args.ask is not None and getattr(args, flag):
            raise UserError(f"--ask is a question of its own: leave out {spelt(flag)}")
    if args.top_p != 1 and not args.temperature and args.samples == 1:
        raise UserError("--top-p is for tokens chosen at random: add --temperature or --samples")
    if args.show < 0:
        raise UserError(f"--show {args.show}: must be 0 or more")
    if args.ask is not None and args.ask != "" and not args.ask.strip():
        raise UserError("--ask: the question is empty")
    if not args.out:
        raise UserError("--out needs the name of a file")
    if args.samples == 1 and (args.rerank or args.value_adapter):
        raise UserError("--rerank and --value-adapter choose among samples: add --samples 20")


def load(args: argparse.Namespace) -> tuple[Llama, Tokenizer]:
    """The base, with the adapter if there is one; sets args.base and args.adapter to what is used.

    Raises UserError when the adapter does not fit the base, naming both.
    """
    if args.adapter is None and args.base is None and (EMBEDDED / "adapter").is_dir():
        args.adapter = str(EMBEDDED / "adapter")
    args.base = args.base or str(EMBEDDED)
    where, dtype = device.pick(args.device, args.dtype)
    args.device, args.dtype = str(where), str(dtype).removeprefix("torch.")
    args.adapter = None if args.adapter == "none" else args.adapter
    if args.merge and not args.adapter:
        raise UserError("--merge folds an adapter into the weights, and there is none: name it as "
                        "--adapter")
    model = checkpoint.load_adapted(args.base, args.adapter, dtype=dtype, device=where,
                                    int8=args.int8)
    tokenizer = Tokenizer(args.base)
    checkpoint.check_tokenizer(model.config, tokenizer)
    return (lora.merge(model, keep=False) if args.merge else model), tokenizer


def decoding(args: argparse.Namespace, questions: list[Question]) -> dict:
    """The keywords of `evaluate` that say how to decode."""
    remainders = any(q.operands and q.operands[1] == "%" for q in questions)
    default = LONGHAND_TOKENS if remainders else NEW_TOKENS
    options = {"max_new_tokens": args.max_new_tokens or default, "batch_size": args.batch_size}
    if args.interpreter:
        options["interpreter"] = True
    if args.beams > 1:
        return {**options, "beams": args.beams}
    return {**options, "temperature": args.temperature, "top_p": args.top_p, "seed": args.seed}


def ask(model: Llama, tokenizer: Tokenizer, text: str, args: argparse.Namespace) -> None:
    """Print the model's working for a question and what a check of it finds."""
    operands = None if args.interpreter else find_expression(text)
    instruction, given = text, ""
    if args.wording == "bare":
        if operands is None:
            raise UserError(f"--bare needs a question like 397 * 4429, not {text!r}")
        instruction, given = "", "{} {} {} = ".format(*operands)
    answer = ""
    if operands:
        a, op, b = operands
        answer = str(a % b) if op == "%" else work(a, op, b, steps=False)[1]
    question = Question("ask", "ask", instruction, given, answer, operands=operands,
                        task=TASK if args.interpreter else "")
    records, _ = evaluate(model, tokenizer, [question], **decoding(args, [question]))
    if not records:
        raise KeyboardInterrupt
    print(records[0].working)
    if operands is None:
        print("(not checked: a word problem)" if args.interpreter else
              "(not checked: no question like 397 * 4429 could be read from the text)")
    elif records[0].first_error:
        right = "the answer is right all the same" if records[0].right else f"right is {answer}"
        print(f"WRONG, {records[0].first_error}; {right}")
    else:
        print(f"answer: {records[0].given} (checked, every step is right)")


def ask_in_turn(model: Llama, tokenizer: Tokenizer, args: argparse.Namespace) -> None:
    """Questions from the terminal until the end of input (Ctrl-D) or an empty line."""
    print("Ask, for example: What is 397 x 4429?   (an empty line ends)")
    while True:
        try:
            text = input("> ").strip()
        except EOFError:
            return
        if not text:
            return
        try:
            ask(model, tokenizer, text, args)
        except UserError as error:  # the next question may be a better one
            print(f"error: {error}")


def gather(args: argparse.Namespace) -> list[Question]:
    """The questions of --data, --gsm8k and --suite."""
    questions = read_questions(args.data, args.limit) if args.data else []
    if questions and questions[0].suite in suites.SUITES:  # it must not pass for that suite
        questions = [replace(q, suite=f"file {q.suite}") for q in questions]
    if args.gsm8k:
        questions += gsm8k_questions(args.gsm8k, args.limit)
    if args.suite or not (args.data or args.gsm8k):
        names = args.suite or ["bigbench", "large"]
        questions += suites.load(names, args.limit, seed=args.seed, wording=args.wording)
    if args.cell:
        cells = list(dict.fromkeys(q.cell for q in questions))
        questions = [q for q in questions if any(fnmatchcase(q.cell, name) for name in args.cell)]
        if not questions:
            raise UserError(f"--cell: no questions are called {' or '.join(args.cell)}; there are "
                            f"{', '.join(cells[:12])}{', …' * (len(cells) > 12)}")
    if args.leave_out:
        rows = read_questions(args.leave_out, answers=False)
        trained = {q.asked for q in rows} | {q.prompt for q in rows}
        left = [q for q in questions if q.asked not in trained and q.prompt not in trained]
        print(f"left out: {len(questions) - len(left):,} questions that {args.leave_out} holds")
        if not left:
            raise UserError(f"--leave-out: {args.leave_out} holds every question, none is left")
        questions = left
    others = [q for q in questions if q.task != TASK]
    if (args.interpreter or args.samples > 1) and others:
        raise UserError("--interpreter and --samples are for word problems, and "
                        f"{others[0].prompt!r} is none: give --suite word_problems, --gsm8k DIR, "
                        f"or --data with rows of the task {TASK!r}")
    return questions


def value_model(args: argparse.Namespace, model: Llama, tokenizer: Tokenizer) -> Callable | None:
    """What gives solutions their values; None where there is no value model and none is needed."""
    folder = args.value_adapter or args.adapter
    if args.rerank == "vote" and not args.value_adapter and not value_head.is_beside(folder):
        return None
    if folder is None:
        raise UserError(f"--rerank {args.rerank} needs --adapter with a value model beside it")
    if args.value_adapter:
        dtype = next(model.parameters()).dtype
        model = checkpoint.load_adapted(args.base, args.value_adapter, dtype=dtype,
                                        device=args.device, int8=args.int8)
    return partial(value_head.values, value_head.load(model, folder), tokenizer,
                   budget=args.batch_size * value_head.TOKENS_A_ROW)


def choose(model: Llama, tokenizer: Tokenizer, questions: list[Question],
           args: argparse.Namespace, options: dict) -> tuple[list[Record], bool, dict]:
    """Records of the chosen samples, whether all are there, and more for the results file."""
    valuer = value_model(args, model, tokenizer)
    found, complete = rerank.sample(model, tokenizer, questions, args.samples, valuer=valuer,
                                    progress=True, **{"interpreter": False, **options})
    how = args.rerank if args.rerank in rerank.methods(found) else "vote"  # broken off
    print(f"{rerank.table(found)}\n\nby {how}:")
    return [one.chosen(how) for one in found], complete, {"reranking": rerank.scores(found)}


@device.out_of_memory("lower --batch-size, or hold the base in 8 bits with --int8")
def main(argv: list[str] | None = None) -> int | None:
    args = parse_args(argv)
    if args.compare:
        print(report.compare(args.compare))
        if args.plot:
            curves.plot(args.compare, args.plot)
            print(f"curves: {args.plot}")
        return None
    # before the model is loaded, so that bad input shows at once
    questions = gather(args) if args.ask is None else []
    for place in (args.out, args.html):
        if place and args.ask is None:
            check_place(place)
    model, tokenizer = load(args)
    model.join()
    print(f"base {args.base}, adapter {args.adapter or 'none'}, {args.dtype} on {args.device}")
    if args.ask:
        return ask(model, tokenizer, args.ask, args)
    if args.ask is not None:
        return ask_in_turn(model, tokenizer, args)
    print(f"{len(questions):,} questions, fingerprint {fingerprint(questions)}")
    hashes = {"base_hash": folder_hash(args.base),  # of what was loaded, whatever is there later
              "adapter_hash": folder_hash(args.adapter) if args.adapter else None}

    began, more, options = time.time(), {}, decoding(args, questions)
    if args.samples > 1:
        records, complete, more = choose(model, tokenizer, questions, args, options)
    else:
        records, complete = evaluate(model, tokenizer, questions, progress=True, **options)
    if not records:
        print(f"interrupted before the first answer: {args.out} is not written")
        return INTERRUPTED
    setting = {"command": [Path(sys.argv[0]).name, *(sys.argv[1:] if argv is None else argv)],
               "settings": vars(args) | options, "complete": complete,
               "seconds": time.time() - began, "fingerprint": fingerprint(questions),
               "questions": len(questions), **hashes,
               "config": asdict(model.config), "versions": report.versions(),
               "date": time.strftime("%Y-%m-%d %H:%M:%S"),
               **more}
    print(report.text_report(records, args.show))
    if not complete:
        print(f"interrupted: {len(records):,} of {len(questions):,} questions were answered")
    report.write_json(args.out, setting, records)
    print(f"every answer: {args.out}")
    if args.html:
        page.write(args.html, setting, records)
        print(f"page: {args.html}")
    return None if complete else INTERRUPTED


if __name__ == "__main__":
    run(main)
