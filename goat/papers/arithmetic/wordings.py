"""How a question is worded: templates, and Goat's noise on the expression inside them.

An instruction is a template with the expression filled in: "Work out {input}." and 397 * 4429 give
"Work out 397 x 4429." Goat (arXiv 2305.14201, section 4.1) draws templates from a list in which
the bare expression has the largest weight, and varies the expression so that the model does not
depend on one notation. All templates here are our own; what they are made of is read from top to
bottom: single sentences first, then the combinations of openings and requests.

Every tenth template is held out of training, to measure whether new wordings are understood.
"""

import random
import re
from functools import cache
from itertools import product
from typing import NamedTuple

from goat.papers.arithmetic.operations import MULTIPLIED, OPERATIONS

# Goat's weights; these never are held out. Every other template has weight 1.
WEIGHTED = {"{input}": 100, "{input} =": 30, "{input}=": 15, "{input}=?": 10,
            "What is {input}?": 10}

_SENTENCES = """\
Work out {input}.|Calculate {input}.|Evaluate {input}.|Let's work out {input}.|How much is {input}?
What's {input}?|What does {input} equal?|What does {input} come to?|What does {input} make?
What is the value of {input}?|What is the result of {input}?|What is the answer to {input}?
{input} is what?|{input} equals what?|{input} is equal to what number?|{input} makes how much?
{input} gives|{input} equals|{input} is|{input} comes to|{input} makes|{input} -> ?|{input}?
{input} = ?|{input} =?|{input} = what?|{input} = ___|{input}: what is it?|{input}: how much?
Q: {input}|Q: {input} A:|Question: {input}|Problem: {input}|Exercise: {input}|Task: {input}
Compute: {input}|Solve: {input}|Evaluate: {input}|Expression: {input}|Arithmetic: {input}
Calculator input: {input}|Write the outcome of {input}.|The value of {input} is
The answer to {input} is|The result of {input} is|If you work out {input} you get
I get a different number each time for {input}. What is right?|Is there a number equal to {input}?
My homework says {input}. What should I write down?|The teacher wrote {input} on the board.
On the blackboard stands {input}. Write the answer under it.|Here is the next one: {input}.
Next question: {input}.|Next: {input}|One more: {input}.|And now {input}.|Now try {input}.
Try {input}.|Do {input} for me.|Do the arithmetic: {input}.|Do the following: {input}.
Give me {input} as a single number.|Write {input} as one number.|Replace {input} by its value.
Which number equals {input}?|Which number is {input}?|Which number do you get from {input}?
What number do I get if I type {input} into a calculator?|A calculator shows what for {input}?
How many is {input}?|How would you work out {input}?|How do I calculate {input}?
Show how to get {input}.|Show the steps for {input}.|Explain how {input} is worked out.
Step by step, what is {input}?|Work through {input} carefully.|Take your time with {input}.
Think about {input} and give the result.|Please check {input} for me.|I wonder what {input} is.
I want to know what {input} is.|I would like to know {input}.|I need {input}.|Just {input}.
I forgot what {input} is.|I cannot work out {input}.|Nobody here knows what {input} is.
My friend asked me for {input}.|My sister wants to know {input}.|For my shopping I need {input}.
Our bill comes to {input}. How much is that?|We have to pay {input}. What is that in total?
The form asks for {input}.|The worksheet asks for {input}.|In the test I was asked for {input}.
Fill in the blank: {input} = __|Fill the gap: {input} is ...|Complete: {input} =|Complete {input} =
Continue: {input} =|Finish this line: {input} =|Finish the equation {input} =
Mental arithmetic: {input}|Pen and paper: {input}|Long calculation: {input}|Simple maths: {input}
Without a calculator: {input}.|By hand: {input}.|Exactly, please: {input}.|No rounding: {input}.
Let x be {input}. What is x?|Let n be {input}. Find n.|Suppose n = {input}. What is n?
y = {input}. What is y?|Set z to {input} and print z.|print({input})|>>> {input}|eval: {input}
>{input}|{input};|Input: {input}|Input: {input} Output:|in: {input} out:|Given {input}, respond.
Can you do {input}?|Can you manage {input}?|Do you know {input}?|Do you know what {input} is?
Would you happen to know {input}?|Any idea what {input} is?|Tell us what {input} is.
Say what {input} is.|So what is {input}?|And what is {input}?|Then what would {input} be?
Okay, {input}.|Hello, {input} please.|{input}, please.|{input} please|{input}, quickly.
{input}. Answer?|{input}. Result?|{input}. Go!|{input}, show your working.|{input}, in full.
Nobody told me {input}.|Ask the calculator for {input}.|{input} should be how much?"""

_OPENINGS = ("", "Please ", "Can you ", "Could you ", "Would you ", "I want you to ", "Help me ",
             "Your task is to ", "Now ", "I have to ", "We need to ")
_REQUESTS = ("calculate", "compute", "find", "determine", "figure out", "solve", "simplify",
             "find the value of", "find the result of", "find the answer to",
             "compute the value of", "give the value of", "give the result of", "state",
             "write down the value of", "tell me the value of")
# last in TEMPLATES, since a place in it decides what is held out
_MARKS = ("=>{input}", "-> {input}", "$ {input}", "a) {input}", "({input})", "[{input}]",
          "{input} >", "[{input}] = ?")
_REMARKS = ("Quick question: ", "I'm stuck: ", "Maths homework: ", "Let's see, ")
_QUESTIONS = ("what is {input}?", "how much is {input}?", "what do you get for {input}?",
              "what does {input} equal?", "what is the result of {input}?")


def _sentence(opening: str, request: str) -> str:
    words = opening + request
    stop = "?" if opening.endswith("you ") and "want" not in opening else "."
    return words[0].upper() + words[1:] + " {input}" + stop


TEMPLATES = (
    *WEIGHTED,
    *_SENTENCES.replace("\n", "|").split("|"),
    *(_sentence(*pair) for pair in product(_OPENINGS, _REQUESTS) if pair != ("", "calculate")),
    *map("".join, product(_REMARKS, _QUESTIONS)),
    *_MARKS,
)

# Wordings that name the operands themselves, twenty for each operation. The first ones are
# those of BIG-bench and of DeepMind's mathematics dataset. They take no noise.
WORDINGS = {
    "+": ("What is {a} plus {b}?", "Add {a} and {b}.", "Put together {a} and {b}.",
          "Sum {a} and {b}.", "Total of {a} and {b}.", "Add together {a} and {b}.",
          "What is {a} added to {b}?", "What do {a} and {b} make?",
          "What is the sum of {a} and {b}?", "Increase {a} by {b}.",
          "How large is the total of {a} and {b}?", "Add {b} to {a}.",
          "What is {a} increased by {b}?", "{a} increased by {b}", "Raise {a} by {b}.",
          "{a} increases by {b}. What is it then?", "What is {b} more than {a}?",
          "Increase by {b}: {a}", "Increase the number {a} by {b}.",
          "What is the total of {a} and {b}?"),
    "-": ("What is {a} minus {b}?", "Subtract {b} from {a}.", "What is {a} take away {b}?",
          "What is {a} less {b}?", "What is {b} less than {a}?", "{a} minus {b}",
          "Take {b} away from {a}.", "Remove {b} from {a}.", "Reduce {a} by {b}.",
          "Decrease {a} by {b}.", "From {a} take {b}.",
          "What is left of {a} after taking away {b}?", "What is {a} decreased by {b}?",
          "{a} decreased by {b}", "Lower {a} by {b}.", "{a} decreases by {b}. What is left?",
          "Decrease the amount {a} by {b}.", "Decrease by {b}: {a}",
          "Decrease the number {a} by {b}.", "What is the difference between {a} and {b}?"),
    "*": ("What is {a} times {b}?", "Multiply {a} and {b}.", "Product of {a} and {b}.",
          "What is the product of {a} and {b}?", "{a} times {b}", "Multiply together {a} and {b}.",
          "Take {a} {b} times.", "Multiply {a} by {b}.", "{a} multiplied by {b}",
          "Take {a} and multiply it by {b}.", "How much do {a} lots of {b} make?",
          "What do {b} times {a} make?", "What is {a} multiplied by {b}?", "Take {a} times {b}.",
          "{b} lots of {a}", "Begin with {a} and multiply by {b}.", "Find {a} times {b}.",
          "What comes out if you multiply {a} by {b}?", "Times {a} by {b}.",
          "What do you get if you multiply {a} by {b}?"),
    "/": ("What is {a} divided by {b}?", "Divide {a} by {b}.", "Calculate {a} divided by {b}.",
          "What is {a} over {b}?", "Find {a} over {b}.", "{a} divided by {b}",
          "Calculate the quotient of {a} and {b}.", "How many times does {b} go into {a}?",
          "Share {a} among {b}.", "Split {a} into {b} equal parts.", "Work out {a} divided by {b}.",
          "How often does {b} fit into {a}?", "Split {a} among {b}.", "{a} split into {b} parts",
          "Cut {a} into {b} equal parts.", "Split the number {a} into {b} parts.",
          "How large is a part if {a} is split by {b}?", "Share {a} equally among {b}.",
          "Divide {a} into parts of {b}.", "Divide {a} equally among {b}."),
}

# Goat's noise, in this order, each with its probability: see `vary`.
NOISE = (0.05, 0.5, 0.1, 0.5)


def vary(a: object, op: str, b: object, named: bool, cross: bool, worded: bool, tight: bool) -> str:
    """The expression `a op b` with the four changes of Goat's noise applied in order. named: "the
    sum of a and b"; cross: x for *; worded: plus, minus, times (for a spaced x), multiplied by,
    divided by; tight: no spaces, if a sign is left."""
    if named:
        return f"{OPERATIONS[op].noun} {a} and {b}"
    sign = "x" if cross and op == "*" else op
    if worded:
        verb = MULTIPLIED if sign == "*" else OPERATIONS[op].verb
        return f"{a} {verb} {b}"
    return f"{a}{sign}{b}" if tight else f"{a} {sign} {b}"


@cache
def slots(op: str, held_out: bool = False) -> tuple[str, ...]:
    """The wordings of an operation, each repeated as often as its weight: draw uniformly. Of the
    templates that are not weighted, and of the operation's own wordings, every tenth is held out:
    those are returned with `held_out=True`, the others without."""
    chosen = [] if held_out else [t for t, weight in WEIGHTED.items() for _ in range(weight)]
    for wordings in (TEMPLATES[len(WEIGHTED):], WORDINGS[op]):
        chosen += [t for i, t in enumerate(wordings) if (i % 10 == 9) == held_out]
    return tuple(chosen)


def phrase(a: int, op: str, b: int, rng: random.Random, held_out: bool = False) -> str:
    """Word the question `a op b` (op one of + - * /) at random, as an instruction. `held_out=True`
    draws from the wordings that training never shows, False from all others."""
    template = rng.choice(slots(op, held_out))
    noise = [rng.random() < probability for probability in NOISE]
    return template.format(input=vary(a, op, b, *noise), a=a, b=b)


class Frame(NamedTuple):
    """An instruction around its operands: head + a + middle + b + tail."""

    head: str
    middle: str
    tail: str
    turned: bool  # b stands before a


@cache
def frames(op: str, held_out: bool = False) -> list[Frame]:
    """All instructions of an operation, to write millions of them: `phrase` as a table. Entry `16 *
    i + code` is slot i under the noise `code`, whose bit k stands for NOISE[k]. The texts hold no
    character that JSON would escape."""
    codes = range(1 << len(NOISE))
    noise = [[bool(code >> k & 1) for k in range(len(NOISE))] for code in codes]
    expressions = [re.split("[\0\1]", vary("\0", op, "\1", *flips)) for flips in noise]
    table = []
    for template in slots(op, held_out):
        before, is_template, after = template.partition("{input}")
        if is_template:
            table += [Frame(before + left, middle, right + after, False)
                      for left, middle, right in expressions]
        else:
            head, first, middle, _, tail = re.split(r"(\{a\}|\{b\})", template)
            table += [Frame(head, middle, tail, first == "{b}")] * len(codes)
    kept: dict[Frame, Frame] = {}
    return [kept.setdefault(frame, frame) for frame in table]  # equal ones once: read faster
