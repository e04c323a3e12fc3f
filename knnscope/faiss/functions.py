"""Faiss' searches without an index, and its ground truth of rows that come block by block."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from knnscope.faiss.arrays import METRIC_L2, Float32, Int64, counted, filled, matrix
from knnscope.faiss.flat import IndexFlat
from knnscope.progress import bar


def _both(xq: Any, xb: Any) -> tuple[Float32, Float32]:
    """Queries and rows, of as many components."""
    rows = matrix(xb, None, "vectors")
    return matrix(xq, rows.shape[1], "queries"), rows


def _index(rows: Float32, metric: int) -> IndexFlat:
    return IndexFlat.over(rows, metric) if len(rows) else IndexFlat(rows.shape[1], metric)


def knn(xq: Any, xb: Any, k: int, metric: int = METRIC_L2) -> tuple[Float32, Int64]:
    """``faiss.knn``: distances and labels of the k nearest rows of each query, (queries, k).

    Args:
        xq: queries, (queries, d).
        xb: rows, (rows, d).
        k: how many; where there are fewer rows the rest is -1.
        metric: METRIC_L2 or METRIC_INNER_PRODUCT.

    Raises:
        ShapeError: shapes that do not fit.
        KnnscopeError: a number that is not finite.
    """
    queries, rows = _both(xq, xb)
    return _index(rows, metric).search(queries, k)


def range_search(xq: Any, xb: Any, thresh: float, metric: int = METRIC_L2) -> tuple[Any, Float32, Int64]:
    """All rows nearer than a threshold, as ``IndexFlat.range_search`` gives them.

    Raises:
        ShapeError: shapes that do not fit.
        KnnscopeError: a number that is not finite.
    """
    queries, rows = _both(xq, xb)
    return _index(rows, metric).range_search(queries, thresh)


def knn_ground_truth(
    xq: Any, db_iterator: Iterable[Any], k: int, metric_type: int = METRIC_L2, shard: bool = False, ngpu: int = -1  # noqa: ARG001
) -> tuple[Float32, Int64]:  # fmt: skip
    """``faiss.contrib.exhaustive_search.knn_ground_truth``: the k nearest of rows that are larger than memory. See ``knnscope.truth`` for files.

    Args:
        xq: queries, (queries, d).
        db_iterator: blocks of rows, (rows, d), one after another.
        k: how many; where there are fewer rows the rest is -1.
        metric_type: METRIC_L2 or METRIC_INNER_PRODUCT.
        shard: taken, and not needed: no GPU is used.
        ngpu: likewise.

    Raises:
        ShapeError: shapes that do not fit.
        KnnscopeError: a number that is not finite.
    """
    queries, k = matrix(xq, None, "queries"), counted(k)
    labels, values = np.empty((len(queries), 0), np.int64), np.empty((len(queries), 0))
    sign, first = 1 if metric_type == METRIC_L2 else -1, 0
    with bar(None, "ground truth", "row") as progress:
        for block in db_iterator:
            rows = matrix(block, queries.shape[1], "vectors")
            some, near = _index(rows, metric_type).nearest(queries, k, None)
            labels, values = np.hstack([labels, some + first]), np.hstack([values, near])
            order = np.argsort(sign * values, axis=1, kind="stable")[
                :, :k
            ]  # the earlier block first: the smaller label
            labels, values = np.take_along_axis(labels, order, axis=1), np.take_along_axis(values, order, axis=1)
            first += len(rows)
            progress.update(len(rows))
    return filled((labels, values), k, metric_type)
