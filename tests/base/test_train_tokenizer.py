"""goat/base/train_tokenizer.py: the same bytes twice, digits apart, broken texts named.

Run: python -m pytest tests/base/test_train_tokenizer.py
"""

import json

import pytest

from goat.base.train_tokenizer import main
from goat.errors import UserError
from goat.files.vocabulary import open_tokenizer

WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "apples",
         "books", "hours"]


def test_training_gives_the_same_bytes_twice(tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"input": f"{a} {b}", "output": "<<1+1=2>>2"}) + "\n"
                            for a in WORDS for b in WORDS))
    for name in ("a.model", "b.model"):
        main([str(rows), "--vocab-size", "420", "--out", str(tmp_path / name)])
    assert (tmp_path / "a.model").read_bytes() == (tmp_path / "b.model").read_bytes()
    made = open_tokenizer(tmp_path / "a.model")
    assert made.vocab_size == 420 and made.decode(made.encode("apples 12")) == "apples 12"


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json"])
def test_long_texts_count_as_short_ones_do(name, tmp_path):
    rows = [{"input": text} for text in ("zebra giraffe " * 400, *WORDS, *map(str, range(99)))]
    (tmp_path / name).write_text(json.dumps(rows) if name == "rows.json" else
                                 "".join(json.dumps(row) + "\n" for row in rows))
    main([str(tmp_path / name), "--vocab-size", "420", "--out", str(tmp_path / "t.model")])
    made = open_tokenizer(tmp_path / "t.model")
    assert len(made.encode("zebra giraffe", bos=False)) == 2


def test_digits_are_grouped_only_when_asked(tmp_path):
    rows = tmp_path / "rows.txt"
    rows.write_text("".join(f"{a} {b} {len(a + b) * 111}\n" for a in WORDS for b in WORDS))
    for flags, name in (([], "apart"), (["--group-digits"], "grouped")):
        main([str(rows), "--vocab-size", "420", "--out", str(tmp_path / f"{name}.model"), *flags])
        made = open_tokenizer(tmp_path / f"{name}.model")
        most = max(sum(c.isdigit() for c in made.model.IdToPiece(i))
                   for i in range(made.vocab_size) if not made.model.IsByte(i))
        assert (most == 1) == (name == "apart")
        assert made.decode(made.encode("one 222 + 301")) == "one 222 + 301"
    for size in ("9", "90000"):
        with pytest.raises(UserError, match=f"--vocab-size {size}: [Vv]ocab"):
            main([str(rows), "--vocab-size", size, "--out", str(tmp_path / "no.model")])
    assert not (tmp_path / "no.model").exists()


def test_a_broken_corpus_line_is_named(tmp_path):
    for line in ("not json", "null", '{"input": 1}', '{"input": "a \\ud800"}'):
        (tmp_path / "c.jsonl").write_text(f'{{"input": "a"}}\n{line}\n')
        with pytest.raises(UserError, match="c.jsonl, line 2"):
            main([str(tmp_path / "c.jsonl"), "--out", str(tmp_path / "t.model")])
    (tmp_path / "c.txt").write_bytes(b"a\ncaf\xe9\n")
    with pytest.raises(UserError, match="c.txt, line 2: this is not text in UTF-8"):
        main([str(tmp_path / "c.txt"), "--out", str(tmp_path / "t.model")])
    (tmp_path / "empty.jsonl").write_text('{"text": "of another field"}\n')
    with pytest.raises(UserError, match="empty.jsonl: no text; of rows the fields"):
        main([str(tmp_path / "empty.jsonl"), "--out", str(tmp_path / "t.model")])
    with pytest.raises(UserError, match="--vocab-size 0: must be 1 or more"):
        main([str(tmp_path / "c.txt"), "--vocab-size", "0"])
    with pytest.raises(UserError, match="it would be replaced"):
        main([str(tmp_path / "c.txt"), "--out", str(tmp_path / "c.txt")])
    with pytest.raises(UserError, match="no file can be written there"):  # said at once
        main([str(tmp_path / "none.jsonl"), "--out", str(tmp_path)])
