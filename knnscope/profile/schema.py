"""The SQLite schema of Nsight Systems' exports, as far as our recorder fills it: the same tables, column types and numbers of ENUM tables."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

INTEGER, TEXT, REQUIRED = "INTEGER", "TEXT", "INTEGER NOT NULL"
COMMON = {
    "start": REQUIRED,
    "end": REQUIRED,
    "deviceId": REQUIRED,
    "contextId": REQUIRED,
    "streamId": REQUIRED,
    "correlationId": INTEGER,
    "globalPid": INTEGER,
}
TABLES: dict[str, dict[str, str]] = {
    "CUPTI_ACTIVITY_KIND_KERNEL": {
        **COMMON,
        "demangledName": REQUIRED,
        "shortName": REQUIRED,
        "mangledName": INTEGER,
        "launchType": INTEGER,
        "registersPerThread": REQUIRED,
        **dict.fromkeys(("gridX", "gridY", "gridZ", "blockX", "blockY", "blockZ"), REQUIRED),
        **dict.fromkeys(("staticSharedMemory", "dynamicSharedMemory", "localMemoryPerThread"), REQUIRED),
        "gridId": REQUIRED,
        "graphNodeId": INTEGER,
    },
    "CUPTI_ACTIVITY_KIND_MEMCPY": {
        **COMMON,
        "bytes": REQUIRED,
        "copyKind": REQUIRED,
        "srcKind": INTEGER,
        "dstKind": INTEGER,
        "graphNodeId": INTEGER,
    },
    "CUPTI_ACTIVITY_KIND_MEMSET": {
        **COMMON,
        "value": REQUIRED,
        "bytes": REQUIRED,
        "memKind": INTEGER,
        "graphNodeId": INTEGER,
    },
    "CUPTI_ACTIVITY_KIND_RUNTIME": {
        "start": REQUIRED,
        "end": REQUIRED,
        "eventClass": REQUIRED,
        "globalTid": INTEGER,
        "correlationId": INTEGER,
        "nameId": REQUIRED,
        "returnValue": REQUIRED,
    },
    "CUPTI_ACTIVITY_KIND_SYNCHRONIZATION": {**COMMON, "syncType": REQUIRED, "eventId": REQUIRED},
    "NVTX_EVENTS": {
        "start": REQUIRED,
        "end": INTEGER,
        "eventType": REQUIRED,
        "rangeId": INTEGER,
        "text": TEXT,
        "globalTid": INTEGER,
        "textId": INTEGER,
        "domainId": INTEGER,
    },
    "StringIds": {"id": "INTEGER NOT NULL PRIMARY KEY", "value": "TEXT NOT NULL"},
    "TARGET_INFO_GPU": {
        "id": REQUIRED,
        "name": TEXT,
        **dict.fromkeys(("memoryBandwidth", "smCount", "l2CacheSize", "totalMemory"), INTEGER),
        **dict.fromkeys(("computeMajor", "computeMinor"), INTEGER),
    },
    "TARGET_INFO_SESSION_START_TIME": {"utcEpochNs": INTEGER, "utcTime": TEXT, "localTime": TEXT},
    "META_DATA_CAPTURE": {"name": "TEXT NOT NULL", "value": TEXT},
    "META_DATA_EXPORT": {"name": "TEXT NOT NULL", "value": TEXT},
}
ENUMS: dict[str, tuple[tuple[int, str, str], ...]] = {
    "ENUM_CUDA_MEMCPY_OPER": (
        (0, "CUDA_MEMCPY_KIND_UNKNOWN", "Unknown"),
        (1, "CUDA_MEMCPY_KIND_HTOD", "Host-to-Device"),
        (2, "CUDA_MEMCPY_KIND_DTOH", "Device-to-Host"),
        (8, "CUDA_MEMCPY_KIND_DTOD", "Device-to-Device"),
        (9, "CUDA_MEMCPY_KIND_HTOH", "Host-to-Host"),
        (10, "CUDA_MEMCPY_KIND_PTOP", "Peer-to-Peer"),
    ),
    "ENUM_CUDA_MEM_KIND": (
        (0, "CUDA_MEMOPR_MEMORY_KIND_PAGEABLE", "Pageable"),
        (1, "CUDA_MEMOPR_MEMORY_KIND_PINNED", "Pinned"),
        (2, "CUDA_MEMOPR_MEMORY_KIND_DEVICE", "Device"),
        (3, "CUDA_MEMOPR_MEMORY_KIND_ARRAY", "Array"),
        (4, "CUDA_MEMOPR_MEMORY_KIND_MANAGED", "Managed"),
        (5, "CUDA_MEMOPR_MEMORY_KIND_DEVICE_STATIC", "Device Static"),
        (6, "CUDA_MEMOPR_MEMORY_KIND_MANAGED_STATIC", "Managed Static"),
        (7, "CUDA_MEMOPR_MEMORY_KIND_UNKNOWN", "Unknown"),
    ),
    "ENUM_NSYS_EVENT_CLASS": (
        (0, "TRACE_PROCESS_EVENT_CUDA_RUNTIME", "CUDA runtime"),
        (1, "TRACE_PROCESS_EVENT_CUDA_DRIVER", "CUDA driver"),
    ),
    "ENUM_NSYS_EVENT_TYPE": (
        (34, "NvtxMark", "NvtxMark"),
        (59, "NvtxPushPopRange", "NvtxPushPopRange"),
        (60, "NvtxStartEndRange", "NvtxStartEndRange"),
    ),
    "ENUM_CUPTI_SYNC_TYPE": (
        (0, "CUPTI_ACTIVITY_SYNCHRONIZATION_TYPE_UNKNOWN", "Unknown"),
        (1, "CUPTI_ACTIVITY_SYNCHRONIZATION_TYPE_EVENT_SYNCHRONIZE", "Event sync"),
        (2, "CUPTI_ACTIVITY_SYNCHRONIZATION_TYPE_STREAM_WAIT_EVENT", "Stream wait sync"),
        (3, "CUPTI_ACTIVITY_SYNCHRONIZATION_TYPE_STREAM_SYNCHRONIZE", "Stream sync"),
        (4, "CUPTI_ACTIVITY_SYNCHRONIZATION_TYPE_CONTEXT_SYNCHRONIZE", "Context sync"),
    ),
}
PUSH_POP, DOMAIN = 59, 75
MEMORY_TYPES = {0: 7, 1: 0, 2: 1, 3: 2, 4: 3, 5: 4, 6: 5, 7: 6}
"""An export's number for each of CUPTI's numbers of a type of memory; in exports "unknown" is last, in CUPTI first."""


class Writer:
    """Fills a new database; strings are kept once. Tables without rows are left out, as an export leaves them out."""

    def __init__(self, path: str) -> None:
        self.base = sqlite3.connect(path)
        self.base.execute("PRAGMA journal_mode = OFF")
        self.base.execute("PRAGMA synchronous = OFF")
        self._strings: dict[str, int] = {}

    def string(self, text: str) -> int:
        """Its number."""
        return self._strings.setdefault(text, len(self._strings) + 1)

    def rows(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Insert, making the table when the first row comes."""
        types = TABLES[table]
        given = iter(rows)
        for first in given:
            declared = ", ".join(f'"{name}" {declared_as}' for name, declared_as in types.items())
            self.base.execute(f"CREATE TABLE IF NOT EXISTS {table} ({declared})")
            names, marks = ", ".join(f'"{c}"' for c in columns), ", ".join("?" * len(columns))
            insert = f"INSERT INTO {table} ({names}) VALUES ({marks})"  # noqa: S608 - names of this file
            self.base.execute(insert, first)
            self.base.executemany(insert, given)

    def close(self) -> None:
        """Strings and ENUM tables last."""
        self.rows("StringIds", ("id", "value"), ((number, text) for text, number in self._strings.items()))
        for table, values in ENUMS.items():
            self.base.execute(f"CREATE TABLE {table} (id INTEGER NOT NULL PRIMARY KEY, name TEXT, label TEXT)")
            self.base.executemany(f"INSERT INTO {table} VALUES (?, ?, ?)", values)  # noqa: S608
        self.base.commit()
        self.base.close()
