"""Work that never reached the GPU: why a kernel, or a copy, is absent from the trace."""

from __future__ import annotations

from collections.abc import Iterator

from knnscope.trace import intervals
from knnscope.trace.findings import CannotTellError, Finding
from knnscope.trace.model import TO_DEVICE
from knnscope.trace.phases import Phase
from knnscope.trace.rules.loops import OFTEN, between, micro, tiny

MUCH = 0.4
"""Of the phase's time."""
LONG_NS = 1_500_000
"""Shorter times are what Python takes to call."""


def find(phase: Phase) -> Iterator[Finding]:
    """Saves the host's time outside CUDA, where the rows were never copied up, or the GPU waits for the host."""
    if not len(phase.trace.calls):
        raise CannotTellError("no API calls were recorded")
    outside = phase.host_ns - intervals.covered(phase.calls.start, phase.calls.end)
    if outside < MUCH * phase.host_ns or outside / phase.times < LONG_NS or phase.busy_ns > MUCH * phase.host_ns:
        return
    rows = phase.shape.get("rows", 0) * phase.shape.get("dim", 0)
    copies = phase.trace.copies
    up = copies.nbytes[copies.kind == TO_DEVICE]
    never = bool(rows) and not (len(up) and int(up.max()) >= 2 * rows)
    if not never and max(len(phase.kernels), int(tiny(phase).sum())) > OFTEN * phase.times:
        return  # a loop of launches or copies: its host time is theirs
    why = (
        "the rows were never copied to the GPU: an operation on a host array runs on the host, whatever its module is called"
        if never
        else "the GPU has nothing to do meanwhile"
    )
    yield Finding(
        "host-compute",
        phase.name,
        f"the host computes for {micro(outside / phase.times)} outside CUDA; {why}",
        f"SELECT start, end, nameId FROM CUPTI_ACTIVITY_KIND_RUNTIME WHERE {between(phase)}",
        len(phase.calls),
        outside / phase.times / 1e6,
        outside / max(1, phase.host_ns),
        "Copy the data up once and compute there.",
    )
