"""What a trace holds, as columns. Times are nanoseconds since the session's start; every table is in order of ``start``."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.integer[Any]]

TO_DEVICE, TO_HOST, WITHIN_DEVICE, PEER = 1, 2, 8, 10
"""Kind of a copy: which way it goes, numbered as in CUPTI and in every schema. No other thing is a "kind" here."""
PAGED_UP, PAGED_BACK, PAGED_BETWEEN = 11, 12, 13
"""Pages of unified memory on their way to the GPU, to the host, and between GPUs."""
PAGEABLE, PINNED, DEVICE, ARRAY, MANAGED = 0, 1, 2, 3, 4
"""Types of memory as Nsight Systems numbers them; CUPTI's own numbers are one higher."""
UNKNOWN = -1
GPUS = 64
"""So many are told of at most; each costs a look at all events."""


class Lane(NamedTuple):
    """A stream: the program that it belongs to, the GPU as the machine numbers it and as the program does, and the stream's number."""

    process: int
    gpu: int
    device: int
    context: int
    stream: int


@dataclass(frozen=True, slots=True)
class Events:
    """Things with a beginning and an end, a column each, in order of ``start``.

    start: nanoseconds since the session's start. ends: when each ends, likewise; of very many, as int32, how long each takes, in half
    the memory. name: number of the name in ``Trace.names``.
    """

    start: Ints
    ends: Ints
    name: Ints

    def __len__(self) -> int:
        return len(self.start)

    @property
    def end(self) -> Ints:
        """When each ends, in nanoseconds."""
        return self.start + self.ends if self.ends.dtype == np.int32 else self.ends

    @property
    def duration(self) -> Ints:
        """How long each takes, in nanoseconds."""
        return self.ends.astype(np.int64) if self.ends.dtype == np.int32 else self.ends - self.start


@dataclass(frozen=True, slots=True)
class Work(Events):
    """What a GPU did. lane: number in ``Trace.lanes``. call: number of the API call that launched it, or ``UNKNOWN``."""

    lane: Ints
    call: Ints


@dataclass(frozen=True, slots=True)
class Kernels(Work):
    """Kernels, and whole graphs where their nodes were not recorded."""


@dataclass(frozen=True, slots=True)
class Copies(Work):
    """Copies and fills. kind: which way it goes (``TO_DEVICE`` and so on), or ``UNKNOWN`` for a fill. source, target: types of memory, or ``UNKNOWN``."""

    nbytes: Ints
    kind: Ints
    source: Ints
    target: Ints


@dataclass(frozen=True, slots=True)
class Calls(Events):
    """Calls of the CUDA runtime and driver on the host; ``outer``: inside no other call of its thread."""

    thread: Ints
    outer: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Ranges(Events):
    """NVTX ranges. depth: how many of its thread's ranges enclose it. library: a library's own, not the program's."""

    thread: Ints
    depth: Ints
    library: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Gpu:
    """The GPU as the trace names it; 0 where it does not say."""

    name: str = "unknown GPU"
    bandwidth: float = 0.0
    """Bytes/s of its memory, by its data sheet."""
    multiprocessors: int = 0
    l2_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Source:
    """How the file spells what was read from it, so that a query finds the same rows.

    tables: names that it has for those of the schema. columns: by the schema's name. spellings: of a call's name, by its number. pageable:
    its numbers of that type of memory. by_process: correlation ids are told apart by process; threads: so are calls and ranges by thread.
    strings: there is a table of them. shifted: work left out because it begins before its launch. end: where ranges without an end are
    cut. odd: tables of which rows were left out, cut or read as something else. domains: process and number of the named domains that are the program's.
    """

    tables: dict[str, str] = field(default_factory=dict)
    columns: dict[str, frozenset[str]] = field(default_factory=dict)
    spellings: dict[int, tuple[str, ...]] = field(default_factory=dict)
    pageable: tuple[int, ...] = (PAGEABLE,)
    by_process: bool = True
    threads: bool = True
    strings: bool = True
    shifted: int = 0
    end: int = 0
    odd: frozenset[str] = frozenset()
    domains: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Trace:
    """A recorded run. ``lacks``: what this trace cannot answer, in words; ``notes``: what was odd about it.

    gpus: by number, where the file names them. whole_graphs: launches of graphs whose kernels were not recorded.
    """

    path: str
    names: tuple[str, ...]
    kernels: Kernels
    copies: Copies
    calls: Calls
    ranges: Ranges
    lanes: tuple[Lane, ...]
    gpus: dict[int, Gpu]
    recorder: str
    lacks: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    whole_graphs: int = 0
    source: Source = field(default_factory=Source)

    @cached_property
    def span(self) -> tuple[int, int]:
        """First start and last end of anything."""
        parts = [e for e in (self.kernels, self.copies, self.calls, self.ranges) if len(e)]
        if not parts:
            return 0, 0
        return min(int(e.start.min()) for e in parts), max(int(e.end.max()) for e in parts)

    @cached_property
    def used(self) -> tuple[int, ...]:
        """Numbers of the GPUs that did anything, the one with most work first; ``GPUS`` at most."""
        spent: dict[int, int] = {}
        for events in (self.kernels, self.copies):
            if len(events):
                for lane, ns in zip(
                    self.lanes, np.bincount(events.lane, events.duration, len(self.lanes)), strict=True
                ):
                    spent[lane.gpu] = spent.get(lane.gpu, 0) + int(ns)
        there = {self.lanes[i].gpu for e in (self.kernels, self.copies) for i in np.unique(e.lane).tolist()}
        return tuple(sorted(there, key=lambda number: (-spent[number], number))[:GPUS])

    def callers(self, gpu: int) -> Any:
        """Which calls are of programs that use this GPU: another program's do not concern it. All, where programs are not told apart."""
        users = self.users(gpu)
        return np.isin((self.calls.thread >> 24) & 0xFFFFFF, users) if users else np.ones(len(self.calls), dtype=bool)

    def users(self, gpu: int) -> tuple[int, ...]:
        """Processes that use this GPU, where others call as well; none where all calls may be theirs."""
        if not self.source.by_process or len({lane.process for lane in self.lanes}) < 2:
            return ()
        found = {lane.process for lane in self.lanes if lane.gpu == gpu}
        return tuple(sorted(found & self.processes))

    @cached_property
    def processes(self) -> frozenset[int]:
        """Those that called."""
        return frozenset(((np.unique(self.calls.thread) >> 24) & 0xFFFFFF).tolist())

    @property
    def sizes(self) -> bool:
        """The bytes of copies were recorded."""
        return "bytes" in self.source.columns.get("CUPTI_ACTIVITY_KIND_MEMCPY", ())

    @property
    def gpu(self) -> Gpu:
        """The one that did most; of an idle machine the first."""
        if self.used:
            return self.gpus.get(self.used[0], Gpu())
        return next(iter(self.gpus.values()), Gpu())

    def matching(self, pattern: str) -> Any:
        """Which names match, by number."""
        return np.asarray([bool(re.search(pattern, name)) for name in self.names] or [False])

    def on(self, events: Work, gpu: int) -> Any:
        """Which of them ran on this GPU: an index, which copies nothing where there is but one."""
        if self.used == (gpu,):
            return slice(None)
        return np.asarray([lane.gpu == gpu for lane in self.lanes] or [False])[events.lane]
