"""--compile: the same training through torch.compile, and one clear line where that cannot be.

The compiler proper (inductor) would take minutes: its place is taken by torch's tracing alone, so
that what is tested is that a block can be traced as a whole, hand-written gradients included.
Run: python -m pytest tests/test_compile.py
"""

from functools import partial

import pytest
import torch
from runs import adapter, flags
from tiny import tiny_model, tiny_tokens

import train
from goat import device, int8, lora, padding
from goat.errors import UserError

CPU = torch.device("cpu")


def test_a_compiled_run_gives_the_same_adapter(tiny_base, rows, tmp_path, monkeypatch):
    """Padding left out, dropout and recomputation included; one graph, without any breaks."""
    monkeypatch.setattr(padding, "MULTIPLE", 8)
    monkeypatch.setattr(device, "compiled", partial(device.compiled, backend="eager"))
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    for name, more in (("plain", []), ("compiled", ["--compile"])):
        arguments = flags(tiny_base, rows, tmp_path / name, "--checkpointing", "on", *more)
        train.main([*arguments, "--max-steps", "2"])
    assert adapter(tmp_path / "plain") == adapter(tmp_path / "compiled")
    counters = torch._dynamo.utils.counters
    assert counters["stats"]["unique_graphs"] > 0 and not counters["graph_break"]


def test_no_int8_weight_is_kept_in_16_bits():
    """The compiler's own division into forward and backward keeps no more than eager mode does."""
    kept = {}
    for name in ("eager", "divided"):
        torch._dynamo.reset()
        model = lora.add_lora(int8.to_int8(tiny_model()), 4, 12, dropout=0.0).train()
        if name == "divided":
            model.run_block = device.compiled(model.run_block, CPU,
                                              backend="aot_eager_decomp_partition")
        own = {t.untyped_storage().data_ptr() for t in model.state_dict().values()}
        sizes = {}

        def keep(t):
            sizes[t.untyped_storage().data_ptr()] = (t.untyped_storage().nbytes(), t)  # t: alive
            return t

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
            model(tiny_tokens())
        kept[name] = sum(size for place, (size, _) in sizes.items() if place not in own)
    assert 0 < kept["divided"] <= kept["eager"]


def test_many_kinds_of_inputs_are_all_compiled():
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    doubled = device.compiled(lambda x: 2 * x, CPU, backend=backend)
    for rank in range(1, 13):
        assert doubled(torch.ones([2] * rank)).sum() == 2 ** (rank + 1)
    assert len(graphs) == 1 + 12  # the trial, and one for each


def test_generation_is_not_compiled():
    model, tokens = lora.add_lora(tiny_model(), 4, 12).eval(), tiny_tokens()
    seen, before = [], model(tokens)
    model.run_block = lambda block, *inputs: seen.append(block) or block(*inputs)
    assert torch.equal(model(tokens), before) and not seen
    model.train()(tokens)
    assert seen == list(model.model.layers)


def test_a_missing_compiler_is_one_clear_line():
    def broken(graph, inputs):
        raise RuntimeError("no working C++ compiler")
    with pytest.raises(UserError) as error:
        device.compiled(torch.sin, CPU, backend=broken)
    assert "\n" not in str(error.value)
    assert "no working C++ compiler" in str(error.value) and "--compile" in str(error.value)
