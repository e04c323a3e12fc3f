"""What a trace holds, as columns. Times are nanoseconds since the session's start; every table is in order of ``start``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.integer[Any]]

TO_DEVICE, TO_HOST, WITHIN_DEVICE, PEER = 1, 2, 8, 10
"""Kinds of copies, as in CUPTI and in every schema."""
PAGEABLE, PINNED, DEVICE, ARRAY, MANAGED = 0, 1, 2, 3, 4
"""Kinds of memory as Nsight Systems numbers them; CUPTI's own numbers are one higher."""
UNKNOWN = -1


@dataclass(frozen=True, slots=True)
class Events:
    """Things with a beginning and an end.

    name: number of the name in ``Trace.names``. key: process and correlation id in one number, by which an API call finds what it started;
    0 where there is none.
    """

    start: Ints
    end: Ints
    name: Ints
    key: Ints

    def __len__(self) -> int:
        return len(self.start)

    @property
    def duration(self) -> Ints:
        """Nanoseconds."""
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Kernels(Events):
    """Kernels, and whole graphs where their nodes were not traced; ``lane`` numbers device and stream."""

    lane: Ints


@dataclass(frozen=True, slots=True)
class Copies(Events):
    """Copies and fills. kind: see above, or ``UNKNOWN`` for a fill. source, target: kinds of memory, or ``UNKNOWN``."""

    lane: Ints
    nbytes: Ints
    kind: Ints
    source: Ints
    target: Ints


@dataclass(frozen=True, slots=True)
class Calls(Events):
    """Calls of the CUDA runtime and driver on the host; ``outer``: inside no other call of its thread."""

    thread: Ints
    outer: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Ranges(Events):
    """NVTX ranges; ``depth``: how many of its thread's ranges enclose it."""

    thread: Ints
    depth: Ints


@dataclass(frozen=True, slots=True)
class Gpu:
    """The GPU as the trace names it; 0 where it does not say."""

    name: str = "unknown GPU"
    bandwidth: float = 0.0
    """Bytes/s of its memory, by its data sheet."""
    multiprocessors: int = 0
    l2_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Trace:
    """A recorded run. ``lacks``: what this trace cannot answer, in words; ``notes``: what was odd about it."""

    path: str
    names: tuple[str, ...]
    kernels: Kernels
    copies: Copies
    calls: Calls
    ranges: Ranges
    gpu: Gpu
    recorder: str
    lacks: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    tables: dict[str, int] = field(default_factory=dict)
    """Rows of each table that was read."""

    @property
    def span(self) -> tuple[int, int]:
        """First start and last end of anything."""
        parts = [e for e in (self.kernels, self.copies, self.calls, self.ranges) if len(e)]
        if not parts:
            return 0, 0
        return min(int(e.start.min()) for e in parts), max(int(e.end.max()) for e in parts)
