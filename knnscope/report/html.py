"""Runs as HTML for a notebook: headings, tables, sentences. Every text is escaped, since names and texts are anybody's."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from knnscope.analysis.run import ComparisonRun, LadderRun
from knnscope.report import comparison, ladder
from knnscope.report.text import Table, plain


def comparison_html(run: ComparisonRun) -> str:
    """The tables of a comparison, and its verdicts."""
    said = [_paragraph(line) for line in comparison.verdict(run).splitlines()]
    return _div([_paragraph(comparison.heading(run)), *map(table_html, comparison.tables(run)), *said])


def ladder_html(run: LadderRun) -> str:
    """The table of a climb."""
    return _div([_paragraph(ladder.heading(run)), table_html(ladder.table(run))])


def table_html(found: Table) -> str:
    """A table with its title as the caption."""
    styles = [' style="text-align: right"' if i in found.right else "" for i in range(len(found.head))]

    def line(tag: str, cells: Iterable[object]) -> str:
        inside = "".join(
            f"<{tag}{style}>{escape(plain(str(cell)))}</{tag}>" for style, cell in zip(styles, cells, strict=True)
        )
        return f"<tr>{inside}</tr>"

    caption = f"<caption>{escape(plain(found.title))}</caption>" if found.title else ""
    body = "".join(line("td", cells) for cells in found.lines)
    return f"<table>{caption}<thead>{line('th', found.head)}</thead><tbody>{body}</tbody></table>"


def _paragraph(text: str) -> str:
    return f"<p>{escape(plain(text))}</p>"


def _div(parts: Iterable[str]) -> str:
    return f"<div>{''.join(parts)}</div>"
