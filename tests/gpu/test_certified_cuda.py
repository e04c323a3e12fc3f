"""Certified search on a GPU: the CPU engine's answers, bit for bit, whatever the data, the path and where arrays lie."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given

from knnscope.certified.index import ExactIndex
from knnscope.datasets import registry
from knnscope.errors import KnnscopeError
from knnscope.search import definition
from tests import oracle
from tests.certified.answers import Asked, check, small
from tests.gpu.answers import as_defined

METRICS = definition.METRICS
KINDS = ("text", "isotropic", "near-duplicate", "large-norm", "ties")


@given(small())
def test_any_small_data(asked: Asked) -> None:
    rows, queries, metric, k, where = asked
    check(ExactIndex(rows, metric, device="cuda").search(queries, k, where), rows, queries, k, metric, where)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("data", KINDS)
def test_kinds_of_data(data: str, metric: str) -> None:
    dataset, _ = registry.load(f"synthetic:{data},rows=9000,queries=150")
    rows, queries = dataset.documents.values, dataset.queries.values
    index = ExactIndex(rows, metric, device="cuda")
    for k in (1, 10, 100):
        for batch in (1, 3, 4, 5, 33, 65, 150):
            as_defined(index.search(queries[:batch], k), rows, queries[:batch], k, metric)


@pytest.mark.parametrize("dim", [1, 15, 16, 17, 63, 64, 65, 127, 129, 257, 384, 500, 768, 1025])
@pytest.mark.parametrize("metric", METRICS)
def test_dimensions(dim: int, metric: str) -> None:
    random = np.random.default_rng(dim)
    rows = (random.standard_normal((4500, dim)) * (np.arange(dim) + 1.0) ** -0.5).astype(np.float32)
    queries = rows[:40] + np.float32(0.1) * random.standard_normal((40, dim)).astype(np.float32)
    index = ExactIndex(rows, metric, device="cuda")
    as_defined(index.search(queries[:2], 10), rows, queries[:2], 10, metric)
    as_defined(index.search(queries, 10), rows, queries, 10, metric)


@pytest.mark.parametrize("k", [1, 2, 255, 256, 257, 511, 512, 513, 2000, 6000])
def test_every_k(k: int) -> None:
    dataset, _ = registry.load("synthetic:text,rows=6000,dim=96,queries=40")
    rows, queries = dataset.documents.values, dataset.queries.values
    index = ExactIndex(rows, device="cuda")
    for batch in (1, 40):
        as_defined(index.search(queries[:batch], k), rows, queries[:batch], k, "l2")


@pytest.mark.parametrize("dim", [2**17, 2**18, 2**20 + 3])
def test_more_components_than_products_of_codes_have_room_for(dim: int) -> None:
    random = np.random.default_rng(dim)
    rows, queries = (
        random.standard_normal((30, dim)).astype(np.float32),
        random.standard_normal((2, dim)).astype(np.float32),
    )
    for metric in METRICS:
        as_defined(ExactIndex(rows, metric, device="cuda").search(queries, 3), rows, queries, 3, metric)


def test_duplicates_and_rows_nearer_than_any_bound() -> None:
    random = np.random.default_rng(1)
    few = random.standard_normal((50, 384)).astype(np.float32)
    for noise in (0.0, 1e-6, 1e-4):
        rows = (few[random.integers(0, 50, 20_000)] + noise * random.standard_normal((20_000, 384))).astype(np.float32)
        index = ExactIndex(rows, device="cuda")
        for batch in (1, 20):
            as_defined(index.search(few[:batch], 10), rows, few[:batch], 10, "l2")


@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1e12, 1e18])
@pytest.mark.parametrize("metric", METRICS)
def test_scales(scale: float, metric: str) -> None:
    random = np.random.default_rng(4)
    rows = (random.standard_normal((5000, 64)) * scale).astype(np.float32)
    queries = (random.standard_normal((9, 64)) * scale).astype(np.float32)
    index = ExactIndex(rows, metric, device="cuda")
    for batch in (1, 9):
        as_defined(index.search(queries[:batch], 5), rows, queries[:batch], 5, metric)


def test_rows_and_queries_of_very_different_lengths() -> None:
    """Where certex, a rival, gives wrong rows or none (its version 0.1.0)."""
    random = np.random.default_rng(5)
    rows = random.standard_normal((6000, 128)).astype(np.float32)
    rows[::7] *= 100
    rows[13] = 1e30
    for queries in (rows[:20] * np.float32(1e4), rows[:20] * np.float32(1e5), rows[:20] * np.float32(1e-5)):
        for metric in METRICS:
            index = ExactIndex(rows, metric, device="cuda")
            for batch in (2, 20):
                as_defined(index.search(queries[:batch], 10), rows, queries[:batch], 10, metric)


@pytest.mark.parametrize("metric", METRICS)
def test_names_and_masks(metric: str) -> None:
    random = np.random.default_rng(6)
    rows = random.integers(-2, 3, (7000, 64)).astype(np.float32)  # many ties, which names decide
    names = random.permutation(10**6)[:7000]
    queries = random.integers(-2, 3, (9, 64)).astype(np.float32)
    index = ExactIndex(rows, metric, ids=names, device="cuda")
    by_cpu = ExactIndex(rows, metric, ids=names, device="cpu")
    for where in (None, random.random(7000) < 0.5, random.random((9, 7000)) < 0.01, np.zeros(7000, bool)):
        for batch in (1, 9):
            mask = where if where is None or where.ndim == 1 else where[:batch]
            found, expected = (one.search(queries[:batch], 10, mask) for one in (index, by_cpu))
            np.testing.assert_array_equal(found.ids, expected.ids)
            np.testing.assert_array_equal(found.distances, expected.distances)


def arrays_on_the_gpu(values: np.ndarray) -> dict[str, Any]:
    import cupy
    import torch

    return {"cupy": cupy.asarray(values), "torch": torch.from_numpy(values.copy()).cuda()}


@pytest.mark.parametrize("library", ["cupy", "torch"])
@pytest.mark.parametrize("batch", [1, 40])
def test_arrays_on_the_gpu_stay_there(library: str, batch: int) -> None:
    dataset, _ = registry.load("synthetic:text,rows=5000,dim=96,queries=40")
    rows, queries = dataset.documents.values, dataset.queries.values[:batch]
    index = ExactIndex(arrays_on_the_gpu(rows)[library], device="cuda")
    asked = arrays_on_the_gpu(queries)[library]
    found = index.search(asked, 10)
    assert type(found.ids) is type(asked)
    assert type(found.distances) is type(asked)
    expected = definition.search(rows, queries, 10, "l2")
    np.testing.assert_array_equal(np.asarray(found.ids.cpu() if library == "torch" else found.ids.get()), expected.ids)
    np.testing.assert_array_equal(
        np.asarray(found.distances.cpu() if library == "torch" else found.distances.get()), expected.distances
    )
    assert found.certificate.exact
    single = index.search(asked[0], 10)
    assert single.ids.shape == (10,)


def test_bfloat16_of_torch() -> None:
    import torch

    rows = torch.randn(5000, 64, dtype=torch.bfloat16)
    wide = rows.float().numpy()
    for index in (ExactIndex(rows, device="cuda"), ExactIndex(rows.cuda(), device="cuda")):
        as_defined(index.search(wide[:2], 10), wide, wide[:2], 10, "l2")
        as_defined(index.search(wide[:20], 10), wide, wide[:20], 10, "l2")


def test_what_is_not_finite_is_refused() -> None:
    import cupy

    rows = np.zeros((5000, 64), np.float32)
    rows[17, 3] = np.nan
    for given_rows in (rows, cupy.asarray(rows)):
        with pytest.raises(KnnscopeError, match="17"):
            ExactIndex(given_rows, device="cuda")
    index = ExactIndex(np.zeros((5000, 64), np.float32), device="cuda")
    with pytest.raises(KnnscopeError, match="17"):
        index.search(rows[:20], 3)
    for k in (3, 600):  # nobody waits for an answer on the GPU: who looks at its proof is told
        found = index.search(cupy.asarray(rows[:20]), k)
        assert (found.ids[17].get() == -1).all() or k == 600
        with pytest.raises(KnnscopeError, match="17"):
            _ = found.certificate.candidates
    found = index.search(cupy.asarray(rows[17:18]), 3)
    assert (found.ids.get() == -1).all()
    assert np.isinf(found.distances.get()).all()
    with pytest.raises(KnnscopeError, match="components"):
        index.search(np.zeros((1, 63), np.float32), 3)
    with pytest.raises(KnnscopeError, match="another device"):
        ExactIndex(cupy.zeros((10, 4), cupy.float32), device="cpu")


@pytest.mark.parametrize("metric", ["ip", "cosine"])
def test_overflow_is_told(metric: str) -> None:
    rows = np.full((5000, 16), 1e200)
    rows[:, ::2] *= -1  # infinity less infinity
    with pytest.raises(KnnscopeError, match="overflows"):
        ExactIndex(rows, metric, device="cuda").search(np.full((1, 16), 1e200), 3)


@pytest.mark.parametrize("batch", [1, 33])
def test_a_row_that_was_changed_is_told(batch: int) -> None:
    import cupy

    random = np.random.default_rng(8)
    rows = cupy.asarray(random.standard_normal((6000, 128)).astype(np.float32))
    index = ExactIndex(rows, device="cuda")
    queries = rows[:batch].get()
    rows[:batch] += 50.0
    with pytest.raises(KnnscopeError, match="changed"):
        index.search(queries, 1)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "int32"])
@pytest.mark.parametrize("metric", METRICS)
def test_queries_of_every_type_that_lie_on_the_gpu(dtype: str, metric: str) -> None:
    import cupy

    random = np.random.default_rng(9)
    rows = random.standard_normal((5000, 96)).astype(np.float32)
    index = ExactIndex(rows, metric, device="cuda")
    queries = (random.standard_normal((30, 96)) * 9).astype(dtype)
    expected = definition.search(rows, queries.astype(np.float64), 10, metric)
    for batch in (1, 4, 30):
        found = index.search(cupy.asarray(queries[:batch]), 10)
        np.testing.assert_array_equal(found.ids.get(), expected.ids[:batch])
        np.testing.assert_array_equal(found.distances.get(), expected.distances[:batch])


@pytest.mark.parametrize("batch", [1, 4, 40, 300])
def test_a_search_is_captured_in_a_graph_which_proves_that_it_waits_for_nothing(batch: int) -> None:
    import cupy

    dataset, _ = registry.load("synthetic:text,rows=9000,dim=96,queries=600")
    rows, queries = dataset.documents.values, dataset.queries.values
    expected = definition.search(rows, queries, 10, "l2", threads=8)
    index = ExactIndex(rows, device="cuda")
    with cupy.cuda.Stream(non_blocking=True) as stream:
        asked = cupy.asarray(queries[:batch])
        out = cupy.empty((batch, 10), cupy.int64), cupy.empty((batch, 10))
        index.search(asked, 10, out=out)
        stream.begin_capture()
        found = index.search(asked, 10, out=out)
        graph = stream.end_capture()
        for first in (batch, 0):  # other queries in the same memory
            asked.set(queries[first : first + batch])
            for array in out:
                array.fill(-5)
            graph.launch(stream)
            stream.synchronize()
            np.testing.assert_array_equal(out[0].get(), expected.ids[first : first + batch])
            np.testing.assert_array_equal(out[1].get(), expected.distances[first : first + batch])
        assert found.certificate.rows_scanned == 9000
        for other in ((out[1], out[0]), (out[0][:, :9], out[1]), (out[0].T, out[1])):
            with pytest.raises(KnnscopeError, match="out"):
                index.search(asked, 10, out=other)


def test_searches_of_several_streams_do_not_meet() -> None:
    import cupy

    dataset, _ = registry.load("synthetic:text,rows=20000,dim=96,queries=256")
    rows, queries = dataset.documents.values, dataset.queries.values
    index, expected = ExactIndex(rows, device="cuda"), definition.search(rows, queries, 10, "l2", threads=8)
    asked = cupy.asarray(queries)
    cupy.cuda.Device().synchronize()
    streams, found = [cupy.cuda.Stream(non_blocking=True) for _ in range(4)], []
    for turn in range(64):
        with streams[turn % 4]:
            first, size = 4 * turn, (1, 4, 3, 4)[turn % 4]
            found.append((first, size, index.search(asked[first : first + size], 10)))
    for stream in streams:
        stream.synchronize()
    for first, size, answer in found:
        np.testing.assert_array_equal(answer.ids.get(), expected.ids[first : first + size])
        assert (answer.certificate.computed > 0).all()


@pytest.mark.parametrize("k", [1, 10, 200, 400])
def test_ties_without_end_are_answered_by_all_rows(k: int) -> None:
    import cupy

    random = np.random.default_rng(10)
    rows = np.repeat(random.standard_normal((3, 64)).astype(np.float32), 4000, axis=0)
    index = ExactIndex(rows, device="cuda", ids=random.permutation(12000))
    for batch in (1, 3, 20):
        queries = random.standard_normal((batch, 64)).astype(np.float32)
        found = index.search(cupy.asarray(queries), k)
        expected = ExactIndex(rows, ids=index_names(index), device="cpu").search(queries, k)
        np.testing.assert_array_equal(found.ids.get(), expected.ids)
        assert found.certificate.path == ("exhaustive",)
        assert (found.certificate.computed == 12000).all()


def index_names(index: ExactIndex) -> np.ndarray:
    """What its rows are called."""
    scanner: Any = index._living.state.whole
    return scanner.table.names.get()


def test_several_threads_ask_at_once() -> None:
    dataset, _ = registry.load("synthetic:text,rows=9000,dim=96,queries=64")
    rows, queries = dataset.documents.values, dataset.queries.values
    index, expected = ExactIndex(rows, device="cuda"), definition.search(rows, queries, 10, "l2")
    wrong: list[int] = []

    def ask(batch: int) -> None:
        for first in range(0, 64, batch):
            found = index.search(queries[first : first + batch], 10)
            if not np.array_equal(found.ids, expected.ids[first : first + batch]):
                wrong.append(first)

    threads = [threading.Thread(target=ask, args=(batch,)) for batch in (1, 2, 4, 16, 32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_bounds_leave_few_rows_where_data_are_like_text() -> None:
    """Else everything above could pass by looking at all rows."""
    dataset, _ = registry.load("synthetic:text,rows=20000,queries=40")
    for metric in METRICS:
        index = ExactIndex(dataset.documents.values, metric, device="cuda")
        one, many = (index.search(dataset.queries.values[:batch], 10).certificate for batch in (1, 40))
        assert one.path == ("plane",)
        assert many.path == ("codes",)
        assert np.median(one.candidates) < 2000
        assert np.median(one.computed) < 200  # as many as lie within the k-th distance of the rows that were seen first
        assert np.median(many.candidates) < 200


def test_the_oracle_agrees() -> None:
    dataset, _ = registry.load("synthetic:near-duplicate,rows=5000,dim=64,queries=10")
    rows, queries = dataset.documents.values, dataset.queries.values
    for metric in METRICS:
        found = ExactIndex(rows, metric, device="cuda").search(queries, 10)
        for number, query in enumerate(queries):
            assert (found.ids[number].tolist(), found.distances[number].tolist()) == oracle.answer(
                rows, query, 10, metric
            )
