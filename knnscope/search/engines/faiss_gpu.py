"""Faiss on the GPU: GpuIndexFlat with its own kernels, and with those of cuVS."""

from __future__ import annotations

from typing import Any

import cupy as cp
import faiss
import numpy as np

from knnscope.records import Capabilities, Neighbors
from knnscope.search import definition
from knnscope.search.device import is_device
from knnscope.search.engine import Array, float32_rows, unit_rows
from knnscope.search.engines.cupy import as_cupy, unit
from knnscope.search.ranges import Range
from knnscope.search.rounding import Formula

if not hasattr(faiss, "StandardGpuResources"):
    raise ImportError("this build of Faiss has no GPU code")


class FaissGpuEngine:
    """float32, the expanded form."""

    capabilities = Capabilities(
        metrics=frozenset(definition.METRICS),
        dtypes=frozenset({"float32", "float16", "int8", "uint8"}),
        devices=frozenset({"cuda"}),
        max_k=2048,
    )
    cuvs = False

    def formula(self, metric: str, dtype: str, queries: int, dim: int) -> Formula:  # noqa: ARG002
        """Expanded."""
        return Formula("expanded")

    def build(self, vectors: Array, metric: str) -> FaissGpuIndex:
        """Copy the rows into a flat index on the GPU; for cosine they are divided by their norms first."""
        return FaissGpuIndex(vectors, metric, self.cuvs)


class FaissGpuCuvsEngine(FaissGpuEngine):
    """The same index through cuVS."""

    cuvs = True

    def build(self, vectors: Array, metric: str) -> FaissGpuIndex:
        """Copy the rows to the GPU, where cuVS searches them.

        Raises:
            ImportError: this build of Faiss was made without cuVS.
        """
        if "CUVS" not in faiss.get_compile_options():
            raise ImportError("this build of Faiss has no cuVS")
        return super().build(vectors, metric)


class FaissGpuIndex:
    """A flat index and its resources."""

    def __init__(self, vectors: Array, metric: str, cuvs: bool) -> None:
        self._metric = metric
        self._resources = faiss.StandardGpuResources()
        config = faiss.GpuIndexFlatConfig()
        config.use_cuvs = cuvs
        flat = faiss.GpuIndexFlatL2 if metric == "l2" else faiss.GpuIndexFlatIP
        self._index: Any = flat(self._resources, vectors.shape[1], config)
        rows = float32_rows(vectors, metric)
        self.range = None if metric == "cosine" else Range(rows, metric)
        self._index.add(rows)

    def add(self, vectors: Array) -> None:
        """Further rows, with the next numbers."""
        rows = float32_rows(vectors, self._metric)
        if self.range is not None:
            self.range.add(rows)
        self._index.add(rows)

    def search(self, queries: Any, k: int) -> Neighbors:
        """One call to Faiss; arrays on the GPU go in and out by their addresses."""
        if not is_device(queries):
            asked = unit_rows(queries) if self._metric == "cosine" else np.ascontiguousarray(queries, dtype=np.float32)
            values, ids = self._index.search(asked, k)
            return Neighbors(ids, values)
        on_gpu = cp.ascontiguousarray(as_cupy(queries), dtype=cp.float32)
        if self._metric == "cosine":
            on_gpu = unit(on_gpu)
        cp.cuda.get_current_stream().synchronize()  # Faiss has a stream of its own, which would not wait for this one
        found = cp.empty((len(on_gpu), k), dtype=cp.int64)
        distances = cp.empty((len(on_gpu), k), dtype=cp.float32)
        self._index.search_c(
            len(on_gpu),
            faiss.cast_integer_to_float_ptr(on_gpu.data.ptr),
            k,
            faiss.cast_integer_to_float_ptr(distances.data.ptr),
            faiss.cast_integer_to_idx_t_ptr(found.data.ptr),
        )
        self._resources.syncDefaultStreamCurrentDevice()
        return Neighbors(found, distances)
