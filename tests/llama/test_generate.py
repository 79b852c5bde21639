"""Decoding: the batched engine against plain recomputation, transformers and probabilities.

Run: python -m pytest tests/llama/test_generate.py
"""

import random
import re

import pytest
import torch

from goat.errors import UserError
from goat.llama import generate as engine
from goat.llama import int8
from goat.llama.generate import finish, generate, stream
from goat.llama.int8 import to_int8
from goat.llama.lora import add_lora, merge
from goat.llama.sampling import Lookup, Row
from goat.training.memory import GIB, PRESETS
from support.adapters import learnt
from support.tiny import tiny_config, tiny_model
from support.words import Letters, by_full_forward

V = 20
LETTERS = Letters(V)
CONFIG = tiny_config(vocab_size=V, max_positions=96)


def some_prompts(count=23, longest=30, seed=0):
    rng = random.Random(seed)
    return ["".join(rng.choices("abcdefgh", k=rng.randint(1, longest))) for _ in range(count)]


@pytest.fixture(scope="module")
def model():
    return tiny_model(CONFIG, seed=3)


@pytest.fixture(scope="module")
def expected(model):
    return [by_full_forward(model, LETTERS, prompt, 40) for prompt in some_prompts()]


def test_answers_differ_in_length(expected):
    """Else the tests below would not show that rows leave one by one."""
    assert len({len(text) for text in expected}) > 5 and 40 in map(len, expected)


@pytest.mark.parametrize("batch_size, changes", [
    *((size, {}) for size in (1, 2, 8, 16, 128)),
    *((8, {"GUESSES": n}) for n in (0, 1, 5)), *((size, {"WIDE": 1}) for size in (1, 3, 40))],
    ids=str)
def test_equals_full_forward(model, expected, batch_size, changes, monkeypatch):
    """1 guesses seven tokens ahead, 8 three, 16 one; 8 and 16 refill, all shrink at the end; for a
    WIDE model guesses are costly."""
    for name, value in changes.items():
        monkeypatch.setattr(engine, name, value)
    assert generate(model, LETTERS, some_prompts(), 40, batch_size) == expected


def test_order_of_prompts_is_irrelevant(model, expected):
    order = list(range(len(expected)))
    random.Random(5).shuffle(order)
    prompts = some_prompts()
    answers = generate(model, LETTERS, [prompts[i] for i in order], 40, 6)
    assert answers == [expected[i] for i in order]


def test_guesses_save_passes(model, expected, monkeypatch):
    """A text that goes round in circles is read in far fewer steps than it has tokens."""
    passes = []
    step = engine.DecodingBatch.step
    monkeypatch.setattr(engine.DecodingBatch, "step", lambda *a: passes.append(1) or step(*a))
    _, prompt = min((len(set(text[-20:])), prompt) for text, prompt in
                    zip(expected, some_prompts()) if len(text) == 40)
    generate(model, LETTERS, [prompt], 40, 1)
    assert len(passes) < 30


def test_costly_guesses_are_made_while_they_come_true():
    def row(text, pending=1):
        row = Row(0, 0, "", [1, 2, 3, 1, 2], 9, pending=[0] * pending)
        row.reading(1)
        for token in text:
            row.add(token)
        return row

    right, wrong, known = row([3]), row([4]), row([4], pending=5)
    cases = [([right], 8), ([wrong], 1), ([known], 5), ([right, wrong], 8), ([wrong, known], 5),
             ([right, wrong, wrong, None], 1), ([right] * 8, 4), ([right] * 32, 1)]
    assert [engine.tokens_to_read(rows, True) for rows, _ in cases] == [n for _, n in cases]
    assert [engine.tokens_to_read(rows, False) for rows, _ in cases] == [8] * 6 + [4, 2]


def test_a_wide_model_reads_the_first_prompts_in_few_passes(model, expected, monkeypatch):
    counts, admit = [], engine.DecodingBatch.admit
    monkeypatch.setattr(engine, "WIDE", 1)
    monkeypatch.setattr(engine.DecodingBatch, "admit",
                        lambda b, rows, *a: counts.append(len(rows)) or admit(b, rows, *a))
    monkeypatch.setattr(engine, "PREFILL_TOKENS", 7 * max(map(len, some_prompts())))
    assert generate(model, LETTERS, some_prompts(), 40, 16) == expected
    assert counts[0] == 6 and {*counts[1:]} <= {1, 2}  # 7, rounded down to pairs


def test_full_batches_while_prompts_wait(model, monkeypatch):
    """Before the last prompt is admitted no step runs with an eighth of its rows free."""
    free, waiting_after = [], []
    step, admit = engine.DecodingBatch.step, engine.DecodingBatch.admit
    monkeypatch.setattr(engine.DecodingBatch, "step",
                        lambda b, *a: free.append(len(b.free())) or step(b, *a))
    monkeypatch.setattr(engine.DecodingBatch, "admit",
                        lambda b, *a: waiting_after.append(len(free)) or admit(b, *a))
    generate(model, LETTERS, some_prompts(64), 40, 16)
    assert max(free[:waiting_after[-1]]) < 2


def test_context_is_never_exceeded(model):
    """With 96 positions and a prompt of 90 tokens, six new ones are left."""
    assert len(generate(model, LETTERS, ["a" * 89], 40)[0]) <= 6
    text = by_full_forward(model, LETTERS, "a" * 89, 40)
    assert generate(model, LETTERS, ["a" * 89], 40) == [text]
    with pytest.raises(UserError, match="prompt 2 has 96 tokens"):
        generate(model, LETTERS, ["a", "b" * 95])


@pytest.mark.parametrize("prompt", ["Ask.\nAnswer:", "Ask.\nAnswer: ", "397", "x\n"])
@pytest.mark.parametrize("stop", [" 397", "397", " 4", "\n", " =", " 397 *", "é 4", "  ", "<p>"])
@pytest.mark.parametrize("answer", [" 397 * 4429 = 1", "397 * 4 = é 4", "\n 397", "  397", " "])
def test_a_stop_string_ends_the_text_wherever_it_stands(tokenizer, prompt, stop, answer):
    """With the project's own tokenizer, whose texts lose the space that they begin with."""
    ids, n = tokenizer.encode_pair(prompt, answer)
    row = Row(0, 0, prompt, ids[:n], limit=99)
    for token in ids[n:]:
        row.add(token)
        if finish(row, tokenizer, (stop,)):
            break
    text = tokenizer.decode_answer(prompt, ids[n:])
    assert row.text == (text[:text.index(stop) + len(stop)] if stop in text else text)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("options", [dict(), dict(temperature=1.0), dict(batch_size=1),
                                     dict(temperature=0.5, top_p=0.9)])
def test_the_first_logits_that_are_not_finite_stop(bad, options):
    broken = tiny_model(CONFIG, seed=3)
    broken.lm_head.weight.data[7] = bad
    with pytest.raises(UserError, match="the model's logits are NaN or infinite: .* --dtype fp32"):
        generate(broken, LETTERS, some_prompts(), 40, **options)


@pytest.mark.parametrize("temperature", [-1, 1e-40, 1e-7, float("nan"), float("inf")])
def test_temperatures_that_would_give_no_numbers_are_refused(model, temperature):
    with pytest.raises(UserError, match=f"temperature must be 0, .* not {temperature}"):
        generate(model, LETTERS, ["abc"], 4, temperature=temperature)


def test_the_coldest_temperature_is_greedy(model, expected):
    assert generate(model, LETTERS, some_prompts(), 40, temperature=1e-6) == expected


@pytest.mark.parametrize("batch_size", [1, 16])
def test_stop_strings_end_the_text(model, expected, batch_size):
    stop = ("ab", "e", "hhh")

    def cut(text):
        ends = [text.index(s) + len(s) for s in stop if s in text]
        return text[:min(ends)] if ends else text

    answers = generate(model, LETTERS, some_prompts(), 40, batch_size, stop=stop)
    assert answers == [cut(text) for text in expected]
    assert answers != expected


@pytest.mark.parametrize("change", ["lora", "merged", "int8", "int8 lora", "int8 merged"])
def test_adapters_and_int8(change, monkeypatch):
    """Batched equals one by one recomputed, with an adapter that changes the answers."""
    monkeypatch.setattr(int8, "FEW", 0)  # else passes of a few tokens would be rounded otherwise
    model = tiny_model(CONFIG, seed=3)
    before = generate(model, LETTERS, some_prompts(9), 20)
    if "int8" in change:
        to_int8(model)
    if change != "int8":
        learnt(add_lora(model, rank=4, alpha=8, dropout=0.5), 0.3)
        if "merged" in change:
            merge(model)
    model.eval()
    answers = generate(model, LETTERS, some_prompts(9), 20, 4)
    assert answers == [by_full_forward(model, LETTERS, prompt, 20) for prompt in some_prompts(9)]
    assert change == "int8" or answers != before


def test_dropout_is_off_while_decoding_and_back_on_behind():
    model = learnt(add_lora(tiny_model(CONFIG, seed=3), rank=4, dropout=0.9), 0.2).train()
    assert len({tuple(generate(model, LETTERS, some_prompts(5), 20)) for _ in range(3)}) == 1
    assert model.training


def test_equals_transformers(model, peer_of):
    """Token for token, greedy in fp32: left-padded batches there, ours without padding."""
    prompts = [LETTERS.encode_prompt(prompt) for prompt in some_prompts()]
    length = max(map(len, prompts))
    ids = torch.tensor([[0] * (length - len(p)) + p for p in prompts])
    mask = torch.tensor([[0] * (length - len(p)) + [1] * len(p) for p in prompts])
    out = peer_of(model).generate(ids, attention_mask=mask, do_sample=False, max_new_tokens=40,
                                  pad_token_id=2, eos_token_id=2)[:, length:].tolist()
    texts = [LETTERS.decode(row[:row.index(2)] if 2 in row else row) for row in out]
    assert generate(model, LETTERS, some_prompts(), 40, 8) == texts


# ------------------------------------------------------------------------------------- sampling


def test_samples_depend_on_seed_problem_and_number_only(model):
    def options(**changes):
        return {"temperature": 1.0, "top_p": 0.95, "seed": 7, "samples": 3} | changes

    prompts = some_prompts(6)
    answers = generate(model, LETTERS, prompts, 30, 128, **options())
    assert len(set(answers)) > 12  # they do differ
    for batch_size in (1, 5, 16):  # with seven, five and one guess
        assert generate(model, LETTERS, prompts, 30, batch_size, **options()) == answers
    assert generate(model, LETTERS, prompts[:2], 30, 128, **options()) == answers[:6]
    assert generate(model, LETTERS, prompts, 30, 128, **options(samples=1)) == answers[::3]
    assert generate(model, LETTERS, prompts, 30, 128, **options(seed=8)) != answers


def test_samples_of_a_prompt_share_its_reading(model, monkeypatch):
    """Eight samples of four prompts, read four by four: each pass has one row, not four."""
    read, cache = [], model.cache
    monkeypatch.setattr(model, "cache", lambda rows, slots: read.append(rows) or cache(rows, slots))
    prompts, how = some_prompts(4), {"samples": 8, "temperature": 1.0}
    together = generate(model, LETTERS, prompts, 20, 32, **how)
    assert read == [32, *[1] * 8]
    assert together == generate(model, LETTERS, prompts, 20, 1, **how)
    assert len(set(together)) > 20


@pytest.mark.parametrize("top_p", [1.0, 0.6])
def test_frequencies_are_the_probabilities(model, top_p):
    """First tokens of 4,000 samples against softmax(logits / T), cut to the top share by hand."""
    with torch.no_grad():
        logits = model(torch.tensor([LETTERS.encode_prompt("abc")]))[0, -1]
    wanted = (logits / 1.5).softmax(-1)
    kept, total = [], 0.0
    for token in wanted.argsort(descending=True).tolist():
        if total < top_p:
            kept.append(token)
        total += float(wanted[token])
    wanted = {token: float(wanted[token] / wanted[kept].sum()) for token in kept}
    counts = dict.fromkeys(range(V), 0)
    for row in stream(model, LETTERS, ["abc"], 1, 500, samples=4000, temperature=1.5, top_p=top_p):
        counts[row.new[0]] += 1
    for token in range(V):
        p = wanted.get(token, 0.0)
        assert abs(counts[token] / 4000 - p) <= 4.5 * (p * (1 - p) / 4000) ** 0.5
    assert (len(kept) < V) == (top_p < 1)


@pytest.mark.parametrize("options", [{"temperature": -1}, {"temperature": 1, "top_p": 0},
                                     {"temperature": 1, "top_p": 1.1}, {"samples": 0},
                                     {"batch_size": 0}, {"max_new_tokens": 0}])
def test_bad_settings_are_refused(model, options):
    with pytest.raises(UserError):
        generate(model, LETTERS, ["abc"], **options)


def test_no_prompts_no_answers(model):
    assert generate(model, LETTERS, []) == []


def test_progress_shows_rate_and_time_left(model, capsys):
    generate(model, LETTERS, some_prompts(), 40, progress=True)
    assert re.search(r"23/23 \[\d\d:\d\d<\d\d:\d\d, .*problem", capsys.readouterr().err)


def test_lookup_guesses_what_followed_last_time():
    """After "… 5 6 7" the same three tokens were followed by 8 9; after 1 came 2, then 4."""
    lookup = Lookup([5, 6, 7, 8, 9, 1, 2, 1, 4, 5, 6, 7])
    assert lookup.guess(3) == [8, 9, 1]
    lookup.add(1)
    assert lookup.guess(2) == [4, 5]
    lookup.add(3)
    assert lookup.guess(2) == [0, 0]  # nothing ever followed a 3


def test_a_gpu_continues_as_many_rows_as_it_has_room_for(monkeypatch):
    """A LLaMA-7B in 16 bits keeps 2 * 32 * 4096 * 2 = 524,288 bytes for a position of a row."""
    config = PRESETS["llama-7b"]
    assert engine.rows_in(10 * GIB, config, 480, itemsize=2) == 8 * GIB // (524_288 * 512) == 32
    assert engine.rows_in(GIB // 100, config, 480, itemsize=2) == 1  # the attempt is made
    model, sizes = tiny_model(), []
    prompts = ["ab", "abc", "b", "cab", "ca"]
    free = generate(model, LETTERS, prompts, 8)
    made = engine.DecodingBatch
    monkeypatch.setattr(engine, "DecodingBatch",
                        lambda model, size: sizes.append(size) or made(model, size))
    monkeypatch.setattr(engine, "most_rows", lambda model, rows: 2)
    assert generate(model, LETTERS, prompts, 8) == free and sizes == [2]


def test_one_text_is_no_list_of_prompts_but_may_be_what_stops():
    model = tiny_model()
    with pytest.raises(UserError, match="must be a list of texts, not one text"):
        generate(model, LETTERS, "ab")
    [text] = generate(model, LETTERS, ["ab"], 20)
    stop = text[3:5]
    assert generate(model, LETTERS, ["ab"], 20, stop=stop) == generate(
        model, LETTERS, ["ab"], 20, stop=(stop,))
