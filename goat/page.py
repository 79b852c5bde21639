"""Results as one HTML page that needs nothing else: no scripts, no fonts, no files beside it.

Coloured cells run from orange (0 %) to blue (100 %) by a CSS variable, `--v`, so that light and
dark mode can each have their own two colours. It is the square of the share, which sets 90 % and
100 % apart. Every text that comes from a model or from a file is escaped.
"""

import os
from collections.abc import Sequence
from html import escape

from goat.evaluate import Record, Score
from goat.report import (COLUMNS, OPERATIONS, PAPER, find, grid_shares, paper_figures, percent,
                         scores_of, write_text, wrong_by_turns)
from goat.scoring import locate

WORKINGS = 12  # wrong workings shown, of different cells
LONG_TABLE = 60  # rows: a longer table of cells is shown on a click only

STYLE = """
:root { color-scheme: light dark; --text: #1b1f24; --page: #fff; --soft: #6b7280; --line: #d9dde3;
        --bad: #fdb48a; --good: #9cc9f5; --mark: #ffd43b; }
@media (prefers-color-scheme: dark) { :root { --text: #e6e9ee; --page: #14171b; --soft: #9aa4b2;
        --line: #343a43; --bad: #7a3a14; --good: #17497d; --mark: #8a6d00; } }
body { margin: 0 auto; padding: 1rem; max-width: 64rem; background: var(--page);
       color: var(--text); font: 16px/1.45 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: .2rem 0; } h2 { font-size: 1.15rem; margin: 2rem 0 .4rem; }
p, .note { margin: .3rem 0; } .note { color: var(--soft); font-size: .9rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .5rem; border: 1px solid var(--line); text-align: right;
         white-space: nowrap; }
th { font-weight: 600; }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0;
                                 background: var(--page); }
td.v { background: color-mix(in oklab, var(--good) calc(var(--v) * 100%), var(--bad)); }
td small { display: block; opacity: .75; }
h3 { font-size: 1rem; margin: 1rem 0 .2rem; overflow-wrap: anywhere; }
summary { cursor: pointer; font-size: 1.15rem; font-weight: 600; margin: 2rem 0 .4rem; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; padding: .6rem; margin: .3rem 0;
      border: 1px solid var(--line); border-radius: .4rem; font-size: .85rem; }
mark { background: var(--mark); color: inherit; padding: 0 .1em; border-radius: .2em; }
"""


def write(path: str | os.PathLike, setting: dict, records: Sequence[Record]) -> None:
    """Write the page for what `eval.py` has just measured."""
    scores = scores_of(records)
    body = [heading(setting, len(records)), paper_section(scores), heat_maps(scores),
            cells_section(scores), workings(records)]
    write_text(path, "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\">\n"
               '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
               f"<title>Goat: arithmetic results</title>\n<style>{STYLE}</style></head>\n<body>\n"
               + "\n".join(part for part in body if part) + "\n</body>\n</html>\n")


def heading(setting: dict, answered: int) -> str:
    used = setting["settings"]
    lines = [f"Base <b>{escape(str(used['base']))}</b>, adapter "
             f"<b>{escape(str(used['adapter'] or 'none'))}</b>, {escape(used['dtype'])} on "
             f"{escape(used['device'])}.",
             f"{answered:,} of {setting['questions']:,} questions answered in "
             f"{setting['seconds']:,.0f} s; fingerprint of the questions "
             f"<code>{escape(setting['fingerprint'])}</code>."]
    if not setting["complete"]:
        lines.append("<b>The run was interrupted: cells may lack questions.</b>")
    return "<h1>Arithmetic results</h1>\n" + "\n".join(f"<p>{line}</p>" for line in lines)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows of ready <td> cells under escaped headings."""
    top = "".join(f"<th>{escape(text)}</th>" for text in head)
    body = "\n".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    return f'<div class="wide"><table>\n<tr>{top}</tr>\n{body}\n</table></div>'


def plain(text: object) -> str:
    return f"<td>{escape(str(text))}</td>"


def coloured(share: float, text: str, small: str = "") -> str:
    """A cell whose colour says `share` (0 to 1)."""
    below = f"<small>{escape(small)}</small>" if small else ""
    return f'<td class="v" style="--v:{share * share:.3f}">{escape(text)}{below}</td>'


def paper_section(scores: dict[tuple[str, str], Score]) -> str:
    """Table 3 of the paper with our figures in it."""
    parts = []
    for operation, columns in COLUMNS.items():
        ours = [find(scores, operation, column) for column in columns]
        if not any(ours):
            continue
        rows = [[plain("here"), *(score_cell(s) if s else plain("") for s in ours)]]
        for model in PAPER:
            figures = paper_figures(model, operation).values()
            rows.append([plain(model), *(coloured(float(f.partition("/")[0]) / 100, f)
                                         for f in figures)])
        parts.append(table([OPERATIONS[operation], *columns], rows))
    if not parts:
        return ""
    return ("<h2>Beside the paper's Table 3</h2>\n<p class=\"note\">Exact match / digit match in "
            "%; below, the 95 % range of our exact match. Colour: exact match.</p>\n"
            + "\n<br>\n".join(parts))


def score_cell(s: Score) -> str:
    return coloured(s.exact, f"{percent(s.exact)}/{percent(s.digits)}",
                    f"{percent(s.low)} – {percent(s.high)}")


def heat_maps(scores: dict[tuple[str, str], Score]) -> str:
    """For each operation of the suite `grid`: digits of a (down) by digits of b (across)."""
    parts = []
    for operation in OPERATIONS:
        shares = grid_shares(scores, operation)
        if not shares:
            continue
        across = sorted({b for _, b in shares})
        rows = [[f"<th>{a}D</th>", *(coloured(shares[a, b], f"{100 * shares[a, b]:.0f}")
                                     if (a, b) in shares else plain("") for b in across)]
                for a in sorted({a for a, _ in shares})]
        parts += [f"<h2>{OPERATIONS[operation]}: exact match in %, by digits of the first (down) "
                  "and the second number (across)</h2>",
                  table(["", *(f"{b}D" for b in across)], rows)]
    return "\n".join(parts)


def cells_section(scores: dict[tuple[str, str], Score]) -> str:
    """Every cell with its scores, and where its wrong workings broke."""
    totals: dict[str, int] = {}
    for s in scores.values():
        for kind, count in s.errors.items():
            totals[kind] = totals.get(kind, 0) + count
    kinds = sorted(totals, key=lambda kind: -totals[kind])
    rows = []
    for (suite, cell), s in scores.items():
        wrong = s.n - s.right
        rows.append([plain(cell + "*" * s.small), plain(suite), plain(f"{s.n:,}"), score_cell(s),
                     plain(percent(s.last_token)), plain(wrong)]
                    + [plain(s.errors.get(kind, "")) for kind in kinds])
    note = ('<p class="note">Right of “wrong”: how many wrong answers had their first false step '
            "in copying, splitting, a product and so on. * so few questions are possible that "
            "training may have shown some of these.</p>")
    shown = " open" if len(rows) <= LONG_TABLE else ""
    return f"<details{shown}>\n<summary>Every cell</summary>\n{note}\n" + table(
        ["cell", "suite", "n", "exact/digits", "last word", "wrong", *kinds], rows) + "\n</details>"


def workings(records: Sequence[Record]) -> str:
    """Some wrong workings, from the cells with most of them, with the first false step marked."""
    parts = []
    for r in wrong_by_turns(records)[:WORKINGS]:
        start, end = locate(r.working, r.first_error)
        shown = escape(r.working[:start])
        if r.first_error:
            shown += f"<mark>{escape(r.working[start:end])}</mark>"
        reason = r.first_error or "wrong answer"
        parts.append(f"<h3>{escape(r.cell)}: {escape(r.prompt.partition(chr(10))[0])}</h3>\n"
                     f"<pre>{shown}{escape(r.working[end:])}</pre>\n<p class=\"note\">"
                     f"{escape(reason)}; right is {escape(r.answer)}</p>")
    if not parts:
        return ""
    return "<h2>Where workings broke</h2>\n" + "\n".join(parts)
