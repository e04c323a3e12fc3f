"""A comparison in words: tables by batch size, a sentence for each, what was wrong, where a GPU's time goes."""

from __future__ import annotations

from collections.abc import Sequence

from knnscope.analysis.verdict import QUICK_MATTERS, Split, duration, groups, sentences, splits
from knnscope.bench.result import FAILED
from knnscope.bench.session import Result, Task
from knnscope.records import Row
from knnscope.report.text import paragraph, plain, size, table

OTHERS = 0.15
"""Cores that others may keep busy unmentioned: the system itself takes a few hundredths."""
HEAD = ("engine", "grade", "first", "cold", "hot", "95%", "p99", "CPU time", "of floor", "queries/s")
OPTIONAL = ("cold", "p99", "of floor")
"""Columns that are left out where no line has them."""

TOLD_FROM_NS = 200_000_000
"""Time of a row from which its CPU time is known: ticks of 4 ms are 2% of it."""


def report(measured: Result, task: Task) -> str:
    """Everything that is printed about the measurement, but for its last words."""
    rows = measured.rows
    some = rows[0]
    budget = "stock threads" if some["threads"] is None else f"{some['threads']} threads"
    if some["threads"] == 1:
        budget = "1 thread"
    asked = f"{len(task.queries):,} queries{' held out' if task.held_out else ''}"
    quick = "quick: " if some.get("quick") else ""
    parts = [
        f"{quick}{plain(task.name)}: {some['rows']:,} x {some['dim']} {some['dtype']}, {task.metric}, {budget}, {asked}",
        measured.geometry.said(),
    ]
    by_state = {(r["engine"], r["k"], r["batch"], r["boundary"], r["cache"]): r for r in rows}
    for (k, batch, boundary), members in groups(rows).items():
        shown = [r for r in members if r["status"] not in FAILED]
        if not shown:
            continue
        where = "" if boundary == "host" else ", from and to GPU memory"
        lines = [_line(r, by_state) for r in sorted(shown, key=lambda r: r["median_ns"] or float("inf"))]
        parts += ["", f"{batch:,} {'query' if batch == 1 else 'queries'} a call, k = {k}{where}"]
        kept = [i for i, name in enumerate(HEAD) if name not in OPTIONAL or any(line[i] for line in lines)]
        cut = [tuple(line[i] for i in kept) for line in lines]
        parts.append(table(cut, [HEAD[i] for i in kept], right=tuple(range(2, len(kept)))))
    if failures := _failures(rows):
        parts += ["", "not measured", table(failures, ("  engine", "status", "why"))]
    parts += _no_gpu(rows)
    parts += _how(rows) + _quality(rows) + _wrong(rows) + _splits(rows) + _memory(rows) + _notes(rows)
    return "\n".join(parts)


def verdict(measured: Result) -> str:
    """The last words: a sentence for each batch size, and what speaks against them."""
    lines = sentences(measured.rows)
    if (others := measured.environment.get("other_cores")) is not None and others > OTHERS and lines:
        lines.append(
            f"other work kept {others:.2g} cores busy meanwhile: on an idle machine times and ranking may differ"
        )
    if any(row.get("quick") for row in measured.rows):
        lines.append(
            f"quick: few rounds by one process an engine, which may be a fifth luckier than the next: below {QUICK_MATTERS:g} times nothing is told apart"
        )
    if measured.interrupted:
        lines.append("interrupted: the figures are those of the rounds until then")
    return "\n".join(lines)


def _spent(row: Row) -> int:
    return sum(map(sum, row["samples_ns"]))


def _line(row: Row, by_state: dict[tuple[str, int, int, str, str], Row]) -> tuple[str, ...]:
    key = (row["engine"], row["k"], row["batch"], row["boundary"])
    first, cold = by_state.get((*key, "first")), by_state.get((*key, "cold"))
    grade = row["grade"] or row["status"]
    if row["differing"]:
        count = row["beyond"] if row["grade"] == "wrong" else row["differing"]
        grade += f" ({count} of {row['judged']} {'wrong' if row['grade'] == 'wrong' else 'differ'})"
    median = row["median_ns"]
    interval = ""
    if row["low_ns"] is not None:
        interval = "too noisy to tell" if row["noisy"] else _interval(row["low_ns"], row["high_ns"])
    return (
        row["engine"],
        f"{grade}, interrupted" if row["status"] == "interrupted" != grade else grade,
        duration(first["median_ns"]) if first and first["median_ns"] else "",
        duration(cold["median_ns"]) if cold and cold["median_ns"] else "",
        duration(median) if median else "",
        interval,
        duration(row["p99_ns"]) if row["p99_ns"] else "",
        duration(row["cpu_ns"]) if row["cpu_ns"] else "",
        _share(row),
        f"{row['batch'] / median * 1e9:,.0f}" if median else "",
    )


def _interval(low: int, high: int) -> str:
    """Both ends in one unit where they have the same."""
    (a, unit), (b, other) = duration(low).split(), duration(high).split()
    return f"{a} to {b}" if unit == other else f"{a} {unit} to {b} {other}"


def _share(row: Row) -> str:
    """The larger of the two floors as a share of the median: reading the bytes, or multiplying."""
    floors = [(row[name], word) for name, word in (("floor_ns", "read"), ("product_floor_ns", "product")) if row[name]]
    if not floors or not row["median_ns"]:
        return ""
    floor, word = max(floors)
    return f"{100 * floor / row['median_ns']:.0f}% {word}"


def _failures(rows: Sequence[Row]) -> list[tuple[str, str, str]]:
    """A line for each engine and status, with the cases it holds for where they are not all."""
    found: dict[tuple[str, str, str], list[Row]] = {}
    cases: dict[str, int] = {}
    for row in rows:
        if row["cache"] == "hot" or row["status"] in FAILED:
            cases[row["engine"]] = cases.get(row["engine"], 0) + 1
        if row["status"] in FAILED and row["status"] != "no-gpu":
            found.setdefault((row["engine"], row["status"], row["reason"]), []).append(row)
    lines = []
    for (engine, status, reason), some in found.items():
        which = f"batch {', '.join(str(r['batch']) for r in some)}: " if len(some) < cases[engine] else ""
        lines.append((f"  {engine}", status, f"{which}{plain(reason)}"))
    return lines


def _how(rows: Sequence[Row]) -> list[str]:
    """Why each engine is where it is: what it computes, and with what."""
    said = {r["engine"]: plain(r["how"]) for r in rows if r.get("how")}
    return (
        ["", "how they compute", *(paragraph(f"{name}: {how}", indent="  ") for name, how in said.items())]
        if said
        else []
    )


def _no_gpu(rows: Sequence[Row]) -> list[str]:
    """One line a reason, whatever the number of engines: none of them is at fault."""
    found: dict[str, dict[str, None]] = {}
    for row in rows:
        if row["status"] == "no-gpu":
            found.setdefault(plain(row["reason"]), {})[row["engine"]] = None
    return [line for why, engines in found.items() for line in ("", f"not measured: {', '.join(engines)}: {why}")]


def _quality(rows: Sequence[Row]) -> list[str]:
    """What judges think of each engine's answers; speed is not bought with it unseen."""
    judged = {(r["engine"], r["k"]): r for r in rows if r["ndcg_at_10"] is not None}
    lines = [
        (engine, k, *(f"{r[name]:.4f}" for name in ("ndcg_at_10", "recall_at_k", "mrr_at_10")))
        for (engine, k), r in judged.items()
    ]
    if len({line[1:] for line in lines}) == len({k for _, k in judged}) and len({name for name, _ in judged}) > 1:
        lines = [("all", *line) for line in dict.fromkeys(line[1:] for line in lines)]
    return ["", table(lines, ("engine", "k", "nDCG@10", "recall@k", "MRR@10"), right=(1, 2, 3, 4))] if lines else []


def _wrong(rows: Sequence[Row]) -> list[str]:
    """The evidence against each engine: the worst query of its worst case, and both lists."""
    worst: dict[str, Row] = {}
    for row in rows:
        if row["grade"] == "wrong" and row["cache"] == "hot":
            known = worst.get(row["engine"])
            if known is None or row["beyond"] / row["judged"] > known["beyond"] / known["judged"]:
                worst[row["engine"]] = row
    said = []
    for engine, row in worst.items():
        e = row["evidence"]
        gap = ""
        if e["distance"] is not None and e["rival_distance"] is not None:
            gap = (
                f" (row {e['rival']}: the values are {abs(e['distance'] - e['rival_distance']):.3g} apart, "
                f"rounding explains {e['allowed']:.3g})"
            )
        said += [
            "",
            f"{engine} is wrong at batch {row['batch']}, k = {row['k']}: {row['beyond']} of {row['judged']} queries",
            f"  query {e['query']}, rank {e['rank']}: row {e['row']} stands where one {e['why']}{gap}",
            f"  found    {' '.join(map(str, e['ids'][:20]))}",
            f"  defined  {' '.join(map(str, e['expected'][:20]))}",
        ]
    return said


def _splits(rows: Sequence[Row]) -> list[str]:
    """Where a GPU's time goes, and what that means beside the fastest engine on the CPU."""
    found = splits(rows)
    if not found:
        return []
    best: dict[tuple[int, int], Row] = {}
    for row in rows:
        if (
            row["device"] == "cpu"
            and row["cache"] == "hot"
            and row["median_ns"]
            and row["grade"] in ("exact", "float32")
        ):
            key = row["k"], row["batch"]
            if key not in best or row["median_ns"] < best[key]["median_ns"]:
                best[key] = row
    lines = [
        (
            s.engine,
            s.k,
            s.batch,
            *map(duration, (s.first_ns, s.host_ns, s.transfer_ns, s.launch_ns, s.compute_ns)),
            _against(s, best),
        )
        for s in found
    ]
    head = ("engine", "k", "batch", "first call", "host to host", "transfer", "launch", "compute", "beside the CPU")
    return ["", "where the GPU's time goes", table(lines, head, right=tuple(range(1, 8)))]


def _against(s: Split, best: dict[tuple[int, int], Row]) -> str:
    row = best.get((s.k, s.batch))
    if row is None:
        return ""
    ratio = row["median_ns"] / s.host_ns
    if ratio >= 1:
        return f"{ratio:.3g} times as fast as {row['engine']}"
    parts = {"transfer": s.transfer_ns, "launch": s.launch_ns, "compute": s.compute_ns}
    largest = max(parts, key=lambda name: parts[name])
    return f"{1 / ratio:.3g} times slower than {row['engine']}, {min(100, 100 * parts[largest] / s.host_ns):.0f}% is {largest}"


def _memory(rows: Sequence[Row]) -> list[str]:
    lines: list[tuple[object, ...]] = []
    for row in {r["engine"]: r for r in rows if r["build_ns"] is not None}.values():
        peaks = [r["peak_host_bytes"] or 0 for r in rows if r["engine"] == row["engine"]]
        gpu = [r["peak_gpu_bytes"] or 0 for r in rows if r["engine"] == row["engine"]]
        lines.append(
            (
                row["engine"],
                duration(row["build_ns"]),
                size(row["build_peak_host_bytes"]),
                size(max(peaks) or None),
                size(row["build_peak_gpu_bytes"]) if row["device"] == "cuda" else "",
                size(max(gpu)) if row["device"] == "cuda" else "",
                row["builds"],
            )
        )
    head: tuple[str, ...] = ("engine", "build", "peak building", "searching", "GPU building", "GPU searching", "builds")
    if not any(line[4] for line in lines):
        lines, head = [line[:4] + line[6:] for line in lines], head[:4] + head[6:]
    return ["", table(lines, head, right=tuple(range(1, len(head))))] if lines else []


def _compiling(rows: Sequence[Row]) -> list[str]:
    """What the installation costs once; a process that finds the code on disk reads it in less."""
    spent: dict[str, int] = {}
    for row in rows:
        if row["cache"] == "first":
            building = row.get("build_compile_ns") or 0 if row["fresh"] else 0
            spent[row["engine"]] = spent.get(row["engine"], 0) + building + (row.get("compile_ns") or 0)
    return [
        f"{engine} compiled its code, or read it compiled, in {duration(ns)}: not in the times of build and first call"
        for engine, ns in spent.items()
        if ns
    ]


def _notes(rows: Sequence[Row]) -> list[str]:
    """What a reader has to know to trust the figures."""
    said = []
    hot = [r for r in rows if r["cache"] == "hot" and r["median_ns"]]
    overheads = [r["overhead_ns"] for r in hot if r["overhead_ns"]]
    if overheads:
        share = max(r["overhead_ns"] / r["median_ns"] for r in hot if r["overhead_ns"])
        said.append(f"timing itself takes {duration(max(overheads))}, at most {100 * share:.2g}% of a row")
    said += _compiling(rows)
    said += [
        f"{r['engine']} kept {r['cores']:.1f} cores busy at batch {r['batch']}: more than its {r['threads']} threads"
        for r in hot
        if r["threads"] and r["cores"] > r["threads"] + 0.2 and r["device"] == "cpu" and _spent(r) >= TOLD_FROM_NS
    ]
    if unstable := sorted(
        {f"{r['engine']} (batch {r['batch']})" for r in hot if r["stable"] is False and r["warmup_calls"] > 5}
    ):
        said.append(f"still changing after the warm-up: {', '.join(unstable)}")
    return ["", *said] if said else []
