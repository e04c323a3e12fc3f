"""What our recorder writes is what the reader reads, and what Nsight Systems would have written."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from knnscope.profile.names import demangled, short
from knnscope.profile.schema import ENUMS, TABLES, Writer
from knnscope.trace import reader
from tests.trace import fixtures


def test_written_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "t.sqlite"
    writer = Writer(str(path))
    pid = 4242 << 24
    kernel = writer.string("mine")
    writer.rows(
        "CUPTI_ACTIVITY_KIND_MEMCPY",
        (
            *("start", "end", "deviceId", "contextId", "streamId", "correlationId", "globalPid"),
            *("bytes", "copyKind", "srcKind", "dstKind"),
        ),
        [(50, 90, 0, 1, 7, 3, pid, 4096, 2, 2, 1)],
    )
    call = ("start", "end", "eventClass", "globalTid", "correlationId", "nameId", "returnValue")
    writer.rows(
        "CUPTI_ACTIVITY_KIND_RUNTIME", call, [(40, 60, 0, pid | 7, 3, writer.string("cudaMemcpyAsync_v3020"), 0)]
    )
    writer.rows("CUPTI_ACTIVITY_KIND_MEMSET", ("start",), [])
    writer.close()
    trace = reader.read(path)
    assert (trace.copies.nbytes.tolist(), trace.copies.kind.tolist()) == ([4096], [2])
    assert (trace.copies.source.tolist(), trace.copies.target.tolist()) == ([2], [1])
    assert trace.copies.call.tolist() == [0], "it finds its launch"
    assert [trace.names[i] for i in trace.calls.name] == ["cudaMemcpyAsync"]
    with closing(sqlite3.connect(path)) as base:
        tables = {name for (name,) in base.execute("SELECT name FROM sqlite_master")}
    assert "CUPTI_ACTIVITY_KIND_MEMSET" not in tables, "a table without rows is left out"
    assert kernel == 1


@pytest.mark.parametrize("table", [*TABLES, *ENUMS])
def test_tables_are_those_of_nsight_systems(table: str, tmp_path: Path) -> None:
    with closing(sqlite3.connect(fixtures.unpacked("nsys-vectorized", tmp_path))) as base:
        theirs = {row[1]: (row[2], row[3]) for row in base.execute(f"PRAGMA table_info({table})")}
        values = set(base.execute(f"SELECT id, name, label FROM {table}")) if table in ENUMS else set()
    if not theirs:
        assert table in (
            "CUPTI_ACTIVITY_KIND_MEMSET",
            "META_DATA_CAPTURE",
            "META_DATA_EXPORT",
        )  # trimmed, or without rows
        return
    if table in ENUMS:
        assert values >= set(ENUMS[table])
        return
    for column, kind in TABLES[table].items():
        word, *rest = kind.split(" NOT NULL")
        assert theirs[column][0] == word
        assert bool(theirs[column][1]) == bool(rest), column


def test_names_of_kernels() -> None:
    assert short("cupy_sqrt__float_float32") == demangled("cupy_sqrt__float_float32") == "cupy_sqrt__float_float32"
    mangled = "_ZN3cub17CUB_200200_900_NS28DeviceReduceSingleTileKernelINS0_1PEEEvT_"
    assert short("_Z9addKernelPiPKiS1_") == "addKernel"
    assert short(mangled) == "DeviceReduceSingleTileKernel"
    assert demangled("_Z9addKernelPiPKiS1_") in ("addKernel(int*, int const*, int const*)", "_Z9addKernelPiPKiS1_")
    assert demangled("_Zbroken") == "_Zbroken"
