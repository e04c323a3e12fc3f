"""Work that never reached the GPU: why a kernel, or a copy, is absent from the trace."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from knnscope.trace import evidence, intervals
from knnscope.trace.findings import Cause, Finding, Told, finding
from knnscope.trace.intervals import Spans
from knnscope.trace.model import PAGED_UP, TO_DEVICE
from knnscope.trace.phases import Phase
from knnscope.trace.rules.loops import OFTEN, need_calls, need_sizes, nothing, tiny
from knnscope.units import duration

MUCH = 0.4
"""Share of the phase's time."""
LONG_NS = 1_500_000
"""Shorter times are what Python takes to call."""
LEAST = 0.5
"""Bytes of a component at least, in one copy or many."""


def cause(phase: Phase) -> Cause:
    """The host's time outside CUDA while the GPU has nothing to do, of a phase that uses the GPU at all."""
    need_calls(phase)
    if not len(phase.kernels) and not len(phase.copies):
        return nothing()
    return Cause(len(phase.calls), intervals.collected(_outside(phase)))


def _outside(phase: Phase) -> Iterator[Spans]:
    return intervals.without_parts(phase.idle, phase.api_parts())


def find(phase: Phase) -> Iterator[Finding]:
    """Saves that time, where no copy of the rows was recorded, or the GPU waits for the host."""
    need_calls(phase)
    outside = float(intervals.total(_outside(phase))) if len(phase.kernels) or len(phase.copies) else 0.0
    if outside < MUCH * phase.host_ns or outside / phase.times < LONG_NS or phase.busy_ns > MUCH * phase.host_ns:
        return
    rows = phase.shape.get("rows", 0) * phase.shape.get("dim", 0)
    need_sizes(phase)
    copies = phase.trace.copies
    up = float(copies.nbytes[np.isin(copies.kind, (TO_DEVICE, PAGED_UP))].sum(dtype=np.float64))
    never = up < LEAST * rows
    if not never and max(len(phase.kernels), int(tiny(phase).sum())) > OFTEN * phase.times:
        return  # a loop of launches or copies: its host time is theirs
    yield finding(
        "host-compute",
        phase,
        cause(phase),
        outside,
        Told(
            f"the host computes for {duration(outside / phase.times)} outside CUDA; "
            + (
                "no copy of the rows to the GPU was recorded: an operation on a host array runs on the host, whatever its module is called"
                if never
                else "the GPU has nothing to do meanwhile"
            ),
            evidence.calls(phase),
            len(phase.calls),
            "Copy the data up once and compute there."
            if never
            else "Let the GPU compute that, or give it other work before the host turns to its own.",
        ),
    )
