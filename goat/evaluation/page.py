"""Results as one HTML page that needs nothing else: no scripts, no fonts, no files beside it.

Coloured cells run from orange (0 %) to blue (100 %) by a CSS variable, `--v`, so that light and
dark mode can each have their own two colours. It is the square of the share, which sets 90 % and
100 % apart. Every text that comes from a model or from a file is escaped.
"""

import os
from collections import Counter
from collections.abc import Sequence
from html import escape

from goat.evaluation.evaluate import Record, Scores, all_scores, scores_of
from goat.evaluation.report import (TITLES, all_errors, exact_digits, grids, paper_columns,
                                    percent, range_of, wording_lines, wrong_by_turns)
from goat.evaluation.scoring import locate
from goat.files.atomic import write_text
from goat.papers.arithmetic.table_3 import COLUMNS, PUBLISHED

WORKINGS = 12  # wrong workings shown, of different cells
LONG_TABLE = 60  # rows: a longer table of cells is shown on a click only

STYLE = """
:root { color-scheme: light dark; --text: #1b1f24; --page: #fff; --soft: #6b7280; --line: #d9dde3;
        --bad: #fdb48a; --good: #9cc9f5; --mark: #ffd43b; }
@media (prefers-color-scheme: dark) { :root { --text: #e6e9ee; --page: #14171b; --soft: #9aa4b2;
        --line: #343a43; --bad: #7a3a14; --good: #17497d; --mark: #8a6d00; } }
body { margin: 0 auto; padding: 1rem; max-width: 80rem; background: var(--page);
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
.beside { display: flex; flex-wrap: wrap; gap: .8rem 1rem; align-items: start; }
.beside > * { max-width: 100%; } .beside table { font-size: .8rem; }
.beside :is(th, td) { padding: .25rem .35rem; }
td.v { background: color-mix(in oklab, var(--good) calc(var(--v) * 100%), var(--bad)); }
td.e { background: color-mix(in oklab, var(--bad) calc(var(--v) * 100%), var(--page)); }
td small { display: block; opacity: .75; }
h3 { font-size: 1rem; margin: 1rem 0 .2rem; overflow-wrap: anywhere; }
summary { cursor: pointer; font-size: 1.15rem; font-weight: 600; margin: 2rem 0 .4rem; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; padding: .6rem; margin: .3rem 0;
      border: 1px solid var(--line); border-radius: .4rem; font-size: .85rem; }
mark { background: var(--mark); color: inherit; padding: 0 .1em; border-radius: .2em; }
@media (max-width: 32rem) { body { padding: .6rem; } th, td { padding: .2rem .35rem; }
    .beside .heat table { font-size: .7rem; }
    .beside .heat :is(th, td) { padding: .25rem .1rem; } }
"""


def write(path: str | os.PathLike, setting: dict, records: Sequence[Record]) -> None:
    """Write the page for what `eval.py` has just measured."""
    scores = scores_of(records)
    wordings = "\n".join(f"<p>{escape(line)}</p>" for line in wording_lines(records))
    body = [heading(setting, len(records)), paper_section(scores),
            section("Wordings that training showed, and others", "", wordings),
            heat_maps(scores), attribution(scores), cells_section(all_scores(records)),
            workings(records)]
    write_text(path, "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\">\n"
               '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
               f"<title>Goat: results</title>\n<style>{STYLE}</style></head>\n<body>\n"
               + "\n".join(part for part in body if part) + "\n</body>\n</html>\n")


def heading(setting: dict, answered: int) -> str:
    used = setting["settings"]
    base, adapter = (escape(str(used[name] or "none")) for name in ("base", "adapter"))
    lines = [f"Base <b>{base}</b>, adapter <b>{adapter}</b>, {escape(used['dtype'])} on "
             f"{escape(used['device'])}.",
             f"{answered:,} of {setting['questions']:,} questions answered in "
             f"{setting['seconds']:,.0f} s; fingerprint of the questions "
             f"<code>{escape(setting['fingerprint'])}</code>."]
    if not setting["complete"]:
        lines.append("<b>The run was interrupted: cells may lack questions.</b>")
    return "<h1>Results</h1>\n" + "\n".join(f"<p>{line}</p>" for line in lines)


def section(title: str, note: str, body: str) -> str:
    """A body under its heading and a note, which may be empty; nothing without a body."""
    note = note and f'<p class="note">{note}</p>\n'
    return body and f"<h2>{title}</h2>\n{note}{body}"


def beside(tables: Sequence[str]) -> str:
    """Tables one beside the other, as far as the screen is wide."""
    return f'<div class="beside">{"".join(tables)}</div>' if tables else ""


def html_table(head: Sequence[str], rows: Sequence[Sequence[str]], kind: str = "wide") -> str:
    """Rows of ready <td> cells under escaped headings; it scrolls where the screen is narrow."""
    top = "".join(f"<th>{escape(text)}</th>" for text in head)
    body = "\n".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    return f'<div class="{kind}"><table>\n<tr>{top}</tr>\n{body}\n</table></div>'


def plain(text: object) -> str:
    return f"<td>{escape(str(text))}</td>"


def coloured(share: float, text: str, small: str = "") -> str:
    """A cell whose colour says `share` (0 to 1)."""
    below = f"<small>{escape(small)}</small>" if small else ""
    return f'<td class="v" style="--v:{share * share:.3f}">{escape(text)}{below}</td>'


def shaded(count: int, total: int) -> str:
    """A number of errors, the darker the larger its share of `total`; nothing for none."""
    return f'<td class="e" style="--v:{count / total:.3f}">{count:,}</td>' if count else "<td></td>"


def paper_section(scores: Scores) -> str:
    """Table 3 of the paper with our figures in it, an operation beside the other."""
    tables = []
    for operation, ours in paper_columns(scores).items():
        paper = [PUBLISHED[model][operation].split() for model in PUBLISHED]
        rows = []
        for column, s, *figures in zip(COLUMNS[operation], ours, *paper):
            here = coloured(s.exact, exact_digits(s), range_of(s, " – ")) if s else plain("")
            theirs = (coloured(float(text.partition("/")[0]) / 100, text) for text in figures)
            rows.append([plain(column), here, *theirs])
        tables.append(html_table([TITLES[operation], "here", *PUBLISHED], rows))
    return section("Beside the paper's Table 3", "Exact match / digit match in %; below, the 95 % "
                   "range of our exact match. Colour: exact match.", beside(tables))


def heat_maps(scores: Scores) -> str:
    """A table for each operation of the suite `grid`: digits of a (down) by those of b (across)."""
    tables = []
    for title, (across, found) in grids(scores).items():
        rows = [[f"<th>{a}D</th>", *(plain("") if s is None else coloured(s, f"{100 * s:.0f}")
                                     for s in shares)] for a, shares in found.items()]
        tables.append(html_table([title, *(f"{b}D" for b in across)], rows, "wide heat"))
    return section("By digits of the first (down) and the second number (across)",
                   "Exact match in %.", beside(tables))


def attribution(scores: Scores) -> str:
    """How many wrong answers of each operation had their first false step in each kind of step."""
    errors: dict[str, Counter] = {}
    for (suite, cell), s in scores.items():
        group = TITLES.get(cell.partition(" ")[0], suite)  # other suites have no operation
        errors.setdefault(group, Counter()).update(s.errors)
    whole = sum(errors.values(), Counter())
    if not whole:
        return ""
    columns = {**errors, "all": whole}
    rows = [[plain(kind), *(shaded(e[kind], e.total()) for e in columns.values())]
            for kind, _ in whole.most_common()]
    rows.append([plain("wrong answers"), *(plain(f"{e.total():,}") for e in columns.values())])
    note = ("The first false step of each wrong answer; “answer”: there is no working to check. "
            "Shade: share of the column.")
    return section("Where the working broke", note,
                   html_table(["first false step", *columns], rows))


def cells_section(scores: Scores) -> str:
    """Every cell of each suite, with its scores and the first false steps of its wrong answers."""
    parts = []
    for suite in dict.fromkeys(suite for suite, _ in scores):
        cells = {cell: s for (name, cell), s in scores.items() if name == suite}
        kinds = all_errors(cells.values())
        rows = [[plain(cell + "*" * s.small), coloured(s.exact, exact_digits(s)),
                 *map(plain, (range_of(s, " – "), percent(s.last_token), f"{s.n:,}",
                              f"{s.n - s.right:,}")),
                 *(shaded(s.errors.get(kind, 0), s.n) for kind in kinds)]
                for cell, s in cells.items()]
        head = ["cell", "exact/digits", "95 % range", "last word", "n", "wrong", *kinds]
        note = ('<p class="note">* so few questions are possible that training may have shown some '
                "of these.</p>\n" if any(s.small for s in cells.values()) else "")
        parts.append(f"<details{' open' * (len(rows) <= LONG_TABLE)}>\n<summary>Every cell: "
                     f"{escape(suite)}</summary>\n{note}{html_table(head, rows)}\n</details>")
    return "\n".join(parts)


def workings(records: Sequence[Record]) -> str:
    """Some wrong workings, from the cells with most of them, with the first false step marked."""
    parts = []
    for r in wrong_by_turns(records)[:WORKINGS]:
        start, end = locate(r.working, r.first_error)
        step = f"<mark>{escape(r.working[start:end])}</mark>" if r.first_error else ""
        reason = r.first_error or r.kind or "wrong answer"
        parts.append(f"<h3>{escape(r.cell)}: {escape(r.prompt.partition(chr(10))[0])}</h3>\n"
                     f"<pre>{escape(r.working[:start])}{step}{escape(r.working[end:])}</pre>\n"
                     f'<p class="note">{escape(reason)}; right is {escape(r.answer)}</p>')
    return section("Some wrong workings, the first false step marked", "", "\n".join(parts))
