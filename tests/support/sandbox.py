"""The sandbox after whatever a test did in it. Nothing here is a test."""

import time

from goat.papers.word_problems.sandbox import run_code


def sandbox_is_right_and_quick():
    start = time.monotonic()
    assert run_code("print(6 * 7)") == ("42\n", None, False)
    assert time.monotonic() - start < 3  # on a loaded machine; milliseconds on a free one
