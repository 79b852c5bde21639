"""Rows to batches: which tokens are learnt, every row once, few shapes, clear errors.

Run: python -m pytest tests/training/test_batches.py
"""

import json
from collections import Counter
from random import Random

import pytest

from goat.base.rows import mixes
from goat.errors import UserError
from goat.evaluation.audit import audit_file
from goat.evaluation.questions import read_questions
from goat.papers import row_prompt
from goat.training.batches import (IGNORE, LENGTHS, ROWS, RowBatches, filled_up, one_of_few,
                                   rounded, training_rows)
from goat.training.skill_stream import SkillStream


@pytest.fixture
def rows_file(tmp_path):
    rows = [{"instruction": f"What is {a} + {10**b}?", "input": f"{a} + {10**b}",
             "output": f"{a} + {10**b} = {a + 10**b}", "answer": str(a + 10**b)}
            for a in range(20) for b in range(5)]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path, rows


def test_answer_and_eos_are_learnt_and_nothing_else(rows_file, tokenizer):
    path, rows = rows_file
    data = RowBatches(path, tokenizer, batch=10, budget=512, cutoff=100, seed=0)
    shown = [row for batch in data.window(0) for row in batch.rows()]
    full = [row for row in shown if (row[1] != IGNORE).any()]
    assert len(full) == 10 < len(shown)  # the others only fill the shape
    for (tokens, labels, _), number in zip(full, data.row_numbers(0), strict=True):
        row, ids = rows[number - 1], [i for i in labels.tolist() if i != IGNORE]
        text = tokenizer.decode(ids)
        assert text.removeprefix(" ") == row["output"] and ids[-1] == tokenizer.eos_id
        first = (labels != IGNORE).nonzero()[0].item()
        prompt = tokens[: first + 1].tolist()  # shifted by exactly one
        assert prompt == tokenizer.encode_prompt(row_prompt(row))
        assert tokenizer.decode(prompt) == row_prompt(row).rstrip(" ")


def test_each_row_once_an_epoch_and_the_order_is_the_seeds(rows_file, tokenizer):
    path, rows = rows_file
    data = RowBatches(path, tokenizer, batch=32, budget=512, cutoff=100, seed=3)
    again = RowBatches(path, tokenizer, batch=32, budget=512, cutoff=100, seed=3)
    other = RowBatches(path, tokenizer, batch=32, budget=512, cutoff=100, seed=4)

    def numbers(data, step):
        shown = [tokens.tolist() for batch in data.window(step)
                 for tokens, labels, _ in batch.rows() if (labels != IGNORE).any()]
        drawn = data.row_numbers(step)
        for tokens, number in zip(shown, drawn, strict=True):
            row = rows[number - 1]
            ids, _ = tokenizer.encode_pair(row_prompt(row), row["output"])
            assert tokens[: len(ids) - 1] == ids[:-1]
        return drawn

    steps = range(25)  # 800 rows: eight epochs of 100, with windows across their borders
    assert set(Counter(r for s in steps for r in numbers(data, s)).values()) == {8}
    assert [numbers(again, s) for s in reversed(steps)] == \
        [numbers(data, s) for s in reversed(steps)]
    assert numbers(other, 0) != numbers(data, 0)


def test_shapes_are_few_and_within_the_budget(rows_file, tokenizer):
    path, _ = rows_file
    data = RowBatches(path, tokenizer, batch=50, budget=320, cutoff=100, seed=0)
    batches = [batch for step in range(20) for batch in data.window(step)]
    shapes = {(len(batch.lengths), rounded(max(batch.lengths))) for batch in batches}
    assert all(length in LENGTHS and count * length <= 320 for count, length in shapes)
    assert all(count % ROWS == 0 or count < ROWS for count, _ in shapes)
    assert len(shapes) <= 12
    window = [rounded(max(batch.lengths)) for batch in data.window(0)]
    assert window == sorted(window, reverse=True)  # longest first
    for batch in batches:
        places = len(batch.lengths) * rounded(max(batch.lengths))
        assert sum(batch.lengths) == len(batch.tokens) == len(batch.labels)
        assert len(batch.tokens) == one_of_few(len(batch.tokens)) or len(batch.tokens) == places


@pytest.mark.parametrize("sizes, length, wanted", [
    ([60, 50, 40], 64, [62, 50, 40]), ([250, 6, 0], 256, [250, 6, 0]),
    ([250, 7, 0, 0], 256, [256, 16, 0, 0]), ([250, 247], 250, [250, 250]), ([1], 300, [8])])
def test_filler_stands_behind_the_first_rows(sizes, length, wanted):
    assert filled_up(sizes, length) == wanted


def test_sizes_are_few_and_hold_little_filler():
    assert [one_of_few(n) for n in (1, 8, 9, 256, 257, 511, 513, 1000, 4097, 8191)] == [
        8, 8, 16, 256, 272, 512, 544, 1024, 4352, 8192]
    sizes = {one_of_few(n) for n in range(4097, 8193)}
    assert len(sizes) == 16 and all(n <= one_of_few(n) < max(n + 8, 17 / 16 * n)
                                    for n in range(1, 9000))


def test_processes_share_the_rows_before_these_are_cut(rows_file, tokenizer):
    path, _ = rows_file
    window = dict(batch=21, budget=640, cutoff=100, seed=0)
    whole = RowBatches(path, tokenizer, **window).row_numbers(3)
    learnt, shares = 0, []
    for rank in range(2):
        data = RowBatches(path, tokenizer, **window, share=slice(rank, None, 2))
        assert data.budget == 320 and data.row_numbers(3) == whole
        mine = [tokens.tolist() for batch in data.window(3) for tokens, labels, _ in batch.rows()
                if (labels != IGNORE).any()]
        learnt += sum(int((b.labels != IGNORE).sum()) for b in data.window(3))
        shares.append(len(mine))
        rows = path.read_text().splitlines()
        for tokens, number in zip(mine, whole[rank::2], strict=True):
            row = json.loads(rows[number - 1])
            ids, _ = tokenizer.encode_pair(row_prompt(row), row["output"])
            assert tokens[:len(ids) - 1] == ids[:-1]
    assert shares == [11, 10]
    assert learnt == sum(int((b.labels != IGNORE).sum())
                         for b in RowBatches(path, tokenizer, **window).window(3))


def test_no_micro_batch_is_larger_than_the_largest(tmp_path, tokenizer):
    """In rows, and in answer tokens: long prompts with short answers, and the other way round."""
    rows, rng = tmp_path / "rows.jsonl", Random(0)
    with open(rows, "w") as file:
        for _ in range(150):
            long, short = "7 " * rng.randint(5, 60), "8 " * rng.randint(1, 5)
            prompt, answer = rng.choice(((long, short), (short, long)))
            file.write(json.dumps({"instruction": prompt, "output": answer}) + "\n")
    for batch in (5, 12, 40):
        data = RowBatches(rows, tokenizer, batch=batch, budget=640, cutoff=200, seed=0)
        for step in range(30):
            for b in data.window(step):
                like = [most for most in data.largest()
                        if rounded(max(most.lengths)) == rounded(max(b.lengths))]
                assert len(like) == 2 and len(b.lengths) <= min(len(m.lengths) for m in like)
                assert len(b.tokens) <= max(len(most.tokens) for most in like)
                assert len(b.counts) <= max(len(most.counts) for most in like)


def test_the_largest_batches_are_there_for_processes_without_rows(rows_file, tokenizer):
    """Of three processes and windows of two rows, one has nothing to do."""
    path, _ = rows_file
    for rank in range(3):
        data = RowBatches(path, tokenizer, batch=2, budget=640, cutoff=100, seed=0,
                          share=slice(rank, None, 3))
        assert bool(data.window(0)) == (rank < 2) and all(b.lengths for b in data.largest())
        stream = SkillStream(tokenizer, budget=2048, max_digits=6, steps=100, seed=0, reserved=(),
                             share=slice(rank, None, 3))
        assert bool(stream.window(15)) == (rank < 2)
        assert [len(batch.lengths) for batch in stream.largest()] == [1]


def test_byte_order_marks_and_blank_lines_are_passed_over(tmp_path):
    path = tmp_path / "rows.jsonl"
    row = {"instruction": "2 + 3", "input": "2 + 3", "output": "2 + 3 = 5", "answer": "5"}
    for text in (json.dumps(row) + "\n\n" + json.dumps(row) + "\n", json.dumps([row, row])):
        path.write_text("\ufeff" + text)
        assert list(training_rows(path)) == [row, row]
        assert [q.operands for q in read_questions(path)] == [(2, "+", 3)] * 2
        assert audit_file(path).rows == 2 and audit_file(path).bad == 0


def test_text_that_is_no_unicode_is_named(tmp_path, tokenizer):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"instruction": "2 + 3 \\udce9", "output": "5"}\n')
    with pytest.raises(UserError, match="line 1: .* is not text that can be written in UTF-8"):
        RowBatches(path, tokenizer, batch=1, budget=512, cutoff=100, seed=0)


def test_long_rows_are_left_out_and_counted(rows_file, tokenizer):
    path, rows = rows_file
    whole = RowBatches(path, tokenizer, batch=8, budget=512, cutoff=100, seed=0)
    lengths = [whole.starts[i + 1] - whole.starts[i] - 1 for i in range(len(whole))]
    cut = RowBatches(path, tokenizer, batch=8, budget=512, cutoff=min(lengths), seed=0)
    assert cut.left_out == [i for i, n in enumerate(lengths, 1) if n > min(lengths)] != []
    with pytest.raises(UserError, match="--cutoff"):
        RowBatches(path, tokenizer, batch=8, budget=512, cutoff=3, seed=0)


@pytest.mark.parametrize("line, message", [
    ('{"x": ' + "1" * 5000 + "}", "line 2: not a JSON object"),
    ("{broken", "line 2: not a JSON object"), ("[1]", "line 2: a row must be a JSON object"),
    ('{"instruction": "a"}', "line 2: the field 'output' must be a string"),
    ('{"instruction": "a", "output": 5}', "line 2: the field 'output' must be a string"),
    ('{"instruction": "", "output": "5"}', "line 2: instruction and input are both empty")])
def test_bad_lines_are_named(tmp_path, line, message):
    path = tmp_path / "bad.jsonl"
    path.write_text('{"instruction": "a", "output": "b"}\n' + line + "\n")
    with pytest.raises(UserError, match=f"bad.jsonl, {message}"):
        list(training_rows(path))


def test_a_first_line_with_deep_brackets_is_named(tmp_path):
    path = tmp_path / "bad.jsonl"
    path.write_text('{"a": ' + "[" * 200_000 + "\n")
    with pytest.raises(UserError, match="line 1: not a JSON object"):
        list(training_rows(path))


def test_a_single_list_is_read_too(rows_file, tmp_path):
    path, rows = rows_file
    (tmp_path / "list.json").write_text(json.dumps(rows, indent=4))
    for name, text in (("a.json", b'[{"instruction": "\xff"}]'), ("a.jsonl", b'{"\xff"}')):
        (tmp_path / name).write_bytes(text)
        with pytest.raises(UserError, match=f"{name}.*UTF-8"):
            list(training_rows(tmp_path / name))
    assert list(training_rows(tmp_path / "list.json")) == list(training_rows(path)) == rows


def test_packed_skills_learn_answers_at_every_position(tokenizer):
    stream = SkillStream(tokenizer, budget=2048, max_digits=6, steps=100, seed=0, reserved=())
    assert [stream.digits(s) for s in (0, 25, 50, 99)] == [2, 4, 6, 6]
    short, long = stream.window(0)[0], stream.window(15)[0]
    assert short.lengths == [256] * 8 and long.lengths == [1024] * 2
    for batch in (short, long):
        ends = 0
        for tokens, labels, _ in batch.rows():
            learnt = labels[:-1] != IGNORE
            # a label is the next token, except at a row's last, where the next row's bos follows
            inside = learnt & (tokens[1:] != tokenizer.bos_id)
            assert (tokens[1:][inside] == labels[:-1][inside]).all()
            last = learnt & (tokens[1:] == tokenizer.bos_id)
            assert (labels[:-1][last] == tokenizer.eos_id).all()
            ends += int(last.sum())
        assert ends > 20
    assert (long.rows()[0][1][900:] != IGNORE).any()
    rng, at = Random("0/0"), 0  # the first block once more, row by row
    for row in (mixes.sample(rng, 2) for _ in range(5)):
        ids, n_prompt = tokenizer.encode_pair(row_prompt(row), row["output"])
        labels = short.labels[at: at + len(ids) - 1].tolist()
        assert labels == [IGNORE] * (n_prompt - 1) + ids[n_prompt:]
        at += len(ids) - 1
    again = SkillStream(tokenizer, budget=2048, max_digits=6, steps=100, seed=0, reserved=())
    assert (again.window(15)[0].tokens == long.tokens).all()
    shares = [SkillStream(tokenizer, budget=2048, max_digits=6, steps=100, seed=0, reserved=(),
                          share=slice(rank, None, 3)).window(15) for rank in range(3)]
    assert [[t.tolist() for b in share for t, _, _ in b.rows()] for share in shares] == [
        [t.tolist()] for t, _, _ in long.rows()] + [[]]
    sheets = SkillStream(tokenizer, budget=2048, max_digits=6, steps=100, seed=0, mix="sheets")
    assert sheets.digits(0) == 6 and sheets.window(0)[0].lengths == [512] * 4
