"""Where one engine overtakes another: batch sizes of the run itself, and what knnscope crossover found."""

from __future__ import annotations

from knnscope.analysis.batch_crossings import BatchCrossing, batch_crossings
from knnscope.analysis.crossover import CrossoverRun
from knnscope.analysis.run import ComparisonRun
from knnscope.report import crossover
from knnscope.report.page.content import Block, Document, Engine, Folded, Grid, Heading, Listed, Section, Text
from knnscope.report.text import Table
from knnscope.units import times

HEAD = ("from", "to", "between", "about", "ahead before", "ahead after", "k", "memory")
HOW = (
    "Counted only where the verdict's test tells the two apart on both sides. Between two batch sizes that were measured, lines through "
    "their times cross about there, on logarithmic scales; measure that batch size to be sure."
)


def document(searched: CrossoverRun) -> Document:
    """A page of a search for crossings alone."""
    said = crossover.sentences(searched)
    return Document(
        title=crossover.heading(searched),
        about="where one engine overtakes another",
        lead=f"{said[0]}." if said else "Nothing was measured.",
        head=(),
        sections=[Section("crossover", "Crossover", _searched(searched))],
    )


def section(run: ComparisonRun, searched: CrossoverRun | None = None) -> Section | None:
    """Those of the run that change who is fastest; all others are folded. Then those that were searched for. None where neither is there."""
    blocks = _of_batches(run) if len({row.batch for row in run.rows}) > 1 else []
    if searched is not None:
        blocks += [Heading(crossover.heading(searched)), *_searched(searched)]
    return Section("crossover", "Crossover", blocks) if blocks else None


def _of_batches(run: ComparisonRun) -> list[Block]:
    found = batch_crossings(run.rows)
    leads, others = [o for o in found if o.leads], [o for o in found if not o.leads]
    blocks: list[Block] = []
    if leads:
        blocks += [Text(HOW), Grid(_table("", leads))]
    else:
        blocks.append(Text("No batch size was found at which another engine becomes the fastest for certain."))
    if others:
        blocks.append(Folded(f"{len(others)} among slower engines", [Grid(_table("", others))]))
    return blocks


def _searched(run: CrossoverRun) -> list[Block]:
    return [Listed(crossover.sentences(run)), *(Grid(crossover.table(run, fixed)) for fixed in run.question.fixed)]


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
