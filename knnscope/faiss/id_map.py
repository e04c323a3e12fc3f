"""Faiss' index with labels of the user's: any int64, of which one may stand for several rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from knnscope.faiss.arrays import METRIC_L2, Answer, Float32, Int64, RefusedError, ShapeError, matrix
from knnscope.faiss.flat import IndexFlat
from knnscope.faiss.searches import Searches
from knnscope.faiss.selectors import Mask
from knnscope.ragged import RadiusNeighbors
from knnscope.records import FloatArray


class IndexIDMap(Searches):
    """``faiss.IndexIDMap`` around an empty flat index."""

    def __init__(self, index: Any) -> None:
        if not isinstance(index, IndexFlat) or index.ntotal:
            raise RefusedError(f"IndexIDMap({index!r}): an empty flat index of knnscope.faiss was expected")
        self.index, self.d, self.metric_type = index, index.d, index.metric_type
        self.reset()

    def reset(self) -> None:
        """Remove all rows."""
        self.index.reset()
        self.id_map, self._ascend = np.empty(0, dtype=np.int64), True

    @property
    def ntotal(self) -> int:
        """Rows."""
        return self.index.ntotal

    def labels(self) -> Int64:
        """As they were given."""
        return self.id_map

    def add(self, x: Any) -> None:  # noqa: ARG002
        """Not of this index, in Faiss neither."""
        raise RefusedError("IndexIDMap: call add_with_ids, rows need labels")

    def add_with_ids(self, x: Any, ids: Any) -> None:
        """Add rows, (rows, d), with labels, int64, (rows,)."""
        rows, called = matrix(x, self.d, "vectors"), np.asarray(ids)
        if called.shape != (len(rows),) or (called.size and called.dtype.kind not in "iu"):
            given = f"ids are {called.dtype}, {called.shape}"
            raise ShapeError(f"{given}: whole numbers, ({len(rows)},), were expected; ExactIndex takes strings")
        self.index.add(rows)
        self.id_map = np.concatenate([self.id_map, called.astype(np.int64)])
        self._ascend = bool((self.id_map[1:] >= self.id_map[:-1]).all())

    def nearest(self, queries: Float32, k: int, where: Mask | None) -> Answer:
        """The k nearest, as labels; of rows as far as the k-th those with the smallest."""
        if self._ascend:  # the index' own order is that of labels
            places, values = self.index.nearest(queries, k, where)
            return self._named(places), values
        places, values = self.index.nearest(queries, k + 1, where)
        labels = self._named(places)
        order = np.lexsort((labels, self._keys(values)), axis=1)
        labels, values = np.take_along_axis(labels, order, axis=1), np.take_along_axis(values, order, axis=1)
        for query in np.flatnonzero((values[:, k - 1 : k] == values[:, k:]) & np.isfinite(values[:, k:])):
            tied = self.within(queries[query : query + 1], float(values[query, k]), where)
            labels[query, :k], values[query, :k] = tied.ids[:k], tied.distances[:k]
        return labels[:, :k], values[:, :k]

    def within(self, queries: Float32, radius: float, where: Mask | None) -> RadiusNeighbors:
        """All within a radius, as labels."""
        found = self.index.within(queries, radius, where)
        labels, values = self._named(found.ids), found.distances
        order = np.lexsort((labels, self._keys(values), np.repeat(np.arange(len(found)), found.counts)))
        return RadiusNeighbors(found.offsets, labels[order], values[order])

    def _named(self, places: Int64) -> Int64:
        return np.where(places < 0, -1, self.id_map[places])

    def _keys(self, values: FloatArray) -> FloatArray:
        return values if self.metric_type == METRIC_L2 else -values

    def drop(self, gone: Mask) -> None:
        """Remove rows."""
        self.index.drop(gone)
        self.id_map = self.id_map[~gone]

    def reconstruct_batch(self, key: Any) -> Float32:  # noqa: ARG002
        """Not of this index, in Faiss neither."""
        raise RefusedError("IndexIDMap does not find rows by label: IndexIDMap2 does")


class IndexIDMap2(IndexIDMap):
    """``faiss.IndexIDMap2``: rows are found by label as well; of several with the same one the last."""

    def reconstruct_batch(self, key: Any) -> Float32:
        """Rows of labels, (labels, d)."""
        wanted, order = np.asarray(key, dtype=np.int64), np.argsort(self.id_map, kind="stable")
        if len(lost := wanted[~np.isin(wanted, self.id_map)]):
            raise RefusedError(f"label {lost[0]} is not in the index")
        return self.index.reconstruct_batch(order[np.searchsorted(self.id_map, wanted, side="right", sorter=order) - 1])
