"""A look at a model before and after a few minutes of training: the suite `demo` as a table."""

from collections.abc import Sequence

from goat.evaluation.evaluate import Record, Score, evaluate, score, scores_of
from goat.llama.model import Llama
from goat.papers import PAPERS

NOTATIONS = {"bare": "bare notation", "held out": "natural language, unseen wordings"}
SIZES = {"add 1-8D": 500, "sub 1-8D": 500, "mul nx1": 200, "div n/1": 200, "mul 2Dx2D": 200,
         "mul 3Dx3D": 200, "div 3D/2D": 200}  # questions of each cell of the suite


def demo_records(model: Llama, tokenizer) -> list[Record]:
    """The answers to the suite demo, SIZES questions a cell in each of the NOTATIONS.

    The questions are the same at every call. None is in the rows of the mixture demo but for a few
    with numbers of so few digits that training has to see most of them (`Question.small`), in the
    four cells of mixed sizes. The others hold no operand of one non-zero digit (such a product is
    a learnable single step).
    Raises KeyboardInterrupt when Ctrl-C has cut it short: half a table would be taken for a whole.
    """
    questions = [q for notation in NOTATIONS for q in PAPERS["arithmetic"].suite(
        "demo", size=SIZES, wording=notation)]
    records, complete = evaluate(model, tokenizer, questions, max_new_tokens=256, progress=True)
    if not complete:
        raise KeyboardInterrupt
    return records


def comparison(before: Sequence[Record], after: Sequence[Record]) -> str:
    """Exact match before and after in %, with the 95 % interval of the latter."""
    lines = []
    for notation, title in NOTATIONS.items():
        lines.append(f"{title:36} {'n':>5} {'before':>8} {'after':>8}   95 % interval")
        old, new = ([r for r in some if r.wording == notation] for some in (before, after))
        first, second = scores_of(old), scores_of(new)
        lines += [row(cell, first[suite, cell], found) for (suite, cell), found in second.items()]
        lines.append(row("add and sub pooled", *(
            score([r for r in some if r.cell in ("add 1-8D", "sub 1-8D")]) for some in (old, new))))
    return "\n".join(lines)


def row(name: str, before: Score, after: Score) -> str:
    return (f"  {name:34} {after.n:5} {100 * before.exact:8.1f} {100 * after.exact:8.1f}   "
            f"{100 * after.low:.1f} to {100 * after.high:.1f}")
