"""Measured cases become rows: whole nanoseconds and bytes, medians and intervals, floors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import mean, median, quantiles
from typing import Any

from knnscope.analysis import statistics
from knnscope.analysis.measurement import CACHES, FAILED, SCHEMA_VERSION, Measurement
from knnscope.bench.runner import Measured
from knnscope.bench.timing import Sample
from knnscope.ceilings.record import Ceilings

P99_FROM = 100
"""Samples from which a 99th percentile is given."""
NOISY = 0.2
"""A row is too noisy to tell when its interval is wider than this share of its median."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What all rows of a run share; ceilings by device ("cpu", "cuda") where they were measured."""

    dataset: str
    rows: int
    dim: int
    dtype: str
    itemsize: int
    metric: str
    threads: int | None
    ceilings: dict[str, Ceilings] = field(default_factory=dict)
    rounds_a_process: int = 1
    quick: bool = False


def bytes_moved(facts: Facts, batch: int, k: int) -> int:
    """Bytes that a batch must read and write at least: all rows and queries once, an id and a distance (8 and 4 bytes) each."""
    return (facts.rows + batch) * facts.dim * facts.itemsize + batch * k * 12


@dataclass(frozen=True, slots=True)
class About:
    """What is known of an engine: where it computes ("cpu" or "cuda"), by which formula, and its retrieval measures by name."""

    device: str
    formula: str | None = None
    quality: dict[str, float] = field(default_factory=dict)
    elsewhere: bool = False
    """It computes in processes of its own: the CPU time of the one that asks them is not what it takes."""


def rows_of(m: Measured, facts: Facts, about: About) -> list[Measurement]:
    """The rows of a case, one for each state of the caches; one without figures where it failed."""
    first = [[m.warmed.warm.first]] if m.warmed else []
    figures = {"first": first, "cold": m.cold, "hot": m.hot}
    kept = [cache for cache in CACHES if m.status not in FAILED and (any(figures[cache]) or cache == "hot")]
    return [_row(m, facts, about, cache, figures[cache]) for cache in kept or ["hot"]]


def _row(m: Measured, facts: Facts, about: About, cache: str, rounds: Sequence[Sequence[Sample]]) -> Measurement:
    case, built, warmed = m.case, m.built, m.warmed
    grade = None if m.status in FAILED else m.grade
    moved = bytes_moved(facts, case.batch, case.k)
    ceilings = facts.ceilings.get(about.device)
    rate = ceilings.products.get("float32") if ceilings else None
    values: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "engine": case.engine,
        "dataset": facts.dataset,
        "rows": facts.rows,
        "dim": facts.dim,
        "dtype": facts.dtype,
        "metric": facts.metric,
        "k": case.k,
        "batch": case.batch,
        "boundary": case.boundary,
        "device": about.device,
        "cache": cache,
        "threads": facts.threads,
        "status": "wrong" if m.status == "ok" and grade and grade.grade == "wrong" else m.status,
        "reason": m.reason,
        "formula": about.formula,
        "grade": grade.grade if grade else None,
        "judged": grade.queries if grade else 0,
        "differing": grade.differing if grade else 0,
        "beyond": grade.beyond if grade else 0,
        "evidence": grade.evidence if grade else None,
        **timings(rounds),
        **({"cpu_ns": None, "cores": None} if about.elsewhere else {}),
        "fresh": warmed.fresh if warmed and cache == "first" else None,
        "warmup_calls": warmed.warm.calls if warmed else None,
        "stable": warmed.warm.stable if warmed else None,
        "overhead_ns": warmed.overhead_ns if warmed else None,
        "builds": m.builds,
        "rounds_a_process": facts.rounds_a_process,
        "quick": facts.quick,
        "how": built.how if built else "",
        "build_ns": built.build_ns if built else None,
        "build_compile_ns": built.compile_ns if built else None,
        "compile_ns": warmed.warm.compile_ns if warmed and cache == "first" else None,
        "build_peak_host_bytes": built.host_bytes if built else None,
        "build_peak_gpu_bytes": built.gpu_bytes if built else None,
        "peak_host_bytes": warmed.host_bytes if warmed else None,
        "peak_gpu_bytes": warmed.gpu_bytes if warmed else None,
        "bytes_moved": moved,
        "floor_ns": ceilings.floor_ns(moved, "hot" if cache == "hot" else "cold") if ceilings else None,
        "product_floor_ns": round(2e9 * facts.rows * facts.dim * case.batch / rate) if rate else None,
        **{name: about.quality.get(name) for name in ("ndcg_at_10", "recall_at_k", "mrr_at_10")},
    }
    return Measurement(**values)


def timings(rounds: Sequence[Sequence[Sample]]) -> dict[str, Any]:
    """Samples by round, their median and its interval, and a 99th percentile where there are enough."""
    walls = [[s.wall_ns for s in samples] for samples in rounds]
    flat = [s for samples in rounds for s in samples]
    if not flat:
        empty = dict.fromkeys(("median_ns", "low_ns", "high_ns", "p99_ns", "cpu_ns", "cores", "event_ns", "noisy"))
        return {"samples_ns": [], **empty}
    middle = median(median(w) for w in walls if w)
    low, high = statistics.bootstrap(walls)
    events = [s.event_ns for s in flat if s.event_ns is not None]
    cores = sum(s.cpu_ns for s in flat) / sum(s.wall_ns for s in flat)
    several = sum(map(bool, walls)) > 1
    return {
        "samples_ns": walls,
        "median_ns": round(middle),
        "low_ns": round(low) if several else None,
        "high_ns": round(high) if several else None,
        "p99_ns": round(quantiles((s.wall_ns for s in flat), n=100)[98]) if len(flat) >= P99_FROM else None,
        "cpu_ns": round(median(mean(s.cpu_ns for s in samples) for samples in rounds if samples)),
        "cores": round(cores, 2),
        "event_ns": round(median(events)) if events else None,
        "noisy": high - low > NOISY * middle if several else None,
    }
