"""Wordings: templates, Goat's noise and its probabilities, and the part held out of training.

Run: python -m pytest tests/papers/arithmetic/test_wordings.py
"""

import random
from collections import Counter
from itertools import product

import pytest

from goat.papers import prompt, row_prompt
from goat.papers.arithmetic import wordings
from goat.papers.arithmetic.operations import OPERATIONS
from goat.papers.arithmetic.questions import find_question, read_instruction
from goat.papers.arithmetic.wordings import TEMPLATES, WEIGHTED, filled, phrase, slots, vary

OPS = list(OPERATIONS)


def readings(op):
    """What a text that asks `71 op 8` may be read as."""
    return [(71, op, 8), (8, op, 71)][:1 + OPERATIONS[op].commutative]


def test_templates_hold_their_expression_once():
    assert len(set(TEMPLATES)) == len(TEMPLATES) >= 300
    for template in TEMPLATES:
        assert template.count("{input}") == 1
        rest = template.replace("{input}", "")
        assert not any(c in "{}0123456789*/+" for c in rest), template
        assert rest.isascii() and rest == rest.replace("\n", "")


@pytest.mark.parametrize("op", OPS)
def test_operand_wordings(op):
    assert len(set(OPERATIONS[op].wordings)) == len(OPERATIONS[op].wordings) >= 10
    for wording in OPERATIONS[op].wordings:
        assert wording.count("{a}") == wording.count("{b}") == 1
        assert find_question(wording.format(a=71, b=8)) in readings(op), wording


@pytest.mark.parametrize("wording", [
    "What is 9 plus 5?", "Add 9 and 5.", "Put together 9 and 5.", "Total of 9 and 5.",
    "What is 9 minus 5?", "Subtract 5 from 9.", "What is 9 take away 5?",
    "What is 9 times 5?", "Multiply 9 and 5.", "Product of 9 and 5.", "Work out 9 * 5.",
    "What is 9 divided by 5?", "Divide 9 by 5.", "Calculate 9 divided by 5.",
])
def test_wordings_of_other_datasets_are_asked(wording):
    """Those of BIG-bench and of DeepMind's mathematics dataset; questions are drawn until hit."""
    op = read_instruction(wording)[1]
    rng = random.Random(0)
    assert any(phrase(9, op, 5, rng) == wording for _ in range(40_000))


def test_bare_expression_has_the_papers_weight():
    """100 of 500 slots are the expression alone, then 30, 15, 10 and 10."""
    for op in OPS:
        assert len(slots(op)) == 500
        counts = Counter(slots(op))
        assert {t: counts[t] for t in WEIGHTED} == WEIGHTED
        assert WEIGHTED["{input}"] == 100 and sorted(WEIGHTED.values()) == [10, 10, 15, 30, 100]
        assert all(n == 1 for t, n in counts.items() if t not in WEIGHTED)


@pytest.mark.parametrize("op", OPS)
def test_a_tenth_is_held_out(op):
    seen, held_out = set(slots(op)), set(slots(op, held_out=True))
    assert not seen & held_out
    assert seen | held_out == set(TEMPLATES) | set(OPERATIONS[op].wordings)
    assert not held_out & set(WEIGHTED)
    assert len(held_out) == 37  # of 360 + 12
    rng = random.Random(1)
    texts = {phrase(12, op, 345, rng, held_out=True) for _ in range(2000)}
    assert not texts & {phrase(12, op, 345, rng) for _ in range(20_000)}


NO_NOISE = (False, False, False, False)


@pytest.mark.parametrize("op, noise, text", [
    ("*", NO_NOISE, "7 * 8"),
    ("*", (0, 1, 0, 0), "7 x 8"), ("*", (0, 1, 1, 0), "7 times 8"),
    ("*", (0, 0, 1, 0), "7 multiplied by 8"), ("*", (0, 1, 0, 1), "7x8"),
    ("*", (0, 1, 1, 1), "7 times 8"), ("*", (1, 1, 1, 1), "the product of 7 and 8"),
    ("+", (0, 1, 0, 1), "7+8"), ("+", (0, 0, 1, 1), "7 plus 8"), ("+", (1, 0, 0, 0),
                                                                 "the sum of 7 and 8"),
    ("-", (0, 0, 1, 0), "7 minus 8"), ("-", (1, 0, 0, 1), "the difference of 7 and 8"),
    ("/", (0, 1, 1, 0), "7 divided by 8"), ("/", (0, 1, 0, 1), "7/8"),
    ("/", (1, 0, 1, 0), "the quotient and remainder of 7 and 8"),
])
def test_noise(op, noise, text):
    assert vary(7, op, 8, *noise) == text


def test_noise_probabilities():
    """The mix of the published data (measured there): symbol spaced 35.3 %, unspaced 35.3 %,
    x 7.4 % each way, named 5 %, divided by 2.9 %, each other word 1.65 %; a sixth of the rows
    are n x n, so the four operations have nearly its shares."""
    shares = {"+": 0.174, "-": 0.174, "*": 0.347, "/": 0.305}
    forms = {"spaced": 0.353, "tight": 0.353, "x": 0.074, "x tight": 0.074, "named": 0.05,
             "divided by": 0.029, "plus": 0.0165, "minus": 0.0165, "times": 0.0165,
             "multiplied by": 0.0165}
    found = Counter()
    for op, share in shares.items():
        for code in range(16):
            bits = [bool(code >> k & 1) for k in range(4)]
            p = share
            for bit, q in zip(bits, wordings.NOISE):
                p *= q if bit else 1 - q
            found[form(vary(7, op, 8, *bits))] += p
    assert found.keys() == forms.keys()
    assert all(abs(found[name] - share) < 0.003 for name, share in forms.items()), found


def form(text):
    middle = text.replace("7", "").replace("8", "")
    names = {"x": "x tight", " x ": "x"}
    if text.startswith("the "):
        return "named"
    if middle.strip() in OPS:
        return "spaced" if " " in middle else "tight"
    return names.get(middle, middle.strip())


def test_phrase_follows_the_probabilities():
    """Draws, beside the table of the test above: bare expressions in 20 %, x in half of them."""
    rng = random.Random(2)
    texts = [phrase(7, "*", 8, rng) for _ in range(40_000)]
    bare = [t for t in texts if t in ("7 * 8", "7*8", "7 x 8", "7x8")]
    assert abs(len(bare) / len(texts) - 0.2 * 0.95 * 0.9) < 0.008
    assert abs(sum("x" in t for t in bare) / len(bare) - 0.5) < 0.03
    assert abs(sum(" " in t for t in bare) / len(bare) - 0.5) < 0.03
    assert phrase(7, "*", 8, random.Random(3)) == phrase(7, "*", 8, random.Random(3))


@pytest.mark.parametrize("op", OPS)
def test_every_instruction_asks_its_question(op):
    """All wordings under all sixteen kinds of noise are read as the question that they word."""
    for template in (*slots(op), *slots(op, held_out=True)):
        for noise in product((False, True), repeat=4):
            text = filled(template, 71, op, 8, noise)
            asked = find_question(text)
            assert asked in readings(op) and asked == read_instruction(text), text


def test_prompt():
    assert prompt("3 + 4") == "3 + 4\nAnswer: "
    assert row_prompt({"instruction": "3 + 4", "input": "x"}) == "3 + 4\nAnswer: "
    assert row_prompt({"instruction": "", "input": "3 + 4 = "}) == "3 + 4 = "
