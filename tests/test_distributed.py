"""Two processes, of which one is killed: the other ends with one clear line, and nothing is lost.

That two processes train like one is in tests/training/test_train.py, that they answer like one in
tests/evaluation/test_processes.py.
Run: python -m pytest tests/test_distributed.py
"""

import os
import signal
import time

import pytest
import torch

from goat.distributed import Group
from support.processes import WAIT, both, said_by, start, two_places
from support.runs import flags, log, run_script
from support.slow import SLOW


@pytest.mark.parametrize("victim", [
    pytest.param(0, id="the writer dies"), pytest.param(1, id="the other dies", marks=SLOW)])
def test_when_one_process_dies_the_other_stops_clearly(tiny_base, rows, tmp_path, victim):
    out = tmp_path / "run"
    endless = flags(tiny_base, rows, out, "--save-every", "1", "--max-steps", "100000")
    processes = [run_script(endless, env=place) for place in two_places()]
    state, deadline = out / "checkpoint" / "state.pt", time.time() + WAIT
    while not state.exists() and time.time() < deadline:
        time.sleep(0.01)
    processes[victim].kill()
    died, survivor = time.time(), processes[1 - victim]
    said = said_by(processes)[1 - victim][0]
    assert time.time() - died < 30 and survivor.returncode == 2, said
    last = said.strip().splitlines()[-1]
    assert last.startswith("error: another process of this run has ended") and "--resume" in last
    assert "Traceback" not in said
    saved = torch.load(state, weights_only=True)["step"]
    assert saved >= len(log(out)) - 1
    assert os.listdir(state.parent) == ["state.pt"] or victim == 0  # the writer may die in writing


THREADS = """
import os
import torch
from goat.distributed import Group
group = Group(torch.device("cpu"))
weight = torch.nn.Parameter(torch.ones(3))
optimizer = torch.optim.AdamW([weight])
weight.sum().backward()
group.sum_gradients([weight])
optimizer.step()
group.close()
tasks = "/proc/self/task"
print([name for name in (open(f"{tasks}/{task}/comm").read() for task in os.listdir(tasks))
       if "gloo" in name])
"""


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="lists threads as Linux does")
def test_the_groups_threads_end_with_it():
    """A thread that outlives the group crashes its process at the exit now and then."""
    assert both(THREADS) == ["[]\n"] * 2


PLANS = """
import os
import train
from goat.training import memory
memory.room = lambda where, card: (24 - 12 * int(os.environ["RANK"])) * memory.GIB
train.main(["--plan", "llama-7b", "--device", "cpu"])
"""


def test_the_smallest_card_decides_for_all():
    """Else processes would cut their micro-batches differently."""
    first, second = both(PLANS)
    assert "headroom under 12.0 GiB" in first and second == ""


def test_each_row_goes_to_one_process():
    group = Group(torch.device("cpu"))  # no torchrun: alone
    assert group.writer and list(range(5))[group.share] == [0, 1, 2, 3, 4]
    group.size = 2
    shares = []
    for group.rank in range(2):
        shares.append(list(range(5))[group.share])
    assert shares == [[0, 2, 4], [1, 3]]


GATHERING = """
import os
import signal
import threading
import time
from goat import cli
from goat.distributed import sharing

def items(group, count, kind=None, place=5):
    for i in range(count):
        time.sleep(0.01)
        if kind and i == place:
            os.kill(os.getpid(), kind)
        yield group.rank, i

def main():
    group = sharing()
    found, complete = group.gather(items(group, 3 + group.rank), 7, "item")
    assert complete and found == [(rank, i) for rank in range(2) for i in range(3 + rank)]
    assert group.gather(items(group, 0), 0, "item") == ([], True)
    again = lambda kind: threading.Timer(0.3, os.kill, (os.getpid(), kind)).start()
    if group.rank == 0:  # it is through and waits for the other: a signal must not end it
        again(signal.SIGTERM)
    found, complete = group.gather(items(group, 100 * group.rank), 100, "item")
    assert complete and len(found) == 100
    for kind in (signal.SIGINT, signal.SIGTERM):
        if group.rank == 0:  # a second one while it waits
            again(kind)
        found, complete = group.gather(items(group, 10000, kind, 5 + 55 * group.rank), 20000,
                                       "item", True)
        assert not complete and found == [
            (rank, i) for rank in range(2) for i in range(5 + 55 * rank)]
    print("the writer alone prints", flush=True)
    group.gather(items(group, 100, signal.SIGKILL if group.rank == VICTIM else None), 200, "item")

cli.run(main)
"""


@pytest.mark.parametrize("victim", [pytest.param(0, marks=SLOW), 1])
def test_what_all_have_found_is_gathered_and_ctrl_c_keeps_it(victim):
    """Shares of different sizes; Ctrl-C in both processes; one is killed."""
    began = time.time()
    processes = start(GATHERING.replace("VICTIM", str(victim)))
    said = said_by(processes)
    assert time.time() - began < 60
    for rank, (out, error) in enumerate(said):
        assert out == "the writer alone prints\n" * (rank == 0), error
        assert "Traceback" not in error and ("item/s" in error) == (rank == 0)
    assert processes[victim].returncode == -signal.SIGKILL
    assert processes[1 - victim].returncode == 2
    assert "error: another process of this run has ended" in said[1 - victim][1]
