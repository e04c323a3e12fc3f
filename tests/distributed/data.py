"""Rows with ties and duplicates for shards, and what one index over all of them answers."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

from knnscope.ragged import RadiusNeighbors
from knnscope.records import METRICS, Neighbors


class Case(NamedTuple):
    """Rows, queries, metric, ids or None, k, and how many shards."""

    rows: np.ndarray
    queries: np.ndarray
    metric: str
    ids: Any
    k: int
    shards: int


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Few numbers, so that ties cross the edges of shards; ids in any order, whole numbers or strings."""
    count, dim, asked = draw(st.integers(1, 24)), draw(st.integers(1, 4)), draw(st.integers(1, 3))
    number = st.one_of(st.integers(-2, 2).map(float), st.floats(-1e3, 1e3, width=32))
    size = (count + asked) * dim
    both = np.array(draw(st.lists(number, min_size=size, max_size=size)), np.float32).reshape(count + asked, dim)
    order = draw(st.permutations(range(count)))
    ids = draw(st.sampled_from([None, np.array(order) * 3, [f"row-{'é' * (i % 3)}{i}" for i in order]]))
    k = draw(st.one_of(st.just(count), st.integers(1, count)))
    return Case(
        both[:count], both[count:], draw(st.sampled_from(METRICS)), ids, k, draw(st.integers(1, count + 2))
    )  # fmt: skip


def assert_same(found: Neighbors, whole: Neighbors) -> None:
    """Ids, distances bit for bit, and rows that were looked at."""
    assert found.ids.tolist() == whole.ids.tolist()
    np.testing.assert_array_equal(found.distances, whole.distances)
    assert found.ids.shape == whole.ids.shape
    assert found.certificate is not None
    assert whole.certificate is not None
    assert found.certificate.rows_scanned == whole.certificate.rows_scanned
    assert found.certificate.candidates.shape == whole.certificate.candidates.shape


def assert_same_within(found: RadiusNeighbors, whole: RadiusNeighbors) -> None:
    assert found.offsets.tolist() == whole.offsets.tolist()
    assert found.ids.tolist() == whole.ids.tolist()
    np.testing.assert_array_equal(found.distances, whole.distances)
    assert found.certificate is not None


def tied(rows: int = 3000, dim: int = 24, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows, many of them the same in all shards, and queries, some of them rows."""
    random = np.random.default_rng(seed)
    made = random.standard_normal((rows, dim)).astype(np.float32)
    made[::7] = made[3]
    queries = random.standard_normal((9, dim)).astype(np.float32)
    queries[0], queries[1] = made[3], made[-1]
    return made, queries
