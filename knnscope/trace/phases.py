"""The parts of a run that NVTX ranges mark, for each GPU by itself: host time, GPU time, launches and copies of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from knnscope.trace import intervals
from knnscope.trace.intervals import Packed, Spans
from knnscope.trace.model import UNKNOWN, Calls, Copies, Events, Gpu, Kernels, Trace, Work
from knnscope.trace.windows import OWN, Windows, place, process_of, windows

MOST = 50
"""Different phases that are told apart; of more, those with most time."""
WHOLE = "the whole run"
USUAL, USUAL_NS, MOST_NS = 4, 20_000, 50_000
"""A host prepares a call for no longer than so many times what it does for three quarters of them, nor less than 20 µs, nor longer than 50 µs
(CuPy, recorded: 99 of 100 within 38 µs): what is longer is other work, of which 20 µs may be the call's."""
E = TypeVar("E", bound=Events)


@dataclass(frozen=True)
class Run:
    """A trace with its windows, and which of them each event belongs to: ``UNKNOWN`` where it is outside all of them."""

    trace: Trace
    windows: Windows

    @cached_property
    def calls(self) -> Any:
        """Of API calls: by their start and thread."""
        return self.windows.find(self.trace.calls.start, self.trace.calls.thread)

    @cached_property
    def kernels(self) -> Any:
        """Of kernels: by their launch calls."""
        return place(self.trace, self.windows, self.trace.kernels, self.calls)

    @cached_property
    def copies(self) -> Any:
        """Of copies: likewise."""
        return place(self.trace, self.windows, self.trace.copies, self.calls)

    @cached_property
    def busy(self) -> Mapping[int, Spans]:
        """When each GPU had anything to do."""
        found: dict[int, Spans | Packed] = {}
        for gpu in self.trace.used:
            kernels, copies = self.trace.kernels, self.trace.copies
            a, b = self.trace.on(kernels, gpu), self.trace.on(copies, gpu)
            both = (kernels.start[a], kernels.end[a]), (copies.start[b], copies.end[b])
            found[gpu] = intervals.packed(intervals.collected(intervals.parts(*both)))
        return Unpacked(found)


class Unpacked(Mapping[int, Spans]):
    """Intervals by number, each unpacked when it is looked up."""

    def __init__(self, packed: Mapping[int, Spans | Packed]) -> None:
        self._packed = packed

    def __getitem__(self, number: int) -> Spans:
        return intervals.unpacked(self._packed[number])

    def __iter__(self) -> Iterator[int]:
        return iter(self._packed)

    def __len__(self) -> int:
        return len(self._packed)


@dataclass(frozen=True)
class Phase:
    """Ranges of one name, and what one GPU did for them.

    gpu: its number; ``UNKNOWN`` where none was recorded. chosen: numbers of the run's windows, in order of start; none for the whole run.
    shape: rows, dim, k, batch where the range says so.
    """

    name: str
    gpu: int
    run: Run
    chosen: Any = None
    shape: dict[str, int] = field(default_factory=dict)
    once: bool = False
    """Done once, like loading: shown, and judged by no rule."""

    @property
    def trace(self) -> Trace:
        """Where it is from."""
        return self.run.trace

    @property
    def whole(self) -> bool:
        """It is the whole run: no range marks it."""
        return self.chosen is None

    @cached_property
    def steady(self) -> Any:
        """Numbers of the windows looked at: without the first time, which loads kernels, where there are others."""
        return self.chosen[1:] if len(self.chosen) > 1 else self.chosen

    @property
    def windows(self) -> Spans:
        """Beginnings and ends of all times through it, in order of start; those of several threads may overlap."""
        if self.chosen is None:
            low, high = self.trace.span
            return np.asarray([low]), np.asarray([high])
        return self.run.windows.start[self.chosen], self.run.windows.end[self.chosen]

    @cached_property
    def times(self) -> int:
        """How often it is looked at."""
        return 1 if self.whole else len(self.steady)

    @cached_property
    def spans(self) -> Spans:
        """When the host was in it, of the times looked at."""
        if self.whole:
            return self.windows
        return intervals.spans((self.run.windows.start[self.steady], self.run.windows.end[self.steady]))

    @cached_property
    def host_ns(self) -> int:
        """Nanoseconds that the host was in it, of all times looked at."""
        return intervals.length(self.spans)

    @cached_property
    def long_ns(self) -> int:
        """Nanoseconds in which the host was in it or the GPU at work for it: what a share is of."""
        return intervals.total(intervals.real_parts(self.spans, *self._worked))

    @cached_property
    def kernels(self) -> Kernels:
        """Those that were launched in it, on this GPU."""
        return chosen(self.trace.kernels, self._mine(self.run.trace.kernels, "kernels"))

    @cached_property
    def copies(self) -> Copies:
        """Likewise."""
        return chosen(self.trace.copies, self._mine(self.run.trace.copies, "copies"))

    def _mine(self, events: Work, what: str) -> Any:
        here = self.trace.on(events, self.gpu)
        if self.whole:
            return here
        inside = self._steady_windows[getattr(self.run, what)]
        return unbroken(inside if isinstance(here, slice) else inside & here)

    @cached_property
    def _steady_windows(self) -> Any:
        """Which windows are looked at; the last entry is what no window holds."""
        wanted = np.zeros(len(self.run.windows) + 1, dtype=bool)
        wanted[self.steady] = True
        return wanted

    @property
    def called(self) -> Any:
        """Numbers of its API calls that no other call encloses: nested ones are part of those."""
        outer = self.trace.calls.outer
        mine = self.trace.callers(self.gpu) if self.whole else self._steady_windows[self.run.calls]
        return np.flatnonzero(outer & mine).astype(np.int32)

    @cached_property
    def calls(self) -> Calls:
        """Those calls."""
        numbers = self.called
        if len(numbers) and int(numbers[-1]) - int(numbers[0]) == len(numbers) - 1:
            return chosen(self.trace.calls, slice(int(numbers[0]), int(numbers[-1]) + 1))
        return chosen(self.trace.calls, numbers)

    @property
    def work(self) -> Spans:
        """When the GPU was at work for it, be the host in it or not."""
        return intervals.spans(*self._worked)

    @property
    def work_ns(self) -> int:
        """Nanoseconds of that."""
        return intervals.total(intervals.real_parts(*self._worked))

    @property
    def _worked(self) -> tuple[Spans, Spans]:
        """Its kernels and copies, which may overlap."""
        return (self.kernels.start, self.kernels.end), (self.copies.start, self.copies.end)

    @cached_property
    def idle(self) -> Spans:
        """When the host was in it, and the GPU had nothing to do at all: what the host can save."""
        return intervals.without(self.spans, self.run.busy.get(self.gpu, intervals.NOWHERE))

    @cached_property
    def idle_ns(self) -> int:
        """Nanoseconds of that."""
        return intervals.length(self.idle)

    @property
    def busy_ns(self) -> int:
        """Nanoseconds in which the host was in it and the GPU had anything to do."""
        return self.host_ns - self.idle_ns

    @property
    def api(self) -> Spans:
        """When the host was in the API for it."""
        return intervals.collected(self.api_parts())

    def api_parts(self) -> Iterator[Spans]:
        """The same in parts."""
        for called in intervals.real_parts((self.calls.start, self.calls.end)):
            yield from intervals.common_parts(called, self.spans)

    @cached_property
    def api_ns(self) -> int:
        """Nanoseconds of that."""
        return intervals.total(self.api_parts())

    @cached_property
    def by_thread(self) -> list[Any]:
        """Which calls are whose: an index for each thread, in order of start; one that copies nothing where there is but one."""
        thread = self.calls.thread
        if not len(thread) or (thread == thread[0]).all():
            return [slice(None)]
        order = np.argsort(thread, kind="stable")
        return np.split(order, np.flatnonzero(np.diff(thread[order])) + 1)

    @cached_property
    def _gaps(self) -> Any:
        """Nanoseconds before each call since its thread's last one ended, or the phase began, as far as they are its own."""
        calls, called = self.calls, self.called
        gaps = np.zeros(len(calls), dtype=np.int64)
        for mine in self.by_thread:
            start, end = calls.start[mine], calls.end[mine]
            before = np.append(start[:1], end[:-1])
            if not self.whole and len(start):
                window = self.run.calls[called[mine]]
                new = np.append(True, window[1:] != window[:-1])
                before[new] = self.run.windows.start[window[new]]
            gaps[mine] = np.maximum(0, start - before)
        if len(gaps):
            most = min(MOST_NS, max(USUAL_NS, USUAL * float(np.percentile(gaps, 75))))
            gaps[gaps > most] = USUAL_NS
        return gaps.astype(np.uint16)

    def prepared(self, which: Any) -> Any:
        """When the host began to prepare these calls."""
        return self.calls.start[which] - self._gaps[which]

    def release(self) -> None:
        """Forget the columns that were made for the rules; they are made again when they are asked for."""
        for name in ("idle", "calls", "by_thread", "_gaps", "kernels", "copies"):
            self.__dict__.pop(name, None)

    @property
    def card(self) -> Gpu:
        """The GPU as the trace names it."""
        return self.trace.gpus.get(self.gpu, Gpu())

    def matching(self, pattern: str) -> Any:
        """Which names match, by number."""
        return self.trace.matching(pattern)

    def named(self, pattern: str) -> Any:
        """Which calls have names that match."""
        return self.matching(pattern)[self.calls.name]

    def launched(self, events: Work, mask: Any) -> Any:
        """Which of the phase's calls launched these events; a call that is inside another counts as that one."""
        calls = self.trace.calls
        launching = np.zeros(len(calls) + 1, dtype=bool)  # the last is of events without a call
        launching[events.call[mask]] = True
        inner = np.flatnonzero(launching[:-1] & ~calls.outer)
        found = launching[self.called]
        if len(inner):
            mine = self.calls
            inner = inner[np.argsort(calls.thread[inner], kind="stable")]
            threads, starts = calls.thread[inner], calls.start[inner]
            for outer in self.by_thread if len(mine) else ():
                some, thread = found[outer], mine.thread[outer][0]
                a, b = (np.searchsorted(threads, thread, side) for side in ("left", "right"))
                where = np.searchsorted(mine.start[outer], starts[a:b], "right") - 1
                some[where[where >= 0]] = True
                found[outer] = some
        return found


def chosen(events: E, mask: Any) -> E:
    """The events of an index; a slice copies nothing."""
    return type(events)(*(getattr(events, name)[mask] for name in _fields(events)))


def unbroken(mask: Any) -> Any:
    """A slice where what is chosen is one piece."""
    places = np.flatnonzero(mask)
    if len(places) and int(places[-1]) - int(places[0]) == len(places) - 1:
        return slice(int(places[0]), int(places[-1]) + 1)
    return mask


def _fields(events: Events) -> Iterator[str]:
    for cls in reversed(type(events).__mro__):
        yield from getattr(cls, "__slots__", ())


def phases(trace: Trace) -> list[Phase]:
    """Our own phases; else the outermost ranges of whoever named some; else the whole run; of each GPU that worked for them."""
    run = Run(trace, windows(trace))
    low, high = trace.span
    if high <= low:
        return []
    gpus = trace.used or (UNKNOWN,)
    if not len(run.windows):
        return [Phase(WHOLE, gpu, run) for gpu in gpus]
    return [phase for label in _labels(run) for phase in _of_label(run, label, gpus)]


def _labels(run: Run) -> list[int]:
    """Those shown, in order of their first beginning."""
    many = len(run.windows.labels)
    time = np.bincount(run.windows.label, (run.windows.end - run.windows.start), many)
    first = np.full(many, np.iinfo(np.int64).max)
    np.minimum.at(first, run.windows.label, run.windows.start)
    longest = np.argsort(-time, kind="stable")[:MOST]
    return sorted((int(i) for i in longest if first[i] < np.iinfo(np.int64).max), key=lambda i: int(first[i]))


def _of_label(run: Run, label: int, gpus: tuple[int, ...]) -> Iterator[Phase]:
    text = run.windows.labels[label]
    name, shape, once = text, {}, False
    if found := OWN.fullmatch(text):
        what, who, numbers = found.groups()
        shape = {k: int(v) for k, v in (pair.split("=") for pair in numbers.split())}
        name, once = f"{what} {who}", what in ("load", "build") and bool(shape)
        if sum(other.startswith(f"knnscope: {name} ") for other in run.windows.labels) > 1:
            name += numbers  # the same search of other rows is another phase
    mine = np.flatnonzero(run.windows.label == label)
    mine = mine[np.lexsort((run.windows.thread[mine], run.windows.start[mine]))]
    worked = [gpu for gpu in gpus if _works(run, mine, gpu)]
    if len(worked) <= 1:
        yield Phase(name, (worked or gpus)[0], run, mine, shape, once)
        return
    process = np.asarray([process_of(t) for t in run.windows.thread[mine].tolist()])
    for gpu in worked:  # a rank's ranges are about its own GPU
        users = {lane.process for lane in run.trace.lanes if lane.gpu == gpu}
        part = mine[np.isin(process, list(users))] if run.trace.source.by_process else mine
        yield Phase(name, gpu, run, part, shape, once)


def _works(run: Run, mine: Any, gpu: int) -> bool:
    wanted = np.zeros(len(run.windows) + 1, dtype=bool)
    wanted[mine] = True
    for events, where in ((run.trace.kernels, run.kernels), (run.trace.copies, run.copies)):
        here = run.trace.on(events, gpu)
        if bool((wanted[where][here]).any()):
            return True
    return False
