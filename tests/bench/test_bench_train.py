"""The benchmark of training in miniature: what it prints, and how the products are counted.

Run: python -m pytest tests/bench/test_bench_train.py
"""

import re

import pytest

from goat.bench import train
from goat.errors import UserError
from support.tiny import tiny_config, tiny_model


def test_the_bare_products_are_counted_right():
    """2 tokens x weights forward, and as many back."""
    config = tiny_config()
    block = tiny_model(config).model.layers[0]
    weights = sum(p.numel() for name, p in block.named_parameters() if "_proj" in name)
    products = train.bare_products(tiny_model(config), 6)
    assert train.count_flop(products) == 2 * 2 * 6 * weights


def test_a_run_in_miniature(tiny_base, capsys):
    pytest.importorskip("peft")
    train.main(["--base", str(tiny_base), "--steps", "1", "--rounds", "1", "--batch", "4",
                "--micro-tokens", "512", "--device", "cpu", "--dtype", "fp32"])
    shown = capsys.readouterr().out
    lines = re.findall(r"^(?:goat|peft, \w+) +([\d,]+) +([\d,]+)", shown, re.M)
    assert len(lines) == 3
    for real, padded in lines:
        assert int(padded.replace(",", "")) >= int(real.replace(",", "")) > 0
    assert re.search(r"^goat: [\d,]+ GFLOP/s, \d+ % of the [\d,]+ of bare products", shown, re.M)


def test_numbers_below_one_are_refused():
    with pytest.raises(UserError, match="--rounds 0: must be 1 or more"):
        train.main(["--rounds", "0"])
