"""goat/training/pace.py: as many steps as fit a time, on a clock that the tests turn.

Run: python -m pytest tests/training/test_pace.py
"""

import json

import pytest
import torch

import train
from goat.distributed import ALONE
from goat.errors import UserError
from goat.training import pace
from goat.training.batches import Batch
from goat.training.optim import schedule
from goat.training.pace import Pace, duration, foresee
from goat.training.validation import Validation
from support.runs import adapter, flags, log


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 0.0

    monkeypatch.setattr(pace.time, "monotonic", lambda: Clock.now)
    return Clock


def steps_of(clock, seconds, a_step=1.0, asked=10_000, minutes=5.0, warmup=0, hold=0.0):
    """All steps of a run whose step number n takes `seconds(n)`; (steps, what was logged)."""
    done, logged = [], []
    plan = Pace(asked, minutes, warmup, hold, ALONE, lambda **line: logged.append(line), {})
    plan.start(a_step)
    for step in plan:
        clock.now += seconds(step)
        done.append(step)
        plan.plan(step + 1)
    return done, logged


def test_without_a_limit_there_are_as_many_steps_as_asked_for(clock):
    done, logged = steps_of(clock, lambda step: 1000, asked=7, minutes=None, warmup=2)
    assert done == list(range(7)) and logged == []


@pytest.mark.parametrize("foreseen", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("warmup, hold", [(10, 0.0), (10, 0.5), (0, 0.3)])
def test_the_number_of_steps_is_what_fits_whatever_was_foreseen(clock, foreseen, warmup, hold):
    """Two seconds a step, five minutes: 150 steps, fixed where the rate begins to fall."""
    done, logged = steps_of(clock, lambda step: 2.0, foreseen, warmup=warmup, hold=hold)
    assert abs(len(done) - 150) <= 1 and abs(clock.now - 300) <= 2
    fixed = max(warmup, -(-hold * len(done) // 1))
    assert logged == [{"step": fixed, "planned_steps": len(done), "warmup": warmup}]
    factors = [schedule(step, len(done), warmup, hold, 0.0) for step in done]
    assert factors[-1] == 0.0 and max(factors) == 1.0


def test_what_is_fixed_before_the_first_step_is_logged_too(clock):
    """Where the rate falls from the start, only what was foreseen can count."""
    done, logged = steps_of(clock, lambda step: 2.0, 3.0)
    assert len(done) == 100 and logged == [{"step": 0, "planned_steps": 100, "warmup": 0}]


@pytest.mark.parametrize("hold", [0.0, 0.3])
def test_a_short_run_has_its_whole_schedule_too(clock, hold):
    done, logged = steps_of(clock, lambda step: 2.0, 2.0, minutes=0.8, warmup=100, hold=hold)
    assert len(done) == 24 and [line["warmup"] for line in logged] == [6]
    factors = [schedule(step, 24, 6, hold, 0.0) for step in done]
    assert factors[5] == 1.0 and factors[-1] == 0.0


def test_a_machine_that_slows_down_gets_fewer_steps_before_the_rate_falls(clock):
    done, [fixed] = steps_of(clock, lambda step: 1.0 if step < 50 else 3.0, hold=0.5)
    assert 100 < len(done) < 200 and fixed["step"] >= 0.5 * len(done)
    assert steps_of(clock, lambda step: 9.0, minutes=0.001, warmup=20)[0] == [0]  # at least one


def test_never_more_steps_than_asked_for(clock):
    assert len(steps_of(clock, lambda step: 0.01, asked=20, minutes=60, warmup=5)[0]) == 20


def test_a_resumed_run_has_its_plan_and_the_time_behind_it(clock):
    whole = Pace(10_000, 5, 10, 0.0, ALONE, dict, {})
    assert whole.start(2.0) == "150 steps (of 10000, for --max-minutes) of about 2 s: 5.0 minutes"
    for step in range(30):
        clock.now += 2.0
        whole.plan(step + 1)
    state = {"step": 30, "pace": whole.state()}
    assert whole.state() == {"steps": 150, "warmup": 10, "fixed": True, "seconds": 60.0}
    again = Pace(10_000, 5, 99, 0.0, ALONE, dict, json.loads(json.dumps(state)))
    assert again.start(7.0).startswith("120 steps") and again.warmup == 10
    again.plan(31)
    assert again.steps == 150
    state["pace"]["fixed"] = False  # cut off before that
    other = Pace(10_000, 5, 10, 0.0, ALONE, dict, state)
    other.start(4.0)
    assert other.steps == 30 + 240 / 4.0


def test_a_step_is_foreseen_from_a_pass_over_the_largest_batch(clock):
    batches = [Batch(torch.zeros(n), torch.zeros(n), [n]) for n in (10, 40, 30)]
    passed = []

    def one_pass(batch):
        passed.append(len(batch.tokens))
        clock.now += 2.0

    assert foresee(batches, one_pass) == pytest.approx(4.0) and passed == [40]
    assert foresee([], one_pass) == 0.0
    assert [duration(s) for s in (0.354, 40, 200, 7200)] == [
        "0.35 s", "40 s", "3.3 minutes", "2.0 hours"]


def test_a_run_within_a_time_is_the_run_of_so_many_steps(tiny_base, rows, tmp_path, monkeypatch,
                                                         capsys, clock):
    """The same bytes as with --max-steps, also when it is cut off and goes on. Every look at the
    held-out rows, one after each step, takes ten seconds here."""
    def measure(*_):
        clock.now += 10.0
        return {"val_loss": 1.0}

    monkeypatch.setattr(Validation, "measure", measure)
    monkeypatch.setattr(train, "foresee", lambda window, one_pass: 20.0)
    more = ["--val-rows", "1", "--eval-every", "1", "--save-every", "3"]
    rates = ["--warmup", "1", "--hold", "0.5"]
    limited = ["--max-steps", "50", "--max-minutes", "2", *rates, *more]
    train.main(flags(tiny_base, rows, tmp_path / "limited", *limited))
    assert "6 steps (of 50, for --max-minutes) of about 20 s: 2.0 minutes" in \
        capsys.readouterr().out
    lines = [json.loads(line) for line in (tmp_path / "limited/log.jsonl").read_text().splitlines()]
    assert [line["planned_steps"] for line in lines if "planned_steps" in line] == [8]
    train.main(flags(tiny_base, rows, tmp_path / "asked", "--max-steps", "8", *rates, *more))
    losses = [record["loss"] for record in log(tmp_path / "asked")]
    assert len(losses) == 8 and [r["loss"] for r in log(tmp_path / "limited")] == losses
    assert adapter(tmp_path / "limited") == adapter(tmp_path / "asked")
    save = train.RunFolder.save_state

    def saving(self, state):
        save(self, state)
        if state["step"] == 6:  # the number of steps is fixed since the fourth
            raise KeyboardInterrupt

    with monkeypatch.context() as cut:
        cut.setattr(train.RunFolder, "save_state", saving)
        with pytest.raises(KeyboardInterrupt):
            train.main(flags(tiny_base, rows, tmp_path / "cut", *limited))
    train.main(flags(tiny_base, rows, tmp_path / "cut", *limited, "--resume"))
    assert [r["loss"] for r in log(tmp_path / "cut")] == losses
    assert adapter(tmp_path / "cut") == adapter(tmp_path / "asked")


def test_a_time_that_makes_no_sense_is_refused(tiny_base, rows, tmp_path):
    with pytest.raises(UserError, match="--max-minutes 0.0: must be above 0"):
        train.main(flags(tiny_base, rows, tmp_path / "run", "--max-minutes", "0"))
    with pytest.raises(UserError, match="--skills grows by --max-steps: leave --max-minutes out"):
        train.main(["--skills", "8", "--max-steps", "9", "--max-minutes", "1"])
