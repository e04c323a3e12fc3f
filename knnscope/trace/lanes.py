"""A part of a trace as rows of blocks: events closer together than a pixel become one. Pure; nothing is drawn here.

Which part it is says excerpt.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from knnscope.annotate import PHASES, PREFIX
from knnscope.trace.excerpt import Window, inside
from knnscope.trace.intervals import covered, union
from knnscope.trace.model import (
    PAGED_BACK,
    PAGED_BETWEEN,
    PAGED_UP,
    PEER,
    TO_DEVICE,
    TO_HOST,
    UNKNOWN,
    WITHIN_DEVICE,
    Copies,
    Events,
    Ints,
    Trace,
    Work,
)
from knnscope.units import decimal_size

COPIES = (
    ("host to device", (TO_DEVICE,)),
    ("device to host", (TO_HOST,)),
    ("within the GPU", (WITHIN_DEVICE,)),
    ("between GPUs", (PEER,)),
    ("pages to device", (PAGED_UP,)),
    ("pages to host", (PAGED_BACK,)),
    ("pages between GPUs", (PAGED_BETWEEN,)),
    ("fills", (UNKNOWN,)),
)
OTHER_COPIES = "other copies"
CALLS = (
    ("launch", re.compile("launch", re.IGNORECASE)),
    ("copy", re.compile("memcpy|memset", re.IGNORECASE)),
    ("wait", re.compile("synchronize|query|wait", re.IGNORECASE)),
    ("memory", re.compile("alloc|free|hostregister", re.IGNORECASE)),
)
CALL_TONES = (*(name for name, _ in CALLS), "other call")
"""What a call does; tones of the lanes of calls."""
PHASE_TONES = (*PHASES, "other range")
"""Tones of the lanes of ranges."""
THREADS = 4
"""Threads with a lane of their own; the others share one."""
STREAMS = 4
"""Streams of a GPU with a lane of their own; the others share one."""
DEPTHS = 3
"""Nested ranges that are shown."""
LABELS = 60
"""A lane of more events names only those that are wide enough for it."""


@dataclass(frozen=True, slots=True)
class View:
    """A window, and how many pixels wide it is drawn."""

    window: Window
    pixels: int

    @property
    def pixel(self) -> float:
        """Nanoseconds of a pixel."""
        return (self.window.high - self.window.low) / max(self.pixels, 1)


@dataclass(frozen=True, slots=True)
class Lane:
    """A row of blocks, in order of ``start`` and cut to the window.

    share: how much of a block's time is covered; below 1 where it is a pixel with shorter events. tone: what it is, within its group.
    label: "" for several events. took: nanoseconds of the whole event. drawn: events in the window. busy: what they cover of it.
    """

    title: str
    group: str
    start: Ints
    end: Ints
    share: Any
    tone: Ints
    label: tuple[str, ...]
    took: Ints
    drawn: int
    busy: int
    nbytes: int = 0


def lanes(trace: Trace, window: Window, pixels: int) -> list[Lane]:
    """Every lane of which the trace has anything, from the host's ranges down to the GPU's kernels."""
    view = View(window, pixels)
    return [*_ranges(trace, view), *_calls(trace, view), *_gpu(trace, view)]


def busy(trace: Trace, low: int, high: int, gpu: int) -> int:
    """Nanoseconds in which a kernel, copy or fill was under way on this GPU."""
    parts = [
        (np.maximum(e.start[chosen], low), np.minimum(e.end[chosen], high))
        for e in (trace.kernels, trace.copies)
        for near in [inside(e, low, high)]
        for chosen in [near[_of(trace, e, gpu)[near]]]
    ]
    return covered(np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts]))


def _ranges(trace: Trace, view: View) -> list[Lane]:
    ranges, found = trace.ranges, []
    tones = np.asarray([_phase_of(name) for name in trace.names] or [0], dtype=np.int64)
    chosen = inside(ranges, view.window.low, view.window.high)
    for depth in range(min(int(ranges.depth.max()) + 1, DEPTHS) if len(ranges) else 0):
        mine = chosen[ranges.depth[chosen] == depth]
        labels = _Names(trace.names, ranges.name)
        title = "NVTX ranges" if depth == 0 else f"nested ranges {depth}" if depth > 1 else "nested ranges"
        found.append(_lane(Row(title, "ranges", labels), ranges, mine, tones[ranges.name[mine]], view))
    return found


def _calls(trace: Trace, view: View) -> list[Lane]:
    calls, found = trace.calls, []
    tones = np.asarray([_call_of(name) for name in trace.names] or [0], dtype=np.int64)
    threads, counts = np.unique(calls.thread[calls.outer], return_counts=True)
    threads = threads[np.argsort(-counts, kind="stable")]
    chosen = inside(calls, view.window.low, view.window.high)
    chosen = chosen[calls.outer[chosen]]
    for i, thread in enumerate(threads[: THREADS + 1]):
        rest = i == THREADS
        mine = chosen[np.isin(calls.thread[chosen], threads[THREADS:] if rest else [thread])]
        many = len(threads) > 1
        title = f"API, {len(threads) - THREADS:,} other threads" if rest else f"API, thread {int(thread) & 0xFFFFFF}"
        labels = _Names(trace.names, calls.name)
        title = title if many else "CUDA API calls"
        found.append(_lane(Row(title, "calls", labels), calls, mine, tones[calls.name[mine]], view))
    return found


def _gpu(trace: Trace, view: View) -> list[Lane]:
    """Of each GPU its copies by kind and its kernels; where it ran on several streams, a lane for each, the busiest first."""
    found = []
    kinds_known = [kind for _, kinds in COPIES for kind in kinds]
    for gpu in sorted(trace.used):
        of = f"GPU {gpu}: " if len(trace.used) > 1 else ""
        copies = _of(trace, trace.copies, gpu)
        chosen = inside(trace.copies, view.window.low, view.window.high)
        for title, kinds in (*COPIES, (OTHER_COPIES, ())):
            mask = copies & (np.isin(trace.copies.kind, kinds) if kinds else ~np.isin(trace.copies.kind, kinds_known))
            if mask.any():
                mine = chosen[mask[chosen]]
                tones = np.zeros(len(mine), dtype=np.int64)
                found.append(_lane(Row(of + title, title, _Sizes(trace.copies)), trace.copies, mine, tones, view))
        found += _kernels(trace, view, gpu, of)
    return found


def _of(trace: Trace, events: Work, gpu: int) -> Any:
    mask = np.zeros(len(events), dtype=bool)
    mask[trace.on(events, gpu)] = True
    return mask


def _kernels(trace: Trace, view: View, gpu: int, of: str) -> Iterator[Lane]:
    kernels = trace.kernels
    mine = np.flatnonzero(_of(trace, kernels, gpu))
    numbers, places = np.unique(kernels.lane[mine], return_inverse=True)
    spent = np.bincount(places, kernels.duration[mine], len(numbers))
    order = np.argsort(-spent, kind="stable")
    chosen = inside(kernels, view.window.low, view.window.high)
    labels = _Names(trace.names, kernels.name)
    for i, place in enumerate(order[: STREAMS + 1].tolist()):
        rest = i == STREAMS
        some = numbers[order[STREAMS:]] if rest else numbers[place : place + 1]
        stream = f", stream {trace.lanes[int(some[0])].stream}" if len(numbers) > 1 else ""
        title = f"{of}kernels, {len(numbers) - STREAMS:,} other streams" if rest else f"{of}kernels{stream}"
        shown = chosen[np.isin(kernels.lane[chosen], some)]
        tones = np.zeros(len(shown), dtype=np.int64)
        yield _lane(Row(title, "kernels", labels), kernels, shown, tones, view)


class _Names:
    """Labels of events by their names."""

    def __init__(self, names: tuple[str, ...], numbers: Ints) -> None:
        self.names, self.numbers = names, numbers

    def of(self, event: int) -> str:
        name: str = self.names[self.numbers[event]]
        return name.removeprefix(PREFIX)


class _Sizes:
    """Labels of copies by their bytes."""

    def __init__(self, copies: Copies) -> None:
        self.nbytes = copies.nbytes

    def of(self, event: int) -> str:
        return decimal_size(int(self.nbytes[event]))


class Row(NamedTuple):
    """A lane before its blocks are known."""

    title: str
    group: str
    labels: _Names | _Sizes


class _Blocks(NamedTuple):
    """Beginnings, ends, tones, and numbers of the events."""

    start: Any
    end: Any
    tone: Any
    which: Any

    def where(self, mask: Any) -> _Blocks:
        return _Blocks(*(column[mask] for column in self))


def _lane(row: Row, events: Events, mine: Any, tones: Any, view: View) -> Lane:
    """Blocks of these events (their numbers): a pixel and wider each by itself, narrower ones together by pixel."""
    window, labels = view.window, row.labels
    start = np.maximum(events.start[mine].astype(np.int64), window.low)
    end = np.minimum(events.end[mine].astype(np.int64), window.high)
    blocks = _Blocks(start, end, tones, mine)
    wide = end - start >= view.pixel
    parts = [_alone(blocks.where(wide), view.pixels), _merged(blocks.where(~wide), window.low, view.pixel)]
    first, last, share, tone, which = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.argsort(first, kind="stable")
    names = tuple(labels.of(i) if i >= 0 else "" for i in which[order].tolist())
    lengths = events.end[which[order]] - events.start[which[order]] if len(which) else which
    nbytes = int(events.nbytes[mine].sum()) if isinstance(events, Copies) else 0
    first, last, share, tone = (column[order] for column in (first, last, share, tone))
    return Lane(row.title, row.group, first, last, share, tone, names, lengths, len(mine), covered(start, end), nbytes)


def _alone(blocks: _Blocks, pixels: int) -> tuple[Any, ...]:
    start, end, tone, which = blocks
    if len(start) > 2 * pixels:  # more than fit side by side: they overlap
        start, end = union(start, end)
        tone = np.full(len(start), tone[0])
        which = np.full(len(start), -1)
    return start, end, np.ones(len(start)), tone, which


def _merged(blocks: _Blocks, low: int, pixel: float) -> tuple[Any, ...]:
    """Events by the pixel in which they begin; the tone is that of most of the time."""
    start, end, tone, which = blocks
    if not len(start):
        return start, end, np.ones(0), tone, which
    pixel_of, group = np.unique(((start - low) / pixel).astype(np.int64), return_inverse=True)
    counts = np.bincount(group)
    time = np.maximum(end - start, 1).astype(np.float64)
    tones = int(tone.max()) + 1
    by_tone = np.bincount(group * tones + tone, time, len(pixel_of) * tones).reshape(-1, tones)
    begins = np.full(len(pixel_of), np.iinfo(np.int64).max)
    ends = np.zeros(len(pixel_of), dtype=np.int64)
    np.minimum.at(begins, group, start)
    np.maximum.at(ends, group, end)
    single = counts == 1
    # several are spread over all of their pixel, so that neighbors touch
    begins = np.where(single, begins, (low + pixel_of * pixel).astype(np.int64))
    ends = np.where(single, ends, (low + (pixel_of + 1) * pixel).astype(np.int64))
    share = np.minimum(1.0, by_tone.sum(1) / pixel)
    member = np.zeros(len(pixel_of), dtype=np.int64)
    member[group] = which
    return begins, ends, share, by_tone.argmax(1), np.where(single, member, -1)


def _call_of(name: str) -> int:
    return next((i for i, (_, pattern) in enumerate(CALLS) if pattern.search(name)), len(CALLS))


def _phase_of(name: str) -> int:
    own = name.removeprefix(PREFIX)
    return next((i for i, what in enumerate(PHASES) if own.startswith(what)), len(PHASES))


def unit_of(span: float) -> tuple[str, int]:
    """The unit that suits a span, and its nanoseconds."""
    return next(((unit, size) for unit, size in (("s", 10**9), ("ms", 10**6)) if span >= 2 * size), ("µs", 1000))
