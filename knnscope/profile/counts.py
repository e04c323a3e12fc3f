"""Kernels and copies of a piece of work, counted by CUPTI in this process, where cupti-python is installed."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from knnscope.errors import MissingLibraryError, require

BUFFER = 8 << 20
PROFILERS = ("NSYS_PROFILING_SESSION_ID", "CUDA_INJECTION64_PATH", "KNNSCOPE_RECORDING")
"""Set where a profiler has put itself into this process, or our own recorder: CUPTI serves one."""
TO_DEVICE, TO_HOST = 1, 2
"""CUpti_ActivityMemcpyKind: host to device, device to host."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Kernels; copies between host and GPU and their bytes. Copies within the GPU's memory are not among them."""

    kernels: int
    copies: int
    copied_bytes: int


def recorded() -> bool:
    """Whether a profiler, or our own recorder, is in this process."""
    return any(name in os.environ for name in PROFILERS)


def count(work: Callable[[], object], synchronize: Callable[[], None]) -> Counts | None:
    """Do the work and count; None where there is no CUPTI to count with, or another profiler has it.

    Args:
        work: what may be done once more.
        synchronize: waits until the GPU has finished.
    """
    if importlib.util.find_spec("cupti") is None or recorded():
        return None
    try:
        cupti = require("cupti.cupti", "cupti", "cupti")
    except MissingLibraryError:
        return None
    activities = [cupti.ActivityKind.CONCURRENT_KERNEL, cupti.ActivityKind.MEMCPY]
    records: list[Any] = []
    synchronize()
    try:
        cupti.activity_register_callbacks(lambda: (BUFFER, 0), records.extend)
        for activity in activities:
            cupti.activity_enable(activity)
    except cupti.cuptiError:  # a profiler around this process holds the only subscription
        return None
    try:
        cupti.activity_flush_all(1)
        records.clear()  # of what came before
        work()
        synchronize()
        cupti.activity_flush_all(1)
    finally:
        for activity in activities:
            cupti.activity_disable(activity)
    copies = [r for r in records if r.kind == cupti.ActivityKind.MEMCPY and r.copy_kind in (TO_DEVICE, TO_HOST)]
    kernels = sum(r.kind == cupti.ActivityKind.CONCURRENT_KERNEL for r in records)
    return Counts(kernels, len(copies), sum(r.bytes for r in copies))
