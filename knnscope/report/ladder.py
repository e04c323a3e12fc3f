"""A run of the ladder in words: a table of its rungs, and a sentence for each."""

from __future__ import annotations

from knnscope.analysis.measurement import RungMeasurement
from knnscope.analysis.run import LadderRun
from knnscope.report.text import Table, plain
from knnscope.units import duration, megabytes, percent

COLUMNS = ("rung", "grade", "wall", "events", "vs previous", "vs first", "moved", "kernels", "copies", "of floor")
SCALED = "* the loop visited fewer rows, and its time was scaled to all"


def text(run: LadderRun) -> str:
    """All that is printed of a run."""
    said = [*([SCALED] if any(row.scaled for row in run.rows) else []), *_sentences(run)]
    return "\n".join([heading(run), "", table(run).text(), "", *said])


def heading(run: LadderRun) -> str:
    """One line: the data, k, the device."""
    facts = run.facts
    where = "on the GPU" if facts.device == "cuda" else "no GPU: what says cupy or GPU is NumPy here"
    return f"{plain(facts.dataset)}: {facts.rows:,} rows of {facts.dim} components, k = {facts.k}, one query, {where}"


def table(run: LadderRun) -> Table:
    """A line for each rung; * marks a scaled time."""
    lines: list[tuple[object, ...]] = [(row.rung + ("*" if row.scaled else ""), *cells(row)) for row in run.rows]
    return Table("", COLUMNS, lines, right=tuple(range(2, len(COLUMNS))))


def cells(row: RungMeasurement) -> tuple[str, ...]:
    """A row under ``COLUMNS``, all but its name; ~ marks counts that follow from the code."""
    if row.wall_ns is None:
        return (row.status, *[""] * 8)
    counted = "~" if row.device == "cuda" and row.counted_by != "cupti" else ""
    return (
        row.grade or "",
        duration(row.wall_ns),
        "" if row.event_ns is None else duration(row.event_ns),
        _times(row.ratio_below),
        _times(row.ratio_first),
        "" if not row.bytes_moved else megabytes(row.bytes_moved),
        "" if row.kernels is None else f"{counted}{row.kernels:,}",
        "" if row.copies is None else f"{counted}{row.copies:,}",
        "" if not row.floor_ns else percent(row.floor_ns / (row.event_ns or row.wall_ns)),
    )


def _times(value: float | None) -> str:
    return "" if value is None else f"{value:,.2f}" if value < 100 else f"{value:,.0f}"


def _sentences(run: LadderRun) -> list[str]:
    """What is new in each rung, or why it has no figures; rungs that lack a GPU share a line."""
    said = []
    width = max((len(row.rung) for row in run.rows), default=0)
    without: dict[str, list[str]] = {}
    for row in run.rows:
        if row.status == "no-gpu":
            without.setdefault(row.reason or "", []).append(row.rung)
            continue
        what = (row.reason or "") if row.wall_ns is None else row.changed
        note = f" ({plain(row.note)})" if row.note else ""
        said.append(f"{plain(row.rung):<{width}}  {plain(what)}{note}")
    return said + [f"not measured: {plain(', '.join(rungs))}: {plain(why)}" for why, rungs in without.items()]
