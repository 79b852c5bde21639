"""What a paper is to the scripts, and which papers there are.

Each paper has a room of its own (a package with a README.md), and none imports another. Its door
is an object `PAPER`, a `Paper`: what the scripts ask of it, from the flags of generate_data.py to
the judgement of an answer, are methods there. A new paper is a new room and a line in `ROOMS`.

What papers share stands here too: the prompt, `Question`, `Check` and `Verdict`.
"""

# ruff: noqa: B027  (what a paper may leave out does nothing here, and is not abstract)

import importlib
from abc import ABC, abstractmethod
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from goat.files.rows import Report, Row

if TYPE_CHECKING:
    from goat.papers.word_problems.loss_mask import LossMask

Operands = tuple[int, str, int]  # (397, "*", 4429)
WORDINGS = ("seen", "held out", "bare", "BIG-bench")  # BIG-bench's own is among those seen
MAX_DIGITS = 2000  # of one number: Python refuses to read or write integers of over 4300 digits


def prompt(instruction: str) -> str:
    """What the model reads before its answer."""
    return instruction + "\nAnswer: "


def row_prompt(row: Mapping[str, str]) -> str:
    """The prompt of a data row: its instruction as a question or, where that is empty (the base's
    bare notation), its input as it stands."""
    return prompt(row["instruction"]) if row["instruction"] else row["input"]


@dataclass(frozen=True)
class Question:
    """One question of a suite or of a file. `wording` says how it is asked: one of WORDINGS ("seen"
    and "held out" are of the training rows) or, from a file, "given". `operands` is (a, op, b)
    where the question is arithmetic; op is a symbol that `paper` knows."""

    suite: str
    cell: str  # the kind of question: results are counted by suite and cell
    instruction: str  # empty for a bare question: `input` is then the whole prompt
    input: str
    answer: str
    wording: str = "given"
    operands: Operands | None = None
    small: bool = False  # one of so few possible questions that training may have shown it
    paper: str = "arithmetic"  # which one reads and judges its answers
    also: tuple[str, ...] = ()  # other answers that are right too
    task: str = ""  # the field `task` of its row, where that says how answers are compared
    subject: str = ""  # where there are several, results are counted by suite and subject too

    @property
    def prompt(self) -> str:
        return row_prompt({"instruction": self.instruction, "input": self.input})

    def working(self, output: str) -> str:
        """The text that is judged: after a bare expression, `a + b = `, that is its beginning."""
        bare = self.operands and not self.instruction and self.input.endswith(" = ")
        return self.input + output if bare else output

    @property
    def expression(self) -> str | None:
        """ "397 * 4429", or None where the question is not arithmetic."""
        return "{} {} {}".format(*self.operands) if self.operands else None

    @property
    def asked(self) -> tuple:
        """The same for the same question, in whatever words."""
        if self.operands is None:
            return self.instruction, self.input
        return PAPERS[self.paper].asked(self.operands)


class Check(NamedTuple):
    """What a check of a working finds."""

    ok: bool
    answer: str  # as written in the text, right or wrong
    first_error: str | None  # which step is wrong first, and why; None when all are right
    kind: str | None  # the class of that error, a key of the paper's KINDS

    def verdict(self, question: Question) -> "Verdict":
        """What it says of the answer to `question`."""
        return Verdict(self.answer, self.answer == question.answer.strip(), self.kind,
                       self.first_error)


class Verdict(NamedTuple):
    """What is to be said about one output."""

    given: str  # the answer it states
    right: bool  # whether that is the whole true answer
    kind: str | None  # the class of its first false step, or why a word problem has no answer
    first_error: str | None  # which step that is, and why it is false


class Paper(ABC):
    """What the scripts ask of a paper. Any other attribute is a module of its room, imported when
    it is first asked for: `self.dataset` is dataset.py. So nobody loads what is not used."""

    name: ClassVar[str]  # of --task, and of its room
    suite_names: ClassVar[tuple[str, ...]] = ()  # what eval.py --suite knows of it
    worded: ClassVar[bool] = False  # whether --wording applies to them
    held_out: ClassVar[bool] = True  # whether rows come in wordings that training never shows
    expressions: ClassVar[bool] = True  # whether an expression in a row is what it asks
    interpreter: ClassVar[bool] = False  # whether solutions hold code to be run
    new_tokens: ClassVar[int] = 512  # of an answer, if the user does not say
    instead: ClassVar[dict[str, str]] = {}  # flag of another paper -> what does the same here

    def __getattr__(self, module: str) -> Any:
        name = f"{type(self).__module__}.{module}"
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:  # the module is there, and needs one that is not
                raise
            raise AttributeError(f"{self.name} has no {module}") from error

    # generate_data.py

    @abstractmethod
    def add_flags(self, parser: ArgumentParser) -> None:
        """Add the paper's own flags to those of generate_data.py."""

    def check_flags(self, args: Namespace, given: Namespace) -> None:
        """Raises UserError for flags that make no sense together. `given` has None for those that
        are not on the command line."""

    def file_name(self, args: Namespace) -> str:
        """The stem of the file that rows go to in data/, if the user names none."""
        return self.name

    @abstractmethod
    def write(self, out: str, args: Namespace, count_tokens: Callable[[Row], int] | None) -> Report:
        """Write the rows that the flags ask for, and say what they are."""

    # eval.py

    def add_evaluation_flags(self, parser: ArgumentParser) -> None:
        """Add the paper's own flags to those of eval.py."""

    def check_evaluation_flags(self, args: Namespace) -> None:
        """Raises UserError for flags of eval.py that make no sense together."""

    def flag_questions(self, args: Namespace) -> list[Question]:
        """The questions that these flags ask for."""
        return []

    # rows and questions

    def owns(self, task: str) -> bool:
        """Whether rows with this field `task` are of this paper."""
        return task == self.name

    @abstractmethod
    def audit(self, row: Row) -> str | None:
        """What is wrong first in a row of this paper; None if nothing is."""

    def mask_row(self, row: Row, prompt: str, ids: list[int], encode: Callable,
                 learn_output: bool, valued: bool) -> "LossMask | None":
        """What of a row is not learnt (see word_problems/loss_mask.py); None: nothing is masked."""
        return None

    def read_question(self, text: str) -> Operands | None:
        """The operands that a text asks for; None where it asks nothing that this paper knows."""
        return None

    def asked(self, operands: Operands) -> tuple:
        """The same for operands that ask the same: a + b is b + a."""
        return operands

    def cell(self, operands: Operands) -> str | None:
        """The cell that a question of a file is counted in; None: its row's task."""
        return None

    def solve(self, operands: Operands) -> str:
        """The answer to a question that `read_question` has read."""
        raise KeyError(f"{self.name} reads no questions")

    @abstractmethod
    def suite(self, name: str, **options) -> Iterator[Question]:
        """The questions of one of `suite_names`. Options: seed, wording (None takes the suite's
        own), limit (the first so many of each cell), in arithmetic also size (of a cell)."""

    @abstractmethod
    def judge(self, question: Question, output: str) -> Verdict:
        """Compare an output's answer with the true one and find the first false step."""

    def evaluation_flags(self, task: str) -> str:
        """The flags of eval.py for questions like those of rows with this `task`."""
        return f"--suite {self.suite_names[0]}"


# Where each PAPER stands. `skills` is no paper: it is what the embedded base was pretrained on,
# which is written, checked and asked in the same way.
ROOMS = {"arithmetic": "goat.papers.arithmetic", "longhand": "goat.papers.longhand",
         "word_problems": "goat.papers.word_problems", "skills": "goat.base.rows"}


class _Papers(Mapping[str, Any]):
    """The papers by their names, imported when they are first asked for. Each is a `Paper`, and
    may offer more (hence `Any`)."""

    def __getitem__(self, name: str) -> Any:
        return importlib.import_module(ROOMS[name]).PAPER

    def __iter__(self) -> Iterator[str]:
        return iter(ROOMS)

    def __len__(self) -> int:
        return len(ROOMS)


PAPERS = _Papers()


def read_question(text: str) -> tuple[Paper, Operands] | None:
    """The paper that can read a question in `text`, and what is asked; None if none can."""
    for paper in PAPERS.values():
        if operands := paper.read_question(text):
            return paper, operands
    return None


def paper_of(task: str) -> Paper:
    """The paper whose rows have this field `task`; a row without one is arithmetic."""
    return next((paper for paper in PAPERS.values() if paper.owns(task)), PAPERS["arithmetic"])
