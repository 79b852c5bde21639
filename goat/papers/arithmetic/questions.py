"""Questions read back from texts, and rows of data checked against what they ask.

To take a question for another one is worse than not to read it. So what stands around the two
numbers must be a template of wordings.py, or words and signs that are known to change nothing: in
"negative 5 plus 3", "5 + 3²", "5 + 3½", "5k + 3", "10 - 3 - x" or "5 + 3!" something is left over.
"""

import re
from collections.abc import Callable
from functools import cache

from goat.errors import UserError
from goat.papers import Operands
from goat.papers.arithmetic.operations import OPERATIONS, either, operation, spellings
from goat.papers.arithmetic.solutions import (EXPRESSION, extract_answer, first_error, operands,
                                              parse_question)
from goat.papers.arithmetic.wordings import TEMPLATES

LONGEST = 2000  # characters of a question
_NOUNS = spellings(lambda op: op.called)
_NAMED = re.compile(rf"(?:the )?({either(_NOUNS)}) (\d+) and (\d+)", re.ASCII)
_BRACKETS = {("(", ")"), ("[", "]"), ('"', '"'), ("'", "'"), ("`", "`"), ("“", "”")}

# What may stand beside a question: no number, sign, operation or unit, and no letter alone.
_HARMLESS = """\
a calculator|a quick|a:|and|answer|answer to|any idea|anyone|arithmetic|ask|asked|be|by hand
calculate|can|check|come to|comes to|compute|correct|could|curious|determine|do|does|equal|equals
evaluate|exact|exactly|expression|figure out|find|following|for|get|give|gives|good|have|hello|help
hey|hi|homework|how|i am|i have|i have to|i need|i need to|i want|i want to|i wonder|i'd|i'm
in full|is|it|just|kindly|know|let me|let us|let's|like|like to|make|makes|many|math|maths|may|me
morning|much|my|need|need to|number|of|ok|okay|our|please|problem|q:|question|quick|quickly|result
right|say|show|simplify|so|solution|solve|somebody|someone|step by step|steps|task|tell|thank
thanks|that|that's|the|then|there|think|this|to know|us|value|want|want to|we|what|what's|whats
which|will|with|wonder|wondering|work out|working|would|write|you|your
""".replace("\n", "|")[:-1].split("|")
_WORDS = re.compile(rf"(?<![\w'\0])(?:{either(sorted(_HARMLESS, reverse=True))})(?![\w'\0(])"
                    r"(?:!(?=\s|$))?")
_SPARSE = re.compile(r"[\s.,;:?=]*(?<![.,])\0[\s.,;:?=]*")
# What changes a question. In a row, whose meaning is known, any other word may stand beside it.
_CHANGING = re.compile(
    r"\b(?:negative|minus|plus|times|divided|multiplied|modulo?|over|half|halves|thirds?|quarters?"
    r"|twice|double|triple|squared?|cubed?|roots?|powers?|percent|factorial|dozens?|hundreds?"
    r"|thousands?|millions?|billions?|trillions?|logarithm|absolute|reciprocal)\b"
    r"|[^\W_]\0|\0[^\W_]|[.,]\0|[^\w\s.,;:?!=<>()\[\]'\"“”`#\0]")


def find_question(text: str) -> Operands | None:
    """The (a, op, b) that a text asks for: "What is 397 x 4429?" -> (397, "*", 4429), and "Multiply
    12 and 7." -> (12, "*", 7). None where anything stands beside it that is not known."""
    return _read(text, _is_harmless)


def read_instruction(instruction: str) -> Operands | None:
    """The (a, op, b) that the instruction of a row asks for: as `find_question`, but in whatever
    words, as long as no number, no sign and no word that changes one is among them."""
    return _read(instruction, lambda around: _is_harmless(around) or _is_free(around))


def _read(text: str, may_stand: Callable[[str], bool]) -> Operands | None:
    """The question in a text: an expression in a template, or around which `may_stand` what is
    there (with a \\0 in the place of the expression); or one of the operations' own wordings."""
    text = text.strip().lower().replace("’", "'")
    if len(text) > LONGEST:
        return None
    if match := EXPRESSION.search(text):
        found = operands(match)
    elif match := _NAMED.search(text):
        found = int(match[2]), _NOUNS[match[1]], int(match[3])
    if match:
        head, tail = text[:match.start()], text[match.end():]
        if (head, tail) in _TEMPLATES:
            return found
        if (head[-1:], tail[:1]) in _BRACKETS:
            head, tail = head[:-1], tail[1:]
        if may_stand(f"{head}\0{tail}"):
            return found
    for op, wording in _wordings():
        if match := wording.fullmatch(text):
            return int(match["a"]), op, int(match["b"])
    return None


_TEMPLATES = {template.lower().partition("{input}")[::2] for template in TEMPLATES}


def _is_harmless(around: str) -> bool:
    """Whether all that stands around a question is known to change nothing."""
    return ".." not in around and bool(_SPARSE.fullmatch(_WORDS.sub("", around)))


def _is_free(around: str) -> bool:
    """Whether nothing that stands around a question is known to change it."""
    around = re.sub(r"[-=]>|(?<=[a-z])-(?=[a-z])", " ", around)
    return not _CHANGING.search(around) and all(c.isalpha() or not c.isalnum() for c in around)


@cache
def _wordings() -> list[tuple[str, re.Pattern]]:
    return [(op.symbol, re.compile(
        re.escape(wording.lower().rstrip(".?")).replace(r"\{a\}", r"(?P<a>\d+)")
        .replace(r"\{b\}", r"(?P<b>\d+)") + r"\s*[.?]?", re.ASCII))
        for op in OPERATIONS.values() for wording in op.wordings]


def audit(row: dict[str, str]) -> str | None:
    """What is wrong first in a row; None if nothing is. Nothing is generated again: each equation
    of the working is checked, the answer is compared with the end of the working, and the question
    is read back from the instruction, through templates and noise."""
    unreadable = f"input {row['input']!r} is no expression of the form 12 + 34"
    asked, output = row["input"], row["output"]
    if not row["instruction"] and asked.endswith(" = "):  # the input is the prompt: "12 + 34 = "
        asked, output = asked.removesuffix(" = "), asked + output
    try:
        a, op, b = parse_question(asked)
    except UserError:
        return unreadable
    if asked != f"{a} {op} {b}":
        return unreadable
    if error := first_error(a, op, b, output):
        return f"output, {error[1]} ({error[0]})"
    if row["answer"] != extract_answer(output):
        return f"answer {row['answer']!r} is not that of the output"
    named = read_instruction(row["instruction"] or asked)
    if named is None:
        return f"cannot find the question in instruction {row['instruction']!r}"
    if named not in ((a, op, b), (b, op, a) if operation(op).commutative else None):
        return f"instruction {row['instruction']!r} does not ask {row['input']}"
    return None
