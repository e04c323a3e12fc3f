"""A living index on a GPU: what the CPU's answers, bit for bit, through segments, filters, and queries that lie there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import knnscope
from knnscope.errors import KnnscopeError
from knnscope.search import definition

cp = pytest.importorskip("cupy")
METRICS = definition.METRICS


def lived(metric: str, device: str, rows: np.ndarray) -> knnscope.ExactIndex:
    """An index of some segments, with rows that are gone in each, and a few rows at the end."""
    index = knnscope.ExactIndex(rows[:6000], metric, device=device)
    index.add(rows[6000:7200])
    index.add(rows[7200:7230])
    index.remove(np.arange(0, 7230, 41))
    index.update([1, 2, 3], rows[7230:7233])
    return index


def data(dim: int = 96, ties: bool = False) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(dim)
    rows = (
        random.integers(-1, 2, (7300, dim))
        if ties
        else random.standard_normal((7300, dim)) * (np.arange(dim) + 1.0) ** -0.5
    )
    rows = rows.astype(np.float32)
    rows[6500:6600] *= 50
    return rows, rows[:70] + np.float32(0 if ties else 0.05)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("metric", METRICS)
def test_answers_are_those_of_the_cpu(metric: str, ties: bool) -> None:
    rows, queries = data(8 if ties else 96, ties)
    there, here = lived(metric, "cuda", rows), lived(metric, "cpu", rows)
    np.testing.assert_array_equal(there.ids, here.ids)
    np.testing.assert_array_equal(there.get(there.ids), here.get(here.ids))
    mask = np.random.default_rng(0).random((70, len(here))) < 0.1
    wheres: list[Any] = [None, mask[0], mask, knnscope.Keep(here.ids[mask[0]]), knnscope.Without(here.ids[mask[0]])]
    for where in wheres:
        each = isinstance(where, np.ndarray) and where.ndim == 2
        for k in (1, 10, 300):
            for batch in (1, 5, 70):
                some = where[:batch] if each else where
                expected = here.search(queries[:batch], k, where=some)
                on_host = there.search(queries[:batch], k, where=some)
                on_gpu = there.search(
                    cp.asarray(queries[:batch]), k, where=cp.asarray(some) if isinstance(some, np.ndarray) else some
                )
                for ids, distances in (on_host, (on_gpu.ids.get(), on_gpu.distances.get())):
                    np.testing.assert_array_equal(ids, expected.ids)
                    np.testing.assert_array_equal(distances, expected.distances)
                assert on_gpu.certificate.rows_scanned == on_host.certificate.rows_scanned
                assert (on_gpu.certificate.computed <= on_gpu.certificate.candidates).all()


def test_out_and_a_single_query() -> None:
    rows, queries = data()
    index = lived("l2", "cuda", rows)
    expected = index.search(queries, 7)
    out = cp.empty((70, 7), dtype=cp.int64), cp.empty((70, 7))
    found = index.search(cp.asarray(queries), 7, out=out)
    assert found.ids is out[0]
    np.testing.assert_array_equal(out[0].get(), expected.ids)
    np.testing.assert_array_equal(out[1].get(), expected.distances)
    one = index.search(cp.asarray(queries[3]), 7)
    np.testing.assert_array_equal(one.ids.get(), expected.ids[3])


def test_one_segment_with_rows_that_are_gone() -> None:
    rows, queries = data()
    index = knnscope.ExactIndex(rows, device="cuda")
    gone = np.arange(0, 7300, 100)
    index.remove(gone)
    left = np.setdiff1d(np.arange(7300), gone)
    expected = definition.search(rows[left], queries, 9, "l2")
    out = cp.empty((70, 9), dtype=cp.int64), cp.empty((70, 9))
    index.search(cp.asarray(queries), 9, out=out)
    np.testing.assert_array_equal(out[0].get(), left[expected.ids])


def test_merged_rows_and_rows_of_the_gpu() -> None:
    rows, queries = data()
    index = lived("l2", "cuda", rows)
    before = index.search(queries, 12)
    index.merge()
    after = index.search(queries, 12)
    np.testing.assert_array_equal(before.ids, after.ids)
    ids = index.add(cp.asarray(rows[:3]))
    np.testing.assert_array_equal(index.get(ids), rows[:3])


def test_many_segments_are_merged_in_rounds() -> None:
    from knnscope.certified.cuda.merge import LISTS, merge_there

    random = np.random.default_rng(0)
    for metric in METRICS:
        sign = 1 if metric == "l2" else -1
        answers, every = [], []
        for number in range(LISTS + 7):
            width = int(random.integers(1, 6))
            values = sign * np.sort(random.integers(0, 9, (4, width)).astype(float), axis=1)
            ids = number * 10 + np.arange(width) + np.zeros((4, 1), dtype=np.int64)
            if number % 5 == 0:
                ids[:, -1], values[:, -1] = -1, sign * np.inf
            answers.append((cp.asarray(ids), cp.asarray(values)))
            every.append((ids, values))
        ids, values = (np.concatenate([one[i] for one in every], axis=1) for i in (0, 1))
        last = np.where(ids < 0, np.iinfo(np.int64).max, ids)
        order = np.lexsort((last, sign * values), axis=1)[:, :30]
        found = merge_there(answers, 30, metric, None)
        np.testing.assert_array_equal(found[0].get(), np.take_along_axis(ids, order, axis=1))
        np.testing.assert_array_equal(found[1].get(), np.take_along_axis(values, order, axis=1))


def test_what_a_gpu_cannot_hold_is_told() -> None:
    rows, queries = data()
    index = knnscope.ExactIndex(rows[:100], ids=[f"n{i}" for i in range(100)], device="cuda")
    assert index.search(queries, 2).ids.dtype.kind == "U"
    with pytest.raises(KnnscopeError, match="strings, which a GPU's arrays cannot hold"):
        index.search(cp.asarray(queries), 2)
    several, out = lived("l2", "cuda", rows), (cp.empty((70, 2), dtype=cp.int64), cp.empty((70, 2)))
    there = cp.asarray(queries)
    several.search(there, 2, out=out)
    stream = cp.cuda.Stream(non_blocking=True)
    with stream:
        stream.begin_capture()
        try:
            with pytest.raises(KnnscopeError, match=r"call index.merge\(\) before"):
                several.search(there, 2, out=out)
        finally:
            stream.end_capture()


def test_a_captured_graph_outlives_its_segment() -> None:
    rows, queries = data()
    index = knnscope.ExactIndex(rows, device="cuda")
    there, out = cp.asarray(queries[:1]), (cp.empty((1, 5), dtype=cp.int64), cp.empty((1, 5)))
    stream = cp.cuda.Stream(non_blocking=True)
    with stream:
        index.search(there, 5, out=out)
        stream.begin_capture()
        index.search(there, 5, out=out)
        graph = stream.end_capture()
    stream.synchronize()
    expected = out[0].get()
    index.remove(int(expected[0, 0]))
    index.merge()
    cp.get_default_memory_pool().free_all_blocks()
    _ = cp.full(1 << 20, 7, dtype=cp.int64)
    graph.launch(stream)
    stream.synchronize()
    np.testing.assert_array_equal(out[0].get(), expected)
