"""Exceptions from signal handlers, searches inside them, threads that do not start, forks: in any order, the next answer is right."""

from __future__ import annotations

import os
import signal
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from knnscope.certified.cpu import threads as starting
from knnscope.certified.index import ExactIndex
from knnscope.search import definition
from tests.certified.interrupted import K, same, stopped, within

MOMENTS = st.floats(1e-6, 0.006)
"""A search of these takes one to four milliseconds."""
THREADS = st.integers(1, 4)
LONG = 120


ROWS = 12_000
FEW = np.arange(ROWS) % 97 == 0
OTHERS: dict[str, Any] = {
    "radius": lambda on, some, threads: on.index.radius_search(some, on.radius, threads=threads),
    "few": lambda on, some, threads: on.index.search(some, K, where=FEW, threads=threads),
    "graph": lambda on, some, threads: on.small.knn_graph(len(some) % 7 + 2, threads=threads),
}
"""Also asked, of an index and queries."""


@cache
def known() -> tuple[np.ndarray, list[np.ndarray], list[Any]]:
    """Rows, queries, and their answers."""
    random = np.random.default_rng(0)
    rows = random.standard_normal((ROWS, 32), dtype=np.float32)
    queries = [random.standard_normal((count, 32), dtype=np.float32) for count in (1, 13, 70)]
    return rows, queries, [definition.search(rows, some, K, "l2") for some in queries]


class Interrupted(RuleBasedStateMachine):
    """One index, whose answers are known."""

    def __init__(self) -> None:
        super().__init__()
        self.rows, self.queries, self.expected = known()
        self.radius = float(self.expected[2].distances[:, -1].mean())
        self.others: dict[tuple[str, int], Any] = {}
        self.before = len(os.listdir("/proc/self/task"))

    @initialize(threads=THREADS)
    def build(self, threads: int) -> None:
        self.index, self.small = ExactIndex(self.rows, threads=threads), ExactIndex(self.rows[:2000], threads=threads)
        for number, some in enumerate(self.queries):
            for what, ask in OTHERS.items():
                self.others[what, number] = ask(self, some, 1)

    @rule(which=st.integers(0, 2), threads=THREADS)
    def search(self, which: int, threads: int) -> None:
        assert same(self.index.search(self.queries[which], K, threads=threads), self.expected[which])

    @rule(which=st.integers(0, 2), threads=THREADS, seconds=MOMENTS)
    def stop(self, which: int, threads: int, seconds: float) -> None:
        found = stopped(self.index, self.queries[which], seconds, threads=threads)
        assert found is None or same(found, self.expected[which])

    @rule(which=st.integers(0, 2), threads=THREADS, seconds=MOMENTS, what=st.sampled_from(sorted(OTHERS)))
    def stop_another(self, which: int, threads: int, seconds: float, what: str) -> None:
        """A radius search, a search with few allowed rows, or a graph: whole or not at all, and the next one is right."""
        ask = OTHERS[what]
        made = type("Asks", (), {"search": lambda _, some, __: ask(self, some, threads)})()
        found = stopped(made, self.queries[which], seconds)
        for one in (found, ask(self, self.queries[which], threads)):
            assert one is None or same(one, self.others[what, which])

    @rule(seconds=MOMENTS)
    def stop_a_build(self, seconds: float) -> None:
        def build(*_: object, **__: object) -> None:
            ExactIndex(self.rows, threads=2)

        made = type("Builds", (), {"search": staticmethod(build)})
        stopped(made, None, seconds)  # type: ignore[arg-type]

    @rule(outer=st.integers(0, 2), inner=st.integers(0, 2), threads=THREADS, seconds=MOMENTS)
    def search_in_a_handler(self, outer: int, inner: int, threads: int, seconds: float) -> None:
        found, there = within(self.index, self.queries[outer], self.queries[inner], seconds, threads=threads)
        assert same(found, self.expected[outer])
        assert all(same(one, self.expected[inner]) for one in there)

    @rule(which=st.integers(0, 2), threads=THREADS)
    def search_without_new_threads(self, which: int, threads: int) -> None:
        def no_more(*_: object) -> None:
            raise RuntimeError("can't start new thread")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(starting._thread, "start_new_thread", no_more)
            assert same(self.index.search(self.queries[which], K, threads=threads), self.expected[which])

    @rule(which=st.integers(0, 2), threads=THREADS)
    def search_in_a_fork(self, which: int, threads: int) -> None:
        if (child := os.fork()) == 0:
            signal.alarm(LONG)
            found = self.index.search(self.queries[which], K, threads=threads)
            os._exit(0 if same(found, self.expected[which]) else 1)
        assert os.waitpid(child, 0)[1] == 0

    @invariant()
    def one_crew(self) -> None:
        there = len(os.listdir("/proc/self/task")) - self.before
        assert there <= 2 * 3 + 8, "its own, and what builds that were stopped have not yet ended"


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:Exception ignored in. <finalize:pytest.PytestUnraisableExceptionWarning")
class TestInterrupted(Interrupted.TestCase):  # type: ignore[name-defined,misc]
    settings = settings(
        max_examples=int(os.environ.get("KNNSCOPE_MACHINES", "20")), stateful_step_count=30, deadline=None
    )
