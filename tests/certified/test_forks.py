"""What a fork waits for: work of other threads, which go on side by side; never for itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest

from knnscope.certified import forks

LONG = 60
pytestmark = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")


def in_fork(work: Callable[[], int]) -> int:
    """The exit code of a forked process that does this."""
    if (child := os.fork()) == 0:
        signal.alarm(LONG)
        os._exit(work())
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def seven() -> int:
    """What takes a lock of its own in a child, too."""
    with forks.held_off():
        return 7


def test_threads_are_at_work_side_by_side() -> None:
    meet = threading.Barrier(3)

    def work() -> None:
        with forks.held_off(), forks.held_off():
            meet.wait(LONG)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    meet.wait(LONG)  # both are there at once
    for thread in threads:
        thread.join()
    assert in_fork(seven) == 7


def test_a_fork_waits_for_others_and_not_for_its_own_thread() -> None:
    begun, ended = threading.Event(), list[bool]()

    def work() -> None:
        with forks.held_off():
            begun.set()
            time.sleep(0.2)
            ended.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    assert begun.wait(LONG)
    with forks.held_off():
        assert in_fork(lambda: seven() if ended else 1) == 7
    thread.join()
    assert in_fork(seven) == 7


def test_a_child_is_not_held_off_by_threads_that_it_does_not_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forks, "WAITS", 0.01)
    begun, over = threading.Event(), threading.Event()

    def work() -> None:
        with forks.held_off():
            begun.set()
            over.wait(LONG)

    thread = threading.Thread(target=work)
    thread.start()
    assert begun.wait(LONG)
    assert in_fork(lambda: in_fork(seven)) == 7
    over.set()
    thread.join()
    assert seven() == 7


def test_a_graph_goes_on_when_its_process_forks() -> None:
    """OpenBLAS ends its threads before a fork, and a product that has begun in another one is never done: neither is the fork."""
    code = """
import os, signal, sys, threading
import numpy as np
from knnscope.certified.index import ExactIndex
signal.alarm(50)
rows = np.random.default_rng(0).standard_normal((20_000, 128)) * (np.arange(128) + 1.0) ** -0.7
index = ExactIndex(rows.astype(np.float32), threads=2).wait()
assert "leading" in index.levels
over = threading.Event()
thread = threading.Thread(target=lambda: (index.knn_graph(5), over.set()))
thread.start()
while not over.wait(0.02):
    if (child := os.fork()) == 0:
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
thread.join()
"""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "2", "OMP_NUM_THREADS": "2"}
    assert subprocess.run([sys.executable, "-c", code], env=environment, timeout=LONG, check=False).returncode == 0
