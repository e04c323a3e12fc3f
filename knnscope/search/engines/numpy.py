"""NumPy as most people write it: one matrix product in float32, the expanded form, then a selection."""

from __future__ import annotations

import numpy as np

from knnscope.records import Capabilities, Neighbors
from knnscope.search import definition
from knnscope.search.engine import Array, unit_rows
from knnscope.search.rounding import Formula

WIDE = ("float64", "int32")
"""Types that float32 does not hold."""
SCORES = 1 << 24
"""Scores in memory at once: 64 MiB of float32."""


class NumpyEngine:
    """|x|^2 - 2 x.q + |q|^2 through BLAS. It cancels where distances are small against norms."""

    capabilities = Capabilities(metrics=frozenset(definition.METRICS), dtypes=frozenset(definition.DTYPES))

    def formula(self, metric: str, dtype: str, queries: int, dim: int) -> Formula:  # noqa: ARG002
        """Expanded, in the rows' own width."""
        return Formula("expanded", "float64" if dtype in WIDE else "float32")

    def build(self, vectors: Array, metric: str) -> NumpyIndex:
        """Widen to float32 (float64 stays), and keep the squared norms."""
        return NumpyIndex(vectors, metric)


class NumpyIndex:
    """Rows for the matrix product."""

    def __init__(self, vectors: Array, metric: str) -> None:
        dtype = np.float64 if vectors.dtype.name in WIDE else np.float32
        self._metric = metric
        form = " of |x|^2 - 2 x.q + |q|^2" if metric == "l2" else ""
        self.how = f"one product of matrices in {dtype.__name__}{form}, written out, then a selection"
        self._rows: Array = unit_rows(vectors, dtype) if metric == "cosine" else np.asarray(vectors, dtype=dtype)
        self._norms = np.einsum("ij,ij->i", self._rows, self._rows) if metric == "l2" else None

    def search(self, queries: Array, k: int) -> Neighbors:
        """Scores of as many queries at once as fit in 64 MiB."""
        dtype = self._rows.dtype.type
        asked = unit_rows(queries, dtype) if self._metric == "cosine" else np.asarray(queries, dtype=dtype)
        step = max(1, SCORES // len(self._rows))
        found = [self._some(asked[start : start + step], k) for start in range(0, len(asked), step)]
        return Neighbors(np.concatenate([f.ids for f in found]), np.concatenate([f.distances for f in found]))

    def _some(self, queries: Array, k: int) -> Neighbors:
        scores = queries @ self._rows.T
        if self._norms is not None:
            scores *= -2
            scores += self._norms
            scores += np.einsum("ij,ij->i", queries, queries)[:, None]
            np.maximum(scores, 0, out=scores)
        return definition.select(scores, k, self._metric)
