"""Faiss' flat indexes: labels are places, 0 up to ntotal, and those behind a row that goes move up."""

from __future__ import annotations

from typing import Any

import numpy as np

from knnscope.certified.index import ExactIndex
from knnscope.certified.radius import MOST
from knnscope.faiss.arrays import METRIC_INNER_PRODUCT, METRIC_L2, Answer, Float32, Int64, RefusedError, matrix, name_of
from knnscope.faiss.searches import Searches
from knnscope.faiss.selectors import Mask
from knnscope.ragged import RadiusNeighbors


class IndexFlat(Searches):
    """``faiss.IndexFlat``: rows as they are."""

    def __init__(self, d: int, metric: int = METRIC_L2) -> None:
        self.d, self.metric_type = d, metric
        self.reset()

    def reset(self) -> None:
        """Remove all rows."""
        self._index = ExactIndex(metric=name_of(self.metric_type), dim=self.d)
        self._ids: Int64 | None = None  # where they are not places, since rows have gone

    @classmethod
    def over(cls, rows: Float32, metric: int) -> IndexFlat:
        """An index over rows, at least one, that are not copied."""
        made = cls(rows.shape[1], metric)
        made._index = ExactIndex(rows, made._index.metric)
        return made

    @property
    def ntotal(self) -> int:
        """Rows."""
        return len(self._index)

    def labels(self) -> Int64:
        """Places."""
        return np.arange(self.ntotal)

    def add(self, x: Any) -> None:
        """Add rows, (rows, d); they are copied."""
        new = self._index.add(matrix(x, self.d, "vectors"))
        self._ids = None if self._ids is None else np.concatenate([self._ids, new])

    def nearest(self, queries: Float32, k: int, where: Mask | None) -> Answer:
        """The k nearest, as places."""
        if not self.ntotal:
            return np.empty((len(queries), 0), np.int64), np.empty((len(queries), 0))
        found = self._index.search(queries, min(k, self.ntotal), where=where)
        return self._places(found.ids), found.distances

    def within(self, queries: Float32, radius: float, where: Mask | None) -> RadiusNeighbors:
        """All within a radius, as places."""
        found = self._index.radius_search(queries, radius, where, limit=MOST)
        return RadiusNeighbors(found.offsets, self._places(found.ids), found.distances)

    def _places(self, ids: Int64) -> Int64:
        """Ids of the index ascend as their places do, and are not given again."""
        return ids if self._ids is None else np.where(ids < 0, -1, np.searchsorted(self._ids, ids))

    def drop(self, gone: Mask) -> None:
        """Remove rows."""
        ids = self._index.ids
        self._index.remove(ids[gone])
        self._ids = ids[~gone]

    def reconstruct_n(self, n0: int = 0, ni: int = -1) -> Float32:
        """Some rows one after another, (ni, d); -1 for all that follow."""
        return self.reconstruct_batch(range(n0, self.ntotal if ni == -1 else n0 + ni))

    def reconstruct_batch(self, key: Any) -> Float32:
        """Rows of labels, (labels, d)."""
        places = np.asarray(key, dtype=np.int64)
        if places.size and (places.min() < 0 or places.max() >= self.ntotal):
            raise RefusedError(f"labels {places.min()} to {places.max()}: those of {self.ntotal} rows begin at 0")
        rows: Float32 = self._index.get(places if self._ids is None else self._ids[places])
        return rows


class IndexFlatL2(IndexFlat):
    """``faiss.IndexFlatL2``: squared Euclidean distances."""

    def __init__(self, d: int) -> None:
        super().__init__(d, METRIC_L2)


class IndexFlatIP(IndexFlat):
    """``faiss.IndexFlatIP``: inner products."""

    def __init__(self, d: int) -> None:
        super().__init__(d, METRIC_INNER_PRODUCT)
