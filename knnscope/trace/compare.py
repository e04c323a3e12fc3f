"""Two traces of what should do the same: what vanished, appeared and shrank, and whether the first one's predictions came true."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from knnscope.trace.explain import Explanation, figures
from knnscope.trace.findings import CannotTellError, Finding
from knnscope.trace.phases import Phase
from knnscope.trace.rows import COPIES, OTHER_COPIES
from knnscope.trace.rules import rule
from knnscope.trace.savings import free_shares

OFF = 0.3
"""A prediction that is off by less came true."""
SAME = 0.1
"""As many kernels or calls that take as long to within this have not changed: recordings of one program differ by so much."""

_WAYS = {kind: way for way, kinds in COPIES for kind in kinds}


@dataclass(frozen=True, slots=True)
class Change:
    """A kernel, copy or API call, each of one time through the phase: how often, and milliseconds, before and after."""

    what: str
    name: str
    before: tuple[float, float]
    after: tuple[float, float]

    @property
    def word(self) -> str:
        """Vanished, appeared, shrank or grew."""
        if not self.after[0]:
            return "vanished"
        if not self.before[0]:
            return "appeared"
        return "shrank" if self.after[1] < self.before[1] else "grew"


@dataclass(frozen=True, slots=True)
class Pair:
    """A phase in both traces.

    predicted_ms: what the findings promised whose own events became fewer or shorter; time that several count, counts once, and what is an upper
    bound is no promise. gone: the rules of those findings.
    """

    before: Phase
    after: Phase
    changes: tuple[Change, ...]
    predicted_ms: float
    gone: tuple[str, ...] = ()

    @property
    def measured_ms(self) -> float:
        """What was saved of one time through it, the GPU's work for it included: what a finding's share is of."""
        return (self.before.long_ns / self.before.times - self.after.long_ns / self.after.times) / 1e6

    @property
    def came_true(self) -> bool | None:
        """Whether the prediction is within 30% of what was saved; None where nothing was promised."""
        if not self.predicted_ms:
            return None
        return abs(self.predicted_ms - self.measured_ms) <= OFF * abs(self.measured_ms)

    def to_json(self) -> dict[str, Any]:
        """As ``--json`` prints it."""
        return {
            "before": figures(self.before),
            "after": figures(self.after),
            "changes": [
                {"what": c.what, "name": c.name, "word": c.word, "before": list(c.before), "after": list(c.after)}
                for c in self.changes
            ],
            "gone": list(self.gone),
            "predicted_ms": round(self.predicted_ms, 6),
            "measured_ms": round(self.measured_ms, 6),
            "came_true": self.came_true,
        }


def pairs(before: Explanation, after: Explanation) -> list[Pair]:
    """Phases that do the same: ours by what they do, others by name."""
    found = []
    for phase, other in _matched(before.phases, after.phases):
        left = {f.rule: f.saving_ms for f in after.findings if (f.phase, f.gpu) == (other.name, other.gpu)}
        mended = [f for f in before.findings if (f.phase, f.gpu) == (phase.name, phase.gpu) and _less(f, other)]
        estimated = [f for f in mended if not f.at_most]
        promised = sum(max(0.0, f.saving_ms - left.get(f.rule, 0.0)) * free for f, free in free_shares(estimated))
        limit = phase.long_ns / phase.times / 1e6
        gone = tuple(f.rule for f in mended)
        found.append(Pair(phase, other, tuple(_changes(phase, other)), min(promised, limit), gone))
    return found


def _less(finding: Finding, after: Phase) -> bool:
    """Its own events became fewer, or shorter: without that, whatever was saved was saved elsewhere."""
    try:
        cause = rule(finding.rule).cause(after)
    except CannotTellError:
        return True  # nothing like it was recorded
    count, ns = (value / finding.times for value in (finding.cause.count, finding.cause.ns))
    return cause.count / after.times < (1 - SAME) * count or cause.ns / after.times < (1 - SAME) * ns


def _matched(before: tuple[Phase, ...], after: tuple[Phase, ...]) -> Iterator[tuple[Phase, Phase]]:
    """Phases of one name, of the same GPU; else what alone in its trace does the same: a search by whatever means."""
    names = {_place(phase): phase for phase in after}
    ours, theirs = (Counter(map(_role, phases)) for phases in (before, after))
    roles = {_role(phase): phase for phase in after}
    for phase in before:
        role = _role(phase)
        alone = ours[role] == theirs[role] == 1
        other = names.get(_place(phase)) or (roles[role] if alone else None)
        if other is not None:
            yield phase, other


def _role(phase: Phase) -> tuple[str, int]:
    name, gpu = _place(phase)
    return name.partition(" ")[0] if phase.shape else name, gpu


def _place(phase: Phase) -> tuple[str, int]:
    """Its name, and which of the trace's GPUs it is of, by their numbers."""
    gpus = sorted(phase.trace.used)
    return phase.name, gpus.index(phase.gpu) if phase.gpu in gpus else 0


def _changes(before: Phase, after: Phase) -> list[Change]:
    found = []
    for what, one in (("kernels", "kernel"), ("copies", "copy"), ("calls", "call")):
        a, b = _table(before, what), _table(after, what)
        found += [Change(one, name, a.get(name, (0.0, 0.0)), b.get(name, (0.0, 0.0))) for name in {**a, **b}]
    found = [
        c
        for c in found
        if c.before[0] != c.after[0] or abs(c.before[1] - c.after[1]) > SAME * max(c.before[1], c.after[1])
    ]
    found.sort(key=lambda c: -abs(c.before[1] - c.after[1]))
    return found


def _table(phase: Phase, what: str) -> dict[str, tuple[float, float]]:
    events = getattr(phase, what)
    if not len(events):
        return {}
    names, places = np.unique(events.kind if what == "copies" else events.name, return_inverse=True)
    counts = np.bincount(places) / phase.times
    spent = np.bincount(places, events.duration) / phase.times / 1e6
    return {
        _WAYS.get(int(n), OTHER_COPIES) if what == "copies" else phase.trace.names[int(n)]: (
            round(float(c), 3),
            round(float(s), 6),
        )
        for n, c, s in zip(names, counts, spent, strict=True)
    }
