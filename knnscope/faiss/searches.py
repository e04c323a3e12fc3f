"""What all indexes here do alike: searches by labels, with Faiss' arguments and arrays."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from knnscope.faiss.arrays import METRIC_L2, Answer, Float32, Int64, counted, filled, matrix, rounded
from knnscope.faiss.selectors import Mask, members
from knnscope.ragged import RadiusNeighbors


class Searches(ABC):
    """An index: its rows have labels."""

    d: int
    metric_type: int
    is_trained, verbose = True, False

    @property
    @abstractmethod
    def ntotal(self) -> int:
        """Rows."""

    @abstractmethod
    def labels(self) -> Int64:
        """Of each row, in the order in which they were added."""

    @abstractmethod
    def nearest(self, queries: Float32, k: int, where: Mask | None) -> Answer:
        """The k nearest rows that may be answers, as labels, ties by the smallest."""

    @abstractmethod
    def within(self, queries: Float32, radius: float, where: Mask | None) -> RadiusNeighbors:
        """All rows within a radius, those at exactly it too, as labels."""

    @abstractmethod
    def drop(self, gone: Mask) -> None:
        """Remove rows."""

    @abstractmethod
    def reconstruct_batch(self, key: Any) -> Float32:
        """Rows of these labels, (labels, d)."""

    def train(self, x: Any) -> None:
        """Nothing to learn: shapes are checked, as Faiss does."""
        matrix(x, self.d, "vectors")

    def _where(self, params: Any) -> Mask | None:
        selector = None if params is None else params.sel
        return None if selector is None else members(selector, self.labels())

    def search(self, x: Any, k: int, *, params: Any = None, D: Any = None, I: Any = None) -> tuple[Float32, Int64]:  # noqa: E741, N803
        """Distances, float32, and labels, int64, of the k nearest rows of each query, (queries, k); label -1 where there is none."""
        queries, k = matrix(x, self.d, "queries"), counted(k)
        found = self.nearest(queries, k, self._where(params))
        return filled(found, k, self.metric_type, (D, I))

    def assign(self, x: Any, k: int, labels: Any = None) -> Int64:
        """Labels of the k nearest rows of each query, (queries, k)."""
        return self.search(x, k, I=labels)[1]

    def search_and_reconstruct(self, x: Any, k: int, *, params: Any = None) -> tuple[Float32, Int64, Float32]:
        """Distances, labels and the rows themselves, (queries, k, d); NaN where there is none."""
        distances, labels = self.search(x, k, params=params)
        rows = np.full((*labels.shape, self.d), np.nan, dtype=np.float32)
        rows[labels != -1] = self.reconstruct_batch(labels[labels != -1])
        return distances, labels, rows

    def range_search(self, x: Any, thresh: float, *, params: Any = None) -> tuple[Any, Float32, Int64]:
        """All rows nearer than a threshold: bounds, uint64, (queries + 1,), distances and labels, (answers,), those of a query nearest first."""
        queries, is_l2 = matrix(x, self.d, "queries"), self.metric_type == METRIC_L2
        reach = float(np.nextafter(thresh, -np.inf if is_l2 else np.inf))  # nearer, not as near
        if not self.ntotal or (is_l2 and reach < 0):
            return np.zeros(len(queries) + 1, np.uint64), np.empty(0, np.float32), np.empty(0, np.int64)
        ends, labels, values = self.within(queries, reach, self._where(params))
        return ends.astype(np.uint64), rounded(values), labels

    def reconstruct(self, key: int) -> Float32:
        """The row of a label, (d,)."""
        row: Float32 = self.reconstruct_batch([key])[0]
        return row

    def remove_ids(self, x: Any) -> int:
        """Remove the rows with labels of an array, (labels,), or of a selector. Returns how many they were."""
        gone = members(x, self.labels())
        self.drop(gone)
        return int(np.count_nonzero(gone))
