"""Kernels shorter than their launches: the GPU waits for the host between them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from knnscope.trace import evidence, intervals
from knnscope.trace.findings import Cause, Finding, Told, finding
from knnscope.trace.intervals import Spans
from knnscope.trace.phases import Phase
from knnscope.trace.rules.gpu_idle import LONG_NS
from knnscope.trace.rules.loops import LAUNCHES, OFTEN, need_kernels, on_host
from knnscope.units import duration

SHORT_NS = 20_000
"""A kernel up to this long may end before the next is launched."""
CHAIN = 4
"""From this many kernels on, a chain may wait for the host as a loop does."""
LOOP_REMEDY = (
    "Give a kernel all rows at once instead of one; what has to stay many launches can be replayed from a CUDA graph."
)
CHAIN_REMEDY = "Replay the kernels from a CUDA graph, where they stand side by side, or do more in each."
GRAPH_REMEDY = "They are replayed from a CUDA graph already: what is left between them goes only with fewer kernels that do more each."


def cause(phase: Phase) -> Cause:
    """For a loop, the host's time with launches; for a chain or a graph, the gaps between its kernels."""
    need_kernels(phase)
    kernels = phase.kernels
    if len(kernels) < OFTEN * phase.times or _replayed(phase):
        return Cause(len(kernels), intervals.common(_gaps(phase), phase.idle))
    if not len(phase.calls):
        return Cause(len(kernels), intervals.common(_gaps(phase), phase.idle))
    launching = phase.launched(kernels, np.ones(len(kernels), dtype=bool)) & phase.named(LAUNCHES)
    return Cause(len(kernels), on_host(phase, launching))


def _replayed(phase: Phase) -> bool:
    """Most kernels come from graphs."""
    graph = np.append(phase.matching("GraphLaunch")[phase.trace.calls.name], False)
    return len(phase.kernels) > 0 and bool(2 * graph[phase.kernels.call].sum() >= len(phase.kernels))


def _turn(phase: Phase) -> Any:
    """Which launch of a graph, or else which time through the phase, each kernel belongs to."""
    if _replayed(phase):
        return phase.kernels.call
    return np.searchsorted(phase.windows[0], phase.kernels.start, "right")


def _gaps(phase: Phase) -> Spans:
    """Between one kernel and the next of the same turn."""
    kernels = phase.kernels
    if len(kernels) < 2:
        return intervals.NOWHERE
    reach = np.maximum.accumulate(kernels.end)[:-1]
    turn = _turn(phase)
    real = (kernels.start[1:] > reach) & (turn[1:] == turn[:-1]) & (kernels.start[1:] - reach < LONG_NS)
    return intervals.spans((reach[real], kernels.start[1:][real]))


def find(phase: Phase) -> Iterator[Finding]:
    """For a loop, saves the host's time with launches that a few kernels over all the data would replace; for a chain, the gaps."""
    need_kernels(phase)
    kernels = phase.kernels
    count = len(kernels) / phase.times
    if count < CHAIN:
        return
    why = cause(phase)
    length = float(np.median(kernels.duration))
    gaps = np.maximum(0, kernels.start[1:] - np.maximum.accumulate(kernels.end)[:-1])
    replayed = _replayed(phase)
    if count >= OFTEN:
        if length > SHORT_NS or np.median(gaps) < length:
            return
        remedy = GRAPH_REMEDY if replayed else LOOP_REMEDY
    else:
        turn = _turn(phase)
        gaps = gaps[(turn[1:] == turn[:-1]) & (gaps < LONG_NS)]
        if why.ns < intervals.length(phase.work) or not len(gaps):
            return
        remedy = GRAPH_REMEDY if replayed else CHAIN_REMEDY
    yield finding(
        "launch-bound",
        phase,
        why,
        why.ns,
        Told(
            f"{count:,.0f} kernels of {duration(length)}, {duration(float(np.median(gaps)))} apart: "
            f"the GPU works {100 * phase.busy_ns / max(1, phase.host_ns):.1f}% of the time",
            evidence.kernels(phase),
            len(kernels) - _graphs(phase),
            remedy,
        ),
    )


def _graphs(phase: Phase) -> int:
    """Graphs recorded whole, which lie in another table."""
    return int(phase.matching("^graph$")[phase.kernels.name].sum()) if phase.trace.whole_graphs else 0
