"""Scratch sheets: rows in which the embedded base learns to go on from its own earlier lines.

A sheet names a list of numbers, a number with digits still to come, and commands; the output
carries them out, a line each, every line starting from what the line before it left:

    list 113 268 340 551                    2 , 68 -> 26 , 8
    from 2 , 68                             26 , 8 -> 268
    bring, bring, climb, take, + 31:        up to 268: 113 268 340 > 268
                                            268 - 268 = 0
                                            0 + 31 = 31

Half of the lists are not given but grown (`grow 113 155 72`), and then written down first. A loop
carries out its few commands for every digit, until there is none left to bring down.

The commands are random, and no list of a sheet or a loop holds the multiples of a number
(`multiples` writes these, alone): so these are the steps of many algorithms and the whole of none.
In particular no row divides by, or takes the remainder of, a number of several digits, which is
what fine-tuning is to teach. The nearest to it are loops that climb and take: they have the shape
of a long division, over numbers that have nothing to do with one another.
"""

from itertools import accumulate
from random import Random

from goat.base.rows.skills import operand, random_number


def growing_list(rng: Random, top: int) -> list[int]:
    """2 to 10 growing numbers that are not the first multiples of one."""
    step = operand(rng, max(1, top - 1)) + 1
    count = rng.randint(2, 10)
    items = list(accumulate(rng.randint(1, 2 * step) for _ in range(count)))
    if items == [items[0] * (k + 1) for k in range(count)]:
        return growing_list(rng, top)
    return items


def heading(rng: Random, items: list[int]) -> tuple[str, list[str]]:
    """How a list is told, and the lines that the output begins with: it is given as it stands, or
    by its first number and what to add each time; then it is written down before it is used."""
    if rng.random() < 0.5:
        return f"list {' '.join(map(str, items))}\n", []
    steps = [b - a for a, b in zip([0, *items], items)]
    return f"grow {' '.join(map(str, steps))}\n", [f"{items[0]}: {' '.join(map(str, items))}"]


def bound(rng: Random, items: list[int]) -> int:
    """A number below the last item, half of the time close to one of the others."""
    near = rng.choice(items) + rng.choice((-1, 0, 0, 1)) * random_number(rng, 1)
    if rng.random() < 0.5 and 0 <= near < items[-1]:
        return near
    return rng.randrange(items[-1])


def climb_line(items: list[int], x: int) -> tuple[str, int]:
    """`up to 300: 113 268 340 > 300`: the items up to the first above x; and the last that is not
    above it, 0 where there is none."""
    below = sum(item <= x for item in items)
    return f"up to {x}: {' '.join(map(str, items[: below + 1]))} > {x}", [0, *items][below]


def climb(rng: Random, top: int) -> tuple[str, str]:
    """Go through a growing list until it passes a bound."""
    items = growing_list(rng, top)
    bounds = [bound(rng, items) for _ in range(rng.randint(1, 3))]
    head, lines = heading(rng, items)
    lines += [climb_line(items, x)[0] for x in bounds]
    return f"{head}up to {', '.join(map(str, bounds))}:\n", "\n".join(lines)


def sheet(rng: Random, top: int) -> tuple[str, str]:
    """Random commands, each on what the one before it left."""
    items = growing_list(rng, top) if rng.random() < 0.7 else []
    digits = str(operand(rng, top))
    cut = rng.randint(1, len(digits)) if rng.random() < 0.8 else len(digits)
    left, rest = int(digits[:cut]), digits[cut:]
    head, lines = heading(rng, items) if items else ("", [])
    head += f"from {left}{' , ' * bool(rest)}{rest}\n"
    kinds = rng.sample(("bring", "climb", "+", "-", "*", "?"), rng.randint(2, 6))
    commands, item = [], 0
    for _ in range(rng.randint(2, 9)):
        possible = {"bring": 3 * bool(rest), "climb": 4 * bool(items and left < items[-1]),
                    "+": 1.5 * (left < 10**top), "-": 2, "*": 0.5 * (left < 10 ** (top - 1)),
                    "?": 0.5}
        weights = [possible[kind] for kind in kinds]
        if not any(weights):
            break
        kind = rng.choices(kinds, weights)[0]
        if item and rng.random() < 0.7:
            kind = "take"
        command, line, left, rest, item = step(rng, kind, left, rest, items, item, top)
        commands.append(command)
        lines.append(line)
    if not commands:
        return sheet(rng, top)
    return head + ", ".join(commands) + ":\n", "\n".join(lines)


def step(rng: Random, kind: str, left: int, rest: str, items: list[int], item: int,
         top: int) -> tuple[str, str, int, str, int]:
    """One command: its text, its line, the number and the digits it leaves, and, after a climb,
    the item that can be taken (else 0)."""
    if kind == "bring":
        longer, after = 10 * left + int(rest[0]), rest[1:]
        return kind, f"{left} , {rest} -> {longer}{' , ' * bool(after)}{after}", longer, after, 0
    if kind == "climb":
        line, item = climb_line(items, left)
        return kind, line, left, rest, item
    if kind == "take":
        return kind, f"{left} - {item} = {left - item}", left - item, rest, 0
    x = operand(rng, top)
    if kind == "?":
        if rng.random() < 0.5:
            x = abs(left + rng.randint(-9, 9))
        return f"? {x}", *done(kind, left, x), rest, 0
    if kind == "*":
        x = rng.randint(2, 9)
    if kind == "-" and x > left:  # what is left never falls below 0, so that any step can follow
        x = rng.randint(0, left)
    return f"{kind} {x}", *done(kind, left, x), rest, 0


def done(kind: str, left: int, x: int) -> tuple[str, int]:
    """The line of a comparison (?) or a calculation with x, and the number it leaves."""
    if kind == "?":
        return f"{left} {'<' if left < x else '>' if left > x else '='} {x}", left
    value = {"+": left + x, "-": left - x, "*": left * x}[kind]
    return f"{left} {kind} {x} = {value}", value


def loop(rng: Random, top: int) -> tuple[str, str]:
    """The same steps for every digit that is brought down, until there is none left. What cannot be
    done is left out or leaves the number as it is: see `turn`."""
    digits = str(operand(rng, max(2, top)))
    items = growing_list(rng, rng.randint(1, top)) if rng.random() < 0.6 else []
    head, lines = heading(rng, items) if items else ("", [])
    commands = [f"{kind} {rng.randint(2, 9) if kind == '*' else operand(rng, 2)}"
                for kind in rng.sample("+-*?", rng.randint(not items, 2 - bool(items)))]
    if items:
        commands.insert(rng.randint(0, len(commands)), "climb, take")
    left, rest = int(digits[0]), digits[1:]
    head += f"from {left}{' , ' * bool(rest)}{rest}\neach: {', '.join(commands)}\n"
    while True:
        for command in commands:
            more, left = turn(command, left, items, top)
            lines += more
        if not rest:
            return head, "\n".join([*lines, f"{left}"])
        _, line, left, rest, _ = step(rng, "bring", left, rest, [], 0, top)
        lines.append(line)


def turn(command: str, left: int, items: list[int], top: int) -> tuple[list[str], int]:
    """A command of a loop: its lines, and what it leaves. Nothing is taken where no item fits, or
    climbed where none is above; nothing falls below 0 or grows on beyond `top` digits."""
    kind, _, x = command.partition(" ")
    if kind == "climb,":
        if left >= items[-1]:
            return [f"{left}"], left
        line, item = climb_line(items, left)
        return [line, f"{left} - {item} = {left - item}"][: 1 + bool(item)], left - item
    if kind != "?" and (kind == "-" and int(x) > left or left >= 10**top):
        return [f"{left}"], left
    line, left = done(kind, left, int(x))
    return [line], left


def multiples(rng: Random, top: int) -> tuple[str, str]:
    """Multiples of one number, headed by it."""
    base, times = operand(rng, max(1, top - 1)), rng.randint(2, 10)
    return f"{times} multiples:\n{base}: ", " ".join(str(base * k) for k in range(1, times + 1))
