"""Elementwise kernels and reductions in a row, each of which writes what the next one reads."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np

from knnscope.trace import evidence
from knnscope.trace.findings import CannotTellError, Cause, Finding, Told, finding
from knnscope.trace.phases import Phase
from knnscope.trace.rules.loops import alone, need_kernels, none, nothing
from knnscope.units import duration

SIMPLE = re.compile(r"(?i)^cupy_(?!.*(sort|copy|arange|take))|elementwise|reduce")
LEAST = 3
LONG_NS = 20_000
"""Shorter chains are launches, not bytes."""
REACHED = 0.41
"""One kernel takes as long as reading the data at this share of the bandwidth would, less the launches that fall away: fixed on 75,000 x 384."""


def cause(phase: Phase) -> Cause:
    """The kernels of chains."""
    need_kernels(phase)
    members, _, _ = _chains(phase)
    if not members.any():
        return nothing()
    return Cause(int(members.sum()), alone(phase, members, none(phase.copies)))


def _chains(phase: Phase) -> tuple[Any, Any, Any]:
    """Which kernels are in chains; where these begin; how long they are."""
    kernels = phase.kernels
    chained = phase.trace.matching(SIMPLE.pattern)[kernels.name]
    if not chained.any():
        return chained, none(()), none(())
    # stream by stream: what runs on another stream does not follow
    order = np.argsort(kernels.lane, kind="stable")
    start, lane, some = kernels.start[order], kernels.lane[order], chained[order]
    # a copy to the host, or the end of the phase, ends a chain as another kernel does
    ended = _passes(start, phase.copies.start, "left") | _passes(start, phase.windows[0], "right")
    first = some & np.concatenate([[True], ~some[:-1] | ended | (lane[1:] != lane[:-1])])
    number = np.cumsum(first, dtype=np.int32)
    sizes = np.bincount(number[some])
    long = np.flatnonzero(sizes >= LEAST)
    members = np.empty(len(kernels), dtype=bool)
    members[order] = (sizes >= LEAST)[number * some]
    return members, order[np.searchsorted(number, long)], sizes[long]


def _passes(start: Any, marks: Any, side: Literal["left", "right"]) -> Any:
    """Between which starts and the next one a mark lies."""
    place = np.searchsorted(marks, start, side)
    return place[1:] != place[:-1]


def find(phase: Phase) -> Iterator[Finding]:
    """Saves the chains' time, less one pass over what they read first."""
    need_kernels(phase)
    kernels = phase.kernels
    members, begins, lengths = _chains(phase)
    if not members.any():
        return
    total = float(kernels.duration[members].sum())
    if total / phase.times < LONG_NS or total / len(lengths) < LONG_NS:
        return
    bandwidth = phase.card.bandwidth
    nbytes = 4 * phase.shape.get("rows", 0) * phase.shape.get("dim", 0)
    if not bandwidth or not nbytes:
        raise CannotTellError("the chain's bytes are not known: no range with rows and dim, or no bandwidth of the GPU")
    numbers = np.unique(kernels.name[members]).tolist()
    lane = np.flatnonzero(kernels.lane == kernels.lane[begins[0]])
    chain = lane[lane >= begins[0]][: int(lengths[0])]
    names = " > ".join(dict.fromkeys(phase.trace.names[i] for i in kernels.name[chain].tolist()))
    yield finding(
        "unfused-chain",
        phase,
        cause(phase),
        total - phase.times * 1e9 * nbytes / (REACHED * bandwidth),
        Told(
            f"{lengths.max()} kernels in a row, {duration(total / phase.times)} together: {names[:200]}",
            evidence.kernels(phase, [phase.trace.names[i] for i in numbers]),
            int(np.isin(kernels.name, numbers).sum()),
            "One kernel for all of them reads the data once and writes only the result.",
        ),
    )
