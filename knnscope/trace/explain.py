"""Every rule over every phase of a trace, ranked by what can be saved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from knnscope.trace import intervals
from knnscope.trace.findings import CannotTellError, Finding
from knnscope.trace.model import TO_DEVICE, TO_HOST, Trace
from knnscope.trace.phases import Phase, phases
from knnscope.trace.rules import RULES, rule


@dataclass(frozen=True, slots=True)
class Explanation:
    """Findings, best first; phases with their figures; and what could not be told, by rule."""

    findings: tuple[Finding, ...]
    phases: tuple[Phase, ...]
    unanswered: tuple[tuple[str, str], ...]
    trace: Trace

    def to_json(self) -> dict[str, Any]:
        """As ``--json`` prints it."""
        return {
            "findings": [finding.to_json() for finding in self.findings],
            "phases": [figures(phase) for phase in self.phases],
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
        if phase.name.startswith(("load ", "build ")) and phase.shape:
            continue
        for name in RULES:
            try:
                found += [f for f in rule(name)(phase) if f.severity is not None]
            except CannotTellError as why:
                unanswered[name, str(why)] = None
    found.sort(key=lambda f: (-f.saving_ms, f.rule, f.phase))
    return Explanation(tuple(found), tuple(every), tuple(unanswered), trace)


def figures(phase: Phase) -> dict[str, Any]:
    """A phase in numbers, each of one time through it, in milliseconds."""
    each = max(1, phase.times)
    kernel_ns = intervals.covered(phase.kernels.start, phase.kernels.end)
    copy_ns = intervals.covered(phase.copies.start, phase.copies.end)
    return {
        "phase": phase.name,
        "times": len(phase.windows),
        "host_ms": round(phase.host_ns / each / 1e6, 6),
        "api_ms": round(phase.api_ns / each / 1e6, 6),
        "gpu_busy_ms": round(phase.busy_ns / each / 1e6, 6),
        "kernels": len(phase.kernels) // each,
        "copies": len(phase.copies) // each,
        "bytes_to_device": int(phase.copies.nbytes[phase.copies.kind == TO_DEVICE].sum()) // each,
        "bytes_to_host": int(phase.copies.nbytes[phase.copies.kind == TO_HOST].sum()) // each,
        "kernel_share": round(kernel_ns / max(1, kernel_ns + copy_ns), 4),
    }
