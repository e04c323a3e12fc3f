"""Batch sizes at which one engine overtakes another: from the rows of a run, only where both sides are told apart by the verdict's test."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations, pairwise

from knnscope.analysis.measurement import Measurement
from knnscope.analysis.verdict import groups, rival
from knnscope.search.grading import RIGHT


@dataclass(frozen=True, slots=True)
class BatchCrossing:
    """Between two batch sizes that were measured, ``small`` and ``large``, ``after`` becomes faster than ``before``.

    at: where lines through both times cross, on logarithmic scales. first, last: before over after in time at ``small`` and ``large``,
    below and above 1. leads: one of the two is the fastest right engine on its side.
    """

    k: int
    boundary: str
    before: str
    after: str
    small: int
    large: int
    at: float
    first: float
    last: float
    leads: bool


def batch_crossings(rows: Iterable[Measurement]) -> list[BatchCrossing]:
    """All of the right engines, those that change who is fastest first, then by batch size."""
    of: dict[tuple[int, str], dict[int, dict[str, Measurement]]] = {}
    for (k, batch, boundary), members in groups(rows).items():
        right = {r.engine: r for r in members if r.grade in RIGHT and r.median_ns}
        of.setdefault((k, boundary), {})[batch] = right
    found = [o for (k, boundary), at in of.items() for o in _crossings(k, boundary, at)]
    return sorted(found, key=lambda o: (not o.leads, o.boundary == "device", o.k, o.small, o.at))


def _crossings(k: int, boundary: str, at: dict[int, dict[str, Measurement]]) -> list[BatchCrossing]:
    found = []
    fastest = {batch: min(right.values(), key=lambda r: r.took_ns).engine for batch, right in at.items() if right}
    for small, large in pairwise(sorted(fastest)):
        for a, b in combinations([name for name in at[small] if name in at[large]], 2):
            a_first, a_last = (at[batch][a].took_ns < at[batch][b].took_ns for batch in (small, large))
            if a_first == a_last:
                continue
            before, after = (a, b) if a_first else (b, a)
            ahead, behind = rival(at[small][before], at[small][after]), rival(at[large][after], at[large][before])
            if not (ahead.significant and behind.significant):
                continue
            first, last = 1 / ahead.ratio, behind.ratio
            leads = before == fastest[small] or after == fastest[large]
            cross = _crossing(small, large, first, last)
            found.append(BatchCrossing(k, boundary, before, after, small, large, cross, first, last, leads))
    return found


def _crossing(small: int, large: int, first: float, last: float) -> float:
    """Where the ratio of two power laws through these points is 1."""
    share = math.log(first) / (math.log(first) - math.log(last))
    return math.exp(math.log(small) + share * (math.log(large) - math.log(small)))
