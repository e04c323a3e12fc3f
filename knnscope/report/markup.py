"""HTML for notebooks. Every text is escaped, since names and texts are not trusted, and what is long is cut: ``rows`` has all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from itertools import islice

from knnscope.report.text import plain
from knnscope.units import short

LINES = 200
"""Of a table."""
CELL = 300
"""Characters of a cell or a caption."""
PARAGRAPH = 2000
"""Characters of a sentence."""


def paragraph(text: str) -> str:
    """A text in one line."""
    return f"<p>{escape(short(plain(text), PARAGRAPH))}</p>"


def table(head: Sequence[str], lines: Iterable[Sequence[object]], right: Sequence[int] = (), title: str = "") -> str:
    """Columns with their names; ``right`` are the numbers of right-aligned columns, ``title`` is the caption.

    A line below says how many lines are left out, where there are more than ``LINES``.
    """
    styles = [' style="text-align: right"' if i in right else "" for i in range(len(head))]

    def cut(cell: object) -> str:
        return escape(short(plain(str(cell)), CELL))

    def line(tag: str, cells: Sequence[object]) -> str:
        inside = (f"<{tag}{s}>{cut(c)}</{tag}>" for s, c in zip(styles, cells, strict=True))
        return f"<tr>{''.join(inside)}</tr>"

    rest = iter(lines)
    body = "".join(line("td", cells) for cells in islice(rest, LINES))
    left = sum(1 for _ in rest)
    more = paragraph(f"and {left:,} more: rows() gives all") if left else ""
    caption = f"<caption>{cut(title)}</caption>" if title else ""
    return f"<table>{caption}<thead>{line('th', head)}</thead><tbody>{body}</tbody></table>{more}"


def div(parts: Iterable[str]) -> str:
    """Parts one below the other."""
    return f"<div>{''.join(parts)}</div>"
