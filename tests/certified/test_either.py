"""``device="auto"``: whoever has been faster answers, and the answer is the same. A stand-in for the GPU, whose speed a test chooses."""

from __future__ import annotations

import os
import pickle
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from knnscope.certified import either
from knnscope.certified.cpu.meanwhile import Given
from knnscope.certified.cpu.plain import Plain
from knnscope.certified.either import Either, Kind, OnEither, Times
from knnscope.certified.index import ExactIndex
from knnscope.certified.scanner import Ranked, Request
from knnscope.errors import KnnscopeError
from knnscope.search import definition

ROWS = np.random.default_rng(0).standard_normal((5000, 16)).astype(np.float32)
ASKED = Request(ROWS[:40].astype(np.float64), 3, np.empty((0, 0), dtype=np.bool_))


class Clock:
    """Time that passes when somebody is asked, however busy the machine is."""

    now = 0.0
    sleep = staticmethod(time.sleep)

    def perf_counter(self) -> float:
        return self.now


CLOCK = Clock()


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(either, "time", CLOCK)


class Slow(Plain):
    """NumPy, which takes so many seconds; counts what it was asked."""

    def __init__(self, given: Given, seconds: float) -> None:
        super().__init__(*given)
        self.seconds, self.asked = seconds, 0

    def nearest(self, request: Request, threads: int | None = None) -> Ranked:
        self.asked += 1
        CLOCK.now += self.seconds
        return super().nearest(request, threads)


def pair(monkeypatch: pytest.MonkeyPatch, here: float, there: float, price: float = 0.0) -> tuple[Either, Slow, Slow]:
    """Both ways take so many seconds more than NumPy does; starting takes ``price``."""
    monkeypatch.setattr(either, "STARTING_S", price)
    monkeypatch.setattr(either, "COPY_RATE", 1e30)
    monkeypatch.setattr(either, "LEAST_S", 0.0)
    given = Given(ROWS, np.empty(0, dtype=np.int64), "l2")
    first, second = Slow(given, here), Slow(given, there)
    return Either(given, first, lambda _given: second, 1), first, second


def until_there(both: Either) -> None:
    for _ in range(2000):
        both.nearest(ASKED)
        if both.there is not None:
            return
        time.sleep(0.001)
    raise AssertionError("the other one never came")


def test_the_faster_one_answers_when_both_were_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    for slow, fast in ((0, 1), (1, 0)):
        seconds = (0.05, 0.001) if (slow, fast) == (0, 1) else (0.001, 0.05)
        both, *ways = pair(monkeypatch, *seconds)
        until_there(both)
        for _ in range(3):
            both.nearest(ASKED)
        before = [way.asked for way in ways]
        for _ in range(20):
            both.nearest(ASKED)
        assert ways[fast].asked == before[fast] + 20
        assert ways[slow].asked == before[slow]


def test_answers_are_the_definitions_whoever_gives_them(monkeypatch: pytest.MonkeyPatch) -> None:
    both, _, _ = pair(monkeypatch, 0.01, 0.01)
    expected = definition.search(ROWS, ROWS[:40].astype(np.float64), 3, "l2")
    until_there(both)
    for _ in range(2 * either.AGAIN + 3):
        found = both.nearest(ASKED)
        np.testing.assert_array_equal(found.ids, expected.ids)
        np.testing.assert_array_equal(found.distances, expected.distances)


def test_it_is_not_started_before_searches_have_taken_as_long(monkeypatch: pytest.MonkeyPatch) -> None:
    both, first, second = pair(monkeypatch, 0.02, 0.0, price=0.19)
    for _ in range(10):
        both.nearest(ASKED)
    assert both.there is None
    assert not both._asides
    assert (first.asked, second.asked) == (10, 0)
    until_there(both)


def test_what_will_take_longer_starts_it_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    both, first, second = pair(monkeypatch, 0.0, 0.0, price=0.1)
    monkeypatch.setattr(either, "PAIR_S", 1.0)
    both.nearest(ASKED)
    assert both.there is second
    assert first.asked + second.asked == 1


@pytest.mark.parametrize("error", [KnnscopeError("the GPU's memory is full"), RuntimeError("anything")])
def test_one_that_cannot_be_had_leaves_all_to_processors(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    both, first, _ = pair(monkeypatch, 0.01, 0.0)
    tried = []

    def fails(_given: Given) -> Any:
        tried.append(threading.get_ident())
        raise error

    both._build = fails
    for _ in range(30):
        both.nearest(ASKED)
        time.sleep(0.001)
    assert len(tried) == 1
    assert first.asked == 30


@pytest.mark.parametrize("error", [KnnscopeError("the GPU's memory is full"), RuntimeError("anything"), MemoryError()])
def test_one_that_fails_later_leaves_all_to_processors(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process may have taken the GPU's memory since."""
    both, _, second = pair(monkeypatch, 0.01, 0.0)
    until_there(both)

    def fails(*_given: Any) -> Any:
        second.asked += 1
        raise error

    monkeypatch.setattr(second, "nearest", fails)
    before, expected = second.asked, definition.search(ROWS, ASKED.queries, 3, "l2").ids
    for _ in range(20):
        np.testing.assert_array_equal(both.nearest(ASKED).ids, expected)
    assert second.asked == before + 1
    assert both.there is None


def test_what_is_wrong_with_a_request_is_said_and_the_gpu_asked_on(monkeypatch: pytest.MonkeyPatch) -> None:
    both, first, second = pair(monkeypatch, 0.01, 0.0)
    until_there(both)

    def overflows(*_given: Any) -> Any:
        raise KnnscopeError("l2 of finite numbers overflows")

    for scanner in (first, second):
        monkeypatch.setattr(scanner, "nearest", overflows)
    for _ in range(2):
        with pytest.raises(KnnscopeError, match="overflows"):
            both.nearest(ASKED)
    assert both.there is second


def test_who_asks_for_threads_asks_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    both, _, second = pair(monkeypatch, 0.01, 0.0)
    until_there(both)
    before = second.asked
    for _ in range(5):
        both.nearest(ASKED, 1)
    assert second.asked == before


def test_a_fork_has_none_of_its_parents(monkeypatch: pytest.MonkeyPatch) -> None:
    both, _, _ = pair(monkeypatch, 0.01, 0.0)
    until_there(both)
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.write(writer, b"none" if both.there is None else b"some")
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reader, 10) == b"none"
    os.close(reader)
    os.close(writer)


def test_a_kind_is_tried_again_and_a_machine_that_changes_is_believed() -> None:
    times, kind = Times(), Kind(1, 1, False)
    times.took(kind, 0, 1.0)
    assert times.choose(kind) == 1
    times.took(kind, 1, 0.5)
    chosen = [times.choose(kind) for _ in range(2 * either.AGAIN)]
    assert 1 <= chosen.count(0) <= 2
    for _ in range(200):
        times.took(kind, 1, 10.0)
    assert times.choose(kind) in (0, 1)
    assert [times.choose(kind) for _ in range(10)].count(0) >= 9


def test_a_hopeless_one_is_not_tried_again() -> None:
    times, kind = Times(), Kind(1, 1, False)
    times.took(kind, 0, 1.0)
    times.took(kind, 1, 100.0)
    assert not any(times.choose(kind) for _ in range(1000))


def index_of(rows: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> tuple[ExactIndex, list[Slow]]:
    """An index whose GPU is the stand-in."""
    made: list[Slow] = []

    def there(given: Given) -> Slow:
        made.append(Slow(given, 0.001))
        return made[-1]

    monkeypatch.setattr(either, "STARTING_S", 0.0)
    monkeypatch.setattr(either, "COPY_RATE", 1e30)
    monkeypatch.setattr(either, "LEAST_S", 0.0)
    monkeypatch.setattr("knnscope.certified.devices.gpu_beside", lambda: there)
    return ExactIndex(rows), made


def test_an_index_lives_on_through_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Searches, filters, radius, graph, changes, merging, saving and pickling, beside an index of processors alone."""
    index, made = index_of(ROWS, monkeypatch)
    plain = ExactIndex(ROWS, device="cpu")
    assert isinstance(index._living.maker, OnEither)
    for one in (index, plain):
        one.search(ROWS[:5], 2)
        one.add(ROWS[:4500] + 1)
        one.remove(np.arange(0, 5000, 3))
        one.wait()
    mask = np.random.default_rng(1).random(len(plain)) < 0.3
    for _ in range(200):
        for where in (None, mask):
            found, expected = index.search(ROWS[:30], 4, where=where), plain.search(ROWS[:30], 4, where=where)
            np.testing.assert_array_equal(found.ids, expected.ids)
            np.testing.assert_array_equal(found.distances, expected.distances)
        if made and all(one.asked for one in made):
            break
    assert made
    assert all(one.asked for one in made)
    radius = float(np.median(plain.search(ROWS[:30], 4).distances[:, -1]))
    np.testing.assert_array_equal(
        index.radius_search(ROWS[:30], radius).ids, plain.radius_search(ROWS[:30], radius).ids
    )
    index.merge()
    np.testing.assert_array_equal(index.knn_graph(3).ids, plain.merge().knn_graph(3).ids)
    index.save(tmp_path / "saved")
    for again in (ExactIndex.load(tmp_path / "saved"), pickle.loads(pickle.dumps(index))):
        assert isinstance(again._living.maker, OnEither)
        np.testing.assert_array_equal(again.search(ROWS[:30], 4).ids, plain.search(ROWS[:30], 4).ids)


def test_few_rows_and_a_number_of_threads_are_left_to_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    few, made = index_of(ROWS[: either.LEAST_ROWS - 1], monkeypatch)
    for _ in range(10):
        few.search(ROWS[:30], 4)
    assert not made
    assert not isinstance(ExactIndex(ROWS, threads=1)._living.maker, OnEither)


@pytest.mark.parametrize(
    "device",
    ["gpu", "auto:1", "cuda:x", "cuda:0,cpu", ["cuda:0", "cpu"], [], "", ["auto", "auto"], 7, "cpu,cpu", [0, 1]],
)
def test_what_is_no_device_is_told(device: Any) -> None:
    with pytest.raises(KnnscopeError, match="certified search runs on auto, cpu, cuda"):
        ExactIndex(ROWS, device=device)


@pytest.mark.parametrize("device", ["cuda", "cuda:1", ["cuda:0", "cuda:1"], "cuda:0,cuda:1"])
def test_a_gpu_takes_a_size_and_no_small_memory(device: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KnnscopeError, match="give a size"):
        ExactIndex(ROWS, device=device, memory="small")
    monkeypatch.setattr("knnscope.certified.devices.gpu_problem", lambda: "no GPU")
    with pytest.raises(KnnscopeError, match="no GPU: device='cpu' gives the same answers"):
        ExactIndex(ROWS, device=device, memory="8GiB")


def test_rows_of_a_file_are_left_to_processors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU would read all of a file that may be larger than memory."""
    _, made = index_of(ROWS, monkeypatch)
    np.save(tmp_path / "rows.npy", ROWS)
    index = ExactIndex.build(tmp_path / "rows.npy", device="auto")
    for _ in range(10):
        index.search(ROWS[:30], 4)
    assert not made
    for device in ("cuda", "cuda:0,cuda:1", ["cuda:0", "cuda:1"]):
        with pytest.raises(KnnscopeError, match="rows of a file are searched by processors"):
            ExactIndex.build(tmp_path / "rows.npy", device=device)  # type: ignore[arg-type]
