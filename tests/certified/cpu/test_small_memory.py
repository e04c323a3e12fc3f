"""memory="small": the plane alone beside the rows."""

from __future__ import annotations

import numpy as np
import pytest

from knnscope.certified.cpu import plane, plane_steps, scratch
from knnscope.certified.cpu import search as searches
from knnscope.certified.cpu.scanner import CpuScanner
from knnscope.certified.index import ExactIndex
from knnscope.errors import KnnscopeError
from knnscope.search import definition

METRICS = definition.METRICS
RANDOM = np.random.default_rng


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int8"])
@pytest.mark.parametrize("metric", METRICS)
def test_small_memory_gives_the_same_answers_from_the_plane_alone(
    small: pytest.MonkeyPatch, metric: str, dtype: str
) -> None:
    random = RANDOM(12)
    fall = np.arange(1, 97) ** -0.8
    rows = (random.standard_normal((9000, 96)) * fall * 40).clip(-127, 127).astype(dtype)
    queries = (random.standard_normal((11, 96)) * fall * 40).clip(-127, 127).astype(dtype)
    index = ExactIndex(rows, metric, threads=2, memory="small")
    assert index.nbytes < 9000 * (48 + 10) + 96 * 96 * 4
    assert "byte a component" not in index.levels
    small.setattr(searches, "BLOCK", 5)  # of queries at a time
    small.setattr(searches, "FEWEST_BLOCKS", 100)
    every = definition.search(rows, queries, 9000, metric)
    for k in (1, 10, 700):
        for batch in (1, 3, 11):
            for threads in (1, 2):
                found = [index.search(queries[i : i + batch], k, threads=threads) for i in range(0, 11, batch)]
                np.testing.assert_array_equal(np.concatenate([f.ids for f in found]), every.ids[:, :k])
                np.testing.assert_array_equal(np.concatenate([f.distances for f in found]), every.distances[:, :k])
                assert all(f.certificate.path == ("plane",) for f in found)
                assert np.median(np.concatenate([f.certificate.computed for f in found])) < 1500 + 4 * k
                if dtype != "int8":  # whose values are often equal
                    assert all((f.certificate.margin > 0).all() for f in found)
    nbytes = index.nbytes
    everything = index.search(queries, 9000)
    assert everything.certificate.path == ("exhaustive",)
    np.testing.assert_array_equal(everything.ids, every.ids)
    assert index.nbytes == nbytes, "and nothing was written beside it"


def test_small_memory_where_no_plane_pays_is_what_fast_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plane, "WORTH", 0.0)
    rows = RANDOM(1).standard_normal((9000, 64)).astype(np.float32)
    small, fast = ExactIndex(rows, memory="small"), ExactIndex(rows)
    assert (small.nbytes, small.levels) == (fast.nbytes, fast.levels)
    assert small.search(rows[:7], 3).ids.tolist() == fast.search(rows[:7], 3).ids.tolist()


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("dtype", "number"), [("float32", np.nan), ("float32", np.inf), ("float64", -np.inf)])
def test_small_memory_refuses_what_is_not_finite(
    small: pytest.MonkeyPatch, metric: str, dtype: str, number: float
) -> None:
    rows = RANDOM(1).standard_normal((6000, 40)).astype(dtype)
    rows[4321, 7] = number
    with pytest.raises(KnnscopeError, match=r"rows: row 4,321 has -?(nan|inf) in component 7"):
        ExactIndex(rows, metric, memory="small")


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("size", [1e60, 1e120, 1e200])
def test_small_memory_with_a_row_far_too_long_for_a_plane(small: pytest.MonkeyPatch, metric: str, size: float) -> None:
    """It is never left out; where a value overflows, that is what is said, as without."""
    random = RANDOM(3)
    rows = (random.standard_normal((5000, 64)) * np.arange(1, 65) ** -0.8).astype(np.float64)
    queries = random.standard_normal((3, 64))
    rows[4321] *= size
    said = []
    for memory in ("small", "fast"):
        try:
            found = ExactIndex(rows, metric, memory=memory).search(queries, 5)
            said.append((found.ids.tolist(), found.distances.tolist()))
        except KnnscopeError as error:
            said.append(([str(error)], []))
    assert said[0] == said[1]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_a_row_that_has_come_nearer_is_not_lost(small: pytest.MonkeyPatch, threads: int, metric: str) -> None:
    """What is known of it is beyond its own distance by now, so that it would be left out by itself; with all others, which are further."""
    small.setattr(searches, "FEWEST_BLOCKS", 1)
    random, fall = RANDOM(1), np.arange(1, 65) ** -0.8
    rows = (random.standard_normal((3000, 64)) * fall).astype(np.float32)
    queries = (random.standard_normal((6, 64)) * fall * 4).astype(np.float32)
    index = ExactIndex(rows, metric, threads=threads, memory="small")
    near = int(index.search(queries[:1], 1).ids[0, 0])
    rows[near] = queries[0] * np.float32(8 if metric == "ip" else 1)
    for batch in (1, 6):
        for k in (1, 3):
            try:
                found = index.search(queries[:batch], k)
            except KnnscopeError as error:
                assert "were changed after the index was built" in str(error)
            else:
                np.testing.assert_array_equal(found.ids, definition.search(rows, queries[:batch], k, metric).ids)


def test_a_memory_that_there_is_not_is_refused() -> None:
    with pytest.raises(KnnscopeError, match="memory"):
        ExactIndex(np.zeros((3, 4), dtype=np.float32), memory="tiny")
    with pytest.raises(KnnscopeError, match="memory='small' is for processors"):
        ExactIndex(np.zeros((3, 4), dtype=np.float32), device="cuda", memory="small")


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("threads", [1, 4])
def test_small_memory_has_room_for_every_row(small: pytest.MonkeyPatch, threads: int, metric: str) -> None:
    """Rows that no bound tells apart, and a mask of rows for each query; where threads share a large plane, those that are near lie in one part."""
    small.setattr(searches, "LEAST_ROOM", 16)
    small.setattr(searches, "FEWEST_BLOCKS", 1)
    small.setattr(searches, "WHOLE", 0)
    small.setattr(scratch, "KEPT_BYTES", 5 << 15)
    small.setattr(plane_steps, "KEPT_BYTES", 0)
    rows = np.repeat(RANDOM(3).standard_normal((4, 64)).astype(np.float32), 1500, axis=0)
    where = RANDOM(4).random((9, 6000)) < 0.5
    for count in (1, 4):
        index = ExactIndex(rows, metric, threads=threads, memory="small")
        found = index.search(rows[:count] + np.float32(0.1), 20, where[:count])
        assert found.certificate.path == ("plane",)
        for number in range(count):
            left = np.flatnonzero(where[number])
            expected = definition.search(rows[left], rows[number : number + 1] + np.float32(0.1), 20, metric)
            assert found.ids[number].tolist() == left[expected.ids[0]].tolist()


@pytest.mark.parametrize("memory", ["fast", "small"])
@pytest.mark.parametrize("threads", [1, 2])
def test_no_queries_have_no_answers(small: pytest.MonkeyPatch, memory: str, threads: int) -> None:
    """Which once divided by their number, in compiled code."""
    small.setattr(searches, "FEWEST_BLOCKS", 10)
    rows = RANDOM(1).standard_normal((2000, 64)).astype(np.float32)
    found = ExactIndex(rows, threads=threads, memory=memory).search(rows[:0], 3)
    assert found.ids.shape == (0, 3)


def test_another_index_like_one_of_small_memory_is_small() -> None:
    scanner = CpuScanner(None, 2, "small").like()
    assert scanner.memory == "small"
