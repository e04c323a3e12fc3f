"""Is an answer right? ``exact``, right up to the rounding of ``float32``, ``undecided`` or ``wrong``, with the evidence.

A bound on rounding says something of an answer only where it is small against what tells rows apart. Squared distances of vectors far
from the origin, by the expanded form, have a bound larger than all differences between them: held to it, any rows would do. So an answer
in the wrong order is ``undecided`` where the bound of the k-th neighbor and another row is more than ``SMALL`` of what that row is
further than the k-th neighbor, for half of all other rows or more.

Ids are held to the definition. Distances, where there are any, are held to the bound of the engine's own formula (``rounding``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope.arithmetic import ieee
from knnscope.checks import COMPONENTS
from knnscope.errors import KnnscopeError
from knnscope.records import IdArray, Neighbors
from knnscope.search import definition
from knnscope.search.rounding import UNITS, Float64, Formula, norms

GRADES = ("exact", "float32", "undecided", "wrong")
"""From best to worst."""
FLOAT32, UNDECIDED, WRONG = range(1, len(GRADES))
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
    both by definition. allowed: how much rounding explains. ids, expected: both lists. why: in words. Without a rival, but with a distance, it is
    the distance that was given which departs. spread: of an undecided answer, how much further than the k-th neighbor half of the other rows are at most.
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

    @property
    def said(self) -> str:
        """What is at that rank, in words."""
        return f"row {self.row} {'' if self.rival is None else 'stands where one '}{self.why}"


@dataclass(frozen=True, slots=True)
class Grade:
    """The grade of a batch of answers.

    queries: how many were judged. differing: of those, how many have other ids or distances than defined (distances: by more than rounding).
    beyond: how many by more than rounding. levels: of each query, by its number, which of ``GRADES`` its worst answer has.
    """

    grade: str
    queries: int
    differing: int
    beyond: int
    evidence: Evidence | None = None
    levels: Mapping[int, int] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def of(cls, levels: Mapping[int, int], evidence: Evidence | None) -> Grade:
        """From the worst level of each query, of which there is at least one, and the evidence for the worst of all."""
        found = list(levels.values())
        beyond = sum(level == WRONG for level in found)
        return cls(GRADES[max(found)], len(found), sum(map(bool, found)), beyond, evidence, levels)

    def numbered(self, numbers: Mapping[int, int] | IdArray) -> Grade:
        """With other numbers of queries; one that comes more than once counts once, by its worst answer."""
        levels: dict[int, int] = {}
        for query, level in self.levels.items():
            number = int(numbers[query])
            levels[number] = max(level, levels.get(number, 0))
        e = self.evidence
        return Grade.of(levels, None if e is None else replace(e, query=int(numbers[e.query])))

    def with_others(self, other: Grade) -> Grade:
        """Both batches together: the worse grade, and the evidence for it. A query that is in both counts once."""
        worse = max(self, other, key=lambda g: GRADES.index(g.grade))
        both = [min(self.levels[query], other.levels[query]) for query in self.levels.keys() & other.levels.keys()]
        return Grade(
            worse.grade,
            self.queries + other.queries - len(both),
            self.differing + other.differing - sum(map(bool, both)),
            self.beyond + other.beyond - sum(level == WRONG for level in both),
            worse.evidence,
            {**self.levels, **{q: max(level, self.levels.get(q, 0)) for q, level in other.levels.items()}},
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
    def grade(self, ids: IdArray, first: int, formula: Formula, distances: npt.NDArray[Any] | None = None) -> Grade:
        """Grade the answers to the queries from ``first`` on.

        Args:
            ids: (queries, k) as the engine gave them; k at most that of the truth.
            first: number of the first query.
            formula: how the engine says that it computes. What it allows of ids is never more than float32 does.
            distances: (queries, k) that came with them; None where there are none to judge. What the formula allows of them is never less than
                rounding the true ones to float32.
        """
        k = ids.shape[1]
        expected = self.truth.ids[first : first + len(ids), :k]
        differing = np.flatnonzero((ids != expected).any(axis=1))
        held_to = formula if formula.precision != "tf32" else Formula(formula.form, "float32")
        levels = dict.fromkeys(range(first, first + len(ids)), 0)
        worst: Evidence | None = None
        badness = 0, 0.0
        for line in differing.tolist():
            ratio, found = self._worst(ids[line], expected[line], first + line, held_to)
            level = levels[first + line] = WRONG if ratio > 1 else FLOAT32 if found.spread is None else UNDECIDED
            if (level, ratio) > badness:
                badness, worst = (level, ratio), found
        if distances is not None:
            step = max(1, COMPONENTS // max(1, k * self.rows.shape[1]))
            for start in range(0, len(ids), step):
                some = slice(start, start + step)
                for query, off in self._off_distances(ids[some], distances[some], first + start, formula):
                    worst = worst if badness[0] == WRONG else off  # ids that are wrong say more
                    levels[query] = WRONG
        return Grade.of(levels, worst)

    def _off_distances(
        self, ids: IdArray, distances: npt.NDArray[Any], first: int, formula: Formula
    ) -> list[tuple[int, Evidence]]:
        """Of each query with a distance that rounding does not explain: its number, and the distance furthest off."""
        k = ids.shape[1]
        true = np.array(self.truth.distances[first : first + len(ids), :k], dtype=np.float64)
        for line in np.flatnonzero((ids != self.truth.ids[first : first + len(ids), :k]).any(axis=1)).tolist():
            if _malformed(ids[line], len(self.rows)):
                return self._off_apart(ids, distances, first, formula)
            asked = self.queries[first + line : first + line + 1]
            true[line] = definition.distances(self.rows[ids[line]], asked, self.metric)[0]
        lengths = (
            norms(self.rows[ids.ravel()]).reshape(ids.shape),
            norms(self.queries[first : first + len(ids)])[:, None],
        )
        allowed = formula.bound(self.metric, self.rows.shape[1], true, *lengths)
        if not formula.defined:  # the true ones are rounded as well, and may be given in float32
            rounded = Formula("difference", "float64").bound(self.metric, self.rows.shape[1], true, *lengths)
            allowed = allowed + rounded + UNITS["float32"] * np.abs(true)
        with np.errstate(invalid="ignore"):
            beyond = np.abs(distances - true) - allowed
        beyond[np.isnan(beyond)] = np.inf
        found = []
        for line in np.flatnonzero((beyond > 0).any(axis=1)).tolist():
            rank = int(beyond[line].argmax())
            why = f"was given the distance {distances[line, rank]:.7g}, which is {true[line, rank]:.7g}"
            lists = tuple(ids[line].tolist()), tuple(self.truth.ids[first + line, :k].tolist())
            row, value, most = int(ids[line, rank]), float(true[line, rank]), float(allowed[line, rank])
            found.append((first + line, Evidence(first + line, rank + 1, row, None, value, None, most, *lists, why)))
        return found

    def _off_apart(
        self, ids: IdArray, distances: npt.NDArray[Any], first: int, formula: Formula
    ) -> list[tuple[int, Evidence]]:
        """The same where some answers are not rows at all, which are wrong already."""
        found: list[tuple[int, Evidence]] = []
        for line in range(len(ids)):
            if not _malformed(ids[line], len(self.rows)):
                found += self._off_distances(ids[line : line + 1], distances[line : line + 1], first + line, formula)
        return found

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
