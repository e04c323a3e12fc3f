"""Threads of an index: compiled code releases the interpreter's lock, so that they compute side by side.

Two ways to share work out. ``map`` is for any function: whoever is awake takes the next item, the caller too; a future for each
(concurrent.futures) was a tenth of a scan's time. ``call`` is for compiled ones: helpers wait in compiled code and never ask for the
interpreter (board.py), which counts where sixteen threads share a scan of 0.1 ms. ``run`` is for several steps of such calls, laid out before
(programs.py).

What may happen at any moment: an exception from a signal handler in the caller, another call from a signal handler, a fork, and a system
that gives no more threads. So nobody waits for a thread that may not be there, the caller can do all the work alone, and a call that
ends by an exception first waits until no other thread is at work for it.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from knnscope.arithmetic import Ieee
from knnscope.certified.cpu import board
from knnscope.certified.cpu.jit import Compiled
from knnscope.certified.cpu.programs import Program, steps_of
from knnscope.certified.cpu.threads import start_thread

Item = TypeVar("Item")
Result = TypeVar("Result")

PAUSE = 1.0
"""Seconds until the system is asked again for threads that it did not give."""
_NOBODY = board.new()
"""A board that nothing is ever posted on: for who works alone."""


class _Call:
    """Items that several threads take in turn."""

    __slots__ = ("_at_work", "_claim", "_done", "_ended", "_items", "_work", "error", "results")

    def __init__(self, work: Callable[[Any], Any], items: Sequence[Any]) -> None:
        self._work, self._items = work, items
        self.results: list[Any] = [None] * len(items)
        self.error: BaseException | None = None
        # each is one step of the interpreter, so threads need no lock for it
        self._claim, self._ended = itertools.count().__next__, itertools.count(1).__next__
        self._at_work = set[int]()
        self._done = threading.Lock()
        self._done.acquire()

    def run(self) -> None:
        """Take items until none is left; after an error take them and do nothing."""
        while (number := self._claim()) < len(self._items):
            try:
                if self.error is None:
                    self.results[number] = self._work(self._items[number])
            except BaseException as error:  # the caller raises it
                self.error = error
            if self._ended() == len(self._items):
                self._done.release()

    def help(self) -> None:
        """``run`` in a thread that is not the caller's, to which Python delivers no signal: what begins here ends here."""
        me = threading.get_ident()
        self._at_work.add(me)  # before it looks for an error, as the caller looks here after it set one
        try:
            with np.errstate(all="ignore"), Ieee():
                self.run()
        except BaseException as error:
            self.error = error
        finally:
            self._at_work.discard(me)

    def wait(self) -> None:
        """Until all items have ended."""
        self._done.acquire()

    def stop(self, error: BaseException) -> None:
        """Let nothing more begin, and wait until no other thread is at work: what the caller owns is its own again."""
        self.error = self.error or error
        while self._at_work:
            try:
                time.sleep(0.001)
            except BaseException as again:
                # a second Ctrl-C: what has begun ends soon, and would else go on behind the user's back
                self.error = again


def _serve(calls: SimpleQueue[_Call | None]) -> None:
    while (call := calls.get()) is not None:
        call.help()
        del call  # else its arrays live until the next
    calls.put(None)  # for the others, however many there are


class _Helpers:
    """Threads of one process that watch a board; they end with this object."""

    def __init__(self) -> None:
        self._board = board.new()
        for function in (board.serve, board.close):
            function.entry(self._board)  # no thread compiles
        self._post = board.post.bound(self._board)
        self._started, self._not_before = 0, 0.0
        self._free = threading.Lock()
        weakref.finalize(self, board.close, self._board)

    def post(self, program: Program) -> int | None:
        """What the program answers, made with as many other threads as it wants, or as the system gives; None where the board is in use."""
        # an exception between this and ``try`` would leave it in use: then ``map`` does the work
        if not self._free.acquire(blocking=False):
            return None
        try:
            while self._started < program.helpers and time.monotonic() >= self._not_before:
                if start_thread(_watch, self._board):
                    self._started += 1
                else:
                    self._not_before = time.monotonic() + PAUSE
            return int(self._post((program.table,), id(program.table)))
        finally:
            self._free.release()


def _watch(watched: npt.NDArray[np.int64]) -> None:
    with Ieee():
        board.serve(watched)


class _Crew:
    """Threads of one process that wait for calls, and those for compiled functions; they end with this object."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._started = 0
        self._starting = threading.RLock()  # one that a signal handler may take again
        self._not_before = 0.0
        self._helpers: dict[str, _Helpers] = {}
        weakref.finalize(self, self._calls.put, None)

    def helpers(self) -> _Helpers:
        """Those for compiled functions."""
        return self._helpers.get("") or self._helpers.setdefault("", _Helpers())

    def share(self, call: _Call, others: int) -> None:
        """Let up to so many other threads take part, as many as the system gives."""
        if self._started < others:
            self._start(others)
        for _ in range(min(others, self._started)):
            self._calls.put(call)

    def _start(self, wanted: int) -> None:
        with self._starting:
            while self._started < wanted and time.monotonic() >= self._not_before:
                if start_thread(_serve, self._calls):
                    self._started += 1
                else:
                    self._not_before = time.monotonic() + PAUSE


class Workers:
    """A number of threads, the caller among them; the others start when they are first needed, and end with the last object that has them."""

    def __init__(self, count: int, crews: dict[int, _Crew] | None = None) -> None:
        self.count = count
        self._crews = {} if crews is None else crews

    def of(self, count: int) -> Workers:
        """Another number of the same threads."""
        return Workers(count, self._crews)

    def call(self, function: Compiled, first: tuple[Any, ...], others: Sequence[tuple[Any, ...]]) -> None:
        """Call a compiled function with the first arguments and each of the others, in any order, side by side. It gives nothing.

        Raises:
            MemoryError: it had no memory.
        """
        if others:
            self.run(Program(steps_of(first, ((function, others),)), self.count))

    def run(self, program: Program, *arrays: npt.NDArray[Any]) -> Any:
        """Run a program that was laid out for as many threads, with arrays for its open places: what its last step answers for its first call.

        Raises:
            MemoryError: a call had no memory.
        """
        program.fill(arrays)
        if program.is_posted:
            if not program.helpers:
                return board.post(_NOBODY, program.table)
            if board.FUTEX and (answer := self._crew().helpers().post(program)) is not None:
                return answer
        for calls in program.calls():
            answers = self.map(calls.one, range(len(calls.arguments)))
        return answers[0]

    def map(self, work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """Results in order. Where one fails, or the user stops it, what has not begun is dropped, and what has begun has ended."""
        others = min(self.count, len(items)) - 1
        if others <= 0:
            return [work(item) for item in items]
        call = _Call(work, items)
        try:
            self._crew().share(call, others)
            call.run()
            call.wait()
        except BaseException as error:
            call.stop(error)
            raise
        if call.error is not None:
            raise call.error
        return call.results

    def _crew(self) -> _Crew:
        process = os.getpid()
        crew = self._crews.get(process)
        if crew is None:
            # a forked process has none of its parent's threads, only what stands for them
            for other in [number for number in list(self._crews) if number != process]:
                self._crews.pop(other, None)
            crew = self._crews.setdefault(process, _Crew())
        return crew
