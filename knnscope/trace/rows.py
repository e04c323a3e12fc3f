"""Which events of a trace stand in which lane: the host's ranges and calls, each GPU's copies by kind, its kernels by stream."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from knnscope.annotate import PHASES, PREFIX
from knnscope.trace.excerpt import Window, inside
from knnscope.trace.model import (
    PAGED_BACK,
    PAGED_BETWEEN,
    PAGED_UP,
    PEER,
    TO_DEVICE,
    TO_HOST,
    UNKNOWN,
    WITHIN_DEVICE,
    Copies,
    Events,
    Ints,
    Kernels,
    Trace,
    Work,
)
from knnscope.units import decimal_size

COPIES = (
    ("host to device", (TO_DEVICE,)),
    ("device to host", (TO_HOST,)),
    ("within the GPU", (WITHIN_DEVICE,)),
    ("between GPUs", (PEER,)),
    ("pages to device", (PAGED_UP,)),
    ("pages to host", (PAGED_BACK,)),
    ("pages between GPUs", (PAGED_BETWEEN,)),
    ("fills", (UNKNOWN,)),
)
OTHER_COPIES = "other copies"
CALLS = (
    ("launch", re.compile("launch", re.IGNORECASE)),
    ("copy", re.compile("memcpy|memset", re.IGNORECASE)),
    ("wait", re.compile("synchronize|query|wait", re.IGNORECASE)),
    ("memory", re.compile("alloc|free|hostregister", re.IGNORECASE)),
)
CALL_TONES = (*(name for name, _ in CALLS), "other call")
"""What a call does; tones of the lanes of calls."""
PHASE_TONES = (*PHASES, "other range")
"""Tones of the lanes of ranges."""


@dataclass(frozen=True, slots=True)
class Most:
    """How many have a lane of their own; what is more shares one. Of ranges, ``depths`` nested ones are shown.

    by_thread: ranges have lanes for each thread. inner: calls that lie inside others have a lane, if there are any.
    gpus: that are shown, those with most work.
    """

    threads: int = 4
    streams: int = 4
    depths: int = 3
    gpus: int = 1 << 16
    by_thread: bool = False
    inner: bool = False


PICTURE = Most()
"""Of a picture of one page."""


class Row(NamedTuple):
    """A lane's events that lie in a window: their numbers in ``events``, and a tone for each.

    gpu: number, or ``UNKNOWN`` of the host. thread: of lanes that are one thread's.
    """

    title: str
    group: str
    labels: Names | Sizes
    events: Events
    which: Any
    tones: Any
    gpu: int = UNKNOWN
    thread: int = UNKNOWN


class Names:
    """Labels of events by their names."""

    def __init__(self, names: tuple[str, ...], numbers: Ints) -> None:
        self.names, self.numbers = names, numbers

    def of(self, event: int) -> str:
        """The label of an event."""
        name: str = self.names[self.numbers[event]]
        return name.removeprefix(PREFIX)


class Sizes:
    """Labels of copies by their bytes."""

    def __init__(self, copies: Copies) -> None:
        self.nbytes = copies.nbytes

    def of(self, event: int) -> str:
        """The label of an event."""
        return decimal_size(int(self.nbytes[event]))


def rows(trace: Trace, window: Window, most: Most = PICTURE) -> Iterator[Row]:
    """Every lane of which the trace has anything, from the host's ranges down to the GPU's kernels."""
    host = [*_ranges(trace, window, most), *_calls(trace, window, most)]
    if most.by_thread:  # a thread's ranges stand above its calls, what several share comes last
        threads = {
            thread: i for i, thread in enumerate(dict.fromkeys(row.thread for row in host if row.group == "calls"))
        }
        host.sort(key=lambda row: (row.thread == UNKNOWN, threads.get(row.thread, len(threads))))
    yield from host
    for gpu in sorted(trace.used[: most.gpus]):
        yield from _copies(trace, window, gpu)
        yield from _kernels(trace, window, gpu, most)


def _ranges(trace: Trace, window: Window, most: Most) -> Iterator[Row]:
    ranges = trace.ranges
    tones = np.asarray([_phase_of(name) for name in trace.names] or [0], dtype=np.int64)
    chosen = inside(ranges, window.low, window.high)
    labels = Names(trace.names, ranges.name)
    threads = _by_time(ranges.thread, np.ones(len(ranges), dtype=bool)) if most.by_thread else []
    shares = _shares(ranges.thread, chosen, threads, most.threads) if most.by_thread else [(UNKNOWN, "", chosen)]
    for thread, of, mine in shares:
        for depth in range(min(int(ranges.depth[mine].max()) + 1, most.depths) if len(mine) else 0):
            there = mine[ranges.depth[mine] == depth]
            title = "NVTX ranges" if depth == 0 else f"nested ranges {depth}" if depth > 1 else "nested ranges"
            yield Row(title + of, "ranges", labels, ranges, there, tones[ranges.name[there]], thread=thread)


def _calls(trace: Trace, window: Window, most: Most) -> Iterator[Row]:
    calls = trace.calls
    tones = np.asarray([_call_of(name) for name in trace.names] or [0], dtype=np.int64)
    labels = Names(trace.names, calls.name)
    threads = _by_time(calls.thread, calls.outer)
    chosen = inside(calls, window.low, window.high)
    for thread, of, there in _shares(calls.thread, chosen, threads, most.threads):
        outer = there[calls.outer[there]]
        title = f"API{of}" if of else "CUDA API calls"
        yield Row(title, "calls", labels, calls, outer, tones[calls.name[outer]], thread=thread)
        inner = there[~calls.outer[there]]
        if most.inner and len(inner):
            yield Row(f"calls in calls{of}", "calls", labels, calls, inner, tones[calls.name[inner]], thread=thread)


def _by_time(thread: Any, counted: Any) -> list[int]:
    """Threads, the one with most events first."""
    threads, counts = np.unique(thread[counted], return_counts=True)
    return [int(i) for i in threads[np.argsort(-counts, kind="stable")]]


def _shares(thread: Any, chosen: Any, threads: list[int], most: int) -> Iterator[tuple[int, str, Any]]:
    """Each thread, how its lanes are called beside others, and its events of the chosen; the rest share one."""
    for number in threads[:most]:
        of = f", thread {number & 0xFFFFFF}" if len(threads) > 1 else ""
        yield number, of, chosen[thread[chosen] == number]
    if len(threads) > most:
        yield UNKNOWN, f", {len(threads) - most:,} other threads", chosen[np.isin(thread[chosen], threads[most:])]


def _copies(trace: Trace, window: Window, gpu: int) -> Iterator[Row]:
    copies, mask = trace.copies, on_gpu(trace, trace.copies, gpu)
    known = [kind for _, kinds in COPIES for kind in kinds]
    chosen = inside(copies, window.low, window.high)
    for title, kinds in (*COPIES, (OTHER_COPIES, ())):
        mine = mask & (np.isin(copies.kind, kinds) if kinds else ~np.isin(copies.kind, known))
        if mine.any():
            there = chosen[mine[chosen]]
            tones = np.zeros(len(there), dtype=np.int64)
            yield Row(_of(trace, gpu) + title, title, Sizes(copies), copies, there, tones, gpu)


def _kernels(trace: Trace, window: Window, gpu: int, most: Most) -> Iterator[Row]:
    """Where the GPU ran on several streams, a lane for each, the busiest first."""
    kernels: Kernels = trace.kernels
    mine = np.flatnonzero(on_gpu(trace, kernels, gpu))
    numbers, places = np.unique(kernels.lane[mine], return_inverse=True)
    spent = np.bincount(places, kernels.duration[mine], len(numbers))
    order = np.argsort(-spent, kind="stable")
    chosen = inside(kernels, window.low, window.high)
    labels, of = Names(trace.names, kernels.name), _of(trace, gpu)
    for i, place in enumerate(order[: most.streams + 1].tolist()):
        rest = i == most.streams
        some = numbers[order[most.streams :]] if rest else numbers[place : place + 1]
        stream = f", stream {trace.lanes[int(some[0])].stream}" if len(numbers) > 1 else ""
        title = f"{of}kernels, {len(numbers) - most.streams:,} other streams" if rest else f"{of}kernels{stream}"
        there = chosen[np.isin(kernels.lane[chosen], some)]
        yield Row(title, "kernels", labels, kernels, there, np.zeros(len(there), dtype=np.int64), gpu)


def _of(trace: Trace, gpu: int) -> str:
    return f"GPU {gpu}: " if len(trace.used) > 1 else ""


def on_gpu(trace: Trace, events: Work, gpu: int) -> Any:
    """Which of the events ran on this GPU, one truth value an event."""
    mask = np.zeros(len(events), dtype=bool)
    mask[trace.on(events, gpu)] = True
    return mask


def _call_of(name: str) -> int:
    return next((i for i, (_, pattern) in enumerate(CALLS) if pattern.search(name)), len(CALLS))


def _phase_of(name: str) -> int:
    own = name.removeprefix(PREFIX)
    return next((i for i, what in enumerate(PHASES) if own.startswith(what)), len(PHASES))
