"""MARIO: word problems solved in prose and Python, with the interpreter's output in between.

A solution is a row of steps. Each says in prose what is to be done; all but the last also hold
code, and what the interpreter printed; the last one states the answer:

    <step>
    <p>
    Natalia sold 48/2 clips in May.
    </p>
    <code>
    print(48 // 2)
    </code>
    <output>
    24
    </output>
    </step>
    <step>
    <p>
    Final Answer: 24
    </p>
    </step>

The model writes prose and code, the interpreter what stands in <output>. Source: Liao et al. 2024
(MARIO, arXiv 2401.08190), in the tags of the authors' later Super_MARIO. MARIO's data was never
released: ours are built from GSM8K's calculator annotations (gsm8k.py) and from templates
(templates.py).

A base that has read the web knows another form, Markdown, in which a solution takes a third fewer
tokens of SmolLM2 (`as_markdown`; "```output" is what asks for the output):

    Natalia sold 48/2 clips in May.
    ```python
    print(48 // 2)
    ```
    ```output
    24
    ```
    Final Answer: 24

This file says how a solution is written and read, when two answers are the same number, and what
an arithmetic expression is worth exactly. Pure Python, which runs nobody's code.
"""

import ast
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple

TAGS = ("<question>", "</question>", "<step>", "</step>", "<p>", "</p>", "<code>", "</code>",
        "<output>", "</output>")
FENCE = "```"
FINAL = "Final Answer:"
TASK, MATH = "word_problems", "math"  # the field `task` of rows; those of MATH have their own
MAX_STEPS = 8  # with the final one: the interpreter loop gives up after as many turns


class Markup(NamedTuple):
    """What stands around the code of a turn, and what the interpreter writes around its output."""

    code: str
    ask: str  # ends the code: the model writes it and waits
    before: str
    after: str


TAGGED = Markup("<code>", "</code>", "\n<output>\n", "\n</output>")
MARKDOWN = Markup(f"{FENCE}python", f"{FENCE}\n{FENCE}output", "\n", f"\n{FENCE}")
MARKUPS = {"tags": TAGGED, "markdown": MARKDOWN}  # a model uses the one that it has learnt


class Step(NamedTuple):
    """One turn: prose, then code with its output where there is any. Texts without tags."""

    prose: str
    code: str = ""
    output: str = ""


def render(steps: list[Step], answer: str, closing: str = "") -> str:
    """The tagged text of a solution. Its last step, added here, says `closing` and the answer."""
    final = [("p", closing)] if closing else []
    final.append(("p", f"{FINAL} {answer}"))
    blocks = [[("p", step.prose), ("code", step.code), ("output", step.output)] for step in steps]
    return "\n".join(_tag("step", "\n".join(_tag(*part) for part in block if part[1]))
                     for block in [*blocks, final])


def _tag(name: str, text: str) -> str:
    return f"<{name}>\n{text}\n</{name}>"


_LINES = {"<code>": f"{FENCE}python", "</code>": FENCE, "<output>": f"{FENCE}output",
          "</output>": FENCE}


def as_markdown(text: str) -> str:
    """A tagged solution in Markdown: code and output in fences, no other tags."""
    return "\n".join(_LINES.get(line, line) for line in text.split("\n")
                     if line not in TAGS or line in _LINES)


def observation(result) -> str:
    """What the model reads of a run: what was printed, then the error if there was one."""
    return "\n".join(filter(None, (result.output.strip("\n"), result.error)))


def printed(codes: Sequence[str], run: Callable) -> list[str]:
    """What each of these programs prints, a line each, where they are run as one by `run(code)`;
    nothing where that ends in an error or prints other lines."""
    ran = run("\n".join(codes))
    lines = ran.output.splitlines()
    return lines if not ran.error and len(lines) == len(codes) else []


def observed(text: str, markup: Markup = TAGGED) -> str:
    """The interpreter's part: what it writes behind the code when `text` is the observation."""
    return f"{markup.before}{text}{markup.after}"


_OBSERVED = re.compile("|".join(f"(?<={m.ask}){m.before}.*?{m.after}" for m in MARKUPS.values()),
                       re.DOTALL)


def interpreter_spans(text: str) -> list[tuple[int, int]]:
    """Where the interpreter's parts stand in a solution: text[start:end] of each."""
    if not any(markup.ask in text for markup in MARKUPS.values()):
        return []  # most rows of training: the search takes ten times as long
    return [match.span() for match in _OBSERVED.finditer(text)]


def step_ends(text: str) -> list[int]:
    """The places behind each `</step>`, in Markdown behind each output, and the end of the text."""
    ends = {match.end() for match in re.finditer("</step>", text)}
    return sorted((ends or {end for _, end in interpreter_spans(text)}) | {len(text)})


def with_mask(prompt: str, text: str) -> str:
    """A solution to look at: what training masks (question, interpreter) is marked by "# "."""
    marked = _OBSERVED.sub(lambda match: match[0].replace("\n", "\n# "), text)
    return "# " + prompt.rstrip().replace("\n", "\n# ") + "\n" + marked


def final_answer(text: str) -> str | None:
    """What stands behind the last `Final Answer:` on its line; None where there is none."""
    _, marker, rest = text.rpartition(FINAL)
    return rest.split("\n")[0].strip() if marker else None


BOTH, NEITHER = "code and answer in one turn", "neither code nor answer"


def stated(text: str) -> tuple[str, str | None]:
    """(the answer that a solution states, None), or ("", why it states none). A turn writes code or
    states the answer. One that does both has not seen what its code gives, one that does neither
    leads nowhere; MARIO's loop takes an answer from neither."""
    turn = text[max((end for _, end in interpreter_spans(text)), default=0):]
    answer = final_answer(turn)
    if answer is not None and any(m.code in turn or m.ask in turn for m in MARKUPS.values()):
        return "", BOTH
    return (answer, None) if answer else ("", NEITHER)


def complete(text: str, ended: bool) -> bool:
    """Whether the answer that a text states is whole: the text has ended, or the line."""
    return ended or "\n" in text.rpartition(FINAL)[2]


Number = int | Fraction
_NUMBER = re.compile(
    r"(?P<sign>[-+]?)(?:(?P<whole>\d+) (?=\d+/))?"  # the 3 of 3 1/2
    r"(?P<digits>\d{1,3}(?:,\d{3})+(?:\.\d*)?|\d+/\d+|\d+\.?\d*(?:e[-+]?\d{1,2})?|\.\d+)"
    r" *(?:%|(?P<unit>(?:[^\W\d_]|[°¢])[^\d\n]*))?\.?", re.IGNORECASE)
# What surrounds a number and says nothing of it. Each becomes the text beside it; two spaces never
# join what stood apart, so that 3**2 and \frac{1}{2} stay what they are: no plain numbers.
_DRESS = [(re.compile(pattern), plain) for pattern, plain in (
    (r"[^\S\n]", " "),  # no-break spaces and the like
    (r"(?<!\w)[*_`]+|[*_`]+(?!\w)", "  "),  # Markdown: **18**, `18`
    (r"\\(?:boxed|text|mathrm|mathbf) *\{([^{}]*)\}", r"  \1  "),  # LaTeX, as is what follows
    (r"\\[()\[\]]", "  "), (r"\\(?=[%$])", ""),
    (r"[$€£¥₹] *", ""), (r"−", "-"),
    (r"(?<![a-zA-Z])([cdkm]?m|in|ft|yd|mi|inches|feet|meters|units)(?:[²³]|\^\{?[23]\}?)", r"\1"))]
_FACTOR = re.compile(r"(k|dozen|(hundred|thousand|million|billion|trillion)(th)?|half|halve|third|"
                     r"tenth|and|or|plus|minus)s?\b", re.IGNORECASE)
LONGEST_NUMBER = 100  # characters; longer texts are no answers, and costly to convert


def parse_number(text: str) -> Fraction | None:
    """The exact value of "$1,234.50", "18 eggs", "25%" (25), "3 1/2" or "1.5e3", also in Markdown
    or LaTeX ("**18**", "\\boxed{18}"); else None. Also None for what is more than a number and a
    unit, as "2 million", "12k", "3½" and "5 or six"."""
    if len(text) > LONGEST_NUMBER:
        return None
    for pattern, plain in _DRESS:
        text = pattern.sub(plain, text)
    match = _NUMBER.fullmatch(text.strip())
    unit = match["unit"] or "" if match else ""
    if match is None or _FACTOR.match(unit) or any(map(str.isnumeric, unit)):
        return None
    try:
        value = Fraction(match["digits"].replace(",", "")) + int(match["whole"] or 0)
    except ZeroDivisionError:
        return None
    return -value if match["sign"] == "-" else value


def same_number(said: str, gold: str) -> bool:
    """Whether two answers are the same text or the same number, to within 1e-6.

    Currency, thousands commas, per cent signs, units and marks of Markdown and LaTeX do not count:
    "$1,234.50" equals "1234.5", "**18** eggs" equals "18". The tolerance only forgives binary
    floats: 18 is not 18.002.
    """
    if said.strip() == gold.strip():
        return True
    a, b = parse_number(said), parse_number(gold)
    return a is not None and b is not None and abs(a - b) <= Fraction(1, 10**6)


_OPERATIONS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul,
               ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod}
_LEADING_ZEROS = re.compile(r"(?<![\w.])0+(?=\d)")


def calculate(expression: str, names: Mapping[str, Number] = {}) -> tuple[str, Number]:
    """(the expression as Python code, its exact value): an int where Python's result is an int.

    A division of whole numbers that leaves no remainder becomes `//`, so that "48/2" prints 24
    and not 24.0. `names` are the variables. Raises ValueError for anything but numbers, names,
    brackets and + - * / // %, and for a division by zero.
    """
    try:
        tree = ast.parse(_LEADING_ZEROS.sub("", expression.strip()), mode="eval")
        value = _evaluate(tree.body, names)
    except (SyntaxError, KeyError, ZeroDivisionError, RecursionError):
        raise ValueError(f"{expression!r} cannot be calculated")
    return ast.unparse(tree), value


def _evaluate(node: ast.expr, names: Mapping[str, Number]) -> Number:
    """The value of a syntax tree, in which exact divisions are turned into `//` on the way."""
    match node:
        case ast.Constant(value=int() as whole) if not isinstance(whole, bool):
            return whole
        case ast.Constant(value=float() as decimal):
            return Fraction(str(decimal))
        case ast.Name(id=name):
            return names[name]
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _evaluate(operand, names)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_evaluate(operand, names)
        case ast.BinOp(left=left, op=op, right=right):
            a, b = _evaluate(left, names), _evaluate(right, names)
            if isinstance(op, ast.Div):
                if not (isinstance(a, int) and isinstance(b, int)) or a % b:
                    return Fraction(a) / b
                node.op = ast.FloorDiv()
            return _OPERATIONS[type(node.op)](a, b)
    raise ValueError(f"{ast.unparse(node)!r} is no arithmetic")
