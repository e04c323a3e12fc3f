"""What bounds a run: where each moment of it goes, of each GPU by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from knnscope.trace import intervals
from knnscope.trace.model import Trace
from knnscope.trace.rules.loops import WAITS

SHARES = ("GPU", "copies", "waiting", "host")
"""A moment counts for the first of these that holds: a kernel runs; a copy does; the host waits in a call; the host does anything else."""


@dataclass(frozen=True, slots=True)
class Bound:
    """Shares of the trace's time, which add up to 1; ``what`` is the largest of them."""

    gpu: int
    shares: dict[str, float]

    @property
    def what(self) -> str:
        """One of ``SHARES``."""
        return max(self.shares, key=lambda name: self.shares[name])

    def to_json(self) -> dict[str, Any]:
        """As ``--json`` prints it."""
        return {
            "gpu": self.gpu,
            "what": self.what,
            "shares": dict(self.shares),
        }


def bounds(trace: Trace) -> tuple[Bound, ...]:
    """Of each GPU that did anything."""
    low, high = trace.span
    length = high - low
    if not length:
        return ()
    waits = np.asarray([WAITS in name for name in trace.names] or [False])[trace.calls.name]
    found = []
    for gpu in trace.used:
        mine = waits & trace.callers(gpu)
        waiting = trace.calls.start[mine], trace.calls.end[mine]
        on = [(events, trace.on(events, gpu)) for events in (trace.kernels, trace.copies)]
        columns = [*((events.start[there], events.end[there]) for events, there in on), waiting]
        shares, before = {}, 0
        for i, name in enumerate(SHARES[:-1], 1):
            covered = intervals.total(intervals.real_parts(*columns[:i]))
            shares[name], before = (covered - before) / length, covered
        shares["host"] = (high - low - before) / length
        found.append(Bound(gpu, shares))
    return tuple(found)
