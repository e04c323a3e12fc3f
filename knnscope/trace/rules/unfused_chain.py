"""Elementwise kernels and reductions in a row, each of which writes what the next one reads."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from knnscope.trace.findings import CannotTellError, Finding
from knnscope.trace.phases import Phase
from knnscope.trace.rules.loops import between, micro

SIMPLE = re.compile(r"^cupy_(?!.*(sort|copy|arange|take))|elementwise|reduce", re.I)
LEAST = 3
LONG_NS = 20_000
"""Shorter chains are launches, not bytes."""
REACHED = 0.41
"""One kernel takes as long as reading the data at this share of the bandwidth would, less the launches that fall away: fixed on 75,000 x 384."""


def find(phase: Phase) -> Iterator[Finding]:
    """Saves the chain's time, less one pass over what it reads first."""
    if not len(phase.trace.kernels):
        raise CannotTellError("no kernels were recorded")
    kernels = phase.kernels
    simple = np.asarray([bool(SIMPLE.search(name)) for name in phase.trace.names], dtype=bool)
    if not len(kernels) or not len(simple):
        return
    chained = simple[kernels.name]
    # a copy to the host, or the end of the phase, ends a chain as another kernel does
    part = np.searchsorted(phase.copies.start, kernels.start) + np.searchsorted(
        np.asarray([start for start, _ in phase.steady]), kernels.start, "right"
    )
    first = chained & np.concatenate([[True], ~chained[:-1] | (np.diff(part) > 0)])
    number = np.where(chained, np.cumsum(first), 0)
    sizes = np.bincount(number)
    long = np.flatnonzero(sizes >= LEAST)
    begins = np.searchsorted(np.cumsum(first), long[long > 0])
    lengths = sizes[long[long > 0]]
    if not len(lengths):
        return
    until = np.concatenate([[0], np.cumsum(kernels.duration)])
    total = float((until[begins + lengths] - until[begins]).sum())
    if total / phase.times < LONG_NS or total / len(lengths) < LONG_NS:
        return
    bandwidth = phase.trace.gpu.bandwidth
    nbytes = 4 * phase.shape.get("rows", 0) * phase.shape.get("dim", 0)
    if not bandwidth or not nbytes:
        raise CannotTellError("the chain's bytes are not known: no range with rows and dim, or no bandwidth of the GPU")
    saving = total / phase.times - 1e9 * nbytes / (REACHED * bandwidth)
    chain = slice(int(begins[0]), int(begins[0] + lengths[0]))
    names = " > ".join(dict.fromkeys(phase.trace.names[i] for i in kernels.name[chain].tolist()))
    yield Finding(
        "unfused-chain",
        phase.name,
        f"{lengths.max()} kernels in a row, {micro(total / phase.times)} together: {names[:200]}",
        f"SELECT start, end, shortName FROM CUPTI_ACTIVITY_KIND_KERNEL WHERE {between(phase)}",
        len(kernels),
        saving / 1e6,
        saving * phase.times / max(1, phase.host_ns),
        "One kernel for all of them reads the data once and writes only the result.",
    )
