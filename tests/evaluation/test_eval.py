"""eval.py from the command line to its files: a tiny random model, and one that knows the answers.

Run: python -m pytest tests/evaluation/test_eval.py
"""

import json
import re
import shutil
import sys
from collections import Counter
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from types import SimpleNamespace

import pytest

import eval as script
from goat.errors import UserError
from goat.evaluation import curves, evaluate, page, questions, report
from goat.evaluation.questions import load_suites, suite_names
from goat.files import checkpoint
from goat.files.adapter import save_adapter
from goat.files.rows import write_lines
from goat.llama import lora
from goat.papers.arithmetic.solutions import solve
from support import adapters


@pytest.fixture
def run(tiny_base, tmp_path, capsys):
    """Run eval.py on the tiny model: (exit value, what it printed, results.json or None)."""
    def call(*flags, base=("--base", str(tiny_base))):
        out = tmp_path / "results.json"
        more = [] if "--compare" in flags else [*base, "--max-new-tokens", "8", "--dtype", "fp32",
                                                "--device", "cpu"]
        if not {"--compare", "--ask"} & set(flags):
            more += ["--out", str(out)]
        code = script.main([*more, *map(str, flags)])
        content = json.loads(out.read_text()) if out.exists() else None
        return code, capsys.readouterr().out, content
    return call


@cache
def worded_questions():
    """Prompt -> question, of all suites that have operands."""
    return {q.prompt: q for q in load_suites(suite_names(), 40) if q.operands}


@pytest.fixture
def scholar(monkeypatch):
    """Instead of a model: one that works out every question of the suites as Goat would, except
    that it adds 1 to the answers of the operations in `weak_at`, and stops after `last`."""
    behaviour = SimpleNamespace(weak_at="", last=10**9)

    def answer(model, tokenizer, prompts, **options):
        asked = worded_questions()
        for i, prompt in enumerate(prompts[:behaviour.last]):
            text = solve(asked[prompt].expression).solution
            if asked[prompt].operands[1] in behaviour.weak_at:
                stem, _, last = text.rpartition(" ")
                text = f"{stem} {int(last) + 1}"
            yield SimpleNamespace(problem=i, text=text)
        if behaviour.last < len(prompts):
            raise KeyboardInterrupt

    monkeypatch.setattr(evaluate, "stream", answer)
    return behaviour


def test_a_real_model_from_end_to_end(run):
    """A random model knows nothing, but everything it wrote is in the file."""
    code, shown, results = run("--suite", "demo", "--limit", 3, "--show", 2)
    assert code is None and "21 questions" in shown and shown.count(">>>") == 2
    assert results["complete"] and len(results["records"]) == results["questions"] == 21
    assert results["settings"]["dtype"] == "float32" and results["settings"]["adapter"] is None
    assert results["settings"]["seed"] == 0 and results["config"]["n_layers"] == 2
    assert results["versions"].keys() >= {"python", "platform", *report.PACKAGES}
    assert [s["n"] for s in results["scores"]] == [3] * 7
    assert results["fingerprint"] == questions.fingerprint(load_suites(["demo"], 3))
    assert all(r["working"] and not r["right"] and r["kind"] for r in results["records"])


def test_beams_and_sampling_run(run):
    assert run("--suite", "demo", "--limit", 1, "--beams", 2)[2]["complete"]
    flags = ("--suite", "demo", "--limit", 1, "--temperature", 1, "--seed")
    first, again, other = (run(*flags, seed)[2]["records"] for seed in (3, 3, 4))
    assert first == again and first != other
    assert run(*flags, 3, "--top-p", 0.01)[2]["records"] != first


def test_adapter_int8_and_merge(run, tiny_base, tmp_path):
    adapters.adapted(tiny_base, tmp_path / "adapter", fill=0.5, alpha=6)
    adapter = ["--adapter", tmp_path / "adapter"]
    said, worked = {}, {}
    for more in ("", "--int8", "adapter", "adapter --merge", "adapter --merge --int8"):
        flags = [*adapter, *more.split()[1:]] if "adapter" in more else more.split()
        _, said[more], results = run("--suite", "demo", "--limit", 2, *flags)
        worked[more] = [r["working"] for r in results["records"]]
    assert worked[""] != worked["adapter"] == worked["adapter --merge"]
    assert [more for more in said if "8 int8 layers are 32-bit now" in said[more]] == [
        "adapter --merge --int8"]
    assert len(worked["--int8"]) == len(worked["adapter --merge --int8"]) == 14


def test_all_right_in_the_papers_table(run, scholar):
    code, shown, results = run("--limit", 30)  # bigbench and large
    table = shown[shown.index("Exact match"):]
    assert code is None and table.count("100/100") >= 32 and "here" in table
    assert "97.6/99.7" in table and "Goat-7B" in table and "GPT-4" in table
    assert all(s["exact"] == 1 and not s["errors"] for s in results["scores"])
    assert "large, by wording: seen 100" in shown


def test_errors_are_counted_by_kind(run, scholar):
    scholar.weak_at = "-*"
    _, shown, results = run("--suite", "demo", "--limit", 10, "--show", 1)
    errors = {s["cell"]: s["errors"] for s in results["scores"]}
    assert errors["sub 1-8D"] == {"subtraction": 10} and errors["mul 3Dx3D"] == {"sum": 10}
    assert errors["add 1-8D"] == {} and "subtraction 10" in shown
    shown_working = shown[shown.index("--- demo, sub"):]
    marked = re.search(r">>>(-?\d+)<<<\n    equation 1: .* is (-?\d+), not", shown_working)
    assert int(marked[1]) == int(marked[2]) + 1


def test_interrupted_run_keeps_what_was_done(run, scholar):
    scholar.last = 12
    code, shown, results = run("--suite", "demo", "--limit", 5)
    assert code == 130 and "interrupted: 12 of 35 questions" in shown
    assert not results["complete"] and len(results["records"]) == 12


def test_interrupted_before_the_first_answer(run, scholar, tmp_path):
    run("--suite", "demo", "--limit", 5)
    scholar.last = 0
    code, shown, results = run("--suite", "demo", "--limit", 5, "--html", tmp_path / "page.html")
    assert code == 130 and "interrupted before the first answer" in shown
    assert len(results["records"]) == 35  # those of the run before
    assert not (tmp_path / "page.html").exists()


def test_results_are_on_disk_before_anything_is_printed(run, scholar, tmp_path, monkeypatch):
    monkeypatch.setattr(report, "text_report", lambda records, show: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run("--suite", "demo", "--limit", 1, "--html", tmp_path / "page.html")
    assert (tmp_path / "results.json").exists() and (tmp_path / "page.html").exists()


def test_places_that_cannot_be_written_show_at_once(run, tmp_path, monkeypatch):
    monkeypatch.setattr(script, "load", lambda args: pytest.fail("the model was loaded first"))
    with pytest.raises(UserError, match="no file can be written there"):
        run("--limit", 1, "--html", tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        run("--limit", 1, "--html", tmp_path / "file" / "page.html")


def test_compare(run, scholar, tmp_path):
    run("--suite", "demo", "--limit", 20)
    shutil.copy(tmp_path / "results.json", tmp_path / "a.json")
    scholar.weak_at = "/"
    run("--suite", "demo", "--limit", 20)
    shown = run("--compare", tmp_path / "a.json", tmp_path / "results.json")[1]
    lines = {line[:16].strip(): line.split() for line in shown.splitlines()}
    assert lines["demo add 1-8D"][-2:] == ["0:0", "1.000"]
    assert lines["demo div n/1"][-2:] == ["20:0", "0.000"]  # p = 2 / 2^20
    other = report.read_results(tmp_path / "a.json")
    assert report.paired(other[:3], other[3:]).split() == ["-", "-"]  # nothing in common


def test_curves(run, scholar, tmp_path, monkeypatch):
    for rows, weak in ((1000, ""), (50, "/")):
        scholar.weak_at = weak
        run("--suite", "demo", "--limit", 20)
        shutil.copy(tmp_path / "results.json", tmp_path / f"r16-{rows}.json")
    files = [tmp_path / "r16-1000.json", tmp_path / "r16-50.json"]
    found, names, numeric = curves.curves(files)
    assert numeric and names == ["r16-1000", "r16-50"]
    assert [(x, s.exact) for x, s in found["demo div n/1"]] == [(50, 0), (1000, 1)]
    assert [(x, s.exact) for x, s in found["demo add 1-8D"]] == [(50, 1), (1000, 1)]
    shutil.copy(files[0], tmp_path / "base.json")
    found, names, numeric = curves.curves([*files, tmp_path / "base.json"])
    assert not numeric and [x for x, _ in found["demo div n/1"]] == [0, 1, 2]
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(UserError, match="needs matplotlib"):
        curves.plot(files, tmp_path / "curves.png")


@pytest.mark.parametrize("names", [("rows-50", "rows-1000"), ("with", "without")])
def test_curves_are_drawn(run, scholar, tmp_path, names):
    pytest.importorskip("matplotlib")
    run("--suite", "demo", "--limit", 2)
    files = [tmp_path / f"{name}.json" for name in names]
    for file in files:
        shutil.copy(tmp_path / "results.json", file)
    script.main(["--compare", *map(str, files), "--plot", str(tmp_path / "curves.png")])
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    files[0].write_text('{"records": []}')  # cut off before its first answer
    curves.plot(files[:1], tmp_path / "none.png")
    assert (tmp_path / "none.png").is_file()


def test_only_some_cells(run):
    results = run("--suite", "demo", "--limit", 2, "--cell", "mul *D", "add 1-8D")[2]
    assert [r["cell"] for r in results["records"]] == [
        "add 1-8D"] * 2 + ["mul 2Dx2D"] * 2 + ["mul 3Dx3D"] * 2
    with pytest.raises(UserError, match="no questions are called mul 9D; there are add 1-8D, sub"):
        run("--suite", "demo", "--cell", "mul 9D")


def test_questions_that_were_trained_on_are_left_out(run, tmp_path):
    asked = load_suites(["demo"], 20)
    rows, flags = tmp_path / "rows.jsonl", ("--suite", "demo", "--limit", 20, "--leave-out")
    product = next(q for q in asked if q.cell == "mul 2Dx2D")
    quotient = next(q for q in asked if q.cell == "div 3D/2D")
    a, _, b = product.operands
    held = [f"{b} * {a}", quotient.expression, "5 / 3"]  # products are the same both ways
    write_rows(rows, [(f"Find {text}.", text, "0") for text in held])
    _, shown, results = run(*flags, rows)
    assert "left out: 2 questions" in shown
    left = [record["prompt"] for record in results["records"]]
    assert left == [q.prompt for q in asked if q not in (product, quotient)]
    write_rows(rows, [(q.instruction, q.input, q.answer) for q in asked])
    with pytest.raises(UserError, match="holds every question"):
        run(*flags, rows)
    write_lines(rows, ({"instruction": q.instruction, "input": q.input, "output": "..."}
                       for q in asked[1:]))
    assert "left out: 139 questions" in run(*flags, rows)[1]  # rows for training, without answers


def test_all_that_a_file_holds_is_left_out_of_the_suite_skills(run, tmp_path):
    asked = load_suites(["skills"], 3)
    write_rows(tmp_path / "rows.jsonl", [(q.instruction, q.input, q.answer) for q in asked])
    with pytest.raises(UserError, match="holds every question"):
        run("--suite", "skills", "--limit", 3, "--leave-out", tmp_path / "rows.jsonl")


def test_a_file_does_not_pass_for_the_suite_of_its_name(run, tmp_path):
    rows = tmp_path / "large.jsonl"
    write_rows(rows, [("What is 1234 * 12345678?", "1234 * 12345678", str(1234 * 12345678))])
    _, shown, results = run("--data", rows)
    assert [r["suite"] for r in results["records"]] == ["file large"] and "GPT-4" not in shown


def write_rows(path, rows):
    write_lines(path, (dict(zip(("instruction", "input", "answer"), row)) for row in rows))


def test_data_file(run, tmp_path):
    write_rows(tmp_path / "mine.jsonl", [("What is 3 + 4?", "3 + 4", "7")] * 3)
    _, shown, results = run("--data", tmp_path / "mine.jsonl", "--limit", 2)
    assert [r["suite"] for r in results["records"]] == ["mine", "mine"] and "add 1D+1D" in shown


def test_ask(run, monkeypatch):
    def answers(texts):
        monkeypatch.setattr(evaluate, "stream", lambda model, tokenizer, prompts, **options: iter(
            [SimpleNamespace(problem=0, text=texts[prompts[0]])]))

    good = solve("397 * 4429").solution
    answers({"What is 397 x 4429?\nAnswer: ": good})
    shown = run("--ask", "What is 397 x 4429?")[1]
    assert good in shown and "answer: 1758313 (checked" in shown
    answers({"397 * 4429 = ": "1758314"})
    assert "WRONG, equation 1: 397 * 4429 is 1758313" in run("--ask", "397x4429", "--bare")[1]
    answers({"Who?\nAnswer: ": "me"})
    assert "not checked" in run("--ask", "Who?")[1]
    with pytest.raises(UserError, match="--bare needs a question like"):
        run("--ask", "Who?", "--bare")
    with pytest.raises(UserError, match="--wording bare needs a question like"):
        run("--ask", "Who?", "--wording", "bare")
    lines = iter(["caf\udce9 3 + 4", "Who?", ""])
    monkeypatch.setattr("builtins.input", lambda prompt: next(lines))
    monkeypatch.setattr(evaluate, "stream", lambda model, tokenizer, prompts, **options: iter(
        [SimpleNamespace(problem=0, text="me", ids=tokenizer.encode(prompts[0]))]))
    shown = run("--ask")[1]  # a question that cannot be read does not end the session
    assert "error: 'caf" in shown and shown.index("me") > shown.index("error:")


@pytest.mark.parametrize("flags, message", [
    (["--suite", "demo", "bigbang"], "no suite is called 'bigbang'; there are: bigbench, large"),
    (["--limit", 0], "--limit 0: must be 1 or more"),
    (["--beams", 2, "--temperature", 1], "--beams and --temperature exclude each other"),
    (["--beams", 4, "--batch-size", 2, "--limit", 1], "4 beams do not fit"),
    *((["--temperature", bad, "--limit", 1], f"temperature must be 0, which is greedy, or at least "
       f"1e-06, not {bad}") for bad in (-1.0, "nan", "inf", 1e-40)),
    (["--ask", "2 + 2", "--suite", "demo"], "--ask is a question of its own"),
    (["--ask", "2 + 2", "--leave-out", "rows"], "leave out --leave-out"),
    (["--bare", "--wording", "seen"], "--bare is short for --wording bare"),
    (["--data", "rows", "--bare"], "word the questions of suites"),
    (["--top-p", 0.5, "--limit", 1], "--top-p is for tokens chosen at random"),
    (["--suite", "longhand", "--bare"], "the suite longhand has one wording"),
    (["--suite", "skills", "--wording", "held out"], "--suite skills is asked in its own notation"),
    (["--ask", "2 + 2", "--wording", "seen"], "--ask asks in your words"),
    (["--samples", 4, "--temperature", 0], "all --samples of a problem would be the same"),
    (["--compare", "a.json", "--suite", "demo"], "--compare asks nothing: leave out --"),
    (["--compare", "a.json", "--show", 2], "--compare asks nothing: leave out --show"),
    (["--compare", "a.json", "--out", "b.json"], "--compare asks nothing: leave out --out"),
    (["--ask", "1 + 2", "--out", "b.json"], "--ask is a question of its own: leave out --out"),
    (["--ask", "1 + 2", "--bare", "--interpreter"], "--interpreter solves word problems: leave"),
    (["--compare", "a.json", "b.json", "--plot", "a.json"], "a.json: it would be replaced"),
    (["--ask", "2 + 2", "--show", 3], "--ask is a question of its own: leave out --show"),
    (["--ask", "25 % 7", "--bare"], "--bare needs a question like"),
    (["--data", "README.md", "--out", "README.md"], "README.md"),
    (["--limit", 1, "--out", "a.html", "--html", "a.html"], "a.html: it would be replaced"),
    (["--base", ""], "--base is empty"), (["--data", ""], "--data is empty"),
    (["--gsm8k", ""], "--gsm8k is empty"), (["--leave-out", ""], "--leave-out is empty"),
    (["--adapter", ""], "--adapter is empty"), (["--html", ""], "--html is empty"),
    (["--value-adapter", ""], "--value-adapter is empty"), (["--plot", ""], "--plot is empty"),
    (["--show", -1, "--limit", 1], "--show -1: must be 0 or more"),
    (["--merge", "--adapter", "none", "--limit", 1], "--merge folds an adapter into the weights"),
    (["--ask", "  "], "--ask: the question is empty"), (["--out", ""], "--out is empty"),
    (["--plot", "curves.png"], "--plot draws what --compare puts side by side"),
    (["--compare", "README.md"], "README.md: this is no results file"),
])
def test_bad_input_is_one_clear_line(run, flags, message):
    with pytest.raises(UserError, match=re.escape(message)) as error:
        run(*flags)
    assert "\n" not in str(error.value)


def test_missing_base_and_foreign_adapter(run, tiny_base, tmp_path):
    with pytest.raises(UserError, match="no-such-folder"):
        run("--limit", 1, base=("--base", "no-such-folder"))
    other = checkpoint.load_model(tiny_base)
    lora.add_lora(other, rank=2)
    for layer in lora.lora_layers(other).values():
        layer.lora_B.data.fill_(0.5)
        layer.lora_A.data = layer.lora_A.data[:, :8].clone()
    save_adapter(other, tmp_path / "foreign", tiny_base)
    with pytest.raises(UserError) as error:
        run("--limit", 1, "--adapter", tmp_path / "foreign")
    assert str(tiny_base) in str(error.value) and "foreign" in str(error.value)


# ------------------------------------------------------------------------------------ the HTML page


class Tags(HTMLParser):
    """Counts tags, gathers text and checks that every opened tag is closed."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.text = Counter(), [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags[tag] += 1
        assert not any(name.startswith("on") or name in ("src", "href") for name, _ in attributes)
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_page_of_a_run(run, scholar, tmp_path):
    scholar.weak_at = "*"
    shown = run("--suite", "bigbench", "large", "grid", "--limit", 4, "--html",
                tmp_path / "page.html")[1]
    assert shown.count(" in % by digits of the first (down) and the second number (across)") == 4
    parsed = Tags((tmp_path / "page.html").read_text())
    text = " ".join(parsed.text)
    assert parsed.tags["script"] == parsed.tags["link"] == parsed.tags["img"] == 0
    assert parsed.tags["mark"] == parsed.tags["pre"] == page.WORKINGS
    # Table 3 and the heat map by operation, false steps, the cells of three suites
    assert parsed.tags["table"] == 4 + 4 + 1 + 3
    for expected in ("Beside the paper's Table 3", "96.8/99.5", "Where the working broke", "MUL",
                     "16D-16D", "sum", "large, by wording: seen", "Every cell: grid"):
        assert expected in text


def test_page_counts_first_false_steps_by_operation():
    """Three suites; cells of one operation go together, a suite without operations is a column."""
    def cell(**errors):
        wrong = sum(errors.values())
        return evaluate.Score(9, 9 - wrong, 1 - wrong / 9, 0.1, 0.9, 0.5, 0.5, errors, False)

    shown = page.attribution({("bigbench", "mul 2D"): cell(sum=1, product=2),
                              ("large", "mul 4Dx8D"): cell(sum=4), ("large", "add 8D+8D"): cell(),
                              ("skills", "copy"): cell(answer=1)})
    rows = [re.findall(r"<t[dh][^>]*>([^<]*)", row) for row in shown.split("<tr>")[1:]]
    assert rows == [["first false step", "MUL", "ADD", "skills", "all"],
                    ["sum", "5", "", "", "5"], ["product", "2", "", "", "2"],
                    ["answer", "", "", "1", "1"], ["wrong answers", "7", "0", "1", "8"]]
    assert page.attribution({("large", "add 8D+8D"): cell()}) == ""


def test_page_escapes_what_it_shows(tmp_path):
    evil = "<script>alert('1 & 2')</script>"
    record = evaluate.Record(evil, evil, "given", True, evil, None, evil, evil, evil, False, None,
                             None)
    setting = {"settings": {"base": evil, "adapter": evil, "dtype": evil, "device": evil},
               "questions": 1, "seconds": 1.0, "fingerprint": evil, "complete": False}
    page.write(tmp_path / "page.html", setting, [record])
    parsed = Tags((tmp_path / "page.html").read_text())
    assert parsed.tags["script"] == 0 and evil in " ".join(parsed.text)
    page.write(tmp_path / "page.html", setting, [replace(record, kind="too many turns")])
    assert "too many turns" in (tmp_path / "page.html").read_text()
