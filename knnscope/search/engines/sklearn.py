"""scikit-learn's brute-force NearestNeighbors."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.neighbors import NearestNeighbors

from knnscope.records import Capabilities, Neighbors
from knnscope.search import definition
from knnscope.search.engine import Array
from knnscope.search.ranges import Range
from knnscope.search.rounding import Formula


class SklearnEngine:
    """The expanded form in chunks, float32 upcast to float64 chunk by chunk."""

    capabilities = Capabilities(metrics=frozenset({"l2", "cosine"}), dtypes=frozenset(definition.DTYPES))

    def formula(self, metric: str, dtype: str, queries: int, dim: int) -> Formula:  # noqa: ARG002
        """Expanded, of float32 rows in float64 chunk by chunk (ArgKmin32); cosine of them stays in float32."""
        return Formula("expanded", "float64" if metric == "l2" or dtype in ("float64", "int32") else "float32")

    def build(self, vectors: Array, metric: str) -> SklearnIndex:
        """Fit the brute-force estimator."""
        model = NearestNeighbors(algorithm="brute", metric="sqeuclidean" if metric == "l2" else "cosine")
        values = _floats(vectors)
        model.fit(values)
        return SklearnIndex(model, metric, Range(values, metric, "float64" if metric == "l2" else None))


class SklearnIndex:
    """A fitted estimator."""

    def __init__(self, model: Any, metric: str, range_: Range) -> None:
        self._model = model
        self.range = range_  # the library does not notice where its squares overflow: its answer would be wrong
        self._metric = metric
        self.how = (
            "products of matrices in float64, a chunk of rows at a time, with the selection between"
            if metric == "l2"
            else "one product of matrices, written out, then a selection"
        )

    def search(self, queries: Array, k: int) -> Neighbors:
        """One call to kneighbors; cosine distance becomes similarity."""
        distances, ids = self._model.kneighbors(_floats(queries), n_neighbors=k)
        return Neighbors(ids, distances if self._metric == "l2" else 1 - distances)


def _floats(values: Array) -> Array:
    """Values as the library takes them."""
    if values.dtype in (np.float32, np.float64):
        return values
    return np.asarray(values, dtype=np.float64 if values.dtype == np.int32 else np.float32)
