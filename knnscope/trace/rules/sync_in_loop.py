"""Waiting for the GPU again and again."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from knnscope.trace import evidence, intervals
from knnscope.trace.findings import Cause, Finding, Told, finding
from knnscope.trace.phases import Phase
from knnscope.trace.rules.loops import OFTEN, WAITS, need_calls
from knnscope.units import duration


def cause(phase: Phase) -> Cause:
    """The time in waiting calls after the GPU is done; waiting while it works, or until queued work begins, costs nothing."""
    need_calls(phase)
    waits, calls, idle = phase.named(WAITS), phase.calls, phase.idle
    start, end = calls.start[waits], calls.end[waits]
    if not len(idle[0]):
        return Cause(len(start), intervals.NOWHERE)
    place = np.maximum(np.searchsorted(idle[0], end, "left") - 1, 0)
    over = (idle[0][place] < end) & (idle[1][place] >= end)
    return Cause(len(start), intervals.spans((np.maximum(start, idle[0][place])[over], end[over])))


def find(phase: Phase) -> Iterator[Finding]:
    """Saves that time."""
    why = cause(phase)
    if why.count < OFTEN * phase.times:
        return
    waits = phase.named(WAITS)
    lengths = phase.calls.duration[waits]
    yield finding(
        "sync-in-loop",
        phase,
        why,
        why.ns,
        Told(
            f"the host waits {why.count / phase.times:,.0f} times, {duration(float(np.median(lengths)))} each, "
            f"{duration(why.ns / why.count)} of it after the GPU is done",
            evidence.calls(phase, np.unique(phase.calls.name[waits]).tolist()),
            why.count,
            "Queue all the work and wait once.",
        ),
    )
