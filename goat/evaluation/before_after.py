"""A look at a model before and after a few minutes of training: the suite `demo` as a table."""

from goat.evaluation.evaluate import Score, Scores, evaluate, scores_of
from goat.llama.model import Llama
from goat.papers import PAPERS
from goat.stats import wilson

NOTATIONS = {"bare": "bare notation", "held out": "natural language, unseen wordings"}
SIZES = {"add 1-8D": 500, "sub 1-8D": 500, "mul nx1": 200, "div n/1": 200, "mul 2Dx2D": 200,
         "mul 3Dx3D": 200, "div 3D/2D": 200}  # questions of each cell of the suite


def demo_scores(model: Llama, tokenizer, size: int | None = None, notations=tuple(NOTATIONS),
                progress: bool = True) -> Scores:
    """(notation, cell) -> score in the suite demo: SIZES questions a cell, or `size` if given.

    The questions are the same at every call. None of them is in the training rows but for a few
    with numbers of so few digits that training has to see most of them (`Question.small`), in the
    four cells of mixed sizes. The others hold no operand of one non-zero digit (such a product is
    a learnable single step).
    Raises KeyboardInterrupt when Ctrl-C has cut it short: half a table would be taken for a whole.
    """
    sizes = {name: size or usual for name, usual in SIZES.items()}
    questions = [q for notation in notations for q in PAPERS["arithmetic"].suite(
        "demo", size=sizes, wording=notation)]
    records, complete = evaluate(model, tokenizer, questions, max_new_tokens=256, progress=progress)
    if not complete:
        raise KeyboardInterrupt
    return scores_of(records, "wording", "cell")


def held_out_score(model: Llama, tokenizer) -> Score:
    """The score of a few questions in held-out wordings, for a look in the middle of training."""
    return merged(list(demo_scores(model, tokenizer, 16, ("held out",), progress=False).values()))


def comparison(before: Scores, after: Scores) -> str:
    """Exact match before and after in %, with the 95 % interval of the latter."""
    lines = []
    for notation, title in NOTATIONS.items():
        lines.append(f"{title:36} {'n':>5} {'before':>8} {'after':>8}   95 % interval")
        cells = [cell for kind, cell in after if kind == notation]
        lines += [row(cell, before[notation, cell], after[notation, cell]) for cell in cells]
        pooled = [(notation, cell) for cell in cells if cell in ("add 1-8D", "sub 1-8D")]
        if len(pooled) == 2:
            lines.append(row("add and sub pooled", *(merged([scores[key] for key in pooled])
                                                     for scores in (before, after))))
    return "\n".join(lines)


def row(name: str, before: Score, after: Score) -> str:
    return (f"  {name:34} {after.n:5} {100 * before.exact:8.1f} {100 * after.exact:8.1f}   "
            f"{100 * after.low:.1f} to {100 * after.high:.1f}")


def merged(scores: list[Score]) -> Score:
    """One score of several groups of questions taken together."""
    n, right = sum(s.n for s in scores), sum(s.right for s in scores)
    low, high = wilson(right, n)
    return scores[0]._replace(n=n, right=right, exact=right / n, low=low, high=high)
