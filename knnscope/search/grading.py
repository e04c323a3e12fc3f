"""Is an answer right? ``exact``, right up to the rounding of ``float32``, or ``wrong``, with the evidence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope.arithmetic import ieee
from knnscope.errors import KnnscopeError
from knnscope.records import IdArray, Neighbors
from knnscope.search import definition
from knnscope.search.rounding import Formula, norms

GRADES = ("exact", "float32", "wrong")
"""From best to worst."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Where an answer departs from the definition furthest.

    query: row of the query. rank: from 1. row: what stands there. rival: the row that should stand before it. distance, rival_distance:
    both by definition. allowed: how much rounding explains. ids, expected: both lists. why: in words.
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
        share = 0.0
        beyond = 0
        for line in differing.tolist():
            found = self._worst(ids[line], expected[line], first + line, held_to)
            if found[0] > 1:
                beyond += 1
            if found[0] > share:
                share, worst = found
        grade = "wrong" if beyond else "float32" if len(differing) else "exact"
        return Grade(grade, len(ids), len(differing), beyond, worst if len(differing) else None)

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
        off = formula.bound(*lengths)
        if not formula.defined:  # the values that they are compared with are rounded as well
            off = off + Formula("difference", "float64").bound(*lengths)
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
        )
        return max(float(ratio[rank, rival]), np.finfo(float).tiny), evidence


def _malformed(ids: IdArray, rows: int) -> tuple[int, str] | None:
    for rank, row in enumerate(ids.tolist()):
        if not 0 <= row < rows:
            return rank, f"is no row: there are {rows}"
        if row in ids[:rank]:
            return rank, "is given twice"
    return None
