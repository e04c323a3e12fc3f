"""Copies that are declared asynchronous and are not: with pageable memory the host waits in the call."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from knnscope.trace import evidence, intervals
from knnscope.trace.findings import CannotTellError, Cause, Finding, Told, finding
from knnscope.trace.intervals import Spans
from knnscope.trace.model import PAGEABLE, TO_DEVICE, TO_HOST
from knnscope.trace.phases import Phase
from knnscope.trace.rules.loops import OFTEN, WAITS, alone, none
from knnscope.units import duration

QUEUED_NS = 3_500
"""What the call takes where it only queues the copy: cudaMemcpyAsync into pinned memory, 2.3 µs (the study) to 3.4 µs (H200)."""


def cause(phase: Phase) -> Cause:
    """The time in such calls beyond what queueing takes, while the GPU does nothing but their copies."""
    if not len(phase.trace.copies) or not len(phase.trace.calls):
        raise CannotTellError("copies or API calls were not recorded")
    if (phase.trace.copies.source < 0).all() and (phase.trace.copies.target < 0).all():
        raise CannotTellError("the types of memory were not recorded")
    chosen = _chosen(phase)
    calls = phase.calls
    inside = phase.launched(phase.copies, chosen)
    long = inside & (calls.duration > QUEUED_NS)
    blocked = intervals.spans((calls.start[long] + QUEUED_NS, calls.end[long]))
    free = intervals.spans(phase.idle, alone(phase, none(phase.kernels), chosen))
    return Cause(int(chosen.sum()), intervals.common(blocked, free))


def _saved(phase: Phase, claim: Spans) -> int:
    """Of it, all that passes while the GPU is idle, and of its copies what fits into other idle times: it works no less, and who waits for it waits on."""
    calls, idle = phase.calls, phase.idle
    waited = np.sort(calls.end[phase.named(WAITS)])
    between = np.searchsorted(waited, idle[0], "left") == np.searchsorted(waited, idle[1], "right")
    open_ = intervals.without((idle[0][between], idle[1][between]), claim)
    return intervals.length(intervals.common(claim, idle)) + intervals.least(
        intervals.without(claim, idle), open_, waited
    )


def _chosen(phase: Phase) -> Any:
    copies, calls = phase.copies, phase.trace.calls
    pageable = np.isin(copies.kind, (TO_DEVICE, TO_HOST)) & ((copies.source == PAGEABLE) | (copies.target == PAGEABLE))
    names = np.append(phase.matching("(?i)Async")[calls.name], False)  # the last is work without a call
    return pageable & names[copies.call]


def find(phase: Phase) -> Iterator[Finding]:
    """Saves that time, as far as the GPU can do meanwhile what it does later."""
    why = cause(phase)
    if why.count < OFTEN * phase.times:
        return
    chosen = _chosen(phase)
    numbers = ", ".join(map(str, phase.trace.source.pageable))
    lengths = phase.calls.duration[phase.launched(phase.copies, chosen)]
    yield finding(
        "blocking-copies",
        phase,
        why,
        _saved(phase, why.claim),
        Told(
            f"{why.count / phase.times:,.0f} asynchronous copies of pageable memory: the host is {duration(float(np.median(lengths)))} in the call, "
            f"the copy takes {duration(float(np.median(phase.copies.duration[chosen])))}",
            evidence.copies(
                phase, f"copyKind IN (1, 2) AND (srcKind IN ({numbers}) OR dstKind IN ({numbers}))", "Async"
            ),
            why.count,
            "Copy from and into pinned memory, allocated once: then the call only queues the copy.",
        ),
    )
