"""Is an answer right? ``exact``, right up to the rounding of ``float32``, ``undecided`` or ``wrong``, with the evidence.

A bound on rounding says something of an answer only where it is small against what tells rows apart. Squared distances of vectors far
from the origin, by the expanded form, have a bound larger than all differences between them: held to it, any rows would do. So an answer
in the wrong order is ``undecided`` where the bound of the k-th neighbor and another row is more than ``SMALL`` of what that row is
further than the k-th neighbor, for half of all other rows or more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope.arithmetic import ieee
from knnscope.errors import KnnscopeError
from knnscope.records import IdArray, Neighbors
from knnscope.search import definition
from knnscope.search.rounding import Float64, Formula, norms

GRADES = ("exact", "float32", "undecided", "wrong")
"""From best to worst."""
RIGHT = ("exact", "float32")
"""Those of an answer that is known to be right."""
SMALL = 0.1
"""Share of the way from the k-th neighbor to an ordinary row that rounding may take up: what float32 excuses lies in the first tenth."""
ORDINARY = 1000
"""Rows drawn to know how far ordinary rows are: a median of so many is within 3% of the ranks of all, 19 times of 20."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Where an answer departs from the definition furthest.

    query: row of the query. rank: from 1. row: what stands there. rival: the row that should stand before it. distance, rival_distance:
    both by definition. allowed: how much rounding explains. ids, expected: both lists. why: in words. spread: of an undecided answer, how much
    further than the k-th neighbor half of the other rows are at most.
    """

    query: int
    rank: int
    row: int
    rival: int | None
    distance: float | None
    rival_distance: float | None
    allowed: float | None
    ids: tuple[int, ...]
    expected: tuple[int, ...]
    why: str
    spread: float | None = None


@dataclass(frozen=True, slots=True)
class Grade:
    """The grade of a batch of answers.

    queries: how many were judged. differing: of those, how many have other ids than defined. beyond: how many by more than rounding.
    """

    grade: str
    queries: int
    differing: int
    beyond: int
    evidence: Evidence | None = None

    def with_others(self, other: Grade) -> Grade:
        """Both batches together: the worse grade, and the evidence for it."""
        worse = max(self, other, key=lambda g: GRADES.index(g.grade))
        return Grade(
            worse.grade,
            self.queries + other.queries,
            self.differing + other.differing,
            self.beyond + other.beyond,
            worse.evidence,
        )


@dataclass(frozen=True, slots=True)
class Judge:
    """The data, the defined answer to every query, and the metric.

    Raises:
        KnnscopeError: a distance of the truth overflows: against an infinite one any answer would pass.
    """

    rows: npt.NDArray[Any]
    queries: npt.NDArray[Any]
    truth: Neighbors
    metric: str

    def __post_init__(self) -> None:
        if not np.isfinite(self.truth.distances).all():
            raise KnnscopeError(f"{self.metric} of finite numbers overflows: scale the vectors down")

    @ieee
    def grade(self, ids: IdArray, first: int, formula: Formula) -> Grade:
        """Grade the answers to the queries from ``first`` on.

        Args:
            ids: (queries, k) as the engine gave them; k at most that of the truth.
            first: number of the first query.
            formula: how the engine says that it computes. What it allows is never more than float32 does.
        """
        k = ids.shape[1]
        expected = self.truth.ids[first : first + len(ids), :k]
        differing = np.flatnonzero((ids != expected).any(axis=1))
        held_to = formula if formula.precision != "tf32" else Formula(formula.form, "float32")
        worst: Evidence | None = None
        badness = 0, 0.0
        beyond = 0
        for line in differing.tolist():
            ratio, found = self._worst(ids[line], expected[line], first + line, held_to)
            if ratio > 1:
                beyond += 1
            grade = 2 if ratio > 1 else 0 if found.spread is None else 1
            if (grade, ratio) > badness:
                badness, worst = (grade, ratio), found
        grades = "float32", "undecided", "wrong"
        return Grade(grades[badness[0]] if len(differing) else "exact", len(ids), len(differing), beyond, worst)

    def _worst(self, ids: IdArray, expected: IdArray, query: int, formula: Formula) -> tuple[float, Evidence]:
        """The pair of rows in the wrong order whose gap is largest against what rounding allows, and that ratio."""
        lists = tuple(ids.tolist()), tuple(expected.tolist())
        broken = _malformed(ids, len(self.rows))
        if broken:
            rank, why = broken
            return float("inf"), Evidence(query, rank + 1, int(ids[rank]), None, None, None, None, *lists, why)
        k = len(ids)
        missing = np.setdiff1d(expected, ids)
        chosen = np.concatenate([ids, missing])
        asked = self.queries[query : query + 1]
        values = definition.distances(self.rows[chosen], asked, self.metric)[0]
        lengths = self.metric, self.rows.shape[1], values, norms(self.rows[chosen]), norms(asked)
        off = _off(formula, *lengths)
        keys = -values if definition.descending(self.metric) else values
        gaps = keys[:k, None] - keys[None, :]  # how much further the row at this rank is than one that comes later
        allowed = off[:k, None] + off[None, :]
        later = np.arange(len(chosen))[None, :] > np.arange(k)[:, None]
        behind = later & ((gaps > 0) | ((gaps == 0) & (chosen[:k, None] > chosen[None, :])))
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(behind, np.where(gaps > 0, gaps / allowed, 0.0), -1.0)
            if formula.defined:
                ratio = np.where(behind & (gaps == 0), np.inf, ratio)  # a tie in the wrong order
        rank, rival = divmod(int(ratio.argmax()), ratio.shape[1])
        why = "is nearer and comes later" if rival < k else "is nearer and is missing"
        if gaps[rank, rival] == 0:
            why = "is as near and has the smaller number"
        spread = None
        if 0 < ratio[rank, rival] <= 1:
            last = int(np.flatnonzero(chosen == expected[-1])[0])
            spread = self._vacuous(query, formula, chosen, (float(values[last]), float(off[last])))
        evidence = Evidence(
            query,
            int(rank) + 1,
            int(chosen[rank]),
            int(chosen[rival]),
            float(values[rank]),
            float(values[rival]),
            float(allowed[rank, rival]),
            *lists,
            why,
            spread,
        )
        return max(float(ratio[rank, rival]), np.finfo(float).tiny), evidence

    def _vacuous(self, query: int, formula: Formula, chosen: IdArray, last: tuple[float, float]) -> float | None:
        """How much further than the k-th neighbor ordinary rows are, where the bound is not small against that; else None.

        Args:
            query: row of the query.
            formula: what the answer is held to.
            chosen: rows of the answer and of the defined one, which are left out where there are others.
            last: value of the k-th neighbor, and its bound.
        """
        some = np.random.default_rng(0).choice(len(self.rows), min(ORDINARY, len(self.rows)), replace=False)
        others = some[~np.isin(some, chosen)]
        rows = self.rows[np.sort(others if len(others) else some)]
        asked = self.queries[query : query + 1]
        values = definition.distances(rows, asked, self.metric)[0]
        off = _off(formula, self.metric, rows.shape[1], values, norms(rows), norms(asked))
        apart = np.abs(values - last[0])
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.where(apart > 0, (off + last[1]) / apart, np.inf)
        return float(np.median(apart)) if np.median(share) > SMALL else None


def _off(formula: Formula, metric: str, dim: int, values: Float64, row_norms: Float64, query_norms: Float64) -> Float64:
    """The bound of a formula; but for the definition's own, the values compared with are rounded as well."""
    off = formula.bound(metric, dim, values, row_norms, query_norms)
    if not formula.defined:
        off = off + Formula("difference", "float64").bound(metric, dim, values, row_norms, query_norms)
    return off


def _malformed(ids: IdArray, rows: int) -> tuple[int, str] | None:
    for rank, row in enumerate(ids.tolist()):
        if not 0 <= row < rows:
            return rank, f"is no row: there are {rows}"
        if row in ids[:rank]:
            return rank, "is given twice"
    return None
