"""Every row's value as defined, sorted: right for any k and any numbers, and what the other paths fall back on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import cupy as cp

from knnscope.certified.cuda.launch import LONG, kernel
from knnscope.certified.cuda.merge import merge_there
from knnscope.certified.cuda.table import Table, processors, values_source
from knnscope.search import definition

KEYS, FEWEST, KEY_BYTES = 1 << 27, 1 << 16, 40
"""Keys at once, at most and where memory is nearly full; bytes that one takes while they are sorted."""
THREADS = 256


def row_norms(rows: Any, source: Any, device: int) -> Any:
    """Norms as defined, float64, (rows,)."""
    count, dim = rows.shape
    norms = cp.empty(count, dtype=cp.float64)
    grid = min(processors() * 8, -(-count // THREADS))
    kernel(source, "row_norms", device)((grid,), THREADS, rows, LONG(count), LONG(dim), norms)
    return norms


def keys_at_once() -> int:
    """As many as there is free memory for."""
    free = int(cp.cuda.runtime.memGetInfo()[0]) + int(cp.get_default_memory_pool().free_bytes())
    return max(FEWEST, min(KEYS, free // (2 * KEY_BYTES)))


def query_norms(table: Table, queries: Any) -> Any:
    """Norms as defined, float64, (queries,), for cosine; else None."""
    if table.metric != 2:
        return None
    count, dim = queries.shape
    norms = cp.empty(count, dtype=cp.float64)
    source = values_source(table)
    kernel(source, "query_norms", table.device)((-(-count // 64),), 64, queries, LONG(count), LONG(dim), norms)
    return norms


def search(table: Table, queries: Any, k: int, allowed: Any) -> tuple[Any, Any, Any]:
    """The k nearest of all rows.

    Args:
        table: the rows.
        queries: float64, (queries, dim), in GPU memory.
        k: 1 to the number of rows.
        allowed: bool, (1 or queries, rows): rows that may be answers; None for all.

    Returns:
        ids, int64, and values, float64, (queries, k), -1 and infinite where there are fewer; and how many values are no number.
    """
    rows, most, answers, errors = len(table.rows), keys_at_once(), list[tuple[Any, Any]](), cp.zeros(1, cp.uint32)
    for first in range(0, rows, most):
        part, mask = _slice(table, allowed, first, most)
        answers.append(_sorted(part, queries, min(k, len(part.rows)), mask, errors))
    if len(answers) > 1:
        answers = [merge_there(answers, k, definition.METRICS[table.metric], None)]
    return (*answers[0], errors)


def _slice(table: Table, allowed: Any, first: int, most: int) -> tuple[Table, Any]:
    """At most so many rows from one on, and which of them may be answers."""
    rows = len(table.rows)
    if rows <= most:
        return table, allowed
    last = min(rows, first + most)
    part = table.part(first, last)
    if part.names is not None:
        part = replace(part, by_name=cp.argsort(part.names))
    return part, None if allowed is None else cp.ascontiguousarray(allowed[:, first:last])


def _sorted(table: Table, queries: Any, k: int, allowed: Any, errors: Any) -> tuple[Any, Any]:
    """The same of as many rows as there may be keys; ``errors`` are added to."""
    count, dim = table.rows.shape
    ids, values = cp.empty((len(queries), k), dtype=cp.int64), cp.empty((len(queries), k), dtype=cp.float64)
    step = max(1, min(65535, keys_at_once() // count))
    source = values_source(table)
    find, show = kernel(source, "all_values", table.device), kernel(source, "values_from", table.device)
    norms = query_norms(table, queries)
    for first in range(0, len(queries), step):
        some = queries[first : first + step]
        mask = allowed if allowed is None or len(allowed) == 1 else allowed[first : first + step]
        keys = cp.empty((len(some), count), dtype=cp.uint64)
        grid = min(-(-count // THREADS), 1 << 20)
        find(
            (grid, len(some)), THREADS, table.rows, LONG(count), LONG(dim), table.norms, some,
            None if norms is None else norms[first:], mask, LONG(0 if mask is None or len(mask) == 1 else count), keys, errors,
        )  # fmt: skip
        if table.by_name is not None:
            keys = keys[:, table.by_name]
        order = cp.argsort(keys, axis=1)[:, :k]  # stable: of equal keys the first
        nearest = cp.ascontiguousarray(cp.take_along_axis(keys, order, axis=1))
        found = order + table.base if table.by_name is None else table.names[table.by_name[order]]
        ids[first : first + step] = cp.where(nearest == cp.uint64(2**64 - 1), -1, found)
        show((-(-nearest.size // THREADS),), THREADS, nearest, LONG(nearest.size), values[first : first + step])
    return ids, values


def within(table: Table, queries: Any, largest: Any, allowed: Any) -> Iterator[tuple[int, Any, Any, Any, int]]:
    """All rows whose keys are not above a largest one, some queries at a time.

    Args:
        table: the rows.
        queries: float64, (queries, dim), in GPU memory.
        largest: float64, (queries,), in GPU memory: similarities with the other sign.
        allowed: see ``search``.

    Yields:
        The first query; numbers of queries from it on, and of rows, int64, and keys, float64, (found,); how many values are no number.
    """
    rows, most = len(table.rows), keys_at_once()
    for first in range(0, rows, most):
        part, mask = _slice(table, allowed, first, most)
        for asked, numbers, found, keys, wrong in _within(part, queries, largest, mask):
            yield asked, numbers, found + first, keys, wrong


def _within(table: Table, queries: Any, largest: Any, allowed: Any) -> Iterator[tuple[int, Any, Any, Any, int]]:
    """The same of as many rows as there may be keys."""
    count, dim = table.rows.shape
    step = max(1, min(65535, keys_at_once() // (2 * count)))
    source = values_source(table)
    find, show = kernel(source, "all_values", table.device), kernel(source, "values_from", table.device)
    norms = query_norms(table, queries)
    for first in range(0, len(queries), step):
        some, errors = queries[first : first + step], cp.zeros(1, dtype=cp.uint32)
        mask = allowed if allowed is None or len(allowed) == 1 else allowed[first : first + step]
        keys = cp.empty((len(some), count), dtype=cp.uint64)
        grid = min(-(-count // THREADS), 1 << 20)
        find(
            (grid, len(some)), THREADS, table.rows, LONG(count), LONG(dim), table.norms, some,
            None if norms is None else norms[first:], mask, LONG(0 if mask is None or len(mask) == 1 else count), keys, errors,
        )  # fmt: skip
        values = cp.empty(keys.shape, dtype=cp.float64)
        show((-(-keys.size // THREADS),), THREADS, keys, LONG(keys.size), values)
        if table.metric:
            values = -values
        inside = (values <= largest[first : first + step, None]) & (keys != cp.uint64(2**64 - 1))
        numbers, rows = cp.nonzero(inside)
        yield first, numbers, rows, values[numbers, rows], int(errors[0])
