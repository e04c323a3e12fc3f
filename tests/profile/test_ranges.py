"""CUPTI's markers as an export's ranges."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace as Made
from typing import Any

from knnscope.profile import ranges
from knnscope.profile.schema import Writer
from knnscope.trace import reader

PID = 42 << 24


def marker(number: int, flag: int, at: int, name: str | None = None, domain: str | None = None) -> Any:
    where = Made(pt=Made(thread_id=7))
    return Made(id=number, flags_=flag, timestamp=1000 + at, name=name, domain=domain, object_id=where)


MARKERS = [
    marker(1, ranges.START, 0, "main"),
    marker(2, ranges.START, 10, "DeviceRadixSort", "CCCL"),
    marker(2, ranges.END, 20),
    marker(3, ranges.START, 30, "step"),
    marker(3, ranges.END, 40),
    marker(4, ranges.START, 45, "mine", "my program"),
    marker(4, ranges.END, 48),
    marker(3, ranges.START, 46, "again"),
    marker(3, ranges.END, 47),
    marker(9, ranges.END, 50),
]


def test_a_range_that_is_open_at_the_end_is_kept_and_a_librarys_is_a_librarys(tmp_path: Path) -> None:
    path = tmp_path / "t.sqlite"
    writer = Writer(str(path))
    writer.rows("NVTX_EVENTS", ranges.COLUMNS, ranges.rows(MARKERS, 1000, PID))
    writer.close()
    trace = reader.read(path)
    found = trace.ranges
    told = {
        trace.names[n]: (int(a), int(b), bool(c))
        for n, a, b, c in zip(found.name, found.start, found.end, found.library, strict=True)
    }
    assert told == {
        "main": (0, 48, False),
        "DeviceRadixSort": (10, 20, True),
        "step": (30, 40, False),
        "mine": (45, 48, False),
        "again": (46, 47, False),
    }
    assert set(found.thread.tolist()) == {PID | 7}


def test_a_program_that_marks_nothing_has_no_rows() -> None:
    assert ranges.rows([], 1000, PID) == []
