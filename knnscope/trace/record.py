"""What is said of a trace, as a record that outlives the trace: what renderers take, and what a file of it holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from knnscope.trace.compare import Pair
from knnscope.trace.explain import Explanation
from knnscope.trace.model import Gpu


class Recorded(msgspec.Struct, frozen=True):
    """The trace itself: its file, by what it was recorded, how long it is, the names of the GPUs that did anything, and its events."""

    path: str
    recorder: str
    span_ns: int
    gpus: dict[str, str]
    kernels: int
    copies: int
    calls: int


class Shares(msgspec.Struct, frozen=True):
    """Of the trace's time, as ``bound.SHARES`` has them."""

    GPU: float
    copies: float
    waiting: float
    host: float


class BoundRecord(msgspec.Struct, frozen=True):
    """Where a GPU's time goes; ``what`` has the largest share."""

    gpu: int
    what: Literal["GPU", "copies", "waiting", "host"]
    shares: Shares


class Evidence(msgspec.Struct, frozen=True):
    """A query over the trace, and how many rows it gives."""

    sql: str
    rows: int


class FindingRecord(msgspec.Struct, frozen=True):
    """A reason for slowness, as ``findings.Finding`` has it, without the events.

    saving_ms: of one time through the phase. at_most: that is an upper bound.
    """

    rule: str
    severity: Literal["high", "medium", "low"]
    phase: str
    gpu: int
    title: str
    evidence: Evidence
    saving_ms: float
    share: float
    overlaps: list[str]
    remedy: str
    at_most: bool = False

    @property
    def sql(self) -> str:
        """The query that gives the evidence."""
        return self.evidence.sql

    @property
    def rows(self) -> int:
        """How many rows it gives."""
        return self.evidence.rows


class TotalRecord(msgspec.Struct, frozen=True):
    """What all findings of a GPU save together: milliseconds, and the share of the trace's time; ``up_to_ms``: at most beyond."""

    gpu: int
    saving_ms: float
    share: float
    up_to_ms: float = 0.0


class PartRecord(msgspec.Struct, frozen=True):
    """What a GPU did in a part of the run, and how long that lasted on the host."""

    gpu: int
    host_ms: float
    gpu_ms: float
    kernels: int
    copies: int


class PhaseRecord(msgspec.Struct, frozen=True):
    """A phase in numbers, of one time through it; ``total`` counts every time. long_ms: the host was in it, or the GPU at work for it."""

    phase: str
    gpu: int
    times: int
    host_ms: float
    api_ms: float
    gpu_busy_ms: float
    gpu_work_ms: float
    kernels: float
    copies: float
    bytes_to_device: int
    bytes_to_host: int
    kernel_share: float
    total: PartRecord | None
    long_ms: float | None = None


class Unanswered(msgspec.Struct, frozen=True):
    """A rule, and why this trace cannot answer it."""

    rule: str
    why: str


class ChangeRecord(msgspec.Struct, frozen=True):
    """A kernel, copy or API call of one time through a phase: how often, and milliseconds, before and after."""

    what: str
    name: str
    word: str
    before: tuple[float, float]
    after: tuple[float, float]


class PairRecord(msgspec.Struct, frozen=True):
    """A phase in two traces, and whether what was predicted of it came true; None where nothing was."""

    before: PhaseRecord
    after: PhaseRecord
    changes: list[ChangeRecord]
    gone: list[str]
    predicted_ms: float
    measured_ms: float
    came_true: bool | None


class ExplanationRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """All that is said of a trace; ``against`` where a later trace was compared with it."""

    trace: Recorded
    bounds: list[BoundRecord]
    findings: list[FindingRecord]
    totals: list[TotalRecord]
    phases: list[PhaseRecord]
    outside: list[PartRecord]
    whole: list[PartRecord]
    unanswered: list[Unanswered]
    lacks: list[str]
    notes: list[str]
    against: list[PairRecord] | None = None

    def to_dict(self) -> dict[str, Any]:
        """All of it in JSON's own types."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found


def record_of(told: Explanation, against: Sequence[Pair] | None = None) -> ExplanationRecord:
    """The record of an explanation, and of the comparison with a later trace."""
    trace = told.trace
    low, high = trace.span
    facts = {
        "path": trace.path.encode("utf-8", "replace").decode(),
        "recorder": trace.recorder,
        "span_ns": high - low,
        "gpus": {str(number): trace.gpus.get(number, Gpu()).name for number in trace.used},
        "kernels": len(trace.kernels),
        "copies": len(trace.copies),
        "calls": len(trace.calls),
    }
    pairs = {} if against is None else {"against": [pair.to_json() for pair in against]}
    return from_dict({"trace": facts, **told.to_json(), **pairs})


def from_dict(value: object) -> ExplanationRecord:
    """The record that ``to_dict`` gave.

    Raises:
        msgspec.ValidationError: a field is missing, or of another type; names it.
    """
    return msgspec.convert(value, ExplanationRecord)
