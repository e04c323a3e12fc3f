"""Which range of the program each call, kernel and copy belongs to: the outermost one of its thread in which its launch call lies."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from knnscope.trace.model import UNKNOWN, Ints, Trace, Work

OWN = re.compile(r"knnscope: (load|build|search|copy back) (\S+)((?: \w+=\d{1,12})*)")
OWN_START = "knnscope: "
BACK_START = "knnscope: copy back "
SEARCH_START = "knnscope: search "
FEW_NUMBERS = 12
"""So many names that differ only in their numbers may be parts of a program, each seen again and again."""


@dataclass(frozen=True, slots=True)
class Windows:
    """Times of the outermost ranges, in order of thread and start; those of a thread are apart from each other.

    Where two ranges of a thread overlap, the later one counts from its beginning on. label: number in ``labels``.
    """

    start: Ints
    end: Ints
    thread: Ints
    label: Ints
    labels: tuple[str, ...]
    folded: frozenset[str]
    """Labels that stand for several names, with # for their numbers."""
    own: bool
    """They are knnscope's own phases."""

    def __len__(self) -> int:
        return len(self.start)

    def find(self, at: Any, thread: Any) -> Any:
        """Numbers of the windows in which these times of these threads lie, or ``UNKNOWN``."""
        found = np.full(len(at), UNKNOWN, dtype=np.min_scalar_type(-len(self.start) - 1))
        threads, first = np.unique(self.thread, return_index=True)
        last = np.append(first[1:], len(self.thread))
        if not len(threads) or not len(at):
            return found
        if (thread == thread[0]).all():
            groups: list[tuple[int, Any]] = [(int(thread[0]), slice(None))]
        else:
            order = np.argsort(thread, kind="stable")
            sorted_threads = thread[order]
            low, high = (np.searchsorted(sorted_threads, threads, side) for side in ("left", "right"))
            groups = [(int(t), order[a:b]) for t, a, b in zip(threads, low, high, strict=True) if b > a]
        for value, mine in groups:
            i = int(np.searchsorted(threads, value))
            if i == len(threads) or threads[i] != value:
                continue
            a, b = int(first[i]), int(last[i])
            times = at[mine]
            place = np.searchsorted(self.start[a:b], times, "right") - 1
            inside = (place >= 0) & (times < self.end[a:b][np.maximum(place, 0)])
            found[mine] = np.where(inside, place + a, UNKNOWN)
        return found


def windows(trace: Trace) -> Windows:
    """Knnscope's own phases where there are any, else the program's outermost ranges; a library's ranges are neither."""
    ranges = trace.ranges
    mine = np.asarray([name.startswith(OWN_START) for name in trace.names] or [False])[ranges.name]
    own = bool(mine.any())
    chosen = np.flatnonzero(mine if own else ~ranges.library)
    order = chosen[np.lexsort((-ranges.end[chosen], ranges.start[chosen], ranges.thread[chosen]))]
    start, end = ranges.start[order].astype(np.int64), ranges.end[order].astype(np.int64)
    thread, name = ranges.thread[order], ranges.name[order]
    top = outermost(end, thread)
    start, end, thread, name = start[top], end[top], thread[top], name[top]
    same = thread[1:] == thread[:-1]
    if own:
        back = np.asarray([n.startswith(BACK_START) for n in trace.names])[name]
        search = np.asarray([n.startswith(SEARCH_START) for n in trace.names])[name]
        lasts = np.append(search[:-1] & back[1:] & same, False)  # a search lasts until its answer is back
        end = np.where(lasts, np.append(end[1:], 0), end)
        keep = ~np.append(False, lasts[:-1])
        start, end, thread, name = start[keep], end[keep], thread[keep], name[keep]
        same = thread[1:] == thread[:-1]
    end[:-1] = np.where(same, np.minimum(end[:-1], start[1:]), end[:-1])
    label_of, labels, folded = _labels(trace.names, name, own)
    return Windows(start, end, thread, label_of[name] if len(name) else name, labels, folded, own)


def outermost(end: Any, thread: Any) -> Any:
    """Which events no earlier one of their thread encloses; in order of thread, start, and the longer first."""
    if not len(end):
        return np.zeros(0, dtype=bool)
    edges = np.flatnonzero(np.append(True, thread[1:] != thread[:-1]))
    top = np.ones(len(end), dtype=bool)
    for a, b in zip(edges.tolist(), [*edges[1:].tolist(), len(end)], strict=True):
        if b - a > 1:
            top[a + 1 : b] = end[a + 1 : b] > np.maximum.accumulate(end[a : b - 1])
    return top


def place(trace: Trace, within: Windows, events: Work, of_calls: Any) -> Any:
    """Windows of work on a GPU: that of its launch call; without a call, by its start, where one thread of its process alone has ranges."""
    if not len(within):
        return np.full(len(events), UNKNOWN, dtype=np.int8)
    found = np.full(len(events), UNKNOWN, dtype=np.min_scalar_type(-len(within) - 1))
    linked = events.call >= 0
    if len(of_calls):
        found[linked] = of_calls[events.call[linked]]
    rest = np.flatnonzero(~linked)
    if len(rest):
        thread_of = only_threads(trace, within)
        threads = np.asarray([thread_of.get(lane.process, UNKNOWN) for lane in trace.lanes], dtype=np.int64)
        found[rest] = within.find(events.start[rest], threads[events.lane[rest]])
    return found


def only_threads(trace: Trace, within: Windows) -> dict[int, int]:
    """The one thread with windows of each process that has just one; where processes are not told apart, of the trace."""
    threads: dict[int, list[int]] = {}
    for thread in np.unique(within.thread).tolist():
        threads.setdefault(process_of(thread), []).append(thread)
    if not trace.source.by_process:
        every = [t for some in threads.values() for t in some]
        return {lane.process: every[0] for lane in trace.lanes} if len(every) == 1 else {}
    return {process: some[0] for process, some in threads.items() if len(some) == 1}


def process_of(thread: Any) -> Any:
    """Bits 24 to 47 of a global id, or of many."""
    return (thread >> 24) & 0xFFFFFF


def fold(name: str) -> str:
    """The name with # for every number, and for every # that it has."""
    for digit in "0123456789":
        name = name.replace(digit, "#")
    return name.replace("#", "\x01\x02").replace("\x02\x01", "").replace("\x01\x02", "#")


def _labels(names: tuple[str, ...], used: Any, own: bool) -> tuple[Any, tuple[str, ...], frozenset[str]]:
    """A label for every name that is used: numbered names share one, unless they are few and each comes again and again."""
    counts = np.bincount(used, minlength=len(names)) if len(used) else np.zeros(len(names), dtype=np.int64)
    groups: dict[str, list[int]] = {}
    for number in np.flatnonzero(counts).tolist():
        groups.setdefault(names[number] if own else fold(names[number]), []).append(number)
    labels: dict[str, int] = {}
    folded = set()
    label_of = np.zeros(max(1, len(names)), dtype=np.int32)
    for label, members in groups.items():
        seen = int(counts[members].sum())
        apart = len(members) == 1 or (len(members) <= FEW_NUMBERS and seen >= 2 * len(members))
        if not apart:
            folded.add(label)
        for member in members:
            label_of[member] = labels.setdefault(names[member] if apart else label, len(labels))
    return label_of, tuple(labels), frozenset(folded)
