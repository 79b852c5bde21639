"""The base's pretraining rows: every equation true, and nothing in them that fine-tuning is to
teach (multi-digit products, multi-digit divisions, remainders of longer divisors).

Run: python -m pytest tests/base/test_skills.py
"""

import re
from itertools import accumulate
from random import Random

import pytest

import generate_data
from goat.base.rows import mixes, naming, skills
from goat.errors import UserError
from goat.papers.arithmetic import wordings
from goat.papers.word_problems import templates

EQUATION = re.compile(r"(\d+) ([-+*/]) (\d+) = (-?\d+)(?: R (\d+))?(?![\d+*/-]| [-+*/])")
PRODUCT = re.compile(r"(\d+) ?(?:\*|x|/|divided by|times|multiplied by) ?(\d+)")
ROWS = 8_000  # of each mix


@pytest.fixture(scope="module")
def rows():
    rng = Random(7)
    return [mixes.sample(rng, 8, mix=mix) for mix in mixes.MIXES for _ in range(ROWS)]


def is_single_step(n: str) -> bool:
    return len(n.rstrip("0")) <= 1


def test_all_kinds_occur(rows):
    assert {row["task"] for row in rows} == set(mixes.KINDS)


def test_every_equation_is_true(rows):
    checked = 0
    for row in (row for row in rows if row["task"] != "copy"):  # copies join unrelated items by =
        for a, op, b, value, rest in EQUATION.findall(row["input"] + row["output"]):
            a, b, value = int(a), int(b), int(value)
            right = {"+": a + b, "-": a - b, "*": a * b, "/": a // b if b else None}[op]
            assert value == right, row
            assert int(rest or 0) == (a % b if op == "/" else 0), row
            checked += 1
    assert checked > len(rows)


def test_chains_are_true(rows):
    """`a + b * 30 = …`: all parts of a chain of equal signs have one value."""
    for row in rows:
        chained = row["task"] in ("running", "sum_of_products", "product_first")
        if chained and " / " not in row["input"]:  # a sum too small for its size is a `term`
            values = {eval(part) for part in (row["input"] + row["output"]).split(" = ")}
            assert len(values) == 1, row


def test_other_skills_are_right(rows):
    """Sort, compare, split, append, count and copy, each by a rule of its own."""
    seen = set()
    for row in rows:
        numbers = list(map(int, re.findall(r"\d+", row["input"])))
        said = list(map(int, re.findall(r"\d+", row["output"])))
        if row["input"].startswith("sort"):
            assert said == sorted(numbers)
        elif row["input"].startswith("largest") and " up to " in row["input"]:
            *items, bound = numbers
            assert said == [max(x for x in items if x <= bound)] if said else min(items) > bound
        elif row["input"].startswith("largest"):
            assert said == [max(numbers)]
        elif row["task"] == "compare":
            a, sign, b = row["output"].split()
            assert {"<": int(a) < int(b), ">": int(a) > int(b), "=": a == b}[sign]
            assert said == numbers
        elif row["task"] == "split" and "digits" not in row["input"]:
            assert sum(said) == numbers[0] and all(is_single_step(str(x)) for x in said)
        elif row["task"] == "count_by":
            assert said == [numbers[0] * k for k in range(1, numbers[1] + 1)]
        elif row["task"] == "multiples":
            assert said == [numbers[1] * k for k in range(1, numbers[0] + 1)]
        elif row["task"] == "copy":
            assert row["output"] in row["input"]
        elif row["task"] == "append_digit":
            n = str(numbers[0])
            for digit, line in zip(numbers[1:], row["output"].split("\n"), strict=True):
                assert line == f"{int(n)} , {digit} -> {int(n + str(digit))}"
                n += str(digit)
        else:
            continue
        seen.add(row["task"])
    assert {"order", "compare", "split", "count_by", "multiples", "copy", "append_digit"} <= seen


def test_named_numbers_are_found_again(rows):
    """Each command of naming.py by a rule of this test's own: lists of (name, value)."""
    commands_seen, pairs = set(), re.compile(r"([a-z])(\d+)", flags=re.I)
    for row in (row for row in rows if row["task"] == "naming"):
        verb, *given = row["input"].strip(": ").split()
        commands_seen.add(verb)
        if verb == "join":
            assert row["output"] == str(int("".join(word[1:] for word in given)))
            continue
        digits, *names = given[verb == "take":]
        assert len(names) == len(digits) == len(set(names))
        said = row["output"].split(" ")
        if verb == "take":
            rest = [word for word in said if word.isdigit()]
            assert rest == [digits[i:] for i in range(1, len(digits))]
            said = [word for word in said if not word.isdigit()]
        assert said == list(map(str.__add__, names, digits))
    for row in (row for row in rows if row["task"] == "registers"):
        *lists, commands = row["input"].removesuffix(":\n").split("\n")
        now, *other = [pairs.findall(line) for line in lists]
        lines = row["output"].split("\n")
        for command, line in zip(commands.split(", "), lines, strict=True):
            verb, _, value = re.match(r"(\?|[a-z]=|\w+)( ?)(\w*)$", command).groups()
            commands_seen.add(verb[-1] if verb[-1] in "?=" else verb)
            letters, values = zip(*now)
            if verb == "?":
                assert (value, line[1:]) in now and line[0] == value
            elif verb == "join":
                assert line.zfill(len(values)) == "".join(values) and line == str(int(line))
            elif verb in ("on", "back"):
                both = [(a, x + y) for (a, x), (b, y) in zip(now, *other) if b == a.upper()]
                assert pairs.findall(line) == (both if verb == "on" else both[::-1])
                assert len(both) == len(now)
            else:
                values = [*values[1:], value] if verb == "shift" else [
                    value if letter == verb[0] else old for letter, old in now]
                now = list(zip(letters, values))
                assert pairs.findall(line) == now
    assert commands_seen == {"join", "name", "take", "?", "=", "shift", "on", "back"}


def told_list(line):
    """The list that a line tells, and the lines that the output must begin with."""
    verb, *numbers = line.split()
    items = list(map(int, numbers))
    if verb == "list":
        return items, []
    assert verb == "grow"
    items = list(accumulate(items))
    return items, [f"{items[0]}: {' '.join(map(str, items))}"]


def carried_out(text):
    """The lines that a sheet asks for, by integer arithmetic of this test's own."""
    *lists, start, commands = text.removesuffix(":\n").split("\n")
    items, lines = told_list(*lists) if lists else ([], [])
    left, _, rest = start.removeprefix("from ").partition(" , ")
    left, picked = int(left), None
    for command in commands.split(", "):
        verb, _, x = command.partition(" ")
        if verb == "bring":
            longer, after = f"{left}{rest[0]}".lstrip("0") or "0", rest[1:]
            lines.append(f"{left} , {rest} -> {longer}" + (f" , {after}" if after else ""))
            left, rest = int(longer), after
        elif verb == "climb":
            first = next(i for i, item in enumerate(items) if item > left)
            lines.append(f"up to {left}: {' '.join(map(str, items[:first + 1]))} > {left}")
            picked = items[first - 1]
        elif verb == "?":
            lines.append(f"{left} {'<=>'[(left >= int(x)) + (left > int(x))]} {x}")
        else:
            other = picked if verb == "take" else int(x)
            value = {"+": left + other, "*": left * other}.get(verb, left - other)
            lines.append(f"{left} {'-' if verb == 'take' else verb} {other} = {value}")
            left = value
    return "\n".join(lines)


def test_sheets_are_carried_out(rows):
    verbs = set()
    for row in (row for row in rows if row["task"] == "sheet"):
        assert row["output"] == carried_out(row["input"]), row
        verbs |= set(re.findall(r"bring|climb|take|[-+*?]", row["input"]))
    assert len(verbs) == 7


def test_loops_go_on_to_the_last_digit(rows):
    taken = 0
    for row in (row for row in rows if row["task"] == "loop"):
        *lists, start, each = row["input"].strip().split("\n")
        items, lines = told_list(*lists) if lists else ([], [])
        left, _, rest = start.removeprefix("from ").partition(" , ")
        left, had = int(left), row["output"].split("\n")
        commands = each.removeprefix("each: ").replace("climb, take", "climb").split(", ")
        while True:
            for command in commands:
                verb, _, x = command.partition(" ")
                line = had[len(lines)]
                if verb == "climb" and left < items[-1]:
                    shown = [i for i in items if i <= left]
                    more = items[len(shown)]
                    lines.append(f"up to {left}: {' '.join(map(str, [*shown, more]))} > {left}")
                    if shown:
                        lines.append(f"{left} - {shown[-1]} = {left - shown[-1]}")
                        left -= shown[-1]
                        taken += 1
                elif line == f"{left}":  # it cannot be done: too large, or would be below 0
                    assert verb != "?"
                    assert verb == "climb" or left > 9 or verb == "-" and left < int(x)
                    lines.append(line)
                else:
                    sign = f"{'<=>'[(left >= int(x)) + (left > int(x))]} {x}"
                    value = {"+": left + int(x), "-": left - int(x), "*": left * int(x)}.get(verb)
                    lines.append(f"{left} " + (sign if verb == "?" else f"{verb} {x} = {value}"))
                    left = left if verb == "?" else value
            if not rest:
                break
            longer, after = int(f"{left}{rest[0]}"), rest[1:]
            lines.append(f"{left} , {rest} -> {longer}" + (f" , {after}" if after else ""))
            left, rest = longer, after
        assert had == [*lines, f"{left}"], row
    assert taken > 20


def test_read_text_is_no_solution(rows):
    """Stories end in their question; programs say what they print, and are none of a story's."""
    told = [row["output"] for row in rows if row["task"] == "text"]
    stories = [t for t in told if "\n" not in t and "?" in t]
    programs = [t for t in told if t.startswith("<step>")]
    held_out = {template.name for template in templates.templates(held_out=True)}
    assert len(stories) > 100 < len(programs) and held_out
    prose = {p for t in templates.templates(held_out=True) for p, _ in t.steps}
    own = {p for t in templates.templates() for p, _ in t.steps}
    for solution in programs:
        for said, code, output in re.findall(
                r"<p>\n([^<]*)\n</p>\n<code>\n([^<]*)\n</code>\n<output>\n(-?\d+)\n", solution):
            assert said in own and said not in prose - own
            values = {}
            before = solution[: solution.index(code)]
            for line in re.findall(r"^(\w+ = .*)$", before + code, flags=re.M):
                exec(line, {}, values)
            assert values[re.search(r"print\((\w+)\)", code)[1]] == int(output)
        for factor in re.findall(r" \* (\w+)", solution):
            assert len(factor) == 1
    assert all(not row["input"] for row in rows if row["task"] == "text")


def test_climbs_stop_at_the_first_item_above(rows):
    for row in (row for row in rows if row["task"] == "climb"):
        listed, bounds = row["input"].split("\n")[:2]
        items, first = told_list(listed)
        lines = row["output"].split("\n")
        assert lines[: len(first)] == first
        for x, line in zip(re.findall(r"\d+", bounds), lines[len(first):], strict=True):
            head, shown, end = re.fullmatch(r"up to (\d+): ([\d ]+) > (\d+)", line).groups()
            *below, last = map(int, shown.split())
            assert head == end == x and [*below, last] == items[:len(below) + 1]
            assert all(item <= int(x) for item in below) and last > int(x)


def test_no_list_holds_the_multiples_of_a_number(rows):
    """With them a sheet that climbs and takes would be a long division."""
    lists = [told_list(row["input"].split("\n")[0])[0]
             for row in rows if row["input"].startswith(("list", "grow"))]
    assert len(lists) > ROWS / 10
    for items in lists:
        assert len(items) > 1 and items == sorted(set(items))
        assert items != [items[0] * k for k in range(1, len(items) + 1)]


def test_no_composite_operation_is_ever_solved(rows):
    """Products and quotients have a factor of one non-zero digit, except where a question is only
    restated: there the output is the expression alone."""
    for row in rows:
        _, restated, expression = (row["input"] + row["output"]).partition(skills.EXPRESSION)
        if restated:
            assert "=" not in expression and not re.search(r"\bR\b", expression)
            continue
        for match in PRODUCT.finditer(row["input"] + row["output"]):
            a, b = match[1], match[2]
            if "*" in match[0] or "x" in match[0] or "ti" in match[0]:
                assert is_single_step(a) or is_single_step(b), row
            else:
                assert len(b) == 1, row
        assert "remainder when" not in row["input"]


def test_no_product_is_distributed_over_a_split_factor(rows):
    """38 * 60 + 38 * 2 would be half of a long multiplication."""
    for row in rows:
        factors = re.findall(r"(\d+) \* \d+", row["input"] if " + " in row["input"] else "")
        if row["task"] == "sum_of_products":
            assert len(set(factors)) == len(factors), row


def test_no_subtraction_of_a_product(rows):
    """`left - divisor * part` is the line of a long division."""
    for row in rows:
        assert not re.search(r"\d - \d+ \* \d", row["input"] + row["output"]), row


def test_numbers_longer_than_the_alphabet_get_names():
    for rng in map(Random, range(500)):
        assert naming.naming(rng, 40)


def test_wordings_kept_for_evaluation_never_occur(monkeypatch):
    asked, phrase = [], wordings.phrase

    def spy(a, op, b, rng, held_out=False):
        asked.append(held_out)
        return phrase(a, op, b, rng, held_out)

    monkeypatch.setattr(wordings, "phrase", spy)
    for seed in range(200):
        skills.question(Random(seed), 6)
    assert len(asked) > 100 and not any(asked)


def test_changes_are_told_in_words_of_their_own():
    """No row tells a change in a wording that is kept for evaluation."""
    rng = Random(2)
    told = [skills.change(rng, 6) for _ in range(2000)]
    held = {op: [re.escape(wording).replace(r"\{a\}", r"\d+").replace(r"\{b\}", r"\d+")
                 for wording in wordings.slots(op, held_out=True) if "{a}" in wording]
            for op in skills.OPERANDS}
    assert all(held.values())
    solved = 0
    for prompt, output in told:
        sentence, _, end = prompt.partition("\n")
        assert not any(re.search(w, sentence) for wordings in held.values() for w in wordings)
        a, op, b = output.split(" = ")[0].split()
        assert sorted(re.findall(r"\d+", sentence)) == sorted((a, b))
        assert (" = " in output) == (end != skills.EXPRESSION.strip("\n"))
        solved += " = " in output
    assert 1200 < solved < 1600


def test_unequal_sums_have_a_number_of_the_largest_size_and_a_shorter_one():
    rng, lengths = Random(3), set()
    for _ in range(2000):
        a, _, b, _ = skills.unequal(rng, 5)[0].split()
        lengths.add((len(a), len(b)))
    assert lengths == {(i, j) for i in range(1, 6) for j in range(1, 6) if 5 in (i, j) and i != j}


def test_carries_run_through_many_columns():
    """The longest run of undecided columns, over twice as long on the average as in random sums."""
    def run(a, op, b):
        size = max(len(a), len(b))
        pairs = zip(map(int, a.zfill(size)), map(int, b.zfill(size)))
        marks = "".join("x" if (x + y == 9 if op == "+" else x == y) else " " for x, y in pairs)
        return max(map(len, marks.split(" ")))

    rng, lengths, signs = Random(4), [], set()
    for _ in range(2000):
        a, op, b, _ = skills.carries(rng, 8)[0].split()
        lengths.append(run(a, op, b))
        signs.add((op, int(a) < int(b)))
    plain = [run(str(skills.random_number(rng, 8)), "+", str(skills.random_number(rng, 8)))
             for _ in range(2000)]
    assert sum(lengths) > 2 * sum(plain) and len(signs) == 4


def test_reserved_questions_never_occur():
    """Also where a product is worked behind a sum: `1 + 23 * 4 = 1 + 92`."""
    rng = Random(1)
    small = frozenset((a, op, b) for a in range(10, 60) for op in "+*" for b in range(100))
    for row in (mixes.sample(rng, 3, small) for _ in range(3000)):
        text = row["input"] + "\n" + row["output"]
        for a, op, b in mixes.STEP.findall(text) + re.findall(r"(\d+) (\*) (\d+)", text):
            assert (int(a), op, int(b)) not in small


def test_numbers_may_not_be_too_long_to_check(tmp_path):
    flags = ["--task", "skills", "--rows", "20", "--out", str(tmp_path / "rows.jsonl"), "--workers",
             "1", "--max-digits"]
    with pytest.raises(UserError, match="--max-digits 1001 must be at most 1,000"):
        generate_data.main([*flags, "1001"])
    assert generate_data.main([*flags, "1000"]) == 0
    assert generate_data.main(["--check", str(tmp_path / "rows.jsonl"), "--workers", "1"]) == 0
