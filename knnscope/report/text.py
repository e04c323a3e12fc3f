"""How things are printed: tables, and texts cut to a line. Texts are not trusted: control characters do not reach the terminal."""

from __future__ import annotations

import shutil
import textwrap
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


def plain(text: str) -> str:
    """The text in one line without control characters, which could steer the terminal."""
    clean = text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)
    return " ".join(clean.split())


def width_of(text: str) -> int:
    """Columns on a terminal: wide East Asian characters take two, combining ones none."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def screen() -> int:
    """Columns to use."""
    return max(20, min(shutil.get_terminal_size((100, 24)).columns, 120))


def paragraph(text: str, indent: str = "   ", lines: int = 3) -> str:
    """A text wrapped to the screen and cut after a few lines."""
    clean = plain(text)
    if not clean:
        return f"{indent}(empty)"
    return textwrap.fill(
        clean, screen(), initial_indent=indent, subsequent_indent=indent, max_lines=lines, placeholder=" ..."
    )


def table(rows: Iterable[Sequence[object]], head: Sequence[str], right: Sequence[int] = ()) -> str:
    """Columns padded to their widest cell; ``right`` are the numbers of right-aligned columns."""
    cells = [[_cell(cell) for cell in row] for row in (head, *rows)]
    widths = [max(width_of(row[i]) for row in cells) for i in range(len(head))]

    def line(row: list[str]) -> str:
        parts = []
        for i, cell in enumerate(row):
            gap = " " * (widths[i] - width_of(cell))
            parts.append(gap + cell if i in right else cell + gap)
        return "  ".join(parts).rstrip()

    return "\n".join(line(row) for row in cells)


def _cell(value: object) -> str:
    """In one line, without control characters; spaces stay, since they indent."""
    return "".join(c if c.isprintable() else " " for c in str(value))


@dataclass(frozen=True, slots=True)
class Table:
    """A table before it is drawn: a title (may be empty), the heads of its columns, its lines, and the right-aligned columns."""

    title: str
    head: tuple[str, ...]
    lines: list[tuple[object, ...]]
    right: tuple[int, ...] = ()

    def text(self) -> str:
        """The title, if any, and the columns."""
        drawn = table(self.lines, self.head, self.right)
        return f"{self.title}\n{drawn}" if self.title else drawn
