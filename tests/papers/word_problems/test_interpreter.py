"""The loop between model and interpreter: every outcome; what is fed back; what is bounded.

    python -m pytest tests/papers/word_problems/test_interpreter.py

A scripted model says what each turn writes; a small random one shows that turns continue a text as
the model would by itself.
"""

import json
from types import SimpleNamespace

import pytest
import torch

import eval as script
from goat.errors import UserError
from goat.evaluation import evaluate, questions, report
from goat.papers.word_problems import templates
from goat.papers.word_problems.gsm8k import evaluation_questions
from goat.files import checkpoint
from goat.llama.generate import generate
from goat.llama.sampling import Row
from goat.files.vocabulary import open_tokenizer
from goat.papers import Question
from goat.papers.word_problems import interpreter, sandbox
from goat.papers.word_problems.format import (MARKDOWN, MAX_STEPS, TASK, as_markdown,
                                              interpreter_spans, observed, stated, step_ends,
                                              with_mask)
from goat.papers.word_problems.interpreter import (ANSWERED, BOTH, NEITHER, TOO_DEEP, TOO_LONG,
                                                   Solution, solve)
from goat.papers.word_problems.templates import template_rows
from support.runs import BASE


def turn(code: str, prose: str = "Think.") -> str:
    return f"<step>\n<p>\n{prose}\n</p>\n<code>\n{code}\n</code>"


def final(answer: str) -> str:
    return f"<step>\n<p>\nFinal Answer: {answer}\n</p>\n</step>"


def fenced(code: str) -> str:
    return f"Think.\n```python\n{code}\n```\n```output"


NEXT = "\n</step>\n"  # what the model writes behind an output


@pytest.fixture
def scripted(monkeypatch):
    """Let `say[prompt]` be the turns of a model: texts, or ("text", False) if it was cut off."""
    say, seen = {}, []

    def decode(model, tokenizer, waiting, batch_size, sampling, stop=()):
        while waiting:
            row = waiting.popleft() if call.front else waiting.pop()  # no order must matter
            while row.text is None:
                seen.append(row.prompt)
                start = next(prompt for prompt in say if row.prompt.startswith(prompt))
                text = say[start].pop(0)
                text, closed = text if isinstance(text, tuple) else (text, True)
                assert row.limit > 0 and (not stop or stop == ("</code>", "```\n```output"))
                ends = bool(stop) and text.endswith(stop)
                row.new = tokenizer.encode(text, bos=False)
                row.new += [tokenizer.eos_id] * (closed and not ends)
                row.text = text
                yield row

    monkeypatch.setattr(interpreter, "decode", decode)
    model = SimpleNamespace(config=SimpleNamespace(max_positions=900))
    tokenizer = open_tokenizer(BASE)

    def call(turns: dict[str, list], front: bool = False, **options) -> list[Solution]:
        say.clear(), seen.clear()
        call.front = front
        say.update({prompt: list(texts) for prompt, texts in turns.items()})
        found = list(solve(model, tokenizer, list(turns), **options))
        assert sorted(s.problem for s in found) == list(range(len(turns)))
        return sorted(found, key=lambda s: s.problem)

    call.seen = seen
    return call


def test_code_is_run_with_its_history_and_the_output_goes_back(scripted):
    turns = [turn("x = 6 * 7\nprint(x)"), NEXT + turn("print(x + 1)"), NEXT + final("43")]
    [s] = scripted({"Q: ": turns})
    assert (s.outcome, s.answer, s.runs, s.failed) == (ANSWERED, "43", 2, 0)
    assert s.text == (turns[0] + "\n<output>\n42\n</output>" + turns[1] +
                      "\n<output>\n43\n</output>" + turns[2])
    assert scripted.seen == ["Q: ", "Q: " + turns[0] + observed("42"),
                             "Q: " + turns[0] + observed("42") + turns[1] + observed("43")]


def test_an_output_that_the_model_invents_is_no_working(scripted):
    """Where no code is run, a whole solution in one turn does not count, right or wrong."""
    [s] = scripted({"Q: ": [turn("print(6 * 7)") + observed("42") + NEXT + final("42")]}, run=None)
    assert (s.outcome, s.answer) == (NEITHER, "")


@pytest.mark.parametrize("marked", [str, as_markdown])
def test_a_trace_is_reproduced_to_the_letter(scripted, marked):
    """Our own traces, cut into the model's turns, come back whole from sandbox and loop."""
    rows = {row["instruction"]: {**row, "output": marked(row["output"])}
            for row in template_rows(1, 12)}
    turns = {}
    for question, row in rows.items():
        spans, parts, end = interpreter_spans(row["output"]), [], 0
        for start, stop in spans:
            parts.append(row["output"][end:start])
            end = stop
        turns[question] = [*parts, row["output"][end:]]
    for s, row in zip(scripted(turns), rows.values()):
        assert s.text == row["output"] and s.answer == row["answer"]
        assert s.runs == len(interpreter_spans(row["output"])) > 0 and s.failed == 0


PLANTED = {  # turns, outcome, answer, runs, failed runs
    "answer at once": ([final("5")], ANSWERED, "5", 0, 0),
    "prose only": (["I do not know."], NEITHER, "", 0, 0),
    "nothing": ([""], NEITHER, "", 0, 0),
    "both": ([turn("print(1)", "Final Answer: 1")], BOTH, "", 0, 0),
    "both, the code broken off": ([f"{final('1')}\n<code>\nprint("], BOTH, "", 0, 0),
    "empty answer": ([final("")], NEITHER, "", 0, 0),
    "code never opened": (["x = 1\n</code>"], NEITHER, "", 0, 0),
    "code never closed": (["<code>\nx = 1"], NEITHER, "", 0, 0),
    "cut off": ([("<step>\n<p>\nIt is", False)], TOO_LONG, "", 0, 0),
    "cut off in the answer": ([("Final Answer: 1", False)], TOO_LONG, "", 0, 0),
    "cut off behind the answer": ([("Final Answer: 1\n</p>", False)], ANSWERED, "1", 0, 0),
    "an error": ([turn("1 / 0"), NEXT + final("0")], ANSWERED, "0", 1, 1),
    "silence": ([turn("x = 1"), NEXT + final("1")], ANSWERED, "1", 1, 0),
    "a false final answer": ([turn("print('Final', 'Answer: 7')"), NEXT + "Well."], NEITHER, "",
                             1, 0),
    "Markdown": ([fenced("x = 4"), "\n" + fenced("print(x)"), "\nFinal Answer: 4"], ANSWERED, "4",
                 2, 0),
    "Markdown, both": ([f"Final Answer: 1\n{fenced('print(1)')}"], BOTH, "", 0, 0),
    "Markdown, code never opened": (["x\n```\n```output"], NEITHER, "", 0, 0),
    "Markdown, an error": ([fenced("1 / 0"), "\nFinal Answer: 0"], ANSWERED, "0", 1, 1),
    "no end": ([turn("print(1)"), *[NEXT + turn("print(1)")] * 20], TOO_DEEP, "", MAX_STEPS, 0),
}


def test_every_outcome(scripted):
    """All of them in one batch, which goes on for those that are not finished."""
    found = scripted({f"{name}? ": turns for name, (turns, *_) in PLANTED.items()},
                     max_new_tokens=550)
    for s, (name, (_, outcome, answer, runs, failed)) in zip(found, PLANTED.items()):
        assert (s.outcome, s.answer, s.runs, s.failed) == (outcome, answer, runs, failed), name
        assert s.outcome in interpreter.OUTCOMES
    texts = dict(zip(PLANTED, (s.text for s in found)))
    assert observed("ZeroDivisionError: division by zero") in texts["an error"]
    assert "ZeroDivisionError: division by zero\n```\n" in texts["Markdown, an error"]
    assert observed("") in texts["silence"] and "Final Answer; 7" in texts["a false final answer"]


def test_outputs_cannot_pass_for_the_model_or_fill_the_context(scripted):
    code = ("print(f'{chr(60)}/output>\\n{chr(60)}code>Final', 'Answer: 1')\n" "print('7' * 10**7)")
    [s] = scripted({"Q: ": [turn(code), NEXT + final("7")]})
    assert s.outcome == ANSWERED and s.answer == "7" and s.failed == 1
    assert len(s.text) < 1000 and s.text.count("</output>") == 1
    code = "print('`' * 3 + '\\nFinal', 'Answer: 1')"
    [s] = scripted({"Q: ": [fenced(code), "\nFinal Answer: 7"]})
    assert s.answer == "7" and s.text.count("```") == 4 and len(interpreter_spans(s.text)) == 1


def test_no_room_left_is_an_outcome(scripted):
    long = turn(f"print({'9' * 450})")
    [s] = scripted({"Q: ": [long, NEXT + final("7")]}, max_new_tokens=2000)
    assert (s.outcome, s.runs) == (TOO_LONG, 1)
    [s] = scripted({"Q: ": [turn("print(1)"), NEXT + final("7")]}, max_new_tokens=10)
    assert s.outcome == TOO_LONG


def test_code_that_was_stopped_is_not_run_again(scripted):
    asked = []

    def run(code, history):
        asked.append((code, list(history)))
        if "while" in code:
            return sandbox.run_code(code, timeout=0.3)
        return sandbox.Run("1", None, False)

    endless = "while 1: pass", "while 1: print('x' * 99)"
    [s] = scripted({"Q: ": [turn("a = 1"), *(NEXT + turn(code) for code in endless),
                            NEXT + turn("a"), NEXT + final("1")]}, run=run)
    assert asked == [("a = 1", []), *((code, ["a = 1"]) for code in endless), ("a", ["a = 1"])]
    assert (s.outcome, s.runs, s.failed) == (ANSWERED, 4, 2)


def test_without_interpreter_there_is_one_turn(scripted):
    def run(code, history):
        raise AssertionError("nothing may be run")

    answer, code = scripted({"A: ": [final("3")], "B: ": [turn("print(1)")]}, interpreter=False,
                            run=run)
    assert answer.answer == "3" and code.outcome == NEITHER
    assert answer.runs is code.runs is None


def test_solutions_come_steadily(scripted):
    """A problem goes on before others begin: what is broken off has finished what it began."""
    turns = {f"{i}: ": [turn("print(1)"), NEXT + turn("print(2)"), NEXT + final("2")]
             for i in range(5)}
    scripted(turns, front=True)
    assert [prompt[:3] for prompt in scripted.seen] == [f"{i}: " for i in range(5) for _ in "123"]


# --------------------------------------------------------------------------- with a real model


@pytest.fixture(scope="module")
def coder(tiny_base):
    """A random model that often writes `<code>` and `</code>`."""
    model, tokenizer = checkpoint.load_model(tiny_base), open_tokenizer(tiny_base)
    ids = [tokenizer.encode(tag, bos=False)[-1] for tag in ("<code>", "</code>")]
    with torch.no_grad():
        favoured = model.lm_head.weight.float().mean(0)
        for i in ids:
            model.lm_head.weight[i] += 0.5 * favoured / favoured.norm()
        model.lm_head.weight[ids] *= 3
    return model, tokenizer


def test_turns_continue_as_the_model_would(coder, monkeypatch):
    """Each turn is what the model writes behind the text so far, whether the row goes on with what
    it has read or is read anew; sampling follows its seed."""
    model, tokenizer = coder
    go_on, went_on = Row.go_on, set()
    monkeypatch.setattr(Row, "go_on", lambda *args: went_on.add(result := go_on(*args)) or result)
    prompts = [f"What is {i} + {i}?\nAnswer: " for i in range(6)]
    run = lambda code, history: sandbox.Run(str(len(history)), None, False)  # noqa: E731
    options = {"max_new_tokens": 120, "run": run}
    found = sorted(solve(model, tokenizer, prompts, **options), key=lambda s: s.problem)
    for s in found:
        spans = interpreter_spans(s.text)
        assert len(spans) == s.runs
        done = 0
        for start, end in [*spans, (len(s.text), None)]:
            [alone] = generate(model, tokenizer, [s.prompt + s.text[:done]], 120, stop=("</code>",))
            assert alone.startswith(s.text[done:start])  # a later turn has less room
            done = end
    chance = {**options, "samples": 3, "temperature": 1.0, "seed": 5}
    first, again = ([(s.problem, s.sample, s.text, s.outcome) for s in sorted(
        solve(model, tokenizer, prompts, batch_size=size, **chance),
        key=lambda s: (s.problem, s.sample))] for size in (18, 5))
    assert first == again and len({text for _, _, text, _ in first}) > 6
    assert sum(s.runs for s in solve(model, tokenizer, prompts, **chance)) > 2
    assert went_on == {True, False}


# ------------------------------------------------------------------------- suite, records, eval


def test_the_suite_and_its_judgement():
    asked = questions.load_suites([TASK], 20)
    assert {q.cell for q in asked} == {"seen templates", "held-out templates"} and len(asked) == 40
    assert not any(q.instruction in templates.reserved()
                   for q in questions.load_suites([TASK], seed=1))
    question = Question(TASK, "c", "How much?", "", "1234.5", paper=TASK)
    judged = {text: evaluate.record(question, text) for text in
              (final("$1,234.50"), final("1234.502"), "1234.5", f"{turn('1')}\n{final('1234.5')}")}
    assert [r.right for r in judged.values()] == [True, False, False, False]
    assert [r.kind for r in judged.values()] == [None, None, NEITHER, BOTH]


def test_records_tell_the_outcome():
    question = Question(TASK, "c", "How much?", "", "1", paper=TASK)
    solution = Solution(0, 0, question.prompt, "Final Answer: 1", TOO_LONG, runs=2, failed=1)
    record = evaluate.solved_record(question, solution)
    assert (record.given, record.right, record.kind) == ("", False, TOO_LONG)
    solution.outcome = ANSWERED
    assert evaluate.solved_record(question, solution).right
    idle = evaluate.solved_record(question, Solution(0, 0, "", final("1"), ANSWERED, "1", runs=0))
    shown = report.interpreter_lines([record, idle])
    assert shown.startswith("interpreter: 2 programs run for 2 questions, 1 ended in an error")
    assert shown.endswith("1 solutions ran no code, 1 of them right")
    assert report.interpreter_lines([evaluate.record(question, final("1"))]) == ""
    invented = evaluate.record(question, turn("print(1)") + observed("1") + NEXT + final("1"))
    assert report.interpreter_lines([invented, idle]).endswith(
        "\n1 solutions hold code that nobody has run: add --interpreter")


def test_without_an_interpreter_an_invented_output_makes_no_answer_right(monkeypatch):
    asked = [Question(TASK, "c", "How much?", "", "1", paper=TASK),
             Question("s", "c", "", "0 + 1", "1")]
    texts = [turn("print(1)") + observed("1") + NEXT + final("1"), "0 + 1 = 1"]
    records = judged_unaided(monkeypatch, asked, texts, [0])
    assert [(r.given, r.right, r.kind) for r in records] == [
        ("", False, NEITHER), ("1", True, None)]


@pytest.mark.parametrize("new, right", [([5, 5], False), ([5], True), ([], True), ([5, 0], True)])
def test_without_an_interpreter_an_answer_that_was_cut_off_is_none(monkeypatch, new, right):
    """Two tokens are the limit, 0 is the end of a text."""
    asked = [Question(TASK, "c", "How much?", "", "1", paper=TASK)]
    for text, whole in (("Final Answer: 1", right), ("Final Answer: 1\n", True)):
        [record] = judged_unaided(monkeypatch, asked, [text], new)
        assert (record.right, record.kind) == (whole, None if whole else TOO_LONG)


def judged_unaided(monkeypatch, asked, texts, new):
    monkeypatch.setattr(evaluate, "stream", lambda model, tokenizer, prompts, share: (
        SimpleNamespace(problem=i, text=text, new=new, limit=2) for i, text in enumerate(texts)))
    records, _ = evaluate.evaluate(None, SimpleNamespace(eos_id=0), asked)
    return records


def test_what_is_shown_marks_what_is_masked():
    text = turn("print(1)") + observed("1\n2") + NEXT + final("1")
    shown = with_mask("Why?\nAnswer: ", text)
    plain = "\n".join(line for line in shown.splitlines() if not line.startswith("# "))
    assert plain == turn("print(1)") + NEXT + final("1")
    assert shown.startswith("# Why?\n# Answer:\n<step>")
    assert "\n# <output>\n# 1\n# 2\n# </output>\n</step>" in shown
    assert [text[:end][-7:] for end in step_ends(text)] == ["</step>"] * 2
    assert step_ends("no step") == [7] and interpreter_spans("<output>\n1\n</output>") == []
    assert stated(text) == ("1", None)
    text = fenced("print(1)") + observed("1", MARKDOWN) + "\nFinal Answer: 1"
    assert [text[start:end] for start, end in interpreter_spans(text)] == ["\n1\n```"]
    assert step_ends(text) == [text.index("\nFinal"), len(text)] and stated(text) == ("1", None)


def test_eval_with_interpreter(tiny_base, tmp_path, capsys):
    flags = ["--base", str(tiny_base), "--dtype", "fp32", "--device", "cpu", "--max-new-tokens",
             "12", "--interpreter"]
    out = ["--out", str(tmp_path / "r.json")]
    script.main([*flags, *out, "--suite", TASK, "--limit", "2", "--show", "1"])
    shown = capsys.readouterr().out
    assert "interpreter: 0 programs run for 4 questions" in shown and "# masked" in shown
    records = json.loads((tmp_path / "r.json").read_text())["records"]
    assert all(r["kind"] in interpreter.OUTCOMES and r["runs"] == 0 for r in records)
    (tmp_path / "test.jsonl").write_text('{"question": "2 + 2?", "answer": "4\\n#### 4"}\n' * 2)
    script.main([*flags, *out, "--gsm8k", str(tmp_path), "--limit", "1"])
    assert "1 questions" in capsys.readouterr().out
    script.main([*flags, "--ask", "How many?"])
    for wrong in (["--suite", "demo"], ["--suite", TASK, "--beams", "2"]):
        with pytest.raises(UserError, match="--interpreter"):
            script.main([*flags, *wrong])


def test_evaluation_questions(tmp_path):
    with pytest.raises(UserError, match="test.jsonl: no such file"):
        evaluation_questions(tmp_path)
    good = json.dumps({"question": "Q? ", "answer": "1,000 + 1 = <<1000+1=1001>>1,001\n#### 1,001"})
    (tmp_path / "test.jsonl").write_text(f"{good}\n{good}\n")
    [question] = evaluation_questions(tmp_path, 1)
    assert (question.prompt, question.paper) == ("Q?\nAnswer: ", TASK)
    assert evaluate.record(question, final("1001")).right
    score = evaluate.score([evaluate.record(question, final("1,001 eggs"))])  # in another spelling
    assert (score.exact, score.last_token, score.digits) == (1, 1, 1)
    for broken, why in (("{", "not a JSON object"), ("[]", "a row must be a JSON object"),
                        ('{"question": 1, "answer": ""}', "the field 'question' must be a string"),
                        ('{"question": "a"}', "the field 'answer' must be a string"),
                        ('{"question": "a", "answer": "5"}', "no number stands behind '####'"),
                        ('{"question": "a", "answer": "#### five"}', "no number stands")):
        (tmp_path / "test.jsonl").write_text(f"{good}\n{broken}\n")
        with pytest.raises(UserError, match=f"test.jsonl, line 2: {why}"):
            evaluation_questions(tmp_path)
    (tmp_path / "test.jsonl").write_text(f"\n{broken}\n")  # an empty line is a line too
    with pytest.raises(UserError, match="test.jsonl, line 2: no number stands"):
        evaluation_questions(tmp_path)
