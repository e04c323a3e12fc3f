"""Is an answer right? ``exact``, right up to the rounding of ``float32``, or ``wrong``, with the evidence.

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
from knnscope.search.rounding import UNITS, Formula, norms

GRADES = ("exact", "float32", "wrong")
"""From best to worst."""
WRONG = GRADES.index("wrong")


@dataclass(frozen=True, slots=True)
class Evidence:
    """Where an answer departs from the definition furthest.

    query: row of the query. rank: from 1. row: what stands there. rival: the row that should stand before it. distance, rival_distance:
    both by definition. allowed: how much rounding explains. ids, expected: both lists. why: in words. Without a rival, but with a distance, it is
    the distance that was given which departs.
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
        share = 0.0
        for line in differing.tolist():
            found = self._worst(ids[line], expected[line], first + line, held_to)
            levels[first + line] = WRONG if found[0] > 1 else 1
            if found[0] > share:
                share, worst = found
        if distances is not None:
            step = max(1, COMPONENTS // max(1, k * self.rows.shape[1]))
            for start in range(0, len(ids), step):
                some = slice(start, start + step)
                for query, off in self._off(ids[some], distances[some], first + start, formula):
                    worst = worst if share > 1 else off  # ids that are wrong say more
                    levels[query] = WRONG
        return Grade.of(levels, worst)

    def _off(
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
                found += self._off(ids[line : line + 1], distances[line : line + 1], first + line, formula)
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
