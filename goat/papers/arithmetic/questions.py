"""Questions read back from texts, and rows of data checked against what they ask."""

import re
from functools import cache

from goat.errors import UserError
from goat.papers import Operands
from goat.papers.arithmetic import wordings
from goat.papers.arithmetic.operations import NOUNS, OPERATIONS, VERBS, symbol_of
from goat.papers.arithmetic.solutions import extract_answer, parse_question
from goat.papers.arithmetic.verify import first_error

LONGEST = 2000  # characters of a question
_WORDS = "|".join(VERBS)
_EXPRESSION = re.compile(rf"([0-9]+) ?([-+*/xX×÷]|{_WORDS}) ?([0-9]+)")
_SIGNED = re.compile(rf"(\d+) ?([-+*/x]|{_WORDS}) ?(\d+)", re.ASCII)
_NAMED = re.compile(rf"({'|'.join(NOUNS)}) (\d+) and (\d+)", re.ASCII)


def find_question(text: str) -> Operands | None:
    """The (a, op, b) that a text asks for: "What is 397 x 4429?" -> (397, "*", 4429), and "Multiply
    12 and 7." -> (12, "*", 7). None where a number or a sign is left over: "3 + 4 * 5", "-3 + 4"
    and "0.5 * 3" ask for more than the two whole numbers that stand beside the operator."""
    match = _EXPRESSION.search(text)
    if match is None:
        return read_instruction(text) if len(text) < LONGEST else None
    head, tail = text[:match.start()], text[match.end():]
    left_over = set("0123456789+*/^%") & set(head + tail)
    negative, part_of_a_number = head.rstrip().endswith("-"), head.endswith((".", ","))
    if (len(match[0]) > LONGEST or left_over or negative or part_of_a_number
            or tail.startswith("!")):
        return None
    a, sign, b = match.groups()
    return parse_question(f"{a} {symbol_of(sign)} {b}")


def read_instruction(instruction: str) -> Operands | None:
    """The (a, op, b) that an instruction asks for, whatever template surrounds it. Reads every form
    of Goat's noise and the wordings of wordings.WORDINGS. None when there is no question in it, or
    when it contains other numbers besides."""
    if match := _SIGNED.search(instruction):
        a, operation, b = match.groups()
    elif match := _NAMED.search(instruction):
        operation, a, b = match.groups()
    else:
        found = ((op, wording.fullmatch(instruction)) for op, wording in _wordings())
        operation, match = next((pair for pair in found if pair[1]), ("", None))
        if match is None:
            return None
        a, b = match["a"], match["b"]
    if sum(map(len, re.findall(r"\d+", instruction))) != len(a) + len(b):
        return None
    return int(a), symbol_of(operation), int(b)


@cache
def _wordings() -> list[tuple[str, re.Pattern]]:
    return [(op, re.compile(re.escape(wording).replace(r"\{a\}", r"(?P<a>\d+)")
                            .replace(r"\{b\}", r"(?P<b>\d+)"), re.ASCII))
            for op in OPERATIONS for wording in wordings.WORDINGS[op]]


def audit(row: dict[str, str]) -> str | None:
    """What is wrong first in a row; None if nothing is. Nothing is generated again: each equation
    of the working is checked, the answer is compared with the end of the working, and the question
    is read back from the instruction, through templates and noise."""
    unreadable = f"input {row['input']!r} is no expression of the form 12 + 34"
    try:
        a, op, b = parse_question(row["input"])
    except UserError:
        return unreadable
    if row["input"] != f"{a} {op} {b}":
        return unreadable
    if error := first_error(a, op, b, row["output"]):
        return f"output, {error[1]} ({error[0]})"
    if row["answer"] != extract_answer(row["output"]):
        return f"answer {row['answer']!r} is not that of the output"
    named = read_instruction(row["instruction"])
    if named is None:
        return f"cannot find the question in instruction {row['instruction']!r}"
    if named not in ((a, op, b), (b, op, a) if op in "+*" else None):
        return f"instruction {row['instruction']!r} does not ask {row['input']}"
    return None
