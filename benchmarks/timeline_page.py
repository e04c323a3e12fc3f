"""The page of a large trace: how many bytes it has, how long it is written, and how long a browser's script takes to draw while it is panned and zoomed.

    python -m benchmarks.timeline_page [--events N] [--keep FILE.html]

Needs what ./dev browser-test installs.

The trace is made up, and no two of its times are alike, since equal ones would be packed into nothing: launches by four threads, kernels on three streams
of two GPUs, copies, ranges, 400 names, pauses of all lengths. The browser is Chromium without a screen. A draw's script is measured in CPU time of the page's
thread, by the browser itself (what evaluates the call is in it, what happens to the drawn picture afterwards is not), and in time passed, which other
programs lengthen. Results go to benchmarks/results/timeline-page.json.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from knnscope import environment
from knnscope.report.timeline_page import page
from knnscope.trace.excerpt import whole
from knnscope.trace.explain import explain
from knnscope.trace.model import TO_DEVICE, TO_HOST, Calls, Copies, Gpu, Kernels, Lane, Ranges, Source, Trace

RESULT = Path(__file__).resolve().parent / "results" / "timeline-page.json"
EVENTS, SIZE, DRAW_MS = 1_000_000, 15_000_000, 33.0
"""Of the target: events, bytes of the file, and milliseconds of the 95th percentile of a draw."""
THREADS, NAMES = 4, 400
TABLES = [*(f"CUPTI_ACTIVITY_KIND_{name}" for name in ("KERNEL", "MEMCPY", "RUNTIME")), "NVTX_EVENTS"]
COLUMNS = frozenset({"start", "end", "text", "eventType", "globalTid", "correlationId", "deviceId"})
"""What the queries of findings name."""
DRAW = """([low, high]) => {
    const { view } = window.timeline;
    view.show(low * view.head.span, high * view.head.span);
    const began = performance.now();
    view.draw();
    return performance.now() - began;
}"""
MIDDLES, ZOOMS, SIZES, MOVES = (0.1, 0.35, 0.5, 0.77, 0.9), 80, (0.5, 0.05, 0.005, 0.0005, 0.00005), 40
"""Where is zoomed in, in how many steps down to a millionth; how much is seen while it is moved, and in how many steps."""


def views() -> Iterator[tuple[float, float]]:
    """What is seen, one after the other, in shares of the trace: zooming in, then moving."""
    for middle in MIDDLES:
        for step in range(ZOOMS + 1):
            size = 1e-6 ** (step / ZOOMS)
            yield middle - size / 2, middle + size / 2
        for size in SIZES:
            for step in range(MOVES):
                low = 0.8 * middle + 0.03 * step * size
                yield low, low + size


def made(events: int, seed: int = 0) -> Trace:
    """A trace of about so many events."""
    rng = np.random.default_rng(seed)
    launches = events * 100 // 205
    thread = rng.integers(0, THREADS, launches)
    start = np.cumsum(rng.lognormal(7.5, 1.2, launches) * np.where(rng.random(launches) < 1e-4, 2000, 1)).astype(
        np.int64
    )
    last = {i: start[thread == i] for i in range(THREADS)}
    end = start.copy()
    for i, mine in last.items():
        room = np.append(np.diff(mine), 5_000)
        end[thread == i] = mine + np.minimum(rng.lognormal(7.8, 0.6, len(mine)).astype(np.int64), room)
    is_copy = rng.random(launches) < 0.15
    gpu = thread % 2
    stream = np.where(is_copy, 2, rng.integers(0, 2, launches))
    lane = (3 * gpu + stream).astype(np.int32)
    began = start + rng.lognormal(8.5, 0.5, launches).astype(np.int64)
    took = rng.lognormal(7.6, 1.1, launches).astype(np.int64)
    for number in range(6):  # one after another on a stream
        mine = np.flatnonzero(lane == number)
        begins = np.maximum.accumulate(began[mine])
        began[mine] = begins
        took[mine] = np.minimum(took[mine], np.append(np.diff(begins), 10_000))
    names = tuple(f"void library::kernel_{i}<float, {i % 7}>(float const*, float*, int)" for i in range(NAMES - 20))
    names += (*(f"step {i}" for i in range(10)), "cudaLaunchKernel", "cudaMemcpyAsync", "cudaStreamSynchronize")
    names += ("copy host to device", "copy device to host", *(f"other {i}" for i in range(5)))
    first = NAMES - 20
    parts = []
    for copy in (False, True):
        which = np.flatnonzero(is_copy == copy)
        which = which[np.argsort(began[which], kind="stable")]
        kind = rng.integers(0, 2, len(which))
        name = first + 13 + kind if copy else np.minimum(rng.zipf(1.5, len(which)), first) - 1
        columns = [began[which], began[which] + took[which], name.astype(np.int32), lane[which], which.astype(np.int32)]
        if copy:
            memory = np.full(len(which), 1, dtype=np.int8)
            columns += [rng.integers(1, 1 << 22, len(which)), np.where(kind, TO_HOST, TO_DEVICE), memory, memory + 1]
        parts.append(columns)
    threads = ((41 << 24) | (100 + thread)).astype(np.int64)
    call = (first + 10 + np.where(is_copy, 1, np.where(rng.random(launches) < 0.1, 2, 0))).astype(np.int32)
    inside = np.sort(rng.choice(launches, launches // 20, replace=False))
    many = len(inside)
    ranges = [
        start[inside],
        np.append(start[inside][1:], start[-1]) - 1,
        (first + rng.integers(0, 10, many)).astype(np.int32),
    ]
    ranges += [np.full(many, (41 << 24) | 100), np.zeros(many, dtype=np.int32), np.zeros(many, dtype=bool)]
    return Trace(
        "made.sqlite",
        names,
        Kernels(*parts[0]),
        Copies(*parts[1]),
        Calls(start, end, call, threads, np.ones(launches, dtype=bool)),
        Ranges(*ranges),
        tuple(Lane(41, number // 3, number // 3, 1, 7 + number % 3) for number in range(6)),
        {0: Gpu("A GPU", 3.35e12, 132), 1: Gpu("A GPU", 3.35e12, 132)},
        "made",
        source=Source(dict(zip(TABLES, TABLES, strict=True)), dict.fromkeys(TABLES, COLUMNS)),
    )


def moved(path: Path, width: int, height: int) -> dict[str, Any]:
    """What drawing takes in a window of this size."""
    from playwright.sync_api import (
        sync_playwright,  # ./dev browser-test brings it; the trace is also made where it is missing
    )

    from tests.browser.conftest import FLAGS, NAMES

    program = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    sandbox = ("--no-sandbox",) if os.geteuid() == 0 else ()
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=[*FLAGS, *sandbox])
        tab = chromium.new_page(viewport={"width": width, "height": height})
        opened = time.perf_counter()
        tab.goto(path.resolve().as_uri())
        tab.locator("#said > *").first.wait_for(timeout=60_000)
        seconds = round(time.perf_counter() - opened, 2)
        found: dict[str, Any] = {"chromium": chromium.version, "opened_s": seconds}
        inside = tab.context.new_cdp_session(tab)
        inside.send("Performance.enable", {"timeDomain": "threadTicks"})

        def spent() -> float:
            metrics = inside.send("Performance.getMetrics")["metrics"]
            return next(1e3 * one["value"] for one in metrics if one["name"] == "DevToolsCommandDuration")

        cpu, wall = [], []
        for low, high in views():
            before = spent()
            wall.append(tab.evaluate(DRAW, [low, high]))
            cpu.append(spent() - before)
        chromium.close()
    for name, took in (("cpu_ms", cpu), ("wall_ms", wall)):
        shares = {"median": 50, "p95": 95, "p99": 99, "most": 100}
        found[name] = {word: round(float(np.percentile(took, share)), 2) for word, share in shares.items()}
    return {"draws": len(cpu), **found}


def main() -> None:
    """Write the page, open it, move in it, save the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=EVENTS)
    parser.add_argument("--keep", type=Path, metavar="FILE", help="where to leave the page")
    args = parser.parse_args()
    trace = made(args.events)
    findings = explain(trace).findings
    with tempfile.TemporaryDirectory(prefix="knnscope-") as folder:
        path = args.keep or Path(folder) / "trace.html"
        began = time.process_time()
        with path.open("w", encoding="utf-8") as file:
            events = page.write(trace, whole(trace), findings, file)
        found: dict[str, Any] = {
            "events": events,
            "bytes": path.stat().st_size,
            "written_cpu_s": round(time.process_time() - began, 2),
        }
        found["target"] = {"bytes": SIZE, "p95_ms": DRAW_MS}
        found["at"] = {}
        for width, height in ((1600, 1000), (360, 740)):
            found["at"][f"{width}x{height}"] = moved(path, width, height)
    found["met"] = found["bytes"] <= SIZE and all(one["cpu_ms"]["p95"] <= DRAW_MS for one in found["at"].values())
    print(json.dumps(found, indent=2))
    RESULT.write_text(json.dumps({"environment": environment.collect(), **found}, indent=2) + "\n", "utf-8")
    print(f"saved in {RESULT}")


if __name__ == "__main__":
    main()
