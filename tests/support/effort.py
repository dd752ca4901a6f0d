"""How many examples and draws a test takes, fewer where only the quick tests run, and how long its work takes."""

import time
from collections.abc import Callable

from hypothesis import settings

thorough = False
"""Whether ``--all`` was given; set before tests are collected."""


def examples(count: int) -> settings:
    """Return Hypothesis settings with `count` examples; with the quick tests a fifth, at least 20."""
    return settings(deadline=None, max_examples=count if thorough else max(20, count // 5))


def draws(count: int) -> int:
    """Return a number of random draws; with the quick tests a quarter of them."""
    return count if thorough else count // 4


def cpu_seconds(work: Callable[[], object], tries: int = 3) -> float:
    """Return the least CPU time of this thread that `work` took in so many tries; a pause of the process does not count."""
    taken = []
    for _ in range(tries):
        start = time.thread_time()
        work()
        taken.append(time.thread_time() - start)
    return min(taken)
