"""HTML for notebooks. Every text is escaped: names and texts are not trusted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from knnscope.report.text import plain


def paragraph(text: str) -> str:
    """A text in one line."""
    return f"<p>{escape(plain(text))}</p>"


def table(head: Sequence[str], lines: Iterable[Sequence[object]], right: Sequence[int] = (), title: str = "") -> str:
    """Columns with their names; ``right`` are the numbers of right-aligned columns, ``title`` is the caption."""
    styles = [' style="text-align: right"' if i in right else "" for i in range(len(head))]

    def line(tag: str, cells: Sequence[object]) -> str:
        inside = (f"<{tag}{s}>{escape(plain(str(c)))}</{tag}>" for s, c in zip(styles, cells, strict=True))
        return f"<tr>{''.join(inside)}</tr>"

    caption = f"<caption>{escape(plain(title))}</caption>" if title else ""
    body = "".join(line("td", cells) for cells in lines)
    return f"<table>{caption}<thead>{line('th', head)}</thead><tbody>{body}</tbody></table>"


def div(parts: Iterable[str]) -> str:
    """Parts one below the other."""
    return f"<div>{''.join(parts)}</div>"
