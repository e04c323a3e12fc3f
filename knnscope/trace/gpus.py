"""Which GPU ran what, and its name, from whichever of an export's tables hold them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from knnscope.trace.database import Tables
from knnscope.trace.model import Gpu

MOST = 4096
"""Rows that are read of such a table; a machine has a handful of GPUs."""
NAME = 512
LISTS = ("TARGET_INFO_GPU", "TARGET_INFO_CUDA_GPU", "TARGET_INFO_CUDA_DEVICE")
NUMBER = ("id", "gpuId", "deviceId", "cudaId")
RATE = (("memoryBandwidth", 1), ("globalMemoryBandwidth", 1000))
"""CUPTI's own column counts kilobytes."""
UNITS = ("smCount", "numMultiprocessors")
WORDS = ("META_DATA_CAPTURE", "EXPORT_META_DATA", "META_DATA_EXPORT")
WORD = re.compile(r"(?i)GPU.*(NAME|MODEL)|^GPU[ _:]*\d*$")


def gpu_numbers(tables: Tables) -> Callable[[int, int], int]:
    """The machine's number of a GPU for a process and the number that it has there: CUDA_VISIBLE_DEVICES numbers them anew."""
    known: dict[tuple[int, int], int] = {}
    anywhere: dict[int, set[int]] = {}
    if {"gpuId", "cudaId"} <= tables.columns.get("TARGET_INFO_CUDA_DEVICE", frozenset()):
        for pid, device, gpu in _rows(tables, "TARGET_INFO_CUDA_DEVICE", ("pid", "cudaId", "gpuId")):
            if isinstance(device, int) and isinstance(gpu, int) and 0 <= gpu < 1 << 31:
                if isinstance(pid, int) and pid > 0:
                    known[pid & 0xFFFFFF, device] = gpu
                anywhere.setdefault(device, set()).add(gpu)

    def number(process: int, device: int) -> int:
        if (process, device) in known:
            return known[process, device]
        gpus = anywhere.get(device, set())
        return next(iter(gpus)) if len(gpus) == 1 else device

    return number


def gpus_of(tables: Tables) -> dict[int, Gpu]:
    """Every GPU that the export names."""
    found: dict[int, Gpu] = {}
    for table in LISTS:
        have = tables.columns.get(table, frozenset())
        if "name" not in have:
            continue
        number = next((c for c in NUMBER if c in have), "NULL")
        rate, unit = next(((c, unit) for c, unit in RATE if c in have), ("NULL", 1))
        units = next((c for c in UNITS if c in have), "NULL")
        for place, row in enumerate(_rows(tables, table, (number, "name", rate, units, "l2CacheSize"))):
            which, name, *numbers = row
            bandwidth, count, cache = (v if isinstance(v, int | float) and 0 <= v < 1e18 else 0 for v in numbers)
            if isinstance(name, str) and name:
                gpu = Gpu(name, float(bandwidth) * unit, int(count), int(cache))
                found.setdefault(which if isinstance(which, int) and 0 <= which < 1 << 31 else place, gpu)
    return found or _in_words(tables)


def _in_words(tables: Tables) -> dict[int, Gpu]:
    """From rows of a name and a value."""
    found: dict[int, Gpu] = {}
    for table in WORDS:
        if not {"name", "value"} <= tables.columns.get(table, frozenset()):
            continue
        for name, value in _rows(tables, table, ("name", "value")):
            if isinstance(name, str) and isinstance(value, str) and value and WORD.search(name):
                digits = re.search(r"\d{1,6}", name)
                found.setdefault(int(digits[0]) if digits else len(found), Gpu(value))
    return found


def _rows(tables: Tables, table: str, columns: tuple[str, ...]) -> list[tuple[Any, ...]]:
    have = tables.columns[table]
    chosen = ", ".join(
        f"CASE typeof({c}) WHEN 'text' THEN substr({c}, 1, {NAME}) WHEN 'blob' THEN NULL ELSE {c} END"
        if c in have
        else "NULL"
        for c in columns
    )
    return tables.base.execute(f'SELECT {chosen} FROM "{tables.actual[table]}" LIMIT {MOST}').fetchall()  # noqa: S608
