"""The only code that knows the SQLite schema of a trace: old and new exports of Nsight Systems, and our own recorder's.

A trace is not trusted: it is opened read-only, views, virtual tables and triggers are not followed, every value is made a number of bounded
size, what is read is bounded by the file's own size, and a row that makes no sense is left out and counted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from knnscope.trace.columns import in_order, narrow, resized, short, size, small, together
from knnscope.trace.database import Tables, connect
from knnscope.trace.gpus import gpu_numbers, gpus_of
from knnscope.trace.memory import by_number, memory_types
from knnscope.trace.model import GPUS, PAGEABLE, UNKNOWN, Calls, Copies, Kernels, Lane, Ranges, Source, Trace
from knnscope.trace.names import NAME, NAMES, Names
from knnscope.trace.nesting import depth_of, launches, outer_of, outside
from knnscope.trace.windows import process_of

KERNEL = "CUPTI_ACTIVITY_KIND_KERNEL"
GRAPH = "CUPTI_ACTIVITY_KIND_GRAPH_TRACE"
MEMCPY = "CUPTI_ACTIVITY_KIND_MEMCPY"
MEMSET = "CUPTI_ACTIVITY_KIND_MEMSET"
RUNTIME = "CUPTI_ACTIVITY_KIND_RUNTIME"
LATEST = 1 << 61
"""Times beyond it, in nanoseconds, are 73 years: no measurement."""
LONGEST = 1 << 50
"""Thirteen days: nothing on a GPU takes longer, and sums of durations stay numbers."""
PUSHED, STARTED, DOMAIN = 59, 60, 75
"""NVTX ranges of a thread, those that begin and end anywhere, and the naming of a domain."""
LIBRARY = re.compile(
    r"CCCL|CUB|Thrust|cuBLAS|cuDNN|cuFFT|cuSOLVER|cuSPARSE|cuRAND|cuTENSOR|NCCL|NVSHMEM|TensorRT|TRT|(lib)?cuDF|RMM|(lib)?RAFT|cuML|cuVS|DALI"
    r"|UCX|cuGraph|KvikIO|nvCOMP|NPP|nvJPEG|OptiX|Triton",
    re.IGNORECASE,
)
"""Domains of ranges that a library makes for itself."""
SHIFTED_NS = 100_000
"""Work that begins so long before the call that launches it was timed by another clock; below that, clocks agree as well as they can."""
VERSIONED = re.compile(r"_v\d+$")
NAME_LANE = NAME_THREAD = (2, 3)
"""Columns of which most traces have few values."""
LANES = 1 << 16
"""Streams that are told apart at most."""
UNNAMED = "unnamed range"
WHERE = ("globalPid", "correlationId", "deviceId", "contextId", "streamId")
"""Where a GPU's work belongs."""
Decode = Callable[..., tuple[Any, ...]]


def read(path: str | Path) -> Trace:
    """The whole trace.

    Raises:
        KnnscopeError: no trace, or a damaged one.
    """
    with connect(path) as base:
        return Reader(str(path), Tables(base, Path(path))).trace()


class Reader:
    """One reading of one trace."""

    def __init__(self, path: str, tables: Tables) -> None:
        self.path, self.tables = path, tables
        self.lacks: list[str] = []
        self.notes: list[str] = []
        self.names = Names(tables, self.notes)
        self.lanes: dict[Lane, int] = {}
        self.numbers = gpu_numbers(tables)
        self.pageable: tuple[int, ...] = (PAGEABLE,)
        self.shifted = 0
        self.open_until = 0
        self.odd: set[str] = set()
        columns = tables.columns
        works = [columns[table] for table in (KERNEL, MEMCPY, MEMSET, GRAPH) if table in columns]
        self.by_process = all("globalPid" in c for c in works) and "globalTid" in columns.get(RUNTIME, {"globalTid"})
        self.threads = all("globalTid" in columns.get(table, {"globalTid"}) for table in (RUNTIME, "NVTX_EVENTS"))

    def trace(self) -> Trace:
        """Everything, table by table."""
        if not self.tables.columns.keys() & {KERNEL, MEMCPY, RUNTIME, GRAPH, MEMSET, "NVTX_EVENTS"}:
            self.lacks.append(
                "this export holds no CUDA activity and no NVTX ranges: it was recorded without -t cuda,nvtx"
            )
        kernels, copies, calls = self._kernels(), self._copies(), self._calls()
        whole_graphs = kernels.pop()
        where = calls.pop()
        kernels, copies = (
            self._launched(work, calls, where, what) for work, what in ((kernels, "kernels"), (copies, "copies"))
        )
        del where
        ends = [int(column[1].max()) for column in (kernels, copies, calls) if len(column[1])]
        for columns, which in ((kernels, NAME_LANE), (copies, NAME_LANE), (calls, NAME_THREAD)):
            columns[1] = short(columns[0], columns[1])
            for i in which:
                columns[i] = narrow(columns[i])
        ranges, domains = self._ranges(max(ends, default=0))
        if (many := len({lane.gpu for lane in self.lanes})) > GPUS:
            self.notes.append(f"{many:,} GPUs did something: the {GPUS} with most work are told of")
        source = Source(
            {name: self.tables.actual[name] for name in self.tables.columns},
            self.tables.columns,
            {number: tuple(sorted(texts)) for number, texts in self.names.spellings.items()},
            self.pageable,
            self.by_process,
            self.threads,
            "StringIds" in self.tables.columns,
            self.shifted,
            self.open_until,
            frozenset(self.odd),
            domains,
        )
        return Trace(
            self.path,
            tuple(self.names.numbers),
            Kernels(*kernels),
            Copies(*copies),
            Calls(*calls),
            ranges,
            tuple(self.lanes),
            gpus_of(self.tables),
            self._recorder(),
            tuple(self.lacks),
            tuple(self.notes),
            whole_graphs,
            source,
        )

    def _collect(self, table: str, wanted: Sequence[str], decode: Decode) -> list[Any]:
        """A table's columns in order of ``start``: start, end, and what ``decode`` makes of the rest, chunk by chunk.

        A trace of a gigabyte has tens of millions of rows: only what is kept of them is ever held whole.
        """
        nothing = np.zeros(0, dtype=np.int64)
        empty = [nothing, nothing, *decode(*[nothing] * len(wanted))]
        room = self.tables.expected(table)
        columns = [np.empty(room, dtype=column.dtype) for column in empty]
        count = read = bad = 0
        for start, end, *others in self.tables.numbers(table, ("start", "end", *wanted)):
            if (start < 0).any():
                self.odd.add(table)
            good = (start > -LATEST) & (end > 0) & (end >= start) & (end < LATEST)
            good[good] = end[good] - start[good] < LONGEST
            some = [np.maximum(start[good], 0), end[good], *decode(*(column[good] for column in others))]
            read, bad, last = read + len(good), bad + int((~good).sum()), count + len(some[0])
            if last > room:
                room = max(last, 2 * room)
                columns = [resized(column, count, room) for column in columns]
            for column, piece in zip(columns, some, strict=True):
                column[count:last] = piece
            count = last
        self._count(table, read, bad)
        return in_order([column if count == room else resized(column, count, count) for column in columns])

    def _count(self, table: str, read: int, bad: int) -> None:
        if bad:
            self.odd.add(table)
            self.notes.append(
                f"{table}: {bad:,} of {read:,} rows have impossible times (none, or the end before the start) and are left out"
            )

    def _has(self, table: str, what: str, *needed: str) -> bool:
        have = self.tables.columns.get(table)
        if have is None:
            if not self.lacks or "this export holds no" not in self.lacks[0]:
                self.lacks.append(f"no {what} (no table {table})")
            return False
        if missing := [c for c in needed if c not in have]:
            self.lacks.append(f"no {what} ({table} has no column {', '.join(missing)})")
            return False
        return True

    def _kernels(self) -> list[Any]:
        """Columns, then how many launches of graphs were recorded whole."""
        parts, graphs = [], 0
        if {"start", "end"} <= self.tables.columns.get(GRAPH, frozenset()):

            def graph(*where: Any) -> tuple[Any, ...]:
                return (
                    self.names.repeated("graph", len(where[0])),
                    self._lane(*where[:1], *where[2:]),
                    self._key(*where[:2]),
                )

            parts.append(self._collect(GRAPH, WHERE, graph))
            graphs = len(parts[0][0])
        if graphs:
            self.lacks.append(
                f"the kernels of {graphs:,} graph launches: graphs were recorded whole; nsys profile --cuda-graph-trace=node shows them"
            )
        if (not graphs or KERNEL in self.tables.columns) and self._has(KERNEL, "kernels", "start", "end"):
            names = "shortName" if "shortName" in self.tables.columns[KERNEL] else "demangledName"

            def kernel(name: Any, *where: Any) -> tuple[Any, ...]:
                return (
                    self.names.of_strings(name, "unnamed kernel"),
                    self._lane(*where[:1], *where[2:]),
                    self._key(*where[:2]),
                )

            parts.insert(0, self._collect(KERNEL, (names, *WHERE), kernel))
        return [*together(parts, (np.int64, np.int64, np.int32, np.int32, np.int64)), graphs]

    def _copies(self) -> list[Any]:
        parts = []
        wanted = (*WHERE, "bytes")
        if self._has(MEMCPY, "copies", "start", "end"):
            types = memory_types(self.tables)
            memory = by_number(types)
            self.pageable = tuple(number for number, known in types.items() if known == PAGEABLE)

            def copy(*columns: Any) -> tuple[Any, ...]:
                named, lane, key = (
                    self.names.repeated("copy", len(columns[0])),
                    self._lane(*columns[:1], *columns[2:5]),
                    self._key(*columns[:2]),
                )
                nbytes, kind, source, target = columns[5:]
                if (size(nbytes) != nbytes).any():
                    self.odd.add(MEMCPY)
                return named, lane, key, size(nbytes), small(kind), memory(source), memory(target)

            parts.append(self._collect(MEMCPY, (*wanted, "copyKind", "srcKind", "dstKind"), copy))
        if {"start", "end"} <= self.tables.columns.get(MEMSET, frozenset()):

            def fill(*columns: Any) -> tuple[Any, ...]:
                named, lane, key = (
                    self.names.repeated("fill", len(columns[0])),
                    self._lane(*columns[:1], *columns[2:5]),
                    self._key(*columns[:2]),
                )
                none = np.full(len(named), UNKNOWN, dtype=np.int8)
                return named, lane, key, size(columns[5]), none, none, none

            parts.append(self._collect(MEMSET, wanted, fill))
        return together(parts, (np.int64, np.int64, np.int32, np.int32, *[np.int64] * 2, *[np.int8] * 3))

    def _calls(self) -> list[Any]:
        """Columns, then the keys by which work finds its launch."""
        if not self._has(RUNTIME, "API calls", "start", "end", "nameId"):
            return [
                *together([], (np.int64, np.int64, np.int32, np.int64)),
                np.zeros(0, dtype=bool),
                np.zeros(0, dtype=np.int64),
            ]

        def call(name: Any, thread: Any, correlation: Any) -> tuple[Any, ...]:
            named = self.names.of_strings(name, "unnamed call", VERSIONED)
            return named, thread if self.threads else np.zeros_like(thread), self._key(thread, correlation)

        start, end, named, thread, key = self._collect(RUNTIME, ("nameId", "globalTid", "correlationId"), call)
        return [start, end, named, thread, outer_of(start, end, thread), key]

    def _launched(self, work: list[Any], calls: list[Any], keys: Any, what: str) -> list[Any]:
        """The work with numbers of calls in place of keys; what began well before its launch is left out."""
        call = launches(keys, work[4])
        work[4] = call
        if not len(call) or not len(keys):
            return work
        shifted = (call >= 0) & (work[0] < calls[0][call] - SHIFTED_NS)
        if count := int(shifted.sum()):
            early = float((calls[0][call] - work[0])[shifted].max()) / 1e6
            self.shifted += count
            self.notes.append(
                f"{count:,} of {len(call):,} {what} begin up to {early:,.1f} ms before the calls that launch them and are left out: "
                "the clocks of host and GPU disagree"
            )
            work = [column[~shifted] for column in work]
        if (lost := int((work[4] < 0).sum())) and len(work[4]):
            self.notes.append(f"{lost:,} of {len(work[4]):,} {what} have no launch call in the trace")
        return work

    def _ranges(self, end: int) -> tuple[Ranges, tuple[tuple[int, int], ...]]:
        none = np.zeros(0, dtype=np.int64)
        if not self._has("NVTX_EVENTS", "NVTX ranges: phases are unknown", "start", "end"):
            return Ranges(none, none, none.astype(np.int32), none, none.astype(np.int32), none.astype(bool)), ()
        have = self.tables.columns["NVTX_EVENTS"]
        text = f"CASE typeof(text) WHEN 'text' THEN substr(text, 1, {NAME}) END" if "text" in have else "NULL"
        event = "eventType" if "eventType" in have else str(PUSHED)
        others = ", ".join(c if c in have else "NULL" for c in ("textId", "globalTid", "domainId"))
        domains: dict[tuple[int, int], str] = {}
        parts = [np.zeros((0, 5), dtype=np.int64)]
        read = bad = 0
        for chunk in self.tables.rows("NVTX_EVENTS", f"{event}, start, end, {text}, {others}"):
            kept = []
            for which, begin, stop, label, label_id, where, domain in chunk:
                if which == DOMAIN and type(where) is int and type(domain) is int and len(domains) < NAMES:
                    name = self.names.text(label, label_id)
                    domains[process_of(where), domain] = name or ""
                if which not in (PUSHED, STARTED):
                    continue
                read += 1
                last = stop if type(stop) is int and stop < LATEST else LATEST if stop is None else -1
                if (
                    type(begin) is int
                    and -LATEST < begin <= last
                    and last > 0
                    and (stop is None or last - begin < LONGEST)
                ):
                    name = self.names.text(label, label_id)
                    thread = where if type(where) is int and self.threads else 0
                    kept.append(
                        (
                            max(begin, 0),
                            last,
                            self.names.number(name or UNNAMED),
                            thread,
                            domain if type(domain) is int else 0,
                        )
                    )
                else:
                    bad += 1
            parts.append(np.array(kept, dtype=np.int64).reshape(-1, 5))
        self._count("NVTX_EVENTS", read, bad)
        start, stop, name, tid, domain = in_order(list(np.concatenate(parts).T.copy()))
        self.open_until = max(end, int(start.max(initial=0)), int(stop[stop < LATEST].max(initial=0)))
        stop[stop == LATEST] = self.open_until
        programs = tuple(key for key, word in domains.items() if word and not LIBRARY.match(word))
        library = outside(tid, domain, programs)
        return Ranges(start, stop, name.astype(np.int32), tid, depth_of(start, stop, tid), library), programs

    def _recorder(self) -> str:
        for table in ("META_DATA_EXPORT", "META_DATA_CAPTURE", "EXPORT_META_DATA"):
            if {"name", "value"} <= self.tables.columns.get(table, frozenset()):
                found = self.tables.base.execute(
                    f"SELECT substr(value, 1, {NAME}) FROM {self.tables.actual[table]} WHERE name IN "  # noqa: S608
                    "('EXPORT_VERSION', 'RECORDER', 'EXPORT_PRODUCT', 'EXPORT_PRODUCT_NAME', 'EXPORT_PRODUCT_VERSION') LIMIT 8"
                ).fetchall()
                if words := [value for (value,) in found if value and isinstance(value, str)]:
                    return " ".join(words)
        return "unknown"

    def _key(self, process: Any, correlation: Any) -> Any:
        """Process and correlation id in one number; 0 for none, or for what no correlation id can be."""
        pid = (process >> 24) & 0xFFFFFF if self.by_process else np.zeros_like(process)
        return np.where((correlation > 0) & (correlation < 1 << 32), (pid << 32) | (correlation & 0xFFFFFFFF), 0)

    def _lane(self, process: Any, device: Any, context: Any, stream: Any) -> Any:
        """Numbers of streams; one that does not fit counts as one of the others."""
        columns = [
            (process >> 24) & 0xFFFFFF,
            *(np.where((c >= 0) & (c < 1 << 48), c, 0) for c in (device, context, stream)),
        ]
        code = np.zeros(len(process), dtype=np.int64)
        for column in columns:
            if len(column) and not (column == column[0]).all():
                different, places = np.unique(column, return_inverse=True)
                code = code * len(different) + places
        _, first, places = np.unique(code, return_index=True, return_inverse=True)
        numbers = []
        for i in first.tolist():
            pid, device_number, *rest = (int(column[i]) for column in columns)
            lane = Lane(pid, self.numbers(pid, device_number), device_number, *rest)
            if lane not in self.lanes and len(self.lanes) >= LANES:
                lane = Lane(0, lane.gpu, device_number, 0, 0)
            numbers.append(self.lanes.setdefault(lane, len(self.lanes)))
        return np.asarray(numbers or [0], dtype=np.int32)[places] if len(places) else np.zeros(0, dtype=np.int32)
