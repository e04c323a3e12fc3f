"""Rows for an index that changes, and what its answers are held against."""

from __future__ import annotations

import numpy as np

import knnscope
from knnscope.search import definition


def data(rows: int, dim: int = 24, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, dim)).astype(np.float32)


def same(index: knnscope.ExactIndex, rows: np.ndarray, queries: np.ndarray, k: int, metric: str = "l2") -> None:
    """The index holds these rows in this order, under ids that ascend, and answers as the definition does."""
    found, expected = index.search(queries, k), definition.search(rows, queries, k, metric)
    np.testing.assert_array_equal(found.ids, index.ids[expected.ids])
    np.testing.assert_array_equal(found.distances, expected.distances)
