"""Waiting for the GPU again and again."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from knnscope.trace.findings import CannotTellError, Finding
from knnscope.trace.phases import Phase
from knnscope.trace.rules.loops import OFTEN, between, micro


def find(phase: Phase) -> Iterator[Finding]:
    """Saves the time in the waiting calls."""
    if not len(phase.trace.calls):
        raise CannotTellError("no API calls were recorded")
    waits = phase.named("Synchronize")
    count = int(waits.sum())
    if count < OFTEN * phase.times:
        return
    lengths = phase.calls.duration[waits]
    saving = float(lengths.sum()) / phase.times
    yield Finding(
        "sync-in-loop",
        phase.name,
        f"the host waits {count / phase.times:,.0f} times, {micro(float(np.median(lengths)))} each",
        "SELECT r.start, r.end FROM CUPTI_ACTIVITY_KIND_RUNTIME r JOIN StringIds s ON s.id = r.nameId "
        f"WHERE s.value LIKE '%Synchronize%' AND {between(phase).replace('start', 'r.start')}",
        count,
        saving / 1e6,
        saving * phase.times / max(1, phase.host_ns),
        "Queue all the work and wait once.",
    )
