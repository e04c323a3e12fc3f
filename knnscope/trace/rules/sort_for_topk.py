"""A sort of everything where a few of the smallest are wanted."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from knnscope.trace import evidence
from knnscope.trace.findings import CannotTellError, Cause, Finding, Told, finding
from knnscope.trace.model import TO_HOST
from knnscope.trace.phases import Phase
from knnscope.trace.rules.loops import alone, need_kernels, need_sizes, none, nothing
from knnscope.units import duration

SORT = re.compile(r"sort|onesweep|MergePath|BlockMerge", re.I)
CARRY = re.compile(r"take|gather|index|copy|slice|arange|cast|scatter|transpose", re.I)
"""Kernels that only carry a sort's results on."""
MOST_OF = 16
"""A k above this share of the rows may well be sorted for."""
FEW_BYTES = 65_536
"""At most this many bytes are copied back of what was sorted: 8,192 neighbors with their ids."""
SELECTION_NS = 24_000
"""One launch of a selection over tens of thousands of distances: fixed on 75,000 x 384 on an H100."""
NEXT_NS = 2_800
"""From a kernel's end to the start of the next that waits for it: six kernels of 40 µs take 54 µs, on an H100. Longer gaps are the recorder's."""


def cause(phase: Phase) -> Cause:
    """The sort's kernels, as if they waited in the queue for each other."""
    need_kernels(phase)
    sorts = _sorts(phase)
    if not sorts.any():
        return nothing()
    return Cause(int(sorts.sum()), alone(phase, sorts, none(phase.copies), NEXT_NS))


def _sorts(phase: Phase) -> Any:
    return np.asarray([bool(SORT.search(name)) for name in phase.trace.names] or [False])[phase.kernels.name]


def find(phase: Phase) -> Iterator[Finding]:
    """Saves their time less one selection's, if the range says how many are wanted or only a few bytes are copied back."""
    why = cause(phase)
    if not why.count:
        return
    k, rows = phase.shape.get("k"), phase.shape.get("rows")
    sorts = _sorts(phase)
    if k and rows:
        if k * MOST_OF > rows:
            return
        groups = phase.times
        of_what, wanted = f"{rows:,} distances are sorted", f"for {k} of them"
    else:
        sorts, groups, most = _followed_by_little(phase, sorts)
        if not groups:
            raise CannotTellError(
                "there is a sort, and neither a range nor a small copy back says how many of its results are wanted"
            )
        of_what, wanted = (
            "what is sorted",
            f"is followed by a copy of {most:,} bytes to the host: few of it are wanted; it is sorted",
        )
    total = float(phase.kernels.duration[sorts].sum()) + NEXT_NS * max(0, int(sorts.sum()) - groups)
    saving = total - SELECTION_NS * groups
    if saving <= 0:
        return
    numbers = np.unique(phase.kernels.name[sorts]).tolist()
    took = duration(total / phase.times)
    title = f"{of_what} in {took} {wanted}" if k and rows else f"{of_what} {wanted} in {took}"
    yield finding(
        "sort-for-topk",
        phase,
        Cause(int(sorts.sum()), alone(phase, sorts, none(phase.copies), NEXT_NS)),
        saving,
        Told(
            title,
            evidence.kernels(phase, [phase.trace.names[i] for i in numbers]),
            int(np.isin(phase.kernels.name, numbers).sum()),
            "A selection passes over the distances once: a top-k kernel, or one that selects while it computes them.",
        ),
    )


def _followed_by_little(phase: Phase, sorts: Any) -> tuple[Any, int, int]:
    """The sorts after which only a few bytes go to the host, before anything else is computed; how many; and the most bytes of one."""
    kernels, copies = phase.kernels, phase.copies
    back = np.flatnonzero(copies.kind == TO_HOST)
    if not len(back):
        return none(kernels), 0, 0
    need_sizes(phase)
    carry = np.asarray([bool(CARRY.search(name)) for name in phase.trace.names] or [False])[kernels.name]
    computes = np.cumsum(~sorts & ~carry)
    following = np.searchsorted(copies.start[back], kernels.end, "left")
    real = np.minimum(following, len(back) - 1)
    until = np.searchsorted(kernels.start, copies.start[back[real]], "left") - 1
    # copies of the ids and of the distances follow each other: what one answer copies is counted together
    number = np.searchsorted(kernels.start, copies.start[back], "left")
    answer = np.bincount(number, copies.nbytes[back], len(kernels) + 1)[number]
    little = answer[real] <= FEW_BYTES
    good = sorts & (following < len(back)) & little & (computes[until] == computes)
    if not good.any():
        return good, 0, 0
    groups = np.unique(real[good])
    return good, len(groups), int(answer[groups].max())
