"""Kernels shorter than their launches: the GPU waits for the host between them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from knnscope.trace.findings import CannotTellError, Finding
from knnscope.trace.phases import Phase
from knnscope.trace.rules.gpu_idle import LONG_NS
from knnscope.trace.rules.loops import OFTEN, between, micro, split

SHORT_NS = 20_000
"""A kernel up to this long may end before the next is launched."""
CHAIN = 4
"""Fewer kernels than a loop's may wait for the host as well, from so many on."""


def find(phase: Phase) -> Iterator[Finding]:
    """Saves what the host spends on launches, where a few kernels over all the data would do."""
    if not len(phase.trace.kernels):
        raise CannotTellError("no kernels were recorded")
    kernels = phase.kernels
    count = len(kernels) / phase.times
    if count < OFTEN:
        yield from _chain(phase, count)
        return
    gaps = np.maximum(0, kernels.start[1:] - np.maximum.accumulate(kernels.end)[:-1])
    length, gap = float(np.median(kernels.duration)), float(np.median(gaps))
    if length > SHORT_NS or gap < length:
        return
    saving = split(phase).launching / phase.times
    yield Finding(
        "launch-bound",
        phase.name,
        f"{count:,.0f} kernels of {micro(length)}, {micro(gap)} apart: the GPU works {100 * phase.busy_ns / max(1, phase.host_ns):.1f}% of the time",
        f"SELECT start, end, shortName FROM CUPTI_ACTIVITY_KIND_KERNEL WHERE {between(phase)}",
        len(kernels),
        saving / 1e6,
        saving * phase.times / max(1, phase.host_ns),
        "Give a kernel all rows at once instead of one; what has to stay many launches can be replayed from a CUDA graph.",
    )


def _chain(phase: Phase, count: float) -> Iterator[Finding]:
    """The GPU waits between the first and the last kernel for longer than it works: replayed from a graph, they stand side by side."""
    begins = phase.kernels.start
    turn = np.searchsorted(np.asarray([low for low, _ in phase.steady]), begins, "right")
    gaps = np.maximum(0, begins[1:] - np.maximum.accumulate(phase.kernels.end)[:-1])
    waiting = gaps[(turn[1:] == turn[:-1]) & (gaps < LONG_NS)]
    total = float(waiting.sum())
    if count < CHAIN or total < phase.busy_ns:
        return
    yield Finding(
        "launch-bound",
        phase.name,
        f"{count:,.0f} kernels, {micro(float(np.median(waiting)))} apart: the GPU works {100 * phase.busy_ns / max(1, phase.host_ns):.1f}% of the time",
        f"SELECT start, end, shortName FROM CUPTI_ACTIVITY_KIND_KERNEL WHERE {between(phase)}",
        len(phase.kernels),
        total / phase.times / 1e6,
        total / max(1, phase.host_ns),
        "Replay the kernels from a CUDA graph, or do more in each.",
    )
