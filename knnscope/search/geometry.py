"""What the vectors are like: their lengths, and whether the metrics rank alike on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope.search import definition, reference
from knnscope.search.rounding import norms

ASKED = 50
"""Queries that are searched by every metric."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """Norms of the rows, and of how many queries (``queries``) every other metric gives the ids of ``metric`` in its order."""

    smallest: float
    median: float
    largest: float
    metric: str
    queries: int
    alike: dict[str, int]

    def said(self) -> str:
        """One sentence."""
        low, high = f"{self.smallest:.4g}", f"{self.largest:.4g}"
        if low == high or self.largest - self.smallest <= 1e-5 * self.largest:
            text = f"all vectors have norm {self.median:.4g}"
        else:
            text = f"norms lie between {low} and {high}, median {self.median:.4g}"
        gives = f" the same neighbors as {self.metric} does"
        parts = [
            f"{name}{'' if i else ' gives'} {n}{'' if i else gives}" for i, (name, n) in enumerate(self.alike.items())
        ]
        return f"{text}; of {self.queries} queries, {', '.join(parts)}"


def measure(rows: npt.NDArray[Any], queries: npt.NDArray[Any], k: int, metric: str) -> Geometry:
    """Search some queries by each metric, as defined.

    Args:
        rows: (rows, dim).
        queries: (queries, dim); the first 50 are used.
        k: 1 to the number of rows.
        metric: to compare the others with.
    """
    asked = queries[:ASKED]
    lengths = norms(rows)
    expected = reference.answers(rows, asked, k, metric).ids
    alike = {
        other: int(np.count_nonzero((reference.answers(rows, asked, k, other).ids == expected).all(axis=1)))
        for other in definition.METRICS
        if other != metric
    }
    return Geometry(float(lengths.min()), float(np.median(lengths)), float(lengths.max()), metric, len(asked), alike)
