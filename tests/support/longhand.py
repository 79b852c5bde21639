"""Questions of long divisions, drawn and released. Nothing here is a test."""

import pytest

from goat.papers.longhand.questions import questions
from support.runs import SHARED

RELEASED = SHARED / "longhand"
needs_released = pytest.mark.skipif(not RELEASED.exists(),
                                    reason="the released questions are not here")


def pairs(split: str, n: int, seed: int = 0) -> list[tuple[int, int]]:
    return [(x, y) for _, x, y in questions(split, n, seed)]
