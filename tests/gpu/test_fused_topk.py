"""fused-topk on a GPU: every k, odd shapes, ties, both widths of rows, against float64 of its own and against itself in batches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import oracle

ODD = (1, 2, 31, 32, 33, 127, 128, 129, 1023, 1024, 1025)


def index(rows: np.ndarray) -> Any:
    import cupy

    from knnscope.kernels.fused_topk import FusedTopk

    return FusedTopk(cupy.asarray(rows))


def search(rows: np.ndarray, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    import cupy

    ids, distances = index(rows).search(cupy.asarray(queries), k)
    return ids.get(), distances.get()


def check(rows: np.ndarray, queries: np.ndarray, k: int) -> None:
    ids, distances = search(rows, queries, k)
    assert ids.shape == distances.shape == (len(queries), k)
    assert ids.dtype == np.int64
    assert distances.dtype == np.float32
    true = oracle.float64(rows, queries, "l2")
    bound = (rows.shape[1] + 2) * 2.0**-24 * true + 1e-37
    for line, found, values, slack in zip(ids, distances, true, bound, strict=True):
        assert len(set(line.tolist())) == k
        assert line.min() >= 0
        assert line.max() < len(rows)
        assert (np.abs(found - values[line]) <= 1.001 * slack[line]).all(), "a distance is off by more than rounding"
        best = np.argsort(values, kind="stable")[:k]
        assert (values[line] <= values[best] + 1.01 * (slack[line] + slack[best])).all(), "a nearer row is missing"
        keys = list(zip(found.tolist(), line.tolist(), strict=True))
        assert keys == sorted(keys), "by distance, then by row number"


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("dim", [*ODD, 384, 385, 386, 768, 4096])
def test_dimensions(dim: int, dtype: str) -> None:
    random = np.random.default_rng(dim)
    rows = random.standard_normal((700, dim)).astype(dtype)
    queries = random.standard_normal((3, dim)).astype(np.float32)
    for k in (1, 10, 32, 33, 100, 700):
        check(rows, queries, k)


@pytest.mark.parametrize("count", ODD)
def test_numbers_of_rows(count: int) -> None:
    random = np.random.default_rng(count)
    rows = random.standard_normal((count, 33)).astype(np.float32)
    queries = random.standard_normal((2, 33)).astype(np.float32)
    for k in {1, min(31, count), min(32, count), min(33, count), count}:
        check(rows, queries, k)


@pytest.mark.parametrize("k", [1, 31, 32, 33, 127, 128, 129, 1023, 1024, 1025, 2047, 2048, 2049, 5000])
@pytest.mark.parametrize("count", [5000, 60_000])
def test_every_k(k: int, count: int) -> None:
    random = np.random.default_rng(k)
    rows = random.standard_normal((count, 24)).astype(np.float32)
    check(rows, random.standard_normal((3, 24)).astype(np.float32), k)


@pytest.mark.parametrize("order", ["ascending", "descending", "one block"])
@pytest.mark.parametrize("k", [10, 100, 2048])
def test_rows_in_an_order_that_is_bad_for_bounds(order: str, k: int) -> None:
    along = np.arange(100_000, dtype=np.float32)
    if order == "descending":
        along = along[::-1].copy()
    if order == "one block":  # all of the nearest are read by the same block, one after another
        along = np.where((np.arange(100_000) // 64) % 132 == 5, along, along + 1e6).astype(np.float32)
    rows = np.stack([along, np.zeros_like(along)], axis=1)
    check(rows, np.zeros((2, 2), dtype=np.float32), k)


@pytest.mark.parametrize("k", [1, 10, 32, 33, 500, 2048, 2049])
def test_ties_go_to_the_smallest_rows(k: int) -> None:
    rows = np.random.default_rng(0).integers(0, 2, (30_000, 8)).astype(np.float32)
    queries = np.random.default_rng(1).integers(0, 2, (5, 8)).astype(np.float32)
    ids, _ = search(rows, queries, k)
    for line, query in zip(ids, queries, strict=True):
        assert line.tolist() == np.argsort(((rows - query) ** 2).sum(axis=1), kind="stable")[:k].tolist()
    same, distances = search(np.ones((4000, 384), dtype=np.float16), np.ones((1, 384), dtype=np.float32), k)
    assert same[0].tolist() == list(range(k))
    assert not distances.any()


def test_a_batch_gives_what_single_queries_give_and_scratch_is_left_clean() -> None:
    import cupy

    random = np.random.default_rng(2)
    one = index(random.standard_normal((20_000, 96)).astype(np.float32))
    queries = cupy.asarray(random.standard_normal((300, 96)).astype(np.float32))
    for k in (10, 100, 10, 33):
        ids, distances = one.search(queries, k)
        for i in (0, 1, 150, 299):
            alone, alone_distances = one.search(queries[i : i + 1], k)
            assert (alone == ids[i]).all()
            assert (alone_distances == distances[i]).all()


def test_two_streams_at_once() -> None:
    import cupy

    random = np.random.default_rng(3)
    one = index(random.standard_normal((200_000, 64)).astype(np.float32))
    queries = cupy.asarray(random.standard_normal((2, 64)).astype(np.float32))
    expected = [one.search(queries[i : i + 1], 50)[0].get() for i in range(2)]
    streams = [cupy.cuda.Stream(non_blocking=True) for _ in range(2)]
    cupy.cuda.runtime.deviceSynchronize()
    for _ in range(50):
        found = []
        for i, stream in enumerate(streams):
            with stream:
                found.append(one.search(queries[i : i + 1], 50)[0])
        cupy.cuda.runtime.deviceSynchronize()
        assert all((f.get() == e).all() for f, e in zip(found, expected, strict=True))


@pytest.mark.parametrize("k", [1, 10, 33, 500, 2048])
@pytest.mark.parametrize("count", [1, 33, 511, 512, 513, 2048, 75_000, 1_000_001])
def test_selection_from_distances(count: int, k: int) -> None:
    import cupy

    from knnscope.kernels.fused_topk import SelectNearest

    k = min(k, count)
    values = np.random.default_rng(count + k).integers(0, 5000, count).astype(np.float32)
    select = SelectNearest(count, k)
    for _ in range(3):  # what a launch leaves behind serves the next
        ids = select(cupy.asarray(values)).get()
        assert ids.tolist() == np.argsort(values, kind="stable")[:k].tolist()
        np.testing.assert_array_equal(select.distances.get(), values[ids])
        values = values[::-1].copy()


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize(("count", "dim"), [(1, 1), (31, 33), (1025, 384), (700, 385), (4097, 1537)])
def test_every_distance(count: int, dim: int, dtype: str) -> None:
    import cupy

    random = np.random.default_rng(count)
    rows = random.standard_normal((count, dim)).astype(dtype)
    queries = random.standard_normal((3, dim)).astype(np.float32)
    out = cupy.full((3, count), -1, cupy.float32)
    index(rows).distances(cupy.asarray(queries), out)
    true = np.sqrt(oracle.float64(rows, queries, "l2"))
    np.testing.assert_allclose(out.get(), true, rtol=(dim + 4) * 2.0**-24)


def test_extreme_values() -> None:
    rows = np.float32([[0, 0], [3e19, 0], [1e-30, 0], [65504, 1], [-3e38, 0]])
    ids, distances = search(rows, np.zeros((1, 2), dtype=np.float32), 5)
    assert ids[0].tolist() == [0, 2, 3, 1, 4]
    assert np.isinf(distances[0, 3:]).all()
    half = np.float16([[65504.0], [-65504.0], [6e-8], [0.0]])
    assert search(half, np.zeros((1, 1), dtype=np.float32), 4)[0][0].tolist() == [3, 2, 0, 1]


@given(
    count=st.integers(1, 3000),
    dim=st.integers(1, 200),
    k=st.integers(1, 3000),
    half=st.booleans(),
    seed=st.integers(0, 99),
)
@settings(max_examples=150)
def test_drawn_shapes(count: int, dim: int, k: int, half: bool, seed: int) -> None:
    random = np.random.default_rng(seed)
    rows = random.standard_normal((count, dim)).astype(np.float16 if half else np.float32)
    check(rows, random.standard_normal((2, dim)).astype(np.float32), min(k, count))


def test_what_it_does_not_take() -> None:
    with pytest.raises(ValueError, match="a contiguous float32 or float16 matrix"):
        index(np.zeros((3, 3)))
