"""Runs a model's Python where it can do no harm: `run_code(code, timeout=5)`.

    >>> run_code("x = 6 * 7\\nprint('x is', x)\\nx / 2")
    Run(output='x is 42\\n21.0\\n', error=None, timed_out=False)

This is the outside. It keeps one server process per thread (sandbox_guest.py), which forks a
locked-down child for every program; read there which walls stand around it. Here the server is
started clean, a server that does not answer is killed, and what comes back from a guest is made
harmless: cut to size, and unable to pass for the model's own tags, its final answer or the end of
a text. Which walls stand is reported once, on standard error.

The first program that names sympy starts a second server, which loads it (sandbox_sympy.py), and
takes all that name it; the walls are the same. The load is not counted as a program's time.

State across steps: `run_code(code, history=[first, second])` runs the earlier snippets again before
`code`, with their output discarded and a fixed seed for `random` (as MARIO's tool does, Liao et
al. 2024, arXiv 2401.08190): nothing has to stay alive between two steps of one problem.
"""

import contextlib
import importlib.util
import json
import os
import re
import select
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from goat.errors import UserError
from goat.papers.word_problems.format import FENCE, FINAL, TAGS

SHOWN_OUTPUT = 500  # characters of output that come back, half from its head, half from its tail
SHOWN_ERROR = 200
LONGEST_CODE = 100_000  # characters, history included
# How the errors of programs begin that were stopped, killed or never begun.
STOPPED = ("TimeoutError: stopped", "OutputError: stopped", "Killed: ", "CodeError: ",
           "SandboxError: ", "SystemExit: the process ended itself")
# Where the system's loader looks for libraries; some Pythons (modules, conda) cannot start without.
LIBRARIES = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH",
             "DYLD_FRAMEWORK_PATH", "DYLD_FALLBACK_FRAMEWORK_PATH")
GRACE = 10.0  # seconds past the deadline after which the server itself counts as stuck


class Run(NamedTuple):
    """What a program did."""

    output: str  # all that it printed, and the value of a last bare expression, cut to size
    error: str | None  # "ZeroDivisionError: division by zero"; None where all went well
    timed_out: bool

    @property
    def stopped(self) -> bool:
        """Whether it did not come to an end of its own, and so leaves no state to build on."""
        return (self.error or "").startswith(STOPPED)


def run_code(code: str, timeout: float = 5, history: Sequence[str] = ()) -> Run:
    """Run a program in the sandbox, after the snippets of `history`, for `timeout` seconds at most.

    Never raises for anything that the code does: its errors are in the result, its process is
    gone. Raises UserError where there can be no sandbox (Windows) and for a timeout that is not
    positive or of a million seconds.
    """
    if not 0 < timeout < 1e6:
        raise UserError(f"timeout={timeout}: give a positive number of seconds, below a million")
    snippets = [*history, code]
    if sum(map(len, snippets)) > LONGEST_CODE:
        return Run("", f"CodeError: more than {LONGEST_CODE:,} characters of code", False)
    server = _server(sympy=any(map(_NAMES_SYMPY.search, snippets)))
    reply = server.ask({"snippets": snippets, "timeout": timeout}, timeout + GRACE)
    if reply is None:
        return Run("", "SandboxError: the sandbox broke down; the next run gets a new one", False)
    error = reply["error"] and harmless(reply["error"], SHOWN_ERROR)
    return Run(harmless(reply["output"], SHOWN_OUTPUT), error, reply["timed_out"])


def walls() -> dict[str, str]:
    """The walls around every guest on this system: {name: why it is missing, "" if it stands}."""
    return dict(_server().walls)


def report(standing: dict[str, str]) -> str:
    """The lines that tell which walls stand."""
    missing = [f"{name} ({why})" for name, why in standing.items() if why]
    if not missing:
        return f"sandbox: all {len(standing)} walls stand: {', '.join(standing)}"
    return (f"sandbox: WARNING: {len(missing)} of {len(standing)} walls are MISSING here: "
            f"{'; '.join(missing)}\nsandbox: the code of a model is held by the others only. Run "
            "no model that you do not trust, or use Linux 5.13 or later")


# Texts that only the model itself may write: tags, fences, the final answer, ends of a text.
_RESERVED = re.compile("|".join((
    *map(re.escape, TAGS), FENCE, "</?s>", r"<\|[^<>|]*\|>",
    r"\s+".join(FINAL.removesuffix(":").split()) + r"\s*:")), re.IGNORECASE)
_BLUNT = str.maketrans("<>:`", "[];'")
_ADDRESS = re.compile(r"(?<= at )0x[0-9a-f]{6,}")


def harmless(text: str, most: int) -> str:
    """`text` cut to about `most` characters, without control characters and reserved texts.
    "<output>" becomes "[output]", "Final Answer:" becomes "Final Answer;". The sign that
    SentencePiece takes for a space becomes one, so that it cannot hide a reserved text. The address
    of an object, "at 0x7f21...", differs from server to server and becomes "at 0x..."."""
    text = _ADDRESS.sub("0x...", text)
    if len(text) > most:
        text = f"{text[:most // 2]} ... {text[-(most // 2):]}"
    text = "".join(c if c.isprintable() or c in "\n\t" else " " if c.isspace() else "?"
                   for c in text.replace("\u2581", " "))
    return _RESERVED.sub(lambda match: match[0].translate(_BLUNT), text)


def sympy_folders() -> dict[str, str]:
    """Where mpmath and sympy, which needs it, are installed: {name: folder}; {} if one is not."""
    specs = {name: importlib.util.find_spec(name) for name in ("mpmath", "sympy")}
    found = {name: str(Path(spec.origin).parents[1])
             for name, spec in specs.items() if spec and spec.origin}
    return found if len(found) == len(specs) else {}


def _source(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


class Server:
    """A server process and the pipes to it. Its guests' deadline is its own; ours is a backstop.
    With `folders` it loads sympy from there (see `sympy_folders`)."""

    def __init__(self, folders=None):
        if os.name != "posix":
            raise UserError("the sandbox needs Linux or macOS (here it could not lock anything "
                            "up); on Windows use WSL")
        source = _source("sandbox_guest.py")
        if folders:
            source = f"{_source('sandbox_sympy.py')}\nload_sympy({folders!r})\n{source}"
        self.owner = os.getpid()
        # -S: no site-packages; -P: nothing from the folder it starts in, which is empty and gone
        # once the server runs. The environment holds a fixed hash seed (the order of sets), where
        # this Python finds its own libraries, and nothing else; -I would ignore it.
        libraries = {name: os.environ[name] for name in LIBRARIES if name in os.environ}
        with tempfile.TemporaryDirectory(prefix="goat-sandbox-") as folder:
            self.process = subprocess.Popen(
                [sys.executable, "-s", "-S", "-P", "-B", "-W", "ignore", "-c", source], cwd=folder,
                env={"PYTHONHASHSEED": "0", **libraries}, stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, start_new_session=True)
            self.close = weakref.finalize(self, _end, self.process, self.owner)
            walls = self.receive(time.monotonic() + 60)
        if walls is None:
            self.close()
            raise UserError(f"the sandbox could not be started with {sys.executable}; see the "
                            "lines above")
        self.walls = walls

    def ask(self, request: dict, patience: float) -> dict | None:
        """Send a request and wait for the reply. If none comes, or the wait is interrupted, this
        server is over; None if none comes."""
        reply = None
        try:
            with contextlib.suppress(BrokenPipeError):
                deadline = time.monotonic() + patience
                if self.send(json.dumps(request).encode() + b"\n", deadline):
                    reply = self.receive(deadline)
        finally:
            if reply is None:
                self.close()
        return reply

    def send(self, data: bytes, deadline: float) -> bool:
        """Whether the server takes it all before the deadline; a pipe holds 64 KB or less."""
        pipe = self.process.stdin.fileno()
        while data and select.select([], [pipe], [], max(0.0, deadline - time.monotonic()))[1]:
            data = data[os.write(pipe, data[:select.PIPE_BUF]):]  # so much never blocks
        return not data

    def receive(self, deadline: float) -> dict | None:
        """The next line of JSON, or None where the server ends or the deadline is over first."""
        pipe, line = self.process.stdout.fileno(), b""
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))
            data = os.read(pipe, 1 << 16) if ready else b""
            if not data:
                return None
            line += data
        return json.loads(line)


def _end(process: subprocess.Popen, owner: int) -> None:
    """Kill a server and its guest, unless this is a fork of the process that it belongs to."""
    if os.getpid() == owner:
        process.kill()  # its children are killed with it
        process.wait()
    assert process.stdin and process.stdout  # they are pipes
    process.stdin.close()
    process.stdout.close()


class _Own(threading.local):
    """A thread's own servers: {whether it is the one with sympy: server}."""

    def __init__(self) -> None:
        self.servers: dict[bool, Server] = {}


_NAMES_SYMPY = re.compile(r"\bsympy\b")
_own = _Own()
_reported: set[str] = set()


def _server(sympy: bool = False) -> Server:
    """This thread's server, plain or with sympy (if that is installed); started by the first call,
    and again after a fork or a breakdown."""
    server = _own.servers.get(sympy)
    if server is None or server.owner != os.getpid() or not server.close.alive:
        server = _own.servers[sympy] = Server(sympy_folders() if sympy else {})
        text = report(server.walls)
        if text not in _reported:
            _reported.add(text)
            print(text, file=sys.stderr)
    return server
