"""Runs as HTML for a notebook: headings, tables, sentences. Every text is escaped, since names and texts are anybody's."""

from __future__ import annotations

from knnscope.analysis.choice import choices
from knnscope.analysis.doubts import doubts
from knnscope.analysis.run import ComparisonRun, LadderRun
from knnscope.report import comparison, ladder, markup
from knnscope.report.page.sections import decision
from knnscope.report.text import Table

TABLES = 20
"""Of a comparison."""


def comparison_html(run: ComparisonRun) -> str:
    """The head of its page: which engine to take, how sure that is, whether it is right."""
    chosen = choices(run.rows)
    said = [comparison.heading(run), decision.lead(chosen), *decision.sure_of(chosen)]
    said += [found.text for found in decision.warning(doubts(run, chosen))]
    tables = [table for _, table in decision.answers(chosen)]
    left = f"and {len(tables) - TABLES:,} more tables; " if len(tables) > TABLES else ""
    more = f"{left}report(path) writes the whole page, print shows every figure"
    shown = [table_html(found) for found in tables[:TABLES]]
    return markup.div([*map(markup.paragraph, said), *shown, markup.paragraph(more)])


def ladder_html(run: LadderRun) -> str:
    """The table of a climb."""
    return markup.div([markup.paragraph(ladder.heading(run)), table_html(ladder.table(run))])


def table_html(found: Table) -> str:
    """A table with its title as the caption."""
    return markup.table(found.head, found.lines, found.right, found.title)
