"""Why the slow are slow: where a GPU's time goes, and how each engine says that it computes."""

from __future__ import annotations

from collections.abc import Sequence

from knnscope.analysis.run import ComparisonRun
from knnscope.analysis.verdict import Split, splits
from knnscope.report import comparison
from knnscope.report.page.content import Block, Chart, Engine, Folded, Grid, Listed, Section, Text
from knnscope.report.page.sections.speed import with_engines
from knnscope.report.text import Table
from knnscope.units import duration, percent

PARTS = ("transfer", "launch", "compute")
HOW = (
    "Transfer: from host memory less from GPU memory. Compute: between events around the call on the GPU. Launch: the rest of that call, "
    "the library's own code, the launches and the wait at the end."
)


def section(run: ComparisonRun) -> Section | None:
    """The split of hot calls, what each engine says, and what else was noticed."""
    blocks: list[Block] = []
    if found := splits(run.rows):
        table = comparison.divided(run.rows)
        main = [s for s in found if s.k == max(split.k for split in found)]
        blocks += [Text(HOW), _chart(main)]
        if table is not None:
            blocks.append(Folded("The same in figures, for every k, beside the processor", [Grid(with_engines(table))]))
    if said := comparison.how(run.rows):
        lines: list[tuple[object, ...]] = [(Engine(name), text) for name, text in said.items()]
        blocks.append(Grid(Table("How they compute, in their own words", ("engine", "how"), lines), wide=(1,)))
    if notes := comparison.notes(run.rows, run.facts.queries):
        blocks.append(Listed(notes))
    return Section("causes", "Why the slow are slow", blocks) if blocks else None


def _chart(found: Sequence[Split]) -> Chart:
    data, lines = [], []
    for s in sorted(found, key=lambda s: (s.batch, s.host_ns)):
        parts = dict(zip(PARTS, (s.transfer_ns, s.launch_ns, s.compute_ns), strict=True))
        whole = sum(parts.values()) or 1
        line = f"{s.engine}, {s.batch:,} a call"
        for part, ns in parts.items():
            hint = f"{part} {duration(ns)} of {duration(s.host_ns)}, {s.batch:,} a call"
            data.append(
                {
                    "line": line,
                    "engine": s.engine,
                    "part": part,
                    "share": ns / whole,
                    "total": duration(s.host_ns),
                    "hint": hint,
                }
            )
        lines.append(
            (Engine(s.engine), f"{s.batch:,}", duration(s.host_ns), *(percent(ns / whole) for ns in parts.values()))
        )
    launch = [s for s in found if s.launch_ns > s.compute_ns]
    said = (
        f"Where a hot call's time goes at k = {found[0].k}, an engine and batch size a line: transfer, launch, compute. "
        f"In {len(launch)} of {len(found)} the launch takes longer than the computation."
    )
    table = Table("", ("engine", "queries a call", "time of a call", *PARTS), lines, right=(1, 2, 3, 4, 5))
    return Chart("splits", f"Where a call's time goes, k = {found[0].k}", said, table, "shares", data, {"order": PARTS})
