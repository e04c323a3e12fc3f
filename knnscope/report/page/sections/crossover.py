"""Batch sizes at which one engine overtakes another."""

from __future__ import annotations

from knnscope.analysis.batch_crossings import BatchCrossing, batch_crossings
from knnscope.analysis.run import ComparisonRun
from knnscope.report.page.content import Block, Engine, Folded, Grid, Section, Text
from knnscope.report.text import Table
from knnscope.units import times

HEAD = ("from", "to", "between", "about", "ahead before", "ahead after", "k", "memory")
HOW = (
    "Counted only where the verdict's test tells the two apart on both sides. Between two batch sizes that were measured, lines through "
    "their times cross about there, on logarithmic scales; measure that batch size to be sure."
)


def section(run: ComparisonRun) -> Section | None:
    """Those that change who is fastest; all others are folded. None where one batch size was measured."""
    if len({row.batch for row in run.rows}) < 2:
        return None
    found = batch_crossings(run.rows)
    leads, others = [o for o in found if o.leads], [o for o in found if not o.leads]
    blocks: list[Block] = []
    if leads:
        blocks += [Text(HOW), Grid(_table("", leads))]
    else:
        blocks.append(Text("No batch size was found at which another engine becomes the fastest for certain."))
    if others:
        blocks.append(Folded(f"{len(others)} among slower engines", [Grid(_table("", others))]))
    return Section("crossover", "Crossover", blocks)


def _table(title: str, found: list[BatchCrossing]) -> Table:
    lines: list[tuple[object, ...]] = [
        (
            Engine(o.before),
            Engine(o.after),
            f"{o.small:,} and {o.large:,} queries a call",
            f"{o.at:,.2g}" if o.at < 100 else f"{float(f'{o.at:.2g}'):,.0f}",
            f"{times(1 / o.first)}×",
            f"{times(o.last)}×",
            o.k,
            "host" if o.boundary == "host" else "GPU",
        )
        for o in found
    ]
    return Table(title, HEAD, lines, right=(3, 4, 5, 6))
