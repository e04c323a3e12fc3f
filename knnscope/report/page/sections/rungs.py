"""A climb of the ladder: the time of each rung, what is new in it, how near it comes to the floor."""

from __future__ import annotations

from collections.abc import Sequence

from knnscope.analysis.doubts import Doubt
from knnscope.analysis.measurement import RungMeasurement
from knnscope.analysis.run import LadderRun
from knnscope.report import ladder
from knnscope.report.page.content import Block, Chart, Engine, Grid, Section, Text
from knnscope.report.page.sections.decision import warning
from knnscope.report.text import Table
from knnscope.search.grading import RIGHT
from knnscope.units import duration, percent, times

HOW = (
    "A mark is the median time of a search with its answer copied back; hollow is wrong or undecided; the grey stroke is the time in which the device "
    "reads all rows once."
)


def lead(run: LadderRun) -> str:
    """The fastest right rung, and by how much."""
    right = [r for r in run.rows if r.wall_ns and r.grade in RIGHT]
    if not right:
        return "No rung gave a right answer."
    best = min(right, key=lambda r: r.wall_ns or 0)
    first = right[0]
    said = f"The fastest right version is {best.rung}: {duration(best.wall_ns or 0)} a search"
    if first is not best and first.wall_ns and best.wall_ns:
        said += f", {times(first.wall_ns / best.wall_ns)} times as fast as {first.rung}"
    if best.floor_ns:
        said += (
            f", at {percent(best.floor_ns / (best.event_ns or best.wall_ns or 1))} of what reading the rows once allows"
        )
    return f"{said}."


def head(doubts: Sequence[Doubt]) -> list[Block]:
    """Reasons for doubt."""
    return [*warning(doubts)]


def section(run: LadderRun) -> Section:
    """The chart and the table."""
    table = ladder.table(run)
    lines: list[tuple[object, ...]] = [
        (Engine(row.rung, str(line[0])), *line[1:]) for row, line in zip(run.rows, table.lines, strict=True)
    ]
    blocks: list[Block] = [Text(HOW)]
    if drawn := _chart(run.rows):
        blocks.append(drawn)
    blocks.append(Grid(Table("", table.head, lines, table.right)))
    if any(row.scaled for row in run.rows):
        blocks.append(Text(ladder.SCALED, "quiet"))
    return Section("rungs", "The rungs", blocks)


def changes(run: LadderRun) -> Section:
    """What is new in each rung, or why it has no figures."""
    lines: list[tuple[object, ...]] = [
        (Engine(row.rung), row.status if row.wall_ns is None else "", _said(row)) for row in run.rows
    ]
    return Section(
        "changes",
        "What is new in each",
        [Grid(Table("", ("rung", "", "what is new, or why it was not timed"), lines), wide=(2,))],
    )


def _said(row: RungMeasurement) -> str:
    what = (row.reason or "") if row.wall_ns is None else row.changed
    return f"{what} ({row.note})" if row.note else what


def _chart(rows: Sequence[RungMeasurement]) -> Chart | None:
    timed = [r for r in rows if r.wall_ns]
    if not timed:
        return None
    data = []
    lines: list[tuple[object, ...]] = []
    for r in timed:
        ns = r.wall_ns or 0
        text = f"{duration(ns)}{'*' if r.scaled else ''}"
        hint = f"{text}, {r.grade}" + (f"; floor {duration(r.floor_ns)}" if r.floor_ns else "")
        data.append(
            {
                "engine": r.rung,
                "value": ns,
                "text": text,
                "right": r.grade in RIGHT,
                "hint": hint,
                **({"floor": r.floor_ns} if r.floor_ns else {}),
            }
        )
        lines.append((Engine(r.rung), text, duration(r.floor_ns) if r.floor_ns else ""))
    slow, fast = max(timed, key=lambda r: r.wall_ns or 0), min(timed, key=lambda r: r.wall_ns or 0)
    said = f"Time of a search by rung, from {duration(slow.wall_ns or 0)} ({slow.rung}) to {duration(fast.wall_ns or 0)} ({fast.rung})."
    return Chart(
        "rungs", "Time of a search", said, Table("", ("rung", "time", "floor"), lines, right=(1, 2)), "rungs", data
    )
