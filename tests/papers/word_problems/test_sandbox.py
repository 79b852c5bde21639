"""The sandbox from a user's side: results, state, time and size. Its walls: test_sandbox_walls.py.

    python -m pytest tests/papers/word_problems/test_sandbox.py
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from goat.errors import UserError
from goat.papers.word_problems import sandbox, sandbox_guest
from goat.papers.word_problems.format import FINAL, TAGS, final_answer
from goat.papers.word_problems.sandbox import Run, run_code
from support.runs import ROOT
from support.sandbox import in_a_thread, sandbox_is_right_and_quick


@pytest.fixture(autouse=True)
def next_run_is_right_and_quick():
    yield
    sandbox_is_right_and_quick()


def test_a_python_that_needs_its_library_path_can_start(tmp_path, monkeypatch):
    """As those of environment modules do; a stand-in, which sees nothing else of our environment
    (see also test_nothing_is_inherited)."""
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\n[ "$LD_LIBRARY_PATH$GOAT_SECRET" = /some/lib ] || exit 127\n'
                      f'exec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    monkeypatch.setenv("LD_LIBRARY_PATH", "/some/lib")
    monkeypatch.setenv("GOAT_SECRET", "x")
    monkeypatch.setattr(sys, "executable", str(python))
    assert in_a_thread(lambda: run_code("6 * 7")) == ("42\n", None, False)
    monkeypatch.delenv("LD_LIBRARY_PATH")
    with pytest.raises(UserError, match="could not be started"):
        sandbox.Server()


def test_without_sympy_its_import_fails(tmp_path, monkeypatch, capfd):
    """Where it is not installed, or cannot be loaded, which is said."""
    monkeypatch.setitem(sys.modules, "sympy", None)
    assert sandbox.sympy_folders() == {}
    wanted = Run("7\n", "ImportError: no module 'sympy' in the sandbox", False)
    assert in_a_thread(lambda: run_code("print(7)\nimport sympy")) == wanted
    for name in ("mpmath", "sympy"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("1 / 0")
    monkeypatch.undo()
    monkeypatch.setattr(sandbox, "sympy_folders", lambda: {"mpmath": str(tmp_path)})
    assert in_a_thread(lambda: run_code("print(7)\nimport sympy")) == wanted
    assert "sandbox: sympy cannot be loaded: ZeroDivisionError" in capfd.readouterr().err


# ------------------------------------------------------------------------------------- results


def test_output_and_last_value():
    assert run_code("x = 6 * 7\nprint('x is', x)\nx / 2") == ("x is 42\n21.0\n", None, False)
    assert run_code("'a'").output == "'a'\n"
    assert run_code("None").output == run_code("x = 1").output == run_code("").output == ""
    assert run_code("if True:\n    1").output == ""  # a statement, no bare expression


def test_errors_are_one_line_and_keep_the_output():
    assert run_code("print(1)\n1 / 0") == ("1\n", "ZeroDivisionError: division by zero", False)
    assert run_code("assert False").error == "AssertionError"
    assert run_code("x = = 1").error.startswith("SyntaxError: ")
    assert run_code("def f(): return f()\nf()").error.startswith("RecursionError: ")
    assert run_code("input()").error.startswith("EOFError")
    assert run_code("import os").error == "ImportError: no module 'os' in the sandbox"
    assert run_code("from json import x").error == "ImportError: cannot import name 'x' from 'json'"
    assert run_code("\ud800").error and run_code("\0").error  # no source code
    assert run_code("class E(Exception):\n    def __str__(self): 1 / 0\nraise E").error


def test_exit_calls_end_the_guest_only():
    assert run_code("print(1)\nraise SystemExit") == ("1\n", None, False)
    assert run_code("raise SystemExit(3)").error == "SystemExit: 3"
    ended = run_code("import random\nrandom._os._exit(0)")
    assert ended.error == "SystemExit: the process ended itself"
    assert run_code("import random\nrandom._os.abort()").error.startswith("Killed: SIG")


def test_what_was_stopped_leaves_no_state():
    for code in ("while 1: pass", "while 1: print('x' * 99)", "import random\nrandom._os.abort()",
                 "import random\nrandom._os._exit(0)", "x" * 100_001):
        assert run_code(code, timeout=0.5).stopped, code
    for code in ("1", "1 / 0", "raise SystemExit(3)", "raise TimeoutError('of mine')"):
        assert not run_code(code).stopped, code


def test_modules_and_main():
    code = ("import math, random, statistics, fractions\nfrom datetime import datetime\n"
            "datetime.strptime('2024', '%Y').year, math.gcd(12, 18), '\\N{BULLET}'")
    assert run_code(code).output == "(2024, 6, '•')\n"
    assert run_code("\n".join(f"import {module}" for module in sandbox_guest.MODULES)).error is None
    assert run_code("if __name__ == '__main__':\n    print(1)").output == "1\n"


# --------------------------------------------------------------------------------------- state


def test_history_rebuilds_the_state_silently():
    first = "import random\nx = random.random()\nprint('first')"
    assert run_code("print(x == y)", history=[first, "y = x\n1 / 0"]).output == "True\n"
    draw = "random.random()"
    assert run_code(draw, history=[first, draw]) == run_code(draw, history=[first, draw])
    assert run_code(draw, history=[first, draw]) != run_code(draw, history=[first])
    assert run_code("x").error == "NameError: name 'x' is not defined"  # nothing stays behind
    assert run_code("x", timeout=0.4, history=["while True: pass"]).timed_out


def test_sets_have_the_same_order_in_every_server():
    code = "print({'pear', 'plum', 'fig', 'lime', 'kiwi'})"
    assert in_a_thread(lambda: run_code(code)) == run_code(code)


def test_a_fork_and_an_interruption_do_not_mix_up_the_replies():
    run_code("1")
    child = os.fork()
    if child == 0:
        os._exit(run_code("print('child')").output != "child\n")
    assert run_code("print('parent')").output == "parent\n"
    assert os.waitpid(child, 0)[1] == 0

    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    with pytest.raises(KeyboardInterrupt):
        run_code("import time\ntime.sleep(1)\nprint('late')")
    signal.signal(signal.SIGALRM, before)
    assert run_code("print('next')").output == "next\n"


def test_a_dead_server_is_replaced():
    run_code("1")
    os.kill(sandbox._server().process.pid, signal.SIGKILL)
    assert run_code("1").error.startswith("SandboxError")
    assert run_code("1").output == "1\n"


@pytest.mark.parametrize("size", [1, 90_000])
def test_a_server_that_does_not_answer_is_replaced(monkeypatch, size):
    run_code("1")
    monkeypatch.setattr(sandbox, "GRACE", 0.2)
    server = sandbox._server().process.pid
    os.kill(server, signal.SIGSTOP)
    code = "#" * size  # a pipe takes 64 KB of it
    assert run_code(code, timeout=0.2).error.startswith("SandboxError")
    monkeypatch.undo()
    assert run_code("1").output == "1\n" and not alive(server)


def test_nothing_is_left_when_the_parent_is_killed():
    code = ("from goat.papers.word_problems import sandbox\nsandbox.walls()\n"
            "print(sandbox._server().process.pid, flush=True)\n"
            "sandbox.run_code('while True: pass', timeout=1)")
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True)
    group = int(parent.stdout.readline())
    time.sleep(0.2)
    parent.kill()
    parent.communicate()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and alive(group):
        time.sleep(0.05)
    assert not alive(group)


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")  # a zombie that nobody waits for is dead enough
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"


# -------------------------------------------------------------------------------- time and size

ENDLESS = {
    "loop": "while True: pass",
    "catches everything": "while True:\n    try:\n        while True: pass\n"
                          "    except BaseException: pass",
    "one C call": "9 ** 9 ** 9",
    "another C call": "sum(range(10 ** 18))",
    "regular expression": "import re\nre.match('(a+)+$', 'a' * 40 + 'b')",
    "sleep": "import time\ntime.sleep(1000)",
    "trickle": "import time\nwhile True:\n    print(1)\n    time.sleep(0.01)",
}


@pytest.mark.parametrize("name", ENDLESS)
def test_endless_code_is_stopped_in_time(name):
    start = time.monotonic()
    result = run_code("print('begun')\n" + ENDLESS[name], timeout=0.4)
    assert result.timed_out and result.error == "TimeoutError: stopped after 0.4 s"
    assert result.output.startswith("begun\n")
    assert time.monotonic() - start < 4


@pytest.mark.parametrize("code", ["while True: print('spam' * 1000)", "print('x' * 10 ** 8)",
                                  "raise ValueError('x' * 10 ** 7)"])
def test_floods_end_at_once(code):
    start = time.monotonic()
    result = run_code(code, timeout=20)
    assert result.error.startswith("OutputError") and not result.timed_out
    assert len(result.output) < 520
    assert time.monotonic() - start < 8


def test_long_output_and_code_are_cut():
    result = run_code("print('a' * 300)\nprint('b' * 300)")
    assert result.error is None and len(result.output) < 520
    assert result.output.startswith("aaa") and result.output.endswith("bbb\n")
    assert len(run_code("raise ValueError('x' * 5000)").error) < 220
    assert run_code("#" * 60_000, history=["#" * 60_000]).error.startswith("CodeError")
    for timeout in (0, -1, float("nan"), float("inf")):
        with pytest.raises(UserError, match="positive"):
            run_code("1", timeout=timeout)


# ------------------------------------------------------------------------------ what comes back


@pytest.mark.parametrize("text", [*TAGS, FINAL, "</s>", "<s>", "<|endoftext|>", "</OUTPUT>",
                                  "final  answer :", "Final\u2581Answer:", "Final\xa0Answer:"])
def test_reserved_texts_cannot_come_back(text):
    result = run_code(f"print({text!r} + ' 7')\nraise ValueError({text!r})")
    for got in (result.output, result.error):
        assert not any(word.lower() in got.lower() for word in (*TAGS, FINAL, "</s>", "<s>", "<|"))
        assert final_answer(got) is None
    assert "7" in result.output  # harmless, yet still to be read


def test_addresses_do_not_come_back():
    shown = "<object object at 0x...> 0x3b9aca00\n"
    assert run_code("print(object(), hex(10 ** 9))").output == shown


def test_control_characters_cannot_come_back():
    output = run_code(r"print('a\x1b[31m\x00\u202e\u200b\rb\n\tc', chr(0xd800))").output
    assert output == "a?[31m??? b\n\tc \\ud800\n"
