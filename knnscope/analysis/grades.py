"""Who answers exactly on hard data: the record of knnscope grade, and what two such records differ in. Reads and compares, asks nobody."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from knnscope.analysis import jsonl
from knnscope.analysis.measurement import Count, Device, Metric, Positive
from knnscope.search.grading import GRADES, Evidence
from knnscope.store import whole_file

Outcome = Literal["exact", "float32", "undecided", "wrong", "refused", "not offered", "failed", "not asked"]
SHOWN = 20
"""Ids of a list that evidence keeps."""


class CaseFacts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a hard case is. batches: queries in a call. later: rows added after the build."""

    name: str
    what: str
    rows: Positive
    dim: Positive
    dtype: str
    k: Positive
    batches: tuple[Positive, ...]
    later: Count = 0


class EngineFacts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An engine that was there. exact: it says that it answers by the definition."""

    name: str
    device: Device
    exact: bool = False


class Graded(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What came of one question: an engine, a case, a metric, a batch size.

    judged, differing, beyond: queries, as in a row of compare. formula: how the engine says that it computes. reason: why there is no
    answer. evidence: of a wrong answer, with the first ids of its lists.
    """

    engine: str
    case: str
    metric: Metric
    batch: Positive
    outcome: Outcome
    judged: Count = 0
    differing: Count = 0
    beyond: Count = 0
    formula: str | None = None
    reason: str | None = None
    evidence: Evidence | None = None

    def __post_init__(self) -> None:
        """Hold the fields to each other.

        Raises:
            ValueError: names the field that does not fit.
        """
        answered = self.outcome in GRADES
        if answered != (self.judged > 0):
            raise ValueError(f"judged: {self.judged} does not go with {self.outcome}")
        if not answered and self.reason is None:
            raise ValueError(f"reason: what is {self.outcome} says why")
        if not self.judged >= self.differing >= self.beyond or (self.beyond > 0) != (self.outcome == "wrong"):
            raise ValueError("beyond: no more than differ, none unless wrong")
        if (self.evidence is not None) != (self.outcome == "wrong"):
            raise ValueError("evidence: of a wrong answer only")


class Grades(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="command", tag="grade"):
    """A run of knnscope grade: what its text and the page say follows from this record.

    absent: engines that are not here, and why. interrupted: it was stopped before all was asked.
    """

    schema_version: Annotated[Literal[1], Meta(description="of this record")] = 1
    environment: dict[str, Any]
    cases: tuple[CaseFacts, ...]
    engines: tuple[EngineFacts, ...]
    absent: dict[str, str]
    interrupted: bool = False
    grades: tuple[Graded, ...]

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Those that were asked, in the order of the record."""
        return tuple(dict.fromkeys(g.metric for g in self.grades))

    def cells(self) -> dict[tuple[str, str, Metric], list[Graded]]:
        """By engine, case and metric: a grade for each batch size, the smallest first."""
        found: dict[tuple[str, str, Metric], list[Graded]] = {}
        for g in self.grades:
            found.setdefault((g.engine, g.case, g.metric), []).append(g)
        return {key: sorted(some, key=lambda g: g.batch) for key, some in found.items()}

    def counts(self, engine: str) -> dict[str, int]:
        """Questions to an engine by outcome."""
        found = dict.fromkeys(Outcome.__args__, 0)  # type: ignore[attr-defined]
        for g in self.grades:
            if g.engine == engine:
                found[g.outcome] += 1
        return found


def save(run: Grades, path: Path) -> None:
    """Write the record, a line for each grade; whole or not at all.

    Raises:
        KnnscopeError: the file cannot be written, or a figure is not finite.
    """
    plain: dict[str, Any] = json.loads(jsonl.text(run))
    grades = plain.pop("grades")
    head = json.dumps(plain, indent=1, ensure_ascii=False, allow_nan=False).removesuffix("\n}")
    lines = ",\n".join(json.dumps(g, ensure_ascii=False, allow_nan=False) for g in grades)
    with whole_file(path, "w", follow=True) as file:
        file.write(f'{head},\n "grades": [\n{lines}\n]}}\n')


def load(path: str | Path) -> Grades:
    """Read what ``save`` wrote.

    Raises:
        KnnscopeError: no such file, or no such record: names file and field.
    """
    found: Grades = jsonl.read_one(Path(path), Grades, "knnscope grade")
    return found


def differences(held: Grades, now: Grades) -> list[str]:
    """What of a record does not hold any more, a line each; only what was asked both times is compared.

    Held is: an engine of exact answers has no other; a refusal stays one, with any reason, and an answer stays an answer; an engine that
    was right throughout a case is not wrong on it. Not held, since processor, threads and BLAS decide it: whether an answer that rounding
    explains, or cannot decide, is the defined one, and whether an engine that was wrong on a case for some metric or batch is so again.
    """
    exact = {e.name for e in now.engines if e.exact}
    wrong = {(g.engine, g.case) for g in held.grades if g.outcome == "wrong"}
    before = {(g.engine, g.case, g.metric, g.batch): g for g in held.grades}
    said = []
    for g in now.grades:
        where = f"{g.engine}, {g.case}, {g.metric}, {_queries(g.batch)}"
        then = before.get((g.engine, g.case, g.metric, g.batch))
        if g.engine in exact and g.outcome in GRADES[1:]:
            said.append(f"{where}: {g.outcome}, and is exact by what it says of itself")
        elif then is None or "not asked" in (then.outcome, g.outcome):
            continue
        elif _kind(then) != _kind(g):
            said.append(f"{where}: was {then.outcome}, is {g.outcome}{f' ({g.reason})' if g.reason else ''}")
        elif g.outcome == "wrong" and (g.engine, g.case) not in wrong:
            said.append(f"{where}: was {then.outcome}, is wrong on {g.beyond} of {g.judged} queries")
    return said


def _kind(g: Graded) -> str:
    return "answered" if g.judged else g.outcome


def _queries(count: int) -> str:
    return f"{count:,} {'query' if count == 1 else 'queries'} a call"


def worst(grades: Iterable[Graded]) -> list[Graded]:
    """For each engine and case the wrong answer with the largest share of queries, in the order they come."""
    found: dict[tuple[str, str], Graded] = {}
    for g in grades:
        if g.outcome == "wrong":
            known = found.get((g.engine, g.case))
            if known is None or g.beyond / g.judged > known.beyond / known.judged:
                found[g.engine, g.case] = g
    return list(found.values())
