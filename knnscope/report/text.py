"""How things are printed: tables, sizes, texts cut to a line. Texts are not trusted: control characters are shown, not sent."""

from __future__ import annotations

import shutil
import textwrap
import unicodedata
from collections.abc import Iterable, Sequence


def plain(text: str) -> str:
    """The text in one line without control characters, which could steer the terminal."""
    clean = "".join(c if c.isprintable() or c == " " else " " for c in text)
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
    cells = [list(head), *([str(cell) for cell in row] for row in rows)]
    widths = [max(width_of(row[i]) for row in cells) for i in range(len(head))]

    def line(row: list[str]) -> str:
        parts = []
        for i, cell in enumerate(row):
            gap = " " * (widths[i] - width_of(cell))
            parts.append(gap + cell if i in right else cell + gap)
        return "  ".join(parts).rstrip()

    return "\n".join(line(row) for row in cells)


def size(count: float | None) -> str:
    """Bytes in binary units."""
    if count is None:
        return "unknown"
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if count >= 10 or unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
