"""goat/bench/int8_inputs.py: products of 8-bit inputs and weights, against float.

The outlier row shows why LLM.int8() has a threshold.
Run: python -m pytest tests/bench/test_int8_inputs.py
"""

import pytest
import torch

from goat.bench.int8_inputs import Int8InputsLinear, check_int_mm, int_product, use_int8_inputs
from goat.errors import UserError
from goat.llama.int8 import to_int8
from support.int8 import layer_of, wide
from support.tiny import off, random, tiny_model, tiny_tokens


def test_int8_input_error_figures_and_why_there_is_a_threshold():
    weight, layer, x, _ = wide()
    errors = {}
    for name, inputs, threshold in (("even", x, 0.0), ("outlier", x.clone(), 0.0),
                                    ("apart", x.clone(), 6.0), ("weight only", x.clone(), None)):
        if name != "even":
            inputs[:, 7] *= 60  # one input column in 4096
        rounding = layer if threshold is None else Int8InputsLinear(layer, threshold)
        errors[name] = off(rounding(inputs), inputs.double() @ weight.double().T)
    assert errors["even"] == pytest.approx(0.0123, abs=2e-4)
    assert 0.085 < errors["outlier"] < 0.11  # 9.5 to 10.8 % by seed
    assert errors["apart"] == pytest.approx(0.011, abs=1e-3)
    assert errors["weight only"] == pytest.approx(0.0088, abs=3e-4)


@pytest.mark.parametrize("rows", [1, 5, 16, 17, 32, 33])
def test_int_product_is_exact_for_any_number_of_rows(rows):
    generator = torch.Generator().manual_seed(rows)
    a = torch.randint(-127, 128, (rows, 64), generator=generator, dtype=torch.int8)
    b = torch.randint(-127, 128, (24, 64), generator=generator, dtype=torch.int8)
    assert torch.equal(int_product(a, b).double(), a.double() @ b.double().T)


def test_int8_inputs_are_the_formula_and_the_backward_is_straight_through():
    layer = Int8InputsLinear(layer_of(random(16, 24)), 6.0)
    x = random(5, 24, seed=1)
    x[3, 4], x[0, 9] = -50.0, 6.0  # columns 4 and 9 are multiplied apart, 9 just so
    x.requires_grad_()
    with torch.no_grad():
        kept = x.clone()
        kept[:, [4, 9]] = 0
        scale = kept.abs().amax(1, keepdim=True) / 127
        rounded = (kept / scale).round() * scale
        rounded[:, [4, 9]] = x[:, [4, 9]]
        want = rounded.double() @ layer.dequantised().double().T
    y = layer(x)
    torch.testing.assert_close(y.double(), want, rtol=1e-5, atol=1e-5)
    y.backward(torch.ones_like(y))
    torch.testing.assert_close(x.grad, layer.dequantised().sum(0).expand(5, 24), rtol=1e-5,
                               atol=1e-5)


def test_int8_inputs_pass_nan_on():
    layer = Int8InputsLinear(layer_of(random(16, 24)), 0.0)
    x = random(2, 24)
    x[1, 0] = float("nan")
    assert layer(x)[0].isfinite().all() and layer(x)[1].isnan().all()


def test_no_activation_is_saved_for_the_backward_pass():
    layer, saved = Int8InputsLinear(layer_of(random(16, 24)), 6.0), []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        layer(random(5, 24).requires_grad_())
    assert {t.data_ptr() for t in saved} == {layer.weight.data_ptr(), layer.scale.data_ptr()}


def test_int8_inputs_are_switched_on_for_the_whole_model():
    model, tokens = to_int8(tiny_model()), tiny_tokens()
    weight_only = model(tokens)
    use_int8_inputs(model, threshold=0.0)
    assert 0 < off(model(tokens), weight_only) < 0.2


def test_a_wrong_or_missing_int_mm_is_noticed(monkeypatch):
    model = to_int8(tiny_model())
    monkeypatch.setattr("goat.bench.int8_inputs.int_product", lambda a, b: int_product(a, b) + 1)
    check_int_mm.cache_clear()
    with pytest.raises(UserError, match="wrong numbers"):
        use_int8_inputs(model)
    monkeypatch.undo()
    monkeypatch.delattr(torch, "_int_mm")
    with pytest.raises(UserError, match="do not run"):
        use_int8_inputs(model)
    check_int_mm.cache_clear()
