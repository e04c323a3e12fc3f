"""The defined answer for many queries at the speed of a matrix product: filter with a float64 product, then apply the definition.

A float64 product gives every value up to the bound e of its rounding. With S_k the k-th best of those, a row of the answer has a
value within 2 e of S_k; only such rows go through the definition of search/definition.py. Equal to ``definition.search`` by construction.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope.arithmetic import ieee
from knnscope.progress import bar
from knnscope.records import Neighbors
from knnscope.search import definition
from knnscope.search.rounding import gamma, norms

SCORES = 1 << 24
"""Products in memory at once: 128 MiB of float64."""
BLOCK = 1 << 26
"""Components of rows in memory at once: 512 MiB of float64."""


@ieee
def answers(rows: npt.NDArray[Any], queries: npt.NDArray[Any], k: int, metric: str) -> Neighbors:
    """The k nearest rows of each query as defined.

    Args:
        rows: (rows, dim), may be a memory map.
        queries: (queries, dim).
        k: 1 to the number of rows.
        metric: one of ``definition.METRICS``.
    """
    asked = np.asarray(queries, dtype=np.float64)
    query_norms, row_norms = norms(asked), norms(rows)
    with np.errstate(over="ignore", invalid="ignore"):
        if not np.isfinite((query_norms.max() + row_norms.max()) ** 2):
            return definition.search(rows, queries, k, metric)  # the filter overflows before the definition need
    if metric == "cosine" and (_squares_underflow(query_norms) or _squares_underflow(row_norms)):
        return definition.search(rows, queries, k, metric)  # division by such norms makes any rounding large
    kept: list[tuple[list[npt.NDArray[np.int64]], list[npt.NDArray[np.float64]]]] = [([], []) for _ in asked]
    limits = np.full(len(asked), np.inf)
    step = max(k, min(max(256, SCORES // len(asked)), BLOCK // rows.shape[1]))
    with bar(len(rows), "reference answers", "row", scale=True) as progress:
        for first in range(0, len(rows), step):
            block = np.asarray(rows[first : first + step], dtype=np.float64)
            keys, slack = _keys(block, asked, query_norms, metric)
            if len(block) >= k:
                kth = np.partition(keys, k - 1, axis=1)[:, k - 1] + slack
                np.minimum(limits, kth, out=limits)
            for i, near in enumerate(keys - slack[:, None] <= limits[:, None]):
                found = np.flatnonzero(near)
                kept[i][0].append(found + first)
                kept[i][1].append(keys[i, found] - slack[i])
            progress.update(len(block))
    lines = [_refine(rows, queries[i : i + 1], k, metric, *kept[i], limits[i]) for i in range(len(asked))]
    return Neighbors(np.concatenate([n.ids for n in lines]), np.concatenate([n.distances for n in lines]))


def _squares_underflow(lengths: npt.NDArray[np.float64]) -> bool:
    return bool(((lengths > 0) & (lengths < 2.0**-480)).any())


def _keys(
    block: npt.NDArray[np.float64],
    queries: npt.NDArray[np.float64],
    query_norms: npt.NDArray[np.float64],
    metric: str,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Values that sort ascending, (queries, rows), and what each of a query's may be off by, product and definition together."""
    dim = block.shape[1]
    u = 2.0**-52  # BLAS has threads of its own, whose rounding was not asked
    row_norms = norms(block)
    largest = float(row_norms.max())
    keys = queries @ block.T
    tiny = (2 * dim + 8) * 2.0**-1022
    if metric == "l2":
        keys *= -2
        keys += row_norms**2
        keys += (query_norms**2)[:, None]
        return keys, 2 * gamma(dim + 8, u) * (largest + query_norms) ** 2 + tiny
    if metric == "ip":
        return -keys, 2 * gamma(dim + 2, u) * largest * query_norms + tiny
    scale = row_norms[None, :] * query_norms[:, None]
    np.divide(keys, scale, out=keys, where=scale != 0)
    return -keys, np.full(len(queries), 2 * gamma(2 * dim + 16, u) + tiny)


def _refine(
    rows: npt.NDArray[Any],
    query: npt.NDArray[Any],
    k: int,
    metric: str,
    ids: list[npt.NDArray[np.int64]],
    lowest: list[npt.NDArray[np.float64]],
    limit: float,
) -> Neighbors:
    candidates = np.concatenate(ids)
    candidates = candidates[np.concatenate(lowest) <= limit]
    found = definition.search(rows[candidates], query, k, metric)
    return Neighbors(candidates[found.ids], found.distances)
