"""Loading modules and allocating memory inside what is repeated."""

from __future__ import annotations

from collections.abc import Iterator

from knnscope.trace.findings import CannotTellError, Finding
from knnscope.trace.phases import Phase
from knnscope.trace.rules.loops import between, micro

ONCE = r"ModuleLoad|LibraryLoad|^cudaMalloc|^cuMemAlloc|^cudaFree|^cuMemFree|HostAlloc|MallocHost|cuInit|CtxCreate|GraphInstantiate"


def find(phase: Phase) -> Iterator[Finding]:
    """Saves the time in such calls."""
    if not len(phase.trace.calls):
        raise CannotTellError("no API calls were recorded")
    once = phase.named(ONCE)
    starts = phase.calls.start[once]
    hit = sum(bool(((starts >= low) & (starts < high)).any()) for low, high in phase.steady)
    if 2 * hit < phase.times or not hit:
        return  # now and then a pool grows: not what every time pays for
    total = float(phase.calls.duration[once].sum())
    names = sorted({phase.trace.names[i] for i in phase.calls.name[once].tolist()})
    yield Finding(
        "startup-cost",
        phase.name,
        f"{once.sum() / phase.times:,.1f} calls that could be made once, {micro(total / phase.times)}: {', '.join(names[:4])}",
        f"SELECT start, end, nameId FROM CUPTI_ACTIVITY_KIND_RUNTIME WHERE {between(phase)}",
        len(phase.calls),
        total / phase.times / 1e6,
        total / max(1, phase.host_ns),
        "Load and allocate before the loop, or warm up before measuring.",
    )
