"""The pictures of README.md and docs/: SVG that reads on a light and on a dark page, and needs no font of its own."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.figures_page import duration
from knnscope.certified import bound
from knnscope.report.page.palette import BLUE, GREY, ORANGE, look

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
STYLE = (
    "text{font:14px system-ui,'Liberation Sans',Arial,sans-serif;fill:#1b1b1b}.quiet{fill:#5c5c5c}.small{font-size:13px}.title{font-size:16px;font-weight:600}"
    ".grid{stroke:#dcdcdc}.line{stroke:#1b1b1b}.page{fill:#fff}"
    "@media(prefers-color-scheme:dark){text{fill:#e6e6e6}.quiet{fill:#b0b0b0}.grid{stroke:#3a3f46}.line{stroke:#e6e6e6}.page{fill:#16191d}}"
)


def svg(width: int, height: int, said: str, parts: Iterable[str]) -> str:
    """A picture on a ground of its own, since nobody knows what a reader's page is like; ``said`` is for who does not see it."""
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" aria-label="{said}">',
            f"<style>{STYLE}</style>",
            f'<rect class="page" width="{width}" height="{height}" rx="6"/>',
            *parts,
            "</svg>",
            "",
        ]
    )


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "start", colour: str = "") -> str:
    """A line of words; ``colour`` for those that name something drawn in it."""
    fill = f' style="fill:{colour}"' if colour else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}"{fill}>{words}</text>'


def line(x1: float, y1: float, x2: float, y2: float, kind: str = "grid", more: str = "") -> str:
    """A straight line."""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"{more}/>'


def fastest() -> str:
    """Time of a call by engine and batch size, of the run that README.md and docs/figures.md have as a table."""
    run = json.loads((RESULTS / "verdict-wordnet.json").read_text("utf-8"))["runs"][-1]
    times: dict[str, dict[int, dict[str, Any]]] = {}
    for row in run["rows"]:
        if row["cache"] == "hot" and row["k"] == 10 and row["median_ns"]:
            times.setdefault(row["engine"], {})[row["batch"]] = row
    batches = sorted({batch for row in times.values() for batch in row})
    across = _scale(batches[0], batches[-1], 90, 560)
    down = _scale(3e5, 6e10, 400, 64)
    parts = [
        text(24, 32, "Time of a call: 75,000 vectors of 384 components, two cores", "title"),
        *(line(90, down(10.0**e), 560, down(10.0**e)) for e in range(6, 11)),
        *(
            text(80, down(10.0**e) + 5, duration(10.0**e).replace(".00", "").replace("10.0", "10"), "quiet", "end")
            for e in range(6, 11)
        ),
        *(text(across(b), 424, f"{b:,}", "quiet", "middle") for b in batches),
        text(325, 446, "queries in a call", "quiet", "middle"),
    ]
    for engine, cells in sorted(times.items(), key=lambda item: -item[1][batches[-1]]["median_ns"]):
        parts += list(_engine(engine, cells, across, down))
    parts += [
        text(
            24,
            472,
            "Filled: the neighbors of float64. Hollow: right up to float32 rounding only. Both axes are logarithmic.",
            "quiet small",
        ),
    ]
    return svg(760, 488, "Time of a call by engine and number of queries; certified is the fastest at each", parts)


def _engine(
    engine: str, cells: dict[int, dict[str, Any]], across: Callable[[float], float], down: Callable[[float], float]
) -> Iterable[str]:
    """A line with a mark at each batch size, and its name at the end."""
    drawn = look(engine)
    points = [(across(batch), down(row["median_ns"]), row["grade"] == "exact") for batch, row in sorted(cells.items())]
    wide = 3.5 if engine == "certified" else 1.75
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in points)
    yield f'<polyline points="{path}" fill="none" stroke="{drawn.colour}" stroke-width="{wide}"/>'
    for x, y, exact in points:
        fill = f'fill="{drawn.colour}"' if exact else 'class="page"'
        yield f'<path d="{drawn.path}" transform="translate({x:.1f} {y:.1f}) scale(5)" {fill} stroke="{drawn.colour}" stroke-width="0.35"/>'
    x, y, _ = points[-1]
    last = cells[max(cells)]["median_ns"]
    yield text(
        x + 14,
        y + 5,
        f'<tspan font-weight="{"700" if engine == "certified" else "400"}">{engine}</tspan>, {duration(last)}',
    )


def _scale(low: float, high: float, first: float, last: float) -> Callable[[float], float]:
    """A logarithmic axis: from a value to pixels."""
    return lambda value: first + (last - first) * math.log(value / low) / math.log(high / low)


def bounds() -> str:
    """What a code says of a distance, and which rows it excludes: 48 rows and a query in 24 components, with bound.py's own functions."""
    return svg(
        760,
        420,
        "Left: a row and a query lie within known radii around their codes, so their distance is known up to both radii. "
        "Right: the intervals of 48 rows; those that begin beyond the bar are excluded.",
        [*_radii(), *_intervals()],
    )


def _radii() -> Iterable[str]:
    """Two points in circles of known radius around their codes."""
    (px, py, eq), (yx, yy, e) = (84, 250, 34), (262, 170, 52)
    (wx, wy), (zx, zy) = (102, 268), (226, 148)
    yield text(24, 32, "What a code tells of a distance", "title")
    for x, y, r, colour in ((px, py, eq, ORANGE), (yx, yy, e, BLUE)):
        yield f'<circle cx="{x}" cy="{y}" r="{r}" fill="{colour}" fill-opacity="0.15" stroke="{colour}"/>'
    yield line(px, py, yx, yy, "line", ' stroke-width="2"')
    yield line(wx, wy, zx, zy, "line", ' stroke-dasharray="4 4"')
    for x, y, name, dx, dy in (
        (px, py, "p", -18, 0),
        (wx, wy, "w", 8, 12),
        (yx, yy, "y", 8, 12),
        (zx, zy, "z", -16, 0),
    ):
        yield f'<circle cx="{x}" cy="{y}" r="4" fill="{ORANGE if name in "pw" else BLUE}"/>'
        yield text(x + dx, y + dy, name)
    yield text(160, 192, "D")
    said = (
        "query w, its code p: at most e_q apart",
        "row z, its code y: at most e apart",
        "D = |y − p| is known, so the distance |z − w|",
        "is between D − (e + e_q) and D + (e + e_q)",
    )
    yield from (text(24, 330 + 22 * i, words, "quiet small") for i, words in enumerate(said))


def _intervals() -> Iterable[str]:
    """A row's interval from its code, sorted by its lower end, and the true distance in it."""
    lower, upper, true = coded()
    bar = float(np.sort(upper)[2])
    order = np.argsort(lower)
    low, high = float(lower.min()), float(upper.max())

    def across(value: float) -> float:
        return 400 + 330 * (value - low) / (high - low)

    out = int((lower > bar).sum())
    yield text(390, 32, f"{len(true)} rows, 3 neighbors wanted", "title")
    for place, row in enumerate(order):
        y = 52 + 5.6 * place
        colour = GREY if lower[row] > bar else BLUE
        yield line(
            across(lower[row]),
            y,
            across(upper[row]),
            y,
            "",
            f' stroke="{colour}" stroke-width="2.5" stroke-opacity="0.55"',
        )
        yield f'<circle cx="{across(true[row]):.1f}" cy="{y:.1f}" r="2" fill="{colour}"/>'
    yield line(across(bar), 44, across(bar), 322, "line", ' stroke-dasharray="5 4"')
    yield text(across(bar), 338, "T", "", "middle")
    said = (
        "T: three rows are this near for certain.",
        f"{out} intervals begin beyond T: those rows are out.",
        f"{len(true) - out} are left, and computed in float64.",
    )
    yield from (text(390, 362 + 20 * i, words, "quiet small") for i, words in enumerate(said))


def coded() -> tuple[Any, Any, Any]:
    """Lower and upper bounds of distances from codes of 31 levels (coarse, so that one sees them), and the distances."""
    rng = np.random.default_rng(7)
    query = rng.standard_normal(24)
    rows = query + rng.standard_normal((48, 24)) * np.linspace(0.3, 1.6, 48)[:, None]
    values: list[Sequence[float]] = []
    codes = {}
    for name, numbers in (("rows", rows), ("query", query[None])):
        step = np.abs(numbers).max(axis=1, keepdims=True) / 15
        codes[name] = step * np.rint(numbers / step)
    e_q = float(np.linalg.norm(query - codes["query"][0]))
    for row, code in zip(rows, codes["rows"], strict=True):
        square, e = float(((code - codes["query"][0]) ** 2).sum()), float(np.linalg.norm(row - code))
        values.append((bound.lower(square, e, e_q), bound.upper(square, e, e_q), float(np.linalg.norm(row - query))))
    lower, upper, true = np.array(values).T
    return lower, upper, true
