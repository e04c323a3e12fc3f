"""The only code that knows the SQLite schema of a trace: old and new exports of Nsight Systems, and our own recorder's.

A trace is not trusted: it is opened read-only, views, virtual tables and triggers are not followed, every value is made a number of bounded
size, what is read is bounded by the file's own size, and a row that makes no sense is left out and counted.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from knnscope.errors import KnnscopeError
from knnscope.trace.database import CHUNK, Tables, connect
from knnscope.trace.model import UNKNOWN, Calls, Copies, Gpu, Kernels, Ranges, Trace

KERNEL = "CUPTI_ACTIVITY_KIND_KERNEL"
GRAPH = "CUPTI_ACTIVITY_KIND_GRAPH_TRACE"
MEMCPY = "CUPTI_ACTIVITY_KIND_MEMCPY"
MEMSET = "CUPTI_ACTIVITY_KIND_MEMSET"
RUNTIME = "CUPTI_ACTIVITY_KIND_RUNTIME"
LATEST = 1 << 61
"""Times beyond it, in nanoseconds, are 73 years: no measurement."""
LONGEST = 1 << 50
"""Thirteen days: nothing on a GPU takes longer, and sums of durations stay numbers."""
LARGEST = 1 << 40
"""Bytes of a copy; no memory is larger."""
NAME = 512
"""Characters of a name that are kept; templates of C++ run to thousands."""
NAMES = 1 << 18
"""Names at most; a trace has hundreds."""
TEXT = 1 << 25
"""Characters of all names together."""
PUSHED, STARTED = 59, 60
"""NVTX ranges of a thread, and those that begin and end anywhere."""
KNOWN_MEMORY = {
    "pageable": 0,
    "pinned": 1,
    "device": 2,
    "array": 3,
    "managed": 4,
    "device static": 2,
    "managed static": 4,
}
VERSIONED = re.compile(r"_v\d+$")
Decode = Callable[..., tuple[Any, ...]]


def read(path: str | Path) -> Trace:
    """The whole trace.

    Raises:
        KnnscopeError: no trace, or a damaged one.
    """
    with connect(path) as base:
        tables = Tables(base, Path(path).stat().st_size)
        if not tables.columns.keys() & {KERNEL, MEMCPY, RUNTIME, GRAPH, MEMSET, "NVTX_EVENTS"}:
            raise KnnscopeError(
                f"{path}: a database without any table of a trace: an export of Nsight Systems (--type sqlite) was expected"
            )
        return Reader(str(path), tables).trace()


class Reader:
    """One reading; numbers of strings become numbers of names as they are met."""

    def __init__(self, path: str, tables: Tables) -> None:
        self.path, self.tables = path, tables
        self.names: dict[str, int] = {}
        self.room = TEXT
        self.lacks: list[str] = []
        self.notes: list[str] = []
        self.rows: dict[str, int] = {}
        self.strings = self._strings()

    def trace(self) -> Trace:
        """Everything, table by table."""
        kernels, copies, calls, ranges = self._kernels(), self._copies(), self._calls(), self._ranges()
        return Trace(
            self.path,
            tuple(self.names),
            kernels,
            copies,
            calls,
            ranges,
            self._gpu(),
            self._recorder(),
            tuple(self.lacks),
            tuple(self.notes),
            self.rows,
        )

    def _strings(self) -> dict[int, str]:
        strings: dict[int, str] = {}
        if not {"id", "value"} <= self.tables.columns.get("StringIds", frozenset()):
            return strings
        room = TEXT
        for chunk in self.tables.rows(
            "StringIds", f"id, CASE typeof(value) WHEN 'text' THEN substr(value, 1, {NAME}) END"
        ):
            for number, text in chunk:
                if isinstance(number, int) and isinstance(text, str):
                    room -= len(text)
                    if room < 0 or len(strings) >= NAMES:
                        self.notes.append(f"StringIds: only the first {len(strings):,} names are read")
                        return strings
                    strings[number] = text
        return strings

    def _number(self, name: str) -> int:
        if name not in self.names:
            self.room -= len(name)
            if self.room < 0 or len(self.names) >= NAMES:
                name = "one of too many names"
        return self.names.setdefault(name, len(self.names))

    def _named(self, ids: Any, unknown: str, cut: re.Pattern[str] | None = None) -> Any:
        """Numbers of names for numbers of strings; ``cut`` is taken off the names."""
        different, places = np.unique(ids, return_inverse=True)
        names = [self.strings.get(int(i)) or unknown for i in different]
        numbers = [self._number(cut.sub("", name) if cut else name) for name in names]
        return np.asarray(numbers, dtype=np.int32)[places]

    def _called(self, name: str, count: int) -> Any:
        return np.full(count, self._number(name) if count else 0, dtype=np.int32)

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
            good = (start >= 0) & (end >= start) & (end < LATEST)
            good[good] = end[good] - start[good] < LONGEST
            some = [start[good], end[good], *decode(*(column[good] for column in others))]
            read, bad, last = read + len(good), bad + int((~good).sum()), count + len(some[0])
            if last > room:
                room = max(last, 2 * room)
                columns = [_resized(column, count, room) for column in columns]
            for column, piece in zip(columns, some, strict=True):
                column[count:last] = piece
            count = last
        self._count(table, read, bad)
        return _in_order([column if count == room else _resized(column, count, count) for column in columns])

    def _count(self, table: str, read: int, bad: int) -> None:
        self.rows[table] = read
        if bad:
            self.notes.append(f"{table}: {bad:,} of {read:,} rows have impossible times and are left out")

    def _has(self, table: str, what: str, *needed: str) -> bool:
        have = self.tables.columns.get(table)
        if have is None:
            self.lacks.append(f"no {what} (no table {table})")
            return False
        if missing := [c for c in needed if c not in have]:
            self.lacks.append(f"no {what} ({table} has no column {', '.join(missing)})")
            return False
        return True

    def _kernels(self) -> Kernels:
        parts = []
        if self._has(KERNEL, "kernels", "start", "end"):
            names = "shortName" if "shortName" in self.tables.columns[KERNEL] else "demangledName"

            def kernel(name: Any, process: Any, correlation: Any, device: Any, stream: Any) -> tuple[Any, ...]:
                return self._named(name, "unnamed kernel"), _key(process, correlation), _lane(device, stream)

            wanted = (names, "globalPid", "correlationId", "deviceId", "streamId")
            parts.append(self._collect(KERNEL, wanted, kernel))
        if {"start", "end"} <= self.tables.columns.get(GRAPH, frozenset()):

            def graph(process: Any, correlation: Any, device: Any, stream: Any) -> tuple[Any, ...]:
                return self._called("graph", len(process)), _key(process, correlation), _lane(device, stream)

            parts.append(self._collect(GRAPH, ("globalPid", "correlationId", "deviceId", "streamId"), graph))
        return Kernels(*_together(parts, 5))

    def _copies(self) -> Copies:
        parts = []
        wanted = ("globalPid", "correlationId", "deviceId", "streamId", "bytes")
        if self._has(MEMCPY, "copies", "start", "end"):
            memory = self._memory_kinds()

            def copy(
                process: Any,
                correlation: Any,
                device: Any,
                stream: Any,
                nbytes: Any,
                kind: Any,
                source: Any,
                target: Any,
            ) -> tuple[Any, ...]:
                named, key, lane = self._called("copy", len(process)), _key(process, correlation), _lane(device, stream)
                return named, key, lane, _size(nbytes), _small(kind), memory(source), memory(target)

            parts.append(self._collect(MEMCPY, (*wanted, "copyKind", "srcKind", "dstKind"), copy))
        if {"start", "end"} <= self.tables.columns.get(MEMSET, frozenset()):

            def fill(process: Any, correlation: Any, device: Any, stream: Any, nbytes: Any) -> tuple[Any, ...]:
                named, key, lane = self._called("fill", len(process)), _key(process, correlation), _lane(device, stream)
                none = np.full(len(process), UNKNOWN, dtype=np.int8)
                return named, key, lane, _size(nbytes), none, none, none

            parts.append(self._collect(MEMSET, wanted, fill))
        return Copies(*_together(parts, 9))

    def _memory_kinds(self) -> Callable[[Any], Any]:
        """Numbers of memory kinds as ours, by the names that this trace gives them: CUPTI's numbers differ from Nsight Systems'."""
        known = self.tables.columns.get("ENUM_CUDA_MEM_KIND", frozenset())
        column = next((c for c in ("label", "name") if c in known), None)
        mapping = {}
        if column and "id" in known:
            for number, text in self.tables.base.execute(f"SELECT id, {column} FROM ENUM_CUDA_MEM_KIND LIMIT 64"):  # noqa: S608
                word = str(text).lower().replace("cuda_memopr_memory_kind_", "").replace("_", " ")
                if isinstance(number, int):
                    mapping[number] = KNOWN_MEMORY.get(word, UNKNOWN)
        else:
            mapping = {i: i for i in range(5)}

        def ours(numbers: Any) -> Any:
            different, places = np.unique(numbers, return_inverse=True)
            return np.asarray([mapping.get(int(n), UNKNOWN) for n in different], dtype=np.int8)[places]

        return ours

    def _calls(self) -> Calls:
        if not self._has(RUNTIME, "API calls", "start", "end", "nameId"):
            return Calls(*_together([], 5), *[np.zeros(0, dtype=bool)])

        def call(name: Any, thread: Any, correlation: Any) -> tuple[Any, ...]:
            return self._named(name, "unnamed call", VERSIONED), _key(thread, correlation), thread

        start, end, named, key, thread = self._collect(RUNTIME, ("nameId", "globalTid", "correlationId"), call)
        return Calls(start, end, named, key, thread, depth_of(start, end, thread) == 0)

    def _ranges(self) -> Ranges:
        if not self._has("NVTX_EVENTS", "NVTX ranges: phases are unknown", "start", "end"):
            return Ranges(*_together([], 6))
        have = self.tables.columns["NVTX_EVENTS"]
        text = f"CASE typeof(text) WHEN 'text' THEN substr(text, 1, {NAME}) END" if "text" in have else "NULL"
        kind = "eventType" if "eventType" in have else str(PUSHED)
        others = ", ".join(c if c in have else "NULL" for c in ("textId", "globalTid"))
        parts = [np.zeros((0, 4), dtype=np.int64)]
        read = bad = 0
        for chunk in self.tables.rows("NVTX_EVENTS", f"{kind}, start, end, {text}, {others}"):
            kept = []
            for which, begin, stop, label, label_id, where in chunk:
                if which not in (PUSHED, STARTED):
                    continue
                read += 1
                if type(begin) is int and type(stop) is int and 0 <= begin <= stop < min(LATEST, begin + LONGEST):
                    name = label if label is not None else self.strings.get(label_id) if type(label_id) is int else None
                    kept.append(
                        (begin, stop, self._number(name or "unnamed range"), where if type(where) is int else 0)
                    )
                else:
                    bad += 1
            parts.append(np.array(kept, dtype=np.int64).reshape(-1, 4))
        self._count("NVTX_EVENTS", read, bad)
        start, end, name, tid = _in_order(list(np.concatenate(parts).T.copy()))
        return Ranges(start, end, name.astype(np.int32), np.zeros(len(start), np.int64), tid, depth_of(start, end, tid))

    def _gpu(self) -> Gpu:
        have = self.tables.columns.get("TARGET_INFO_GPU", frozenset())
        if "name" not in have:
            return Gpu()
        columns = ("memoryBandwidth", "smCount", "l2CacheSize")
        chosen = ", ".join(c if c in have else "NULL" for c in columns)
        found = self.tables.base.execute(
            f"SELECT substr(name, 1, {NAME}), {chosen} FROM TARGET_INFO_GPU LIMIT 1"  # noqa: S608
        ).fetchone()
        if found is None:
            return Gpu()
        numbers = [value if isinstance(value, int | float) and 0 <= value < 1e18 else 0 for value in found[1:]]
        name = found[0] if found[0] and isinstance(found[0], str) else Gpu().name
        return Gpu(name, float(numbers[0]), int(numbers[1]), int(numbers[2]))

    def _recorder(self) -> str:
        for table in ("META_DATA_EXPORT", "META_DATA_CAPTURE"):
            if {"name", "value"} <= self.tables.columns.get(table, frozenset()):
                found = self.tables.base.execute(
                    f"SELECT substr(value, 1, {NAME}) FROM {table} WHERE name IN "  # noqa: S608
                    "('EXPORT_VERSION', 'RECORDER', 'EXPORT_PRODUCT', 'EXPORT_PRODUCT_NAME', 'EXPORT_PRODUCT_VERSION') LIMIT 8"
                ).fetchall()
                if words := [value for (value,) in found if value and isinstance(value, str)]:
                    return " ".join(words)
        return "unknown"


def depth_of(start: Any, end: Any, thread: Any) -> Any:
    """How many events of the same thread enclose each; events are in order of ``start``, and of equal starts the longer counts as outer."""
    depth = np.zeros(len(start), dtype=np.int32)
    if not len(start):
        return depth
    if (thread == thread[0]).all():
        _nest(start, end, depth)
        return depth
    order = np.argsort(thread, kind="stable")
    owner = thread[order]
    edges = np.flatnonzero(np.concatenate(([True], owner[1:] != owner[:-1], [True])))
    for i in np.flatnonzero(np.diff(edges) > 1).tolist():
        mine = order[edges[i] : edges[i + 1]]
        found = np.zeros(len(mine), dtype=np.int32)
        _nest(start[mine], end[mine], found)
        depth[mine] = found
    return depth


def _nest(start: Any, end: Any, depth: Any) -> None:
    """``depth_of`` one thread's events."""
    place = None
    if ((start[1:] == start[:-1]) & (end[1:] > end[:-1])).any():
        place = np.lexsort((-end, start))
        start, end = start[place], end[place]
    # most calls enclose nothing and follow each other: only those that begin before an earlier end need the stack
    nested = np.zeros(len(start), dtype=bool)
    nested[1:] = start[1:] < np.maximum.accumulate(end)[:-1]
    nested[:-1] |= nested[1:]
    which = np.flatnonzero(nested)
    open_ends: list[int] = []
    for low in range(0, len(which), CHUNK):
        some = which[low : low + CHUNK]
        found = []
        for begin, stop in zip(start[some].tolist(), end[some].tolist(), strict=True):
            # ranges that begin and end anywhere may overlap: what has ended is gone, what ends earlier does not enclose
            del open_ends[: bisect_right(open_ends, begin)]
            found.append(len(open_ends) - bisect_left(open_ends, stop))
            insort(open_ends, stop)
            if len(open_ends) > 1000:  # no program nests so deep
                del open_ends[0]
        depth[some if place is None else place[some]] = found


def _key(process: Any, correlation: Any) -> Any:
    """Process (bits 24 to 47 of a global id) and correlation id in one number; 0 for none, or for what no correlation id can be."""
    pid = (process >> 24) & 0xFFFFFF
    return np.where((correlation > 0) & (correlation < 1 << 32), (pid << 32) | (correlation & 0xFFFFFFFF), 0)


def _lane(device: Any, stream: Any) -> Any:
    return ((device & 0x7FFF) << 16 | (stream & 0xFFFF)).astype(np.int32)


def _size(nbytes: Any) -> Any:
    return np.where((nbytes >= 0) & (nbytes <= LARGEST), nbytes, 0)


def _small(values: Any) -> Any:
    return np.where((values >= 0) & (values < 100), values, UNKNOWN).astype(np.int8)


def _resized(column: Any, count: int, room: int) -> Any:
    """The first ``count`` of a column, and room for more."""
    longer = np.empty(room, dtype=column.dtype)
    longer[:count] = column[:count]
    return longer


def _joined(parts: list[list[Any]]) -> list[Any]:
    """Columns in one piece each; the pieces go as soon as they are used."""
    columns = []
    for i in range(len(parts[0])):
        columns.append(np.concatenate([part[i] for part in parts]))
        for part in parts:
            part[i] = None
    return columns


def _in_order(columns: list[Any]) -> list[Any]:
    """Columns in order of the first."""
    start = columns[0]
    if (start[1:] < start[:-1]).any():
        order = np.argsort(start, kind="stable")
        for i, column in enumerate(columns):
            columns[i] = column[order]
    return columns


def _together(parts: list[list[Any]], width: int) -> list[Any]:
    """Columns of several tables as one, in order of the first."""
    if not parts:
        return [np.zeros(0, dtype=np.int64) for _ in range(width)]
    return parts[0] if len(parts) == 1 else _in_order(_joined(parts))
