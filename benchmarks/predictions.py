"""What explain predicts of each step of the ladder, against what the next rung measured without a recorder.

    python -m benchmarks.predictions measure --shape 20000x768 --out DIR     # on a GPU: every rung timed, interleaved
    python -m benchmarks.predictions record --shape 20000x768 --out DIR      # on a GPU: every rung recorded, several times
    python -m benchmarks.predictions collect DIR                             # traces and times into benchmarks/results/predictions
    python -m benchmarks.predictions page [--check]                          # docs/predictions.md

A prediction is read off the trace of a rung alone. Where it is the GPU's time, it is taken as it is; where it is the host's, which a
recorder stretches, it is taken as a share of the search, and that share of the time measured without one is the prediction. Of several
recordings of a rung the quickest counts, and of the searches the lower quartile: other programs on the host only ever add. Loops visit
1,000 rows for timing, 300 for recording, and are scaled.
"""

from __future__ import annotations

import argparse
import json
import lzma
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import numpy as np

from knnscope import environment
from knnscope.datasets import registry
from knnscope.search import ladder
from knnscope.trace import reader
from knnscope.trace.explain import Explanation, explain
from knnscope.trace.model import Trace
from knnscope.trace.phases import phases
from knnscope.trace.rules import ON_GPU
from knnscope.units import difference

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "predictions"
PAGE = ROOT / "docs" / "predictions.md"
SHAPES = ("75000x384", "20000x768", "200000x128")
"""On the first the constants were fixed; the others were recorded afterwards."""
RUNS = ("75000x384", "75000x384-h200", "20000x768", "200000x128")
"""What the page shows: files of ``RESULTS``."""
FIXTURES = ROOT / "tests" / "fixtures" / "traces"
LOOPS = ("cupy-loop-numpy-input", "cupy-loop", "cupy-pinned")
ENOUGH = 100
"""Calls that a median is taken of."""
K = 10
TIMED_ROWS, RECORDED_ROWS = 1000, 300
ROUNDS, QUICK_ROUNDS, QUICK_NS = 7, 40, 200_000_000
OFF = 0.3


@dataclass(frozen=True, slots=True)
class Step:
    """From a rung to the one that mends these findings; ``copy``: what the rung itself times of its large copy is compared."""

    before: str
    after: str
    rules: tuple[str, ...]
    copy: bool = False


STEPS = (
    Step("cupy-loop-numpy-input", "cupy-loop", ("host-compute",)),
    Step("cupy-loop", "cupy-pinned", ("blocking-copies", "sync-in-loop")),
    Step("cupy-pinned", "vectorized", ("launch-bound",)),
    Step("pageable-bulk", "pinned-bulk", ("slow-transfer",), copy=True),
    Step("vectorized", "argsort", ("tiny-copies",)),
    Step("argsort", "fused", ("unfused-chain",)),
    Step("fused", "topk", ("sort-for-topk", "below-floor")),
)


def numbers(shape: str) -> tuple[int, int]:
    """Rows and components."""
    rows, _, dim = shape.partition("x")
    return int(rows), int(dim)


def is_loop(name: str) -> bool:
    """Whether Python visits every row."""
    return ladder.rung_class(name).loop


def measure(shape: str) -> dict[str, Any]:
    """Wall times of a search and of bringing its answer back, nanoseconds; all rungs in turn."""
    import cupy as cp

    rows, dim = numbers(shape)
    dataset: Any = registry.load(f"synthetic:text,rows={rows},dim={dim},queries=16")[0]
    values, queries = dataset.documents.values, dataset.queries.values
    rungs: dict[str, Any] = {}
    for name in ladder.RUNGS:
        rungs[name] = ladder.make(name, cp)
        rungs[name].load(values[:TIMED_ROWS] if is_loop(name) else values)
        rungs[name].build(K)
    took: dict[str, list[float]] = {name: [] for name in rungs}
    visited = {name: TIMED_ROWS if is_loop(name) else rows for name in rungs}
    copied: dict[str, list[float]] = {name: [] for name in rungs}

    def once(name: str, turn: int) -> None:
        rung = rungs[name]
        query = rung.ready(queries[turn % len(queries)])
        cp.cuda.runtime.deviceSynchronize()
        start = time.perf_counter_ns()
        rung.copy_back(rung.search(query, K))
        took[name].append(float(time.perf_counter_ns() - start))
        if hasattr(rung, "seconds"):
            copied[name].append(rung.seconds * 1e9)

    for turn in range(ROUNDS + 1):
        for name in rungs:
            once(name, turn)
        if not turn:  # what came first has loaded kernels
            for values in (*took.values(), *copied.values()):
                values.clear()
    for turn in range(QUICK_ROUNDS):
        for name in rungs:
            if median(took[name]) < QUICK_NS:
                once(name, turn)
    return {
        "shape": shape,
        "environment": environment.collect(),
        "wall_ns": {name: round(quartile(values) * rows / visited[name]) for name, values in took.items()},
        "copy_ns": {name: round(quartile(values)) for name, values in copied.items() if values},
        "searches": {name: len(values) for name, values in took.items()},
    }


def quartile(values: list[float]) -> float:
    """The lower one."""
    return quantiles(values, n=4)[0]


def record(shape: str, out: Path, recorders: list[str], times: int, rungs: list[str]) -> None:
    """``knnscope profile`` of every rung; the runs in turn."""
    rows, dim = numbers(shape)
    for turn in range(times):
        for name in rungs:
            for recorder in recorders:
                folder = out / f"{recorder}-{turn}"
                argv = ["profile", name, "--rows", str(rows), "--dim", str(dim), "-k", str(K), "--recorder", recorder]
                argv += ["--repeat", "1"] if name == "vectorized" else []  # a copy for every row
                if name == "gemm":  # an old nsys does not know a call of cuBLAS' first search, and loses what follows
                    argv += ["--capture-range", "--repeat", "4"]
                argv += ["--out", str(folder), *(["--every", str(rows // RECORDED_ROWS)] if is_loop(name) else [])]
                done = subprocess.run(
                    [sys.executable, "-m", "knnscope", *argv], capture_output=True, text=True, timeout=120, check=False
                )
                if done.returncode:
                    print(name, recorder, done.stderr.strip()[-300:], file=sys.stderr)
                for left in [*folder.glob("*.nsys-rep"), *folder.glob("*.qdstrm")]:
                    left.unlink()


def quickest(folder: Path, recorder: str, name: str, shape: str) -> tuple[Path, Explanation] | None:
    """Of a rung's recordings the one with the shortest searches, or where NumPy computes, copies."""
    found = []
    for path in sorted(folder.glob(f"{recorder}-*/{name}-{shape}-k{K}.sqlite")):
        told = explain(reader.read(path))
        search = next((p for p in told.phases if p.name == f"search {name}"), None)
        if search is not None:
            took = search.busy_ns if name.endswith("-bulk") else search.host_ns
            found.append((took / search.times, path, told))
    return min(found, key=lambda f: f[0])[1:] if found else None


def collect(folder: Path) -> None:
    """Findings of every rung and the times beside them."""
    RESULTS.mkdir(exist_ok=True)
    for path in sorted(folder.glob("measured-*.json")):
        measured = json.loads(path.read_text())
        rungs: dict[str, Any] = {}
        for name in ladder.RUNGS:
            if (best := quickest(folder, "nsys", name, measured["shape"])) is None:
                continue
            search = next(p for p in best[1].phases if p.name == f"search {name}")
            rungs[name] = {
                "search_ms": round(search.host_ns / search.times / 1e6, 6),
                "findings": [f.to_json() for f in best[1].findings if f.phase == search.name],
            }
        (RESULTS / f"{measured['shape']}.json").write_text(json.dumps({**measured, "recorded": rungs}, indent=1) + "\n")


def steps(found: dict[str, Any]) -> Iterator[tuple[Step, float | None, float]]:
    """Each step with its prediction, None where nothing was found, and what was measured; milliseconds."""
    rows, _ = numbers(found["shape"])
    for step in STEPS:
        if step.before not in found["recorded"]:
            continue
        before = found["recorded"][step.before]
        wall = found["wall_ns"][step.before] / 1e6
        saved = {f["rule"]: f["saving_ms"] for f in before["findings"] if f["rule"] in step.rules}
        visited = min(rows, RECORDED_ROWS) if is_loop(step.before) else rows
        whole = before["search_ms"] * rows / visited  # what the loop would have taken, recorded
        predicted = sum(
            saving if rule in ON_GPU else saving * rows / visited / whole * wall for rule, saving in saved.items()
        )
        times = found["copy_ns"] if step.copy else found["wall_ns"]
        yield step, predicted if saved else None, (times[step.before] - times[step.after]) / 1e6


def unpacked(path: Path) -> Trace:
    """A fixture."""
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "trace.sqlite"
        whole.write_bytes(lzma.decompress(path.read_bytes()))
        return reader.read(whole)


def searched(path: Path) -> float:
    """Milliseconds of a fixture's search."""
    search = next(p for p in phases(unpacked(path)) if p.name.startswith("search "))
    return search.host_ns / search.times / 1e6


def medians(path: Path) -> dict[str, tuple[int, float]]:
    """Launches, copies and synchronisations of a fixture: how many, and the median call in microseconds."""
    trace = unpacked(path)
    of = np.asarray(trace.names)[trace.calls.name]
    wanted = [name for name in np.unique(of).tolist() if re.search("Launch|Memcpy|Synchronize", name)]
    return {
        name: (int((of == name).sum()), float(np.median(trace.calls.duration[of == name])) / 1e3) for name in wanted
    }


def recorders() -> str:
    """What both say of the same call, and how much they stretch a search."""
    lines = ["| rung | call | calls | nsys | CUPTI in process | difference |", "|---|---|--:|--:|--:|--:|"]
    for rung in LOOPS:
        nsys, cupti = (medians(FIXTURES / f"{recorder}-{rung}.sqlite.xz") for recorder in ("nsys", "cupti"))
        lines += [
            f"| `{rung}` | {name} | {count:,} | {us:.2f} µs | {cupti[name][1]:.2f} µs | {difference(cupti[name][1] / us - 1)} |"
            for name, (count, us) in nsys.items()
            if min(count, cupti.get(name, (0,))[0]) >= ENOUGH
        ]
    return "\n".join(lines)


def overhead() -> str:
    """Recorded searches against searches without a recorder."""
    found = json.loads((RESULTS / f"{SHAPES[0]}.json").read_text())
    rows, _ = numbers(SHAPES[0])
    lines = ["| rung | without | nsys | | CUPTI | |", "|---|--:|--:|--:|--:|--:|"]
    for name, told in found["recorded"].items():
        scale = RECORDED_ROWS / rows if is_loop(name) or name == "vectorized" else 1.0  # so many rows are visited
        wall = found["wall_ns"][name] * scale / 1e6
        cells = [f"{wall:,.3f} ms"]
        for taken in (
            told["search_ms"],
            searched(FIXTURES / f"cupti-{name}.sqlite.xz") if name != "vectorized" else None,
        ):
            cells += [f"{taken:,.3f} ms", difference(taken / wall - 1)] if taken else ["", ""]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(lines)


RECORDERS = """## The recorders

Nsight Systems and our own recorder (CUPTI, in the program's process) write the same tables. Kernels, copies and their bytes agree
exactly, kernel times to 10%, and so does what the host spent in a call, where nothing else ran on the machine: the median call by name,
of the quickest of three to five recordings of each (the fixtures of the tests, 300 rows, four searches; a test holds them to 25%).
"""
STRETCHED = """What recording adds to a search of {rows} (loops: of 300 rows), the quickest recording against the lower quartile without
(CUPTI's on another machine of the kind): two to three microseconds for each recorded call, so that loops of calls take half as long
again, or twice as long where there is hardly anything but calls (`vectorized`), and GPU time stays what it is.
"""
HEAD = """# What explain predicts, and what came of it

`knnscope explain` says of every finding what mending it would save. The ladder mends them one by one, so the predictions can be
held against the next rung. This page is written by `python -m benchmarks.predictions page` from `benchmarks/results/predictions`; a
test fails when it is stale. Misses are part of it.

The prediction is read off one trace, that of the rung before. A saving of GPU time is taken as it is. A saving of host time is
taken as a share, since a recorder stretches the host's time: that share of the search as measured without a recorder. *Measured* is the
difference between both rungs' searches without a recorder, lower quartiles of interleaved searches, or of their large copies alone
(*copy*), where NumPy's part of the search varies by more than the copy takes. *Off* is how far the prediction is from it; up to 30% came true.
The rules' constants were fixed on 75,000 x 384 on the H100 before the others were recorded.

`host-compute` advises to copy the rows up once and compute there. The rung after it does, but row by row, four launches each, and that costs more than
the host's computing did.
"""


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for run in RUNS:
        found = json.loads((RESULTS / f"{run}.json").read_text())
        rows, dim = numbers(found["shape"])
        gpu = found["environment"]["gpus"][0]
        lines = ["| step | findings | predicted | measured | off |", "|---|---|--:|--:|--:|"]
        right = judged = 0
        for step, predicted, measured in steps(found):
            names_ = f"`{step.before}` → `{step.after}`" + (" (copy)" if step.copy else "")
            if predicted is None:
                lines.append(f"| {names_} | {', '.join(step.rules)}: not found | | {measured:,.3f} ms | |")
                continue
            off = predicted / measured - 1
            came = abs(off) <= OFF and measured > 0
            right, judged = right + came, judged + 1
            told = difference(off) if measured > 0 else "slower instead"
            lines.append(
                f"| {names_} | {', '.join(step.rules)} | {predicted:,.3f} ms | {measured:,.3f} ms | {'**' if came else ''}{told}{'**' if came else ''} |"
            )
        parts.append(
            f"## {rows:,} rows of {dim} components, {gpu['name']}\n\nDriver {gpu['driver']}, {found['environment']['cpu']['model']}, k = {K}; "
            f"{right} of {judged} predictions came true.\n\n" + "\n".join(lines) + "\n"
        )
    parts += [RECORDERS, recorders() + "\n", STRETCHED.format(rows="75,000 x 384"), overhead() + "\n"]
    return "\n".join(parts)


def main() -> None:
    """Do one of the four."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("measure", "record", "collect", "page"))
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--shape", choices=SHAPES, default=SHAPES[0])
    parser.add_argument("--out", type=Path, default=Path("runs/predictions"))
    parser.add_argument("--recorder", nargs="+", default=["nsys"])
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--rungs", nargs="+", default=list(ladder.RUNGS))
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    if args.what == "measure":
        args.out.mkdir(parents=True, exist_ok=True)
        found = measure(args.shape)
        (args.out / f"measured-{args.shape}.json").write_text(json.dumps(found, indent=1) + "\n")
        print(args.shape, {name: round(ns / 1e6, 3) for name, ns in found["wall_ns"].items()})
    elif args.what == "record":
        record(args.shape, args.out, args.recorder, args.times, args.rungs)
    elif args.what == "collect":
        collect(args.folder)
    elif args.check:
        sys.exit(PAGE.read_text("utf-8") != page())
    else:
        PAGE.write_text(page(), "utf-8")


if __name__ == "__main__":
    main()
