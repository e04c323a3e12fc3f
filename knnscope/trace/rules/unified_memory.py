"""Pages of unified memory that move between host and GPU when they are touched."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from knnscope.trace import evidence, intervals
from knnscope.trace.findings import CannotTellError, Cause, Finding, Told, finding
from knnscope.trace.model import PAGED_BACK, PAGED_BETWEEN, PAGED_UP
from knnscope.trace.phases import Phase
from knnscope.trace.rules.loops import need_sizes
from knnscope.trace.rules.slow_transfer import link
from knnscope.units import duration


def cause(phase: Phase) -> Cause:
    """The time of the migrations: a kernel that touches a page waits for it."""
    if not len(phase.trace.copies):
        raise CannotTellError("no copies were recorded")
    pages = _pages(phase)
    copies = phase.copies
    return Cause(int(pages.sum()), intervals.spans((copies.start[pages], copies.end[pages])))


def _pages(phase: Phase) -> Any:
    return np.isin(phase.copies.kind, (PAGED_UP, PAGED_BACK, PAGED_BETWEEN))


def find(phase: Phase) -> Iterator[Finding]:
    """Saves their time beyond that of one copy at the link's rate."""
    why = cause(phase)
    if not why.count:
        return
    need_sizes(phase)
    copies, pages = phase.copies, _pages(phase)
    nbytes = float(copies.nbytes[pages].sum())
    up, back = (float(copies.nbytes[copies.kind == kind].sum()) / phase.times / 1e6 for kind in (PAGED_UP, PAGED_BACK))
    yield finding(
        "unified-memory",
        phase,
        why,
        why.ns - nbytes / link(phase) * 1e9,
        Told(
            f"{why.count / phase.times:,.0f} migrations of pages, {up:,.0f} MB up and {back:,.0f} MB back, in {duration(why.ns / phase.times)}",
            evidence.copies(phase, "copyKind IN (11, 12, 13)"),
            why.count,
            "Move them before they are touched (cudaMemPrefetchAsync, or an explicit copy)"
            + (", and keep on the GPU what both sides touch." if up and back else "."),
        ),
    )
