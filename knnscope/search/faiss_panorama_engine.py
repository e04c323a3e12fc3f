"""Faiss' IndexFlatL2Panorama and IndexFlatIPPanorama behind a rotation to principal components.

Panorama adds up a distance level by level, leading components first, and leaves a row as soon as the lengths of what is left say that it is
too far (Cauchy-Schwarz). That pays where the leading components hold most of the length: behind a rotation to principal components.
"""

from __future__ import annotations

import time
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from knnscope.records import Capabilities, Neighbors
from knnscope.search import topk
from knnscope.search.engine import Array, unit_rows
from knnscope.search.ranges import Range
from knnscope.search.rounding import Formula

LEVELS = (4, 8, 16, 32)
"""Numbers of levels that are tried, as far as there are components."""
SAMPLE = 16_384
"""Rows that components are taken from, and levels tried on."""
QUERIES = 8
BLOCK = 1 << 14
"""Rows rotated at once."""
ROUNDINGS = max(LEVELS) + 8
"""A sum for each level, and those of a rotation in float64 that is rounded to float32: 2 u (|x| + |q|)^2, counted four times."""


class FaissPanoramaEngine:
    """Exact but for float32's rounding: what is left out is further than what was found."""

    capabilities = Capabilities(
        metrics=frozenset(topk.METRICS),
        dtypes=frozenset({"float32", "float16", "int8", "uint8"}),
    )

    def formula(self, metric: str, dtype: str, queries: int, dim: int) -> Formula:  # noqa: ARG002
        """The expanded form of lengths and products (faiss/impl/Panorama.h), of rotated rows."""
        return Formula("expanded", extra=ROUNDINGS)

    def build(self, vectors: Array, metric: str) -> FaissPanoramaIndex:
        """Find the principal components of some rows, rotate all, and try how many levels are fastest."""
        return FaissPanoramaIndex(_prepared(vectors, metric), metric)


class FaissPanoramaIndex:
    """A rotation and a flat index. said: how many levels, and what the leading ones hold, in words."""

    def __init__(self, rows: npt.NDArray[np.float32], metric: str) -> None:
        self._metric, self._range = metric, Range(rows, metric)
        self._range.check(rows[:1])
        step = max(1, len(rows) // SAMPLE)
        some = np.asarray(rows[::step][:SAMPLE], dtype=np.float64)
        # products of rows and queries have no centre: components are those of the rows as they are
        values, vectors = np.linalg.eigh(some.T @ some / len(some))
        self._rotation: npt.NDArray[np.float64] = np.ascontiguousarray(vectors[:, ::-1])
        dim = rows.shape[1]
        counts = [levels for levels in LEVELS if levels <= dim] or [1]
        trial = self._rotated(some.astype(np.float32))
        self._levels = (
            min(counts, key=lambda levels: _seconds(self._index(dim, levels, trial), trial))
            if len(counts) > 1
            else counts[0]
        )
        self._found = self._index(dim, self._levels)
        for start in range(0, len(rows), BLOCK):
            self._found.add(self._rotated(rows[start : start + BLOCK]))
        leading = max(1, dim // 4)
        total = float(np.maximum(values, 0).sum())
        share = float(np.maximum(values[::-1][:leading], 0).sum()) / total if total else 1.0
        self.said = f"{self._levels} levels; the leading quarter of the components holds {100 * share:.0f}% of the squared length"

    def _index(self, dim: int, levels: int, rows: Array | None = None) -> Any:
        kind = faiss.IndexFlatL2Panorama if self._metric == "l2" else faiss.IndexFlatIPPanorama
        index = kind(dim, levels)
        if rows is not None:
            index.add(rows)
        return index

    def _rotated(self, values: Array) -> npt.NDArray[np.float32]:
        """In float64, then rounded once: a rotation in float32 would round as often as there are components."""
        return np.ascontiguousarray(np.asarray(values, dtype=np.float64) @ self._rotation, dtype=np.float32)

    def search(self, queries: Array, k: int) -> Neighbors:
        """Rotate and ask."""
        asked = _prepared(queries, self._metric)
        self._range.check(asked)
        distances, ids = self._found.search(self._rotated(asked), k)
        if self._metric == "l2":
            np.maximum(distances, 0, out=distances)
        return Neighbors(ids, distances)


def _prepared(values: Array, metric: str) -> Array:
    return unit_rows(values) if metric == "cosine" else np.ascontiguousarray(values, dtype=np.float32)


def _seconds(index: Any, rows: Array) -> float:
    queries = np.ascontiguousarray(rows[: min(QUERIES, len(rows))])
    took = []
    for _ in range(3):
        began = time.perf_counter()
        for query in queries:
            index.search(query[None, :], min(10, len(rows)))
        took.append(time.perf_counter() - began)
    return min(took)
