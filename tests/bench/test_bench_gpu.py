"""goat/bench/gpu.py in miniature: every path that runs without a GPU, and what it counts.

Run: python -m pytest tests/bench/test_bench_gpu.py
"""

from functools import partial

import pytest
import torch

from goat.bench import gpu, peers
from goat.errors import UserError
from goat.training.batches import IGNORE
from support.slow import SLOW

SMALL = ["--toy", "--steps", "1", "--batch", "6", "--micro-tokens", "1024"]


@pytest.fixture
def bench(tmp_path):
    args = gpu.parse_args(SMALL)
    rows = peers.goat_rows(tmp_path, "paper", 2 * args.batch, args.batch, args.micro_tokens)
    return gpu.Bench(gpu.TOY, torch.device("cpu"), torch.float32, rows, args)


@SLOW
def test_the_whole_benchmark_runs_as_a_toy(capsys):
    gpu.main(SMALL)
    lines = capsys.readouterr().out.splitlines()
    ours = [line for line in lines if line.startswith("goat, ")]
    theirs = [line for line in lines if line.startswith("peft, ")]
    assert "Missing, for want of a CUDA GPU: the speeds at LLaMA-7B's size, peak" in lines[-1]
    assert len(ours) == 6  # three forms of the base, with and without recomputation
    assert len(theirs) == (4 if peers.installed("transformers", "peft") else 0)
    for line in ours + theirs:
        rows_s, real, padded = (float(word.replace(",", "")) for word in line[40:].split()[:3])
        assert rows_s > 0 and 0 < real < padded


def test_a_part_of_the_benchmark(capsys):
    gpu.main([*SMALL, "--only", "int8 x int8", "plain base, ckpt"])
    lines = capsys.readouterr().out.splitlines()
    ours = [line.partition("  ")[0] for line in lines if line.startswith("goat, ")]
    assert ours == ["goat, plain base, ckpt", "goat, int8 x int8", "goat, int8 x int8, ckpt"]
    with pytest.raises(UserError, match="--only nothing: no line"):
        gpu.main([*SMALL, "--only", "nothing"])


def test_without_a_gpu_the_full_size_is_refused():
    with pytest.raises(UserError, match="needs a CUDA GPU"):
        gpu.main(["--device", "cpu"])
    with pytest.raises(UserError, match="must be above 0"):
        gpu.main(["--toy", "--steps", "0"])


@pytest.mark.parametrize("group", [False, True], ids=["padded", "grouped"])
def test_peft_sees_the_same_rows_as_we_do(bench, group):
    rows = bench.data
    ours, theirs = rows.window(0), peers.by_rows(rows, 0, size=4, group=group)
    assert [len(b.lengths) for b in theirs] == [4, 2]

    def content(batches):
        """The non-padding tokens and the number of labels of each row, in any order."""
        return sorted((tokens[: int((tokens != rows.pad_id).sum())].tolist(),
                       int((labels != IGNORE).sum())) for b in batches
                      for tokens, labels, _ in b.rows() if (labels != IGNORE).any())

    assert content(ours) == content(theirs)
    lengths = [peers.padded(b, b.tokens, 0).size(1) for b in theirs]
    assert not group or lengths == sorted(lengths, reverse=True)


def test_a_micro_batch_that_does_not_fit_is_halved_and_failures_are_named(bench, capsys):
    tried = []

    def build(reason):
        def step(window):
            tried.append(len(window[0].lengths))
            if len(window[0].lengths) > 1:
                raise reason
        return lambda: step

    windows = [partial(peers.by_rows, bench.data, size=size, group=True) for size in (4, 2, 1)]
    full = gpu.Contender("full", build(torch.OutOfMemoryError("no")), windows, False)
    assert gpu.measure(full, bench, 1e9) > 0
    assert tried == [4, 2, 1, 1]  # warming up, and the one timed step of the size that fits
    for reason, said in ((torch.OutOfMemoryError("no"), "out of memory"),
                         (RuntimeError("kernel\nmissing"), "kernel")):
        stuck = gpu.Contender("stuck", build(reason), windows[:2], False)
        assert gpu.measure(stuck, bench, 1e9) == 0
        assert capsys.readouterr().out.rstrip().endswith(said)


def test_random_weights_have_the_spread_of_real_ones():
    for int8 in (False, True):
        model = gpu.random_model(gpu.TOY, torch.device("cpu"), torch.float32, int8)
        layer = model.model.layers[1].mlp.down_proj
        weight = layer.dequantised() if int8 else layer.weight
        assert 0.015 < weight.std() < 0.04 and model.model.norm.weight.eq(1).all()
        assert model(torch.zeros(1, 4, dtype=torch.long)).isfinite().all()
