"""The benchmark of decoding in miniature: what it counts, and what it says of the agreement.

Run: python -m pytest tests/bench/test_bench_decode.py
"""

import pytest

from goat.bench import decode
from goat.errors import UserError
from goat.llama.joined import Joined
from goat.llama.lora import LoRALinear


def test_figures_by_hand():
    """60 and 20 new tokens a second; two of four answers are the same."""
    ours = 60.0, [[5, 6], [7], [8, 9], []]
    peer = 20.0, [[5, 6], [7, 7], [8], []]
    assert decode.figures(ours, peer).split() == ["60", "20", "3.0", "50.0%"]
    assert decode.figures(ours).split() == ["60", "-", "-", "-"]


def test_what_is_measured_is_what_a_merged_adapter_runs_as(monkeypatch):
    """Its layers are plain and joined, as after `eval.py --merge`."""
    models = []

    def timed(engine, *work):
        models.append(engine.args[0])
        return 1, []

    monkeypatch.setattr(decode, "transformers_like", lambda model, tokenizer: None)
    monkeypatch.setattr(decode, "timed", timed)
    decode.main(["--batch-sizes", "1", "--device", "cpu"])
    layers = list(models[0].modules())
    assert not any(isinstance(layer, LoRALinear) for layer in layers)
    joined = [part for layer in layers for part in vars(layer).values() if isinstance(part, Joined)]
    assert len(joined) == 2 * len(models[0].model.layers)


def test_tokens_behind_eos_do_not_count():
    assert decode.until([5, 6, 2, 2, 2], 2) == [5, 6]
    assert decode.until([5, 6, 2], None) == [5, 6, 2]


def run(tiny_base, capsys):
    decode.main(["--base", str(tiny_base), "--batch-sizes", "3", "--max-new-tokens", "6",
                 "--even", "4", "--device", "cpu", "--dtype", "fp32"])
    shown = capsys.readouterr().out.splitlines()
    assert "float32" in shown[0]
    return [line.split() for line in shown if line.startswith(("questions", "even"))]


def test_in_fp32_both_say_the_same(tiny_base, capsys):
    pytest.importorskip("transformers")
    questions, even = run(tiny_base, capsys)
    assert questions[:3] == ["questions", "3", "12"] and even[:3] == ["even", "3", "3"]
    assert questions[-1] == even[-1] == "100.0%"
    assert all(float(figure.replace(",", "")) > 0 for row in (questions, even)
               for figure in row[3:6])


def test_without_transformers_ours_is_measured_alone(tiny_base, capsys, monkeypatch):
    monkeypatch.setattr(decode, "transformers_like", lambda model, tokenizer: None)
    questions, even = run(tiny_base, capsys)
    assert questions[4:] == even[4:] == ["-", "-", "-"]


def test_bad_flags_are_refused(tiny_base):
    with pytest.raises(UserError, match="must be at least 1"):
        decode.main(["--base", str(tiny_base), "--batch-sizes", "0"])
