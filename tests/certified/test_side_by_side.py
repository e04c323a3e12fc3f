"""Threads of Python that use one index at once, with the interpreter's lock and without: the orders of steps in which one of them is wrong."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from knnscope import ExactIndex
from knnscope.certified import merging
from knnscope.certified.ids import STRING, Strings
from knnscope.errors import KnnscopeError
from knnscope.search import definition
from tests.processes import LONG

THREADS = 4


def at_once(work: Any) -> None:
    """Call it in several threads that begin together; raises what one of them met."""
    gate, met = threading.Barrier(THREADS), list[BaseException]()

    def one(number: int) -> None:
        try:
            gate.wait(LONG)
            work(number)
        except BaseException as error:
            met.append(error)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if met:
        raise met[0]


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> list[threading.Thread]:
    """Those that merging starts, to be waited for."""
    begun: list[threading.Thread] = []

    def start(work: Any, *given: Any) -> bool:
        begun.append(threading.Thread(target=work, args=given))
        begun[-1].start()
        return True

    monkeypatch.setattr(merging, "start_thread", start)
    return begun


def test_strings_that_another_thread_puts_in_order_between_two_looks_at_them() -> None:
    raced = list[str]()

    class Raced(Strings):
        def __getattribute__(self, name: str) -> Any:
            found = super().__getattribute__(name)
            if name in ("_values", "_ranked") and not raced:
                raced.append(name)
                other = threading.Thread(target=self._in_order)
                other.start()
                other.join()
            return found

    called = Raced(np.array(["b", "a", "c"], dtype=STRING))
    assert called.names.tolist() == [1, 0, 2]
    assert raced


def test_merging_that_begins_while_the_thread_before_ends_is_done(
    threads: list[threading.Thread], monkeypatch: pytest.MonkeyPatch
) -> None:
    turns, merged = merging.Turns(), list[str]()

    @contextmanager
    def at_work() -> Iterator[None]:
        if threading.current_thread() is threads[0]:
            yield
            assert turns.beside(lambda: merged.append("second"), lambda: False)  # as a writer would, just now
        else:
            threads[0].join(LONG)
            yield

    monkeypatch.setattr(merging, "at_work", at_work)
    assert turns.beside(lambda: merged.append("first"), lambda: False)
    threads[0].join(LONG)
    threads[1].join(LONG)
    turns.raise_error()
    assert merged == ["first", "second"]


def test_after_an_error_merging_begins_again(threads: list[threading.Thread]) -> None:
    turns, merged = merging.Turns(), list[str]()

    def fail() -> None:
        raise OSError("full")

    assert turns.beside(fail, lambda: True)
    threads[0].join(LONG)
    with pytest.raises(KnnscopeError, match="full"):
        turns.raise_error()
    assert turns.beside(lambda: merged.append("again"), lambda: False)
    threads[1].join(LONG)
    assert merged == ["again"]


@pytest.mark.parametrize("named", [False, True])
def test_the_first_searches_of_an_index_come_together(named: bool) -> None:
    """What is made when the first search needs it is made by several threads at the same time, and each gets its answer."""
    random = np.random.default_rng(0)
    rows, queries = random.standard_normal((3000, 24)), random.standard_normal((5, 24))
    ids = [f"{number:04}" for number in random.permutation(len(rows))] if named else None
    wanted = definition.search(rows, queries, 7, "l2").ids
    for _ in range(10):
        index = ExactIndex(rows, ids=ids, threads=2)
        index.add(rows[:40] + 1000, ids=[f"+{number}" for number in range(40)] if named else None)

        def ask(_: int, index: ExactIndex = index) -> None:
            found = index.search(queries, 7).ids
            expected = np.array(ids)[wanted].tolist() if ids else wanted.tolist()
            assert found.tolist() == expected

        at_once(ask)


def test_one_search_at_a_time_has_the_memory_of_the_last() -> None:
    """Searches of one size by threads that share it: each has steps, and what they write to, of its own."""
    random = np.random.default_rng(1)
    rows = random.standard_normal((9000, 64)).astype(np.float32) * np.linspace(3, 0.1, 64, dtype=np.float32)
    index, queries = ExactIndex(rows, threads=2), random.standard_normal((THREADS, 30, 8, 64))
    wanted = [[definition.search(rows, some, 9, "l2") for some in own[:3]] for own in queries]

    def ask(number: int) -> None:
        for turn in range(60):
            found, right = index.search(queries[number, turn % 3], 9), wanted[number][turn % 3]
            assert found.ids.tolist() == right.ids.tolist()
            assert found.distances.tolist() == right.distances.tolist()

    at_once(ask)
