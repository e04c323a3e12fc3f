"""Large copies below the rate of the link."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from knnscope.trace.findings import CannotTellError, Finding
from knnscope.trace.model import PAGEABLE, TO_DEVICE, TO_HOST
from knnscope.trace.phases import Phase
from knnscope.trace.rules.loops import between, micro

LARGE = 1 << 20
SLOW = 0.6
"""Of the link's rate."""
LINK = 25e9
"""Bytes/s of a PCIe 4.0 link of 16 lanes: what is assumed where the trace itself holds no faster copy."""


def find(phase: Phase) -> Iterator[Finding]:
    """Saves the time beyond that at the link's rate: the best rate that the trace holds, else PCIe 4.0's."""
    everywhere = phase.trace.copies
    large = np.isin(everywhere.kind, (TO_DEVICE, TO_HOST)) & (everywhere.nbytes >= LARGE) & (everywhere.duration > 0)
    if not large.any():
        raise CannotTellError("no copy of a megabyte or more was recorded")
    link = max(LINK, float((everywhere.nbytes[large] / everywhere.duration[large]).max()) * 1e9)
    copies = phase.copies
    mine = np.isin(copies.kind, (TO_DEVICE, TO_HOST)) & (copies.nbytes >= LARGE) & (copies.duration > 0)
    if not mine.any():
        return
    nbytes, took = float(copies.nbytes[mine].sum()), float(copies.duration[mine].sum())
    rate = nbytes / took * 1e9
    if rate > SLOW * link:
        return
    saving = (took - nbytes / link * 1e9) / phase.times
    pageable = ((copies.source == PAGEABLE) | (copies.target == PAGEABLE))[mine].any()
    yield Finding(
        "slow-transfer",
        phase.name,
        f"{nbytes / phase.times / 1e6:,.0f} MB at {rate / 1e9:.1f} GB/s ({micro(took / phase.times)}), the link reaches {link / 1e9:.1f}"
        + (": the memory is pageable" if pageable else ""),
        f"SELECT start, end, bytes FROM CUPTI_ACTIVITY_KIND_MEMCPY WHERE copyKind IN (1, 2) AND bytes >= {LARGE} AND {between(phase)}",
        int(mine.sum()),
        saving / 1e6,
        saving * phase.times / max(1, phase.host_ns),
        "Copy into pinned memory that is allocated once; better, copy only what is needed.",
    )
