"""Peak memory of a phase: of this process as the kernel counts it, and of the GPU by asking it often."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from knnscope.search.device import Library

INTERVAL = 0.001
"""Seconds between two looks at the GPU's free memory."""


@dataclass(slots=True)
class Peak:
    """Bytes: resident in host memory at most (libraries included), taken from the GPU's free memory at most."""

    host: int | None = None
    gpu: int | None = None


@contextmanager
def peak(library: Library | None, gpu_before: int | None = None) -> Iterator[Peak]:
    """Fill the record while the block runs.

    Args:
        library: asks the GPU; None without one.
        gpu_before: free bytes to count from (default: those at the start of the block).
    """
    found = Peak()
    _reset()
    done = threading.Event()
    lowest = [0]
    watcher = None
    if library is not None:
        before = library.free_bytes() if gpu_before is None else gpu_before
        lowest[0] = before

        def watch() -> None:
            while not done.wait(INTERVAL):
                lowest[0] = min(lowest[0], library.free_bytes())

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
    try:
        yield found
    finally:
        done.set()
        if watcher is not None and library is not None:
            watcher.join()
            found.gpu = max(0, before - min(lowest[0], library.free_bytes()))
        found.host = _resident_peak()


def _reset() -> None:
    """Forget the earlier peak; where that is not allowed, the peak is that of the whole process so far."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def _resident_peak() -> int | None:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), None)
