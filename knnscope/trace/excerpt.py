"""Which part of a trace is shown: all of it, a stretch of time, the last time through a phase, or one iteration of a loop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from knnscope.errors import KnnscopeError
from knnscope.trace.model import TO_HOST, Events, Trace, Work
from knnscope.trace.windows import windows
from knnscope.units import short

NEAR = 4
"""An iteration that took more than this many usual ones is shown in part: it waited for a compiler, or is the first of another loop."""
MARKS = {"copy to the host": "copies to the host", "kernel": "kernels, and no copy to the host"}
"""What ends an iteration, and how several are called."""
SHORTEST = 1000
"""Nanoseconds of a window at least; GPUs time no finer."""


@dataclass(frozen=True, slots=True)
class Window:
    """What is shown, in nanoseconds of the trace; ``focus`` is the one iteration that it is about."""

    low: int
    high: int
    title: str
    focus: tuple[int, int] | None = None
    focus_title: str = ""


def whole(trace: Trace) -> Window:
    """All of it.

    Raises:
        KnnscopeError: nothing was recorded.
    """
    if not any(len(events) for events in (trace.kernels, trace.copies, trace.calls, trace.ranges)):
        raise KnnscopeError(f"{trace.path}: nothing to draw: no kernels, copies, API calls or ranges were recorded")
    low, high = trace.span
    return Window(low, max(high, low + SHORTEST), "the whole trace")


def between(trace: Trace, begin: float | None, end: float | None) -> Window:
    """From and to, in milliseconds after the trace's first event.

    Raises:
        KnnscopeError: nothing lies between.
    """
    everything = whole(trace)
    length = (everything.high - everything.low) / 1e6
    begin, end = begin or 0.0, length if end is None else min(end, length)
    if begin >= length:
        since = f"counted from its first event, {everything.low / 1e6:.6g} ms after the session's start, which sql counts from"
        raise KnnscopeError(f"--from {begin:g}: the trace ends after {length:.6g} ms, {since}")
    if begin >= end:
        raise KnnscopeError(f"--from {begin:g} --to {end:g}: the first has to be smaller")
    low = everything.low + round(begin * 1e6)
    window = Window(low, max(low + SHORTEST, everything.low + round(end * 1e6)), f"{begin:.6g} to {end:.6g} ms")
    shown = (trace.ranges, trace.calls, trace.kernels, trace.copies)
    if not any(len(inside(events, window.low, window.high)) for events in shown):
        raise KnnscopeError(f"--from {begin:g} --to {end:g}: nothing happens there")
    return window


def phase(trace: Trace, text: str) -> Window:
    """The last time through the first phase whose name contains the text: the first time loads kernels. A search of ours ends with its answer.

    Raises:
        KnnscopeError: there is none.
    """
    whole(trace)
    ranges = trace.ranges
    found = [number for number, name in enumerate(trace.names) if text.casefold() in name.casefold()]
    places = np.flatnonzero(np.isin(ranges.name, found))
    if text.strip() and len(places):
        places = places[ranges.name[places] == ranges.name[places[0]]]
        low, high = int(ranges.start[places[-1]]), int(ranges.end[places[-1]])
        own = windows(trace)
        high = max(int(own.end[own.start == low].max(initial=0)), high) if own.own else high
        alike = f" (the last of {len(places):,})" if len(places) > 1 else ""
        return Window(low, max(high, low + SHORTEST), short(trace.names[ranges.name[places[-1]]], 110) + alike)
    numbers, first = np.unique(ranges.name, return_index=True)
    known = [short(trace.names[number], 50) for number in numbers[np.argsort(first)][:8]]
    more = f" and {len(numbers) - len(known):,} more" if len(numbers) > len(known) else ""
    said = f"there are: {'; '.join(known)}{more}" if known else "the trace has no NVTX ranges"
    raise KnnscopeError(f"--phase {text!r}: no range's name contains it: {said}")


def around(trace: Trace, number: int) -> Window:
    """One iteration of a loop, which ends with the N-th copy to the host, or kernel, with the ones before and after it.

    Raises:
        KnnscopeError: there is no N-th.
    """
    everything = whole(trace)
    chosen = np.flatnonzero(trace.copies.kind == TO_HOST) if len(trace.copies) else np.zeros(0, dtype=np.int64)
    marks: Work = trace.copies if len(chosen) else trace.kernels
    what = "copy to the host" if len(chosen) else "kernel"
    if not len(chosen):
        chosen = np.arange(len(marks))
    if not 1 <= number <= len(chosen):
        raise KnnscopeError(f"--around {number}: the trace has {len(chosen):,} {MARKS[what]}")
    chosen = chosen[np.argsort(marks.end[chosen], kind="stable")]  # those of several streams may end in another order
    ends, i = marks.end[chosen], number - 1
    near = np.diff(ends[max(0, i - 5) : i + 6])
    mark = int(chosen[i])
    alone = 3 * max(int(ends[i]) - _launched(trace, marks, mark), SHORTEST)
    usual = max(int(np.median(near)), SHORTEST) if len(near) else alone
    if usual > 100 * alone:  # the neighbors belong to other searches, not to a loop
        usual = alone
    known = i > 0 and int(ends[i] - ends[i - 1]) <= NEAR * usual
    begin = int(ends[i - 1]) if known else int(ends[i]) - usual
    before = max(int(ends[i - 2]), begin - usual) if i > 1 else begin - usual
    after = min(int(ends[i + 1]), int(ends[i]) + NEAR * usual) if i + 1 < len(ends) else int(ends[i]) + usual
    begin, before, after = max(begin, everything.low), max(before, everything.low), min(after, everything.high)
    margin = max((after - before) // 50, 1)
    title = f"around {what} {number:,} of {len(chosen):,}"
    return Window(
        before - margin,
        after + margin,
        title,
        (begin, int(ends[i])),
        f"iteration {number:,}" if known else f"before {what} {number:,}",
    )


def _launched(trace: Trace, marks: Work, mark: int) -> int:
    """When the call began that started it, or itself where that is unknown."""
    call = int(marks.call[mark])
    return min(int(marks.start[mark]), int(trace.calls.start[call])) if call >= 0 else int(marks.start[mark])


def inside(events: Events, low: int, high: int) -> Any:
    """Numbers of the events of which any part lies in [low, high)."""
    return np.flatnonzero((events.start < high) & ((events.end > low) | (events.start >= low)))
