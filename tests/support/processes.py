"""Two processes of one run, as torchrun would start them. Nothing here is a test."""

import os
import socket
import subprocess
import sys

from support.runs import ROOT

WAIT = 120  # seconds: a busy machine takes long to import torch twice


def two_places() -> list[dict]:
    """The environments of the two processes of a run, as torchrun would make them."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    common = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
              "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    return [{**common, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(2)]


def start(code: str, *arguments) -> list[subprocess.Popen]:
    """The code with these arguments, in two processes."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return [subprocess.Popen(command, env={**place, "PYTHONPATH": str(ROOT / "tests")}, cwd=ROOT,
                             text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            for place in two_places()]


def said_by(processes: list[subprocess.Popen]) -> list[tuple[str, str]]:
    """What each process prints, in the end; none outlives a failed test."""
    try:
        return [process.communicate(timeout=WAIT) for process in processes]
    finally:
        for process in processes:
            process.kill()


def both(code: str, *arguments) -> list[str]:
    """What the code prints in each of two processes, which end well."""
    processes = start(code, *arguments)
    said = said_by(processes)
    assert [process.returncode for process in processes] == [0, 0], said
    return [out for out, _ in said]
