"""How fast the sandbox runs short programs one after another, beside a plain subprocess for each.

    python -m goat.bench sandbox [--snippets N] [--sympy N] [--plain N]
"""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable

from goat.cli import parser_for, refuse_below
from goat.papers.word_problems import sandbox

SHORT = "total = {} * 24\nprint(total // 6)"
SYMPY = """from sympy import Eq, solve, symbols
x = symbols('x')
print(solve(Eq(3 * x - {}, 24), x))"""
Runner = Callable[[str], object]


def measure(run: Runner, program: str, count: int) -> list[float]:
    """Seconds of each of `count` programs that differ in a number only."""
    seconds = []
    for i in range(count):
        start = time.perf_counter()
        run(program.format(i))
        seconds.append(time.perf_counter() - start)
    return seconds


def plain(code: str) -> None:
    """A new interpreter, with none of the walls."""
    subprocess.run([sys.executable, "-I", "-S", "-c", code], stdin=subprocess.DEVNULL,
                   stdout=subprocess.PIPE, check=True)


def main(argv: list[str] | None = None) -> None:
    parser = parser_for("python -m goat.bench sandbox", __doc__)
    parser.add_argument("--snippets", type=int, default=1000, help="for the sandbox (1000)")
    parser.add_argument("--sympy", type=int, default=200, help="for it with sympy (200)")
    parser.add_argument("--plain", type=int, default=50, help="for plain subprocesses (50)")
    args = parser.parse_args(argv)
    refuse_below(args, 1, "snippets", "sympy", "plain")
    start = time.perf_counter()
    sandbox.walls()
    print(f"the server started in {(time.perf_counter() - start) * 1e3:.0f} ms, once per thread")
    cases: list[tuple[str, Runner, str, int]] = [
        ("sandbox", sandbox.run_code, SHORT, args.snippets),
        ("plain subprocess", plain, SHORT, args.plain)]
    if sandbox.sympy_folders():
        [first] = measure(sandbox.run_code, SYMPY, 1)
        print(f"the first program with sympy took {first * 1e3:.0f} ms, its loading among them")
        cases.insert(1, ("with sympy", sandbox.run_code, SYMPY, args.sympy))
    medians = {}
    for name, run, program, count in cases:
        seconds = measure(run, program, count)
        medians[name] = statistics.median(seconds)
        print(f"{name:16}  {count / sum(seconds):7.1f} snippets/s   "
              f"median {medians[name] * 1e3:6.2f} ms, slowest {max(seconds) * 1e3:6.1f} ms")
    ratio = medians["plain subprocess"] / medians["sandbox"]
    print(f"the sandbox is {ratio:.1f} x as fast, by medians")
