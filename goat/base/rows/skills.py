"""What the embedded base is pretrained on: the learnable skills of the Goat paper's Table 1.

Add, subtract, n x 1 with trailing zeros, n / 1, copy, split, compare and order, in bare notation
and in many surroundings: alone, in the middle of a line, after `=`, in columns of lines whose
numbers come from earlier lines. A skill that is seen in one place only breaks when fine-tuning
needs it elsewhere.

The rule that keeps the paper's claim testable: **no row multiplies or divides by a number of
several non-zero digits, and no row shows a division or remainder working.** The questions of the
three papers are read (restated as an expression), never solved, unless they are a single
learnable step.

Each kind is a function (generator, largest digit count) -> (prompt, output). How often each one
comes: mixes.py; rows of many lines: sheets.py.
"""

from random import Random

from goat.papers import prompt
from goat.papers.arithmetic import wordings
from goat.papers.arithmetic.operations import operation
from goat.papers.arithmetic.workings import place_values
from goat.papers.longhand import questions as longhand

PEOPLE = ("Tom", "Maria", "Ali", "Julie", "Ken", "Natalia", "Weng", "James", "Betty", "Omar")
THINGS = ("apples", "books", "stickers", "eggs", "dollars", "pages", "marbles", "tickets", "hours")
STORIES = (  # (text, operation on {a} and {b}); {p} person, {t} things
    ("{p} has {a} {t} and buys {b} more. How many {t} does {p} have now?", "+"),
    ("There are {a} {t} on one shelf and {b} {t} on another. How many are there in all?", "+"),
    ("On Monday {p} sold {a} {t}, and on Tuesday {b} {t}. How many {t} were sold altogether?", "+"),
    ("{p} had {a} {t} and gave away {b} of them. How many {t} are left?", "-"),
    ("A box holds {a} {t}. If {b} are taken out, how many remain in the box?", "-"),
    ("{p} needs {a} {t} but has only {b}. How many more does {p} need?", "-"),
    ("Each of {b} boxes contains {a} {t}. How many {t} is that in total?", "*"),
    ("{p} reads {a} {t} a week. How many {t} does {p} read in {b} weeks?", "*"),
    ("{p} shares {a} {t} equally among {b} friends. How many {t} does each friend get?", "/"),
    ("If {a} {t} are packed into {b} bags with the same number in each, how many go in a bag?",
     "/"),
)
CHANGES = (  # of one number by another, in verbs that the questions hardly use
    ("The number of {t} was {a}. It has increased by {b} since. What is it now?", "+"),
    ("An increase from {a} {t} of {b} more leads to how many?", "+"),
    ("Increase the {a} {t} of {p} with another {b}. What is the new number?", "+"),
    ("{p} raised the price from {a} dollars by {b}. What is it now?", "+"),
    ("A heap of {a} {t} grows by {b}. How large is it then?", "+"),
    ("The number of {t} was {a}. It has decreased by {b} since. What is it now?", "-"),
    ("A decrease from {a} {t} of {b} leads to how many?", "-"),
    ("Decrease the {a} {t} of {p} until there are {b} fewer. What is the new number?", "-"),
    ("{p} lowered the price from {a} dollars by {b}. What is it now?", "-"),
    ("A heap of {a} {t} shrinks by {b}. How large is it then?", "-"),
    ("{p} splits {a} {t} into {b} equal heaps. How large is each?", "/"),
    ("Split the {a} {t} of {p} between {b} people in equal shares.", "/"),
    ("Cut {a} into parts that are all equal, {b} in number. How large is a part?", "/"),
    ("{p} takes {a} {t} and makes {b} times as many of it. What is the new number?", "*"),
    ("Take the number {a}, then multiply: {b} times as much. What is the result?", "*"),
)
EXPRESSION = "\nExpression: "  # asks for the expression behind a question, not for its value


def random_number(rng: Random, digits: int) -> int:
    """A number of exactly `digits` digits (for one digit: 0 to 9)."""
    return rng.randrange(10 ** (digits - 1) if digits > 1 else 0, 10**digits)


def operand(rng: Random, top: int) -> int:
    """A number: half of the time of one of the top two sizes, else of any from 1 digit on."""
    least = max(1, top - 1) if rng.random() < 0.5 else 1
    return random_number(rng, rng.randint(least, top))


def small_product(rng: Random, top: int) -> tuple[int, int]:
    """A number and one non-zero digit, half of the time followed by up to four zeros: at most
    `top` digits (one at least) and zeros together."""
    zeros = rng.randint(1, 4) if rng.random() < 0.5 else 0
    return operand(rng, max(1, top - zeros)), rng.randint(1, 9) * 10**zeros


def total(rng: Random, top: int) -> tuple[int, int]:
    return operand(rng, top), operand(rng, top)


def difference(rng: Random, top: int) -> tuple[int, int]:
    """Operands of a subtraction; a third of the pairs lie close together (hard to compare)."""
    a = operand(rng, top)
    if rng.random() < 0.67:
        return a, operand(rng, top)
    near = abs(a + rng.randint(-1, 1) * random_number(rng, rng.randint(1, max(1, len(str(a)) - 1))))
    return (a, near) if rng.random() < 0.5 else (near, a)


def product(rng: Random, top: int) -> tuple[int, int]:
    """A factor of any size and one of one non-zero digit, or (a fifth of the time) 0, in either
    order."""
    a, b = small_product(rng, top)
    pair = a, b if rng.random() < 0.8 else 0
    return pair if rng.random() < 0.6 else pair[::-1]


def quotient(rng: Random, top: int) -> tuple[int, int]:
    """Dividend and a one-digit divisor; half of the divisions are exact."""
    divisor = rng.randint(1, 9)
    dividend = operand(rng, top)
    return (dividend - dividend % divisor if rng.random() < 0.5 else dividend), divisor


BY_COLUMN, BY_DIGIT = ("+", "-"), ("*", "/")  # how each is learnt as a single step
OPERANDS = {"+": total, "-": difference, "*": product, "/": quotient}
SYMBOLS = BY_COLUMN + BY_DIGIT
WEIGHTS = (32, 36, 16, 16)  # of these operations, in this order


def term(rng: Random, top: int) -> tuple[str, str]:
    """A single learnable step: (expression, value)."""
    op = rng.choices(SYMBOLS, WEIGHTS)[0]
    a, b = OPERANDS[op](rng, top)
    return f"{a} {op} {b}", value_of(a, op, b)


def value_of(a: int, op: str, b: int) -> str:
    """The value of `a op b`; a division that leaves a remainder reads `Q R r`."""
    return operation(op).answer(a, b)


def alone(rng: Random, top: int) -> tuple[str, str]:
    """`a + b = ` -> the value."""
    expression, value = term(rng, top)
    return f"{expression} = ", value


def in_line(rng: Random, top: int) -> tuple[str, str]:
    """Several steps on one line with a separator; the steps are given, the values wanted."""
    terms = [term(rng, top) for _ in range(rng.randint(2, 4))]
    separator = rng.choice((", ", " ; ", " | ", "; ", ". "))
    asked = separator.join(expression for expression, _ in terms)
    return f"{asked}: ", separator.join(f"{e} = {v}" for e, v in terms)


def column(rng: Random, top: int) -> tuple[str, str]:
    """The same in a column, with or without numbering or words before each line."""
    terms = [term(rng, top) for _ in range(rng.randint(2, 5))]
    mark = rng.choice(("", "", "- ", "so ", "Then "))
    return ("\n".join(e for e, _ in terms) + f"\n{mark}=\n",
            "\n".join(f"{mark}{e} = {v}" for e, v in terms))


def running(rng: Random, top: int) -> tuple[str, str]:
    """`a + b - c = ` worked from the left, one step after each `=`."""
    left, rest, totals = operand(rng, top), [], []
    plus_only, first = rng.random() < 0.6, left
    for _ in range(rng.randint(2, 5)):
        x = operand(rng, top)
        op = "+" if plus_only or x > left or rng.random() < 0.5 else "-"
        left += x if op == "+" else -x
        rest.append(f" {op} {x}")
        totals.append(left)
    lines = [str(value) + "".join(rest[i + 1:]) for i, value in enumerate(totals)]
    return f"{first}{''.join(rest)} = ", " = ".join(lines)


def sum_of_products(rng: Random, top: int) -> tuple[str, str]:
    """`a * 60 + b * 2 = ` -> the products, then their running sum. The big factors are unrelated,
    so nothing here distributes a multiplication over a split factor."""
    pairs = [small_product(rng, max(1, top - 1)) for _ in range(rng.randint(1, 5))]
    if len({a for a, _ in pairs}) < len(pairs):
        return alone(rng, top)
    prompt = " + ".join(f"{a} * {b}" for a, b in pairs)
    values = [a * b for a, b in pairs]
    lines = []
    while values:
        lines.append(" + ".join(map(str, values)))
        values = [sum(values[:2]), *values[2:]] if len(values) > 1 else []
    return f"{prompt} = ", " = ".join(lines)


def product_first(rng: Random, top: int) -> tuple[str, str]:
    """`a + b * 30 = a + product = sum` and `b * 30 - a = product - a = difference`."""
    b, d = small_product(rng, max(1, top - 1))
    a = operand(rng, top)
    if rng.random() < 0.5:
        return f"{a} + {b} * {d} = ", f"{a} + {b * d} = {a + b * d}"
    return f"{b} * {d} - {a} = ", f"{b * d} - {a} = {b * d - a}"


def split(rng: Random, top: int) -> tuple[str, str]:
    """7205 -> 7000 + 200 + 5, or its digits one by one."""
    n = operand(rng, top)
    if rng.random() < 0.3:
        return f"digits of {n}: ", " ".join(str(n))
    asked = rng.choice(("{} = ", "split {}: ", "({}) = ")).format(n)
    return asked, " + ".join(place_values(n)) or "0"


def copy(rng: Random, top: int) -> tuple[str, str]:
    """Repeat numbers, expressions or a line, sometimes the k-th of several."""
    items = [term(rng, top)[0] if rng.random() < 0.5 else str(operand(rng, top))
             for _ in range(rng.randint(1, 4))]
    separator = rng.choice((", ", "\n", " | ", " = "))
    if rng.random() < 0.4:
        k = rng.randrange(len(items))
        return f"line {k + 1} of\n" + "\n".join(items) + "\n: ", items[k]
    return f"copy {separator.join(items)}: ", separator.join(items)


def compare(rng: Random, top: int) -> tuple[str, str]:
    """a ? b -> a < b, a = b or a > b."""
    a, b = difference(rng, top)
    if rng.random() < 0.05:
        b = a
    sign = "<" if a < b else ">" if a > b else "="
    return rng.choice(("{} ? {}: ", "compare {} {}: ")).format(a, b), f"{a} {sign} {b}"


def order(rng: Random, top: int) -> tuple[str, str]:
    """Sort a list, or pick the largest of it that is not above a bound."""
    items = [operand(rng, top) for _ in range(rng.randint(2, 6))]
    separator = rng.choice((" ", ", ", "\n"))
    listed = separator.join(map(str, items))
    kind = rng.randrange(3)
    if kind == 0:
        return f"sort {listed}: ", separator.join(map(str, sorted(items)))
    if kind == 1:
        return f"largest of {listed}: ", str(max(items))
    bound = operand(rng, top)
    below = [x for x in items if x <= bound]
    return f"largest of {listed} up to {bound}: ", str(max(below)) if below else "none"


def count_by(rng: Random, top: int) -> tuple[str, str]:
    """Running totals of one number: count by 57: 57 114 171 …"""
    step, times = operand(rng, max(1, top - 1)), rng.randint(2, 10)
    totals = " ".join(str(step * k) for k in range(1, times + 1))
    return f"count by {step}, {times} times: ", totals


def append_digit(rng: Random, top: int) -> tuple[str, str]:
    """Bring a digit down: 381 and 4 -> 3814; digit after digit in a column."""
    n, digits = operand(rng, max(1, top - 2)), [rng.randint(0, 9) for _ in range(rng.randint(1, 3))]
    asked, lines = f"{n} append {' '.join(map(str, digits))}: ", []
    for d in digits:
        lines.append(f"{n} , {d} -> {10 * n + d}")
        n = 10 * n + d
    return asked, "\n".join(lines)


def scratch(rng: Random, top: int) -> tuple[str, str]:
    """A small program over named numbers; each line takes its numbers from earlier lines."""
    names = rng.sample("abcdefghkmnuvwxyz", 8)
    values = {names[i]: operand(rng, top) for i in range(rng.randint(2, 3))}
    given = [f"{name} = {value}" for name, value in values.items()]
    program, worked, limit = [], [], 10 ** (top + 1)
    for name in names[len(values): len(values) + rng.randint(1, 5)]:
        x, y = rng.choice(list(values)), rng.choice(list(values))
        kind = rng.choices(SYMBOLS, WEIGHTS)[0]
        a, b = values[x], values[y]
        if kind in BY_DIGIT or a + b >= limit:
            kind = "/" if kind == "/" or a * 9 >= limit else "*"
            b = rng.randint(2, 9)
            y = str(b)
        if kind == "-" and a < b:  # registers stay non-negative, so that each can be any operand
            x, y, a, b = y, x, b, a
        value = value_of(a, kind, b)
        values[name] = int(value.partition(" ")[0])  # a quotient goes on without its remainder
        program.append(f"{name} = {x} {kind} {y}")
        worked.append(f"{name} = {a} {kind} {b} = {value}")
    return "\n".join(given + program) + "\n:\n", "\n".join(worked)


def question(rng: Random, top: int) -> tuple[str, str]:
    """A question in words. A single learnable step is answered; any question, also one that the
    base can't solve, is restated as an expression."""
    kind = rng.random()
    if kind < 0.5:
        expression, value = term(rng, top)
        first, op, second = expression.split()
        text = wordings.phrase(int(first), op, int(second), rng)
        if rng.random() < 0.7:
            return prompt(text), f"{expression} = {value}"
        return text + EXPRESSION, expression
    a, b = operand(rng, top), operand(rng, top)
    if kind < 0.75:
        op = rng.choice(BY_DIGIT)
        return wordings.phrase(a, op, b, rng) + EXPRESSION, f"{a} {op} {b}"
    if kind < 0.85:
        return rng.choice(longhand.TEMPLATES).format(a=a, b=b) + EXPRESSION, f"{a} % {b}"
    text, op = rng.choice(STORIES)
    told = text.format(p=rng.choice(PEOPLE), t=rng.choice(THINGS), a=a, b=b)
    return told + EXPRESSION, f"{a} {op} {b}"


def addition(rng: Random, top: int) -> tuple[str, str]:
    """Two numbers of the same size."""
    a, b = random_number(rng, top), random_number(rng, top)
    return f"{a} + {b} = ", str(a + b)


def subtraction(rng: Random, top: int) -> tuple[str, str]:
    """A drill for the hardest skill (sign and borrows): two numbers of the same size."""
    a, b = random_number(rng, top), random_number(rng, top)
    return f"{a} - {b} = ", str(a - b)


def unequal(rng: Random, top: int) -> tuple[str, str]:
    """The sum or difference of a number of the largest size and one of any other, in either order;
    half of the time one that is up to four digits shorter, the hardest. The digits that belong
    together stand at other places of their numbers."""
    nearest = max(1, top - 4) if rng.random() < 0.5 else 1
    a, b = random_number(rng, top), random_number(rng, rng.randint(nearest, max(1, top - 1)))
    if rng.random() < 0.5:
        a, b = b, a
    op = rng.choice(BY_COLUMN)
    return f"{a} {op} {b} = ", value_of(a, op, b)


def carries(rng: Random, top: int) -> tuple[str, str]:
    """A sum or difference in which many columns pass on what comes from their right: digits that
    make 9, or are the same. Written from the left, such a digit hangs on all behind it; among
    random numbers a run of three is one in a thousand. Where the first digits of a difference are
    the same, its length hangs on them too."""
    plus, often = rng.random() < 0.4, rng.choice((0.3, 0.6, 0.9))
    first = str(random_number(rng, top))
    second = ""
    for digit in first[rng.choice((0, rng.randrange(top))):]:
        near = (9 - int(digit) if plus else int(digit)) + rng.choice((0, 0, 0, -1, 1))
        second += str(near % 10 if rng.random() < often else rng.randint(0, 9))
    a, b = int(first), int(second)
    if rng.random() < 0.5:
        a, b = b, a
    op = "+" if plus else "-"
    return f"{a} {op} {b} = ", value_of(a, op, b)


def change(rng: Random, top: int) -> tuple[str, str]:
    """A change of a number told in words: as a single learnable step, or restated."""
    text, op = rng.choice(CHANGES)
    a, b = (small_product if op == "*" else OPERANDS[op])(rng, top)  # the digit comes second
    told = text.format(p=rng.choice(PEOPLE), t=rng.choice(THINGS), a=a, b=b)
    if rng.random() < 0.3:
        return told + EXPRESSION, f"{a} {op} {b}"
    return prompt(told), f"{a} {op} {b} = {value_of(a, op, b)}"
