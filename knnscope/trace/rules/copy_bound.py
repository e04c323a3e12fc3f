"""Copies that take most of the time, at whatever rate."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from knnscope.trace import evidence, intervals
from knnscope.trace.findings import CannotTellError, Cause, Finding, Told, finding
from knnscope.trace.model import PEER, TO_DEVICE, TO_HOST
from knnscope.trace.phases import Phase
from knnscope.trace.rules.loops import alone, alone_parts, need_sizes, none

MOST = 0.5
"""Share of the phase's time from which on copies bound it."""
LARGE = 1 << 16
"""A copy of at least this many bytes spends its time on them, not on starting."""


def cause(phase: Phase) -> Cause:
    """What could run at the same time as the copies: the kernels, or the copies where those are shorter."""
    copying = _copying(phase)
    copies = alone(phase, none(phase.kernels), copying)
    kernels = alone(phase, ~none(phase.kernels), none(phase.copies))
    shorter, longer = sorted((copies, kernels), key=intervals.length)
    return Cause(int(copying.sum()), shorter, intervals.length(longer))


def _copying(phase: Phase) -> Any:
    if not len(phase.trace.copies):
        raise CannotTellError("no copies were recorded")
    need_sizes(phase)
    return np.isin(phase.copies.kind, (TO_DEVICE, TO_HOST, PEER)) & (phase.copies.nbytes >= LARGE)


def find(phase: Phase) -> Iterator[Finding]:
    """Saves what can be hidden: the shorter of both."""
    copying = _copying(phase)
    busy = intervals.total(alone_parts(phase, none(phase.kernels), copying))
    if busy < MOST * phase.long_ns:
        return
    why = cause(phase)
    nbytes, took = float(phase.copies.nbytes[copying].sum()), float(phase.copies.duration[copying].sum())
    yield finding(
        "copy-bound",
        phase,
        why,
        why.ns,
        Told(
            f"{100 * busy / max(1, phase.long_ns):.0f}% of the time are copies of {nbytes / phase.times / 1e6:,.0f} MB "
            f"({nbytes / max(1.0, took):.1f} GB/s)",
            evidence.copies(phase, f"copyKind IN (1, 2, 10) AND SIZE >= {LARGE}"),
            why.count,
            "Copy less: keep on the GPU what is used again, in fewer bytes. Copy the next piece on a second stream while this one is computed.",
        ),
    )
