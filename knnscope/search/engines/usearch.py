"""usearch's exact search (no graph)."""

from __future__ import annotations

import numpy as np
from usearch.index import search as exact_search

from knnscope.errors import UnsupportedError
from knnscope.records import Capabilities, Neighbors
from knnscope.search import definition
from knnscope.search.engine import Array
from knnscope.search.rounding import Formula
from knnscope.threads import budget

MOST_ROWS = 1 << 32
PAIRS = 1 << 26
"""Rows times queries of a call: the library allocates 16 bytes for each, 1 GiB."""


class UsearchEngine:
    """One distance at a time through SimSIMD, float32."""

    capabilities = Capabilities(
        metrics=frozenset(definition.METRICS),
        dtypes=frozenset({"float32", "float16", "int8", "uint8"}),
    )

    def formula(self, metric: str, dtype: str, queries: int, dim: int) -> Formula:  # noqa: ARG002
        """Differences; of products the library gives 1 - s."""
        return Formula("difference", shifted=metric == "ip")

    def build(self, vectors: Array, metric: str) -> UsearchIndex:
        """Keep the rows as contiguous float32.

        Raises:
            UnsupportedError: more rows than 32 bits number.
        """
        if len(vectors) >= MOST_ROWS:
            raise UnsupportedError(f"usearch numbers rows in 32 bits, {len(vectors):,} are too many")
        return UsearchIndex(np.ascontiguousarray(vectors, dtype=np.float32), metric)


class UsearchIndex:
    """Rows and the library's name of the metric."""

    NAMES = {"l2": "l2sq", "ip": "ip", "cosine": "cos"}  # noqa: RUF012

    def __init__(self, rows: Array, metric: str) -> None:
        self._rows = rows
        self._metric = metric
        self.how = "single distances in float32, also for many queries: no products of matrices"

    def search(self, queries: Array, k: int) -> Neighbors:
        """One exact search; the library's 1 - similarity is turned back."""
        asked = np.ascontiguousarray(queries, dtype=np.float32)
        at_once = max(1, PAIRS // len(self._rows))
        found = [self._some(asked[first : first + at_once], k) for first in range(0, len(asked), at_once)]
        distances, ids = (np.concatenate(parts) if len(parts) > 1 else parts[0] for parts in zip(*found, strict=True))
        if self._metric == "l2":
            return Neighbors(ids, distances)
        similarities = 1 - distances
        if self._metric == "cosine":
            similarities[~asked.any(axis=1)] = 0  # the library calls two zero vectors alike
        return Neighbors(ids, similarities)

    def _some(self, queries: Array, k: int) -> tuple[Array, Array]:
        found = exact_search(self._rows, queries, k, self.NAMES[self._metric], exact=True, threads=budget())
        shape = (len(queries), k)
        return np.asarray(found.distances).reshape(shape), np.asarray(found.keys).reshape(shape)
