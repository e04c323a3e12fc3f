"""Which calls started what, which events lie inside others of their thread, and which ranges in a library's domain."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Collection
from typing import Any

import numpy as np

from knnscope.trace.model import UNKNOWN
from knnscope.trace.windows import outermost, process_of

CHUNK = 1 << 15


def launches(keys_of_calls: Any, keys: Any) -> Any:
    """For each key the first call that has it, or ``UNKNOWN``; calls are in order of start, and key 0 is none."""
    found = np.full(len(keys), UNKNOWN, dtype=np.int32)
    if not len(keys_of_calls) or not len(keys):
        return found
    order = None if (keys_of_calls[1:] >= keys_of_calls[:-1]).all() else np.argsort(keys_of_calls, kind="stable")
    known = keys_of_calls if order is None else keys_of_calls[order]
    for low in range(0, len(keys), 1 << 20):  # a long trace is not held twice
        some = keys[low : low + (1 << 20)]
        places = np.minimum(np.searchsorted(known, some), len(known) - 1)
        there = (known[places] == some) & (some > 0)
        found[low : low + (1 << 20)] = np.where(there, places if order is None else order[places], UNKNOWN)
    return found


def outer_of(start: Any, end: Any, thread: Any) -> Any:
    """Which events lie inside no earlier one of their thread; in order of ``start``."""
    if not len(start):
        return np.zeros(0, dtype=bool)
    ties = bool(((start[1:] == start[:-1]) & (end[1:] > end[:-1])).any())
    if not ties and (thread == thread[0]).all():
        return outermost(end, thread)
    order = np.lexsort((-end, start, thread)) if ties else np.argsort(thread, kind="stable")
    found = np.empty(len(start), dtype=bool)
    found[order] = outermost(end[order], thread[order])
    return found


def depth_of(start: Any, end: Any, thread: Any) -> Any:
    """How many events of the same thread enclose each; events are in order of ``start``, and of equal starts the longer counts as outer."""
    depth = np.zeros(len(start), dtype=np.int32)
    if not len(start):
        return depth
    if (thread == thread[0]).all():
        _nest(start, end, depth)
        return depth
    order = np.argsort(thread, kind="stable")
    owner = thread[order]
    edges = np.flatnonzero(np.concatenate(([True], owner[1:] != owner[:-1], [True])))
    for i in np.flatnonzero(np.diff(edges) > 1).tolist():
        mine = order[edges[i] : edges[i + 1]]
        found = np.zeros(len(mine), dtype=np.int32)
        _nest(start[mine], end[mine], found)
        depth[mine] = found
    return depth


def outside(thread: Any, domain: Any, programs: Collection[tuple[int, int]]) -> Any:
    """Which ranges lie in a domain that is a library's, or nobody knows whose; domain 0 is always the program's.

    Args:
        thread: of each range, a global id.
        domain: of each range.
        programs: process and number of the other domains that are the program's.
    """
    found: Any = domain != 0
    if programs and found.any():
        numbers, place = np.unique(domain, return_inverse=True)
        pairs, back = np.unique(place << 24 | process_of(thread), return_inverse=True)
        known = frozenset(programs)
        ours = [(pair & 0xFFFFFF, int(numbers[pair >> 24])) in known for pair in pairs.tolist()]
        found &= ~np.asarray(ours)[back]
    return found


def _nest(start: Any, end: Any, depth: Any) -> None:
    """``depth_of`` one thread's events."""
    place = None
    if ((start[1:] == start[:-1]) & (end[1:] > end[:-1])).any():
        place = np.lexsort((-end, start))
        start, end = start[place], end[place]
    # most calls enclose nothing and follow each other: only those that begin before an earlier end need the stack
    nested = np.zeros(len(start), dtype=bool)
    nested[1:] = start[1:] < np.maximum.accumulate(end)[:-1]
    nested[:-1] |= nested[1:]
    which = np.flatnonzero(nested)
    open_ends: list[int] = []
    for low in range(0, len(which), CHUNK):
        some = which[low : low + CHUNK]
        found = []
        for begin, stop in zip(start[some].tolist(), end[some].tolist(), strict=True):
            # ranges that begin and end anywhere may overlap: what has ended is gone, what ends earlier does not enclose
            del open_ends[: bisect_right(open_ends, begin)]
            found.append(len(open_ends) - bisect_left(open_ends, stop))
            insort(open_ends, stop)
            if len(open_ends) > 1000:  # no program nests so deep
                del open_ends[0]
        depth[some if place is None else place[some]] = found
