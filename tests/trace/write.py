"""Small traces with the tables of an export of Nsight Systems, written row by row. Times in nanoseconds."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from knnscope.trace.explain import Explanation
from knnscope.trace.findings import Finding

SECOND, MS, US = 1_000_000_000, 1_000_000, 1_000
TID = (100 << 24) | 100
"""A thread of process 100."""
GPU = ("NVIDIA H100 80GB HBM3", 3_352_000_000_000, 132)
WORK = "start int, end int, deviceId int, contextId int, streamId int, correlationId int, globalPid int"
TABLES = {
    "kernel": f"CUPTI_ACTIVITY_KIND_KERNEL({WORK}, demangledName int, shortName int, gridX int, gridY int, gridZ int, blockX int, blockY int, blockZ int)",
    "copy": f"CUPTI_ACTIVITY_KIND_MEMCPY({WORK}, bytes int, copyKind int, srcKind int, dstKind int)",
    "fill": f"CUPTI_ACTIVITY_KIND_MEMSET({WORK}, bytes int)",
    "graph": f"CUPTI_ACTIVITY_KIND_GRAPH_TRACE({WORK})",
    "call": "CUPTI_ACTIVITY_KIND_RUNTIME(start int, end int, globalTid int, correlationId int, nameId int)",
    "range": "NVTX_EVENTS(start int, end int, eventType int, text text, textId int, globalTid int, domainId int)",
}
ALL = ("kernel", "copy", "call", "range")
WAIT = "cudaDeviceSynchronize_v3020"
LAUNCH = "cudaLaunchKernel_v7000"


class Trace:
    """A trace under way.

    tables: which of ``TABLES`` it has. suffix: at the end of the names of tables of kernels and ranges. gpus: name, bandwidth, processors of each.
    """

    def __init__(
        self, path: Path, tables: tuple[str, ...] = ALL, suffix: str = "", gpus: tuple[Any, ...] = (GPU,)
    ) -> None:
        path.unlink(missing_ok=True)
        self.path, self.base = path, sqlite3.connect(path)
        self.base.execute("PRAGMA synchronous = OFF")
        self.strings: dict[str, int] = {}
        self.suffix = suffix
        self.last = 0
        self.base.execute("CREATE TABLE StringIds(id integer primary key, value text)")
        self.base.execute("CREATE TABLE META_DATA_EXPORT(name text, value text)")
        self.base.execute("INSERT INTO META_DATA_EXPORT VALUES('EXPORT_PRODUCT', 'a test')")
        for name in tables:
            text = TABLES[name]
            self.base.execute(
                f"CREATE TABLE {text.replace('(', suffix + '(', 1) if name in ('kernel', 'range') else text}"
            )
        if gpus:
            self.base.execute(
                "CREATE TABLE TARGET_INFO_GPU(id int, name text, memoryBandwidth int, smCount int, l2CacheSize int)"
            )
            self.base.executemany(
                "INSERT INTO TARGET_INFO_GPU VALUES(?, ?, ?, ?, 50000000)", [(i, *gpu) for i, gpu in enumerate(gpus)]
            )

    def string(self, text: str) -> int:
        """Its number."""
        if text not in self.strings:
            self.strings[text] = len(self.strings) + 1
            self.base.execute("INSERT INTO StringIds VALUES(?, ?)", (self.strings[text], text))
        return self.strings[text]

    def call(self, name: str, start: int, end: int, thread: int = TID, correlation: int | None = None) -> int:
        """An API call; returns its correlation id."""
        self.last += 1
        number = self.last if correlation is None else correlation
        self.base.execute(
            "INSERT INTO CUPTI_ACTIVITY_KIND_RUNTIME VALUES(?, ?, ?, ?, ?)",
            (start, end, thread, number, self.string(name)),
        )
        return number

    def kernel(
        self, name: str, start: int, end: int, correlation: int = 0, device: int = 0, stream: int = 7, **more: Any
    ) -> None:
        """A kernel. more: short, its short name; process."""
        where = (start, end, device, 1, stream, correlation, more.get("process", 100) << 24)
        names = self.string(name), self.string(more.get("short", name))
        self.base.execute(
            f"INSERT INTO CUPTI_ACTIVITY_KIND_KERNEL{self.suffix} VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, 1, 1, 1, 256, 1, 1)",
            (*where, *names),
        )

    def copy(self, kind: int, start: int, end: int, nbytes: int, correlation: int = 0, **more: Any) -> None:
        """A copy. more: source, target (kinds of memory), device, stream, process."""
        where = (
            start,
            end,
            more.get("device", 0),
            1,
            more.get("stream", 7),
            correlation,
            more.get("process", 100) << 24,
        )
        what = (nbytes, kind, more.get("source", 1), more.get("target", 2))
        self.base.execute(
            "INSERT INTO CUPTI_ACTIVITY_KIND_MEMCPY VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", (*where, *what)
        )

    def graph(self, start: int, end: int, correlation: int) -> None:
        """A graph recorded whole."""
        self.base.execute(
            "INSERT INTO CUPTI_ACTIVITY_KIND_GRAPH_TRACE VALUES(?, ?, 0, 1, 7, ?, ?)",
            (start, end, correlation, 100 << 24),
        )

    def range(self, text: str, start: int, end: int | None, kind: int = 59, thread: int = TID, domain: int = 0) -> None:
        """An NVTX range: 59 pushed and popped, 60 started and ended; 75 names a domain."""
        self.base.execute(
            f"INSERT INTO NVTX_EVENTS{self.suffix} VALUES(?, ?, ?, ?, NULL, ?, ?)",
            (start, end, kind, text, thread, domain),
        )

    def done(self) -> Path:
        """The file, whole."""
        self.base.commit()
        self.base.close()
        return self.path


def rules_of(told: Explanation) -> dict[str, Finding]:
    return {f.rule: f for f in told.findings}


def steps(trace: Trace, count: int = 20, name: Callable[[int], str] | None = None, **more: int) -> None:
    """Kernels of 9 ms every 10 ms, each in a range where it has a name."""
    for i in range(count):
        at = SECOND + i * 10 * MS
        if name is not None:
            trace.range(name(i), at, at + 9 * MS)
        trace.kernel("k", at + 6 * US, at + 9 * MS, trace.call(LAUNCH, at, at + 5 * US), **more)
