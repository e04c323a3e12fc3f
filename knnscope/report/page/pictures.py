"""The charts of a page as files of their own, for slides and papers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from knnscope.report.page import charts, runtime, vega
from knnscope.report.page.content import Document
from knnscope.store import whole_file

FORMATS = ("png", "svg")
WIDE = 640
"""Pixels of a chart's view."""


def write(document: Document, folder: Path, formats: Sequence[str] = FORMATS) -> list[Path]:
    """Write each chart under its name.

    Args:
        document: the page.
        folder: where to; it is made.
        formats: of ``FORMATS``.

    Raises:
        KnnscopeError: the folder cannot be written.
    """
    written = []
    for chart in document.charts():
        spec = {**charts.drawn(chart, WIDE), "title": _title(chart.title)}
        for form in formats:
            path = folder / f"{chart.name}.{form}"
            with whole_file(path) as file:
                file.write(runtime.picture(spec, form))
            written.append(path)
    return written


def _title(text: str) -> dict[str, object]:
    return {"text": text, "anchor": "start", "fontSize": 14, "offset": 12, "color": vega.INK}
