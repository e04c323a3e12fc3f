"""A kernel for a few queries that takes longer than reading its bytes, where a range says how many those are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from knnscope.trace import evidence
from knnscope.trace.findings import CannotTellError, Cause, Finding, Told, finding
from knnscope.trace.phases import Phase
from knnscope.trace.rules.loops import alone, none, nothing
from knnscope.trace.rules.unfused_chain import SIMPLE
from knnscope.units import duration

NEAR = 1.5
"""A kernel within this many times the floor is good enough."""
REACHABLE = 0.85
"""Share of the data sheet's bandwidth that a reading kernel reaches (H100 and H200: 0.86 to 0.93)."""

FEW = 8
"""Queries up to which reading the rows takes longer than multiplying them: 4 operations a byte, of 12 or more that GPUs since 2017 do in float32."""


def cause(phase: Phase) -> Cause:
    """The longest kernel, if it runs once each time through the phase."""
    if not {"rows", "dim"} <= phase.shape.keys():
        raise CannotTellError("no range says how many rows and components there are")
    if (batch := phase.shape.get("batch", 1)) > FEW:
        raise CannotTellError(
            f"products of {batch:,} queries may take longer than reading the rows, and the trace does not say how fast they are"
        )
    if not phase.card.bandwidth:
        raise CannotTellError("the trace does not say how fast the GPU's memory is")
    if not len(phase.kernels):
        return nothing()
    mine = _longest(phase)
    return Cause(int(mine.sum()), alone(phase, mine, none(phase.copies)))


def _longest(phase: Phase) -> Any:
    names, places = np.unique(phase.kernels.name, return_inverse=True)
    return phase.kernels.name == names[np.bincount(places, phase.kernels.duration).argmax()]


def find(phase: Phase) -> Iterator[Finding]:
    """Saves the longest kernel's time beyond one reading of the rows."""
    why = cause(phase)
    if not why.count or why.count > phase.times:
        return
    kernels, mine, shape = phase.kernels, _longest(phase), phase.shape
    name = phase.trace.names[int(kernels.name[mine][0])]
    took = float(kernels.duration[mine].sum()) / phase.times
    floor = 4e9 * shape["rows"] * shape["dim"] / (REACHABLE * phase.card.bandwidth)
    if took < NEAR * floor or took < floor + 10_000:
        return
    if SIMPLE.search(name) and len(np.unique(kernels.name)) > 1:
        return  # one of several that pass over the data: unfused-chain counts them together
    yield finding(
        "below-floor",
        phase,
        why,
        (took - floor) * phase.times,
        Told(
            f"{name[:120]} takes {duration(took)}, reading its rows once {duration(floor)}",
            evidence.kernels(phase, [name]),
            why.count,
            "Neighboring threads should read neighboring addresses, 16 bytes each, with several loads under way.",
        ),
    )
