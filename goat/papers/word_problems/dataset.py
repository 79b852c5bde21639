"""Training rows of word problems: from the templates, GSM8K's annotations, or MATH's solutions.

Rows that a model has found by itself come from self_training.py; they start from these.
"""

import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from goat.errors import UserError
from goat.files.atomic import check_place, is_special, refuse_same
from goat.files.rows import Report, Row, write_lines, write_rows
from goat.papers.word_problems import math_problems, redraw, sandbox, templates
from goat.papers.word_problems.corrections import Corrections
from goat.papers.word_problems.format import as_markdown
from goat.papers.word_problems.gsm8k import (DISAGREE, Rejection, gsm8k_rows, own_files,
                                             unsolved_rows)

ROWS = 20_000  # of the templates, unless the user says how many


class Rows(NamedTuple):
    """Rows, and what was left out on the way to them."""

    rows: list[Row]
    drawn_again: int = 0  # template questions that the evaluation suite asks
    rejections: tuple[Rejection, ...] = ()  # problems of GSM8K or MATH that give no row
    corrections: Corrections | None = None  # of GSM8K, as far as they came to use
    redrawn: Sequence[Row] = ()  # further rows, of these with other numbers
    unchanged: Counter[str] = Counter()  # why others have no such row


def from_templates(size: int, seed: int = 0, held_out: bool = False, code: bool = True,
                   more: int = 0) -> Rows:
    """`size` rows of the templates; none asks what the suite `word_problems` asks."""
    asked, again = templates.reserved(), 0
    rows: list[Row] = []
    source = templates.template_rows(seed, sys.maxsize, held_out, code, more)
    while len(rows) < size:
        row = next(source)
        if row["instruction"] in asked:
            again += 1
        else:
            rows.append(row)
    return Rows(rows, again)


def source_rows(args: Namespace) -> Rows:
    """The rows that the flags of generate_data.py ask for, solved by their source. Raises UserError
    where there are none."""
    if args.gsm8k is None and args.math is None:
        return from_templates(args.rows or ROWS, args.seed, args.held_out, not args.no_code,
                              args.more_templates)
    source: Iterator[Row | Rejection]
    corrections = None if args.original_labels or args.math else Corrections()
    if args.math is not None:
        source = math_problems.math_rows(args.math, args.levels or (), args.subjects or ())
    elif args.from_model:
        source = unsolved_rows(args.gsm8k, corrections)
    else:
        source = gsm8k_rows(args.gsm8k, sandbox.run_code, corrections, not args.no_code)
    found = list(islice(source, args.skip, args.rows and args.skip + args.rows))
    rejections = tuple(item for item in found if isinstance(item, Rejection))
    rows = [item for item in found if not isinstance(item, Rejection)]
    if not rows:
        if rejections:
            why = "none of its problems gives a row: " + "; ".join(
                f"{number:,} {reason}" for reason, number in reasons(rejections))
        elif args.skip:
            why = f"no such problem behind the first {args.skip:,}: lower --skip"
        elif args.math:
            why = "no problem in it is of these levels and subjects"
        else:
            why = "empty"
        raise UserError(f"{args.math or args.gsm8k}: {why}")
    if not args.redraw:
        return Rows(rows, rejections=rejections, corrections=corrections)
    return Rows(rows, 0, rejections, corrections,
                *redraw.redrawn_rows(rows, args.redraw, args.seed, sandbox.run_code))


def write(out: str, args: Namespace, count_tokens: Callable[[Row], int] | None) -> Report:
    """Write worked problems of the templates, GSM8K or MATH, or what a model makes of them.

    What does not go into the file itself stands beside it; files that an earlier run has left there
    go, so that all are of one run. Only where a model solves nothing do they stay."""
    if out != "-":
        for place in (out, beside(out, "wrong"), beside(out, "left-out")):
            check_place(place)  # sampling may take hours
            refuse_same(place, *own_files(args.gsm8k, args.math))
    source = source_rows(args)
    rows, notes, complete, wrong = source.rows, [], True, []
    if args.from_model:
        from goat import distributed  # only here: these load torch
        from goat.papers.word_problems import self_training

        found = self_training.sample(rows, args, group := distributed.sharing())
        group.leave_to_writer()
        rows, wrong, complete = found.right, found.wrong, found.complete
        notes = [self_training.summary(found)]
        if not rows:
            print(*notes, sep="\n", flush=True)
            kept = "nothing is written or replaced"  # what stands there may have taken hours too
            if wrong and not (Path(out).exists() or beside(out, "wrong").exists()):
                write_beside(out, "wrong", wrong)
                kept = f"its {len(wrong):,} wrong solutions are in {beside(out, 'wrong')}"
            raise UserError(f"{args.from_model}: solves none of {len(found.first_right):,} "
                            f"questions; {kept}")
    if source.rejections:
        notes.append(rejected(out, source, "MATH" if args.math else "GSM8K",
                              "asked" if args.from_model else "rows"))
    if source.corrections:
        notes += source.corrections.told()
    if args.redraw:
        notes.append(redrawn(source))
    if wrong:
        notes.append(f"wrong solutions: {beside(out, 'wrong')}")
    rows = [*rows, *source.redrawn]
    if args.markup == "markdown":
        rows = [{**row, "output": as_markdown(row["output"])} for row in rows]
    report = write_rows(out, rows, count_tokens)
    write_beside(out, "wrong", wrong)
    write_beside(out, "left-out", [{"source": r.source, "reason": r.reason,
                                    "instruction": r.question} for r in source.rejections])
    report.left_out, report.notes, report.complete = source.drawn_again, notes, complete
    return report


def nameless(out: str) -> bool:
    """Whether rows go to standard output, a device or a pipe: nothing can stand beside them."""
    return out == "-" or is_special(Path(out))


def beside(out: str, name: str) -> Path:
    """The file that goes with `out`: data/a.jsonl and "wrong" give data/a.wrong.jsonl.
    data/a.json gives data/a.json.wrong.jsonl: the two share no file."""
    path = Path("data/word_problems.jsonl" if nameless(out) else out)
    return path.with_name(f"{path.name.removesuffix('.jsonl')}.{name}.jsonl")


def write_beside(out: str, name: str, rows: Sequence[Row]) -> None:
    """Write that file; without rows, remove what an earlier run to `out` has left there."""
    if rows:
        write_lines(beside(out, name), rows)
    elif not nameless(out):
        beside(out, name).unlink(missing_ok=True)


def reasons(rejections: tuple[Rejection, ...]) -> list[tuple[str, int]]:
    """(reason, how many problems it leaves out), commonest first."""
    return Counter(r.reason for r in rejections).most_common()


def rejected(out: str, source: Rows, name: str, what: str) -> str:
    """The lines that tell how many problems are no rows, or not asked, and why."""
    rejections, kept = source.rejections, len(source.rows)
    lines = ["", f"{name}: {kept + len(rejections):,} problems, {kept:,} {what}; the other "
                 f"{len(rejections):,} stand in {beside(out, 'left-out')}:"]
    lines += [f"{number:8,}  {reason}" for reason, number in reasons(rejections)]
    suspects = [r.source for r in rejections if r.reason == DISAGREE]
    return "\n".join(lines + ([f"suspected label errors: {', '.join(suspects)}"] * bool(suspects)))


def redrawn(source: Rows) -> str:
    """The lines that tell how many problems were given other numbers, and why others were not."""
    left = sum(source.unchanged.values())
    lines = ["", f"redrawn: {len(source.redrawn):,} versions of {len(source.rows) - left:,} "
                 f"traces{f'; the other {left:,} have none:' if left else ''}"]
    return "\n".join(lines + [f"{number:8,}  {reason}"
                              for reason, number in source.unchanged.most_common()])
