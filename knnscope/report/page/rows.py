"""The rows of a run as CSV, as they were measured: no samples and no lists, which results.jsonl has."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from io import StringIO

from knnscope.analysis.measurement import Measurement, RungMeasurement, to_dict
from knnscope.report.page.content import readable

NESTED = ("samples_ns", "evidence", "ids")
"""Fields that are no single value."""
FORMULA = ("=", "+", "-", "@")
"""With these a spreadsheet takes a text for a formula: it gets a space before it."""


def render(rows: Sequence[Measurement] | Sequence[RungMeasurement]) -> str:
    """A line of names, then a line a row; what is unknown is empty."""
    flat = [{name: _cell(value) for name, value in to_dict(row).items() if name not in NESTED} for row in rows]
    file = StringIO()
    writer = csv.DictWriter(file, list(flat[0]) if flat else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return file.getvalue()


def _cell(value: object) -> object:
    if not isinstance(value, str):
        return value
    text = readable(value)
    return f" {text}" if text.startswith(FORMULA) else text
