"""A part of a trace as a picture, by matplotlib: lanes over one axis of time, as a profiler's timeline shows them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import pairwise
from typing import IO, Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path
from matplotlib.ticker import FuncFormatter, MaxNLocator

from knnscope.report.lane_colours import COLOURS, LIGHT, SEEN, THIN, pale
from knnscope.trace.excerpt import Window, inside
from knnscope.trace.lanes import LABELS, Lane, busy, lanes, unit_of
from knnscope.trace.model import Trace
from knnscope.trace.rows import CALL_TONES, PHASE_TONES
from knnscope.units import about, decimal_size, duration, short

WIDTH, HEIGHT, DPI = 1600, 700, 100
LEFT, RIGHT, TOP, BOTTOM = 250, 26, 92, 84
"""Pixels around the lanes."""
BLOCK, LEAST, GAP = 76, 26, 14
"""Pixels of a block's height at most and at least, and between lanes."""
TALLEST = 1600
INK, QUIET, GRID, FOCUS = "#1b1b1b", "#5c5c5c", "#dcdcdc", "#fff3c4"
GPUS = 4
"""GPUs whose share is written above the picture."""
ANGLE, APART = 40, 21
"""Degrees of names that stand above their blocks and would overlap lying, and the pixels from one to the next."""


def draw(trace: Trace, window: Window, file: IO[bytes], form: str) -> tuple[int, int]:
    """Draw the window as ``png`` or ``svg``; returns the picture's width and height in pixels."""
    pixels = WIDTH - LEFT - RIGHT
    rows = lanes(trace, window, pixels)
    style = {"svg.fonttype": "none", "svg.hashsalt": "knnscope", "font.size": 10, "path.simplify": False}
    with warnings.catch_warnings(), mpl.rc_context(style):  # type: ignore[arg-type,unused-ignore]
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a name in a script that the font lacks
        sheet = Sheet(window, trace.span[0], rows)
        sheet.lanes()
        sheet.head(trace)
        sheet.foot()
        with_date: dict[str, Any] = {"Date": None} if form == "svg" else {}
        sheet.figure.savefig(file, format=form, dpi=DPI, metadata=with_date)
    return WIDTH, sheet.height


class Ink(NamedTuple):
    """A colour, and the order of drawing: what is higher lies above."""

    colour: str
    order: int


class Sheet:
    """One picture being drawn; down the page in pixels, along it in units of time since the trace's first event."""

    def __init__(self, window: Window, origin: int, rows: list[Lane]) -> None:
        self.window, self.origin, self.rows = window, origin, rows
        self.unit, self.size = unit_of(window.high - window.low)
        self.low, self.high = ((t - origin) / self.size for t in (window.low, window.high))
        self.pixel = (self.high - self.low) / (WIDTH - LEFT - RIGHT)
        self.figure = Figure(figsize=(WIDTH / DPI, HEIGHT / DPI), dpi=DPI, facecolor="white")
        self.renderer: Any = FigureCanvasAgg(self.figure).get_renderer()  # type: ignore[no-untyped-call,unused-ignore]
        self.labels = [_place(self, lane) for lane in rows]
        above = sum(label.room for label in self.labels)
        spare = HEIGHT - TOP - BOTTOM - above - GAP * (len(rows) + 1)
        self.block = max(LEAST, min(BLOCK, spare // max(len(rows), 1)))
        used = above + GAP * (len(rows) + 1) + self.block * len(rows)
        self.height = min(TALLEST, TOP + BOTTOM + max(used, 120))
        self.depth = self.height - TOP - BOTTOM
        self.figure.set_size_inches(WIDTH / DPI, self.height / DPI)
        place = (LEFT / WIDTH, BOTTOM / self.height, (WIDTH - LEFT - RIGHT) / WIDTH, self.depth / self.height)
        self.axes: Axes = self.figure.add_axes(place)
        self._axes()

    def _axes(self) -> None:
        axes = self.axes
        axes.set_xlim(self.low, self.high)
        axes.set_ylim(self.depth, 0)
        axes.set_yticks([])
        for side in ("top", "left", "right"):
            axes.spines[side].set_visible(False)
        axes.spines["bottom"].set_color(QUIET)
        axes.xaxis.set_major_locator(MaxNLocator(10, steps=[1, 2, 5, 10]))
        ticks = axes.get_xticks()
        step = float(ticks[1] - ticks[0]) if len(ticks) > 1 else 1.0
        decimals = max(0, min(9, -int(np.floor(np.log10(step) + 1e-9)))) if step > 0 else 0
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.{decimals}f}"))
        axes.tick_params(axis="x", colors=INK, labelsize=10)
        axes.grid(axis="x", color=GRID, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.set_xlabel(f"{self.unit} since the trace's first event", fontsize=10, color=INK)
        if self.window.focus:
            begin, end = self.times(np.asarray(self.window.focus))
            axes.add_patch(Rectangle((begin, 0), end - begin, self.depth, facecolor=FOCUS, edgecolor="none", zorder=0))

    def times(self, values: Any) -> Any:
        """Nanoseconds of the trace in units of the axis."""
        return (values - self.origin) / self.size

    def measure(self, text: str, size: float) -> float:
        """Pixels that the text is wide."""
        return float(self.renderer.get_text_width_height_descent(text, FontProperties(size=size), False)[0])

    def fitted(self, text: str, size: float, width: float) -> str:
        """The text, cut to a width in pixels; "" where next to nothing of it fits."""
        whole = self.measure(text, size)
        if whole <= width:
            return text
        keep = int(len(text) * width / whole) - 1
        while keep > 3 and self.measure(short(text, keep), size) > width:
            keep -= 1
        return short(text, keep) if keep > 3 else ""

    def text(self, x: float, y: float, text: str, **style: Any) -> None:
        """Text on the page, in pixels from its upper left; never read as a formula."""
        self.figure.text(x / WIDTH, 1 - y / self.height, text, parse_math=False, **style)

    def lanes(self) -> None:
        """Every lane, its name and figures to the left."""
        y = float(GAP)
        for lane, labels in zip(self.rows, self.labels, strict=True):
            y += labels.room
            self._blocks(lane, y)
            labels.draw(self, lane, y)
            middle = TOP + y + self.block / 2
            style = {"ha": "right", "va": "center"}
            self.text(LEFT - 14, middle - 9, lane.title, fontsize=11, weight="bold", color=INK, **style)
            self.text(LEFT - 14, middle + 9, self._figures(lane), fontsize=8.5, color=QUIET, **style)
            y += self.block + GAP

    def _figures(self, lane: Lane) -> str:
        if not lane.drawn:
            return "none here"
        share = lane.busy / (self.window.high - self.window.low)
        moved = f" · {decimal_size(lane.nbytes)}" if lane.nbytes else ""
        return f"{lane.drawn:,}{moved} · {duration(lane.busy)} ({about(share)})"

    def _blocks(self, lane: Lane, y: float) -> None:
        left, right = self.times(lane.start), self.times(lane.end)
        thin = THIN * self.pixel
        right = np.minimum(np.maximum(right, left + thin), self.high)
        left = np.minimum(left, right - thin)
        for tone, colour in enumerate(COLOURS[lane.group]):
            mine = lane.tone == tone
            if not mine.any():
                continue
            partly = mine & (lane.share < 1)
            if partly.any():
                sides = left[partly], right[partly]
                self._boxes(sides, y, np.full(partly.sum(), self.block), Ink(pale(colour), 2))
            height = np.maximum(lane.share * self.block, SEEN)
            self._boxes((left[mine], right[mine]), y, height[mine], Ink(colour, 3))
        wide = lane.share >= 1
        if 1 < wide.sum() < 2000:  # where one ends and the next begins
            edges = left[wide][(right - left)[wide] > 5 * self.pixel]
            self.axes.vlines(edges, y, y + self.block, color="white", linewidth=0.8, zorder=4)

    def _boxes(self, sides: tuple[Any, Any], y: float, height: Any, ink: Ink) -> None:
        """Boxes on the lane's floor, as one path: a picture of ten thousand stays small, and neighbors show no seam."""
        left, right = sides
        floor = np.full(len(left), y + self.block)
        corners = np.empty((len(left), 5, 2))
        corners[:, :, 0] = np.stack([left, left, right, right, left], 1)
        corners[:, :, 1] = np.stack([floor, floor - height, floor - height, floor, floor], 1)
        codes = np.tile(np.array([Path.MOVETO, *[Path.LINETO] * 3, Path.CLOSEPOLY], dtype=np.uint8), len(left))
        shape = Path(corners.reshape(-1, 2), codes)
        # not add_patch, which looks through every box for limits that the axes have already
        self.axes.add_artist(PathPatch(shape, facecolor=ink.colour, linewidth=0, zorder=ink.order))

    def head(self, trace: Trace) -> None:
        """What is shown, how long it took, how busy the GPU was."""
        low, high = self.window.low, self.window.high
        kernels, copies = (len(inside(e, low, high)) for e in (trace.kernels, trace.copies))
        calls = trace.calls.outer[inside(trace.calls, low, high)].sum()
        name = trace.path.replace("\\", "/").rsplit("/", 1)[-1]
        gpu = f"{trace.gpu.name}{f' and {len(trace.used) - 1} more' if len(trace.used) > 1 else ''}"
        title = self.fitted(f"{gpu}   {name}   {self.window.title}", 14, WIDTH - 60)
        self.text(30, 28, title, fontsize=14, weight="bold", color=INK, va="center")
        facts = (
            f"{duration(high - low)}, of which {_worked(trace, low, high)}:  "
            f"{_count(kernels, 'kernel')}, {_count(copies, 'copy', 'copies')};  {_count(calls, 'API call')}"
        )
        self.text(30, 54, facts, fontsize=11, color=INK, va="center")
        if self.window.focus:
            begin, end = self.window.focus
            said = f"{self.window.focus_title}: {duration(end - begin)}, of which {_worked(trace, begin, end)}"
            middle = float(self.times((begin + end) / 2))
            x = LEFT + (middle - self.low) / self.pixel
            self.text(x, TOP - 8, said, fontsize=10, weight="bold", color="#7a5b00", ha="center", va="center")

    def foot(self) -> None:
        """What colours and heights mean."""
        x, y = 30.0, self.height - 20.0
        for group, names, what in (("calls", CALL_TONES, "API calls:"), ("ranges", PHASE_TONES, "ranges:")):
            used = sorted({int(t) for lane in self.rows if lane.group == group for t in np.unique(lane.tone)})
            if not used:
                continue
            self.text(x, y, what, fontsize=9, color=QUIET, va="center")
            x += self.measure(what, 9) + 10
            for tone in used:
                box = Rectangle((x / WIDTH, 1 - (y + 6) / self.height), 14 / WIDTH, 12 / self.height)
                box.set(facecolor=COLOURS[group][tone], edgecolor="none", transform=self.figure.transFigure)
                self.figure.add_artist(box)
                self.text(x + 19, y, names[tone], fontsize=9, color=INK, va="center")
                x += self.measure(names[tone], 9) + 36
            x += 14
        if any((lane.share < 1).any() for lane in self.rows):
            said = "pale: events shorter than a pixel; dark: the share of time they cover"
            self.text(WIDTH - RIGHT, y, said, fontsize=9, color=QUIET, ha="right", va="center")


class Labels:
    """Names of a lane's blocks: inside those that are wide enough, above the others if the lane has few."""

    def __init__(
        self, within: Sequence[tuple[int, str]], above: Sequence[tuple[int, str]], angle: int, room: int
    ) -> None:
        self.within, self.above, self.angle, self.room = within, above, angle, room

    def draw(self, sheet: Sheet, lane: Lane, y: float) -> None:
        """Write them."""
        for i, text in self.within:
            left, right = sheet.times(lane.start[i]), sheet.times(lane.end[i])
            colour = COLOURS[lane.group][int(lane.tone[i])]
            ink = INK if colour in LIGHT else "white"
            at = (left + right) / 2, y + sheet.block / 2
            sheet.axes.text(*at, text, fontsize=9, color=ink, ha="center", va="center", parse_math=False, zorder=5)
        for i, text in self.above:
            middle = (sheet.times(lane.start[i]) + sheet.times(lane.end[i])) / 2
            style: dict[str, Any] = {"rotation": self.angle, "rotation_mode": "anchor"} if self.angle else {}
            ha = "left" if self.angle else "center"
            sheet.axes.text(
                *(middle, y - 4, text), fontsize=8.5, color=INK, ha=ha, va="bottom", parse_math=False, zorder=5, **style
            )


def _place(sheet: Sheet, lane: Lane) -> Labels:
    """Which blocks are named where; what would overlap is left out, the iteration that the picture is about coming first."""
    named = [i for i, text in enumerate(lane.label) if text]
    pixels = {i: float(lane.end[i] - lane.start[i]) / sheet.size / sheet.pixel for i in named}
    within, above = [], []
    for i in named:
        if lane.share[i] < 1 or pixels[i] < 30:
            above.append(i)
            continue
        text = _timed(lane.label[i], int(lane.took[i]))
        if lane.group == "ranges":
            text = sheet.fitted(text, 9, pixels[i] - 8)
        elif sheet.measure(text, 9) > pixels[i] - 8:
            text = lane.label[i] if sheet.measure(lane.label[i], 9) <= pixels[i] - 8 else ""
        if text:
            within.append((i, text))
        else:
            above.append(i)
    if lane.group == "ranges" or lane.drawn > LABELS or not above:
        return Labels(within, [], 0, 0)
    texts = {i: short(lane.label[i], 30) for i in above}
    at = {i: float((lane.start[i] + lane.end[i]) / 2 - sheet.window.low) / sheet.size / sheet.pixel for i in above}
    lying = all(
        at[b] - at[a] > (sheet.measure(texts[a], 8.5) + sheet.measure(texts[b], 8.5)) / 2 + 6
        for a, b in pairwise(above)
    ) and all(
        at[i] - width / 2 > -LEFT / 3 and at[i] + width / 2 < WIDTH - LEFT - 4
        for i in (above[0], above[-1])
        for width in [sheet.measure(texts[i], 8.5)]
    )
    if lying:
        return Labels(within, [(i, texts[i]) for i in above], 0, 18)
    low, high = sheet.window.focus or (sheet.window.low, sheet.window.high)
    chosen: list[int] = []
    for i in sorted(above, key=lambda i: (not low <= lane.start[i] <= high, -pixels[i])):
        room = (WIDTH - RIGHT - LEFT + 18 - at[i]) / np.cos(np.radians(ANGLE))
        texts[i] = sheet.fitted(texts[i], 8.5, room)
        if texts[i] and all(abs(at[i] - at[j]) >= APART for j in chosen):
            chosen.append(i)
    tall = max((sheet.measure(texts[i], 8.5) for i in chosen), default=0.0) * np.sin(np.radians(ANGLE)) + 16
    return Labels(within, [(i, texts[i]) for i in chosen], ANGLE, int(tall))


def _timed(label: str, ns: int) -> str:
    """The name with its duration, before what a range says of its shape."""
    words = label.split(" ")
    at = next((i for i, word in enumerate(words) if "=" in word and i), len(words))
    return " ".join([*words[:at], f"({duration(ns)})", *words[at:]])


def _worked(trace: Trace, low: int, high: int) -> str:
    """How busy each GPU was; of many, those with most work."""
    many = len(trace.used) > 1
    parts = []
    for gpu in sorted(trace.used[:GPUS]) or [0]:
        ns = busy(trace, low, high, gpu)
        parts.append(f"{f'GPU {gpu}' if many else 'the GPU'} worked {duration(ns)} ({about(ns / max(high - low, 1))})")
    return ", ".join(parts)


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"
