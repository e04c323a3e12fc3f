"""How near each engine comes to what this machine can do: the roofline, and the share of the floor."""

from __future__ import annotations

from collections.abc import Sequence

from knnscope.analysis.measurement import Measurement
from knnscope.analysis.run import ComparisonRun
from knnscope.report.page.content import Chart, Engine, Folded, Grid, Section, Text
from knnscope.report.text import Table
from knnscope.search.grading import RIGHT
from knnscope.units import duration, percent

HOW = (
    "The floor is the time that this machine needs at least: to read all rows, queries and answers once (read), or to multiply them in "
    "float32 (product), whichever is longer, both at rates measured here. An engine above 100%, or above the roof, reads fewer bytes "
    "than the rows have, or computes in fewer bits."
)


def section(run: ComparisonRun) -> Section | None:
    """A roofline of the main k, and a table of shares; None where no floor is known."""
    rows = [r for r in run.rows if r.cache == "hot" and r.median_ns and floor_of(r)]
    if not rows:
        return None
    host = [r for r in rows if r.boundary == "host"] or rows
    main = [r for r in host if r.k == max(row.k for row in host)]
    more = [Folded("Every k and memory", [Grid(_shares(rows))])] if len(main) < len(rows) else []
    return Section("floor", "Share of the floor", [Text(HOW), _roofline(main), *more])


def floor_of(row: Measurement) -> int:
    """The larger of both floors, nanoseconds; 0 where none is known."""
    return max(row.floor_ns or 0, row.product_floor_ns or 0)


def share(row: Measurement) -> str:
    """The floor's share of the time, and which floor it is."""
    word = "product" if (row.product_floor_ns or 0) > (row.floor_ns or 0) else "read"
    return f"{percent(floor_of(row) / row.took_ns)} {word}"


def _operations(row: Measurement) -> int:
    """Multiplications and additions of the products of all rows with all queries."""
    return 2 * row.rows * row.dim * row.batch


def _roofline(rows: Sequence[Measurement]) -> Chart:
    data = [
        {
            "engine": r.engine,
            "batch": r.batch,
            "intensity": _operations(r) / r.bytes_moved,
            "value": _operations(r) / r.took_ns * 1e9,
            "right": r.grade in RIGHT,
            "hint": f"{r.batch:,} a call: {duration(r.took_ns)}, {share(r)} of the floor",
        }
        for r in rows
        if r.bytes_moved
    ]
    roofs = {(r.device, r.batch): r for r in sorted(rows, key=lambda r: r.batch) if r.bytes_moved}
    last = {r.device: r.batch for r in sorted(rows, key=lambda r: r.batch)}
    best = [
        {
            "device": device,
            "intensity": _operations(r) / r.bytes_moved,
            "value": _operations(r) / floor_of(r) * 1e9,
            **(
                {"label": "best of the GPU" if device == "cuda" else "best of the processor"}
                if batch == last[device]
                else {}
            ),
        }
        for (device, batch), r in roofs.items()
    ]
    nearest = max(rows, key=lambda r: floor_of(r) / r.took_ns)
    said = (
        f"Roofline at k = {rows[0].k}: operations a second over operations a byte, an engine a line from its smallest to its largest batch. "
        f"Nearest to what the machine can do comes {nearest.engine} at {nearest.batch:,} a call: {share(nearest)}."
    )
    return Chart("roofline", f"Roofline, k = {rows[0].k}", said, _by_batch(rows), "roofline", data, {"roofs": best})


def _by_batch(rows: Sequence[Measurement]) -> Table:
    batches = sorted({r.batch for r in rows})
    of = {(r.engine, r.batch): r for r in rows}
    lines: list[tuple[object, ...]] = [
        (Engine(name), *(share(of[name, b]) if (name, b) in of else "" for b in batches))
        for name in dict.fromkeys(r.engine for r in rows)
    ]
    return Table("", ("engine", *(f"{b:,} a call" for b in batches)), lines, right=tuple(range(1, len(batches) + 1)))


def _shares(rows: Sequence[Measurement]) -> Table:
    """A line for each engine, k and boundary; a column a batch size."""
    batches = sorted({r.batch for r in rows})
    of = {(r.engine, r.k, r.boundary, r.batch): r for r in rows}
    lines: list[tuple[object, ...]] = [
        (
            Engine(name),
            k,
            boundary,
            *(share(of[name, k, boundary, b]) if (name, k, boundary, b) in of else "" for b in batches),
        )
        for name, k, boundary in dict.fromkeys((r.engine, r.k, r.boundary) for r in rows)
    ]
    head = ("engine", "k", "memory", *(f"{b:,} a call" for b in batches))
    return Table("", head, lines, right=(1, *range(3, len(head))))
