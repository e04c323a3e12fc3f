"""Writes docs/figures.md from the results in benchmarks/results.

    python -m benchmarks.figures_page [--check]

--check writes nothing and exits with 1 where the page is not what the results say.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks import gpu_lines
from benchmarks.gpu_lines import OURS

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "figures.md"
CPU_RUNS = ("75000-epyc", "75000-xeon-amx", "1000000-epyc", "1000000-xeon-amx")
GPU_RUNS = ("compare-gpu-75000", "compare-gpu-1000000")
CASE = re.compile(
    r" *(\d+) queries, k = *(\d+), hot *: *([\d.]+) ms, tuned Faiss ([\d.]+), ([\d.]+) times.*?(\d+)% of float32's"
)
HEAD = """# Figures

What was measured, on which machine, and the command that measures it again. `python -m benchmarks.figures_page` writes this page from the
results in `benchmarks/results`, which hold their environments; a test fails when it is stale. Figures of other
machines differ: `knnscope compare` gives yours.

Pages of their own: [the ladder](ladder.md), thirteen versions of one search on a GPU; [predictions](predictions.md), what `explain` predicts
against what was measured.
"""
TESTED = """## Held by tests

These have no result file: a test fails where they do not hold.

| what | bound | command |
|---|---|---|
| 60 texts (empty, CJK, emoji, over 256 tokens) against sentence-transformers | within 1e-5 of its vectors | `./dev test tests/encoders` |
| 39 tiny models as sentence-transformers 6.2 saves them (poolings, limits, prompts, layers) | within 3e-6 of its vectors | the same |
| an ONNX graph with 2.24 GB of token vectors beside it | right, and only the rows needed are read | `./dev test tests/encoders --slow -k two_gigabytes` |
| 1,000 simulated pairs of engines | at most 50 false verdicts; 15% slower is found in 900 | `./dev test tests/analysis --slow -k pairs` |
| 200 simulated crossings | in their intervals, a factor of 2 wide; 190 within 5% | `./dev test tests/analysis/test_crossover.py --slow -k 200` |
| `kill -9` 200 times while a search compiles | what is kept is whole, the next search is right | `KNNSCOPE_KILLS=200 ./dev test tests/certified/cpu` |
| 10,000 mutations of a trace | nothing crashes | `KNNSCOPE_MUTATIONS=10000 ./dev test tests/trace/test_hostile.py` |
"""


def page() -> str:
    """The whole page."""
    parts = [
        HEAD,
        _verdicts(),
        _certified(),
        _few(),
        _certified_gpu(),
        gpu_lines.section(duration, _table),
        _gpus(),
        _encoding(),
        _reading(),
        TESTED,
    ]
    return "\n".join(part.rstrip("\n") + "\n" for part in parts)


def _load(name: str) -> Any:
    return json.loads((RESULTS / name).read_text("utf-8"))


def _machine(environment: dict[str, Any]) -> str:
    """Processor, cores, GPU."""
    cpu = environment.get("cpu", environment)
    gpus = [gpu["name"] for gpu in environment.get("gpus", ())]
    kind = " with AMX" if any("amx" in name for name in cpu["vector_instructions"]) else ""
    return ", ".join([f"{cpu['model'].replace('(R)', '')}{kind}", f"{cpu['usable_cores']} cores", *gpus])


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """The first column is a name, the others are numbers."""
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def duration(ns: float) -> str:
    """Three digits and a unit."""
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if ns >= 0.9995 * size:
            value = ns / size
            return f"{value:.{max(0, 2 - len(str(int(value))) + 1)}f} {unit}"
    return f"{ns:.0f} ns"


def medians(rows: list[dict[str, Any]], k: int) -> str:
    """Hot medians by engine and batch, fastest at one query first, with the grade where it is not exact."""
    cells: dict[str, dict[int, str]] = {}
    fastest: dict[str, float] = {}
    for row in rows:
        if row["cache"] == "hot" and row["k"] == k and row["boundary"] == "host" and row["median_ns"]:
            mark = {"exact": "", "float32": " ≈"}.get(row["grade"], " **wrong**")
            cells.setdefault(row["engine"], {})[row["batch"]] = duration(row["median_ns"]) + mark
            fastest.setdefault(row["engine"], row["median_ns"])
    batches = sorted({batch for line in cells.values() for batch in line})
    head = ["engine", *(f"{batch:,} {'query' if batch == 1 else 'queries'}" for batch in batches)]
    order = sorted(cells, key=fastest.__getitem__)
    return _table(head, ([f"`{name}`", *(cells[name].get(batch, "") for batch in batches)] for name in order))


def _verdicts() -> str:
    found, noise = _load("verdict-wordnet.json"), _load("same-engine.json")["summary"]
    run = found["runs"][-1]
    same = sum(not case["contradiction"] for case in found["verdicts"])
    return f"""## Which engine is fastest

75,000 WordNet definitions, 384 components, cosine, k = 10; {_machine(run["environment"])}; `{found["command"]}`, repeated by
`python benchmarks/verdict_twice.py`. ≈ marks answers that are right up to float32 rounding only.

{medians(run["rows"], 10)}

{chr(10).join(f"- {line}" for line in run["sentences"])}

Measured twice, {same} of {len(found["verdicts"])} verdicts agree. The same engine under two names: {noise["verdict says they differ"]} of
{noise["pairs"]} pairs have a verdict, the ratio of their times is off by {noise["ratio off by, median"]:.1%} in the median
(`python benchmarks/same_engine.py`).
"""


def _certified() -> str:
    parts = ["## Certified exact search", ""]
    checks = _load("certified-answers.json")
    parts += [
        f"{len(checks['checks'])} runs over kinds of data, metrics and processors ({_machine(checks['environment'])}): {checks['mismatches']} answers "
        "other than float64's (`python -m benchmarks.certified_answers`).",
        "",
        "CPU time of one call, one thread, caches hot, against the fastest exact setting of Faiss for this processor; *of reading*: the time that "
        "reading the float32 rows once takes, as a share of it (`python -m benchmarks.certified_cpu --rows N --few`).",
    ]
    for name in CPU_RUNS:
        run = _load(f"certified-cpu-{name}.json")
        threads = ", ".join(f"{ratio:.2f}" for ratio in run["two_threads"].values())
        parts += [
            "",
            f"### {run['rows'][0]['rows']:,} rows of {run['rows'][0]['dim']}, {_machine(run['environment'])}",
            "",
            _table(["queries, k", "certified", "Faiss, tuned", "times as fast", "of reading"], _cases(run["table"])),
            "",
            f"Two threads take {threads} times the CPU time of one, for {', '.join(run['two_threads'])} queries.",
        ]
    return "\n".join([*parts, "", _built()])


def _few() -> str:
    run, first, start = (_load(f"certified-{name}.json") for name in ("small", "first", "starting"))
    memory, faiss = (start[f"rss_mib_1000{whose}"]["search"] for whose in ("", "_faiss"))
    many = start[f"rss_mib_{start['rows']}"]["search"]
    sizes = sorted({case["rows"] for case in run["cases"]})
    by = {(case["rows"], case["queries"]): case for case in run["cases"]}
    batches = sorted({case["queries"] for case in run["cases"]})
    lines = [
        [f"{rows:,}", *(f"{by[rows, queries]['ratio']:.2f}" if (rows, queries) in by else "" for queries in batches)]
        for rows in sizes
    ]
    heads = ["rows", *(f"{queries:,} quer{'y' if queries == 1 else 'ies'}" for queries in batches)]
    return f"""### Few rows, and the first answer

{_machine(run["environment"])}, k = 10, one thread: CPU time of certified search as a multiple of the faster of Faiss and NumPy as installed; under 1 it is the
fastest (`python -m benchmarks.certified_small`).

{_table(heads, lines)}

A process that has nothing compiled has its first answer, {first["rows"]:,} rows of {first["dim"]}, {first["first_s"]:.2f} s after
the import: NumPy gives it while a child process compiles (`python -m benchmarks.certified_first`). To compile all that float32 rows need takes
{start["compile_cpu_s"]:.1f} s of CPU time. A process that finds it compiled has {memory:.0f} MiB resident after its first search, {faiss:.0f} with
Faiss in its place; with {start["rows"]:,} rows {many:.0f}, codes and what building left behind, without
the rows themselves (`python -m benchmarks.certified_starting`).
"""


def _certified_gpu() -> str:
    run = _load("certified-gpu-h200.json")
    peers = [key for key in run["lines"][0] if key.endswith("_us") and key not in OURS]
    lines = [
        [
            f"{line['rows']:,}",
            f"{line['queries']:,}",
            *(duration(line[key] * 1e3) for key in (*OURS, *peers)),
            f"{min(line[key] for key in peers) / line['graph_us']:.1f}",
        ]
        for line in run["lines"]
    ]
    heads = [
        "rows",
        "queries",
        "replayed",
        "cold",
        "called",
        "with proof",
        *(key.removesuffix("_us") for key in peers),
        "times as fast",
    ]
    wrong = sum(line["wrong"] for line in run["lines"])
    return f"""### On a GPU

{run["gpu"]}, {run["dim"]} components, k = {run["lines"][0]["k"]}, {run["data"]} data, everything in the GPU's memory, medians;
*replayed*: the search's kernels as a graph; *cold*: the same after the cache was overwritten; *called*: from Python, by the host's clock;
*with proof*: the certificate read. Peers answer in float32 and are called as
they are; the last column compares the best of them with *replayed*. {wrong} wrong answers (`python -m benchmarks.certified_gpu`).

{_table(heads, lines)}
"""


def _cases(lines: list[str]) -> Iterator[list[str]]:
    for match in filter(None, map(CASE.match, lines)):
        queries, k, own, rival, times, share = match.groups()
        if int(k) >= 10:
            yield [
                f"{int(queries):,}, k = {k}",
                duration(float(own) * 1e6),
                duration(float(rival) * 1e6),
                f"{float(times):.1f}",
                f"{share}%",
            ]


def _built() -> str:
    rows = []
    for name in ("certified-build.json", "certified-build-epyc.json"):
        run = _load(name)
        two = run["builds"][-1]
        rows.append(
            [
                _machine(run["environment"]),
                f"{two['gb_per_s']:.1f} GB/s",
                f"{two['bytes_a_row']:.0f}",
                f"{max(build['peak_above_index_mib'] for build in run['builds']):.1f} MiB",
                *(f"{run[key][-1]:.2g} s" for key in ("import", "first_search", "later_search")),
            ]
        )
    head = [
        "machine",
        "built, two threads",
        "bytes a row",
        "memory above the index",
        "import",
        "first search",
        "later ones",
    ]
    return f"""### Building the index

1,000,000 rows of 384 float32 components from a memory map; the last three are CPU time of a new process, *first* right after the
installation, when the code is compiled (`python -m benchmarks.certified_build --rows 1000000`).

{_table(head, rows)}
"""


def _gpus() -> str:
    parts = ["## Engines on a GPU", ""]
    parts += [
        "k = 10, queries and answers in host memory (`python benchmarks/gpu_engines.py --rows N`). ≈ marks answers that are right up to float32 "
        "rounding only; some queries of a **wrong** engine have neighbors that float32 does not excuse."
    ]
    for name in GPU_RUNS:
        rows = [json.loads(line) for line in (RESULTS / name / "results.jsonl").read_text("utf-8").splitlines()]
        machine = _machine(_load(f"{name}/environment.json"))
        parts += ["", f"### {rows[0]['rows']:,} rows of {rows[0]['dim']}, {machine}", "", medians(rows, 10)]
    own = _load("fused-topk.json")
    large = {
        case["k"]: case
        for case in own["cases"]
        if (case["rows"], case["dim"], case["dtype"]) == (1_000_000, 384, "float32")
    }
    checked = (RESULTS / "sanitizer-h200.txt").read_text("utf-8")
    tools = ", ".join(re.findall(r"^(\w+) exit code 0$", checked, re.M))
    parts += [
        "",
        "### The kernel fused-topk",
        "",
        f"{_machine(own['environment'])}; 1,000,000 x 384, one query, against reading the rows once: "
        + ", ".join(f"{large[k]['times the floor']:.3f} times for k = {k:,}" for k in (10, 100, 2048) if k in large)
        + f" (`python -m benchmarks.fused_topk`; all cases: [the ladder](ladder.md)). Compute-sanitizer's {tools} find no error in "
        f"{re.findall(r'^(.*) shapes', checked, re.M)[0]} shapes (`compute-sanitizer --tool memcheck python -m tests.gpu.sanitized`).",
    ]
    return "\n".join([*parts, ""])


def _encoding() -> str:
    found, devices = _load("encode.json"), _load("embed-devices-h200.json")
    kills, cpu = found["kills"], found["cpu_s"]
    rows = [
        [
            f"{run['texts']:,} texts, recipe {run['recipe']}, {run['device']}",
            f"{run['texts_per_s']:,.0f}",
            f"{run['first_batch_s']:.2f} s",
            f"{run['wall_s']:.2f} s",
        ]
        for run in devices["medians"]
    ]
    return f"""## Encoding

{found["texts"]:,} WordNet definitions, {_machine(found["environment"])} (`python benchmarks/encode.py --wordnet DIR`): {cpu["alone"]:,.0f} s of CPU
time, {cpu["padded"]:,.0f} s where every text is padded to 128 tokens ({found["cpu_ratio_alone_to_padded"]:.2f}), and the vectors agree within
{found["largest_difference_to_padded"]:.1g}. Killed {len(kills["at_texts"])} times on the way: {"bit-equal" if kills["bit_equal"] else "DIFFERENT"},
{kills["batches_started"] - kills["batches_needed"]} of {kills["batches_started"]:,} batches begun again.

{_machine(devices["environment"])} (`python benchmarks/embed_devices.py --wordnet DIR`):

{_table(["what", "texts/s after the first batch", "first batch", "in all"], rows)}
"""


def _reading() -> str:
    rows, traces = _load("read-beir.json"), _load("big-trace.json")
    lines = []
    for case in traces["cases"]:
        target = case["target"]["peak_rss_bytes"]
        missed = (
            f" (target {target / 2**30:.0f} GiB, missed)"
            if target and case["explain"]["peak_rss_bytes"] > target
            else ""
        )
        lines.append(
            [
                f"{case['rows']:,} rows, {case['bytes'] / 1e6:,.0f} MB",
                f"{case['explain']['cpu_s']:.1f} s",
                f"{case['explain']['peak_rss_bytes'] / 1e6:,.0f} MB{missed}",
            ]
        )
    return f"""## Reading large files

{rows["rows"]:,} generated documents ({rows["corpus_bytes"] / 1e9:.1f} GB): {rows["cpu_s"]:.0f} s of CPU time,
{rows["peak_above_kept_bytes"] / 2**20:.0f} MiB of memory above what is kept (`python benchmarks/read_beir.py`).

Traces, read and explained, {_machine(traces["environment"])} (`python -m benchmarks.big_trace --gigabyte --ranges`):

{_table(["trace", "CPU time", "memory"], lines)}

{_timeline()}"""


def _timeline() -> str:
    found = _load("timeline-page.json")
    sizes = ", ".join(
        f"{one['cpu_ms']['p95']:.1f} ms at {size.replace('x', ' x ')} pixels" for size, one in found["at"].items()
    )
    draws = sum(one["draws"] for one in found["at"].values())
    return f"""The page of `knnscope timeline` for {found["events"]:,} events has {found["bytes"] / 1e6:.1f} MB. While it is zoomed and moved, the 95th
percentile of {draws:,} draws takes, in CPU time of its script, {sizes} ({_machine(found["environment"])}; `python -m benchmarks.timeline_page`).
"""


def main() -> None:
    """Write, or compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    if parser.parse_args().check:
        sys.exit(PAGE.read_text("utf-8") != page())
    PAGE.write_text(page(), "utf-8")


if __name__ == "__main__":
    main()
