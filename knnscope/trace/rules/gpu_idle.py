"""Long times in which the GPU has nothing to do, and what the host did meanwhile."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from knnscope.trace import evidence, intervals
from knnscope.trace.findings import CannotTellError, Cause, Finding, Told, finding
from knnscope.trace.phases import Phase
from knnscope.units import duration

LONG_NS = 1_000_000
"""Shorter gaps are launches."""


def cause(phase: Phase) -> Cause:
    """Times between two pieces of work on the GPU, inside one time through the phase."""
    if phase.gpu not in phase.run.busy:
        raise CannotTellError("nothing was recorded on the GPU")
    begins, ends = phase.run.busy[phase.gpu]
    lows, highs = ends[:-1], begins[1:]
    long = highs - lows >= LONG_NS
    lows, highs = lows[long], highs[long]
    if not phase.whole:
        start, end = phase.run.windows.start[phase.steady], phase.run.windows.end[phase.steady]
        order = np.lexsort((end, start))
        start, end = start[order], end[order]
        place = np.searchsorted(start, lows, "right") - 1
        inside = (place >= 0) & (highs <= end[np.maximum(place, 0)])
        lows, highs = lows[inside], highs[inside]
    return Cause(len(lows), (lows, highs))


def find(phase: Phase) -> Iterator[Finding]:
    """Saves no more than the idle time: what it is spent on says whether it can be."""
    why = cause(phase)
    if not why.count:
        return
    lows, highs = why.claim
    api = intervals.total(p for api in phase.api_parts() for p in intervals.common_parts(api, why.claim))
    did = "in CUDA calls" if api > why.ns / 2 else "outside CUDA: in the program itself"
    yield finding(
        "gpu-idle",
        phase,
        why,
        why.ns,
        Told(
            f"the GPU is idle {why.count / phase.times:,.3g} times for {duration(float(np.median(highs - lows)))}; the host was {did}",
            evidence.gaps(phase, LONG_NS),
            why.count,
            "Prepare the next work while the GPU is busy, or move to the GPU what the host does.",
        ),
    )
