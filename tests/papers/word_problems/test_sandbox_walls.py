"""An attack on each wall of the sandbox, alone and together; none may pass.

    python -m pytest tests/papers/word_problems/test_sandbox_walls.py

The attacks do not ask the guest's `__import__`: they take `os` and `ctypes` from the interpreter's
own classes, as a hostile program would. An attack is made only where a wall stands that has to
stop it; where none does (macOS, old kernels), the loud report must name what is missing.
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from goat.errors import UserError
from goat.papers.word_problems import sandbox, sandbox_guest
from goat.papers.word_problems.sandbox import run_code
from support.runs import ROOT
from support.sandbox import in_a_thread, sandbox_is_right_and_quick

SECRET = "the label is 42"

# What escapes begin with: os, by way of the subclasses of object, and ctypes.
ESCAPE = """
wrap = next(c for c in ().__class__.__base__.__subclasses__() if c.__name__ == "_wrap_close")
sys = wrap.__init__.__globals__["sys"]
os, ctypes = sys.modules["os"], sys.modules["ctypes"]
libc = ctypes.CDLL(None)
def attempt(function, *arguments):
    try:
        return function(*arguments)
    except (OSError, RuntimeError, ValueError) as error:
        return type(error).__name__
"""


@pytest.fixture(autouse=True)
def next_run_is_right_and_quick():
    yield
    sandbox_is_right_and_quick()
    for server in sandbox._own.servers.values():
        assert children(server.process.pid) == []  # none is left behind


@pytest.fixture(params=["plain", "with sympy"])
def run(request):
    """`run_code` in the plain server, and in the one that has loaded sympy."""
    if request.param == "plain":
        return run_code
    if not sandbox.sympy_folders():
        pytest.skip("sympy is not installed")
    return lambda code, **how: run_code("import sympy\n" + code, **how)


@pytest.fixture
def ground():
    """A folder in which everybody may do everything, so that only the walls forbid it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        (folder / "secret").write_text(SECRET)
        (folder / "secret").chmod(0o666)
        yield folder


def children(pid):
    file = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in file.read_text().split()] if file.exists() else []


def stands(*names):
    """Whether one of these walls stands; if none does, the report must say so loudly."""
    found = sandbox.walls()
    if any(not found[name] for name in names):
        return True
    text = sandbox.report(found)
    assert "WARNING" in text and all(name in text for name in names)
    return False


# ------------------------------------------------------------------------------ together: attacks

READERS = {
    "open": "open({path!r}).read()",
    "os.open": ESCAPE + "os.read(os.open({path!r}, 0), 99)",
    "libc": ESCAPE + "buffer = ctypes.create_string_buffer(99)\n"
                     "libc.read(libc.open({path!r}.encode(), 0), buffer, 99), buffer.value",
    "raw call": ESCAPE + "libc.syscall(2, {path!r}.encode(), 0)",
    "io": ESCAPE + "sys.modules['io'].FileIO({path!r}).read()",
    "builtins of a frame": "def g(): yield\ng().gi_frame.f_builtins['open']({path!r}).read()",
    "frames of a traceback": "try: 1 / 0\nexcept Exception as e: f = e.__traceback__.tb_frame\n"
                             "while f.f_back: f = f.f_back\n"
                             "os = f.f_globals['os']\nos.read(os.open({path!r}, 0), 99)",
    "attribute of a module": "import random\nos = random._os\nos.read(os.open({path!r}, 0), 99)",
    "attrgetter": "import operator, random\nopener = operator.attrgetter('_os.open')(random)\n"
                  "opener({path!r}, 0)",
    "loader": ESCAPE + "type(sys.modules['json'].__loader__)('x', {path!r}).get_data({path!r})",
    "this process's memory": ESCAPE + "open('/proc/self/mem', 'rb').read(9)",
    "the folder": ESCAPE + "os.listdir(os.path.dirname({path!r}))",
}


@pytest.mark.parametrize("name", READERS)
def test_no_file_is_read(name, ground, run):
    if stands("limits", "landlock", "seccomp"):
        result = run(READERS[name].format(path=str(ground / "secret")))
        assert SECRET not in result.output and "secret'" not in result.output
        assert result.error or "-1" in result.output


WRITERS = {
    "open": "open({new!r}, 'w')",
    "append": "open({path!r}, 'a').write('x')",
    "truncate": "os.truncate({path!r}, 0)",
    "unlink": "os.unlink({path!r})",
    "rename": "os.rename({path!r}, {new!r})",
    "link": "os.symlink({path!r}, {new!r})",
    "mkdir": "os.mkdir({new!r})",
    "fifo": "os.mkfifo({new!r})",
    "mode": "os.chmod({path!r}, 0)",
    "here": "open('file', 'w')",
}


@pytest.mark.parametrize("name", WRITERS)
def test_no_file_is_written(name, ground, run):
    file = ground / "secret"
    if stands("landlock", "seccomp") if name != "mode" else stands("seccomp"):
        result = run(ESCAPE + WRITERS[name].format(path=str(file), new=str(ground / "new")))
        assert result.error.startswith(("PermissionError", "FileNotFoundError", "OSError"))
        assert os.listdir(ground) == ["secret"]
        assert file.read_text() == SECRET and file.stat().st_mode & 0o777 == 0o666


PROCESSES = {
    "fork": "attempt(os.fork)",
    "forkpty": "attempt(os.forkpty)",
    "spawn": "attempt(os.posix_spawn, '/bin/sh', ['sh', '-c', 'echo 1'], {})",
    "exec": "attempt(os.execv, '/bin/sh', ['sh', '-c', 'echo passed'])",
    "system": "os.system('exit 0') and -1",
    "thread": "attempt(sys.modules['_thread'].start_new_thread, print, ('passed',))",
    "C thread": "libc.pthread_create(ctypes.byref(ctypes.c_long()), None, libc.abs, None) and -1",
}


@pytest.mark.parametrize("name", PROCESSES)
def test_no_process_and_no_thread_is_started(name, run):
    if stands("seccomp"):
        result = run(ESCAPE + PROCESSES[name], timeout=2)
        assert re.fullmatch(r"'\w*Error'\n|-1\n", result.output), result


REFUSED = {  # C calls that return -1
    "socket": "libc.socket(2, 1, 0)",
    "local socket": "libc.socketpair(1, 1, 0, (ctypes.c_int * 2)())",
    "io_uring, which makes calls of its own": "libc.syscall(425, 8, bytes(120))",
    "signal": "libc.kill({victim}, 9)",
    "signal by thread": "libc.tgkill({victim}, {victim}, 9)",
    "handle of a process": "libc.syscall(434, {victim}, 0)",
    "debugging": "libc.ptrace(16, {victim}, 0, 0)",
    "memory of others": "libc.process_vm_readv({victim}, None, 0, None, 0, 0)",
    "priority": "libc.setpriority(0, 0, -20)",
    "root": "libc.setuid(0) if libc.getuid() else libc.setuid(12345)",
    "higher limits": "libc.setrlimit(7, (ctypes.c_long * 2)(99, 99))",
    "name space": "libc.unshare(0x10000000)",
    "mount": "libc.mount(b'none', b'/tmp', b'tmpfs', 0, None)",
    "program for the kernel": "libc.syscall(321 if sys.maxsize > 2 ** 32 else 0, 0, 0, 0)",
    "new folder": "libc.chdir(b'/')",
    "copy of a descriptor": "libc.dup(1)",
}


@pytest.mark.parametrize("name", REFUSED)
def test_the_kernel_refuses(name, run):
    if stands("seccomp"):
        victim = subprocess.Popen(["sleep", "60"])
        result = run(ESCAPE + REFUSED[name].format(victim=victim.pid))
        assert result.output == "-1\n" and victim.poll() is None
        victim.kill()
        victim.wait()


def test_nothing_is_inherited(monkeypatch):
    monkeypatch.setenv("GOAT_SECRET", SECRET)
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    code = ESCAPE + """
print(SECRET_WALK, sorted(os.environ.keys() - {"LC_CTYPE"}))  # Python adds LC_CTYPE itself
print([f for f in range(4, 300) if attempt(os.read, f, 0) != "OSError"
                                or attempt(os.write, f, b"") != "OSError"])
print(sys.modules.keys() & {"torch", "numpy", "goat", "site"}, attempt(os.getcwd))
""".replace("SECRET_WALK", "'GOAT_SECRET' in '{0.environ}'.format(os)")
    first, second, third = in_a_thread(lambda: run_code(code)).output.splitlines()
    assert first == "False ['PYTHONHASHSEED']" and second == "[]"
    assert third.startswith("set() ") and "Error" in third


def test_a_forged_reply_is_only_output():
    forged = '{"output": "forged", "error": null, "timed_out": false}'
    written = f"[os.write(fd, {forged.encode()!r} + b'\\n') for fd in (1, 3)]"
    result = run_code(f"{ESCAPE}{written}\n1 / 0")
    assert result.output == forged + "\n" and result.error != "forged" and result.error


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the 32-bit gate is x86's")
def test_the_32_bit_gate_is_closed():
    if stands("seccomp"):
        machine_code = b"\\xb8\\x14\\x00\\x00\\x00\\xcd\\x80\\xc3"  # getpid by int 0x80; return
        result = run_code(ESCAPE + f"""
libc.mmap.restype = ctypes.c_void_p
page = libc.mmap(None, 4096, 7, 0x22, -1, 0)
ctypes.memmove(page, b"{machine_code.decode()}", 8)
ctypes.CFUNCTYPE(ctypes.c_int)(page)()""")
        assert result.error in ("Killed: SIGSYS", "Killed: SIGSEGV") and result.output == ""


@pytest.mark.parametrize("code", [
    "x = [0] * 10 ** 10", "x = []\nwhile True: x.append(bytearray(10 ** 7))", "'x' * 10 ** 10"])
def test_memory_is_bounded(code):
    if stands("limits"):
        assert run_code(code, timeout=20).error == "MemoryError"


def test_signals_can_be_ignored_in_vain():
    code = ESCAPE + "[libc.signal(n, 1) for n in range(1, 65)]\nwhile True: pass"
    assert run_code(code, timeout=0.3).timed_out


# ------------------------------------------------------------------------------ alone: each wall

GUEST = "from goat.papers.word_problems import sandbox_guest as guest"
BUILD = {  # Landlock and seccomp ask that no privileges can be gained, where one is not root
    "user": "guest.wall_user()",
    "limits": "guest.wall_limits(5)",
    "landlock": "guest._prctl(38, 1)\nguest.wall_landlock()",
    "seccomp": "guest._prctl(38, 1)\nguest.wall_seccomp()"}


def behind(walls, code):
    """What `code` prints behind some of the walls, in a process of its own."""
    lines = ["import os, sys, threading", GUEST, *(BUILD[wall] for wall in walls), "try:",
             f"    {code}",
             "except (OSError, RuntimeError, MemoryError) as error:",
             "    print(type(error).__name__, error)"]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], cwd=ROOT, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
    return done.stdout.strip()


@pytest.mark.parametrize("wall, reason", [("limits", "Too many open files"),
                                          ("landlock", "Permission denied"),
                                          ("seccomp", "Operation not permitted")])
def test_each_of_three_walls_alone_keeps_files_closed(wall, reason, ground):
    if stands(wall):
        said = behind([wall], f"open({str(ground / 'secret')!r}).read()")
        assert reason in said and SECRET not in said


def test_limits_and_user_alone_stop_processes_and_growth(ground):
    if stands("limits"):
        walls = ["user", "limits"]
        assert behind(walls, "os.fork() or os._exit(0)").startswith("BlockingIOError")
        assert "start new thread" in behind(walls, "threading.Thread(target=print).start()")
        assert behind(["limits"], "bytearray(600 << 20)").startswith("MemoryError")
        (ground / "grown").touch()
        code = f"file = open({str(ground / 'grown')!r}, 'wb', 0); guest.wall_limits(5); " \
               "file.write(b'x')"
        assert "File too large" in behind([], code)


def test_the_cpu_limit_holds_without_the_server():
    code = f"{GUEST}\nguest.wall_limits(-1)\nwhile True: pass"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60)  # one second
    assert -done.returncode in (signal.SIGKILL, signal.SIGXCPU)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives up its user")
def test_user_alone_stops_signals():
    said = behind(["user"], "print(os.getresuid(), os.getgroups()); os.kill(os.getppid(), 0)")
    assert said.startswith("(65534, 65534, 65534) []") and "PermissionError" in said


def test_a_guest_seen_from_outside_dies_with_its_server():
    if not sandbox.walls()["privileges"]:
        servers, results = [], []

        def endless():
            servers.append(sandbox._server().process.pid)
            results.append(run_code("while True: pass", timeout=20))

        thread = threading.Thread(target=endless)
        thread.start()
        while not (servers and children(servers[0])):
            time.sleep(0.01)
        guest = children(servers[0])[0]
        time.sleep(0.2)
        status = dict(re.findall(r"(\w+):\s*(.*)", Path(f"/proc/{guest}/status").read_text()))
        limits = Path(f"/proc/{guest}/limits").read_text()
        os.kill(servers[0], signal.SIGKILL)
        thread.join()
        assert status["NoNewPrivs"] == "1" and int(status["CapEff"], 16) == 0
        assert status["Threads"] == "1" and not status["Uid"].startswith("0\t")
        assert sandbox.walls()["seccomp"] or status["Seccomp"] == "2"
        assert re.search(r"Max open files +0 +0 ", limits)
        assert re.search(r"Max processes +0 +0 ", limits)
        assert results[0].error.startswith("SandboxError")
        deadline = time.monotonic() + 5
        while Path(f"/proc/{guest}").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not Path(f"/proc/{guest}").exists()


# ------------------------------------------------------------------- the filter, and the report


def decide(program, call, architecture):
    """What the kernel would answer: the four instructions that the filter consists of."""
    position, accumulator = 0, None
    while True:
        opcode, if_true, if_false, operand = program[position]
        if opcode == 0x06:
            return operand
        if opcode == 0x20:
            accumulator = {0: call, 4: architecture}[operand]
        elif opcode == 0x15:
            position += if_true if accumulator == operand else if_false
        position += 1


@pytest.mark.parametrize("machine, column, header", [
    ("x86_64", 0, "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    ("aarch64", 1, "/usr/include/asm-generic/unistd.h")])
def test_the_filter_allows_the_table_and_nothing_else(machine, column, header):
    program = sandbox_guest.filter_program(machine)
    architecture = sandbox_guest.MACHINES[machine][1]
    allowed = {call for call in range(1000) if decide(program, call, architecture) == 0x7FFF0000}
    assert allowed == {numbers[column] for numbers in sandbox_guest.SYSTEM_CALLS.values()} - {-1}
    assert decide(program, 500, architecture) == 0x00050001  # EPERM
    assert decide(program, 0x40000000, architecture) == 0x00050001  # the x32 calls
    assert decide(program, 1, architecture ^ 1) == 0x80000000  # kill
    if Path(header).is_file():
        names = dict(re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", Path(header).read_text()))
        for name, numbers in sandbox_guest.SYSTEM_CALLS.items():
            assert int(names.get(name, -1)) == numbers[column], name
    with pytest.raises(OSError, match="riscv64"):
        sandbox_guest.filter_program("riscv64")


def test_the_report_is_loud_where_a_wall_is_missing():
    assert sandbox.report({"user": "", "limits": ""}) == "sandbox: all 2 walls stand: user, limits"
    text = sandbox.report({"user": "", "landlock": "Function not implemented"})
    assert "WARNING" in text and "1 of 2" in text and "landlock (Function not implemented)" in text


def test_the_report_comes_once():
    code = "from goat.papers.word_problems.sandbox import run_code\nrun_code('1')\nrun_code('2')"
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert said.stderr.strip() == sandbox.report(sandbox.walls()) and said.stdout == ""


def test_missing_walls_are_found_and_fallen_ones_stop_the_guest():
    code = """
import json, os, random
from goat.papers.word_problems import sandbox_guest as guest
def missing(*_): raise OSError(38, "Function not implemented")
guest.NOTHING, guest.wall_seccomp = os.open(os.devnull, os.O_RDWR), missing
found = json.loads(guest.supervise([], 10, None)["error"])
print(found["seccomp"], "|", guest.supervise(["print(1)"], 10, found)["output"].strip(), "|",
      guest.supervise(["print(1)"], 10, {**found, "seccomp": ""}))"""
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    reason, works, refused = said.stdout.split(" | ")
    assert reason == "Function not implemented" and works == "1"
    assert "SandboxError" in refused and "'output': ''" in refused


def test_windows_is_refused(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(os, "name", "nt")
        with pytest.raises(UserError, match="WSL"):
            sandbox.Server()
