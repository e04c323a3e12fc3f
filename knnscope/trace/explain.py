"""Every rule over every phase of a trace, ranked by what can be saved; what bounds the run; and what no phase holds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np

from knnscope.trace import intervals
from knnscope.trace.bound import Bound, bounds
from knnscope.trace.findings import CannotTellError, Finding
from knnscope.trace.intervals import Spans
from knnscope.trace.model import PAGED_BACK, PAGED_UP, TO_DEVICE, TO_HOST, UNKNOWN, Trace, Work
from knnscope.trace.phases import Phase, phases
from knnscope.trace.rules import RULES, rule
from knnscope.trace.savings import Total, held, total

SHARED = 0.1
"""Two findings overlap that count so much of the smaller one's time alike."""


@dataclass(frozen=True, slots=True)
class Part:
    """What a GPU did in some part of the run, every time counted, and how long that lasted on the host."""

    gpu: int
    host_ms: float
    gpu_ms: float
    kernels: int
    copies: int

    def to_json(self) -> dict[str, Any]:
        """As ``--json`` prints it."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Explanation:
    """Findings, best first; phases with their figures; and what could not be told, by rule.

    outside, whole: of each GPU, what no phase holds, and all of it. bounds: what bounds the run, of each GPU.
    """

    findings: tuple[Finding, ...]
    phases: tuple[Phase, ...]
    unanswered: tuple[tuple[str, str], ...]
    trace: Trace
    totals: tuple[Total, ...] = ()
    outside: tuple[Part, ...] = ()
    whole: tuple[Part, ...] = ()
    bounds: tuple[Bound, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As ``--json`` prints it."""
        return {
            "bounds": [bound.to_json() for bound in self.bounds],
            "findings": [finding.to_json() for finding in self.findings],
            "totals": [
                {"gpu": t.gpu, "saving_ms": round(t.saving_ms, 6), "share": t.share, "up_to_ms": round(t.up_to_ms, 6)}
                for t in self.totals
            ],
            "phases": [figures(phase) for phase in self.phases],
            "outside": [part.to_json() for part in self.outside],
            "whole": [part.to_json() for part in self.whole],
            "unanswered": [{"rule": name, "why": why} for name, why in self.unanswered],
            "lacks": list(self.trace.lacks),
            "notes": list(self.trace.notes),
        }


def explain(trace: Trace) -> Explanation:
    """What makes this run slow. Loading and building are told of, and judged by no rule: they are done once."""
    found: list[Finding] = []
    unanswered: dict[tuple[str, str], None] = {}
    every = phases(trace)
    for phase in every:
        if phase.once:
            continue
        for name in RULES:
            try:
                some = (held(f, phase) for f in rule(name).find(phase))
                found += [f for f in some if f.severity is not None]
            except CannotTellError as why:
                unanswered[name, str(why)] = None
        phase.release()
    found.sort(key=lambda f: (-f.saving_ms * f.times, f.rule, f.phase))
    found = _overlapping(found)
    whole = tuple(_all(trace, gpu) for gpu in trace.used)
    return Explanation(
        tuple(found),
        tuple(every),
        tuple(unanswered),
        trace,
        tuple(total(trace, every, found, gpu) for gpu in sorted({f.gpu for f in found})),
        tuple(_outside(trace, every, part.gpu) for part in whole) if every and not every[0].whole else (),
        whole,
        bounds(trace),
    )


def _overlapping(found: list[Finding]) -> list[Finding]:
    """Each with the rules whose findings count some of the same time, on the same GPU."""
    others: list[dict[str, None]] = [{} for _ in found]
    for (i, f), (j, o) in combinations(enumerate(found), 2):
        if f.gpu == o.gpu and _shared(f.cause.claim, o.cause.claim) > SHARED * min(f.cause.ns, o.cause.ns):
            others[i][o.rule] = others[j][f.rule] = None
    return [replace(f, overlaps=tuple(rules)) for f, rules in zip(found, others, strict=True)]


def _shared(one: Spans, other: Spans) -> int:
    return intervals.total(intervals.common_parts(one, other))


def part(phase: Phase) -> Part:
    """A phase with every time through it, the first as well."""
    run, trace = phase.run, phase.trace
    if phase.whole:
        return _all(trace, phase.gpu)
    wanted = np.zeros(len(run.windows) + 1, dtype=bool)
    wanted[phase.chosen] = True
    return _part(trace, phase.gpu, intervals.spans(phase.windows), wanted[run.kernels], wanted[run.copies])


def _all(trace: Trace, gpu: int) -> Part:
    low, high = trace.span
    every = np.ones(len(trace.kernels), dtype=bool), np.ones(len(trace.copies), dtype=bool)
    return _part(trace, gpu, (np.asarray([low]), np.asarray([high])), *every)


def _outside(trace: Trace, every: list[Phase], gpu: int) -> Part:
    run = every[0].run
    shown = np.zeros(len(run.windows) + 1, dtype=bool)
    for phase in every:
        if phase.gpu in (gpu, UNKNOWN):
            shown[phase.chosen] = True
    low, high = trace.span
    inside = intervals.spans(*(phase.windows for phase in every))
    rest = intervals.without((np.asarray([low]), np.asarray([high])), inside)
    return _part(trace, gpu, rest, ~shown[run.kernels], ~shown[run.copies])


def _part(trace: Trace, gpu: int, host: Spans, kernels: Any, copies: Any) -> Part:
    counts, ns = [], 0.0
    for events, mask in ((trace.kernels, kernels), (trace.copies, copies)):
        here: Work = events
        on = trace.on(here, gpu)
        mine = mask if isinstance(on, slice) else mask & on
        counts.append(int(mine.sum()))
        ns += float(here.duration[mine].sum(dtype=np.float64))
    return Part(gpu, intervals.length(host) / 1e6, ns / 1e6, *counts)


def _each(count: int, times: int) -> float:
    """A whole number where it is the same each time."""
    return count // times if count % times == 0 else round(count / times, 3)


def _bytes(phase: Phase, kinds: tuple[int, ...]) -> int:
    return int(phase.copies.nbytes[np.isin(phase.copies.kind, kinds)].sum(dtype=np.float64))


def figures(phase: Phase) -> dict[str, Any]:
    """A phase in numbers, each of one time through it, in milliseconds; ``total`` counts every time."""
    each = max(1, phase.times)
    kernel_ns = intervals.covered(phase.kernels.start, phase.kernels.end)
    copy_ns = intervals.covered(phase.copies.start, phase.copies.end)
    return {
        "phase": phase.name,
        "gpu": phase.gpu,
        "times": len(phase.windows[0]),
        "host_ms": round(phase.host_ns / each / 1e6, 6),
        "long_ms": round(phase.long_ns / each / 1e6, 6),
        "api_ms": round(phase.api_ns / each / 1e6, 6),
        "gpu_busy_ms": round(phase.busy_ns / each / 1e6, 6),
        "gpu_work_ms": round(phase.work_ns / each / 1e6, 6),
        "kernels": _each(len(phase.kernels), each),
        "copies": _each(len(phase.copies), each),
        "bytes_to_device": _bytes(phase, (TO_DEVICE, PAGED_UP)) // each,
        "bytes_to_host": _bytes(phase, (TO_HOST, PAGED_BACK)) // each,
        "kernel_share": round(kernel_ns / max(1, kernel_ns + copy_ns), 4),
        "total": part(phase).to_json() if phase.gpu != UNKNOWN else None,
    }
