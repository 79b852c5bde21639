"""GSM8K and MATH where they are there, and a quick runner of steps. Nothing here is a test."""

import contextlib
import io
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from support.runs import SHARED

GSM8K = Path(os.environ.get("GOAT_GSM8K", SHARED / "gsm8k"))
MATH = Path(os.environ.get("GOAT_MATH", SHARED / "math"))
needs_gsm8k = pytest.mark.skipif(not (GSM8K / "train.jsonl").is_file(),
                                 reason="set GOAT_GSM8K to the folder of GSM8K's train.jsonl")
needs_math = pytest.mark.skipif(not (MATH / "train.jsonl").is_file(),
                                reason="set GOAT_MATH to the folder of MATH's train.jsonl")


def execute(code, history=()):
    """A quick runner for traces that were built here; a model's code belongs in the sandbox."""
    printed, namespace = io.StringIO(), {}
    for part in history:
        with contextlib.redirect_stdout(io.StringIO()):
            exec(part, namespace)
    with contextlib.redirect_stdout(printed):
        exec(code, namespace)
    return SimpleNamespace(output=printed.getvalue(), error=None)
