"""What rules about loops share: how a loop's time divides between launches, copies, and the host that prepares them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from knnscope.trace.model import TO_DEVICE, TO_HOST
from knnscope.trace.phases import Phase

TINY = 4096
"""Bytes up to which a copy is all beginning and no copying."""
OFTEN = 16
"""From so many in one time through a phase on, it is a loop."""
LAUNCHES = r"[lL]aunch|KernelGetName"
COPYING = r"[mM]emcpy|Synchronize|IsCapturing"


@dataclass(frozen=True, slots=True)
class Split:
    """Nanoseconds of a phase by what they are for, calls and the host's work around them together."""

    launching: float
    copying: float


def split(phase: Phase) -> Split:
    """The host prepares every call: time outside the API is divided as the calls are."""
    launches, copies = phase.named(LAUNCHES), phase.named(COPYING)
    lengths = phase.calls.duration
    outside = max(0, phase.host_ns - phase.api_ns)
    ours = int(launches.sum() + copies.sum())
    if not ours:
        return Split(0.0, 0.0)
    around = outside / ours
    return Split(
        float(lengths[launches].sum() + around * launches.sum()), float(lengths[copies].sum() + around * copies.sum())
    )


def tiny(phase: Phase) -> Any:
    """Which copies between host and GPU are tiny."""
    copies = phase.copies
    return np.isin(copies.kind, (TO_DEVICE, TO_HOST)) & (copies.nbytes <= TINY)


def between(phase: Phase) -> str:
    """The phase's times, for a WHERE."""
    low, high = phase.span
    if phase.times > 12:
        return f"start >= {low} AND start < {high}"
    return "(" + " OR ".join(f"start >= {a} AND start < {b}" for a, b in phase.steady) + ")"


def micro(ns: float) -> str:
    """In the unit that suits it."""
    return f"{ns / 1e3:,.1f} us" if ns < 1e6 else f"{ns / 1e6:,.1f} ms" if ns < 1e9 else f"{ns / 1e9:,.2f} s"
