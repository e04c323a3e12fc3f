"""The defined answer for many queries at the speed of a matrix product: filter with a float64 product, then apply the definition.

A float64 product gives every value up to the bound e of its rounding. With S_k the k-th best of those, a row of the answer has a
value within 2 e of S_k; only such rows go through the definition of search/definition.py. Equal to ``definition.search`` by construction.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope.arithmetic import ieee
from knnscope.progress import EXPECTED, bar, say
from knnscope.records import Neighbors
from knnscope.search import definition
from knnscope.search.rounding import gamma, norms
from knnscope.units import expected

SCORES = 1 << 24
"""Products in memory at once: 128 MiB of float64."""
BLOCK = 1 << 26
"""Components of rows in memory at once: 512 MiB of float64."""
QUERIES = 1 << 12
"""Queries that are asked together: what is kept of each waits until all rows were seen."""
REFINED = 10_000
"""About as many products take as long as applying the definition to what the filter leaves of a query."""
TOLD_AFTER, TOLD_FROM = 1.0, 60.0
"""Seconds after which it is known how long all of it takes, and from which it is told."""


@ieee
def answers(rows: npt.NDArray[Any], queries: npt.NDArray[Any], k: int, metric: str) -> Neighbors:
    """The k nearest rows of each query as defined.

    Args:
        rows: (rows, dim), may be a memory map.
        queries: (queries, dim).
        k: 1 to the number of rows.
        metric: one of ``definition.METRICS``.
    """
    row_norms, began, told = norms(rows), time.perf_counter(), False
    total = len(queries) * (len(rows) + REFINED)
    with bar(total, f"reference answers to {len(queries):,} queries", "pair", form=EXPECTED) as progress:

        def count(pairs: int) -> None:
            nonlocal told
            progress.update(pairs)
            took = time.perf_counter() - began
            if not told and took >= TOLD_AFTER and (left := took / progress.n * (total - progress.n)) >= TOLD_FROM:
                told = True
                say(f"reference answers to {len(queries):,} queries: {expected(left)} more; fewer queries take less")

        parts = [
            _answers(rows, queries[first : first + QUERIES], k, metric, row_norms, count)
            for first in range(0, len(queries), QUERIES)
        ]
    return Neighbors(np.concatenate([n.ids for n in parts]), np.concatenate([n.distances for n in parts]))


def _answers(
    rows: npt.NDArray[Any],
    queries: npt.NDArray[Any],
    k: int,
    metric: str,
    row_norms: npt.NDArray[np.float64],
    count: Callable[[int], object],
) -> Neighbors:
    """The same for so many queries as are asked together; ``count`` is told what was done."""
    asked = np.asarray(queries, dtype=np.float64)
    query_norms = norms(asked)
    with np.errstate(over="ignore", invalid="ignore"):
        beyond = not np.isfinite((query_norms.max() + row_norms.max()) ** 2)  # before the definition need overflow
    if beyond or (metric == "cosine" and (_squares_underflow(query_norms) or _squares_underflow(row_norms))):
        # no filter: it overflows, or dividing by such norms makes any rounding large
        found = definition.search(rows, queries, k, metric)
        count(len(queries) * (len(rows) + REFINED))
        return found
    kept: list[tuple[list[npt.NDArray[np.int64]], list[npt.NDArray[np.float64]]]] = [([], []) for _ in asked]
    limits = np.full(len(asked), np.inf)
    step = max(k, min(max(256, SCORES // len(asked)), BLOCK // rows.shape[1]))
    for first in range(0, len(rows), step):
        block = np.asarray(rows[first : first + step], dtype=np.float64)
        keys, slack = _keys(block, asked, query_norms, metric)
        if len(block) >= k:
            kth = np.partition(keys, k - 1, axis=1)[:, k - 1] + slack
            np.minimum(limits, kth, out=limits)
        for i, near in enumerate(keys - slack[:, None] <= limits[:, None]):
            nearest = np.flatnonzero(near)
            kept[i][0].append(nearest + first)
            kept[i][1].append(keys[i, nearest] - slack[i])
        count(len(block) * len(asked))
    lines = []
    for i in range(len(asked)):
        lines.append(_refine(rows, queries[i : i + 1], k, metric, *kept[i], limits[i]))
        count(REFINED)
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
