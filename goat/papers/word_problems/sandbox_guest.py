"""The inside of the sandbox: a clean interpreter that forks a locked-down child per program.

sandbox.py starts this file in a process of its own: next to no environment, no site-packages,
no torch, an empty folder. It imports what guests may use, once, and then answers requests: for each
it forks a child, the child builds the walls around itself, runs the code and dies. Forking a small
process takes a few milliseconds, starting an interpreter more than ten.

The guest's code runs only in such a child, behind these walls. They overlap, so that a hole in one
is covered by another:

    user        root becomes nobody: it cannot signal anyone, and the limit on processes binds it
    limits      no new file descriptor (so no file or socket is opened), no new process, no file
                growth, bounded memory and CPU time
    privileges  none gained by exec; killed when the server dies; closed to debuggers
    landlock    the kernel refuses all paths (Linux >= 5.13), TCP ports (6.7) and signals to the
                outside (6.12)
    seccomp     the kernel refuses every system call that arithmetic does not need

The last three are Linux's, set by raw system calls: prctl(2), landlock(7), seccomp(2). The guest's
`__import__` is no wall but a clear message; the tests walk around it, also by way of sympy, where
that is loaded (sandbox_sympy.py). What the walls do not stop: bugs of the kernel and measurements
of time. For hostile users take a virtual machine.
"""

import ast
import builtins
import contextlib
import ctypes
import gc
import importlib
import json
import os
import resource
import select
import signal
import struct
import sys
import time
import types
from typing import Any

MODULES = ("bisect", "calendar", "cmath", "collections", "copy", "dataclasses", "datetime",
           "decimal", "enum", "fractions", "functools", "heapq", "itertools", "json", "math",
           "numbers", "operator", "random", "re", "statistics", "string", "time", "typing")
LAZY = ("_strptime", "unicodedata")  # what the above, or a "\N{...}", import only when they need it
MEMORY = 512 << 20  # bytes of address space
MOST_OUTPUT = 1 << 16  # bytes; a guest that prints more is stopped
NOBODY = 65534
SEED = 0
SERVER = os.getpid()  # its children see this number too

# ----------------------------------------------------------------------------------- the walls

LIBC = ctypes.CDLL(None, use_errno=True)


def _call(function, *arguments) -> int:
    """Call a C function that returns -1 on failure; raises OSError with the reason."""
    if sys.platform != "linux":
        raise OSError(0, "needs Linux")
    result = function(*(ctypes.c_long(a) if isinstance(a, int) else a for a in arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def _prctl(option: int, value: int, pointer=0) -> None:
    _call(LIBC.prctl, option, value, pointer, 0, 0)


def wall_user() -> None:
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)


def wall_privileges() -> None:
    PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS = 1, 4, 38
    _prctl(PR_SET_NO_NEW_PRIVS, 1)
    _prctl(PR_SET_DUMPABLE, 0)
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # after the change of user, which would clear it
    if os.getppid() != SERVER:  # it died before it could take this child along
        os._exit(1)


def wall_landlock() -> None:
    """Handle every right that the kernel knows and allow none: no path can be opened or changed."""
    CREATE_RULESET, RESTRICT_SELF, VERSION = 444, 446, 1
    abi = _call(LIBC.syscall, CREATE_RULESET, None, 0, VERSION)
    file_rights = {1: 13, 2: 14, 3: 15, 4: 15}.get(abi, 16)  # number of rights of each version
    rights = struct.pack("=QQQ", (1 << file_rights) - 1, 0b11 if abi >= 4 else 0,  # bind, connect
                         0b11 if abi >= 6 else 0)  # abstract sockets, signals
    size = 8 if abi < 4 else 16 if abi < 6 else 24
    ruleset = _call(LIBC.syscall, CREATE_RULESET, ctypes.c_char_p(rights), size, 0)
    _call(LIBC.syscall, RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)


# The system calls that arithmetic needs, by name: (x86-64, arm64), -1 where there is none. Source:
# the kernel's asm/unistd_64.h and asm-generic/unistd.h.
SYSTEM_CALLS = {
    "read": (0, 63), "write": (1, 64), "close": (3, 57), "fstat": (5, 80), "lseek": (8, 62),
    "mmap": (9, 222), "mprotect": (10, 226), "munmap": (11, 215), "brk": (12, 214),
    "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139),
    "sched_yield": (24, 124), "mremap": (25, 216), "madvise": (28, 233), "nanosleep": (35, 101),
    "getpid": (39, 172), "exit": (60, 93), "gettimeofday": (96, 169), "sigaltstack": (131, 132),
    "time": (201, -1), "futex": (202, 98), "sched_getaffinity": (204, 123),
    "restart_syscall": (219, 128), "clock_gettime": (228, 113), "clock_getres": (229, 114),
    "clock_nanosleep": (230, 115), "exit_group": (231, 94), "getrandom": (318, 278),
    "rseq": (334, 293)}
MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}


def filter_program(machine: str) -> list[tuple[int, int, int, int]]:
    """The filter: allow the listed calls, refuse others with EPERM, kill foreign architectures.

    It is a program of the classic Berkeley Packet Filter, run by the kernel at each call over
    (32 bits of call number, 32 bits of architecture, ...). An instruction is (opcode, how many to
    skip if true, if false, operand).
    """
    if machine not in MACHINES:
        raise OSError(0, f"no table of system calls for {machine}")
    column, architecture = MACHINES[machine]
    LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
    ALLOW, REFUSE, KILL = 0x7FFF0000, 0x00050001, 0x80000000
    calls = [numbers[column] for numbers in SYSTEM_CALLS.values() if numbers[column] >= 0]
    return [(LOAD, 0, 0, 4), (EQUAL, 1, 0, architecture), (RETURN, 0, 0, KILL), (LOAD, 0, 0, 0),
            *((EQUAL, len(calls) - i, 0, call) for i, call in enumerate(calls)),
            (RETURN, 0, 0, REFUSE), (RETURN, 0, 0, ALLOW)]


def wall_seccomp() -> None:
    program = [struct.pack("=HBBI", *line) for line in filter_program(os.uname().machine)]
    code = ctypes.create_string_buffer(b"".join(program))
    header = struct.pack("@HP", len(program), ctypes.addressof(code))
    PR_SET_SECCOMP, MODE_FILTER = 22, 2
    _prctl(PR_SET_SECCOMP, MODE_FILTER, ctypes.c_char_p(header))


def wall_limits(seconds: float) -> None:
    """Set each limit for good, soft = hard; OSError names those that the system does not have. The
    deadline ends a guest before its CPU time does, unless the server is gone."""
    limits = {"CPU": int(seconds) + 2, "AS": MEMORY, "FSIZE": 0, "NOFILE": 0, "NPROC": 0, "CORE": 0}
    failed = []
    for name, value in limits.items():
        try:
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value))
        except (AttributeError, ValueError, OSError):
            failed.append(name)
    if failed:
        raise OSError(0, "cannot limit " + ", ".join(failed))


def build_walls(seconds: float) -> dict[str, str]:
    """Lock this process up for good; {wall: why it does not stand, "" where it does}. The order
    matters: Landlock needs a file descriptor before the limits forbid them, and the system calls
    that build the others are forbidden by seccomp, the last."""
    walls = {"user": wall_user, "privileges": wall_privileges, "landlock": wall_landlock,
             "limits": lambda: wall_limits(seconds), "seccomp": wall_seccomp}
    found = {}
    for name, build in walls.items():
        try:
            build()
            found[name] = ""
        except (OSError, AttributeError) as error:  # no such call in this system's C library
            found[name] = getattr(error, "strerror", None) or str(error)
    return found


# ----------------------------------------------------------------------------------- the guest

REPORT = 3  # the file descriptor on which a child says how the code ended


def run_snippets(snippets: list[str], shown, silent) -> str:
    """Run the snippets one after another in one namespace; the last one's error, "" for none. What
    the earlier ones print goes to `silent`: they rebuild the state of earlier steps, which is exact
    because the seed of `random` is fixed."""
    module = types.ModuleType("__main__")
    vars(module)["__builtins__"] = {**vars(builtins), "__import__": _import}
    sys.modules["__main__"] = module
    sys.modules["random"].seed(SEED)
    sys.stdout = silent
    for snippet in snippets[:-1]:
        run_snippet(snippet, vars(module))
    sys.stdout = shown
    return run_snippet(snippets[-1], vars(module))


def run_snippet(code: str, namespace: dict) -> str:
    """Execute as the interactive interpreter does, which shows the value of a last expression."""
    try:
        tree = ast.parse(code)
        ending = [tree.body.pop()] if tree.body and isinstance(tree.body[-1], ast.Expr) else []
        exec(compile(tree, "<code>", "exec"), namespace)
        exec(compile(ast.Interactive(ending), "<code>", "single"), namespace)
        return ""
    except SystemExit as end:
        return "" if end.code in (None, 0) else f"SystemExit: {end.code}"
    except BaseException as error:  # whatever else a guest raises is its result, not our failure
        return f"{type(error).__name__}: {error}".removesuffix(": ")


def _import(name, scope=None, local=None, wanted=(), level=0):
    top = name.partition(".")[0]
    if top not in MODULES + LAZY and (top != "sympy" or top not in sys.modules):
        raise ImportError(f"no module {name!r} in the sandbox")
    module = importlib.__import__(name, scope, local, wanted, level)
    for attribute in wanted or ():
        if attribute != "*" and not hasattr(module, attribute):  # Python would tell the file's path
            raise ImportError(f"cannot import name {attribute!r} from {name!r}")
    return module


def be_guest(snippets: list[str], seconds: float, standing: dict[str, str] | None, output: int,
             report: int) -> None:
    """The life of a child, see `supervise`. Its descriptors: 0, 2 nothing, 1 output, 3 report."""
    try:
        os.setsid()
        for target, source in ((0, NOTHING), (1, output), (2, NOTHING), (REPORT, report)):
            os.dup2(source, target)
        os.closerange(REPORT + 1, 256)
        text: dict[str, Any] = dict(encoding="utf-8", errors="backslashreplace", closefd=False)
        sys.stdin = open(0, **text)  # noqa: SIM115 (these stay open until the child dies)
        shown, silent = open(1, "w", buffering=1, **text), open(2, "w", **text)  # noqa: SIM115
        found = build_walls(seconds)
        if standing is None:
            error = json.dumps(found)
        elif found == standing:
            error = run_snippets(snippets, shown, silent)
            shown.flush()
        else:
            error = "SandboxError: a wall that stood at the start does not stand now"
        os.write(REPORT, b"\n" + error.encode("utf-8", "backslashreplace"))
    finally:
        os._exit(0)  # never back into the server's loop, whatever happened


# ---------------------------------------------------------------------------------- the server

def supervise(snippets: list[str], timeout: float, standing: dict[str, str] | None) -> dict:
    """Run the snippets in a child that is dead when this returns; what came of it, as a reply.
    Nothing is run unless the child's walls are the `standing` ones. Where these are not known yet
    (None), the reply's error is what `build_walls` found."""
    output, output_end = os.pipe()
    report, report_end = os.pipe()
    child = os.fork()
    if child == 0:
        be_guest(snippets, timeout, standing, output_end, report_end)
    os.close(output_end)
    os.close(report_end)
    texts = {output: bytearray(), report: bytearray()}
    stopped = watch(texts, time.monotonic() + timeout)
    status = end(child)
    for pipe in texts:
        os.close(pipe)
    printed, said = (text.decode("utf-8", "replace") for text in texts.values())
    if stopped == "time":
        error = f"TimeoutError: stopped after {timeout:g} s"
    elif stopped == "flood":
        error = f"OutputError: stopped after {MOST_OUTPUT:,} bytes of output"
    elif said.startswith("\n"):
        error = said[1:]
    elif os.WIFSIGNALED(status):
        error = f"Killed: {signal.Signals(os.WTERMSIG(status)).name}"
    else:
        error = "SystemExit: the process ended itself"
    return {"output": printed, "error": error or None, "timed_out": stopped == "time"}


def watch(texts: dict[int, bytearray], deadline: float) -> str:
    """Read the pipes until all are closed (""), the deadline is over ("time") or one overflows
    ("flood"). No alarm signals: they wait for the end of a long C call, and guests catch them."""
    live = list(texts)
    while live:
        left = deadline - time.monotonic()
        ready = select.select(live, [], [], left)[0] if left > 0 else []
        if not ready:
            return "time"
        for pipe in ready:
            data = os.read(pipe, MOST_OUTPUT)
            texts[pipe] += data
            if not data:
                live.remove(pipe)
            elif len(texts[pipe]) > MOST_OUTPUT:
                return "flood"
    return ""


def end(child: int) -> int:
    """Kill a child with its whole process group, wait for it and return its status."""
    for kill in (os.killpg, os.kill):  # the second for a child that has not made its group yet
        with contextlib.suppress(ProcessLookupError, PermissionError):  # it ended before
            kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


def serve() -> None:
    """Tell which walls stand, then answer requests, a line of JSON each, until stdin closes."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # the parent is gone: end without a word
    for name in (*MODULES, *LAZY):
        importlib.import_module(name)
    standing = json.loads(supervise([], 10, None)["error"])
    gc.freeze()  # keeps the collector from touching, and so copying, the pages of the server
    print(json.dumps(standing), flush=True)
    for line in iter(sys.stdin.buffer.readline, b""):
        request = json.loads(line)
        print(json.dumps(supervise(request["snippets"], request["timeout"], standing)), flush=True)


if __name__ == "__main__":
    NOTHING = os.open(os.devnull, os.O_RDWR)
    serve()
