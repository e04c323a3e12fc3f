"""Arithmetic on intervals: unions, what overlaps, what lies between. All pure; a part at a time, so that a long trace is not copied."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

CHUNK = 1 << 17
"""Intervals of a part: what is computed with at once stays in a processor's cache."""
FEW = 1 << 10
"""Intervals that are not worth packing."""
Spans = tuple[Any, Any]
"""Intervals in order and apart from each other: where they begin, and where they end."""
NOWHERE: Spans = (np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))


def parts(*many: tuple[Any, Any]) -> Iterator[Spans]:
    """The times that any of these intervals covers, in order and apart from each other, in parts.

    An interval that ends where the next begins is one with it.

    Args:
        *many: starts and ends; each pair is merged with the others as it is read, so those in order of start are not copied.
    """
    open_start: Any = None  # the last interval so far, which the next part may lengthen
    open_end: Any = None
    for begins, ends in _merged([_sorted(start, end) for start, end in many if len(start)]):
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


def _sorted(start: Any, end: Any) -> tuple[Any, Any]:
    if (start[1:] >= start[:-1]).all():
        return start, end
    order = np.argsort(start, kind="stable")
    return start[order], end[order]


def _merged(many: list[tuple[Any, Any]]) -> Iterator[tuple[Any, Any]]:
    """The intervals of several columns, each in order of start, together in order of start, in parts."""
    places = [0] * len(many)
    while any(place < len(start) for place, (start, _) in zip(places, many, strict=True)):
        # up to the nearest start that is a part's length ahead: no column has more before it
        ahead = [start[p + CHUNK] for p, (start, _) in zip(places, many, strict=True) if p + CHUNK < len(start)]
        some = []
        for i, (start, end) in enumerate(many):
            stop = len(start)
            if ahead:
                stop = places[i] + int(np.searchsorted(start[places[i] :], min(ahead), "right"))
            if stop > places[i]:
                some.append((start[places[i] : stop], end[places[i] : stop]))
            places[i] = stop
        if len(some) == 1:
            yield some[0]
            continue
        begins, ends = (np.concatenate(column) for column in zip(*some, strict=True))
        order = np.argsort(begins, kind="stable")
        yield begins[order], ends[order]


def collected(stream: Iterable[Spans]) -> Spans:
    """Parts in one piece."""
    lows, highs = [], []
    for begins, ends in stream:
        lows.append(begins)
        highs.append(ends)
    return (_joined(lows), _joined(highs)) if lows else NOWHERE


def _joined(pieces: list[Any]) -> Any:
    """Columns in one piece; each goes as soon as it is copied."""
    whole = np.empty(sum(map(len, pieces)), dtype=np.int64)
    pieces.reverse()
    first = 0
    while pieces:
        piece = pieces.pop()
        whole[first : first + len(piece)] = piece
        first += len(piece)
    return whole


def total(stream: Iterable[Spans]) -> int:
    """Nanoseconds of all parts together."""
    return sum(length(part) for part in stream)


def union(start: Any, end: Any) -> Spans:
    """The times that any of these intervals covers."""
    return collected(parts((start, end)))


def covered(start: Any, end: Any) -> int:
    """Nanoseconds that any of these intervals covers."""
    return total(parts((start, end)))


def gaps(start: Any, end: Any, least: int = 0) -> Spans:
    """What lies between the intervals of a union, where it is as long as ``least``."""
    lows, highs, last = [], [], None
    for begins, ends in parts((start, end)):
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
        int(np.maximum(0, np.minimum(ends, high) - np.maximum(begins, low)).sum())
        for begins, ends in parts((start, end))
    )


def within(start: Any, low: int, high: int) -> slice:
    """Which of the starts, in order, lie inside [low, high)."""
    return slice(int(np.searchsorted(start, low, "left")), int(np.searchsorted(start, high, "left")))


def spans(*many: tuple[Any, Any]) -> Spans:
    """All of these together, in order and apart; what is empty is nowhere."""
    return collected(real_parts(*many))


def real_parts(*many: tuple[Any, Any]) -> Iterator[Spans]:
    """``spans`` in parts."""
    return parts(*(_real(start, end) for start, end in many))


def _real(start: Any, end: Any) -> tuple[Any, Any]:
    real = end > start
    return (start, end) if real.all() else (start[real], end[real])


def common(one: Spans, other: Spans) -> Spans:
    """Where both are."""
    return collected(common_parts(one, other))


def common_parts(one: Spans, other: Spans) -> Iterator[Spans]:
    """``common`` in parts."""
    if len(one[0]) < len(other[0]):
        one, other = other, one
    for first in range(0, len(one[0]), CHUNK):
        start, end = one[0][first : first + CHUNK], one[1][first : first + CHUNK]
        near = slice(int(np.searchsorted(other[1], start[0], "right")), int(np.searchsorted(other[0], end[-1], "left")))
        begins, ends = other[0][near], other[1][near]
        low: Any = np.searchsorted(ends, start, "right")
        high = np.searchsorted(begins, end, "left")
        counts = np.maximum(0, high - low)
        mine = np.repeat(np.arange(len(counts)), counts)
        theirs = np.arange(len(mine)) - np.repeat(np.cumsum(counts) - counts, counts) + low[mine]
        if len(mine):
            yield np.maximum(start[mine], begins[theirs]), np.minimum(end[mine], ends[theirs])


def without(one: Spans, other: Spans) -> Spans:
    """Where the first is and the second is not."""
    if not len(one[0]) or not len(other[0]):
        return one
    return collected(without_parts(one, sliced(other)))


def without_parts(one: Spans, other: Iterable[Spans]) -> Iterator[Spans]:
    """Where the first is and none of the parts of the other is, in parts."""
    far = np.iinfo(np.int64).max
    last: Any = -far
    for start, end in other:
        if len(start):
            yield from _inside(one, np.append(last, end[:-1]), start)
            last = end[-1]
    yield from _inside(one, np.asarray([last]), np.asarray([far]))


def _inside(one: Spans, begins: Any, ends: Any) -> Iterator[Spans]:
    """What of the first lies between these beginnings and ends, some of which are equal."""
    real = ends > begins
    low, high = begins[real], ends[real]
    if len(low):
        near = slice(int(np.searchsorted(one[1], low[0], "right")), int(np.searchsorted(one[0], high[-1], "left")))
        yield from common_parts((one[0][near], one[1][near]), (low, high))


def sliced(some: Spans) -> Iterator[Spans]:
    """Intervals in parts."""
    for first in range(0, len(some[0]), CHUNK):
        yield some[0][first : first + CHUNK], some[1][first : first + CHUNK]


@dataclass(frozen=True, slots=True)
class Packed:
    """Intervals in half the memory: the first beginning, then 32-bit lengths and gaps between them."""

    first: int
    lengths: Any
    gaps: Any

    def spans(self) -> Spans:
        """As they were."""
        start = np.empty(len(self.lengths), dtype=np.int64)
        start[0] = self.first
        np.add(self.lengths[:-1], self.gaps, out=start[1:], dtype=np.int64)
        np.cumsum(start, out=start)
        return start, start + self.lengths


def packed(some: Spans) -> Spans | Packed:
    """The intervals, packed where they are many and all lengths and gaps fit."""
    start, end = some
    if len(start) < max(FEW, 2) or max(int((end - start).max()), int((start[1:] - end[:-1]).max())) >= 1 << 32:
        return some
    return Packed(int(start[0]), (end - start).astype(np.uint32), (start[1:] - end[:-1]).astype(np.uint32))


def unpacked(some: Spans | Packed) -> Spans:
    """The intervals."""
    return some.spans() if isinstance(some, Packed) else some


def length(some: Spans) -> int:
    """Nanoseconds of them."""
    return int((some[1] - some[0]).sum())


def least(one: Spans, other: Spans, edges: Any) -> int:
    """Of each part of the time the smaller of both lengths, added up; ``edges`` are where parts begin."""
    return int(np.minimum(_by_part(one, edges), _by_part(other, edges)).sum())


def _by_part(some: Spans, edges: Any) -> Any:
    """Nanoseconds before the first edge, between each and the next, and after the last."""
    start, end = some
    if not len(start):
        return np.zeros(len(edges) + 1, dtype=np.int64)
    before = np.append(0, np.cumsum(end - start))
    place = np.searchsorted(start, edges, "right")
    until = before[place] - np.where(place > 0, np.maximum(0, end[np.maximum(place - 1, 0)] - edges), 0)
    return np.diff(np.concatenate(([0], until, before[-1:])))
