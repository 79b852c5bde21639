"""How cost grows: that the parts of a pass are counted right, and that the command runs.

Run: python -m pytest tests/bench/test_bench_scale.py
"""

import pytest

from goat.bench import scale
from goat.errors import UserError
from goat.training import memory
from support.tiny import tiny_config

CONFIG = tiny_config(hidden_dim=96, n_layers=3, tie_embeddings=True)
N, ROWS, LENGTH, RANK = 128, 4, 32, 2


def test_the_products_are_those_of_the_formulas():
    """Two FLOP for each weight and token, forward and for the gradient of the input, which the
    first block's q, k and v, and the LoRA on them, need not give."""
    sizes = memory.layer_sizes(CONFIG)
    first = [sizes[name] for name in ("q_proj", "k_proj", "v_proj")]
    adapted = [*first, sizes["o_proj"]]
    found = scale.products(CONFIG, RANK, ROWS, LENGTH)
    assert found["blocks"] == 2 * N * (2 * 3 * sum(i * o for i, o in sizes.values())
                                       - sum(i * o for i, o in first))
    assert found["head"] == 4 * N * CONFIG.dim * CONFIG.vocab_size
    assert found["LoRA"] == 2 * N * RANK * (3 * 3 * sum(i + o for i, o in adapted)
                                            - sum(i for i, _ in first))
    # q k^T and p v, and two products backward for each, for every pair of tokens of a row
    assert found["attention"] == 3 * 2 * 2 * 3 * N * LENGTH * CONFIG.n_heads * CONFIG.head_dim


def test_the_memory_is_all_that_the_ledger_has():
    plan = memory.plan(CONFIG, memory.Workload(RANK, micro_batch=ROWS, length=LENGTH))
    kept = scale.memory_kept(CONFIG, RANK, ROWS, LENGTH)
    assert sum(kept.values()) == sum(plan.saved.values()) and min(kept.values()) > 0
    assert kept["LoRA"] == plan.saved["saved: LoRA"]
    assert kept["head"] == plan.saved[f"saved: head, {N} positions"]
    assert sum(scale.memory_held(CONFIG, RANK)) == sum(plan.state.values())
    assert scale.memory_held(CONFIG, RANK)[1] == 4 * plan.state["LoRA weights, float32"]


def test_the_whole_benchmark_runs_as_a_toy(capsys):
    scale.main(["--toy", "--repeats", "1", "--device", "cpu", "--only", "rank", "models"])
    shown = capsys.readouterr().out
    assert "rank" in shown and "saved MB" in shown and "width " not in shown.split("\n\n", 1)[1]
    rows = [line.split() for line in shown.splitlines() if line.startswith("embedded")]
    assert [row[1] for row in rows[:2]] == ["16", "32"] and len(rows) == 3
    for shares in (rows[0][4:], rows[1][4:], rows[2][4:8]):
        assert sum(map(float, shares)) == pytest.approx(100, abs=0.3)


def test_a_number_that_makes_no_sense_is_refused():
    with pytest.raises(UserError, match="--repeats 0: must be 1 or more"):
        scale.main(["--repeats", "0"])
