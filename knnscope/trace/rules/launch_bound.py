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
LOOP_REMEDY = (
    "Give a kernel all rows at once instead of one; what has to stay many launches can be replayed from a CUDA graph."
)
CHAIN_REMEDY = "Replay the kernels from a CUDA graph, where they stand side by side, or do more in each."


def find(phase: Phase) -> Iterator[Finding]:
    """Saves what the host spends on the launches of a loop, where a few kernels over all the data would do; of a chain, the gaps."""
    if not len(phase.trace.kernels):
        raise CannotTellError("no kernels were recorded")
    kernels = phase.kernels
    count = len(kernels) / phase.times
    if count < CHAIN:
        return
    length = float(np.median(kernels.duration))
    gaps = np.maximum(0, kernels.start[1:] - np.maximum.accumulate(kernels.end)[:-1])
    if count >= OFTEN:
        if length > SHORT_NS or np.median(gaps) < length:
            return
        saving, remedy = split(phase).launching, LOOP_REMEDY
    else:
        turn = np.searchsorted(np.asarray([low for low, _ in phase.steady]), kernels.start, "right")
        gaps = gaps[(turn[1:] == turn[:-1]) & (gaps < LONG_NS)]
        saving, remedy = float(gaps.sum()), CHAIN_REMEDY
        if saving < phase.busy_ns or not len(gaps):
            return
    yield Finding(
        "launch-bound",
        phase.name,
        f"{count:,.0f} kernels of {micro(length)}, {micro(float(np.median(gaps)))} apart: "
        f"the GPU works {100 * phase.busy_ns / max(1, phase.host_ns):.1f}% of the time",
        f"SELECT start, end, shortName FROM CUPTI_ACTIVITY_KIND_KERNEL WHERE {between(phase)}",
        len(kernels),
        saving / phase.times / 1e6,
        saving / max(1, phase.host_ns),
        remedy,
    )
