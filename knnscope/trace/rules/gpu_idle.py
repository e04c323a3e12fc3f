"""Long times in which the GPU has nothing to do, and what the host did meanwhile."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from knnscope.trace import intervals
from knnscope.trace.findings import CannotTellError, Finding
from knnscope.trace.phases import Phase
from knnscope.trace.rules.loops import between, micro

LONG_NS = 1_000_000
"""Shorter gaps are launches."""


def find(phase: Phase) -> Iterator[Finding]:
    """Saves no more than the idle time: what it is spent on says whether it can be."""
    if not len(phase.trace.kernels) and not len(phase.trace.copies):
        raise CannotTellError("nothing was recorded on the GPU")
    start = np.concatenate([phase.kernels.start, phase.copies.start])
    end = np.concatenate([phase.kernels.end, phase.copies.end])
    if not len(start):
        return
    begins, ends = intervals.gaps(start, end, LONG_NS)
    inside = np.zeros(len(begins), dtype=bool)
    for low, high in phase.steady:
        inside |= (begins >= low) & (ends <= high)
    chosen = inside
    if not chosen.any():
        return
    idle = float((ends - begins)[chosen].sum())
    low, high = int(begins[chosen][0]), int(ends[chosen][0])
    api = intervals.overlap(phase.calls.start, phase.calls.end, low, high)
    did = "in CUDA calls" if api > (high - low) / 2 else "outside CUDA: in the program itself"
    yield Finding(
        "gpu-idle",
        phase.name,
        f"the GPU is idle {int(chosen.sum())} times for {micro(float(np.median((ends - begins)[chosen])))}; the host was {did}",
        f"SELECT start, end, shortName FROM CUPTI_ACTIVITY_KIND_KERNEL WHERE {between(phase)}",
        len(phase.kernels),
        idle / phase.times / 1e6,
        idle / max(1, phase.host_ns),
        "Prepare the next work while the GPU is busy, or move to the GPU what the host does.",
    )
