"""A sort of everything where a few of the smallest are wanted."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from knnscope.trace.findings import CannotTellError, Finding
from knnscope.trace.phases import Phase
from knnscope.trace.rules.loops import between, micro

SORT = re.compile(r"sort|onesweep|MergePath|BlockMerge", re.I)
MOST_OF = 16
"""A k above this share of the rows may well be sorted for."""
SELECTION_NS = 24_000
"""One launch of a selection over tens of thousands of distances: fixed on 75,000 x 384 on an H100."""
NEXT_NS = 2_800
"""From a kernel's end to the start of the next that waits for it: six kernels of 40 us take 54 us, on an H100. Longer gaps are the recorder's."""


def find(phase: Phase) -> Iterator[Finding]:
    """Saves the sort's time from its first kernel to its last, as if they waited in the queue, less a selection."""
    if not len(phase.trace.kernels):
        raise CannotTellError("no kernels were recorded")
    sorts = np.asarray([bool(SORT.search(name)) for name in phase.trace.names], dtype=bool)
    kernels = phase.kernels
    if not len(kernels) or not sorts[kernels.name].any():
        return
    k, rows = phase.shape.get("k"), phase.shape.get("rows")
    if not k or not rows:
        raise CannotTellError("there is a sort, and no range says how many of its results are wanted")
    if k * MOST_OF > rows:
        return
    which = sorts[kernels.name]
    sizes = kernels.duration[which]
    total = float(sizes.sum()) + NEXT_NS * max(0, len(sizes) - phase.times)
    saving = total / phase.times - SELECTION_NS
    yield Finding(
        "sort-for-topk",
        phase.name,
        f"{rows:,} distances are sorted in {micro(total / phase.times)} for {k} of them",
        f"SELECT start, end, shortName FROM CUPTI_ACTIVITY_KIND_KERNEL k JOIN StringIds s ON s.id = k.shortName "
        f"WHERE (s.value LIKE '%sort%' OR s.value LIKE '%onesweep%') AND {between(phase)}",
        int(which.sum()),
        saving / 1e6,
        max(saving, 0.021 * phase.host_ns / phase.times) * phase.times / max(1, phase.host_ns),
        "A selection passes over the distances once: a top-k kernel, or one that selects while it computes them.",
    )
