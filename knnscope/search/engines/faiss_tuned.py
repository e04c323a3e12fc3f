"""Faiss on the CPU as fast as its settings make it on this processor; what it is set to is found when the index is built."""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from importlib import import_module
from typing import Any

import numpy as np

from knnscope.records import Capabilities, Neighbors
from knnscope.search import definition
from knnscope.search.engine import Array, float32_rows
from knnscope.search.engines import openblas
from knnscope.search.ranges import Range
from knnscope.search.rounding import Formula

if importlib.util.find_spec("faiss") is None:
    raise ModuleNotFoundError("No module named 'faiss'", name="faiss")

SIZES = (4, 8, 16, 32, 64, 128)
"""Batches that are tried both ways."""
SAMPLE = 4096
"""Rows that they are tried on."""
NEVER, ALWAYS = 1 << 30, 1
TRIES = 3


class FaissTunedEngine:
    """IndexFlat with the OpenBLAS kernels and the batch size for matrix products that are fastest here.

    Faiss is loaded when the index is built, since OpenBLAS reads its kernels' name once; where it is loaded already, its kernels stay.
    """

    capabilities = Capabilities(
        metrics=frozenset(definition.METRICS),
        dtypes=frozenset({"float32", "float16", "int8", "uint8"}),
    )

    def formula(self, metric: str, dtype: str, queries: int, dim: int) -> Formula:  # noqa: ARG002
        """The expanded form, from which batch on depends on the processor: it is held to the looser of both."""
        return Formula("expanded")

    def build(self, vectors: Array, metric: str) -> FaissTunedIndex:
        """Try the kernels (each in a process of its own, about half a second), then batches both ways on some of the rows."""
        chosen = None
        if "faiss" not in sys.modules:
            chosen = openblas.fastest(vectors.shape[1])
            if chosen is not None:
                os.environ[openblas.VARIABLE] = chosen
        try:
            faiss: Any = import_module("faiss")
        finally:
            if chosen is not None:  # other libraries of this process choose for themselves
                os.environ.pop(openblas.VARIABLE, None)
        return FaissTunedIndex(faiss, float32_rows(vectors, metric), metric)


class FaissTunedIndex:
    """A flat index, and from which batch size on it multiplies matrices. how: what it is set to, in words."""

    def __init__(self, faiss: Any, rows: Array, metric: str) -> None:
        self._faiss, self._metric = faiss, metric
        flat = faiss.IndexFlatL2 if metric == "l2" else faiss.IndexFlatIP
        self._index = flat(rows.shape[1])
        some = flat(rows.shape[1])
        some.add(rows[:SAMPLE])
        self._from = self._crossing(some, rows)
        self.range = None if metric == "cosine" else Range(rows, metric)
        self._index.add(rows)
        kernel = openblas.kernel_in_use()
        products = "no matrix products" if self._from >= NEVER else f"matrix products from {self._from} queries on"
        self.how = f"OpenBLAS kernels {kernel or 'unknown'}, {products}"

    def add(self, vectors: Array) -> None:
        """Further rows, with the next numbers; the settings stay."""
        rows = float32_rows(vectors, self._metric)
        if self.range is not None:
            self.range.add(rows)
        self._index.add(rows)

    def search(self, queries: Array, k: int) -> Neighbors:
        """One call to Faiss."""
        return Neighbors(*self._at(self._from, self._index, float32_rows(queries, self._metric), k))

    def _at(self, threshold: int, index: Any, queries: Array, k: int) -> tuple[Array, Array]:
        """With a setting of the whole library's, which is left as it was."""
        settings = self._faiss.cvar
        before = settings.distance_compute_blas_threshold
        settings.distance_compute_blas_threshold = threshold
        try:
            distances, ids = index.search(queries, k)
        finally:
            settings.distance_compute_blas_threshold = before
        return ids, distances

    def _crossing(self, index: Any, rows: Array) -> int:
        """The smallest batch from which on matrix products are faster."""
        found = NEVER
        for size in reversed(SIZES):
            queries = np.ascontiguousarray(np.resize(rows[: min(size, len(rows))], (size, rows.shape[1])))
            if self._seconds(ALWAYS, index, queries) >= self._seconds(NEVER, index, queries):
                break
            found = size
        return found

    def _seconds(self, threshold: int, index: Any, queries: Array) -> float:
        took = []
        for _ in range(TRIES):
            began = time.perf_counter()
            self._at(threshold, index, queries, min(10, index.ntotal))
            took.append(time.perf_counter() - began)
        return min(took)
