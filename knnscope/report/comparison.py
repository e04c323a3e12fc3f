"""A run of compare in words: tables by batch size, what was wrong, where a GPU's time goes, and a verdict for each batch size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from knnscope.analysis.doubts import OTHERS, other_work
from knnscope.analysis.measurement import FAILED, Measurement
from knnscope.analysis.run import ComparisonRun
from knnscope.analysis.verdict import QUICK_MATTERS, Split, groups, sentences, splits
from knnscope.report import side_by_side
from knnscope.report.text import Table, paragraph, plain, table
from knnscope.search.grading import RIGHT
from knnscope.units import duration, percent, size, times

HEAD = ("engine", "grade", "first", "cold", "hot", "95%", "p99", "CPU time", "of floor", "queries/s")
OPTIONAL = ("cold", "95%", "p99", "of floor")
"""Columns that are left out where no line has them."""

TOLD_FROM_NS = 200_000_000
"""Time of a row from which its CPU time is known: ticks of 4 ms are 2% of it."""


def text(run: ComparisonRun) -> str:
    """All that is printed of a run: what was measured, one query's answers side by side, the verdicts."""
    answers = side_by_side.text(run.facts.answers) if run.facts.answers else ""
    return "\n\n".join(part for part in (figures(run), answers, verdict(run)) if part)


def figures(run: ComparisonRun) -> str:
    """What was measured: all but the last words."""
    rows = run.rows
    parts = [heading(run), *([plain(run.geometry.said())] if run.geometry else [])]
    for found in tables(run):
        parts += ["", found.text()]
    if missing := failures(rows):
        indented = [(f"  {line[0]}", *line[1:]) for line in missing.lines]
        parts += ["", missing.title, table(indented, (f"  {missing.head[0]}", *missing.head[1:]))]
    parts += [part for line in without_gpu(rows) for part in ("", line)]
    if by_engine := how(rows):
        named = (paragraph(f"{name}: {words}", indent="  ") for name, words in by_engine.items())
        parts += ["", "how they compute", *named]
    for part in (quality(rows), *_wrong(rows), divided(rows), memory(rows)):
        parts += ["", part.text() if isinstance(part, Table) else part] if part else []
    if said := notes(rows, run.facts.queries):
        parts += ["", *said]
    return "\n".join(parts)


def heading(run: ComparisonRun) -> str:
    """One line: the data, the metric, the threads, how many queries."""
    some, facts = run.rows[0], run.facts
    budget = "stock threads" if some.threads is None else f"{some.threads} threads"
    if some.threads == 1:
        budget = "1 thread"
    said = [f"{some.rows:,} x {some.dim} {plain(some.dtype)}", some.metric, budget]
    if facts.queries is not None:
        said.append(f"{facts.queries:,} queries{' held out' if facts.held_out else ''}")
    return f"{'quick: ' if some.quick else ''}{plain(some.dataset)}: {', '.join(said)}"


def tables(run: ComparisonRun) -> list[Table]:
    """One for each batch size, k and boundary: the engines that were measured, fastest first."""
    by_state: dict[tuple[str, int, int, str, str], Measurement] = {(*row.case, row.cache): row for row in run.rows}
    found = []
    for (k, batch, boundary), members in groups(run.rows).items():
        shown = [r for r in members if r.status not in FAILED]
        if not shown:
            continue
        where = "" if boundary == "host" else ", from and to GPU memory"
        lines = [
            _line(r, by_state, run.facts.queries) for r in sorted(shown, key=lambda r: r.median_ns or float("inf"))
        ]
        kept = [i for i, name in enumerate(HEAD) if name not in OPTIONAL or any(line[i] for line in lines)]
        found.append(
            Table(
                f"{batch:,} {'query' if batch == 1 else 'queries'} a call, k = {k}{where}",
                tuple(HEAD[i] for i in kept),
                [tuple(line[i] for i in kept) for line in lines],
                right=tuple(range(2, len(kept))),
            )
        )
    return found


def verdict(run: ComparisonRun) -> str:
    """The last words: a sentence for each batch size, and what speaks against them."""
    lines = [plain(line) for line in sentences(run.rows)]
    if (others := run.other_cores) is not None and others > OTHERS and lines:
        lines.append(other_work(others))
    if any(row.quick for row in run.rows):
        lines.append(
            f"quick: few rounds by one process an engine, which may be a fifth luckier than the next: below {QUICK_MATTERS:g} times nothing is told apart"
        )
    if run.facts.interrupted:
        lines.append("interrupted: the figures are those of the rounds until then")
    return "\n".join(lines)


def _spent(row: Measurement) -> int:
    return sum(map(sum, row.samples_ns))


def judged(row: Measurement, queries: int | None) -> str:
    """How many queries a grade rests on, where that is not all of them."""
    return f"{row.judged:,} of {queries:,} queries" if queries and 0 < row.judged < queries else ""


def _line(
    row: Measurement, by_state: Mapping[tuple[str, int, int, str, str], Measurement], queries: int | None
) -> tuple[str, ...]:
    first, cold = by_state.get((*row.case, "first")), by_state.get((*row.case, "cold"))
    grade: str = row.grade or row.status
    some = judged(row, queries) if row.grade else ""
    if row.differing:
        count, word = (row.beyond, "wrong") if row.grade == "wrong" else (row.differing, "differ")
        grade += f" ({count} {word}; {some})" if some else f" ({count} of {row.judged} {word})"
    elif some:
        grade += f" ({some})"
    median = row.median_ns
    interval = ""
    if row.low_ns is not None and row.high_ns is not None:
        interval = "too noisy to tell" if row.noisy else _interval(row.low_ns, row.high_ns)
    return (
        row.engine,
        f"{grade}, interrupted" if row.status == "interrupted" != grade else grade,
        whole(first.median_ns, first.compile_ns) if first and first.median_ns else "",
        duration(cold.median_ns) if cold and cold.median_ns else "",
        duration(median) if median else "",
        interval,
        duration(row.p99_ns) if row.p99_ns else "",
        duration(row.cpu_ns) if row.cpu_ns else "",
        _share(row),
        f"{row.batch / median * 1e9:,.0f}" if median else "",
    )


def whole(ns: int, compiling_ns: int | None) -> str:
    """A time from which compiling the engine's own code was taken out: all of it, and behind it what was compiling."""
    return f"{duration(ns + compiling_ns)} ({duration(compiling_ns)} compiling)" if compiling_ns else duration(ns)


def _interval(low: int, high: int) -> str:
    """Both ends in one unit where they have the same."""
    (a, unit), (b, other) = duration(low).split(), duration(high).split()
    return f"{a} to {b} {unit}" if unit == other else f"{a} {unit} to {b} {other}"


def _share(row: Measurement) -> str:
    """The larger of the two floors as a share of the median: reading the bytes, or multiplying."""
    floors = [(ns, word) for ns, word in ((row.floor_ns, "read"), (row.product_floor_ns, "product")) if ns]
    if not floors or not row.median_ns:
        return ""
    floor, word = max(floors)
    share = floor / row.median_ns
    return f"{share:.0%} {word}" if share >= 0.01 else f"{percent(share)} {word}"


def failures(rows: Sequence[Measurement]) -> Table | None:
    """A line for each engine and status, with the cases it holds for where they are not all."""
    found: dict[tuple[str, str, str], list[Measurement]] = {}
    cases: dict[str, int] = {}
    for row in rows:
        if row.cache == "hot" or row.status in FAILED:
            cases[row.engine] = cases.get(row.engine, 0) + 1
        if row.status in FAILED and row.status != "no-gpu":
            found.setdefault((row.engine, row.status, row.reason or ""), []).append(row)
    lines: list[tuple[object, ...]] = []
    for (engine, status, reason), some in found.items():
        which = f"batch {', '.join(str(r.batch) for r in some)}: " if len(some) < cases[engine] else ""
        lines.append((plain(engine), status, f"{which}{plain(reason)}"))
    return Table("not measured", ("engine", "status", "why"), lines) if lines else None


def how(rows: Sequence[Measurement]) -> dict[str, str]:
    """Why each engine is where it is: what it computes, and with what."""
    return {plain(r.engine): plain(r.how) for r in rows if r.how}


def without_gpu(rows: Sequence[Measurement]) -> list[str]:
    """One line a reason, whatever the number of engines: none of them is at fault."""
    found: dict[str, dict[str, None]] = {}
    for row in rows:
        if row.status == "no-gpu":
            found.setdefault(plain(row.reason or ""), {})[row.engine] = None
    return [f"not measured: {plain(', '.join(engines))}: {why}" for why, engines in found.items()]


def quality(rows: Sequence[Measurement]) -> Table | None:
    """What judges think of each engine's answers; speed is not bought with it unseen."""
    judged = {(r.engine, r.k): r for r in rows if r.ndcg_at_10 is not None}
    lines: list[tuple[object, ...]] = [
        (engine, k, *("" if v is None else f"{v:.4f}" for v in (r.ndcg_at_10, r.recall_at_k, r.mrr_at_10)))
        for (engine, k), r in judged.items()
    ]
    if len({line[1:] for line in lines}) == len({k for _, k in judged}) and len({name for name, _ in judged}) > 1:
        lines = [("all", *line) for line in dict.fromkeys(line[1:] for line in lines)]
    return Table("", ("engine", "k", "nDCG@10", "recall@k", "MRR@10"), lines, right=(1, 2, 3, 4)) if lines else None


def worst_of(rows: Sequence[Measurement]) -> dict[str, Measurement]:
    """Of each engine that is wrong, its worst case."""
    worst: dict[str, Measurement] = {}
    for row in rows:
        if row.grade == "wrong" and row.cache == "hot":
            known = worst.get(row.engine)
            if known is None or row.beyond / row.judged > known.beyond / known.judged:
                worst[row.engine] = row
    return worst


def _wrong(rows: Sequence[Measurement]) -> list[str]:
    """The evidence against each engine: the worst query of its worst case, and both lists."""
    said = []
    for engine, row in worst_of(rows).items():
        e = row.evidence
        assert e is not None  # a wrong row has some
        gap = ""
        if e.distance is not None and e.rival_distance is not None and e.allowed is not None:
            gap = (
                f" (row {e.rival}: the values are {abs(e.distance - e.rival_distance):.3g} apart, "
                f"rounding explains {e.allowed:.3g})"
            )
        lines = [
            f"{plain(engine)} is wrong at batch {row.batch}, k = {row.k}: {row.beyond} of {row.judged} queries",
            f"  query {e.query}, rank {e.rank}: {plain(e.said)}{gap}",
            f"  found    {' '.join(map(str, e.ids[:20]))}",
            f"  defined  {' '.join(map(str, e.expected[:20]))}",
        ]
        said.append("\n".join(lines))
    return said


def _undecided(rows: Sequence[Measurement]) -> list[str]:
    """Of each engine whose answers are neither right nor wrong, the case with most of them: why, and what to do."""
    found: dict[str, Measurement] = {}
    for row in rows:
        if row.grade == "undecided" and row.cache == "hot":
            known = found.setdefault(row.engine, row)
            if row.differing / row.judged > known.differing / known.judged:
                found[row.engine] = row
    return [f"{plain(engine)} is {undecided(row)}" for engine, row in found.items()]


def undecided(row: Measurement) -> str:
    """What is known of such a row's answers, and what to do."""
    e = row.evidence
    assert e is not None  # a row that differs has some
    gap = ""
    if e.allowed is not None and e.spread is not None:
        gap = f" (query {e.query}: rounding explains {e.allowed:.3g}, half of all rows are within {e.spread:.3g} of the last neighbor)"
    what = "subtract the rows' mean from rows and queries" if row.metric == "l2" else "use an exact engine"
    return (
        f"undecided at batch {row.batch}, k = {row.k}: {row.differing} of {row.judged} queries differ, and the rounding of its formula, "
        f"{row.formula}, would excuse wrong rows as well{gap}: {what}"
    )


def divided(rows: Sequence[Measurement]) -> Table | None:
    """Where a GPU's time goes, and what that means beside the fastest engine on the CPU."""
    found = splits(rows)
    if not found:
        return None
    best: dict[tuple[int, int], Measurement] = {}
    for row in rows:
        if row.device == "cpu" and row.cache == "hot" and row.median_ns and row.grade in RIGHT:
            key = row.k, row.batch
            if key not in best or row.took_ns < best[key].took_ns:
                best[key] = row
    lines: list[tuple[object, ...]] = [
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
    return Table("where the GPU's time goes", head, lines, right=tuple(range(1, 8)))


def _against(s: Split, best: dict[tuple[int, int], Measurement]) -> str:
    row = best.get((s.k, s.batch))
    if row is None:
        return ""
    ratio = row.took_ns / s.host_ns
    if ratio >= 1:
        return f"{times(ratio)} times as fast as {plain(row.engine)}"
    parts = {"transfer": s.transfer_ns, "launch": s.launch_ns, "compute": s.compute_ns}
    largest = max(parts, key=lambda name: parts[name])
    return (
        f"{times(1 / ratio)} times slower than {plain(row.engine)}, {percent(parts[largest] / s.host_ns)} is {largest}"
    )


def memory(rows: Sequence[Measurement]) -> Table | None:
    """Building, and the largest peaks of memory, an engine a line."""
    lines: list[tuple[object, ...]] = []
    for row in {r.engine: r for r in rows if r.build_ns is not None}.values():
        peaks = [r.peak_host_bytes or 0 for r in rows if r.engine == row.engine]
        gpu = [r.peak_gpu_bytes or 0 for r in rows if r.engine == row.engine]
        lines.append(
            (
                row.engine,
                whole(row.build_ns or 0, row.build_compile_ns),
                size(row.build_peak_host_bytes),
                size(max(peaks) or None),
                size(row.build_peak_gpu_bytes) if row.device == "cuda" else "",
                size(max(gpu)) if row.device == "cuda" else "",
                row.builds,
            )
        )
    head: tuple[str, ...] = (
        "engine",
        "build",
        "peak building",
        "peak searching",
        "GPU building",
        "GPU searching",
        "builds",
    )
    if not any(line[4] for line in lines):
        lines, head = [line[:4] + line[6:] for line in lines], head[:4] + head[6:]
    return Table("", head, lines, right=tuple(range(1, len(head)))) if lines else None


def _compiling(rows: Sequence[Measurement]) -> list[str]:
    """What the installation costs once; a process that finds the code on disk reads it in less."""
    spent: dict[str, int] = {}
    for row in rows:
        if row.cache == "first":
            building = (row.build_compile_ns or 0) if row.fresh else 0
            spent[row.engine] = spent.get(row.engine, 0) + building + (row.compile_ns or 0)
    return [
        f"{plain(engine)} compiled its code, or read it compiled, in {duration(ns)}: in the times of build and first call, and in no other"
        for engine, ns in spent.items()
        if ns
    ]


def _again(rows: Sequence[Measurement], queries: int | None) -> list[str]:
    """Where all calls asked the same batch: an engine that keeps an answer is timed by keeping it."""
    if queries is None:
        return []
    batches = sorted({r.batch for r in rows if queries < 2 * r.batch})
    return [
        f"batch {batch:,}: every call asked the same queries again, since there are {queries:,}: an engine that keeps answers would be timed without "
        f"searching; {2 * batch:,} queries or more tell"
        for batch in batches
    ]


def notes(rows: Sequence[Measurement], queries: int | None = None) -> list[str]:
    """What a reader has to know to trust the figures, where so many queries were asked."""
    said = []
    hot = [r for r in rows if r.cache == "hot" and r.median_ns]
    overheads = [r.overhead_ns for r in hot if r.overhead_ns]
    if overheads:
        share = max(r.overhead_ns / r.took_ns for r in hot if r.overhead_ns)
        said.append(f"timing itself takes {duration(max(overheads))}, at most {percent(share)} of any time above")
    said += _undecided(rows)
    said += _compiling(rows)
    said += _again(hot, queries)
    said += [
        f"{plain(r.engine)} kept {r.cores:.1f} cores busy at batch {r.batch}: more than its {r.threads} threads"
        for r in hot
        if r.threads and r.cores and r.cores > r.threads + 0.2 and r.device == "cpu" and _spent(r) >= TOLD_FROM_NS
    ]
    if unstable := sorted(
        {f"{plain(r.engine)} (batch {r.batch})" for r in hot if r.stable is False and (r.warmup_calls or 0) > 5}
    ):
        said.append(f"still changing after the warm-up: {', '.join(unstable)}")
    return said
