"""Faiss on the CPU: IndexFlatL2 and IndexFlatIP as its users build them."""

from __future__ import annotations

from typing import Any

import faiss

from knnscope.records import Capabilities, Neighbors
from knnscope.search import definition
from knnscope.search.engine import Array, float32_rows
from knnscope.search.engines import openblas
from knnscope.search.ranges import Range
from knnscope.search.rounding import Formula

EXPANDED_FROM = 128_000
"""Queries times components from which Faiss 1.15 uses the expanded form."""


class FaissEngine:
    """float32 only; switches from differences to the expanded form by the size of the batch."""

    capabilities = Capabilities(
        metrics=frozenset(definition.METRICS),
        dtypes=frozenset({"float32", "float16", "int8", "uint8"}),
    )

    def formula(self, metric: str, dtype: str, queries: int, dim: int) -> Formula:  # noqa: ARG002
        """Differences for small batches, BLAS and the expanded form for others (faiss/utils/distances.cpp, faiss#5285)."""
        return Formula("difference" if queries * dim < EXPANDED_FROM else "expanded")

    def build(self, vectors: Array, metric: str) -> FaissIndex:
        """Copy the rows into a flat index; for cosine they are divided by their norms first."""
        flat = faiss.IndexFlatL2 if metric == "l2" else faiss.IndexFlatIP
        index, rows = flat(vectors.shape[1]), float32_rows(vectors, metric)
        index.add(rows)
        return FaissIndex(index, metric, rows)


class FaissIndex:
    """A flat index. how: what it computes with, in words."""

    def __init__(self, index: Any, metric: str, rows: Array) -> None:
        self._index, self._metric = index, metric
        self.range = None if metric == "cosine" else Range(rows, metric)
        kernel = openblas.kernel_in_use()
        old = ", which leave most of this processor unused" if openblas.is_old(kernel) else ""
        self.how = (
            f"as installed: OpenBLAS kernels {kernel or 'unknown'}{old}; single distances up to {EXPANDED_FROM // index.d:,} queries at once, "
            "then matrix products"
        )

    def add(self, vectors: Array) -> None:
        """Further rows, with the next numbers."""
        rows = float32_rows(vectors, self._metric)
        if self.range is not None:
            self.range.add(rows)
        self._index.add(rows)

    def search(self, queries: Array, k: int) -> Neighbors:
        """One call to Faiss."""
        distances, ids = self._index.search(float32_rows(queries, self._metric), k)
        return Neighbors(ids, distances)
