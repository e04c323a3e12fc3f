"""A part of a trace as rows of blocks: events closer together than a pixel become one. Pure; nothing is drawn here.

Which part it is says excerpt.py, which events stand in which lane rows.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from knnscope.trace.excerpt import Window, inside
from knnscope.trace.intervals import covered, union
from knnscope.trace.model import Copies, Ints, Trace
from knnscope.trace.rows import Row, on_gpu, rows

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
    """Every lane of which the trace has anything, as blocks of a picture so many pixels wide."""
    view = View(window, pixels)
    return [_lane(row, view) for row in rows(trace, window)]


def busy(trace: Trace, low: int, high: int, gpu: int) -> int:
    """Nanoseconds in which a kernel, copy or fill was under way on this GPU."""
    parts = [
        (np.maximum(e.start[chosen], low), np.minimum(e.end[chosen], high))
        for e in (trace.kernels, trace.copies)
        for near in [inside(e, low, high)]
        for chosen in [near[on_gpu(trace, e, gpu)[near]]]
    ]
    return covered(np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts]))


class _Blocks(NamedTuple):
    """Beginnings, ends, tones, and numbers of the events."""

    start: Any
    end: Any
    tone: Any
    which: Any

    def where(self, mask: Any) -> _Blocks:
        return _Blocks(*(column[mask] for column in self))


def _lane(row: Row, view: View) -> Lane:
    """Blocks of these events: a pixel and wider each by itself, narrower ones together by pixel."""
    window, labels, events, mine = view.window, row.labels, row.events, row.which
    start = np.maximum(events.start[mine].astype(np.int64), window.low)
    end = np.minimum(events.end[mine].astype(np.int64), window.high)
    blocks = _Blocks(start, end, row.tones, mine)
    wide = end - start >= view.pixel
    parts = [_alone(blocks.where(wide), view.pixels), _merged(blocks.where(~wide), window.low, view.pixel)]
    first, last, share, tone, which = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.argsort(first, kind="stable")
    names = tuple(labels.of(i) if i >= 0 else "" for i in which[order].tolist())
    lengths = events.end[which[order]] - events.start[which[order]] if len(which) else which
    nbytes = int(events.nbytes[mine].sum(dtype=np.float64)) if isinstance(events, Copies) else 0
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


def unit_of(span: float) -> tuple[str, int]:
    """The unit that suits a span, and its nanoseconds."""
    return next(((unit, size) for unit, size in (("s", 10**9), ("ms", 10**6)) if span >= 2 * size), ("µs", 1000))
