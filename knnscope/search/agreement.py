"""Do several engines give the same answer, and if not, how far apart in float64 are the rows that they exchanged?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope.checks import COMPONENTS
from knnscope.records import Neighbors
from knnscope.search import definition


@dataclass(frozen=True, slots=True)
class Difference:
    """The first rank of a query where an engine gives another row than the reference, and both float64 distances."""

    engine: str
    query: int
    rank: int
    row: int
    expected_row: int
    distance: float
    expected_distance: float


def differences(
    found: Mapping[str, Neighbors], reference: str, rows: npt.NDArray[Any], queries: npt.NDArray[Any], metric: str
) -> list[Difference]:
    """One entry for each engine and query whose ids differ from the reference's.

    Args:
        found: engine name to neighbors, all of the same shape.
        reference: the name to compare with.
        rows: (rows, dim), to recompute distances by definition.
        queries: (queries, dim).
        metric: as searched.
    """
    expected = found[reference].ids
    said = []
    for engine, answer in found.items():
        for query in np.flatnonzero((answer.ids != expected).any(axis=1)).tolist():
            rank = int(np.flatnonzero(answer.ids[query] != expected[query])[0])
            row, wanted = int(answer.ids[query, rank]), int(expected[query, rank])
            both = definition.distances(rows[[row, wanted]], queries[query : query + 1], metric)[0].tolist()
            said.append(Difference(engine, query, rank + 1, row, wanted, both[0], both[1]))
    return said


def ranks(rows: npt.NDArray[Any], query: npt.NDArray[Any], wanted: list[int], metric: str) -> dict[int, int]:
    """Rank from 1 of each wanted row in the full order of all rows, by definition.

    Args:
        rows: (rows, dim).
        query: (1, dim).
        wanted: row numbers.
        metric: one of ``definition.METRICS``.
    """
    keys = {row: definition.distances(rows[row : row + 1], query, metric)[0, 0] for row in wanted}
    before = dict.fromkeys(wanted, 0)
    step = max(1, min(definition.PAIRS, COMPONENTS // rows.shape[1]))
    for start in range(0, len(rows), step):
        values = definition.distances(rows[start : start + step], query, metric)[0]
        ids = np.arange(start, start + len(values))
        for row, key in keys.items():
            nearer = values > key if definition.descending(metric) else values < key
            before[row] += int(np.count_nonzero(nearer | ((values == key) & (ids < row))))
    return {row: count + 1 for row, count in before.items()}
