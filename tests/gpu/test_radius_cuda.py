"""All rows within a radius on a GPU, few allowed rows and graphs there: the definition's answers, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

from knnscope.certified.index import ExactIndex
from knnscope.certified.scanner import RadiusRequest
from knnscope.errors import KnnscopeError
from knnscope.search import definition
from tests.certified.radii import AskedRadius, check, inside, small_radius

METRICS = definition.METRICS


@given(small_radius())
def test_any_small_data(asked: AskedRadius) -> None:
    check(ExactIndex(asked.rows, asked.metric, device="cuda"), asked)


@pytest.mark.parametrize("metric", METRICS)
def test_many_rows_by_the_scanner_with_names_and_masks(metric: str) -> None:
    from knnscope.certified.cuda.scanner import CudaScanner  # not importable where there is no CuPy

    random = np.random.default_rng(0)
    rows = random.standard_normal((20_000, 64)).astype(np.float32)
    queries = random.standard_normal((37, 64)).astype(np.float32)
    names, allowed = random.permutation(20_000), random.random((37, 20_000)) < 0.3
    values = definition.distances(rows, queries, metric)
    radii = np.sort(values, axis=1)[:, 500] if metric == "l2" else np.sort(values, axis=1)[:, -500]
    keys = radii if metric == "l2" else -radii
    scanner = CudaScanner(0).build(rows, names, metric)
    found = scanner.within(RadiusRequest(queries.astype(np.float64), keys, allowed, 1 << 30, 1 << 30))
    for number in range(len(queries)):
        ids, distances = inside(values[number], radii[number], metric, allowed[number], names)
        some = slice(found.offsets[number], found.offsets[number + 1])
        np.testing.assert_array_equal(found.ids[some], ids)
        np.testing.assert_array_equal(found.distances[some], distances)
    with pytest.raises(KnnscopeError, match="limit"):
        scanner.within(RadiusRequest(queries.astype(np.float64), keys, allowed, 100, 1 << 30))


@pytest.mark.parametrize("metric", METRICS)
def test_few_allowed_rows_and_a_graph(metric: str) -> None:
    random = np.random.default_rng(1)
    rows = random.standard_normal((5000, 48)).astype(np.float32)
    rows[100:103] = rows[7]
    there, here = ExactIndex(rows, metric, device="cuda"), ExactIndex(rows, metric)
    mask = random.random(5000) < 0.01
    for where in (mask, np.stack([np.roll(mask, i) for i in range(30)])):
        one, other = there.search(rows[:30], 5, where=where), here.search(rows[:30], 5, where=where)
        np.testing.assert_array_equal(one.ids, other.ids)
        np.testing.assert_array_equal(one.distances, other.distances)
    for itself in (False, True):
        graph, expected = there.knn_graph(7, itself), here.knn_graph(7, itself)
        np.testing.assert_array_equal(graph.ids, expected.ids)
        np.testing.assert_array_equal(graph.distances, expected.distances)
