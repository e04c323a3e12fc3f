"""Threads of an index."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time

import pytest

from knnscope.certified.workers import Workers


def names() -> set[int]:
    return {thread.ident or 0 for thread in threading.enumerate()}


def test_results_come_in_order_from_several_threads() -> None:
    workers, seen, gate = Workers(3), set[int](), threading.Barrier(3)

    def work(item: int) -> int:
        if item < 3:
            gate.wait(10)  # three threads are here at once
        seen.add(threading.get_ident())
        return item * item

    assert workers.map(work, range(100)) == [n * n for n in range(100)]
    assert len(seen) == 3
    assert threading.get_ident() in seen


def test_an_error_reaches_the_caller_and_drops_what_has_not_begun() -> None:
    workers, done = Workers(2), list[int]()

    def work(item: int) -> None:
        if item == 5:
            raise ValueError("five")
        done.append(item)

    with pytest.raises(ValueError, match="five"):
        workers.map(work, range(10_000))
    assert len(done) < 9_000
    assert workers.map(lambda n: n + 1, [1, 2, 3]) == [2, 3, 4]  # and the threads are as good as before


def test_several_callers_share_the_threads() -> None:
    workers, wrong = Workers(2), list[int]()

    def call(number: int) -> None:
        for _ in range(200):
            if workers.map(lambda n: n * number, range(7)) != [n * number for n in range(7)]:
                wrong.append(number)

    callers = [threading.Thread(target=call, args=(number,)) for number in range(6)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)
    assert not wrong


def test_threads_end_with_their_owner() -> None:
    before = names()
    workers = Workers(4)
    workers.map(abs, range(8))
    assert len(names() - before) == 3
    del workers
    gc.collect()
    for _ in range(200):
        if not names() - before:
            break
        time.sleep(0.01)
    assert not names() - before


def test_a_forked_process_starts_threads_of_its_own() -> None:
    code = (
        "import os, warnings; warnings.simplefilter('ignore')\n"
        "from knnscope.certified.workers import Workers\n"
        "w = Workers(2); assert w.map(abs, [-1, -2]) == [1, 2]\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    os._exit(0 if w.map(abs, [-3, -4]) == [3, 4] else 1)\n"
        "raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0
