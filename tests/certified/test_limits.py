"""Sizes at which whole numbers and float32 would stop being right: what one path cannot hold takes another (docs/decisions/012)."""

from __future__ import annotations

import numpy as np
import pytest

from knnscope.certified.cpu import dispatch
from knnscope.certified.cpu.quantise import LEVELS, MOST_DIM, build, chunk
from knnscope.certified.cpu.workers import Workers
from knnscope.certified.dtypes import computable
from knnscope.certified.index import ExactIndex
from knnscope.search import definition
from tests import oracle

ISAS = dispatch.available()
METRICS = definition.METRICS


def values(rows: np.ndarray, query: np.ndarray, metric: str) -> np.ndarray:
    """The definition by running sums, which NumPy adds up one after the other."""
    x, q = rows.astype(np.float64), query.astype(np.float64)
    terms = (x - q) ** 2 if metric == "l2" else x * q
    total = np.cumsum(terms, axis=1)[:, -1]
    if metric != "cosine":
        return total
    scale = np.sqrt(np.cumsum(x * x, axis=1)[:, -1]) * np.sqrt(np.cumsum(q * q)[-1])
    return np.divide(total, scale, out=np.zeros_like(total), where=scale != 0)


def check(rows: np.ndarray, queries: np.ndarray, k: int, metric: str, isa: str) -> tuple[str, ...]:
    found = ExactIndex(rows, metric, device=f"cpu:{isa}").search(queries, k)
    for number, query in enumerate(queries):
        all_values = values(rows, query, metric)
        order = np.argsort(all_values if metric == "l2" else -all_values, kind="stable")[:k]
        assert found.ids[number].tolist() == order.tolist()
        assert found.distances[number].tolist() == all_values[order].tolist()
    return found.certificate.path


def one_hot(dim: int, count: int) -> np.ndarray:
    """A one in each of the rotation's blocks, by its size: every component is as large as the largest then, and every code 127."""
    sizes = [1 << bit for bit in range(dim.bit_length() - 1, -1, -1) if dim >> bit & 1]
    rows = np.zeros((count, dim), dtype=np.float32)
    first = 0
    for size in sizes:
        for i in range(count):
            rows[i, first + i % size] = np.float32((10 + i) * np.sqrt(size / sizes[0]))
        first += size
    return rows


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(
    "dim", [131_072, MOST_DIM, MOST_DIM + 1, pytest.param(1 << 18, marks=pytest.mark.slow), (1 << 20) + 3]
)
def test_dimensions_whose_products_pass_2_to_the_31(dim: int, isa: str) -> None:
    rows = one_hot(dim, 24 if dim < 1 << 20 else 8)
    for metric in METRICS if isa == ISAS[0] else ("l2",):
        path = check(rows, rows[:3], 2, metric, isa)
        assert ("exhaustive" in path) == (dim > MOST_DIM)
    one = np.zeros((3, dim), dtype=np.uint8)
    one[[0, 1, 2], [0, 7, 14]] = 100, 101, 102
    check(np.repeat(one, 4, axis=0), one[:1].astype(np.float32) + 0, 2, "l2", isa)


def test_the_largest_dimension_of_codes_just_holds() -> None:
    assert MOST_DIM * LEVELS**2 <= 2**31 - 1 < (MOST_DIM + 1) * LEVELS**2
    rows = one_hot(MOST_DIM, 4)
    codes = build(computable(rows - rows), "l2", Workers(1)), build(computable(rows), "ip", Workers(1))
    assert all(made is not None for made in codes)
    assert build(np.zeros((2, MOST_DIM + 1), np.float32), "l2", Workers(1)) is None


def test_what_is_in_memory_at_once_does_not_grow_with_the_dimension() -> None:
    assert chunk(1) == chunk(384) == 1024
    for dim in (4096, 10_000, 133_144, 1 << 20, 1 << 26):
        assert chunk(dim) % 32 == 0
        assert chunk(dim) == 32 or chunk(dim) * dim <= 1 << 22


def test_a_large_k_asks_for_no_more_room_than_there_are_rows() -> None:
    rows = np.random.default_rng(0).standard_normal((4000, 4)).astype(np.float32)
    for k in (1, 900, 1000, 1001, 4000):
        found, expected = ExactIndex(rows, threads=3).search(rows[:2], k), definition.search(rows, rows[:2], k, "l2")
        np.testing.assert_array_equal(found.ids, expected.ids)
        np.testing.assert_array_equal(found.distances, expected.distances)


def best(rows: np.ndarray, query: np.ndarray, k: int) -> tuple[list[int], list[float]]:
    """Ids and distances, chunk by chunk: sums in another order choose those that plain Python ranks."""
    near: list[tuple[float, int]] = []
    for first in range(0, len(rows), 8192):
        some = rows[first : first + 8192].astype(np.float64) - query
        distances = np.einsum("ij,ij->i", some, some)
        nearest = np.argsort(distances)[: k + 20]
        near += zip(distances[nearest].tolist(), (first + nearest).tolist(), strict=True)
    chosen = sorted(row for _, row in sorted(near)[: k + 20])
    order, found = oracle.nearest(rows[chosen], query, k, "l2")
    return [chosen[i] for i in order], found


@pytest.mark.slow
@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(("dtype", "count"), [("int8", 2_300_000), ("float32", 1_150_000)])
def test_rows_and_codes_beyond_2_to_the_31_and_32_bytes(isa: str, dtype: str, count: int) -> None:
    """Codes of 2.4 GB; rows of 4.7 GB."""
    random = np.random.default_rng(0)
    some = random.standard_normal((5000, 1024), dtype=np.float32) * 20
    rows = np.empty((count, 1024), dtype=dtype)
    for first in range(0, count, 5000):
        rows[first : first + 5000] = np.roll(some, first // 5000, axis=1)[: count - first]
    queries = (rows[[0, count // 2, count - 1]] + random.standard_normal((3, 1024))).astype(np.float32)
    index = ExactIndex(rows, device=f"cpu:{isa}")
    for batch in (1, 3):
        found = index.search(queries[-batch:], 5)
        for number, query in enumerate(queries[-batch:]):
            assert (found.ids[number].tolist(), found.distances[number].tolist()) == best(rows, query, 5)
    assert "exhaustive" not in found.certificate.path
