"""What "exact" means in this project: the distance, the order of its operations, and the rule for ties.

Inputs are widened to float64 without rounding. With x a row, q a query and d components:

    l2      s = 0; for j = 0 .. d-1: t = x_j - q_j; s = s + t * t
    ip      s = 0; for j = 0 .. d-1: s = s + x_j * q_j
    cosine  ip(x, q) / (sqrt(ip(x, x)) * sqrt(ip(q, q))), and 0 where either norm is 0, or the quotient is -0

Every operation is one IEEE 754 float64 operation rounded to nearest, in this order, with no fused multiply-add. ``l2`` is the
squared Euclidean distance and sorts ascending; ``ip`` and ``cosine`` are similarities and sort descending. Equal values are
ordered by row number, smallest first. So the answer does not depend on batch size, threads, block size or machine.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope.arithmetic import ieee
from knnscope.checks import COMPONENTS
from knnscope.errors import KnnscopeError
from knnscope.records import DTYPES as DTYPES
from knnscope.records import METRICS as METRICS
from knnscope.records import Neighbors

GROUP = 16
"""Queries that share a pass over the rows."""
PAIRS = 1 << 14
"""Distances computed at once: the accumulator and one term (256 KiB together) stay in the second-level cache."""

Float64 = npt.NDArray[np.float64]


def descending(metric: str) -> bool:
    """Whether larger is nearer."""
    return metric != "l2"


@ieee
def distances(rows: npt.NDArray[Any], queries: npt.NDArray[Any], metric: str) -> Float64:
    """All distances as defined above.

    Args:
        rows: (rows, dim), any real type.
        queries: (queries, dim).
        metric: one of ``METRICS``.

    Returns:
        float64, (queries, rows).
    """
    x = np.ascontiguousarray(np.asarray(rows, dtype=np.float64).T)
    q = np.asarray(queries, dtype=np.float64)
    total = np.zeros((len(q), x.shape[1]))
    term = np.empty_like(total)
    for j in range(len(x)):
        column = q[:, j, None]
        if metric == "l2":
            np.subtract(x[j], column, out=term)
            np.multiply(term, term, out=term)
        else:
            np.multiply(x[j], column, out=term)
        np.add(total, term, out=total)
    return total if metric != "cosine" else _cosine(total, _norms(x), _norms(q.T))


def _norms(columns: Float64) -> Float64:
    """Norms of the columns of (dim, count), by the definition of ``ip``."""
    total = np.zeros(columns.shape[1])
    for component in columns:
        np.add(total, component * component, out=total)
    return np.sqrt(total)


def _cosine(products: Float64, row_norms: Float64, query_norms: Float64) -> Float64:
    scale = row_norms[None, :] * query_norms[:, None]
    scale[np.isinf(scale)] = np.nan  # a quotient by what has overflowed would be 0, as if it were known
    return np.divide(products, scale, out=np.zeros_like(products), where=scale != 0) + 0.0


def select(values: npt.NDArray[Any], k: int, metric: str, first_id: int = 0) -> Neighbors:
    """The k best of each line of ``values``, shape (queries, rows), ties by smallest id.

    Args:
        values: distances of rows ``first_id`` and on; no NaN.
        k: at most the number of rows is returned.
        metric: decides the direction.
        first_id: id of the first column.

    Raises:
        KnnscopeError: a distance is not a number.
    """
    k = min(k, values.shape[1])
    keys = -values if descending(metric) else values
    if np.isnan(keys).any():
        raise KnnscopeError(f"{metric} of finite numbers overflows: scale the vectors down")
    ids = np.empty((len(values), k), dtype=np.int64)
    for i, line in enumerate(keys):
        if k < len(line):
            candidates = np.flatnonzero(line <= np.partition(line, k - 1)[k - 1])
            ids[i] = candidates[np.argsort(line[candidates], kind="stable")[:k]]
        else:
            ids[i] = np.argsort(line, kind="stable")
    return Neighbors(ids + first_id, np.take_along_axis(values, ids, axis=1))


def merge(a: Neighbors, b: Neighbors, k: int, metric: str) -> Neighbors:
    """The k best of two answers over different rows."""
    ids = np.concatenate([a.ids, b.ids], axis=1)
    values = np.concatenate([a.distances, b.distances], axis=1)
    keys = -values if descending(metric) else values
    order = np.lexsort((ids, keys), axis=1)[:, :k]
    return Neighbors(np.take_along_axis(ids, order, axis=1), np.take_along_axis(values, order, axis=1))


def search(rows: npt.NDArray[Any], queries: npt.NDArray[Any], k: int, metric: str, threads: int = 1) -> Neighbors:
    """The reference answer, block by block; memory does not grow with the number of rows.

    Args:
        rows: (rows, dim), may be a memory map.
        queries: (queries, dim).
        k: 1 to the number of rows.
        metric: one of ``METRICS``.
        threads: groups of 16 queries that are answered at once; the answer does not depend on it.
    """

    @ieee
    def answer(start: int) -> Neighbors:
        some = queries[start : start + GROUP]
        step = max(1, min(max(256, PAIRS // len(some)), COMPONENTS // max(1, some.shape[1])))
        best: Neighbors | None = None
        for first in range(0, len(rows), step):
            found = select(distances(rows[first : first + step], some, metric), k, metric, first)
            best = found if best is None else merge(best, found, k, metric)
        assert best is not None
        return best

    starts = range(0, len(queries), GROUP)
    if threads == 1 or len(starts) == 1:
        answers = [answer(start) for start in starts]
    else:
        with ThreadPoolExecutor(threads) as pool:  # NumPy's loops release the interpreter's lock
            answers = list(pool.map(answer, starts))
    return Neighbors(np.concatenate([a.ids for a in answers]), np.concatenate([a.distances for a in answers]))
