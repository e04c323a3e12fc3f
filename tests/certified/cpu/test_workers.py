"""Threads of an index: whatever happens to some of them, a call ends with the right results or with the error, and alone."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from knnscope.certified.cpu import threads
from knnscope.certified.cpu import workers as module
from knnscope.certified.cpu.workers import Workers

LONG = 60
"""Seconds that only a hang takes."""


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + LONG
    while not true():
        assert time.monotonic() < end, "it never came about"
        time.sleep(0.001)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[module._Call]:
    """Every call that is made."""
    made: list[module._Call] = []

    class Seen(module._Call):
        def __init__(self, *given: object) -> None:
            super().__init__(*given)  # type: ignore[arg-type]
            made.append(self)

    monkeypatch.setattr(module, "_Call", Seen)
    return made


def test_results_come_in_order_from_several_threads() -> None:
    workers, seen, gate = Workers(3), set[int](), threading.Barrier(3)

    def work(item: int) -> int:
        if item < 3:
            gate.wait(LONG)  # three threads are here at once
        seen.add(threading.get_ident())
        return item * item

    assert workers.map(work, range(100)) == [n * n for n in range(100)]
    assert len(seen) == 3
    assert threading.get_ident() in seen


def test_an_error_reaches_the_caller_and_nothing_more_begins(calls: list[module._Call]) -> None:
    workers, begun, second = Workers(2), list[int](), threading.Event()

    def work(item: int) -> None:
        begun.append(item)
        if item == 0:
            assert second.wait(LONG)
            raise ValueError("zero")
        second.set()
        until(lambda: calls[0].error is not None)

    with pytest.raises(ValueError, match="zero"):
        workers.map(work, range(10_000))
    assert sorted(begun) == [0, 1]
    assert workers.map(lambda n: n + 1, [1, 2, 3]) == [2, 3, 4]  # and the threads are as good as before


def test_a_call_that_ends_by_an_error_of_the_caller_waits_for_those_at_work(calls: list[module._Call]) -> None:
    """As Ctrl-C would: what another thread has begun ends before the caller goes on."""
    workers, begun, ended = Workers(2), threading.Event(), list[bool]()

    def work(item: int) -> None:
        if threading.current_thread() is threading.main_thread():
            assert begun.wait(LONG)
            raise KeyboardInterrupt
        begun.set()
        until(lambda: calls[0].error is not None)
        time.sleep(0.05)  # now the caller waits
        ended.append(True)

    with pytest.raises(KeyboardInterrupt):
        workers.map(work, range(2))
    assert ended == [True]


def test_an_error_between_two_items_waits_too(calls: list[module._Call]) -> None:
    """A signal handler strikes anywhere: here where the caller waits for the others."""
    workers, ended = Workers(2), list[bool]()

    class Struck(module._Call):
        def wait(self) -> None:
            raise KeyboardInterrupt

    def work(item: int) -> int:
        if threading.current_thread() is not threading.main_thread():
            until(lambda: made.error is not None)
            ended.append(True)
        else:
            until(lambda: bool(made._at_work))
        return item

    made = Struck(work, range(2))
    module._Call = lambda *_: made  # type: ignore[assignment,misc]  # the fixture puts it back
    with pytest.raises(KeyboardInterrupt):
        workers.map(work, range(2))
    assert ended == [True]


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
        caller.join()
    assert not wrong


def test_a_call_within_a_call() -> None:
    workers = Workers(3)
    assert workers.map(lambda n: sum(workers.map(lambda m: m * n, range(5))), range(9)) == [10 * n for n in range(9)]


def test_one_crew_whatever_number_is_asked_for() -> None:
    workers, started = Workers(2), list[int]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threads._thread, "start_new_thread", lambda *given: started.append(begin(*given)))
        for count in (2, 4, 3, 4, 1, 2):
            assert workers.of(count).map(abs, range(-20, 0)) == list(range(20, 0, -1))
    assert len(started) == 3


def test_threads_end_with_their_owner() -> None:
    """In a process of its own, where no other test's threads come and go."""
    code = (
        "import gc, os, time\n"
        "from knnscope.certified.cpu.workers import Workers\n"
        "threads = lambda: len(os.listdir('/proc/self/task'))\n"
        "before, workers = threads(), Workers(4)\n"
        "workers.map(abs, range(8)); assert threads() == before + 3\n"
        "del workers; gc.collect()\n"
        "while threads() > before: time.sleep(0.001)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=LONG, check=False).returncode == 0


begin = threads._thread.start_new_thread


def no_more(*_: object) -> int:
    raise RuntimeError("can't start new thread")  # what Python says when the system answers EAGAIN


@pytest.mark.parametrize("there", [0, 1])
def test_where_threads_cannot_start_those_that_are_there_do_the_work(
    there: int, monkeypatch: pytest.MonkeyPatch, calls: list[module._Call]
) -> None:
    workers, now = Workers(4), [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    tried: list[None] = []

    def some(*given: Any) -> int:
        tried.append(None)
        return begin(*given) if len(tried) <= there else no_more()

    monkeypatch.setattr(threads._thread, "start_new_thread", some)
    for _ in range(1000):
        assert workers.map(abs, [-1, -2, -3, -4, -5]) == [1, 2, 3, 4, 5]
    assert len(tried) == there + 1, "the system is not asked again at once"
    if not there:
        assert workers._crew()._calls.qsize() == 0, "calls that nobody takes are not left anywhere"
    now[0] += module.PAUSE
    monkeypatch.setattr(threads._thread, "start_new_thread", begin)
    workers.map(abs, range(8))
    assert workers._crew()._started == 3


def test_an_error_of_a_signal_handler_is_not_taken_for_the_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    def struck(*_: object) -> None:
        raise RuntimeError("the user's own time is up")

    monkeypatch.setattr(threads._thread, "start_new_thread", struck)
    with pytest.raises(RuntimeError, match="own time"):
        Workers(2).map(abs, range(8))


def test_a_forked_process_starts_threads_of_its_own() -> None:
    code = (
        "import os, warnings; warnings.simplefilter('ignore')\n"
        "from knnscope.certified.cpu.workers import Workers\n"
        "w = Workers(2); assert w.map(abs, [-1, -2]) == [1, 2]\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    os._exit(0 if w.map(abs, [-3, -4]) == [3, 4] else 1)\n"
        "raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=LONG, check=False).returncode == 0
