"""A document as Markdown: the same sentences and tables, charts as the sentence that says what they show and their figures."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from knnscope.report.page.content import (
    Block,
    Chart,
    Charts,
    Document,
    Facts,
    Folded,
    Grid,
    Heading,
    Listed,
    Picture,
    Text,
    readable,
)
from knnscope.report.text import Table

SPECIAL = re.compile(r"[\\`*\[\]<>|~&$]|(?<!\w)_|_(?!\w)|^(?:[#+=>-]|\d+[.)])|(?<=:)//|(?<=www)\.")
"""What Markdown, or HTML within it, would take for its own: marks, the beginnings of lists and titles, addresses."""


def render(document: Document) -> str:
    """The page; it needs no library."""
    parts = [f"# {text(document.title)}", f"**{text(document.lead)}**", *_blocks(document.head, 2)]
    for section in document.sections:
        parts += [f"## {text(section.title)}", *_blocks(section.blocks, 3)]
    return "\n\n".join(parts) + "\n"


def text(value: object) -> str:
    """In one line, with nothing in it that Markdown or HTML would take for its own."""
    return SPECIAL.sub(
        lambda found: "".join(f"\\{c}" if not c.isalnum() else c for c in found[0]), readable(str(value))
    )


def _blocks(blocks: Iterable[Block], level: int) -> list[str]:
    found: list[str] = []
    for block in blocks:
        match block:
            case Text():
                found.append(f"> {text(block.text)}" if block.tone == "warning" else text(block.text))
            case Heading():
                found.append(f"{'#' * level} {text(block.text)}")
            case Listed():
                found.append("\n".join(f"- {text(line)}" for line in block.lines))
            case Facts():
                found.append(_table(Table("", ("", ""), list(block.pairs))))
            case Grid():
                found.append(_table(block.table))
            case Chart():
                found += _chart(block)
            case Charts():
                found += [part for chart in block.charts for part in _chart(chart)]
            case Picture():
                found.append(text(block.said))
            case Folded():
                found += [f"{'#' * level} {text(block.title)}", *_blocks(block.blocks, level + 1)]
    return found


def _chart(chart: Chart) -> list[str]:
    return [f"**{text(chart.title)}.** {text(chart.said)}", _table(chart.table)]


def _table(table: Table) -> str:
    title = f"**{text(table.title)}**\n\n" if table.title else ""
    rule = ["---:" if i in table.right else "---" for i in range(len(table.head))]
    return title + "\n".join([_line(table.head), f"| {' | '.join(rule)} |", *map(_line, table.lines)])


def _line(cells: Sequence[object]) -> str:
    return f"| {' | '.join(text(cell) for cell in cells)} |"
