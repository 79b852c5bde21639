"""Two processes share the questions, and answer like one: the same records, rows, files and print.

That they end when one of them does is in tests/test_distributed.py.
Run: python -m pytest tests/evaluation/test_processes.py
"""

import json
import re

import pytest
import torch

import eval as script
import generate_data
from goat import device
from goat.distributed import ALONE
from goat.errors import UserError
from goat.files import checkpoint
from goat.files.vocabulary import open_tokenizer
from goat.llama.generate import new_rows
from goat.papers.word_problems import interpreter, value_head
from goat.papers.word_problems.format import TASK
from support.adapters import adapted
from support.answering import WAYS, answers, take
from support.processes import both
from support.slow import SLOW

ANSWERS = """
import json
import sys
import eval as script
from goat.distributed import sharing
from support.answering import answers
base, out, *flags = sys.argv[1:]
group, own = sharing(), []
gather = group.gather
group.gather = lambda items, *rest: gather((own.append(i) or i for i in items), *rest)
with open(f"{out}/{group.rank}.json", "w") as file:
    json.dump([answers(base, group), len(own)], file)
script.sharing = lambda: group
script.main(flags)
"""


@pytest.fixture
def adapter(tiny_base, tmp_path):
    """An adapter that changes the tiny model, with a value model."""
    model = adapted(tiny_base, tmp_path / "adapter")
    value_head.add(model)
    torch.nn.init.normal_(model.value_head.weight, generator=torch.Generator().manual_seed(0))
    value_head.save(model, tmp_path / "adapter")
    return tmp_path / "adapter"


def test_two_processes_answer_like_one(tiny_base, adapter, tmp_path, capsys):
    """Greedy, at random, beams, interpreter; and eval.py with samples that a value model ranks."""
    out = tmp_path / "results.json"
    flags = ["--base", str(tiny_base), "--adapter", str(adapter), "--dtype", "fp32", "--device",
             "cpu", "--max-new-tokens", "6", "--suite", TASK, "--limit", "2", "--samples", "3",
             "--rerank", "value", "--out", str(out)]
    script.main(flags)
    shown, alone = capsys.readouterr().out, json.loads(out.read_text())
    out.unlink()
    said = both(ANSWERS, tiny_base, tmp_path, *flags)
    together = json.loads(out.read_text())
    assert said == [shown, ""] and "best value" in shown
    assert (alone["processes"], together["processes"]) == (1, 2)
    for key in ("records", "reranking", "scores", "fingerprint", "questions", "settings"):
        assert together[key] == alone[key], key
    found = answers(str(tiny_base), ALONE)
    assert all(len({record["working"] for record in found[way]}) > 1 for way in WAYS)
    for rank, asked in enumerate((3, 2)):  # of the five questions of each way
        assert json.loads((tmp_path / f"{rank}.json").read_text()) == [found, asked * len(WAYS)]


GENERATED = """
import sys
import torch
import generate_data
from goat import device
from goat.papers.word_problems import interpreter
from support.answering import take
interpreter.Solution.take = take
device.choose = lambda *flags: (torch.device("cpu"), torch.float32)
generate_data.main(sys.argv[1:])
"""


@SLOW
def test_two_processes_train_themselves_like_one(tiny_base, adapter, tmp_path, capsys, monkeypatch):
    (tmp_path / "train.jsonl").write_text("".join(
        json.dumps({"question": "How many? " * (76 + i * 3 % 5), "answer": f"#### {i % 3}"}) + "\n"
        for i in range(5)))
    flags = ["--task", TASK, "--gsm8k", str(tmp_path), "--from-model", str(adapter), "--base",
             str(tiny_base), "--samples", "4", "--out", str(tmp_path / "rows.jsonl")]
    monkeypatch.setattr(interpreter.Solution, "take", take)
    monkeypatch.setattr(device, "choose", lambda *flags: (torch.device("cpu"), torch.float32))
    assert generate_data.main(flags) == 0
    files = {name: tmp_path / name for name in ("rows.jsonl", "rows.wrong.jsonl")}
    shown = capsys.readouterr().out
    alone = {name: file.read_bytes() for name, file in files.items()}
    for file in files.values():
        file.unlink()
    said = both(GENERATED, *flags)
    seconds = re.compile(r"in [0-9.]+ s")
    assert seconds.sub("", said[0]) == seconds.sub("", shown) and said[1] == ""
    assert {name: file.read_bytes() for name, file in files.items()} == alone


@pytest.mark.parametrize("size", [1, 2, 3, 9])
def test_shares_are_of_even_lengths_and_keep_their_numbers(tiny_base, size):
    model, tokenizer = checkpoint.load_model(tiny_base), open_tokenizer(tiny_base)
    prompts = [f"{'1' * (i * 7 % 8)} + 1" for i in range(8)]
    shares = [new_rows(model, tokenizer, prompts, 9, 2, slice(rank, None, size))
              for rank in range(size)]
    taken = [(row.problem, row.sample) for rows in shares for row in rows]
    assert sorted(taken) == [(i, sample) for i in range(8) for sample in range(2)]
    assert all(row.prompt == prompts[row.problem] for rows in shares for row in rows)
    counts = [sum(len(row.ids) for row in rows) for rows in shares]
    assert max(counts) - min(counts) <= 2 * max(len(row.ids) for rows in shares for row in rows)


@pytest.mark.parametrize("main, flags, why", [
    (script.main, ["--ask", "2 + 2"], "--ask and --compare go without it"),
    (script.main, ["--compare", "a.json"], "--ask and --compare go without it"),
    (generate_data.main, ["--rows", "5"], "start this with python"),
    (generate_data.main, ["--check", "rows.jsonl"], "start this with python"),
    (generate_data.main, ["--task", TASK, "--rows", "5"], "start this with python")])
def test_what_is_not_shared_is_refused_under_torchrun(main, flags, why, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match=f"torchrun shares .*{why}"):
        main(flags)
