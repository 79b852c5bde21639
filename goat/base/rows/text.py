"""Text that the embedded base learns as a whole, so that it can write words and not only numbers.

In all other kinds of rows only the output counts in the loss, and outputs hold hardly any words: a
base trained on those alone gives all words one and the same embedding, and no adapter on top of it
can tell them apart (each gets a 35th of the probability). So here the prompt is empty.

Three sorts: questions restated as an expression; stories of word problems without their solutions
(none of the held-out ones); and programs of random sums in the format of such solutions, under a
sentence that has nothing to do with them. No story is solved, and no program multiplies by more
than one digit.
"""

from random import Random

from goat.base.rows.skills import operand, question
from goat.papers.word_problems.format import Number, Step, calculate, render
from goat.papers.word_problems.templates import draw_numbers, fillings, story_text, templates


def text(rng: Random, top: int) -> tuple[str, str]:
    """One of the three sorts, as ("", text)."""
    sort = rng.choice(("restated", "story", "program"))
    if sort == "restated":
        return "", "".join(question(rng, top))
    if sort == "program":
        return "", program(rng, top)
    template = rng.choice(templates())
    return "", story_text(template, {**fillings(rng), **draw_numbers(template, rng)[0]}, rng)


def program(rng: Random, top: int) -> str:
    """One or two steps of code with what they print."""
    steps = []
    values: dict[str, Number] = {}
    for _ in range(rng.randint(1, 2)):
        prose, lines = rng.choice(rng.choice(templates()).steps)
        code = []
        for name in dict.fromkeys(line.partition(" = ")[0] for line in lines):
            known = [*values, *(str(operand(rng, min(3, top))) for _ in range(2))]
            op = rng.choice("+-*")
            second = rng.randint(2, 9) if op == "*" else rng.choice(known)
            expression = f"{rng.choice(known)} {op} {second}"
            values[name] = calculate(expression, values)[1]
            code.append(f"{name} = {expression}")
        steps.append(Step(prose, "\n".join([*code, f"print({name})"]), str(values[name])))
    return render(steps, str(values[name]))
