"""Calls of compiled functions by several threads: each item once, by no more threads than asked, whatever else is posted."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from typing import Any

import numpy as np
import pytest

from knnscope.certified.cpu import board
from knnscope.certified.cpu import workers as module
from knnscope.certified.cpu.jit import compiled
from knnscope.certified.cpu.workers import Workers

LONG = 60


@compiled()
def counted(seen: Any, turns: int, item: int) -> None:
    """Some work, then a mark; the same item twice shows."""
    total = 0
    for turn in range(turns):
        total += (turn * item) ^ total
    seen[item, 0] += 1
    seen[item, 1] = total


@compiled()
def at_once(now: Any, most: Any, turns: int, item: int) -> None:
    """How many threads are in here at the same time, at most."""
    here = board.add(now.ctypes.data, 1) + 1
    for _ in range(turns):
        board.rest(0)
    most[item] = here
    board.add(now.ctypes.data, -1)


@compiled()
def greedy(size: int) -> None:
    """Takes more memory than there is."""
    np.empty(size)[0] = 1.0


def call_often(workers: Workers, seed: int, rounds: int) -> None:
    draw = random.Random(seed)
    for _ in range(rounds):
        items, turns = draw.randint(1, 40), draw.choice((0, 10, 3000))
        seen = np.zeros((items, 2), dtype=np.int64)
        workers.of(draw.randint(1, 5)).call(counted, (seen, turns), [(item,) for item in range(items)])
        assert seen[:, 0].tolist() == [1] * items
        if draw.random() < 0.02:
            time.sleep(0.002)  # the others fall asleep


def test_each_item_is_done_once() -> None:
    call_often(Workers(5), 1, 2000)


def test_several_callers_at_once() -> None:
    """Whoever finds the board in use does its work by other means."""
    workers, errors = Workers(3), list[BaseException]()

    def work(seed: int) -> None:
        try:
            call_often(workers, seed, 200)
        except BaseException as error:
            errors.append(error)

    callers = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(LONG)
    assert not errors
    assert not any(caller.is_alive() for caller in callers)


def test_no_more_threads_than_asked_take_part() -> None:
    before = set(os.listdir("/proc/self/task"))  # other tests' threads may end meanwhile
    workers, now, most = Workers(6), np.zeros(1, dtype=np.int64), np.zeros(60, dtype=np.int64)
    items = [(item,) for item in range(60)]
    workers.call(at_once, (now, most, 5000), items)
    assert len(set(os.listdir("/proc/self/task")) - before) >= 5, "beside this one"
    for count in (1, 2, 3):
        workers.of(count).call(at_once, (now, most, 5000), items)
        assert most.max() <= count


def test_threads_end_with_the_last_object_that_has_them() -> None:
    code = (
        "import gc, os, time, numpy as np\n"
        "from knnscope.certified.cpu.workers import Workers\n"
        "from tests.certified.cpu.test_board import counted\n"
        "here = lambda: len(os.listdir('/proc/self/task'))\n"
        "before, workers = here(), Workers(4)\n"
        "workers.of(3).call(counted, (np.zeros((9, 2), dtype=np.int64), 10), [(item,) for item in range(9)])\n"
        "while here() != before + 2: time.sleep(0.001)\n"  # the compiler's thread ends
        "del workers; gc.collect()\n"
        "while here() > before: time.sleep(0.001)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=LONG, check=False).returncode == 0


def test_a_forked_process_has_threads_of_its_own() -> None:
    workers = Workers(3)
    call_often(workers, 3, 20)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            call_often(workers, 4, 50)
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    call_often(workers, 5, 20)


def test_where_the_system_gives_no_threads_the_caller_does_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "start_thread", lambda *_: False)
    call_often(Workers(4), 6, 50)


@pytest.mark.parametrize("count", [1, 2])
def test_no_memory_is_said(count: int) -> None:
    with pytest.raises(MemoryError):
        Workers(count).call(greedy, (), [(1,), (1 << 58,), (1,)])


def test_where_sleeping_is_not_known_others_do_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board, "FUTEX", 0)
    call_often(Workers(3), 7, 20)
