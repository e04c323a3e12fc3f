"""Loading modules and allocating memory inside what is repeated."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from knnscope.trace import evidence, intervals
from knnscope.trace.findings import Cause, Finding, Told, finding
from knnscope.trace.phases import Phase
from knnscope.trace.rules.loops import OFTEN, need_calls, none
from knnscope.units import duration

ONCE = r"ModuleLoad|LibraryLoad|^cudaMalloc|^cuMemAlloc|^cudaFree|^cuMemFree|HostAlloc|MallocHost|cuInit|CtxCreate|GraphInstantiate"


def cause(phase: Phase) -> Cause:
    """The time in such calls, where they repeat, while the GPU has nothing to do."""
    need_calls(phase)
    calls, again = phase.calls, _again(phase)
    return Cause(
        int(again.sum()), intervals.common(intervals.spans((calls.start[again], calls.end[again])), phase.idle)
    )


def _again(phase: Phase) -> Any:
    """In half of the times through the phase or more, or again and again within one; now and then a pool grows."""
    once = phase.named(ONCE)
    names, counts = np.unique(phase.calls.name[once], return_counts=True)
    if phase.times > 1:
        starts = phase.calls.start[once]
        low, high = phase.run.windows.start[phase.steady], phase.run.windows.end[phase.steady]
        hit = int((np.searchsorted(starts, high) > np.searchsorted(starts, low)).sum())
        if 2 * hit >= phase.times:
            return once
    often = names[counts >= OFTEN * phase.times]
    return once & np.isin(phase.calls.name, often) if len(often) else none(once)


def find(phase: Phase) -> Iterator[Finding]:
    """Saves that time."""
    why = cause(phase)
    if not why.count:
        return
    again = _again(phase)
    numbers = np.unique(phase.calls.name[again]).tolist()
    total = float(phase.calls.duration[again].sum())
    names = sorted(phase.trace.names[i] for i in numbers)
    yield finding(
        "startup-cost",
        phase,
        why,
        why.ns,
        Told(
            f"{why.count / phase.times:,.3g} calls that could be made once, {duration(total / phase.times)}: {', '.join(names[:4])}",
            evidence.calls(phase, numbers),
            why.count,
            "Load and allocate before the loop, or warm up before measuring.",
        ),
    )
