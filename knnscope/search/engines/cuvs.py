"""NVIDIA cuVS: brute_force, as its users build it. Rows stay on the GPU."""

from __future__ import annotations

from typing import Any

import cupy as cp
import numpy as np
from cuvs.common import Resources
from cuvs.neighbors import brute_force

from knnscope.records import Capabilities, Neighbors
from knnscope.search import definition
from knnscope.search.device import is_device
from knnscope.search.engine import Array, unit_rows
from knnscope.search.engines.cupy import as_cupy, unit
from knnscope.search.ranges import Range
from knnscope.search.rounding import Formula

SIMILARITY = cp.ElementwiseKernel(
    "float32 distance, int64 id, int64 k",
    "float32 similarity, int64 row",
    "bool right = distance <= 3; similarity = right ? 1 - distance : 0; row = right ? id : i % k;",
    "similarity",
)
"""1 - distance; a zero query, whose distances are NaN, is equally far from every row: the first k."""


class CuvsEngine:
    """float32, the expanded form; up to 64 neighbors in a fused kernel, above that through a matrix of distances."""

    capabilities = Capabilities(
        metrics=frozenset(definition.METRICS),
        dtypes=frozenset({"float32", "float16", "int8", "uint8"}),
        devices=frozenset({"cuda"}),
    )

    def formula(self, metric: str, dtype: str, queries: int, dim: int) -> Formula:  # noqa: ARG002
        """Expanded."""
        return Formula("expanded")

    def build(self, vectors: Array, metric: str) -> CuvsIndex:
        """Copy the rows to the GPU; the library keeps their norms."""
        return CuvsIndex(vectors, metric)


class CuvsIndex:
    """An index, the rows that it looks at, and the handle that its calls share."""

    NAMES = {"l2": "sqeuclidean", "ip": "inner_product", "cosine": "cosine"}  # noqa: RUF012

    def __init__(self, vectors: Array, metric: str) -> None:
        rows = np.ascontiguousarray(vectors, dtype=np.float32)
        self._unit = (
            metric == "cosine" and not rows.any(axis=1).all()
        )  # its cosine of a zero row is NaN, which sorts anywhere
        self._metric = "ip" if self._unit else metric
        self.range = None if self._unit else Range(rows, metric)
        self._rows = cp.asarray(unit_rows(rows) if self._unit else rows)
        self._handle = Resources()
        self._index = brute_force.build(self._rows, metric=self.NAMES[self._metric], resources=self._handle)
        self._handle.sync()

    def search(self, queries: Any, k: int) -> Neighbors:
        """One call to cuVS; its cosine distance becomes similarity."""
        asked = cp.ascontiguousarray(as_cupy(queries), dtype=cp.float32)
        if self._unit:
            asked = unit(asked)
        values, ids = (cp.empty((len(asked), k), dtype=dtype) for dtype in (cp.float32, cp.int64))
        brute_force.search(self._index, asked, k, neighbors=ids, distances=values, resources=self._handle)
        self._handle.sync()
        if self._metric == "cosine":
            values, ids = SIMILARITY(values, ids, np.int64(k))
        if is_device(queries):
            return Neighbors(ids, values)
        return Neighbors(cp.asnumpy(ids), cp.asnumpy(values))
