"""Programs that are simulated: what each step costs is known, so what mending one would save is known as well.

One host thread and one stream. A step is a tuple: ("host", ns), ("kernel", name, ns), ("copy", kind, bytes, bytes per ns, pinned), ("malloc", ns), ("sync",).
"""

from __future__ import annotations

import random
from typing import Any

from tests.trace.write import LAUNCH, MS, SECOND, US, WAIT, Trace

Step = tuple[Any, ...]
LATENCY, QUICKEST = 3 * US, 1500
SORT = "DeviceRadixSortOnesweep"


def run(steps: list[Step], times: int, trace: Trace | None = None) -> int:
    """Nanoseconds that so many times through the steps take, and a wait at the end; each time is a range where a trace is written."""
    now = free = SECOND
    for _ in range(times):
        begin = now
        for step in steps:
            now, free = _step(step, now, free, trace)
        if trace is not None:
            trace.range("step", begin, now)
    return _step(("sync",), now, free, trace)[0] - SECOND


def _step(step: Step, now: int, free: int, trace: Trace | None) -> tuple[int, int]:
    """When the host and the GPU are done with it."""
    what, *facts = step
    if what == "host":
        return now + facts[0], free
    if what == "malloc":
        if trace is not None:
            trace.call("cudaMalloc_v3020", now, now + facts[0])
        return now + facts[0], free
    if what == "sync":
        done = max(now + 2 * US, free + 3 * US)
        if trace is not None:
            trace.call(WAIT, now, done)
        return done, free
    queued = now + (5 * US if what == "kernel" else 3 * US)
    start = max(queued + LATENCY, free)
    if what == "kernel":
        name, length = facts
        if trace is not None:
            trace.kernel(name, start, start + length, trace.call(LAUNCH, now, queued))
        return queued, start + length
    kind, nbytes, rate, pinned = facts
    end = start + max(QUICKEST, int(nbytes / rate))
    done = queued if pinned else end + 2 * US
    if trace is not None:
        source, target = (int(pinned), 2) if kind == 1 else (2, int(pinned))
        call = trace.call("cudaMemcpyAsync_v3020", now, done)
        trace.copy(kind, start, end, nbytes, call, source=source, target=target)
    return done, end


def mended(steps: list[Step], rule: str, link: float, selection: int) -> list[Step]:
    """The steps as they are once a finding's remedy is followed."""
    found = []
    for step in steps:
        new: Step | None = step
        if (rule, step[0]) in (("sync-in-loop", "sync"), ("startup-cost", "malloc")):
            new = None
        elif rule == "blocking-copies" and step[0] == "copy":
            new = (*step[:4], True)
        elif rule == "slow-transfer" and step[0] == "copy" and step[2] >= 1 << 20:
            new = (*step[:3], link, step[4])
        elif rule == "tiny-copies" and step[0] == "copy" and step[2] <= 4096:
            new = None
        elif rule == "sort-for-topk" and step[:2] == ("kernel", SORT):
            new = ("kernel", SORT, min(step[2], selection))
        if new is not None:
            found.append(new)
    return found


def random_steps(chance: random.Random) -> list[Step]:
    """What a program may do, and do again and again."""
    scale = chance.choice((10 * US, 100 * US, MS))
    found: list[Step] = []
    for _ in range(chance.choice((2, 4, 8, 20))):
        length = int(chance.lognormvariate(0, 1) * scale)
        what = chance.choice(("host", "kernel", "kernel", "copy", "copy", "sync", "malloc"))
        if what == "host":
            found.append(("host", length))
        elif what == "kernel":
            found.append(("kernel", chance.choice(("gemm", SORT)), length))
        elif what == "copy":
            nbytes = chance.choice((8, 1 << 16, 1 << 20, 1 << 22))
            found.append(("copy", chance.choice((1, 2)), nbytes, chance.choice((3.0, 25.0)), chance.random() < 0.5))
        elif what == "malloc":
            found.append(("malloc", min(length, 20 * US)))  # whether longer ones wait for the GPU, no trace tells
        else:
            found.append(("sync",))
    return found * chance.choice((1, 1, 5, 20))
