"""sympy in the sandbox: what programs do with it, and attacks that go through it.

    python -m pytest tests/papers/word_problems/test_sandbox_sympy.py

The attacks of test_sandbox_walls.py are made behind sympy too, there. Each attack here ends at a
refusal of the operating system, which is the proof that it has come so far.
"""

import time

import pytest

from goat.papers.word_problems import sandbox
from goat.papers.word_problems.sandbox import run_code
from support.sandbox import in_a_thread, sandbox_is_right_and_quick

pytestmark = pytest.mark.skipif(not sandbox.sympy_folders(), reason="sympy is not installed")
ALL = "from sympy import *\nimport sympy\nx, y = symbols('x y')\n"
SECRET = "the label is 42"


@pytest.fixture(autouse=True)
def next_runs_are_right_and_quick():
    yield
    sandbox_is_right_and_quick()
    assert run_code("import sympy\nprint(sympy.Integer(6) * 7)") == ("42\n", None, False)


# --------------------------------------------------------------------------------------- results

PROGRAMS = {
    "import sympy as sp\nx = sp.symbols('x')\nprint(sp.solve(x**2 - 5*x + 6, x))": "[2, 3]",
    "import sympy\nsympy.Rational(1, 3) + sympy.Rational(1, 6)": "1/2",
    "from sympy import sqrt\nprint(sqrt(8), sqrt(16), float(sqrt(4)))": "2*sqrt(2) 4 2.0",
    "from sympy.abc import x\nfrom sympy import simplify\nsimplify((x**2 - 1)/(x - 1))": "x + 1",
    "from sympy.solvers import solve\nfrom sympy import Eq, symbols\nx, y = symbols('x y')\n"
    "print(solve([Eq(x + y, 10), Eq(x - y, 2)], (x, y)))": "{x: 6, y: 4}",
    ALL + "factor(x**3 - x), expand((x + y)**2), diff(x**3, x), integrate(2*x, (x, 0, 3))":
        "(x*(x - 1)*(x + 1), x**2 + 2*x*y + y**2, 3*x**2, 9)",
    ALL + "limit(sin(x)/x, x, 0), summation(x, (x, 1, 100)), N(pi, 10), oo - 1":
        "(1, 5050, 3.141592654, oo)",
    ALL + "Matrix([[1, 2], [3, 4]]).det(), factorint(360), binomial(5, 2), gcd(12, 18)":
        "(-2, {2: 3, 3: 2, 5: 1}, 10, 6)",
    ALL + "solveset(x**2 - 5*x + 6 < 0, x, S.Reals)": "Interval.open(2, 3)",
    ALL + "print(latex(Rational(1, 2)))\npprint(x**2)": "\\frac{1}{2}\n 2\nx",
    ALL + "lambdify(x, x**2 + 1)(3), sympify('2*(x + 1)')": "(10, 2*x + 2)",
    "from sympy.parsing.sympy_parser import parse_expr\nparse_expr('x + x')": "2*x",
    "from sympy.stats import Die, P\nP(Die('D', 6) > 4)": "1/3",
    "from sympy.physics.units import convert_to, hour, minute\nconvert_to(2*hour, minute)":
        "120*minute",
    "from sympy.combinatorics import Permutation\nPermutation([1, 0, 2]).order()": "2",
    "from sympy import *\ninit_printing()\nsymbols('x')/2": "x\n─\n2",
}


def test_programs():
    for code, output in PROGRAMS.items():
        result = run_code(code)
        assert (result.output.rstrip(), result.error) == (output, None), code


def test_the_state_of_earlier_steps():
    first = "from sympy import *\nx = symbols('x')"
    assert run_code("print(solve(e))", history=[first, "e = 2*x - 6"]).output == "[3]\n"


ERRORS = {
    "from sympy import solve_it": "ImportError: cannot import name 'solve_it' from 'sympy'",
    "import sympy.solving": "ModuleNotFoundError: No module named 'sympy.solving'",
    "import sympy, numpy": "ImportError: no module 'numpy' in the sandbox",
    "import sympy, mpmath": "ImportError: no module 'mpmath' in the sandbox",
    ALL + "solve('x = 1 2')": "SympifyError: ",
    ALL + "solve('(' * 5000)": "SympifyError: ",
    ALL + "Matrix([[1, 2], [3]])": "ValueError: mismatched dimensions",
    ALL + "sympy.parsing.latex.parse_latex('x')": "ImportError: LaTeX parsing requires",
    ALL + "raise ValueError(symbols('x:500'))": "ValueError: (x0, x1, ",
    ALL + "print(factorial(3000))": "ValueError: Exceeds the limit (4300 digits)",
    ALL + "f = lambda n: f(n + x)\nf(x)": "RecursionError: ",
}


def test_errors_are_short():
    for code, error in ERRORS.items():
        output, found, _ = run_code(code)
        assert found.startswith(error) and len(found) < 220 and not output, (code, found)
        assert "site-packages" not in found


def test_long_output_is_cut():
    assert len(run_code(ALL + "print(symbols('x:500'))").output) < 520


# ------------------------------------------------------------------------------------- the servers


def test_a_program_s_time_is_its_own_and_every_server_says_the_same():
    """Loading sympy takes longer than this program may take."""
    code = ALL + """
print({x, y, None, sqrt(2)}, Dummy().dummy_index, randMatrix(3), solve,
      Point(0, 0).distance(Circle((0, 0), 2).random_point()), cse([sin(x) + 1, sin(x)]))"""
    start = time.monotonic()
    result = in_a_thread(lambda: run_code(code, timeout=0.4))
    assert result == run_code(code) and result.error is None
    assert time.monotonic() - start > 0.4 and "function solve at 0x...>" in result.output


def test_other_programs_have_a_server_without_it():
    run_code("import sympy")
    assert "no module 'sympy' in the sandbox" in run_code("__import__('sym' + 'py')").error
    assert sandbox._own.servers[False].process.pid != sandbox._own.servers[True].process.pid


SPOILERS = {
    "functions": "sympy.solve = sympy.solvers.solve = lambda *a, **k: 'spoilt'",
    "methods": "Basic.__str__ = lambda self: 'spoilt'\nAdd.__add__ = lambda *a: 0",
    "singletons": "type(S.Half).p = 7",
    "assumptions": "sympy.assumptions.assume.global_assumptions.add(Q.positive(x))",
    "evaluation": "evaluate(False).__enter__()",
    "printing": "Symbol._sympystr = lambda self, printer: 'spoilt'",
    "cache": "x._assumptions['zero'] = True\nx.is_zero",
    "counter": "Dummy()",
    "random numbers": "sympy.core.random.seed(7)",
    "all modules": "sympy.external.importtools.sys.modules.clear()",
}
PROBE = """
import sympy
from sympy import *
x, y = symbols('x y')
print(solve(x**2 - 4), Rational(1, 2).p, ask(Q.positive(x)), x + x, y**2 + x, x.is_zero)
print(Dummy().dummy_index, sympy.core.random.rng.random())
"""


def test_nothing_is_left_for_the_next_program():
    clean = run_code(PROBE)
    assert clean.output.startswith("[-2, 2] 1 None 2*x x + y**2 None\n")
    for name, spoiler in SPOILERS.items():
        assert run_code(PROBE, timeout=0.3, history=[ALL + spoiler]) != clean, name
    assert run_code(PROBE) == clean


# -------------------------------------------------------------------------------------- attacks

REFUSALS = ("PermissionError: [Errno ", "OSError: [Errno ", "BlockingIOError: [Errno ",
            "FileNotFoundError: [Errno 2] No usable temporary directory")
ATTACKS = {
    "sympify": "sympify(\"__import__('os').listdir('/')\")",
    "sympify opens": "sympify(\"open({path!r}).read()\")",
    "sympify starts": "sympify(\"__import__('subprocess').check_output('id')\")",
    "sympify forks": "sympify(\"__import__('os').fork()\")",
    "S": "S(\"solve.__globals__['__builtins__']['open']({path!r})\")",
    "parse_expr": "parse_expr(\"__import__('os').open({path!r}, 0)\")",
    "parse_expr, as it stands": "parse_expr(\"open({path!r})\", transformations=())",
    "arguments": "solve(\"__import__('os').listdir('/')\")",
    "lambdify": "lambdify(x, \"open({path!r}).read()\")(1)",
    "lambdify a symbol": "lambdify([], Symbol(\"__import__('os').listdir('/')\"))()",
    "preview": "preview(x, viewer='file', filename={new!r})",
    "preview, TeX": "preview(x, output='tex', viewer='file', filename={new!r})",
    "print_gtk": "print_gtk(x)",
    "external": "sympy.external.import_module('os').listdir('/')",
    "external, subprocess": "sympy.external.import_module('subprocess').run('id')",
    "os of a module": "sympy.external.gmpy.os.listdir('/')",
    "subprocess of a module": "sympy.testing.runtests.subprocess.check_output('id')",
    "builtins of a module": "sympy.parsing.sympy_parser.builtins.open({path!r})",
    "builtins of a function": "sympify.__globals__['__builtins__']['open']({path!r})",
    "runtests": "sympy.testing.runtests.run_in_subprocess_with_hash_randomization('solve')",
    "doctest": "sympy.doctest()",
    "code": "from sympy.utilities.codegen import codegen\n"
            "codegen(('f', x), 'C', 'f', to_files=True)",
    "autowrap": "from sympy.utilities.autowrap import autowrap\nautowrap(x)",
    "ufuncify": "from sympy.utilities.autowrap import ufuncify\nufuncify([x], x)",
    "compiler": "from sympy.utilities._compilation import compile_run_strings\n"
                "compile_run_strings([('a.c', 'int main(){{}}')])",
    "console": "from sympy.interactive.session import init_python_session\n"
               "eval(init_python_session().compile(\"open({path!r})\", '', 'eval'))",
}


def test_attacks_are_refused(tmp_path):
    secret, new = tmp_path / "secret", tmp_path / "new"
    secret.write_text(SECRET)
    for path in (secret, *secret.parents[:3]):
        path.chmod(0o777)  # so that only the walls forbid it
    for name, attack in ATTACKS.items():
        result = run_code(ALL + attack.format(path=str(secret), new=str(new)))
        assert result.error.startswith(REFUSALS) and not result.output, (name, result)
        assert SECRET not in result.error and not new.exists(), name
    shell = f"sympify(\"__import__('os').system('cp {secret} {new}')\") == 0"
    assert run_code(ALL + shell).output in ("False\n", "") and not new.exists()


REACH = """
modules, todo = {}, [sympy]
while todo:  # every module that some module holds, beginning with sympy
    module = todo.pop()
    modules[module.__name__] = module
    todo += [found for found in vars(module).values()
             if type(found) is type(sympy) and found.__name__ not in modules]
os, builtins, subprocess = modules["os"], modules["builtins"], modules["subprocess"]
ctypes, tempfile, shutil = modules["ctypes"], modules["tempfile"], modules["shutil"]
libc = ctypes.CDLL(None)
for attempt in (lambda: os.listdir("/"), lambda: os.open(PATH, 0), lambda: os.fork(),
                lambda: os.kill(os.getppid(), 9), lambda: os.execv("/bin/sh", ["sh"]),
                lambda: subprocess.run("id"), lambda: builtins.open(PATH).read(),
                lambda: shutil.copy(PATH, PATH + "2"), lambda: os.remove(PATH),
                lambda: tempfile.mkdtemp(dir="/tmp"), lambda: modules["socket"].socket()):
    try:
        print("passed:", attempt())
    except OSError as error:
        print(type(error).__name__)
print(libc.fork(), libc.open(PATH.encode(), 0), libc.socket(2, 1, 0), libc.kill(os.getppid(), 9))
print(sorted({"torch", "numpy", "site", "goat"} & modules["sys"].modules.keys()))
print(sorted(os.environ.keys() - {"LC_CTYPE"}))
"""


def test_the_modules_that_sympy_holds_lead_to_the_same_walls(tmp_path):
    path = tmp_path / "secret"
    path.write_text(SECRET)
    output, error, _ = run_code(f"{ALL}PATH = {str(path)!r}\n{REACH}", timeout=20)
    *attempts, calls, modules, names = output.splitlines()
    assert error is None and len(attempts) == 11
    assert set(attempts) <= {"PermissionError", "OSError", "BlockingIOError"}
    assert (calls, modules, names) == ("-1 -1 -1 -1", "[]", "['PYTHONHASHSEED']")
    assert path.read_text() == SECRET and len(list(tmp_path.iterdir())) == 1


BOMBS = ("factorial(10**9)", "Integer(9)**9**9**9", "sympify('9**9**9**9')", "fibonacci(10**10)",
         "expand((x + y)**100000)", "symbols('x:999999999')", "pi.evalf(10**9)",
         "Integer(1 << 10**11)", "Matrix([[x]*10**9])")


def test_bombs_are_stopped():
    for bomb in BOMBS:
        start = time.monotonic()
        result = run_code(ALL + bomb, timeout=0.2)
        assert result.error in ("TimeoutError: stopped after 0.2 s", "MemoryError"), (bomb, result)
        assert time.monotonic() - start < 4
