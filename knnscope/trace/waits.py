"""Who waits for a GPU: without anyone who does, quicker work on it saves nothing."""

from __future__ import annotations

import numpy as np

from knnscope.trace import intervals
from knnscope.trace.intervals import NOWHERE, Spans
from knnscope.trace.model import PAGED_BACK, Trace

QUEUED = r"[lL]aunch|Async"
"""Calls that only put work into a queue, where there is room."""
QUEUED_NS = 10_000
"""They take no longer, seen by a recorder; a longer one waits for room, or for its copy."""
POLLS = r"Query"
POLL_NS = 100_000
"""A host that asks again within that time does nothing but wait."""
UNSEEN = r"HostFunc|AddCallback"
"""The GPU itself calls the program back: what waits for that is in no call."""


def shortened(trace: Trace, gpu: int, busy: Spans, claim: Spans, spared: Spans) -> int:
    """How many of these nanoseconds of a GPU's work somebody waits for, at most; all where no calls were recorded.

    A turn of the GPU is its work from where it waited for the host to where it does so again. Quicker work ends a turn earlier, by which the host gains
    what it waits in the turn and no more; and what it need not do any longer (``spared``).
    """
    if not len(trace.calls) or not len(busy[0]) or trace.matching(UNSEEN)[trace.calls.name].any():
        return intervals.length(claim)
    starts, ends = _turns(trace, gpu, busy)
    waits = intervals.common(intervals.spans(_waits(trace, gpu), spared), (starts, ends))
    return intervals.least(claim, waits, starts)


def _turns(trace: Trace, gpu: int, busy: Spans) -> Spans:
    """Where the GPU begins what was launched after it had done all before; a gap before what was in the queue belongs to the turn."""
    starts, ends = busy
    launched = np.full(len(starts), -1, dtype=np.int64)
    for events in (trace.copies, trace.kernels):
        mine = trace.on(events, gpu)
        start, call = events.start[mine], events.call[mine]
        if len(start):
            place = np.minimum(np.searchsorted(start, starts), len(start) - 1)
            known = (start[place] == starts) & (call[place] >= 0)
            launched[known] = trace.calls.end[call[place[known]]]
    new = np.append(True, launched[1:] >= ends[:-1])
    places = np.flatnonzero(new)
    return starts[places], ends[np.append(places[1:], len(starts)) - 1]


def _waits(trace: Trace, gpu: int) -> Spans:
    """When the host is in a call for longer than it takes to queue work, asks again and again, or has ended; and when it waits for pages."""
    calls = trace.calls
    mine = calls.outer & trace.callers(gpu)
    start = calls.start + np.where(trace.matching(QUEUED)[calls.name], QUEUED_NS, 0)
    asks = mine & trace.matching(POLLS)[calls.name]
    asked = intervals.spans((calls.start[asks], calls.end[asks]))
    again = asked[0][1:] - asked[1][:-1] <= POLL_NS
    pages = trace.copies.kind == PAGED_BACK
    high = trace.span[1]
    last = max(int(calls.end.max()), int(trace.ranges.end.max(initial=0)))
    return intervals.spans(
        (start[mine], calls.end[mine]),
        (asked[1][:-1][again], asked[0][1:][again]),
        (trace.copies.start[pages], trace.copies.end[pages]),
        (np.asarray([last]), np.asarray([high])) if high > last else NOWHERE,
    )
