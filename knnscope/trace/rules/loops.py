"""What rules about calls of the host share: which calls an event costs, and when the host is busy with them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from knnscope.trace import intervals
from knnscope.trace.findings import CannotTellError, Cause
from knnscope.trace.intervals import Spans
from knnscope.trace.model import TO_DEVICE, TO_HOST
from knnscope.trace.phases import Phase

TINY = 4096
"""Up to this many bytes a copy's time is its start-up."""
OFTEN = 16
"""From this many events in one time through a phase on, they are a loop."""
LAUNCHES = r"[lL]aunch"
WAITS = r"Synchronize"
HELPERS = r"KernelGetName|IsCapturing|FuncGet|FuncSet|GetLastError|PeekAtLastError|PointerGetAttribute|Occupancy|^cu(da)?(Get|Set)Device$|CtxGet|CtxSet"
"""Calls that only prepare the next one."""


def on_host(phase: Phase, mask: Any, *, waits: bool = False) -> Spans:
    """When the host prepares and makes these calls, while the GPU has nothing to do; with the helpers before each, and waits after it."""
    made = making(phase, mask, waits=waits)
    return intervals.collected(part for busy in made for part in intervals.common_parts(busy, phase.idle))


def making(phase: Phase, mask: Any, *, waits: bool = False) -> Iterator[Spans]:
    """When the host prepares and makes these calls, in parts."""
    if len(phase.calls) and mask.any():
        company = _company(phase, mask, waits)
        yield from intervals.real_parts((phase.prepared(company), phase.calls.end[company]))


def _company(phase: Phase, mask: Any, waits: bool) -> Any:
    """Which calls these are, with the helpers before each, and the waits after it."""
    helper, wait = phase.named(HELPERS) & ~mask, phase.named(WAITS) & ~mask
    company = mask.copy()
    for mine in phase.by_thread:
        own, before = mask[mine], helper[mine]
        count = len(own)
        place = np.arange(count, dtype=np.int32)
        following = np.minimum.accumulate(np.where(before, np.int32(count), place)[::-1])[::-1]
        joined = before & (following < count)
        joined &= own[np.minimum(following, count - 1)]
        del following
        if waits:
            after = wait[mine]
            last = np.maximum.accumulate(np.where(after | before, np.int32(-1), place))
            joined |= after & (last >= 0) & own[np.maximum(last, 0)]
        company[mine] |= joined
    return company


def tiny(phase: Phase) -> Any:
    """Which copies between host and GPU are tiny.

    Raises:
        CannotTellError: their sizes were not recorded.
    """
    need_sizes(phase)
    copies = phase.copies
    return np.isin(copies.kind, (TO_DEVICE, TO_HOST)) & (copies.nbytes <= TINY)


def need_calls(phase: Phase) -> None:
    """Refuse what only calls can tell.

    Raises:
        CannotTellError: no calls were recorded, or nothing on the GPU.
    """
    if not phase.trace.used:
        raise CannotTellError("nothing was recorded on the GPU")
    if not len(phase.trace.calls):
        raise CannotTellError("no API calls were recorded")


def need_kernels(phase: Phase) -> None:
    """Refuse what only kernels can tell.

    Raises:
        CannotTellError: none were recorded.
    """
    if not len(phase.trace.kernels):
        raise CannotTellError("no kernels were recorded")


def need_sizes(phase: Phase) -> None:
    """Refuse what only the bytes of copies can tell.

    Raises:
        CannotTellError: they were not recorded; 0 would read as tiny.
    """
    if len(phase.trace.copies) and not phase.trace.sizes:
        raise CannotTellError("the sizes of copies were not recorded")


def alone(phase: Phase, kernels: Any, copies: Any, longer: int = 0) -> Spans:
    """When these kernels and copies of the phase run (each ``longer`` by so much) and none of its others does."""
    return intervals.collected(alone_parts(phase, kernels, copies, longer))


def alone_parts(phase: Phase, kernels: Any, copies: Any, longer: int = 0) -> Iterator[Spans]:
    """The same in parts."""
    ks, cs = phase.kernels, phase.copies
    ends = ks.end[kernels] + longer if longer else ks.end[kernels]
    mine = intervals.spans((ks.start[kernels], ends), (cs.start[copies], cs.end[copies]))
    del ends
    if len(mine[0]):
        others = intervals.real_parts((ks.start[~kernels], ks.end[~kernels]), (cs.start[~copies], cs.end[~copies]))
        yield from intervals.without_parts(mine, others)


def none(events: Any) -> Any:
    """A mask that chooses nothing."""
    return np.zeros(len(events), dtype=bool)


def nothing() -> Cause:
    """There is no such event."""
    return Cause(0, intervals.NOWHERE)
