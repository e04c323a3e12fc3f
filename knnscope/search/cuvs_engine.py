"""NVIDIA cuVS: brute_force, as its users build it. Rows stay on the GPU."""

from __future__ import annotations

from typing import Any

import cupy as cp
import numpy as np
from cuvs.common import Resources
from cuvs.neighbors import brute_force

from knnscope.records import Capabilities, Neighbors
from knnscope.search import topk
from knnscope.search.cupy_engine import as_cupy
from knnscope.search.device import is_device
from knnscope.search.engine import Array
from knnscope.search.rounding import Formula


class CuvsEngine:
    """float32, the expanded form; up to 64 neighbors in a fused kernel, above that through a matrix of distances."""

    capabilities = Capabilities(
        metrics=frozenset(topk.METRICS),
        dtypes=frozenset({"float32", "float16", "int8", "uint8"}),
        devices=frozenset({"cuda"}),
    )

    def formula(self, dtype: str, queries: int, dim: int) -> Formula:  # noqa: ARG002
        """Expanded."""
        return Formula("expanded")

    def build(self, vectors: Array, metric: str) -> CuvsIndex:
        """Copy the rows to the GPU; the library keeps their norms."""
        return CuvsIndex(vectors, metric)


class CuvsIndex:
    """An index, the rows that it looks at, and the handle that its calls share."""

    NAMES = {"l2": "sqeuclidean", "ip": "inner_product", "cosine": "cosine"}  # noqa: RUF012

    def __init__(self, vectors: Array, metric: str) -> None:
        self._metric = metric
        self._rows = cp.asarray(np.ascontiguousarray(vectors, dtype=np.float32))
        self._handle = Resources()
        self._index = brute_force.build(self._rows, metric=self.NAMES[metric], resources=self._handle)
        self._handle.sync()

    def search(self, queries: Any, k: int) -> Neighbors:
        """One call to cuVS; its cosine distance becomes similarity."""
        asked = cp.ascontiguousarray(as_cupy(queries), dtype=cp.float32)
        values, ids = (cp.empty((len(asked), k), dtype=kind) for kind in (cp.float32, cp.int64))
        brute_force.search(self._index, asked, k, neighbors=ids, distances=values, resources=self._handle)
        self._handle.sync()
        if self._metric == "cosine":
            values = 1 - values
        if is_device(queries):
            return Neighbors(ids, values)
        return Neighbors(cp.asnumpy(ids), cp.asnumpy(values))
