"""Copies of a few bytes, one after another: each costs microseconds to start and almost nothing to copy."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from knnscope.trace import evidence, intervals
from knnscope.trace.findings import CannotTellError, Cause, Finding, Told, finding
from knnscope.trace.model import TO_DEVICE
from knnscope.trace.phases import USUAL_NS, Phase
from knnscope.trace.rules.loops import OFTEN, TINY, on_host, tiny
from knnscope.units import duration

ONE_COPY_NS = 20_000
"""One copy of everything, and waiting for it: measured on an H100 and an H200, 10 to 30 µs."""
UP = "Gather the values on the host and copy them at once, or pass them as arguments of the kernel."
BACK = "Leave the values on the GPU until all are there, then copy them at once; sort or select there and copy the answer only."


def cause(phase: Phase) -> Cause:
    """The host's time with them: preparing, calling, waiting."""
    if not len(phase.trace.copies):
        raise CannotTellError("no copies were recorded")
    small = tiny(phase)
    copies = phase.copies
    if len(phase.trace.calls):
        claim = on_host(phase, phase.launched(copies, small), waits=True)
    else:  # what is known is when they began
        before = intervals.spans((copies.start[small] - USUAL_NS, copies.start[small]))
        claim = intervals.common(before, phase.idle)
    return Cause(int(small.sum()), claim)


def find(phase: Phase) -> Iterator[Finding]:
    """Saves what the host spends on them, less one copy of all."""
    why = cause(phase)
    if why.count < OFTEN * phase.times:
        return
    small = tiny(phase)
    copies = phase.copies
    period = float(np.median(np.diff(copies.start[small])))
    up = int((copies.kind[small] == TO_DEVICE).sum())
    way = "to the GPU" if up == why.count else "to the host" if not up else "between host and GPU"
    yield finding(
        "tiny-copies",
        phase,
        why,
        why.ns - ONE_COPY_NS * phase.times,
        Told(
            f"{why.count / phase.times:,.0f} copies of {int(np.median(copies.nbytes[small]))} bytes {way}, one every {duration(period)}",
            evidence.copies(phase, f"copyKind IN (1, 2) AND SIZE <= {TINY}"),
            why.count,
            " ".join(text for text, there in ((UP, up), (BACK, why.count - up)) if there),
        ),
    )
