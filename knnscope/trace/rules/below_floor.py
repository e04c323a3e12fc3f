"""A kernel that takes longer than reading its bytes, where a range says how many those are."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from knnscope.trace.findings import CannotTellError, Finding
from knnscope.trace.phases import Phase
from knnscope.trace.rules.loops import between, micro
from knnscope.trace.rules.unfused_chain import SIMPLE

NEAR = 1.5
"""Times the floor that are good enough."""
REACHABLE = 0.85
"""Share of the data sheet's bandwidth that a reading kernel reaches (H100 and H200: 0.86 to 0.93)."""


def find(phase: Phase) -> Iterator[Finding]:
    """Saves the longest kernel's time beyond one reading of the rows."""
    bandwidth, shape = phase.trace.gpu.bandwidth, phase.shape
    if not {"rows", "dim"} <= shape.keys():
        raise CannotTellError("no range says how many rows and components there are")
    if not bandwidth:
        raise CannotTellError("the trace does not say how fast the GPU's memory is")
    kernels = phase.kernels
    if not len(kernels):
        return
    names, places = np.unique(kernels.name, return_inverse=True)
    totals = np.bincount(places, kernels.duration) / phase.times
    counts = np.bincount(places) / phase.times
    longest = int(totals.argmax())
    floor = 4e9 * shape["rows"] * shape["dim"] * max(1, shape.get("batch", 1) // 64) / (REACHABLE * bandwidth)
    if counts[longest] > 1 or totals[longest] < NEAR * floor or totals[longest] < floor + 10_000:
        return
    if SIMPLE.search(phase.trace.names[int(names[longest])]) and len(names) > 1:
        return  # one of several that pass over the data: unfused-chain counts them together
    saving = totals[longest] - floor
    yield Finding(
        "below-floor",
        phase.name,
        f"{phase.trace.names[int(names[longest])][:120]} takes {micro(totals[longest])}, reading its rows once {micro(floor)}",
        f"SELECT start, end FROM CUPTI_ACTIVITY_KIND_KERNEL k JOIN StringIds s ON s.id = k.shortName "
        f"WHERE s.value = '{phase.trace.names[int(names[longest])].replace(chr(39), chr(39) * 2)}' AND {between(phase)}",
        int((kernels.name == names[longest]).sum()),
        saving / 1e6,
        saving * phase.times / max(1, phase.host_ns),
        "Neighboring threads should read neighboring addresses, 16 bytes each, with several loads under way.",
    )
