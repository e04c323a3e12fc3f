"""Searches that go the way of one before: the same bits, the same errors, whatever has happened to the index and its memory meanwhile."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import threading
import weakref
from typing import Any

import numpy as np
import pytest

from knnscope.certified.cpu import again, dispatch, plane, scratch
from knnscope.certified.cpu import search as searches
from knnscope.certified.cpu.again import Kind, Way, Ways
from knnscope.certified.cpu.kept import Kept
from knnscope.certified.cpu.workers import Workers
from knnscope.certified.index import ExactIndex
from knnscope.errors import KnnscopeError
from knnscope.search import definition

ROWS, DIM, K = 9000, 64, 7
KINDS = [(1, 1), (1, 3), (9, 3), (9, 1), (40, 3), (40, 5)]
"""Queries and threads."""


@pytest.fixture(params=["plane", "codes"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What answers."""
    if request.param == "codes":
        monkeypatch.setattr(plane, "FEWEST", 1 << 40)
    monkeypatch.setattr(searches, "FEWEST_BLOCKS", 1)
    monkeypatch.setattr(searches, "SHARED", 1)
    return str(request.param)


@pytest.fixture
def rows() -> Any:
    """Groups, for which a plane pays."""
    random = np.random.default_rng(5)
    centres = random.standard_normal((ROWS // 20, DIM)) * 3
    return (np.repeat(centres, 20, axis=0) + random.standard_normal((ROWS, DIM)) / 4).astype(np.float32)


def asked(rows: Any, count: int, turn: int, dtype: Any = np.float32) -> Any:
    random = np.random.default_rng(turn)
    return (rows[random.choice(len(rows), count)] + random.standard_normal((count, DIM)) / 9).astype(dtype)


def know(index: ExactIndex, rows: Any) -> None:
    """Search once of each kind."""
    for count, threads in KINDS:
        index.search(asked(rows, count, 0), K, threads=threads)


def ways_of(index: ExactIndex) -> Ways:
    whole: Any = index._living.state.whole
    found: Ways = whole.beside.laid_out.ways
    return found


def check(found: Any, rows: Any, queries: Any, metric: str) -> None:
    expected = definition.search(rows, queries, K, metric)
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_array_equal(found.distances, expected.distances)


@pytest.mark.parametrize("metric", definition.METRICS)
def test_each_answer_is_as_defined_and_says_what_another_index_says(path: str, metric: str, rows: Any) -> None:
    """However queries lie in memory, whatever of each size was given back or dropped meanwhile."""
    index = ExactIndex(rows, metric, device="cpu")
    know(index, rows)
    assert len(ways_of(index)._ways) >= 4, "searches have ways"
    random = np.random.default_rng(1)
    for turn in range(40):
        count, threads = KINDS[random.integers(len(KINDS))]
        queries = asked(rows, count, turn, (np.float32, np.float64)[turn % 2])
        given = (queries, np.asfortranarray(queries), np.repeat(queries, 2, axis=1)[:, ::2])[turn % 3]
        found = index.search(given, K, threads=threads)
        check(found, rows, queries, metric)
        fresh = ExactIndex(rows, metric, device="cpu").search(queries, K, threads=threads) if turn < 6 else found
        assert found.certificate.path == fresh.certificate.path
        assert found.certificate.rows_scanned == fresh.certificate.rows_scanned
        if threads == 1:  # of several, each finds what it finds in its turns
            for field in ("candidates", "computed", "margin"):
                mine, theirs = getattr(found.certificate, field), getattr(fresh.certificate, field)
                np.testing.assert_array_equal(mine, theirs)
        if turn % 5 == 0:
            scratch._mine.__dict__.clear()
            gc.collect()
        one = index.search(given[0], K, threads=threads)
        np.testing.assert_array_equal(one.ids, found.ids[0])
        np.testing.assert_array_equal(one.distances, found.distances[0])
        assert one.ids.shape == (K,)


def test_answers_are_the_callers_own(path: str, rows: Any) -> None:
    index = ExactIndex(rows, device="cpu")
    know(index, rows)
    first, second = (index.search(asked(rows, 9, turn), K, threads=3) for turn in (1, 2))
    kept = first.ids.copy()
    for mine, theirs in ((first.ids, second.ids), (first.distances, second.distances)):
        assert not np.shares_memory(mine, theirs)
    index.search(asked(rows, 9, 3), K, threads=3)
    np.testing.assert_array_equal(first.ids, kept)


@pytest.mark.parametrize("metric", definition.METRICS)
@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_refused_as_ever(path: str, metric: str, number: float, rows: Any) -> None:
    index = ExactIndex(rows, metric, device="cpu")
    know(index, rows)
    for count, threads in KINDS:
        for place in (0, DIM - 1):
            queries = asked(rows, count, place)
            queries[count // 2, place] = number
            with pytest.raises(KnnscopeError, match=f"row {count // 2} has {number} in component {place}"):
                index.search(queries, K, threads=threads)
        check(index.search(asked(rows, count, 8), K, threads=threads), rows, asked(rows, count, 8), metric)


def test_a_signalling_nan_is_refused_and_nothing_reported(path: str, rows: Any) -> None:
    """NumPy reports it where float32 becomes float64."""
    index = ExactIndex(rows, device="cpu")
    know(index, rows)
    for count, threads in KINDS:
        queries = asked(rows, count, 1)
        queries.view(np.uint32)[count // 2, 3] = 0x7FA00000
        with np.errstate(all="raise"), pytest.raises(KnnscopeError, match=f"row {count // 2} has nan in component 3"):
            index.search(queries, K, threads=threads)


def test_a_row_that_was_changed_is_told(path: str, rows: Any) -> None:
    index = ExactIndex(rows, device="cpu")
    know(index, rows)
    rows[:] = rows[::-1].copy()
    for count, threads in KINDS:
        with pytest.raises(KnnscopeError, match="changed after the index was built"):
            index.search(asked(rows, count, 1), K, threads=threads)


def test_copies_and_what_is_added_have_ways_of_their_own(path: str, rows: Any) -> None:
    index = ExactIndex(rows, device="cpu")
    know(index, rows)
    others = [copy.copy(index), copy.deepcopy(index), pickle.loads(pickle.dumps(index))]
    more = asked(rows, 300, 77)
    index.add(more)
    index.remove(np.arange(0, ROWS, 2))
    queries = [asked(rows, count, 3) for count, _ in KINDS]
    left = np.concatenate([rows[1::2], more])
    for turn in range(3):
        for (_, threads), some in zip(KINDS, queries, strict=True):
            found, expected = index.search(some, K, threads=threads), definition.search(left, some, K, "l2")
            np.testing.assert_array_equal(found.distances, expected.distances)
            for other in others:
                check(other.search(some, K, threads=threads), rows, some, "l2")
        if turn == 0:
            index.merge()
            others = others[1:]
            gc.collect()


def test_ways_go_with_the_rows(path: str, rows: Any) -> None:
    index = ExactIndex(rows, device="cpu")
    know(index, rows)
    whole: Any = index._living.state.whole
    gone = [weakref.ref(whole.beside), weakref.ref(whole.beside.laid_out)]
    del whole
    index.close()
    del index
    gc.collect()
    assert [one() for one in gone] == [None, None]


def test_threads_at_once_and_a_fork(path: str, rows: Any) -> None:
    index, wrong = ExactIndex(rows, device="cpu"), list[str]()
    know(index, rows)
    expected = {
        (count, turn): definition.search(rows, asked(rows, count, turn), K, "l2")
        for count in (1, 9)
        for turn in range(4)
    }

    def search(seed: int) -> None:
        random = np.random.default_rng(seed)
        for _ in range(60):
            count, turn, threads = int(random.choice((1, 9))), int(random.integers(4)), int(random.choice((1, 3)))
            found = index.search(asked(rows, count, turn), K, threads=threads)
            if not (found.ids == expected[count, turn].ids).all():
                wrong.append(f"{count} {threads}")

    threads = [threading.Thread(target=search, args=(seed,)) for seed in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    child = os.fork()
    if child == 0:
        try:
            search(9)
        finally:
            os._exit(len(wrong))
    assert os.waitpid(child, 0)[1] == 0
    search(10)
    assert not wrong


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
def test_who_is_stopped_gives_nothing_back(
    path: str,
    error: type[BaseException],
    rows: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    index, ran, run = ExactIndex(rows, device="cpu"), list[Any](), Workers.run
    know(index, rows)

    def struck(self: Workers, program: Any, *arrays: Any) -> Any:
        run(self, program, *arrays)
        ran.append(program)
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(Workers, "run", struck)
        with pytest.raises(error):
            index.search(asked(rows, 9, 1), K, threads=3)
    with monkeypatch.context() as patch:
        patch.setattr(Workers, "run", lambda self, *given: (ran.append(given[0]), run(self, *given))[1])
        check(index.search(asked(rows, 9, 1), K, threads=3), rows, asked(rows, 9, 1), "l2")
    assert ran[0] is not ran[-1]


def test_a_kind_that_is_missed_has_to_be_answered_more_often() -> None:
    class Misses:
        nbytes = 0

        def answer(self, *_: object) -> bool:
            return False

    ways, kept, kind = Ways(), Kept[Any](1), Kind(1, K, 1)
    kept.give_back("size", Misses())
    way, query, needed = Way(kept, "size", ("plane",)), np.zeros((1, DIM)), 1
    for _ in range(5):
        for number in range(needed):
            assert ways.answer(query, K, DIM, Workers(1)) is None
            assert (kind in ways._ways) is False
            ways.answered(kind, way)
            assert (kind in ways._ways) is (number == needed - 1)
        assert ways.answer(query, K, DIM, Workers(1)) is None
        needed *= again.DEARER


def test_what_is_known_of_kinds_has_an_end_and_the_last_that_were_missed_are_known() -> None:
    class Misses:
        nbytes = 0

        def answer(self, *_: object) -> bool:
            return False

    ways, kept, needed = Ways(), Kept[Any](1), again.DEARER
    way, query = Way(kept, "size", ("plane",)), np.zeros((1, DIM))

    def miss(k: int) -> None:
        while Kind(1, k, 1) not in ways._ways:
            ways.answered(Kind(1, k, 1), way)
        kept.give_back("size", Misses())
        assert ways.answer(query, k, DIM, Workers(1)) is None

    for k in range(2, 8 * again.MISSED):
        ways.answered(Kind(1, k, 1), way)
        assert len(ways._ways) <= again.WAYS
        assert len(ways._seen) <= again.MISSED
    for _ in range(3):
        miss(1)
        assert ways._seen[Kind(1, 1, 1)].needed == needed
        needed *= again.DEARER
        for k in range(2, again.MISSED + 1):
            miss(k)
        assert len(ways._seen) == again.MISSED, "all are known"
    miss(again.MISSED + 1)
    assert len(ways._seen) == again.MISSED
    assert Kind(1, 1, 1) not in ways._seen, "the one that was missed longest ago"


def test_a_search_that_a_way_does_not_answer_is_answered_by_all_there_is(rows: Any) -> None:
    """A crowd that bounds do not tell apart, among queries that they do."""
    rows[: ROWS // 2] = rows[0] + np.random.default_rng(3).standard_normal((ROWS // 2, DIM)).astype(np.float32) * 1e-6
    index = ExactIndex(rows, device=f"cpu:{dispatch.available()[0]}")
    for turn in range(6):
        for queries in (asked(rows[ROWS // 2 :], 9, turn), rows[turn : turn + 9]):
            check(index.search(queries, K, threads=3), rows, queries, "l2")
