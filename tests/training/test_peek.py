"""train.py --peek: what a row shows against the tokenizer and a plain forward pass.

Run: python -m pytest tests/training/test_peek.py
"""

import json
from itertools import islice

import pytest
import torch

import train
from goat.errors import UserError
from goat.files import checkpoint
from goat.files.vocabulary import open_tokenizer
from goat.papers import row_prompt
from goat.training.batches import RowBatches
from goat.training.peek import GREEN, PLAIN, peek
from goat.training.skill_stream import SkillStream
from support.runs import flags

ROWS = [{"instruction": f"What is {a} + 1?", "input": "", "output": f"{a} + 1 = {a + 1}"}
        for a in (7, 77, 777)]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("peek") / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def show(base, path, rows):
    tokenizer, model = open_tokenizer(base), checkpoint.load_model(base)
    data = RowBatches(path, tokenizer, 3, 512, 100, seed=0)
    return list(islice(peek(model.train(), tokenizer, data), rows)), tokenizer, model


def test_every_token_its_id_and_position_and_what_is_learnt_with_its_loss(tiny_base, path):
    texts, tokenizer, model = show(tiny_base, path, 4)
    names = [text.partition(":")[0] for text in texts]
    assert names[:3] == ["row 1", "row 2", "row 3"] and names[3] == "row 1"  # the next epoch
    for row, text in zip(ROWS, texts):
        ids, n_prompt = tokenizer.encode_pair(row_prompt(row), row["output"])
        head, _, *lines = text.splitlines()
        with torch.no_grad():
            logits = model(torch.tensor([ids[:-1]]))[0].log_softmax(-1)
        wanted = [-logits[i, ids[i + 1]].item() for i in range(len(ids) - 1)]
        assert len(lines) == len(ids) - 1 and f": {len(ids) - n_prompt} tokens are learnt" in head
        mean = sum(wanted[n_prompt - 1:]) / (len(ids) - n_prompt)
        assert float(head.rpartition(" ")[2]) == pytest.approx(mean, abs=1e-3)
        for i, line in enumerate(lines):
            position, token, *rest = line.split()
            assert (int(position), int(token)) == (i, ids[i])
            assert line.endswith(" *") == (i >= n_prompt - 1)
            if i >= n_prompt - 1:
                assert rest[1] == tokenizer.piece(ids[i + 1])
                assert float(rest[2]) == pytest.approx(wanted[i], abs=1e-3)
    assert tokenizer.piece(tokenizer.eos_id) in texts[0].splitlines()[-1]
    assert "\\n" in texts[0]  # the prompt's line break, in one line of its own


def test_what_is_learnt_is_coloured_on_a_terminal_only(tiny_base, path, monkeypatch):
    plain = show(tiny_base, path, 1)[0][0]
    assert GREEN not in plain
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    coloured = show(tiny_base, path, 1)[0][0].splitlines()
    assert [line.replace(GREEN, "").replace(PLAIN, "") for line in coloured] == plain.splitlines()
    assert all(line.startswith(GREEN) == line.endswith("*" + PLAIN) for line in coloured)
    assert any(line.startswith(GREEN) for line in coloured)
    monkeypatch.setenv("NO_COLOR", "1")
    assert GREEN not in show(tiny_base, path, 1)[0][0]


def test_the_script_shows_them_and_stops(tiny_base, path, tmp_path, capsys):
    out = tmp_path / "run"
    assert train.main(flags(tiny_base, path, out, "--peek", "2")) is None
    said = capsys.readouterr().out
    assert said.count(" tokens are learnt (*), mean loss ") == 2 and "\nrow 1: " in said
    assert not out.exists()
    train.main(flags(tiny_base, path, out))
    train.main(flags(tiny_base, path, out, "--peek", "1"))  # writes nothing, so that may be there
    with pytest.raises(UserError, match="--peek 0: must be above 0"):
        train.main(flags(tiny_base, path, out, "--peek", "0"))


def test_values_and_blocks_are_shown_too(tiny_base, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"instruction": "1 + 1", "output": f"1 + 1 = {i}",
                                        "label": label}) + "\n"
                            for i, label in ((2, "correct"), (3, "wrong"))))
    tokenizer, model = open_tokenizer(tiny_base), checkpoint.load_model(tiny_base)
    data = RowBatches(path, tokenizer, 2, 512, 100, seed=0, valued=True)
    right, wrong = sorted(islice(peek(model, tokenizer, data), 2))
    assert right.endswith("  value +1") and wrong.endswith("  value -1")
    assert wrong.count("*") == 1 and "row 2: 0 tokens are learnt" in wrong
    stream = SkillStream(tokenizer, budget=512, max_digits=3, steps=9, seed=0, reserved=())
    block = next(peek(model, tokenizer, stream))
    assert block.startswith("rows of a block: ") and block.count("<s>") > 2
