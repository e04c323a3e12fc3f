"""Copies of a few bytes, one after another: each costs microseconds to begin and nothing to do."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from knnscope.trace.findings import CannotTellError, Finding
from knnscope.trace.phases import Phase
from knnscope.trace.rules.loops import OFTEN, TINY, between, micro, split, tiny

ONE_COPY_NS = 20_000
"""One copy of everything, and waiting for it: measured on an H100 and an H200, 10 to 30 us."""


def find(phase: Phase) -> Iterator[Finding]:
    """Saves what the host spends on them, less one copy of all."""
    if not len(phase.trace.copies):
        raise CannotTellError("no copies were recorded")
    small = tiny(phase)
    count = int(small.sum()) / phase.times
    if count < OFTEN:
        return
    starts = phase.copies.start[small]
    period = float(np.median(np.diff(starts)))
    sizes = phase.copies.nbytes[small]
    saving = split(phase).copying / phase.times - ONE_COPY_NS
    yield Finding(
        "tiny-copies",
        phase.name,
        f"{count:,.0f} copies of {int(np.median(sizes))} bytes, one every {micro(period)}",
        f"SELECT start, end, bytes FROM CUPTI_ACTIVITY_KIND_MEMCPY WHERE copyKind IN (1, 2) AND bytes <= {TINY} AND {between(phase)}",
        int(small.sum()),
        saving / 1e6,
        saving * phase.times / max(1, phase.host_ns),
        "Leave the values on the GPU until all are there, then copy them at once; sort or select there and copy the answer only.",
    )
