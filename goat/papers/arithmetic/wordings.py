"""How a question is worded: templates, and Goat's noise on the expression inside them.

An instruction is a template with the expression filled in: "Work out {input}." and 397 * 4429 give
"Work out 397 x 4429." Goat (arXiv 2305.14201, section 4.1) draws templates from a list in which
the bare expression has the largest weight, and varies the expression so that the model does not
depend on one notation. All templates here are our own; what they are made of is read from top to
bottom: single sentences first, then the combinations of openings and requests.

Every tenth template is held out of training, to measure whether new wordings are understood.
"""

import random
from collections.abc import Iterable
from functools import cache
from itertools import product

from goat.papers.arithmetic.operations import operation

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

# Goat's noise, in this order, each with its probability: see `vary`.
NOISE = (0.05, 0.5, 0.1, 0.5)


def vary(a: object, op: str, b: object, named: bool, cross: bool, worded: bool, tight: bool) -> str:
    """The expression `a op b` with the four changes of Goat's noise applied in order. named: "the
    sum of a and b"; cross: x for *; worded: plus, minus, times (for a spaced x), multiplied by,
    divided by; tight: no spaces, if a sign is left."""
    record = operation(op)
    if named and record.noun:
        return f"{record.noun} {a} and {b}"
    crossed = cross and record.cross
    if worded and record.verbs:
        return f"{a} {record.verbs[0 if crossed else -1]} {b}"
    sign = crossed or op
    return f"{a}{sign}{b}" if tight and not record.is_word else f"{a} {sign} {b}"


@cache
def slots(op: str, held_out: bool = False) -> tuple[str, ...]:
    """The wordings of an operation, each repeated as often as its weight: draw uniformly. Of the
    templates that are not weighted, and of the operation's own wordings, every tenth is held out:
    those are returned with `held_out=True`, the others without. So there are some of either, even
    if the operation itself has a single one."""
    chosen = [] if held_out else [t for t, weight in WEIGHTED.items() for _ in range(weight)]
    for wordings in (TEMPLATES[len(WEIGHTED):], operation(op).wordings):
        chosen += [t for i, t in enumerate(wordings) if (i % 10 == 9) == held_out]
    return tuple(chosen)


def phrase(a: int, op: str, b: int, rng: random.Random, held_out: bool = False) -> str:
    """Word the question `a op b` at random, as an instruction. `held_out=True` draws from the
    wordings that training never shows, False from all others."""
    template = rng.choice(slots(op, held_out))
    return filled(template, a, op, b, [rng.random() < probability for probability in NOISE])


def filled(template: str, a: int, op: str, b: int, noise: Iterable[bool]) -> str:
    """The instruction that a template makes of `a op b` under this noise, see `vary`."""
    return template.format(input=vary(a, op, b, *noise), a=a, b=b)
