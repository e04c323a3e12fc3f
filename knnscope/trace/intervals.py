"""Arithmetic on intervals: unions, what overlaps, what lies between. All pure; a million at a time, so that a long trace is not copied."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

CHUNK = 1 << 20


def parts(start: Any, end: Any) -> Iterator[tuple[Any, Any]]:
    """The intervals that are covered at all, in order and apart from each other, in parts.

    An interval that ends where the next begins is one with it.
    """
    order = None if (start[1:] >= start[:-1]).all() else np.argsort(start, kind="stable")
    open_start: Any = None  # the last interval so far, which the next part may lengthen
    open_end: Any = None
    for first in range(0, len(start), CHUNK):
        chosen = slice(first, first + CHUNK) if order is None else order[first : first + CHUNK]
        begins, ends = start[chosen], end[chosen]
        if open_start is not None:
            begins, ends = np.append(open_start, begins), np.append(open_end, ends)
        reach = np.maximum.accumulate(ends)
        new = np.ones(len(begins), dtype=bool)
        new[1:] = begins[1:] > reach[:-1]
        places = np.flatnonzero(new)
        lows, highs = begins[places], reach[np.append(places[1:], len(begins)) - 1]
        open_start, open_end = lows[-1], highs[-1]
        if len(lows) > 1:
            yield lows[:-1], highs[:-1]
    if open_start is not None:
        yield np.asarray([open_start]), np.asarray([open_end])


def union(start: Any, end: Any) -> tuple[Any, Any]:
    """The intervals that are covered at all."""
    found = list(parts(start, end))
    if not found:
        return start, end
    return np.concatenate([p[0] for p in found]), np.concatenate([p[1] for p in found])


def covered(start: Any, end: Any) -> int:
    """Nanoseconds that are covered at all."""
    return sum(int((ends - begins).sum()) for begins, ends in parts(start, end))


def gaps(start: Any, end: Any, least: int = 0) -> tuple[Any, Any]:
    """What lies between the intervals of a union, where it is as long as ``least``."""
    lows, highs, last = [], [], None
    for begins, ends in parts(start, end):
        before = ends[:-1] if last is None else np.append(last, ends[:-1])
        after = begins[1:] if last is None else begins
        long = after - before >= least
        lows.append(before[long])
        highs.append(after[long])
        last = ends[-1]
    none = np.zeros(0, dtype=np.int64)
    return np.concatenate([none, *lows]), np.concatenate([none, *highs])


def overlap(start: Any, end: Any, low: int, high: int) -> int:
    """Nanoseconds of a union inside [low, high)."""
    return sum(
        int(np.maximum(0, np.minimum(ends, high) - np.maximum(begins, low)).sum()) for begins, ends in parts(start, end)
    )


def within(start: Any, low: int, high: int) -> slice:
    """Which of the starts, in order, lie inside [low, high)."""
    return slice(int(np.searchsorted(start, low, "left")), int(np.searchsorted(start, high, "left")))


Spans = tuple[Any, Any]
"""Intervals in order and apart from each other: where they begin, and where they end."""
NOWHERE: Spans = (np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))


def spans(*many: tuple[Any, Any]) -> Spans:
    """All of these together, in order and apart; what is empty is nowhere."""
    many = tuple(one for one in many if len(one[0])) or (NOWHERE,)
    start = many[0][0] if len(many) == 1 else np.concatenate([s for s, _ in many])
    end = many[0][1] if len(many) == 1 else np.concatenate([e for _, e in many])
    real = end > start
    if not real.all():
        start, end = start[real], end[real]
    return union(start, end) if len(start) else NOWHERE


def common(one: Spans, other: Spans) -> Spans:
    """Where both are."""
    low: Any = np.searchsorted(other[1], one[0], "right")
    high = np.searchsorted(other[0], one[1], "left")
    counts = np.maximum(0, high - low)
    mine = np.repeat(np.arange(len(counts)), counts)
    theirs = np.arange(len(mine)) - np.repeat(np.cumsum(counts) - counts, counts) + low[mine]
    return np.maximum(one[0][mine], other[0][theirs]), np.minimum(one[1][mine], other[1][theirs])


def without(one: Spans, other: Spans) -> Spans:
    """Where the first is and the second is not."""
    if not len(one[0]) or not len(other[0]):
        return one
    far = np.iinfo(np.int64).max
    begins, ends = np.append(-far, other[1]), np.append(other[0], far)
    real = ends > begins
    return common(one, (begins[real], ends[real]))


def length(some: Spans) -> int:
    """Nanoseconds of them."""
    return int((some[1] - some[0]).sum())
