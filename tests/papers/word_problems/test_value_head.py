"""Masks and values: which tokens of a solution are learnt, where its value is asked, and a head
that learns it, is saved, loaded and resumed to the bit.

    python -m pytest tests/papers/word_problems/test_value_head.py
"""

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import train
from goat.distributed import ALONE
from goat.errors import UserError
from goat.files import checkpoint
from goat.files.adapter import VALUE_HEAD, load_adapter
from goat.papers import row_prompt
from goat.papers.word_problems import value_head
from goat.papers.word_problems.format import as_markdown, interpreter_spans
from goat.papers.word_problems.loss_mask import loss_mask
from goat.papers.word_problems.templates import template_rows
from goat.training.batches import IGNORE, RowBatches
from goat.training.run_folder import RunFolder
from support.runs import stop_after_first


def write(path: Path, rows) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def labelled(count: int, length: int = 1000) -> list[dict]:
    """Short traces by turns correct and wrong: a wrong one says a number that is 1 too high."""
    rows = []
    for i, row in enumerate(r for r in template_rows(0, 40 * count) if len(r["output"]) < length):
        answer = int(row["answer"]) + i % 2
        rows.append({**row, "output": row["output"].replace(f"Answer: {row['answer']}",
                                                            f"Answer: {answer}"),
                     "label": ("correct", "wrong")[i % 2]})
    return rows[:count]


def batch_of(path, tokenizer, count, **options):
    """All rows of a file as one batch, in the order of the file."""
    data = RowBatches(path, tokenizer, count, 10**6, 600, 0, **options)
    return data.collate(list(range(count)), count, 600)


def text_of(ids, tokenizer):
    return tokenizer.decode([i for i in ids if i != IGNORE])


# ------------------------------------------------------------------------------------- the mask


@pytest.mark.parametrize("marked, part, before, behind", [
    (str, r"\n<output>\n.*?\n</output>", "</code>", "</output>"),
    (as_markdown, r"(?<=```output)\n.*?\n```", "```output", "\n```")])
def test_outputs_are_masked_and_nothing_else(tmp_path, tokenizer, marked, part, before, behind):
    rows = [{**row, "output": marked(row["output"])} for row in template_rows(2, 12)]
    path = write(tmp_path / "rows.jsonl", rows)
    masked, whole = (batch_of(path, tokenizer, 12, learn_output=learn) for learn in (False, True))
    assert torch.equal(masked.tokens, whole.tokens) and masked.values is None
    for row, (tokens, some, _), (_, every, _) in zip(rows, masked.rows(), whole.rows()):
        learnt = re.sub(part, "", row["output"], flags=re.DOTALL)
        assert learnt != row["output"] and some.max() == every.max()
        assert text_of(some.tolist(), tokenizer) == learnt
        assert text_of(every.tolist(), tokenizer) == row["output"]
        kept = some != IGNORE
        assert torch.equal(some[kept], every[kept])  # none has moved
        hidden = ((some == IGNORE) & (every != IGNORE)).nonzero()[:, 0]
        first, last = (tokenizer.decode(tokens[: at + 1].tolist())
                       for at in (hidden[0].item(), hidden[-1].item() + 1))
        assert first.endswith(before) and last.endswith(behind)  # and not one further
    assert torch.equal(batch_of(path, tokenizer, 12).labels, masked.labels)  # the default


def test_the_scripts_flag_decides_whether_outputs_are_learnt(tmp_path, tokenizer):
    path = write(tmp_path / "rows.jsonl", template_rows(2, 12))
    for more, masked in (([], 12), (["--learn-output"], 0)):
        args = train.parse_args(["--data", str(path), *more])
        assert len(train.load_data(args, tokenizer).masks) == masked


def test_rows_without_outputs_are_as_before(tmp_path, tokenizer):
    """Prose, sums, and an `<output>` that no code precedes: learnt as a whole."""
    rows = [*template_rows(2, 4, code=False),
            {"instruction": "1 + 1", "output": "1 + 1 = 2"},
            {"instruction": "What?", "output": "<output>\n5\n</output>"}]
    path = write(tmp_path / "rows.jsonl", rows)
    data = RowBatches(path, tokenizer, 6, 10**6, 600, 0)
    assert not data.masks
    batch = batch_of(path, tokenizer, 6)
    for row, (_, labels, _) in zip(rows, batch.rows(), strict=True):
        assert text_of(labels.tolist(), tokenizer).strip() == row["output"]


@pytest.mark.parametrize("marked, end", [(str, "</step>"), (as_markdown, "\n```")])
def test_labels_say_where_values_are_learnt(tmp_path, tokenizer, marked, end):
    rows = labelled(6) + list(template_rows(3, 2))  # the last two are learnt, but not valued
    rows = [{**row, "output": marked(row["output"])} for row in rows]
    batch = batch_of(write(tmp_path / "rows.jsonl", rows), tokenizer, 8, valued=True)
    for row, (tokens, labels, values) in zip(rows, batch.rows(), strict=True):
        at = values.nonzero()[:, 0].tolist()
        target = {"correct": 1, "wrong": -1, None: 0}[row.get("label")]
        assert set(values[at].tolist()) == ({target} if target else set())
        ends = [tokenizer.decode(tokens[: t + 1].tolist()) for t in at]
        steps = len(interpreter_spans(row["output"])) + 1 if target else 0
        assert len(ends) == steps and all(text.endswith(end) for text in ends[:-1])
        if target:
            assert ends[-1] == row_prompt(row) + row["output"]
        assert (labels == IGNORE).all() == (target == -1)


def test_a_solution_without_steps_is_valued_at_its_end(tmp_path, tokenizer):
    rows = [{"instruction": "1 + 1", "output": f"1 + 1 = {i}", "label": label}
            for i, label in ((2, "correct"), (3, "wrong"))]
    batch = batch_of(write(tmp_path / "rows.jsonl", rows), tokenizer, 2, valued=True)
    for (tokens, _, values), end, value in zip(batch.rows(), "23", (1, -1), strict=True):
        [at] = values.nonzero()[:, 0].tolist()
        assert values[at] == value
        assert tokenizer.decode(tokens[: at + 1].tolist()).endswith(f"= {end}")


def test_a_token_that_reaches_over_the_end_of_a_tag():
    """As LLaMA's "></": it is learnt, and a value is asked of the token before it."""
    class Gluing:
        def encode(self, prompt, text):
            return ["bos", *re.findall("></|.", prompt + text, re.DOTALL)]

    text = "</code>\n<output>\n1\n</output></step>"
    ids = [*Gluing().encode("Q", text), "eos"]
    row = {"output": text, "label": "wrong"}
    found = loss_mask(row, "Q", ids, Gluing().encode, learn_output=False, valued=True)
    glued = ids.index("></")
    assert found.masked == [(2 + len("</code>"), glued)] and found.steps == [len(ids) - 2]
    assert ids[found.masked[0][0]] == "\n" and ids[glued - 1] == "t"
    [(start, end)], value, steps = loss_mask({**row, "output": f"{text}</p>"}, "Q", [
        *Gluing().encode("Q", f"{text}</p>"), "eos"], Gluing().encode, False, True)
    assert (end, value, len(steps)) == (glued, -1, 2) and steps[0] == len(ids) - 3


def test_bad_labels_are_refused_by_row(tiny_base, tmp_path, tokenizer):
    good, wrong = labelled(2)
    path = tmp_path / "rows.jsonl"
    args = train.parse_args(flags(tiny_base, path, "unused"))
    for rows, valued, said in (([good, wrong], False, "row 2: the row is labelled wrong: only --v"),
                               ([{**good, "label": "?"}], True, "row 1: the label '.' is neither"),
                               ([{**good, "label": ["wrong"]}], True, "row 1: the label ..wrong"),
                               ([good, good], True, "some correct and some wrong"),
                               ([wrong, wrong], True, "some correct and some wrong"),
                               ([], True, "the file holds no rows"),
                               (list(template_rows(0, 2)), True, "--value-head needs rows with")):
        write(path, rows)
        with pytest.raises(UserError, match=said):
            args.value_head = valued
            train.load_data(args, tokenizer)
    args.val_data, args.value_head = path, True  # whose loss is the answers' alone
    assert len(train.load_held_out(args, tokenizer, None).rows) == 2


# -------------------------------------------------------------------------------- loss and head


def test_the_loss_is_cross_entropy_and_a_tenth_of_the_squared_error(tiny_base, tmp_path, tokenizer):
    """Over a window cut into micro-batches, against the formula written out."""
    path = write(tmp_path / "rows.jsonl", labelled(8, 200))
    model = value_head.add(checkpoint.load_model(tiny_base))
    torch.manual_seed(0)
    torch.nn.init.normal_(model.value_head.weight, std=0.1)
    window = RowBatches(path, tokenizer, 8, 512, 600, 0, valued=True).window(0)
    assert len(window) > 2
    optimizer = train.Optimizer(model, [model.value_head.weight], torch.float32, lr=0.1,
                                muon_lr=0.0, betas=(0.9, 0.9), weight_decay=0.0)
    loss, _ = train.add_gradients(model, window, optimizer, ALONE, 0.1)
    with torch.no_grad():
        entropy, errors = [], []
        for b in window:
            hidden = model.hidden(b.tokens, model.rows(b.lengths))
            logits = model.lm_head(hidden).log_softmax(-1)
            for n in (b.labels != IGNORE).nonzero()[:, 0].tolist():
                entropy.append(-logits[n, b.labels[n]].item())
            for n in b.values.nonzero()[:, 0].tolist():
                said = torch.tanh(hidden[n] @ model.value_head.weight[0]).item()
                errors.append((said - b.values[n].item()) ** 2)
    wanted = sum(entropy) / len(entropy) + 0.1 * sum(errors) / len(errors)
    assert loss == pytest.approx(wanted, abs=1e-5)
    assert len(errors) == sum(row["output"].count("</step>") for row in labelled(8, 200))


def values(*args, **options) -> list[float]:
    """In the order of the solutions."""
    return [value for _, value in sorted(value_head.values(*args, **options))]


def test_a_fresh_head_says_nothing_and_values_do_not_depend_on_company(tiny_base, tokenizer):
    model = value_head.add(checkpoint.load_model(tiny_base))
    texts = [(f"Q{i}? ", "<step>\n" * i + "x") for i in range(1, 40, 5)]
    assert values(model, tokenizer, texts) == [0.0] * len(texts)
    torch.nn.init.normal_(model.value_head.weight, generator=torch.Generator().manual_seed(1))
    together = values(model, tokenizer, texts)
    alone = [values(model, tokenizer, [text])[0] for text in texts]
    assert together == pytest.approx(alone, abs=1e-5) and len(set(together)) == len(texts)
    tight = values(model.train(), tokenizer, texts, budget=1)
    assert tight == pytest.approx(alone, abs=1e-5) and model.training  # without its dropout
    prompt, text = texts[3]
    ids = torch.tensor(tokenizer.encode(prompt + text))
    hidden = model.hidden(ids, model.rows([len(ids)]))[-1]
    assert alone[3] == pytest.approx(torch.tanh(hidden @ model.value_head.weight[0]).item(), 1e-5)
    assert values(model, tokenizer, [("Q", "x" * 2000)])  # longer than the context


# --------------------------------------------------------------------------------- training it


def flags(base, rows, out, *more) -> list[str]:
    return ["--base", str(base), "--data", str(rows), "--out", str(out), "--dtype", "fp32",
            "--device", "cpu", "--lora-r", "4", "--lora-targets", "all", "--batch", "8",
            "--micro-tokens", "2048", "--max-steps", "4", "--lr", "1e-2", "--warmup", "1",
            "--log-every", "1", "--value-head", *more]


def test_resuming_gives_the_very_head(tiny_base, tmp_path, monkeypatch):
    rows = write(tmp_path / "rows.jsonl", labelled(16, 200))
    train.main(flags(tiny_base, rows, tmp_path / "a"))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(RunFolder, "save_state", stop_after_first(RunFolder.save_state))
        train.main(flags(tiny_base, rows, tmp_path / "b", "--save-every", "2"))
    train.main(flags(tiny_base, rows, tmp_path / "b", "--save-every", "2", "--resume"))
    for name in (VALUE_HEAD, "adapter_model.safetensors"):
        a, b = ((tmp_path / run / "adapter" / name).read_bytes() for run in "ab")
        assert a == b, name
    head = load_file(tmp_path / "a" / "adapter" / VALUE_HEAD)
    assert {name: tuple(t.shape) for name, t in head.items()} == {
        "value_head.weight": (1, 32), "value_head.bias": (1,)}
    assert head["value_head.weight"].abs().max() > 0


def test_it_learns_to_tell_right_from_wrong(tiny_base, tmp_path, tokenizer):
    """The head and the adapter together, by heart; what is read back says what was learnt."""
    rows = labelled(8, 200)
    path = write(tmp_path / "rows.jsonl", rows)
    train.main(flags(tiny_base, path, tmp_path / "run", "--max-steps", "60", "--lora-dropout", "0",
                     "--value-weight", "1", "--log-every", "60"))
    model = load_adapter(checkpoint.load_model(tiny_base), tmp_path / "run" / "adapter")
    value_head.load(model, tmp_path / "run" / "adapter")
    said = values(model, tokenizer, [(row_prompt(row), row["output"]) for row in rows])
    assert all((value > 0.3) == (row["label"] == "correct") and abs(value) > 0.3
               for value, row in zip(said, rows)), said


def test_what_does_not_fit_is_refused(tiny_base, tmp_path):
    model = checkpoint.load_model(tiny_base)
    with pytest.raises(UserError, match="no value model here; train one"):
        value_head.load(model, tmp_path)
    for tensors, said in (({"value_head.weight": torch.ones(1, 9), "value_head.bias":
                            torch.ones(1)}, r"shape \(1, 9\)"),
                          ({"value_head.weight": torch.full((1, 32), torch.nan),
                            "value_head.bias": torch.ones(1)}, "weight is NaN or infinite"),
                          ({"weight": torch.ones(1, 32)}, "missing")):
        save_file(tensors, tmp_path / VALUE_HEAD)
        with pytest.raises(UserError, match=said):
            value_head.load(checkpoint.load_model(tiny_base), tmp_path)
    for more in (["--full"], ["--skills", "3", "--max-steps", "2"]):
        with pytest.raises(UserError, match="--value-head is trained beside LoRA"):
            train.parse_args(["--value-head", *more])
