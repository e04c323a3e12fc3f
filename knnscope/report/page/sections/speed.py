"""Latency and throughput of every engine with intervals, by batch size, first, cold and hot."""

from __future__ import annotations

from collections.abc import Sequence

from knnscope.analysis.measurement import CACHES, FAILED, Measurement
from knnscope.analysis.run import ComparisonRun
from knnscope.analysis.verdict import Group, groups
from knnscope.report import comparison
from knnscope.report.page.content import Block, Chart, Charts, Engine, Folded, Grid, Heading, Section, Text
from knnscope.report.text import Table
from knnscope.search.grading import RIGHT
from knnscope.units import duration

HOW = (
    "Time of one call: the median over rounds, hot unless it says otherwise. A bar across a mark is the 95% interval of the median; "
    "a hollow mark is an engine that was wrong or undecided; a broken line computes on a GPU. Queries a second are the batch over that time."
)
STATES = {
    "hot": "A filled mark is the hot call, repeated at once, with its 95% interval",
    "cold": "an upright stroke the call with cold caches",
    "first": "a small ring the first call of its process",
}
SHOWN = 4
"""Batch sizes whose states are drawn: the others are in the tables."""


def section(run: ComparisonRun) -> Section:
    """Charts and tables; those of other k and of GPU memory are folded."""
    by_shape: dict[tuple[str, int], list[Group]] = {}
    for group in groups(run.rows):
        by_shape.setdefault((group[2], group[0]), []).append(group)
    tables = dict(zip(_measured(run), comparison.tables(run), strict=True))
    shapes = sorted(by_shape, key=lambda shape: (shape[0] != "host", -shape[1]))
    blocks: list[Block] = [Text(HOW)]
    for place, shape in enumerate(shapes):
        inside = [*_charts(run, shape, by_shape[shape] if place == 0 else ()), *_tables(by_shape[shape], tables)]
        if place == 0:
            blocks += [Heading(_title(shape)), *inside]
        elif inside:
            blocks.append(Folded(_title(shape), inside))
    return Section("speed", "Latency and throughput", [*blocks, *_missing(run)])


def _measured(run: ComparisonRun) -> list[Group]:
    return [g for g, members in groups(run.rows).items() if any(r.status not in FAILED for r in members)]


def _title(shape: tuple[str, int]) -> str:
    where = "host memory" if shape[0] == "host" else "GPU memory"
    return f"k = {shape[1]}, queries and answers in {where}"


def _tables(of_shape: Sequence[Group], tables: dict[Group, Table]) -> list[Block]:
    return [Grid(with_engines(tables[group])) for group in of_shape if group in tables]


def with_engines(table: Table) -> Table:
    """The table with the names in its first column as engines."""
    return Table(table.title, table.head, [(Engine(str(line[0])), *line[1:]) for line in table.lines], table.right)


def _charts(run: ComparisonRun, shape: tuple[str, int], of_shape: Sequence[Group]) -> list[Block]:
    hot = [r for r in run.rows if (r.boundary, r.k) == shape and r.cache == "hot" and r.median_ns]
    found: list[Block] = []
    name = f"{shape[0]}-k{shape[1]}"
    if len({r.batch for r in hot}) > 1:
        found.append(Charts([_latency(hot, name), _throughput(hot, name)]))
    drawn = [_states(run.rows, group, f"{name}-b{group[1]}") for group in of_shape[:SHOWN]]
    if whole := [chart for chart in drawn if chart is not None]:
        there = {mark["state"] for chart in whole for mark in chart.data}
        found += [Text("; ".join(said for state, said in STATES.items() if state in there) + "."), Charts(whole)]
    return found


def _latency(hot: Sequence[Measurement], name: str) -> Chart:
    data = [{**_mark(r), "value": r.took_ns, **_ends(r)} for r in hot]
    said = f"Time of a hot call by batch size, for {_names(hot)}. {_fastest(hot)}"
    return Chart(
        f"latency-{name}",
        "Time of a call",
        said,
        _pivot(hot, lambda r: duration(r.took_ns)),
        "lines",
        data,
        {"title": "time of a call (down is better)", "unit": "time"},
    )


def _throughput(hot: Sequence[Measurement], name: str) -> Chart:
    data = [
        {
            **_mark(r),
            "value": _rate(r, r.took_ns),
            **({"low": _rate(r, r.high_ns), "high": _rate(r, r.low_ns)} if r.low_ns and r.high_ns else {}),
        }
        for r in hot
    ]
    said = f"Queries a second by batch size, for {_names(hot)}."
    return Chart(
        f"throughput-{name}",
        "Throughput, queries a second",
        said,
        _pivot(hot, lambda r: f"{_rate(r, r.took_ns):,.0f}"),
        "lines",
        data,
        {"title": "queries a second (up is better)", "unit": "count"},
    )


def _states(rows: Sequence[Measurement], group: Group, name: str) -> Chart | None:
    of: dict[tuple[str, str], Measurement] = {(r.engine, r.cache): r for r in rows if r.group == group and r.median_ns}
    hot = sorted((r for (_, cache), r in of.items() if cache == "hot"), key=lambda r: r.took_ns)
    if not hot:
        return None
    caches = [cache for cache in CACHES if any((h.engine, cache) in of for h in hot)]
    data, lines = [], []
    for h in hot:
        for cache in caches:
            row = of.get((h.engine, cache))
            if row is not None:
                ends = _ends(row) if cache == "hot" else {}
                data.append({**_mark(row), "state": cache, "value": row.took_ns, **ends})
        known = [of.get((h.engine, cache)) for cache in caches]
        lines.append((Engine(h.engine), *("" if r is None else duration(r.took_ns) for r in known)))
    queries = f"{group[1]:,} {'query' if group[1] == 1 else 'queries'} a call"
    said = f"{queries}, {', '.join(caches)}: {hot[0].engine} has the fastest hot one, {duration(hot[0].took_ns)}."
    table = Table("", ("engine", *caches), lines, right=tuple(range(1, len(caches) + 1)))
    return Chart(f"states-{name}", queries, said, table, "states", data)


def _mark(row: Measurement) -> dict[str, object]:
    """What every mark of a row has."""
    interval = f", 95% {duration(row.low_ns)} to {duration(row.high_ns)}" if row.low_ns and row.high_ns else ""
    rate = f"{_rate(row, row.took_ns):,.0f} queries/s"
    hint = f"{row.batch:,} a call, {row.cache}: {duration(row.took_ns)}{interval}; {rate}; {row.grade or row.status}"
    return {"engine": row.engine, "batch": row.batch, "right": row.grade in RIGHT, "hint": hint}


def _ends(row: Measurement) -> dict[str, int]:
    return {"low": row.low_ns, "high": row.high_ns} if row.low_ns and row.high_ns else {}


def _rate(row: Measurement, ns: float) -> float:
    return row.batch / ns * 1e9


def _names(rows: Sequence[Measurement]) -> str:
    return ", ".join(dict.fromkeys(r.engine for r in rows))


def _fastest(hot: Sequence[Measurement]) -> str:
    said = []
    for batch in sorted({r.batch for r in hot}):
        right = [r for r in hot if r.batch == batch and r.grade in RIGHT]
        if right:
            best = min(right, key=lambda r: r.took_ns)
            said.append(f"{best.engine} at {batch:,}")
    return f"Fastest of the right ones: {', '.join(said)}." if said else ""


def _pivot(hot: Sequence[Measurement], text: object) -> Table:
    """An engine a line, a batch size a column."""
    assert callable(text)
    batches = sorted({r.batch for r in hot})
    of = {(r.engine, r.batch): r for r in hot}
    lines = [
        (Engine(name), *(text(of[name, b]) if (name, b) in of else "" for b in batches))
        for name in dict.fromkeys(r.engine for r in hot)
    ]
    return Table("", ("engine", *(f"{b:,} a call" for b in batches)), lines, right=tuple(range(1, len(batches) + 1)))


def _missing(run: ComparisonRun) -> list[Block]:
    """Engines without figures, and why."""
    table = comparison.failures(run.rows)
    blocks: list[Block] = [Grid(with_engines(table), wide=(2,))] if table else []
    return [*blocks, *(Text(line, "quiet") for line in comparison.without_gpu(run.rows))]
