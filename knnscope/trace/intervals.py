"""Arithmetic on intervals: unions, what overlaps, what lies between. All pure; starts in order."""

from __future__ import annotations

from typing import Any

import numpy as np


def union(start: Any, end: Any) -> tuple[Any, Any]:
    """The intervals that are covered at all, in order and apart from each other."""
    if not len(start):
        return start, end
    order = np.argsort(start, kind="stable")
    start, end = start[order], end[order]
    reach = np.maximum.accumulate(end)
    first = np.ones(len(start), dtype=bool)
    first[1:] = start[1:] > reach[:-1]
    places = np.flatnonzero(first)
    return start[places], reach[np.append(places[1:], len(start)) - 1]


def covered(start: Any, end: Any) -> int:
    """Nanoseconds that are covered at all."""
    begins, ends = union(start, end)
    return int((ends - begins).sum())


def gaps(start: Any, end: Any) -> tuple[Any, Any]:
    """What lies between the intervals of a union."""
    begins, ends = union(start, end)
    return ends[:-1], begins[1:]


def overlap(start: Any, end: Any, low: int, high: int) -> int:
    """Nanoseconds of a union inside [low, high)."""
    begins, ends = union(start, end)
    return int(np.maximum(0, np.minimum(ends, high) - np.maximum(begins, low)).sum())


def within(start: Any, low: int, high: int) -> slice:
    """Which of the starts, in order, lie inside [low, high)."""
    return slice(int(np.searchsorted(start, low, "left")), int(np.searchsorted(start, high, "left")))
