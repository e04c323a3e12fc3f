"""Runs as HTML for a notebook: headings, tables, sentences. Every text is escaped, since names and texts are anybody's."""

from __future__ import annotations

from knnscope.analysis.run import ComparisonRun, LadderRun
from knnscope.report import comparison, ladder, markup
from knnscope.report.text import Table

TABLES = 20
"""Of a comparison, and sentences below them."""


def comparison_html(run: ComparisonRun) -> str:
    """The tables of a comparison, and its verdicts."""
    said = [markup.paragraph(line) for line in comparison.verdict(run).splitlines()]
    tables = comparison.tables(run)
    more = (
        [markup.paragraph(f"and {len(tables) - TABLES:,} more tables: print shows all")] if len(tables) > TABLES else []
    )
    shown = [table_html(found) for found in tables[:TABLES]]
    return markup.div([markup.paragraph(comparison.heading(run)), *shown, *more, *said[:TABLES]])


def ladder_html(run: LadderRun) -> str:
    """The table of a climb."""
    return markup.div([markup.paragraph(ladder.heading(run)), table_html(ladder.table(run))])


def table_html(found: Table) -> str:
    """A table with its title as the caption."""
    return markup.table(found.head, found.lines, found.right, found.title)
