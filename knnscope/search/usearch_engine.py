"""usearch's exact search (no graph)."""

from __future__ import annotations

import numpy as np
from usearch.index import search as exact_search

from knnscope.records import Capabilities, Neighbors
from knnscope.search import topk
from knnscope.search.engine import Array
from knnscope.search.rounding import Formula
from knnscope.threads import budget


class UsearchEngine:
    """One distance at a time through SimSIMD, float32."""

    capabilities = Capabilities(
        metrics=frozenset(topk.METRICS),
        dtypes=frozenset({"float32", "float16", "int8", "uint8"}),
    )

    def formula(self, dtype: str, queries: int, dim: int) -> Formula:  # noqa: ARG002
        """Differences."""
        return Formula("difference")

    def build(self, vectors: Array, metric: str) -> UsearchIndex:
        """Keep the rows as contiguous float32."""
        return UsearchIndex(np.ascontiguousarray(vectors, dtype=np.float32), metric)


class UsearchIndex:
    """Rows and the library's name of the metric."""

    NAMES = {"l2": "l2sq", "ip": "ip", "cosine": "cos"}  # noqa: RUF012

    def __init__(self, rows: Array, metric: str) -> None:
        self._rows = rows
        self._metric = metric

    def search(self, queries: Array, k: int) -> Neighbors:
        """One exact search; the library's 1 - similarity is turned back."""
        asked = np.ascontiguousarray(queries, dtype=np.float32)
        found = exact_search(self._rows, asked, k, self.NAMES[self._metric], exact=True, threads=budget())
        shape = (len(asked), k)
        distances = np.asarray(found.distances).reshape(shape)
        ids = np.asarray(found.keys, dtype=np.int64).reshape(shape)
        if self._metric == "l2":
            return Neighbors(ids, distances)
        similarities = 1 - distances
        if self._metric == "cosine":
            similarities[~asked.any(axis=1)] = 0  # the library calls two zero vectors alike
        return Neighbors(ids, similarities)
