"""Large copies below the rate of the link."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from knnscope.trace import evidence, intervals
from knnscope.trace.findings import CannotTellError, Cause, Finding, Told, finding
from knnscope.trace.model import PAGEABLE, TO_DEVICE, TO_HOST, Copies
from knnscope.trace.phases import Phase
from knnscope.trace.rows import on_gpu
from knnscope.trace.rules.loops import alone, need_sizes, none
from knnscope.units import duration

LARGE = 1 << 20
SLOW = 0.6
"""Share of the link's rate below which a transfer is slow."""
LINK = 25e9
"""Bytes/s of a PCIe 4.0 link of 16 lanes: what is assumed where the trace itself holds no faster copy."""
FASTEST = 1e12
"""No link is faster (NVLink-C2C: 0.45e12 each way); a copy that was is a clock's error."""


def cause(phase: Phase) -> Cause:
    """The time of large copies in which nothing else runs."""
    need_sizes(phase)
    if not _large(phase.trace.copies).any():
        raise CannotTellError("no copy of a megabyte or more was recorded")
    large = _large(phase.copies)
    return Cause(int(large.sum()), alone(phase, none(phase.kernels), large))


def _large(copies: Copies) -> Any:
    return np.isin(copies.kind, (TO_DEVICE, TO_HOST)) & (copies.nbytes >= LARGE) & (copies.duration > 0)


def link(phase: Phase) -> float:
    """Bytes/s of the link between host and GPU, as far as the trace shows: this GPU's fastest large copy, or PCIe 4.0."""
    copies = phase.trace.copies
    here = _large(copies)
    here &= on_gpu(phase.trace, copies, phase.gpu)
    rates = copies.nbytes[here] / copies.duration[here] * 1e9
    return max(LINK, float(rates[rates <= FASTEST].max(initial=0)))


def find(phase: Phase) -> Iterator[Finding]:
    """Saves the time beyond that at the link's rate: the best rate that the trace holds, else PCIe 4.0's."""
    why = cause(phase)
    if not why.count:
        return
    copies, large, most = phase.copies, _large(phase.copies), link(phase)
    # copies of one way share the link, those of the other have their own
    ways = [large & (copies.kind == kind) for kind in (TO_DEVICE, TO_HOST)]
    sizes = [float(copies.nbytes[way].sum()) for way in ways]
    took, nbytes = float(sum(intervals.covered(copies.start[way], copies.end[way]) for way in ways)), sum(sizes)
    rate = nbytes / took * 1e9
    if rate > SLOW * most:
        return
    pageable = ((copies.source == PAGEABLE) | (copies.target == PAGEABLE))[large].any()
    yield finding(
        "slow-transfer",
        phase,
        why,
        min(took - nbytes / most * 1e9, why.ns - max(sizes) / most * 1e9),
        Told(
            f"{nbytes / phase.times / 1e6:,.0f} MB at {rate / 1e9:.1f} GB/s ({duration(took / phase.times)}), the link reaches {most / 1e9:.1f}"
            + (": the memory is pageable" if pageable else ""),
            evidence.copies(phase, f"copyKind IN (1, 2) AND SIZE >= {LARGE} AND end > start AND end > 0"),
            why.count,
            "Copy into pinned memory that is allocated once; better, copy only what is needed."
            if pageable
            else "Copy only what is needed, in large pieces.",
        ),
    )
