"""The answer to a question to a trace, as a table, CSV, JSON or HTML. Cells are not trusted: control characters do not reach the terminal."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

from knnscope.report import markup
from knnscope.report.text import plain, table
from knnscope.trace.asking import Answer

CELL = 100
"""Characters of a cell in a table; other formats give all."""
FORMATS = ("table", "csv", "json")


def text(found: Answer) -> str:
    """A table; numbers are right-aligned."""
    cells = [[_cut(plain(_text(cell))) for cell in line] for line in found.lines]
    return table(cells, [_cut(plain(name)) for name in found.columns], right=_numeric(found))


def as_json(found: Answer) -> str:
    """A list of objects."""
    return json.dumps(found.rows(), indent=2, allow_nan=False)


def as_csv(found: Answer, raw: bool = False) -> str:
    """Comma-separated values. Texts that a spreadsheet would run as a formula begin with an apostrophe, unless ``raw``."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([_no_formula(plain(name), raw) for name in found.columns])
    for line in found.lines:
        writer.writerow([plain(_text(c)) if _is_number(c) else _no_formula(plain(_text(c)), raw) for c in line])
    return file.getvalue()


def html(found: Answer) -> str:
    """A table for a notebook."""
    cells = [[_cut(plain(_text(cell))) for cell in line] for line in found.lines]
    more = [markup.paragraph(f"there are more rows than these {len(found):,}")] if found.more else []
    return markup.div([markup.table([*found.columns], cells, _numeric(found)), *more])


def _numeric(found: Answer) -> list[int]:
    """Columns of numbers."""
    lines = found.lines
    return [
        i
        for i in range(len(found.columns))
        if any(line[i] is not None for line in lines) and all(_is_number(line[i]) for line in lines)
    ]


def _no_formula(text: str, raw: bool) -> str:
    return f"'{text}" if not raw and text.startswith(("=", "+", "-", "@")) else text


def _is_number(cell: Any) -> bool:
    return cell is None or isinstance(cell, int | float)


def _text(cell: Any) -> str:
    return "" if cell is None else cell.hex() if isinstance(cell, bytes) else str(cell)


def _cut(text: str) -> str:
    return text if len(text) <= CELL else f"{text[: CELL - 4]} ..."
