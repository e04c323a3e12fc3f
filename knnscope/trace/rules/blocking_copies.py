"""Copies that are declared asynchronous and are not: with pageable memory the host waits in the call."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from knnscope.trace.findings import CannotTellError, Finding
from knnscope.trace.model import PAGEABLE, TO_DEVICE, TO_HOST
from knnscope.trace.phases import Phase
from knnscope.trace.rules.loops import OFTEN, between, micro

QUEUED_NS = 3_500
"""What the call takes where it only queues the copy: cudaMemcpyAsync into pinned memory, 2.3 us (the study) to 3.4 us (H200)."""


def find(phase: Phase) -> Iterator[Finding]:
    """Saves the time in such calls beyond that of queueing."""
    copies, calls = phase.copies, phase.calls
    if not len(phase.trace.copies) or not len(phase.trace.calls):
        raise CannotTellError("copies or API calls were not recorded")
    if (phase.trace.copies.source < 0).all() and (phase.trace.copies.target < 0).all():
        raise CannotTellError("the kinds of memory were not recorded")
    pageable = np.isin(copies.kind, (TO_DEVICE, TO_HOST)) & ((copies.source == PAGEABLE) | (copies.target == PAGEABLE))
    asynchronous = np.flatnonzero(phase.named("Async"))
    inside = asynchronous[np.isin(calls.key[asynchronous], copies.key[pageable & (copies.key > 0)])]
    if len(inside) < OFTEN * phase.times:
        return
    lengths = calls.end[inside] - calls.start[inside]
    copying = copies.duration[pageable]
    saving = float(np.maximum(0, lengths - QUEUED_NS).sum()) / phase.times
    yield Finding(
        "blocking-copies",
        phase.name,
        f"{len(inside) / phase.times:,.0f} asynchronous copies of pageable memory: the host is {micro(float(np.median(lengths)))} in the call, "
        f"the copy takes {micro(float(np.median(copying)))}",
        "SELECT start, end, bytes FROM CUPTI_ACTIVITY_KIND_MEMCPY WHERE copyKind IN (1, 2) "
        f"AND 0 IN (srcKind, dstKind) AND {between(phase)}",
        int(pageable.sum()),
        saving / 1e6,
        saving * phase.times / max(1, phase.host_ns),
        "Copy from and into pinned memory, allocated once: then the call only queues the copy.",
    )
