"""Anyone's ground truth, judged by the definition: exact, right up to ties, right up to float32 rounding, undecided, or wrong, with the evidence."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from math import isfinite
from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope.arithmetic import ieee
from knnscope.errors import ArgumentError, KnnscopeError
from knnscope.groundtruth.answers import compute, plan
from knnscope.groundtruth.inputs import Input, Inputs
from knnscope.groundtruth.parts import InMemory
from knnscope.groundtruth.stored import Distances, Stored
from knnscope.progress import bar
from knnscope.records import GroundTruth, IdArray, Neighbors
from knnscope.search import definition
from knnscope.search.grading import RIGHT, Judge
from knnscope.search.rounding import Formula

FLOAT32 = Formula("expanded", "float32")
"""What float32 may do: the formula that loses most, |x|^2 - 2 x.q + |q|^2."""
SHOWN = 10
"""Queries whose evidence is kept."""
ORDER = ("exact", "ties", "float32", "undecided", "wrong")
"""From best to worst. Ties count as float32 in the grade: search/grading.py has no word for them."""


@dataclass(frozen=True, slots=True)
class Wrong:
    """Where an answer departs from the definition furthest: ``search.grading.Evidence`` with the ids of the file."""

    query: int
    rank: int
    row: int
    rival: int | None
    distance: float | None
    rival_distance: float | None
    allowed: float | None
    why: str
    kind: str
    by_row: bool = True


@dataclass(frozen=True, slots=True)
class Verified:
    """The grade of a file of ground truth.

    grade: exact, float32, undecided or wrong. told: the same with ties apart. counts: queries of each. recall: share of the defined ids that are there.
    recall_with_ties: share of places with a row as near as the defined last place. evidence: of the worst queries. unshown: as many have more.
    """

    truth: str
    metric: str
    k: int
    queries: int
    judged: int
    seed: int
    grade: str
    told: str
    counts: dict[str, int]
    recall: float
    recall_with_ties: float
    evidence: tuple[Wrong, ...] = ()
    unshown: int = 0
    distances: Distances | None = None

    @property
    def ok(self) -> bool:
        """Whether ids are right up to float32 rounding, and so are distances, where there are any."""
        return self.grade in RIGHT and (self.distances is None or self.distances.fit)

    def to_dict(self) -> dict[str, Any]:
        """In JSON's own types; None for what is not finite."""
        found = {**asdict(self), "evidence": [asdict(one) for one in self.evidence], "ok": self.ok}
        for one in (*found["evidence"], found["distances"] or {}):
            one.update({name: None for name, value in one.items() if isinstance(value, float) and not isfinite(value)})
        return found

    @classmethod
    def of(cls, found: dict[str, Any]) -> Verified:
        """What ``to_dict`` gave.

        Raises:
            KeyError: a part is missing.
            TypeError: a part is something else.
        """
        distances = found["distances"]
        kept = {name: found[name] for name in cls.__slots__}
        kept["evidence"] = tuple(Wrong(**one) for one in found["evidence"])
        kept["distances"] = None if distances is None else Distances(**distances)
        return cls(**kept)


@dataclass(frozen=True, slots=True)
class Asked:
    """How to verify: a seeded sample of the queries (None: all), MiB, threads."""

    sample: int | None = None
    seed: int = 0
    memory: int | None = None
    threads: int | None = None


@dataclass
class _Tally:
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(ORDER, 0))
    recall: float = 0.0
    with_ties: float = 0.0
    evidence: dict[str, list[Wrong]] = field(default_factory=lambda: {name: [] for name in ORDER[1:]})


def verify_inputs(inputs: Inputs, truth: GroundTruth, name: str, asked: Asked) -> Verified:
    """Grade ground truth.

    Args:
        inputs: what it claims to be of.
        truth: as the file has it; nothing of it is believed.
        name: of the file.
        asked: how.

    Raises:
        KnnscopeError: another number of queries, more neighbors than rows, or a sample beyond the queries.
    """
    queries, rows = len(inputs.queries.values), len(inputs.base.values)
    if len(truth.ids) != queries:
        raise KnnscopeError(
            f"{name}: answers {len(truth.ids):,} queries, {inputs.queries.name} holds {queries:,}: not its ground truth"
        )
    k = int(truth.ids.shape[1])
    if k > rows:
        raise KnnscopeError(
            f"{name}: {k:,} neighbors of each query, {inputs.base.name} has {rows:,} rows: not its ground truth"
        )
    if asked.sample is not None and not 1 <= asked.sample <= queries:
        raise ArgumentError(f"sample {asked.sample}: there are {queries:,} queries")
    chance = np.random.default_rng(asked.seed)
    lines = np.arange(queries) if asked.sample is None else np.sort(chance.choice(queries, asked.sample, replace=False))
    some = inputs.queries.values if asked.sample is None else inputs.queries.values[lines]
    part = Inputs(inputs.base, Input(inputs.queries.name, some), inputs.metric, inputs.ids)
    expected = _defined(part, k, asked)
    stored = Stored(inputs.metric, inputs.base.values.shape[1]) if truth.distances is not None else None
    tally = _judged(part, expected, lines, truth, stored)
    told = next(name for name in reversed(ORDER) if tally.counts[name] or name == "exact")
    shown = tally.evidence.get(told, [])
    total = tally.counts[told] if told != "exact" else 0
    return Verified(
        name,
        inputs.metric,
        k,
        queries,
        len(lines),
        asked.seed,
        "float32" if told == "ties" else told,
        told,
        tally.counts,
        tally.recall / (len(lines) * k),
        tally.with_ties / (len(lines) * k),
        tuple(shown),
        total - len(shown),
        stored.summary() if stored is not None else None,
    )


def _defined(inputs: Inputs, k: int, asked: Asked) -> Neighbors:
    planned = plan(inputs, k, asked.memory, asked.threads)
    store = InMemory(len(inputs.queries.values), planned.batch)
    compute(inputs, planned, store, "defined answers")
    found = [part.found for i in range(len(store.batches)) if (part := store.get(i)) is not None]
    return Neighbors(np.concatenate([f.ids[:, :k] for f in found]), np.concatenate([f.distances[:, :k] for f in found]))


def _judged(
    inputs: Inputs, expected: Neighbors, lines: npt.NDArray[np.intp], truth: GroundTruth, stored: Stored | None
) -> _Tally:
    """Line by line; only what differs goes through the definition again, or all of it where distances are to be held against it."""
    tally = _Tally()
    rows = _Rows(inputs.names, len(inputs.base.values))
    named = Neighbors(rows.of(expected.ids), expected.distances)
    judge = Judge(inputs.base.values, inputs.queries.values, named, inputs.metric)
    with bar(len(lines), "grade", "query") as progress:
        for at, query in enumerate(lines.tolist()):
            given = np.asarray(truth.ids[query])
            ids = given.astype(np.int64)
            values = expected.distances[at]
            kind = "exact" if (ids == expected.ids[at]).all() else ""
            if not kind:
                kind, values = _differing(judge, rows, ids, at, query, tally)
            else:
                tally.recall += len(ids)
                tally.with_ties += len(ids)
            tally.counts[kind] += 1
            if stored is not None and truth.distances is not None:
                found = rows.of(ids)
                known = found >= 0
                of = inputs.base.values[np.where(known, found, 0)]
                stored.add(query, truth.distances[query], values, known, of, inputs.queries.values[at])
            progress.update()
    return tally


@ieee
def _differing(
    judge: Judge, rows: _Rows, ids: IdArray, at: int, query: int, tally: _Tally
) -> tuple[str, npt.NDArray[np.float64]]:
    """The kind of an answer that differs, and the defined distance of each place: NaN where there is no such row."""
    found, expected = rows.of(ids), judge.truth.ids[at]
    defined = judge.truth.distances[at]
    known = found >= 0
    values = np.full(len(ids), np.nan)
    if known.any():
        asked = judge.queries[at : at + 1]
        values[known] = definition.distances(judge.rows[found[known]], asked, judge.metric)[0]
    different = np.unique(found[known], return_index=True)[1]
    once = np.flatnonzero(known)[different]
    tally.recall += len(np.intersect1d(found[once], expected, assume_unique=True))
    near = values[once] >= defined[-1] if definition.descending(judge.metric) else values[once] <= defined[-1]
    tally.with_ties += int(near.sum())
    if len(once) == len(ids) and (values == defined).all():
        rank = int(np.flatnonzero(found != expected)[0])
        why = "is as near and has the smaller id"
        evidence = Wrong(
            query,
            rank + 1,
            int(ids[rank]),
            rows.name(int(expected[rank])),
            float(values[rank]),
            float(defined[rank]),
            None,
            why,
            "ties",
        )
        kind = "ties"
    else:
        grade = judge.grade(found[None], at, FLOAT32)
        kind, e = grade.grade, grade.evidence
        assert e is not None  # it differs
        there = 0 <= e.row < len(judge.rows)
        evidence = Wrong(
            query,
            e.rank,
            rows.name(e.row) if there else int(ids[e.rank - 1]),
            None if e.rival is None else rows.name(e.rival),
            e.distance,
            e.rival_distance,
            e.allowed,
            e.why if there else "is no row of the base",
            kind,
            there,
        )
    if len(tally.evidence[kind]) < SHOWN:
        tally.evidence[kind].append(evidence)
    return kind, values


class _Rows:
    """Rows by their ids: ids are numbers of rows where there are no names."""

    def __init__(self, names: npt.NDArray[np.int64] | None, rows: int) -> None:
        self._names, self._rows = names, rows
        self._order = None if names is None else np.argsort(names)

    def of(self, ids: IdArray) -> IdArray:
        """Numbers of rows; -1 for what is none."""
        if self._names is None or self._order is None:
            found: IdArray = np.where((ids >= 0) & (ids < self._rows), ids, -1)
            return found
        place = np.searchsorted(self._names, ids, sorter=self._order)
        at = self._order[np.minimum(place, self._rows - 1)]
        return np.where(self._names[at] == ids, at, -1)

    def name(self, row: int) -> int:
        """The id of a row."""
        return row if self._names is None else int(self._names[row])
