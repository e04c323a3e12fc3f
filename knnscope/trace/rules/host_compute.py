"""Work that never reached the GPU: why a kernel, or a copy, is absent from the trace."""

from __future__ import annotations

from collections.abc import Iterator

from knnscope.trace import evidence, intervals
from knnscope.trace.findings import Cause, Finding, Told, finding
from knnscope.trace.intervals import Spans
from knnscope.trace.model import TO_DEVICE
from knnscope.trace.phases import Phase
from knnscope.trace.rules.loops import OFTEN, need_calls, nothing, tiny
from knnscope.units import duration

MUCH = 0.4
"""Share of the phase's time."""
LONG_NS = 1_500_000
"""Shorter times are what Python takes to call."""


def cause(phase: Phase) -> Cause:
    """The host's time outside CUDA while the GPU has nothing to do, of a phase that uses the GPU at all."""
    need_calls(phase)
    if not len(phase.kernels) and not len(phase.copies):
        return nothing()
    return Cause(len(phase.calls), intervals.collected(_outside(phase)))


def _outside(phase: Phase) -> Iterator[Spans]:
    return intervals.without_parts(phase.idle, phase.api_parts())


def find(phase: Phase) -> Iterator[Finding]:
    """Saves that time, where the rows were never copied up, or the GPU waits for the host."""
    need_calls(phase)
    outside = float(intervals.total(_outside(phase))) if len(phase.kernels) or len(phase.copies) else 0.0
    if outside < MUCH * phase.host_ns or outside / phase.times < LONG_NS or phase.busy_ns > MUCH * phase.host_ns:
        return
    rows = phase.shape.get("rows", 0) * phase.shape.get("dim", 0)
    copies = phase.trace.copies
    up = copies.nbytes[copies.kind == TO_DEVICE]
    never = bool(rows) and not (len(up) and int(up.max()) >= 2 * rows)
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
                "the rows were never copied to the GPU: an operation on a host array runs on the host, whatever its module is called"
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
