"""Training rows of word problems: from the templates, or from GSM8K's annotations.

Rows that a model has found by itself come from goat/self_training.py; they start from these.
"""

import sys
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from goat import sandbox, suites
from goat.errors import UserError
from goat.tasks import dataset
from goat.tasks.gsm8k import DISAGREE, Rejection, gsm8k_rows, unsolved_rows
from goat.tasks.word_templates import template_rows

ROWS = 20_000  # of the templates, unless the user says how many


class Rows(NamedTuple):
    """Rows, and what was left out on the way to them."""

    rows: list[dict[str, str]]
    drawn_again: int = 0  # template questions that the evaluation suite asks
    rejections: tuple[Rejection, ...] = ()  # GSM8K problems without a trace


def from_templates(size: int, seed: int = 0, held_out: bool = False, code: bool = True) -> Rows:
    """`size` rows of the templates; none asks what the suite `word_problems` asks."""
    asked, rows, again = suites.reserved_word_problems(), [], 0
    source = template_rows(seed, sys.maxsize, held_out, code)
    while len(rows) < size:
        row = next(source)
        if row["instruction"] in asked:
            again += 1
        else:
            rows.append(row)
    return Rows(rows, again)


def from_gsm8k(folder: str, first: int = 0, end: int | None = None) -> Rows:
    """The traces of GSM8K's training problems from `first` to before `end`, and the rest."""
    found = list(islice(gsm8k_rows(folder, sandbox.run), first, end))
    return Rows([item for item in found if not isinstance(item, Rejection)],
                rejections=tuple(item for item in found if isinstance(item, Rejection)))


def source_rows(args) -> Rows:
    """The rows that the flags of generate_data.py ask for, solved by their source.

    Raises UserError for flags that do not go together.
    """
    if args.rows is not None and args.rows < 1:
        raise UserError(f"--rows {args.rows}: must be 1 or more")
    if args.samples < 1:
        raise UserError(f"--samples {args.samples}: must be 1 or more")
    if args.batch_size < 1:
        raise UserError(f"--batch-size {args.batch_size}: must be 1 or more")
    if args.skip < 0 or args.skip and args.gsm8k is None:
        raise UserError("--skip leaves out the first problems of --gsm8k: 0 or more")
    if args.gsm8k is None:
        return from_templates(args.rows or ROWS, args.seed, args.held_out, not args.no_code)
    if args.held_out or args.no_code and not args.from_model:
        raise UserError("--gsm8k goes with neither --held-out nor --no-code: both are of the "
                        "templates")
    if args.seed and not args.from_model:
        raise UserError("--seed: GSM8K's problems are not drawn; --skip N leaves out the first N")
    end = None if args.rows is None else args.skip + args.rows
    if args.from_model:
        found = Rows(list(islice(unsolved_rows(args.gsm8k), args.skip, end)))
        why = "no problem in it has a number behind '####'"
    else:
        found = from_gsm8k(args.gsm8k, args.skip, end)
        why = "none of its problems gives a trace: " + "; ".join(
            f"{number:,} {reason}" for reason, number in reasons(found.rejections))
    if not found.rows:
        if not found.rejections and args.skip:
            why = f"no such problem behind the first {args.skip:,}: lower --skip"
        elif not found.rejections and not args.from_model:
            why = "empty"
        raise UserError(f"{args.gsm8k}: {why}")
    return found


def beside(out: str, name: str) -> Path:
    """The file that goes with `out`: data/a.jsonl and "wrong" give data/a.wrong.jsonl."""
    path = Path("data/word_problems.jsonl" if out == "-" else out)
    return path.with_name(f"{path.stem}.{name}.jsonl")


def write_beside(out: str, name: str, rows: Sequence[dict[str, str]]) -> None:
    """Write that file; without rows, remove what an earlier run to `out` has left there."""
    if rows:
        dataset.write_lines(beside(out, name), rows)
    elif out != "-":
        beside(out, name).unlink(missing_ok=True)


def rejected_rows(rejections: tuple[Rejection, ...]) -> list[dict[str, str]]:
    """The problems without a trace, each with the reason."""
    return [{"source": r.source, "reason": r.reason, "instruction": r.question}
            for r in rejections]


def reasons(rejections: tuple[Rejection, ...]) -> list[tuple[str, int]]:
    """(reason, how many problems it leaves out), commonest first."""
    return Counter(r.reason for r in rejections).most_common()


def rejected(out: str, rejections: tuple[Rejection, ...], kept: int) -> str:
    """The lines that tell how many problems have no trace, and why."""
    lines = ["", f"GSM8K: {kept + len(rejections):,} problems, {kept:,} traces; the other "
                 f"{len(rejections):,} stand in {beside(out, 'left-out')}:"]
    lines += [f"{number:8,}  {reason}" for reason, number in reasons(rejections)]
    suspects = [r.source for r in rejections if r.reason == DISAGREE]
    return "\n".join(lines + ([f"suspected label errors: {', '.join(suspects)}"] * bool(suspects)))
