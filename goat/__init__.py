"""Goat: a LLaMA learns arithmetic on one 24 GB GPU, with nothing hidden.

The names below are for scripts of one's own; each is imported when it is first used, so that
`import goat` costs nothing. See `help(goat.load_model)` and so on.
"""

import importlib

__version__ = "0.1.0"

_HOMES = {
    "goat.files.checkpoint": ("load_model", "save_model"),
    "goat.files.adapter": ("load_adapter", "save_adapter"),
    "goat.llama.lora": ("add_lora", "merge"),
    "goat.files.vocabulary": ("Tokenizer",),
    "goat.llama.generate": ("generate",),
    "goat.papers.arithmetic.solutions": ("check", "solve"),
    "goat.papers.word_problems.sandbox": ("run_code",),
    "goat.papers.word_problems.math_answers": ("same_answer",),
    "goat.evaluation.scoring": ("digit_match", "exact_match"),
}
_CALLED = {"Tokenizer": "open_tokenizer"}  # where a name is another one at home
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}
__all__ = sorted(_HOME_OF)


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'goat' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME_OF[name]), _CALLED.get(name, name))


def __dir__() -> list[str]:
    return [*globals(), *__all__]
