"""scikit-learn's brute-force NearestNeighbors."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.neighbors import NearestNeighbors

from knnscope.records import Capabilities, Neighbors
from knnscope.search import topk
from knnscope.search.engine import Array
from knnscope.search.rounding import Formula


class SklearnEngine:
    """The expanded form in chunks, float32 upcast to float64 chunk by chunk."""

    capabilities = Capabilities(metrics=frozenset({"l2", "cosine"}), dtypes=frozenset(topk.DTYPES))

    def formula(self, dtype: str, queries: int, dim: int) -> Formula:  # noqa: ARG002
        """Expanded; cosine of float32 rows stays in float32."""
        return Formula("expanded", "float64" if dtype in ("float64", "int32") else "float32")

    def build(self, vectors: Array, metric: str) -> SklearnIndex:
        """Fit the brute-force estimator."""
        model = NearestNeighbors(algorithm="brute", metric="sqeuclidean" if metric == "l2" else "cosine")
        model.fit(_floats(vectors))
        return SklearnIndex(model, metric)


class SklearnIndex:
    """A fitted estimator."""

    def __init__(self, model: Any, metric: str) -> None:
        self._model = model
        self._metric = metric

    def search(self, queries: Array, k: int) -> Neighbors:
        """One call to kneighbors; cosine distance becomes similarity."""
        distances, ids = self._model.kneighbors(_floats(queries), n_neighbors=k)
        return Neighbors(ids, distances if self._metric == "l2" else 1 - distances)


def _floats(values: Array) -> Array:
    if values.dtype in (np.float32, np.float64):
        return values
    return np.asarray(values, dtype=np.float64 if values.dtype == np.int32 else np.float32)
