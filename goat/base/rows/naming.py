"""Rows in which the embedded base learns to find numbers by their names.

A row shows a list of named numbers and commands; the output carries them out, a line each, on the
list as the lines before have left it:

    a3 b5 c9                       b5
    A1 B4 C4                       a3 b7 c9
    ? b, b=7, back, shift 2, join: c94 b74 a31
                                   a7 b9 c2
                                   792

General bookkeeping: nothing is calculated here, so no row holds a step of any algorithm.
"""

from random import Random
from string import ascii_lowercase

from goat.base.rows.skills import operand, random_number

Named = dict[str, str]  # the name of each number, in order, and its digits
LETTERS = ascii_lowercase.replace("x", "")  # `12 x3` could be read as a product


def names(rng: Random, count: int) -> list[str]:
    """`count` different letters: of the alphabet in order, backwards, or any."""
    if rng.random() < 0.3:
        return rng.sample(LETTERS, count)
    first = 0 if rng.random() < 0.5 else rng.randrange(len(LETTERS) - count + 1)
    letters = list(LETTERS[first:first + count])
    return letters if rng.random() < 0.7 else letters[::-1]


def line(named: Named) -> str:
    return " ".join(name + value for name, value in named.items())


def joined(named: Named) -> str:
    return str(int("".join(named.values())))


def naming(rng: Random, top: int) -> tuple[str, str]:
    """The digits of a number get names, in order or with what follows each of them; or named
    digits become a number."""
    digits = str(operand(rng, min(top, len(LETTERS) - 3)))  # a letter for each, zeros included
    if rng.random() < 0.3:
        digits = "0" * rng.randint(1, 3) + digits
    named = dict(zip(names(rng, len(digits)), digits))
    kind = rng.randrange(3)
    if kind == 0:
        return f"join {line(named)}: ", joined(named)
    given = rng.choice((str.lower, str.upper))(" ".join(named))
    named = dict(zip(given.split(), digits))
    if kind == 1:
        return f"name {digits} {given}: ", line(named)
    return f"take apart {digits} {given}: ", " ".join(
        f"{name}{digit} {digits[i:]}".rstrip() for i, (name, digit) in enumerate(named.items(), 1))


def registers(rng: Random, top: int) -> tuple[str, str]:
    """Look up, change, move on and join named numbers; pair them with a second list."""
    count = rng.randint(2, min(8, max(2, top)))
    letters, single = names(rng, count), rng.random() < 0.75
    named = {name: str(random_number(rng, 1 if single else rng.randint(1, 3))) for name in letters}
    heads, second = [line(named)], {}
    if single and rng.random() < 0.7:
        second = {name: str(random_number(rng, 1)) for name in letters}
        heads.append(line(second).upper())
    commands, lines = [], []
    for _ in range(rng.randint(1, 6)):
        kinds = ["?", "=", *["shift", "join"] * single, *["on", "back", "back"] * bool(second)]
        command, text = carried_out(rng, rng.choice(kinds), named, second)
        commands.append(command)
        lines.append(text)
    return "\n".join(heads) + f"\n{', '.join(commands)}:\n", "\n".join(lines)


def carried_out(rng: Random, kind: str, named: Named, second: Named) -> tuple[str, str]:
    """One command and its line; `named` is changed in place."""
    name = rng.choice(list(named))
    if kind == "?":
        return f"? {name}", name + named[name]
    if kind == "join":
        return kind, joined(named)
    if kind in ("on", "back"):
        pairs = [f"{n}{value}{second[n]}" for n, value in named.items()]
        return kind, " ".join(pairs[::-1] if kind == "back" else pairs)
    digit = str(random_number(rng, 1))
    if kind == "=":
        named[name] = digit
        return f"{name}={digit}", line(named)
    named.update(zip(named, [*list(named.values())[1:], digit]))
    return f"shift {digit}", line(named)
