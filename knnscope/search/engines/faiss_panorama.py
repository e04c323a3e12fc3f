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

from knnscope.errors import KnnscopeError, UnsupportedError
from knnscope.records import Capabilities, Neighbors
from knnscope.search.engine import Array, float32_rows
from knnscope.search.ranges import Range
from knnscope.search.rounding import Formula

CLASSES = {"l2": "IndexFlatL2Panorama", "ip": "IndexFlatIPPanorama", "cosine": "IndexFlatIPPanorama"}
METRICS = frozenset(metric for metric, name in CLASSES.items() if hasattr(faiss, name))
if not METRICS:
    raise ImportError("this version of Faiss has no Panorama: 1.15 has")

LEVELS = (4, 8, 16, 32)
"""Numbers of levels that are tried, as far as there are components."""
SAMPLE = 16_384
"""Rows that components are taken from, and levels tried on."""
QUERIES = 8
TOGETHER = 1024
"""Rows whose components lie together, level by level; the library wants k at most this."""
MOST_DIM = 4096
"""Components up to which principal ones are found in seconds."""
SHORTEST = 1e-11
"""Squares of shorter norms lose digits in float32, and bounds made of them would leave out what they must not."""
BLOCK = 1 << 14
"""Rows rotated at once."""
ROUNDINGS = max(LEVELS) + 8
"""A sum for each level, and those of a rotation in float64 that is rounded to float32: 2 u (|x| + |q|)^2, counted four times."""


class FaissPanoramaEngine:
    """Exact but for float32's rounding: what is left out is further than what was found."""

    capabilities = Capabilities(
        metrics=METRICS,
        dtypes=frozenset({"float32", "float16", "int8", "uint8"}),
        max_k=TOGETHER,
    )

    def formula(self, metric: str, dtype: str, queries: int, dim: int) -> Formula:  # noqa: ARG002
        """The expanded form of lengths and products (faiss/impl/Panorama.h), of rotated rows."""
        return Formula("expanded", extra=ROUNDINGS)

    def build(self, vectors: Array, metric: str) -> FaissPanoramaIndex:
        """Find the principal components of some rows, rotate all, and try how many levels are fastest.

        Raises:
            UnsupportedError: more components than can be rotated in reasonable time.
            KnnscopeError: rows so short that their squares lose digits in float32.
        """
        if vectors.shape[1] > MOST_DIM:
            raise UnsupportedError(
                f"faiss-panorama rotates up to {MOST_DIM:,} components, the rows have {vectors.shape[1]:,}"
            )
        return FaissPanoramaIndex(float32_rows(vectors, metric), metric)


class _Range(Range):
    """Refuses queries that are too short as well."""

    def check(self, queries: npt.NDArray[Any]) -> None:
        """Refuse queries that are too long or too short.

        Raises:
            KnnscopeError: says what to do.
        """
        super().check(queries)
        _check_short(np.asarray(queries, dtype=np.float32), "queries", self._metric)


class FaissPanoramaIndex:
    """A rotation and a flat index. how: how many levels, and what the leading ones hold, in words."""

    def __init__(self, rows: npt.NDArray[np.float32], metric: str) -> None:
        self._metric, self.range = metric, None if metric == "cosine" else _Range(rows, metric)
        if self.range is not None:
            self.range.check(rows[:1])
        _check_short(rows, "rows", metric)
        some = np.asarray(rows[:: -(-len(rows) // SAMPLE)], dtype=np.float64)
        largest = float(np.abs(some).max())
        some /= largest if largest > 0 else 1.0  # squares of small numbers vanish
        # products of rows and queries have no centre: components are those of the rows as they are
        values, vectors = np.linalg.eigh(some.T @ some / len(some))
        self._rotation: npt.NDArray[np.float64] = np.ascontiguousarray(vectors[:, ::-1])
        dim = rows.shape[1]
        counts = [n for n in LEVELS if n <= dim and (n - 1) * -(-dim // n) < dim] or [1]  # none without components
        trial = self._rotated(rows[:: -(-len(rows) // SAMPLE)])
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
        self.how = f"{self._levels} levels; the leading quarter of the components holds {100 * share:.0f}% of the squared length"

    def _index(self, dim: int, levels: int, rows: Array | None = None) -> Any:
        index = getattr(faiss, CLASSES[self._metric])(dim, levels, TOGETHER)
        if rows is not None:
            index.add(rows)
        return index

    def _rotated(self, values: Array) -> npt.NDArray[np.float32]:
        """In float64, then rounded once: a rotation in float32 would round as often as there are components."""
        return np.ascontiguousarray(np.asarray(values, dtype=np.float64) @ self._rotation, dtype=np.float32)

    def add(self, vectors: Array) -> None:
        """Further rows, with the next numbers; components and levels stay those of the first rows."""
        rows = float32_rows(vectors, self._metric)
        _check_short(rows, "rows", self._metric)
        if self.range is not None:
            self.range.add(rows)
        self._found.add(self._rotated(rows))

    def search(self, queries: Array, k: int) -> Neighbors:
        """Rotate and ask."""
        distances, ids = self._found.search(self._rotated(float32_rows(queries, self._metric)), k)
        if self._metric == "l2":
            np.maximum(distances, 0, out=distances)
        return Neighbors(ids, distances)


def _check_short(values: Array, what: str, metric: str) -> None:
    if metric == "cosine":
        return
    squares = np.einsum("ij,ij->i", values, values, dtype=np.float64)
    if ((squares > 0) & (squares < SHORTEST**2)).any():
        raise KnnscopeError(f"faiss-panorama loses digits of {what} shorter than {SHORTEST:g}: scale the vectors up")


def _seconds(index: Any, rows: Array) -> float:
    queries = np.ascontiguousarray(rows[: min(QUERIES, len(rows))])
    took = []
    for _ in range(3):
        began = time.perf_counter()
        for query in queries:
            index.search(query[None, :], min(10, len(rows)))
        took.append(time.perf_counter() - began)
    return min(took)
