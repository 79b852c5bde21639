r"""The words and signs of an answer of MATH, in LaTeX or as plain as "sqrt(3)/2 cm", as tokens.

What says nothing of the value is left out: `\left`, `$`, spaces, per cent signs. What can be
written in several ways comes out in one. A run of letters is a command of LaTeX (`pi`), a word
(`feet`), or a product of names (`xy`). grammar.py makes trees of the tokens.
"""

import re

LONGEST = 1000  # characters: the longest answer of MATH has 300
FUNCTIONS = ("sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "sinh", "cosh",
             "tanh", "ln", "log", "exp")
LETTERS = ("alpha", "beta", "gamma", "delta", "epsilon", "theta", "lambda", "mu", "nu", "rho",
           "sigma", "tau", "phi", "varphi", "omega", "Delta", "ell", "pi", "infty", "emptyset",
           "varnothing")
RELATIONS = {"\\le": "<=", "\\leq": "<=", "\\ge": ">=", "\\geq": ">=", "\\ne": "!=", "\\neq": "!=",
             "\\in": "in", "\\approx": "~", "=": "=", "<": "<", ">": ">"}
UNITS = ("cm", "mm", "km", "ft", "in", "yd", "mi", "kg", "mg", "lb", "lbs", "oz", "hr", "hrs",
         "min", "sec", "mph", "am", "pm", "sq", "cu", "cents", "feet", "days", "inches")


class Unreadable(ValueError):
    """The text is nothing that the grammar knows."""


_UNICODE = str.maketrans({
    "−": "-", "–": "-", "×": "\\times ", "·": "\\cdot ", "÷": "/", "π": "\\pi ",
    "√": "\\sqrt ", "∞": "\\infty ", "∪": "\\cup ", "≤": "\\le ", "≥": "\\ge ",
    "±": "\\pm ", "θ": "\\theta ", "²": "^2 ", "³": "^3 ", "⟨": "\\langle ",
    "⟩": "\\rangle ", "≠": "\\ne ", "’": "'", "\u00a0": " "})
WORDED = r"\\(?:text|mbox|textnormal|textbf|textit|textrm|mathrm|hbox)\s*\{([^{}]*)\}"
# (what is replaced, by what), in this order; words of prose come out between double quotes.
_PLAIN = [(re.compile(pattern), plain) for pattern, plain in (
    (r'"', " "),
    (r"(?<=\d)(?:\{,\}|,\\!|\\,)\s*(?=\d{3}(?!\d))", ""),  # 1{,}000, 1,\!000 and 1\,000
    (r"(\\\\)(?:\[[^][]*\])?|\\[!]", r"\1"),  # keeps the end of a matrix row
    (r"(\\\\)|\\[,;: ()\[\]$]|\\q?quad(?![a-z])|[~$€£]|\\?%", r"\1 "),
    (r"\\phantom\s*(?:\{[^{}]*\}|[^\\{])", " "),
    (r"\\(?:left|right|[bB]igg?[lr]?|displaystyle|limits|angle|triangle|mathbf|boldsymbol|bm|"
     r"mathit|boxed|fbox)(?![a-zA-Z])", " "),
    (r"\\[dtc]frac", r"\\frac"), (r"\\(?:degree(?![a-z])|circ(?![a-z]))", "°"),
    (r"\^\s*(?:\{\s*°\s*\}|°)", "°"), (r"\*\*", "^"),
    (r"(?<=\d)\s*[xX]\s*(?=10\s*\^)", r"\\times "),  # 3 x 10^5
    (r"<=", r"\\le "), (r">=", r"\\ge "),
    (WORDED + r"(?=_)", r"\1"),  # \text{A5}_{11}
    (WORDED, lambda match: _words(match[1])))]
_RUN = re.compile(r'\\(?:begin|end)\{[a-z]*\}|\\[a-zA-Z]+|"[^"]*"|[A-Za-z]+')
_WORD = re.compile(r"[A-Za-z][A-Za-z.'-]*")
_VALUE_END = re.compile(r"[\d})]$")
CLOCK = re.compile(r"[ap]\.?m\.?")
_TOKEN = re.compile(
    r'(?P<based>[0-9A-Z]*\d[0-9A-Z]*_(?:\d+|\{\s*\d+\s*\}))|(?P<words>"[^"]*")|'
    r"(?P<repeating>\d*\.\d*\\overline\{\d+\})|(?P<mixed>\d+\s+\d+/\d+)|"
    r"(?P<scientific>\d+(?:\.\d+)?[eE][+-]?\d{1,3}(?![\da-zA-Z]))|"
    r"(?P<number>\d+\.?\d*|\.\d+)|(?P<command>\\(?:begin|end)\{[a-z]*\}|\\[a-zA-Z]+|\\[\\{}|])|"
    r"(?P<name>[A-Z]{2,}|[A-Za-z])|(?P<symbol>[-+*/^_!=<>:;,.|°(){}\[\]&'])|(?P<space>\s+)")
_THOUSANDS = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?(?![\d,])")


def _words(prose: str) -> str:
    """The words of prose, marked: ' feet, and 3' gives ' "feet" , 3'. Single capitals, such as the
    choice (B), stay names."""
    def word(match: re.Match) -> str:
        text = match[0]
        if text in ("and", "or"):
            return ","
        return text if len(text) == 1 and text.isupper() else f' "{text.rstrip(".").lower()}" '
    return _WORD.sub(word, prose)


def _run(match: re.Match) -> str:
    """What a run of letters means: a command of LaTeX without its backslash, a word or a unit, or
    (as it stands) a product of names."""
    text, before = match[0], match.string[:match.start()].rstrip()
    if not text[0].isalpha():
        return text
    if text in (*FUNCTIONS, "pi", "sqrt"):
        return f"\\{text} "
    if text == "infinity":
        return "\\infty "
    if text in ("and", "or"):
        return ","
    if text.isupper():
        return text
    if len(text) > 3 or text in UNITS and _VALUE_END.search(before):
        return f'"{text.lower()}"'
    return text


def tokens(text: str) -> list[tuple[str, str]]:
    """(kind, text) of each token, spaces left out. Raises Unreadable."""
    if len(text) > LONGEST:
        raise Unreadable("too long")
    text = text.translate(_UNICODE).strip("*`_ \n")
    for pattern, plain in _PLAIN:
        text = pattern.sub(plain, text)
    text = re.sub(r",(?:\s*,)+", ",", _RUN.sub(_run, text)).strip().rstrip(".,; ")
    found, at, depth = [], 0, 0
    while at < len(text):
        match = _THOUSANDS.match(text, at) if depth == 0 else None
        kind = "number"
        if match is None:
            if (match := _TOKEN.match(text, at)) is None:
                raise Unreadable(text[at])
            kind = match.lastgroup or ""
        token = match[0]
        depth += (token in ("(", "[", "\\{")) - (token in (")", "]", "\\}"))
        if kind != "space":
            found.append((kind, token.replace(",", "") if kind == "number" else token))
        at = match.end()
    return found
