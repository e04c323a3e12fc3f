"""Batches on a GPU: thresholds, tiles and turns of every kind give the CPU engine's answers, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

from knnscope.certified.index import ExactIndex
from knnscope.datasets import registry
from knnscope.search import definition
from tests.gpu.answers import as_defined

METRICS = definition.METRICS
KINDS = ("text", "isotropic", "near-duplicate", "large-norm", "ties")


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("data", KINDS)
def test_thresholds_of_distances(data: str, metric: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where rows are many."""
    from knnscope.certified.cuda import batch as codes

    monkeypatch.setattr(codes, "SHARP", 0)
    dataset, _ = registry.load(f"synthetic:{data},rows=70000,dim=128,queries=300")
    rows, queries = dataset.documents.values, dataset.queries.values
    index = ExactIndex(rows, metric, device="cuda")
    for k in (1, 10, 100):
        for batch in (33, 129, 300):
            as_defined(index.search(queries[:batch], k), rows, queries[:batch], k, metric)


@pytest.mark.parametrize("dim", [900, 1536, 2100, 2200, 3000])
@pytest.mark.parametrize("metric", METRICS)
def test_many_queries_of_many_components(dim: int, metric: str) -> None:
    """Products by warpgroups in slices, by tiles of 64 and of 32 queries, which are not those of few."""
    random = np.random.default_rng(dim)
    rows = (random.standard_normal((6000, dim)) * (np.arange(dim) + 1.0) ** -0.3).astype(np.float32)
    queries = rows[:300] + np.float32(0.1) * random.standard_normal((300, dim)).astype(np.float32)
    index = ExactIndex(rows, metric, device="cuda")
    for batch in (33, 65, 100, 300):
        as_defined(index.search(queries[:batch], 10), rows, queries[:batch], 10, metric)


@pytest.mark.parametrize("batch", [1000, 3000])
def test_lists_that_small_blocks_have_no_room_for(batch: int) -> None:
    """Near-duplicates: hundreds of rows of each query are as near as each other, and are ranked in a second turn."""
    random = np.random.default_rng(batch)
    rows = (
        random.standard_normal((20, 64))[random.integers(0, 20, 20_000)] + 1e-3 * random.standard_normal((20_000, 64))
    ).astype(np.float32)
    queries = (rows[:batch] + np.float32(1e-3) * random.standard_normal((batch, 64))).astype(np.float32)
    as_defined(ExactIndex(rows, device="cuda").search(queries, 10), rows, queries, 10, "l2")


@pytest.mark.parametrize("dim", [100, 128, 200, 256, 384])
@pytest.mark.parametrize("batch", [5, 16, 33, 64, 65])
def test_many_tiles_of_rows_of_few_components(dim: int, batch: int) -> None:
    """So many that each block has many: the numbers of a tile stay until it has been looked at (they did not where a tile has one slice)."""
    import cupy

    random = cupy.random.default_rng(dim)
    spectrum = cupy.arange(1, dim + 1, dtype=cupy.float32) ** -0.4
    rows, queries = (random.standard_normal((count, dim), dtype=cupy.float32) * spectrum for count in (400_000, 65))
    index = ExactIndex(rows, device="cuda")
    expected = [index.search(query, 10) for query in queries[:batch]]  # by another kernel
    for _ in range(10):
        found = index.search(queries[:batch], 10)
        for number, one in enumerate(expected):
            np.testing.assert_array_equal(found.ids[number].get(), one.ids.get())
            np.testing.assert_array_equal(found.distances[number].get(), one.distances.get())
    as_defined(index.search(queries[:2].get(), 10), rows.get(), queries[:2].get(), 10, "l2")


@pytest.mark.parametrize(
    ("dim", "rows"),
    [(128, 400_000), (384, 400_000), (384, 5000), (512, 90_000), (640, 90_000), (768, 90_000), (1536, 40_000)],
)
@pytest.mark.parametrize("metric", METRICS)
def test_few_queries_with_and_without_another_threshold(dim: int, rows: int, metric: str) -> None:
    """Lists of k = 100 would fill without one at 400,000 rows."""
    random = np.random.default_rng(dim)
    values = (random.standard_normal((rows, dim), dtype=np.float32) * (np.arange(dim) + 1.0) ** -0.4).astype(np.float32)
    queries = values[:32] + np.float32(0.2) * random.standard_normal((32, dim), dtype=np.float32)
    index = ExactIndex(values, metric, device="cuda")
    expected = definition.search(values, queries, 300, metric, threads=8)
    for k in (1, 10, 100, 300):
        for batch in (1, 5, 8, 15, 16, 17, 32):
            found = index.search(queries[:batch], k)
            np.testing.assert_array_equal(found.ids, expected.ids[:batch, :k])
            np.testing.assert_array_equal(found.distances, expected.distances[:batch, :k])
            assert metric != "l2" or not (found.certificate.computed == rows).any()
