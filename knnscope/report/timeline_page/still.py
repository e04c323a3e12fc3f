"""The whole window as SVG: what a page shows without JavaScript, or where a browser cannot unpack the events."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any

import numpy as np

from knnscope.report.lane_colours import COLOURS, SEEN, THIN
from knnscope.trace.excerpt import Window
from knnscope.trace.lanes import Lane, lanes, unit_of
from knnscope.trace.model import Trace
from knnscope.units import short

WIDTH, LEFT, BLOCK, STEP, FOOT = 1200, 200, 22, 30, 34
"""Of the picture, of the lanes' names, of a block's height, from lane to lane, and below the lanes."""
TICKS = 8
"""Marks of the axis, about."""
GROUPS = tuple(COLOURS)


def still(trace: Trace, window: Window) -> str:
    """The picture; its colours are classes, ``classes_of`` says which."""
    pixels = WIDTH - LEFT
    rows = lanes(trace, window, pixels)
    height = STEP * len(rows) + FOOT
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="The whole window, a row for each lane">',
        *(line for i, lane in enumerate(rows) for line in _lane(lane, STEP * i + 4, window)),
        *_axis(window, trace.span[0], height - FOOT),
        "</svg>",
    ]
    return "\n".join(parts)


def classes_of(group: str, tone: int) -> str:
    """Class of a colour; with a p before it, of its pale form."""
    return f"c{GROUPS.index(group)}-{tone}"


def _lane(lane: Lane, top: int, window: Window) -> Iterator[str]:
    yield f'<text x="{LEFT - 8}" y="{top + 15}" text-anchor="end">{escape(short(lane.title, 32))}</text>'
    scale = (WIDTH - LEFT) / (window.high - window.low)
    left = LEFT + (lane.start - window.low) * scale
    width = np.maximum((lane.end - lane.start) * scale, THIN)
    left = np.minimum(left, WIDTH - width)
    height = np.where(lane.share >= 1, BLOCK, np.minimum(BLOCK, np.maximum(lane.share * BLOCK, SEEN)))
    for tone in np.unique(lane.tone).tolist():
        mine, name = lane.tone == tone, classes_of(lane.group, tone)
        partly = mine & (lane.share < 1)
        yield from _boxes("p" + name, left[partly], width[partly], np.full(int(partly.sum()), float(BLOCK)), top)
        yield from _boxes(name, left[mine], width[mine], height[mine], top)


def _boxes(name: str, left: Any, width: Any, height: Any, top: int) -> Iterator[str]:
    """Boxes on the lane's floor, of whole pixels, as one path; those of one height that touch are one."""
    if not len(left):
        return
    low, high, tall = (np.round(column).astype(np.int64) for column in (left, left + width, height))
    order = np.argsort(low, kind="stable")
    low, high, tall = low[order], np.maximum(high, low + 1)[order], tall[order]
    first = np.append(True, (low[1:] > high[:-1]) | (tall[1:] != tall[:-1]))
    begins = np.flatnonzero(first)
    low, high, tall = low[begins], np.maximum.reduceat(high, begins), tall[begins]
    boxes = zip(low.tolist(), (high - low).tolist(), tall.tolist(), strict=True)
    shapes = "".join(f"M{x} {top + BLOCK}v-{h}h{w}v{h}z" for x, w, h in boxes)
    yield f'<path class="{name}" d="{shapes}"/>'


def _axis(window: Window, origin: int, top: int) -> Iterator[str]:
    unit, size = unit_of(window.high - window.low)
    low, high = (window.low - origin) / size, (window.high - origin) / size
    step = step_of((high - low) / TICKS)
    decimals = max(0, -int(np.floor(np.log10(step) + 1e-9)))
    for i in range(int(np.ceil(low / step)), int(np.floor(high / step)) + 1):
        x = LEFT + (i * step - low) / (high - low) * (WIDTH - LEFT)
        anchor = "start" if x < LEFT + 30 else "end" if x > WIDTH - 30 else "middle"
        yield f'<path class="tick" d="M{x:.1f} {top}v5"/><text x="{x:.1f}" y="{top + 17}" text-anchor="{anchor}">{i * step:,.{decimals}f}</text>'
    yield f'<text class="quiet" x="{LEFT - 8}" y="{top + 17}" text-anchor="end">{escape(unit)} since the first event</text>'


def step_of(least: float) -> float:
    """The least of 1, 2, 5, 10 and so on that is no smaller."""
    power = 10 ** np.floor(np.log10(least))
    return float(next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least * (1 - 1e-9)))
