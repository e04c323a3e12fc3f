"""The rows as they were measured."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from knnscope.analysis.measurement import Measurement, RungMeasurement
from knnscope.report.page.content import Engine, Grid, Number, Section, Text
from knnscope.report.text import Table
from knnscope.units import duration, size

MOST = 600
"""Rows that the page has; more would make it larger than mail takes."""
TIMES = {
    "median_ns": "median",
    "low_ns": "95% from",
    "high_ns": "to",
    "p99_ns": "p99",
    "cpu_ns": "CPU time",
    "event_ns": "GPU events",
    "floor_ns": "read floor",
    "product_floor_ns": "product floor",
    "build_ns": "build, less compiling",
    "build_compile_ns": "compiling in build",
    "compile_ns": "compiling in first",
}
SIZES = {"peak_host_bytes": "peak host", "peak_gpu_bytes": "peak GPU"}
NAMES = {
    "k": "k",
    "batch": "batch",
    "boundary": "memory",
    "device": "device",
    "cache": "cache",
    "status": "status",
    "grade": "grade",
}
COUNTS = {"judged": "judged", "differing": "differ", "beyond": "beyond"}
RUNG_TIMES = {
    "wall_ns": "wall",
    "event_ns": "GPU events",
    "first_ns": "first",
    "load_ns": "load",
    "build_ns": "build",
    "compile_ns": "compiling, in neither",
    "floor_ns": "floor",
}
RUNG_NAMES = {"device": "device", "status": "status", "grade": "grade"}
RUNG_COUNTS = {
    "judged": "judged",
    "differing": "differ",
    "visited": "rows visited",
    "kernels": "kernels",
    "copies": "copies",
}


def section(rows: Sequence[Measurement] | Sequence[RungMeasurement]) -> Section:
    """A line a row, which readers may sort and filter."""
    climbed = bool(rows) and isinstance(rows[0], RungMeasurement)
    names = RUNG_NAMES if climbed else NAMES
    counts, times, sizes = (RUNG_COUNTS, RUNG_TIMES, {}) if climbed else (COUNTS, TIMES, SIZES)
    head = ("rung" if climbed else "engine", *names.values(), *counts.values(), *times.values(), *sizes.values())
    lines = [_line(msgspec.to_builtins(row), (names, counts, times, sizes)) for row in rows[:MOST]]
    kept = [i for i in range(len(head)) if any(str(line[i]) for line in lines)]
    right = tuple(place for place, i in enumerate(kept) if any(isinstance(line[i], Number) for line in lines))
    table = Table("", tuple(head[i] for i in kept), [tuple(line[i] for i in kept) for line in lines], right)
    said = f"{len(rows):,} rows, one a {'rung' if climbed else 'case and state of the caches'}; results.jsonl has every sample."
    if len(rows) > MOST:
        said += f" The first {MOST:,} are here."
    return Section("rows", "Raw rows", [Text(said), Grid(table, sortable=True)])


def _line(row: dict[str, object], columns: Sequence[dict[str, str]]) -> tuple[object, ...]:
    names, counts, times, sizes = columns
    name = str(row.get("engine", row.get("rung")))
    return (
        Engine(name),
        *(_name(row[key]) for key in names),
        *(_number(row[key], lambda value: f"{value:,.0f}") for key in counts),
        *(_number(row[key], duration) for key in times),
        *(_number(row[key], size) for key in sizes),
    )


def _name(value: object) -> object:
    return "" if value is None else Number(f"{value:,}", value) if isinstance(value, int) else str(value)


def _number(value: object, text: object) -> object:
    assert callable(text)
    return "" if not isinstance(value, int | float) else Number(text(value), value)
