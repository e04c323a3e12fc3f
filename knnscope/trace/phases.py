"""The parts of a run that NVTX ranges mark, and what happened in each: host time, GPU time, launches and copies."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from knnscope.trace import intervals
from knnscope.trace.model import Calls, Copies, Events, Kernels, Trace

OWN = re.compile(r"knnscope: (load|build|search|copy back) (\S+)((?: \w+=\d{1,12})*)")
MOST = 50
"""Different phases that are told apart; a program that names more has named its iterations."""
Windows = tuple[tuple[int, int], ...]
E = TypeVar("E", bound=Events)


@dataclass(frozen=True)
class Phase:
    """Ranges of one name; a search of ours lasts until its answer is copied back.

    windows: beginning and end of each time. shape: rows, dim, k, batch where the range says so.
    """

    name: str
    windows: Windows
    shape: dict[str, int]
    trace: Trace

    @property
    def steady(self) -> Windows:
        """Without the first time, which loads kernels, where there are others."""
        return self.windows[1:] or self.windows

    @property
    def times(self) -> int:
        """How often it is looked at."""
        return len(self.steady)

    @cached_property
    def host_ns(self) -> int:
        """Nanoseconds of all times looked at."""
        return sum(end - start for start, end in self.steady)

    def _inside(self, start: Any) -> Any:
        if self.times == 1:  # a slice of what is in order: no copy of a long trace
            low, high = self.steady[0]
            return intervals.within(start, low, high)
        begins = np.asarray([w[0] for w in self.steady])
        ends = np.asarray([w[1] for w in self.steady])
        place = np.searchsorted(begins, start, "right") - 1
        return (place >= 0) & (start < ends[np.maximum(place, 0)])

    @cached_property
    def kernels(self) -> Kernels:
        """Those that began in it."""
        return _chosen(self.trace.kernels, self._inside(self.trace.kernels.start))

    @cached_property
    def copies(self) -> Copies:
        """Likewise."""
        return _chosen(self.trace.copies, self._inside(self.trace.copies.start))

    @cached_property
    def calls(self) -> Calls:
        """API calls that no other call encloses: nested ones are part of those."""
        mine = _chosen(self.trace.calls, self._inside(self.trace.calls.start))
        return mine if mine.outer.all() else _chosen(mine, mine.outer)

    @cached_property
    def busy_ns(self) -> int:
        """Nanoseconds in which the GPU had anything to do."""
        start = np.concatenate([self.kernels.start, self.copies.start])
        end = np.concatenate([self.kernels.end, self.copies.end])
        return intervals.covered(start, end)

    @cached_property
    def api_ns(self) -> int:
        """Nanoseconds that the host spent in the API."""
        return intervals.covered(self.calls.start, self.calls.end)

    def named(self, pattern: str) -> Any:
        """Which calls have names that match."""
        wanted = np.asarray([bool(re.search(pattern, name)) for name in self.trace.names] or [False])
        return wanted[self.calls.name]

    @property
    def span(self) -> tuple[int, int]:
        """From the first time looked at to the last."""
        return self.steady[0][0], self.steady[-1][1]


def _chosen(events: E, mask: Any) -> E:
    return type(events)(*(getattr(events, name)[mask] for name in _fields(events)))


def _fields(events: Events) -> Iterator[str]:
    for cls in reversed(type(events).__mro__):
        yield from getattr(cls, "__slots__", ())


def phases(trace: Trace) -> list[Phase]:
    """Our own phases; else the outermost ranges of whoever named some; else the whole run."""
    own: dict[str, list[tuple[int, int]]] = {}
    shapes: dict[str, dict[str, int]] = {}
    other: dict[str, list[tuple[int, int]]] = {}
    ranges = trace.ranges
    last: str | None = None
    for start, end, name, depth in zip(
        ranges.start.tolist(), ranges.end.tolist(), ranges.name.tolist(), ranges.depth.tolist(), strict=True
    ):
        text = trace.names[name]
        if found := OWN.fullmatch(text):
            what, who, shape = found.groups()
            if what == "copy back" and last is not None and own[last]:
                own[last][-1] = (own[last][-1][0], max(end, own[last][-1][1]))
                continue
            label = f"{what} {who}"
            own.setdefault(label, []).append((start, end))
            shapes[label] = {k: int(v) for k, v in (pair.split("=") for pair in shape.split())}
            last = label if what == "search" else None
        elif depth == 0:
            other.setdefault(text, []).append((start, end))
    chosen = own or (other if len(other) <= MOST else {})
    if not chosen:
        low, high = trace.span
        return [Phase("the whole run", ((low, high),), {}, trace)] if high > low else []
    return [Phase(name, tuple(apart(windows)), shapes.get(name, {}), trace) for name, windows in chosen.items()]


def apart(windows: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """In order, none reaching into the next: threads may be in the same phase at once."""
    found: list[tuple[int, int]] = []
    for start, end in sorted(windows):
        if found and start < found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found
