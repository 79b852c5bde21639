"""The sandbox after whatever a test did in it, and a new one. Nothing here is a test."""

import threading
import time

from goat.papers.word_problems.sandbox import run_code


def sandbox_is_right_and_quick():
    start = time.monotonic()
    assert run_code("print(6 * 7)") == ("42\n", None, False)
    assert time.monotonic() - start < 3  # on a loaded machine; milliseconds on a free one


def in_a_thread(function):
    """What `function` returns in a thread of its own, which has a server of its own."""
    results = []
    thread = threading.Thread(target=lambda: results.append(function()))
    thread.start()
    thread.join()
    return results[0]
