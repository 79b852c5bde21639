"""Beam search against every possible sequence, and against transformers.

Run: python -m pytest tests/llama/test_beam.py
"""

import random
from itertools import product

import pytest
import torch

from goat.errors import UserError
from goat.llama.beam import beam_search
from goat.llama.generate import generate
from support.tiny import tiny_config, tiny_model
from support.words import Letters

EOS = Letters.eos_id


def texts(model, letters, prompts, limit, batch_size=128, beams=4):
    rows = beam_search(model, letters, prompts, limit, batch_size, beams=beams)
    found = {row.problem: row.text for row in rows}
    return [found[i] for i in range(len(prompts))]


def some_prompts(count, letters, longest=12, seed=0):
    rng = random.Random(seed)
    return ["".join(rng.choices(letters, k=rng.randint(1, longest))) for _ in range(count)]


def test_logits_that_are_not_finite_stop():
    model = tiny_model(tiny_config(vocab_size=20))
    model.lm_head.weight.data[7] = float("nan")
    with pytest.raises(UserError, match="the model's logits are NaN or infinite"):
        texts(model, Letters(20), ["abc", "ab"], 8)


def best_of_all(model, letters, prompt, limit):
    """The sequence of at most `limit` tokens with the best log P / length, of all there are."""
    start, best = letters.encode_prompt(prompt), (float("-inf"), [])
    for length in range(1, limit + 1):
        for ids in product(range(letters.vocab_size), repeat=length):
            inner_end = EOS in ids[:-1]
            unended = length < limit and ids[-1] != EOS
            if inner_end or unended:
                continue
            with torch.no_grad():
                logp = model(torch.tensor([start + list(ids)]))[0].log_softmax(-1)
            total = sum(float(logp[len(start) - 1 + i, token]) for i, token in enumerate(ids))
            best = max(best, (total / length, list(ids)))
    ids = best[1]
    return letters.decode(ids[:-1] if ids[-1] == EOS else ids)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_with_room_for_all_sequences_the_best_is_found(seed):
    """Five tokens, three steps: at most 4 * 4 open beginnings, and 16 beams hold them all."""
    letters = Letters(5)
    model = tiny_model(tiny_config(vocab_size=5), seed)
    prompts = some_prompts(4, "ab")
    wanted = [best_of_all(model, letters, prompt, 3) for prompt in prompts]
    assert texts(model, letters, prompts, 3, beams=16) == wanted
    greedy = generate(model, letters, prompts, 3)
    assert seed != 1 or wanted != greedy  # the search is of use


def test_one_beam_is_greedy():
    letters, model = Letters(20), tiny_model(tiny_config(vocab_size=20), 3)
    prompts = some_prompts(12, "abcdef")
    assert texts(model, letters, prompts, 20, beams=1) == generate(model, letters, prompts, 20)


def test_batching_is_irrelevant():
    letters, model = Letters(20), tiny_model(tiny_config(vocab_size=20), 3)
    prompts = some_prompts(9, "abcdef", seed=2)
    alone = [texts(model, letters, [prompt], 20)[0] for prompt in prompts]
    assert texts(model, letters, prompts, 20) == alone
    assert texts(model, letters, prompts, 20, batch_size=9) == alone  # two problems at a time


@pytest.mark.parametrize("beams", [2, 4])
def test_equals_transformers(peer_of, beams):
    letters, model = Letters(20), tiny_model(tiny_config(vocab_size=20), 4)
    peer, prompts, wanted = peer_of(model), some_prompts(10, "abcdef", seed=3), []
    for prompt in prompts:
        ids = torch.tensor([letters.encode_prompt(prompt)])
        out = peer.generate(ids, attention_mask=torch.ones_like(ids), num_beams=beams,
                            do_sample=False, max_new_tokens=20, eos_token_id=EOS,
                            pad_token_id=EOS)[0, ids.size(1):].tolist()
        wanted.append(letters.decode(out[:out.index(EOS)] if EOS in out else out))
    assert texts(model, letters, prompts, 20, beams=beams) == wanted


def test_more_beams_than_rows_are_refused():
    with pytest.raises(UserError, match="8 beams do not fit into a batch of 4"):
        texts(tiny_model(), Letters(64), ["a"], 5, batch_size=4, beams=8)
