"""How much time and memory reading a large trace takes: the study's loop, whose trace is synthetic but in the schema of a real export.

    python -m benchmarks.big_trace [--iterations N] [--gigabyte] [--ranges]

A row of the loop is 4 kernels, a copy of 4 bytes back, 6 API calls and 2 synchronisations. Without --gigabyte only the study's 75,000 rows are
traced; with it, as many as make a file of about 1 GB. --ranges adds a trace of 1,200,000 NVTX ranges of different names, every twelfth with a launch
and a kernel. Results go to benchmarks/results/big-trace.json.
"""

from __future__ import annotations

import argparse
import json
import lzma
import resource
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from knnscope import environment

ROOT = Path(__file__).resolve().parents[1]
SCHEMA = ROOT / "tests" / "fixtures" / "traces" / "300-cupy-loop.sqlite.xz"
RESULT = ROOT / "benchmarks" / "results" / "big-trace.json"
STUDY = 75_000
RANGES, RANGES_CPU_SECONDS, RANGES_RSS = 1_200_000, 10.0, 512 << 20
GIGABYTE = 1_000_000_000
CPU_SECONDS, GIGABYTE_CPU_SECONDS, GIGABYTE_RSS = 5.0, 90.0, 1 << 30
TID = 0x0001_0000_0000_0000 | 4711 << 24 | 4711
PID = TID & ~0xFFFFFF
ITERATION = 60_000
"""Nanoseconds of an iteration."""
NAMES = {
    1: "cupy_subtract__float32_float32_float32",
    2: "cupy_square__float32_float32",
    3: "DeviceReduceSingleTileKernel",
    4: "cupy_sqrt__float32_float32",
    5: "cuLaunchKernel",
    6: "cudaLaunchKernel_v7000",
    7: "cudaMemcpyAsync_v3020",
    8: "cudaStreamSynchronize_v3020",
}
Rows = Iterator[tuple[int, ...]]
WHERE = {"deviceId": 0, "contextId": 1, "greenContextId": 0, "streamId": 7, "globalPid": PID}


def kernels(count: int) -> Rows:
    """Four an iteration."""
    for i in range(count):
        for step in range(4):
            start = i * ITERATION + step * 9_000 + 5_000
            yield start, start + 1_200, i * 6 + step + 1, step + 1, step + 1, step + 1


def copies(count: int) -> Rows:
    """One an iteration."""
    for i in range(count):
        start = i * ITERATION + 42_000
        yield start, start + 1_400, i * 6 + 5


def calls(count: int) -> Rows:
    """Four launches, a copy, a wait for it."""
    for i in range(count):
        for step, name in enumerate((5, 5, 6, 5, 7, 8)):
            start = i * ITERATION + step * 9_000
            yield start, start + 7_000, i * 6 + step + 1, name


def waits(count: int) -> Rows:
    """Two an iteration."""
    for i in range(count):
        for step in range(2):
            start = i * ITERATION + 46_000 + step * 5_000
            yield start, start + 2_000, i * 6 + 5 + step


TABLES: dict[str, tuple[tuple[str, ...], dict[str, int], Callable[[int], Rows]]] = {
    "CUPTI_ACTIVITY_KIND_KERNEL": (
        ("start", "end", "correlationId", "demangledName", "shortName", "mangledName"),
        {
            **WHERE,
            "gridX": 3,
            "gridY": 1,
            "gridZ": 1,
            "blockX": 128,
            "blockY": 1,
            "blockZ": 1,
            "gridId": 1,
            "launchType": 1,
            "registersPerThread": 24,
            "staticSharedMemory": 0,
            "dynamicSharedMemory": 0,
            "sharedMemoryExecuted": 32_768,
            "localMemoryPerThread": 0,
            "localMemoryTotal": 155_713_536,
        },
        kernels,
    ),
    "CUPTI_ACTIVITY_KIND_MEMCPY": (
        ("start", "end", "correlationId"),
        {**WHERE, "bytes": 4, "copyKind": 2, "srcKind": 2, "dstKind": 0},
        copies,
    ),
    "CUPTI_ACTIVITY_KIND_RUNTIME": (
        ("start", "end", "correlationId", "nameId"),
        {"eventClass": 0, "globalTid": TID, "returnValue": 0},
        calls,
    ),
    "CUPTI_ACTIVITY_KIND_SYNCHRONIZATION": (
        ("start", "end", "correlationId"),
        {**WHERE, "syncType": 3, "eventId": 0},
        waits,
    ),
}


def write(path: Path, count: int) -> int:
    """A trace of ``count`` iterations; returns its rows."""
    real = sqlite3.connect(":memory:")
    real.deserialize(lzma.decompress(SCHEMA.read_bytes()))
    base = sqlite3.connect(path, isolation_level=None)
    base.execute("PRAGMA journal_mode = OFF")
    base.execute("PRAGMA synchronous = OFF")
    base.execute("BEGIN")
    for name, statement in real.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'"):
        base.execute(statement)
        if name.startswith("ENUM_") or name == "TARGET_INFO_GPU":
            rows = real.execute(f'SELECT * FROM "{name}"').fetchall()
            base.executemany(f'INSERT INTO "{name}" VALUES ({", ".join("?" * len(rows[0]))})', rows)
    base.executemany("INSERT INTO StringIds VALUES (?, ?)", NAMES.items())
    for table, (changing, same, make) in TABLES.items():
        values = ", ".join([*"?" * len(changing), *(str(value) for value in same.values())])
        base.executemany(f"INSERT INTO {table} ({', '.join((*changing, *same))}) VALUES ({values})", make(count))
    shape = f"cupy-loop rows={count} dim=384 k=3 batch=1"
    last = count * ITERATION
    phases = [(0, 1, "load"), (1, 2, "build"), (2, last, "search")]
    base.executemany(
        f"INSERT INTO NVTX_EVENTS (start, end, eventType, text, globalTid, domainId) VALUES (?, ?, 59, ?, {TID}, 0)",
        [(start, end, f"knnscope: {phase} {shape}") for start, end, phase in phases],
    )
    base.execute("COMMIT")
    base.close()
    return sum(steps * count for steps in (4, 1, 6, 2))


def write_ranges(path: Path, count: int) -> int:
    """Ranges in ranges, numbered; returns how many rows there are."""
    with sqlite3.connect(path) as base:
        base.execute("CREATE TABLE StringIds(id INTEGER PRIMARY KEY, value TEXT)")
        base.executemany("INSERT INTO StringIds VALUES(?, ?)", NAMES.items())
        base.execute(
            "CREATE TABLE NVTX_EVENTS(start INT, end INT, eventType INT, text TEXT, textId INT, globalTid INT, domainId INT)"
        )
        base.executemany(
            "INSERT INTO NVTX_EVENTS VALUES(?, ?, 59, ?, NULL, ?, 0)",
            (
                (
                    i // 12 * 60_000 + i % 12 * 4_000 + (i % 12 > 0) * 9_000,
                    i // 12 * 60_000 + (57_000 if not i % 12 else i % 12 * 4_000 + 12_000),
                    f"iteration {i // 12}" if not i % 12 else f"part {i % 12} of {i // 12}",
                    TID,
                )
                for i in range(count)
            ),
        )
        base.execute(
            "CREATE TABLE CUPTI_ACTIVITY_KIND_RUNTIME(start INT, end INT, globalTid INT, correlationId INT, nameId INT)"
        )
        base.executemany(
            "INSERT INTO CUPTI_ACTIVITY_KIND_RUNTIME VALUES(?, ?, ?, ?, 5)",
            ((i * 60_000 + 2_000, i * 60_000 + 6_000, TID, i + 1) for i in range(count // 12)),
        )
        base.execute(
            "CREATE TABLE CUPTI_ACTIVITY_KIND_KERNEL(start INT, end INT, deviceId INT, streamId INT, correlationId INT, globalPid INT, shortName INT)"
        )
        base.executemany(
            "INSERT INTO CUPTI_ACTIVITY_KIND_KERNEL VALUES(?, ?, 0, 7, ?, ?, 1)",
            ((i * 60_000 + 7_000, i * 60_000 + 40_000, i + 1, PID) for i in range(count // 12)),
        )
    return count + 2 * (count // 12)


def child(path: str, what: str) -> None:
    """Read in this process and print what it took."""
    from knnscope.trace.reader import read  # what the child imports is a part of its memory

    explain = import_module("knnscope.trace.explain").explain if what == "explain" else None
    began, wall = time.process_time(), time.perf_counter()
    trace = read(path)
    if explain:
        explain(trace)
    used, passed = time.process_time() - began, time.perf_counter() - wall
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    rows = {"kernels": len(trace.kernels), "copies": len(trace.copies), "calls": len(trace.calls)}
    print(json.dumps({"cpu_s": round(used, 2), "wall_s": round(passed, 2), "peak_rss_bytes": peak, **rows}))


def measure(path: Path, what: str) -> dict[str, Any]:
    """The child's figures, or why there are none."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.big_trace", "--child", str(path), what],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]}
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def case(folder: Path, count: int, cpu: float, rss: int | None, make: Callable[[Path, int], int]) -> dict[str, Any]:
    """Write one trace and read it."""
    path = folder / "big.sqlite"
    began = time.perf_counter()
    rows = make(path, count)
    found: dict[str, Any] = {
        "ranges" if make is write_ranges else "iterations": count,
        "rows": rows,
        "bytes": path.stat().st_size,
        "written_s": round(time.perf_counter() - began, 1),
        "target": {"cpu_s": cpu, "peak_rss_bytes": rss},
    }
    for what in ("read", "explain"):
        found[what] = took = measure(path, what)
        if "failed" not in took:
            took["met"] = took["cpu_s"] <= cpu and (rss is None or took["peak_rss_bytes"] <= rss)
        print(
            f"{count:,} {'ranges' if make is write_ranges else 'iterations'}, {rows:,} rows, {found['bytes'] / 1e6:,.0f} MB: {what}: {took}",
            flush=True,
        )
    path.unlink()
    return found


def main() -> None:
    """Write, read, and save the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--iterations", type=int, default=STUDY)
    parser.add_argument("--gigabyte", action="store_true", help="also a file of about 1 GB")
    parser.add_argument("--ranges", action="store_true", help="also 1,200,000 ranges")
    parser.add_argument("--child", nargs=2, metavar=("PATH", "WHAT"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(*args.child)
        return
    with tempfile.TemporaryDirectory(prefix="knnscope-") as name:
        folder = Path(name)
        need = 3 * GIGABYTE if args.gigabyte else 4_000 * args.iterations
        if (free := shutil.disk_usage(folder).free) < need:
            sys.exit(f"{folder}: {free:,} bytes free, {need:,} are needed: choose another disk with TMPDIR")
        cases = [case(folder, args.iterations, CPU_SECONDS, None, write)]
        if args.gigabyte:
            bytes_each = cases[0]["bytes"] / args.iterations
            cases.append(case(folder, int(GIGABYTE / bytes_each), GIGABYTE_CPU_SECONDS, GIGABYTE_RSS, write))
        if args.ranges:
            cases.append(case(folder, RANGES, RANGES_CPU_SECONDS, RANGES_RSS, write_ranges))
    RESULT.write_text(json.dumps({"environment": environment.collect(), "cases": cases}, indent=2) + "\n", "utf-8")
    print(f"saved in {RESULT}")


if __name__ == "__main__":
    main()
