"""CuPy as most people write it: one matrix product in float32, the expanded form, then a selection. Rows stay on the GPU."""

from __future__ import annotations

from typing import Any

import cupy as cp
import numpy as np

from knnscope.records import Capabilities, Neighbors
from knnscope.search import definition
from knnscope.search.device import is_device
from knnscope.search.engine import Array, unit_rows
from knnscope.search.engines.numpy import WIDE
from knnscope.search.ranges import Range
from knnscope.search.rounding import Formula

SCORES = 1 << 27
"""Scores in memory at once: 512 MiB of float32; sorting takes several times that."""


class CupyEngine:
    """|x|^2 - 2 x.q + |q|^2 through cuBLAS in full float32 (no TF32), selection by CuPy's argpartition."""

    capabilities = Capabilities(
        metrics=frozenset(definition.METRICS), dtypes=frozenset(definition.DTYPES), devices=frozenset({"cuda"})
    )

    def formula(self, metric: str, dtype: str, queries: int, dim: int) -> Formula:  # noqa: ARG002
        """Expanded, in the rows' own width."""
        return Formula("expanded", "float64" if dtype in WIDE else "float32")

    def build(self, vectors: Array, metric: str) -> CupyIndex:
        """Copy the rows to the GPU."""
        return CupyIndex(vectors, metric)


class CupyIndex:
    """Rows in GPU memory and their squared norms."""

    def __init__(self, vectors: Array, metric: str) -> None:
        dtype = np.float64 if vectors.dtype.name in WIDE else np.float32
        self._metric = metric
        rows = unit_rows(vectors, dtype) if metric == "cosine" else np.asarray(vectors, dtype=dtype)
        self.range = None if metric == "cosine" else Range(rows, metric)
        self._rows = cp.asarray(rows)
        self._norms = _squares(self._rows) if metric == "l2" else None
        cp.cuda.runtime.deviceSynchronize()

    def search(self, queries: Any, k: int) -> Neighbors:
        """Chunks of queries whose scores fit; host in, host out; device in, device out."""
        asked = as_cupy(queries).astype(self._rows.dtype, copy=False)
        if self._metric == "cosine":
            asked = unit(asked)
        step = max(1, SCORES // len(self._rows))
        found = [self._some(asked[start : start + step], k) for start in range(0, len(asked), step)]
        ids, values = (cp.concatenate(parts) if len(parts) > 1 else parts[0] for parts in zip(*found, strict=True))
        if is_device(queries):
            return Neighbors(ids, values)
        return Neighbors(cp.asnumpy(ids), cp.asnumpy(values))

    def _some(self, queries: Any, k: int) -> tuple[Any, Any]:
        scores = queries @ self._rows.T
        if self._norms is not None:
            scores *= -2
            scores += self._norms
            scores += _squares(queries)[:, None]
            cp.maximum(scores, 0, out=scores)
        keys = scores if self._metric == "l2" else -scores
        ids = cp.argpartition(keys, k - 1, axis=1)[:, :k] if k < keys.shape[1] else cp.argsort(keys, axis=1)
        order = cp.argsort(cp.take_along_axis(keys, ids, axis=1), axis=1)
        ids = cp.take_along_axis(ids, order, axis=1)
        return ids.astype(cp.int64, copy=False), cp.take_along_axis(scores, ids, axis=1)


def as_cupy(array: Any) -> Any:
    """A CuPy array over the same memory where it lies on the GPU, else a copy there."""
    if isinstance(array, np.ndarray) or hasattr(array, "__cuda_array_interface__"):
        return cp.asarray(array)
    return cp.from_dlpack(array)


def unit(rows: Any) -> Any:
    """Rows divided by their norms on the GPU; a zero row stays zero."""
    norms = cp.sqrt((rows.astype(cp.float64) ** 2).sum(axis=1, keepdims=True))
    norms[cp.isinf(norms)] = cp.nan  # a quotient by what has overflowed would be 0, as if it were known
    return (rows / cp.where(norms == 0, 1, norms)).astype(rows.dtype)


def _squares(rows: Any) -> Any:
    return cp.einsum("ij,ij->i", rows, rows)
