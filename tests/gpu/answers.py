"""Answers of a GPU beside others."""

from __future__ import annotations

from typing import Any

import numpy as np

from knnscope.search import definition


def same(found: Any, expected: Any) -> None:
    """Bit by bit, wherever they lie."""
    for name in ("ids", "distances"):
        values = getattr(found, name)
        np.testing.assert_array_equal(
            values if isinstance(values, np.ndarray) else values.get(), getattr(expected, name)
        )


def as_defined(found: Any, rows: np.ndarray, queries: np.ndarray, k: int, metric: str) -> None:
    """Bit by bit what the definition gives."""
    same(found, definition.search(rows, queries, k, metric, threads=8))
