"""Ask a model arithmetic questions and see how many it gets right, and where it fails.

    python eval.py                                  # the paper's table, with the embedded model
    python eval.py --ask "What is 397 x 4429?"      # one question, with its working checked
    python eval.py --adapter out/lora/adapter --suite demo --show 5
    python eval.py --base path/to/7B --adapter path/to/adapter --data questions.jsonl
    python eval.py --adapter out/word/adapter --suite word_problems --interpreter --show 2
    python eval.py --compare out/a.json out/b.json      # results; or logs of training runs:
    python eval.py --compare out/*/log.jsonl --plot out/loss.png
    torchrun --nproc-per-node 2 eval.py                 # two processes share the questions
"""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

from goat import device
from goat.cli import INTERRUPTED, given_flags, parser_for, run
from goat.distributed import Group, sharing
from goat.errors import UserError
from goat.evaluation import curves, learning_curves, page, report
from goat.evaluation.evaluate import Record, evaluate, solved_record
from goat.evaluation.flags import add_flags, check_flags
from goat.evaluation.questions import fingerprint, load_suites, read_questions, suite_names
from goat.files import checkpoint
from goat.files.adapter import has_value_head
from goat.files.atomic import check_place, refuse_same
from goat.files.bases import EMBEDDED, folder_hash
from goat.llama import lora
from goat.llama.joined import join
from goat.llama.model import Llama
from goat.llama.sampling import Sampling
from goat.llama.tokenizer import Tokenizer
from goat.papers import PAPERS, Question, read_question


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = parser_for("eval.py", __doc__)
    add_flags(parser)
    argv = sys.argv[1:] if argv is None else argv
    args = parser.parse_args(argv)
    check_flags(args, given_flags(parser, argv))
    if args.bare:
        args.wording = "bare"
    if args.samples > 1:
        args.rerank = args.rerank or "vote"
    if args.temperature is None:
        args.temperature = 0.7 if args.samples > 1 else 0.0
    Sampling(args.temperature, args.top_p)  # refuses what makes no sense before a model is loaded
    return args


def load(args: argparse.Namespace) -> tuple[Llama, Tokenizer]:
    """The base, with the adapter if there is one; sets base, adapter, device and dtype in `args` to
    what is used."""
    if args.adapter is None and args.base is None and (EMBEDDED / "adapter").is_dir():
        args.adapter = str(EMBEDDED / "adapter")
    args.base = args.base or str(EMBEDDED)
    where, dtype = device.choose(args.device, args.dtype)
    args.device, args.dtype = str(where), str(dtype).removeprefix("torch.")
    args.adapter = None if args.adapter == "none" else args.adapter
    if args.merge and not args.adapter:
        raise UserError("--merge folds an adapter into the weights, and there is none: name it as "
                        "--adapter")
    model = checkpoint.load_adapted(args.base, args.adapter, dtype=dtype, device=where,
                                    int8=args.int8)
    tokenizer = checkpoint.tokenizer_of(args.base, model.config)
    if args.merge:
        lora.merge(model)
    return model, tokenizer


def decoding(args: argparse.Namespace, questions: list[Question]) -> dict:
    """The keywords of `evaluate` that say how to decode."""
    longest = max(PAPERS[q.paper].new_tokens for q in questions)
    options = {"max_new_tokens": args.max_new_tokens or longest, "batch_size": args.batch_size,
               "interpreter": args.interpreter}
    if args.beams > 1:
        return {**options, "beams": args.beams}
    return {**options, "temperature": args.temperature, "top_p": args.top_p, "seed": args.seed}


def ask(model: Llama, tokenizer: Tokenizer, text: str, args: argparse.Namespace) -> None:
    """Print the model's working for a question and what a check of it finds."""
    found = None if args.interpreter else read_question(text)
    if args.wording == "bare" and not (found and found[0].worded):
        flag = "--bare" if args.bare else "--wording bare"
        raise UserError(f"{flag} needs a question like 397 * 4429, not {text!r}")
    if found:
        paper, operands = found
        asked = ("", "{} {} {} = ".format(*operands)) if args.wording == "bare" else (text, "")
        question = Question("ask", "ask", *asked, paper.solve(operands), operands=operands,
                            paper=paper.name)
    else:
        task = "word_problems" if args.interpreter else "arithmetic"
        question = Question("ask", "ask", text, "", "", paper=task)
    records, complete = evaluate(model, tokenizer, [question], **decoding(args, [question]))
    if not complete:
        raise KeyboardInterrupt
    [record] = records
    print(record.working)
    if found is None:
        print("(not checked: a word problem)" if args.interpreter else
              "(not checked: no question like 397 * 4429 could be read from the text)")
    elif record.first_error:
        right = "the answer is right all the same" if record.right else f"right is {record.answer}"
        print(f"WRONG, {record.first_error}; {right}")
    else:
        print(f"answer: {record.given} (checked, every step is right)")


def ask_in_turn(model: Llama, tokenizer: Tokenizer, args: argparse.Namespace) -> None:
    """Questions from the terminal until the end of input (Ctrl-D) or an empty line."""
    print("Ask, for example: What is 397 x 4429?   (an empty line ends)")
    while True:
        try:
            if not (text := input("> ").strip()):
                return
            ask(model, tokenizer, text, args)
        except EOFError:
            return
        except UserError as error:  # the next question may be a better one
            print(f"error: {error}")


def gather(args: argparse.Namespace) -> list[Question]:
    """The questions of --data, of the papers' own flags, and of --suite."""
    questions = read_questions(args.data, args.limit) if args.data else []
    if questions and questions[0].suite in suite_names():  # it must not pass for that suite
        questions = [replace(q, suite=f"file {q.suite}") for q in questions]
    for paper in PAPERS.values():
        questions += paper.flag_questions(args)
    if args.suite or not questions:
        questions += load_suites(args.suite or ["bigbench", "large"], args.limit, seed=args.seed,
                                 wording=args.wording)
    if args.cell:
        cells = list(dict.fromkeys(q.cell for q in questions))
        questions = [q for q in questions if any(fnmatchcase(q.cell, name) for name in args.cell)]
        if not questions:
            raise UserError(f"--cell: no questions are called {' or '.join(args.cell)}; there are "
                            f"{', '.join(cells[:12])}{', …' * (len(cells) > 12)}")
    if args.leave_out:
        rows = read_questions(args.leave_out, answers=False, anywhere=True)
        trained = {q.asked for q in rows} | {q.prompt for q in rows}
        count = len(questions)
        questions = [q for q in questions if q.asked not in trained and q.prompt not in trained]
        print(f"left out: {count - len(questions):,} questions that {args.leave_out} holds")
        if not questions:
            raise UserError(f"--leave-out: {args.leave_out} holds every question, none is left")
    others = [q for q in questions if not PAPERS[q.paper].interpreter]
    if (args.interpreter or args.samples > 1) and others:
        raise UserError("--interpreter and --samples are for word problems, and "
                        f"{others[0].prompt!r} is none: give --suite word_problems, --gsm8k DIR, "
                        "--math DIR, or --data with rows of the task 'word_problems' or 'math'")
    return questions


def value_model(args: argparse.Namespace, model: Llama, tokenizer: Tokenizer) -> Callable | None:
    """What gives solutions their values; None where there is no value model and none is needed."""
    value_head = PAPERS["word_problems"].value_head
    folder = args.value_adapter or args.adapter
    if args.rerank == "vote" and not args.value_adapter and not has_value_head(folder):
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
           args: argparse.Namespace, options: dict,
           group: Group) -> tuple[list[Record], bool, dict]:
    """Records of the chosen samples, whether all are there, and more for the results file."""
    rerank, valuer = PAPERS["word_problems"].rerank, value_model(args, model, tokenizer)
    found, complete = rerank.sample(model, tokenizer, questions, solved_record, args.samples,
                                    valuer=valuer, progress=True, group=group, **options)
    how = args.rerank if args.rerank in rerank.methods(found) else "vote"  # broken off
    print(f"{rerank.summary(found)}\n\nby {how}:")
    return [one.chosen(how) for one in found], complete, {"reranking": rerank.scores(found)}


@device.out_of_memory("lower --batch-size, or hold the base in 8 bits with --int8")
def main(argv: list[str] | None = None) -> int | None:
    args = parse_args(argv)
    if args.compare:
        if args.plot:
            refuse_same(args.plot, *args.compare)
        logs = learning_curves.are_logs(args.compare)
        print((learning_curves.table if logs else report.compare)(args.compare))
        if args.plot:
            (learning_curves if logs else curves).plot(args.compare, args.plot)
            print(f"curves: {args.plot}")
        return None
    group, questions = sharing(), []
    if args.ask is None:  # before the model is loaded, so that bad input shows at once
        questions = gather(args)
        taken = [args.base, args.data, args.leave_out,
                 *PAPERS["word_problems"].gsm8k.own_files(args.gsm8k, args.math)]
        for place in filter(None, (args.out, args.html)):
            check_place(place)
            refuse_same(place, *taken)
            taken.append(place)
    model, tokenizer = load(args)
    join(model)
    print(f"base {args.base}, adapter {args.adapter or 'none'}, {args.dtype} on {args.device}")
    if args.ask is not None:
        ask(model, tokenizer, args.ask, args) if args.ask else ask_in_turn(model, tokenizer, args)
        return None
    print(f"{len(questions):,} questions, fingerprint {fingerprint(questions)}")
    hashes = {"base_hash": folder_hash(args.base),  # of what was loaded, whatever is there later
              "adapter_hash": folder_hash(Path(args.adapter)) if args.adapter else None}

    began, options = time.time(), decoding(args, questions)
    more: dict = {}
    if args.samples > 1:
        records, complete, more = choose(model, tokenizer, questions, args, options, group)
    else:
        records, complete = evaluate(model, tokenizer, questions, progress=True, group=group,
                                     **options)
    group.leave_to_writer()
    if not records:
        print(f"interrupted before the first answer: {args.out} is not written")
        return INTERRUPTED
    setting = {"command": [Path(sys.argv[0]).name, *(sys.argv[1:] if argv is None else argv)],
               "settings": vars(args) | options, "complete": complete,
               "seconds": time.time() - began, "fingerprint": fingerprint(questions),
               "questions": len(questions), "processes": group.size, **hashes,
               "config": asdict(model.config), "versions": report.versions(),
               "date": time.strftime("%Y-%m-%d %H:%M:%S"), **more}
    report.write_results(args.out, setting, records)  # before anything is printed
    if args.html:
        page.write(args.html, setting, records)
    print(report.text_report(records, args.show))
    if not complete:
        print(f"interrupted: {len(records):,} of {len(questions):,} questions were answered")
    print(f"every answer: {args.out}")
    if args.html:
        print(f"page: {args.html}")
    return None if complete else INTERRUPTED


if __name__ == "__main__":
    run(main)
