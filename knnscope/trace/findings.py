"""What a rule says of a trace."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from knnscope.trace import intervals
from knnscope.trace.intervals import NOWHERE, Packed, Spans
from knnscope.trace.phases import Phase

SEVERITIES = ("high", "medium", "low")
SHARES = {"high": 0.3, "medium": 0.1, "low": 0.02}
"""Least share of the phase's time that can be saved."""


@dataclass(frozen=True, slots=True)
class Cause:
    """A rule's own events in a phase: how many, and when their time passes that could be saved.

    claim: where the host is the reason, only times at which the GPU has nothing to do. behind: where they are not to go but to pass beside other
    work, nanoseconds of that.
    """

    count: int
    kept: Spans | Packed
    behind: int | None = None

    @property
    def claim(self) -> Spans:
        """Those times."""
        return intervals.unpacked(self.kept)

    def packed(self) -> Cause:
        """The same in less memory, to be kept."""
        return Cause(self.count, intervals.packed(self.claim), self.behind)

    @property
    def ns(self) -> int:
        """Nanoseconds of it: no finding saves more."""
        if isinstance(self.kept, Packed):
            return int(self.kept.lengths.sum(dtype=np.int64))
        return intervals.length(self.kept)


@dataclass(frozen=True, slots=True)
class Finding:
    """A reason for slowness, with its evidence.

    gpu: number of the GPU. saving_ms: predicted, of one time through the phase. share: of the phase's time. sql, rows: a query over the trace, and how many
    rows it gives. overlaps: rules whose findings count some of the same time. at_most: the saving is an upper bound and no estimate.
    """

    rule: str
    phase: str
    title: str
    sql: str
    rows: int
    saving_ms: float
    share: float
    remedy: str
    gpu: int = 0
    times: int = 1
    cause: Cause = field(default_factory=lambda: Cause(0, NOWHERE))
    overlaps: tuple[str, ...] = ()
    at_most: bool = False

    @property
    def severity(self) -> str | None:
        """By the share; None where it is not worth mentioning."""
        return next((name for name in SEVERITIES if self.share >= SHARES[name]), None)

    def where(self, most: int) -> Spans:
        """When its events pass, in so many times at most: those nearest to each other become one."""
        start, end = self.cause.claim
        if len(start) <= most:
            return start, end
        apart = start[1:] - end[:-1]
        last = np.sort(np.argpartition(-apart, most - 1)[: most - 1])
        return start[np.append(0, last + 1)], end[np.append(last, len(end) - 1)]

    def to_json(self) -> dict[str, Any]:
        """As ``knnscope explain --json`` prints it."""
        return {
            "rule": self.rule,
            "severity": self.severity,
            "phase": self.phase,
            "gpu": self.gpu,
            "title": self.title,
            "evidence": {"sql": self.sql, "rows": self.rows},
            "saving_ms": round(self.saving_ms, 6),
            "at_most": self.at_most,
            "share": self.share,
            "overlaps": list(self.overlaps),
            "remedy": self.remedy,
        }


@dataclass(frozen=True, slots=True)
class Told:
    """A finding's words: what is seen, a query with the number of rows it gives, and what to do."""

    title: str
    sql: str
    rows: int
    remedy: str


def finding(rule: str, phase: Phase, cause: Cause, saving_ns: float, told: Told) -> Finding:
    """A finding of a phase that saves so many nanoseconds of all times looked at, and no more than its cause takes."""
    saving = min(saving_ns, float(cause.ns))
    share = saving / max(1, phase.long_ns)
    return Finding(
        rule,
        phase.name,
        told.title,
        told.sql,
        told.rows,
        saving / phase.times / 1e6,
        share,
        told.remedy,
        phase.gpu,
        phase.times,
        cause.packed(),
    )


class CannotTellError(Exception):
    """This trace does not hold what the rule asks for."""
