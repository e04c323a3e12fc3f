"""What findings save, alone and together: no time twice, none that nobody waits for, none that hides behind what is gone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from knnscope.trace import intervals
from knnscope.trace.findings import Finding
from knnscope.trace.intervals import NOWHERE, Spans
from knnscope.trace.model import Trace
from knnscope.trace.phases import Phase
from knnscope.trace.rules import AT_MOST, FEWER, ON_GPU
from knnscope.trace.rules.loops import making
from knnscope.trace.waits import shortened


@dataclass(frozen=True, slots=True)
class Total:
    """What all findings of a GPU save together, of all times looked at; time that several count, counts once.

    share: of the trace's time. up_to_ms: what those of ``AT_MOST`` may save at most beyond that.
    """

    gpu: int
    saving_ms: float
    share: float
    up_to_ms: float = 0.0


def held(found: Finding, phase: Phase) -> Finding:
    """A finding that saves no more of the GPU's time than somebody waits for."""
    if found.rule not in ON_GPU or found.saving_ms <= 0:
        return replace(found, at_most=found.rule in AT_MOST)
    saving = min(found.saving_ms, _waited(phase, [found]) / found.times / 1e6)
    return replace(found, saving_ms=saving, share=found.share * saving / found.saving_ms)


def _waited(phase: Phase, found: list[Finding]) -> int:
    """How many nanoseconds somebody waits for what these findings shorten, at most."""
    claim = intervals.spans(*(f.cause.claim for f in found))
    spared = intervals.spans(*(_spared(phase, f.cause.claim) for f in found if f.rule in FEWER))
    return shortened(phase.trace, phase.gpu, phase.run.busy.get(phase.gpu, NOWHERE), claim, spared)


def _spared(phase: Phase, claim: Spans) -> Spans:
    """When the host launches the kernels that begin in these times."""
    start = phase.kernels.start
    if not len(phase.calls) or not len(claim[0]):
        return NOWHERE
    place = np.searchsorted(claim[0], start, "right") - 1
    mine = (place >= 0) & (start < claim[1][np.maximum(place, 0)])
    return intervals.collected(making(phase, phase.launched(phase.kernels, mine)))


def total(trace: Trace, every: list[Phase], found: list[Finding], gpu: int) -> Total:
    """The largest estimate counts whole, each later one as far as its time is not counted yet, bounds last; the host saves no more than the GPU is idle."""
    here = [phase for phase in every if phase.gpu == gpu]
    mine = [f for f in found if f.gpu == gpu]
    idle = intervals.total(intervals.parts(*(phase.idle for phase in here))) / 1e6
    of_host, of_gpu, at_most = 0.0, dict.fromkeys((phase.name for phase in here), 0.0), 0.0
    known = [f for f in mine if f.rule not in AT_MOST]
    for f, free in free_shares([*known, *(f for f in mine if f.rule in AT_MOST)]):
        saving = f.saving_ms * f.times * free
        if f.rule in AT_MOST:
            at_most += saving
        elif f.rule in ON_GPU:
            of_gpu[f.phase] += saving
        else:
            of_host += saving
    for phase in here:
        of_this = [f for f in mine if f.phase == phase.name and f.rule in ON_GPU]
        if len(of_this) > 1:  # each alone is held already
            of_gpu[phase.name] = min(of_gpu[phase.name], _waited(phase, of_this) / 1e6)
        phase.release()
    low, high = trace.span
    of_host = min(of_host, idle)
    saving = of_host + sum(of_gpu.values())
    return Total(gpu, saving, saving * 1e6 / max(1, high - low), min(at_most, idle - of_host))


def free_shares(found: Iterable[Finding]) -> Iterator[tuple[Finding, float]]:
    """Each finding with the share of its time that none before it counts: together they save no time twice. What hides behind other work comes last."""
    taken = NOWHERE
    counted: list[tuple[Finding, float]] = []
    for f in sorted(found, key=lambda f: f.cause.behind is not None):
        if f.cause.ns:
            free = intervals.total(intervals.without_parts(f.cause.claim, intervals.sliced(taken))) / f.cause.ns
            if f.cause.behind is not None:
                free = min(free, _behind(f, counted) / f.cause.ns)
            counted.append((f, free))
            yield f, free
            taken = intervals.spans(taken, f.cause.claim)


def _behind(hidden: Finding, counted: list[tuple[Finding, float]]) -> float:
    """Nanoseconds that are left to hide behind, once the others have saved of them."""
    left = float(hidden.cause.behind or 0)
    for f, free in counted:
        if (f.phase, f.gpu) == (hidden.phase, hidden.gpu) and f.rule in ON_GPU:
            apart = intervals.length(intervals.without(f.cause.claim, hidden.cause.claim)) / f.cause.ns
            left -= f.saving_ms * f.times * 1e6 * free * apart
    return max(0.0, left)
