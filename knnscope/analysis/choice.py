"""Which engine to take for each k, batch size and boundary, how sure that is, and whether it is right. Follows from rows alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from knnscope.analysis.measurement import FAILED, Measurement
from knnscope.analysis.verdict import Group, Verdict, groups, leading
from knnscope.search.grading import RIGHT


@dataclass(frozen=True, slots=True)
class Choice:
    """The fastest right engine of a group.

    best: its row; None where no engine gave a right answer. verdict: it against all other right ones. exact: the fastest of those
    that have the ids of float64. wrong, undecided: rows that were faster than ``best`` and have that grade. stopped: others were not measured
    to the end.
    """

    group: Group
    best: Measurement | None
    verdict: Verdict | None
    exact: Measurement | None
    wrong: tuple[Measurement, ...]
    undecided: tuple[Measurement, ...]
    stopped: bool

    @property
    def certain(self) -> bool:
        """Whether ``best`` is told from every other right engine; alone, there is none."""
        return self.verdict is not None and not self.verdict.level_with and not self.stopped


def choices(rows: Iterable[Measurement]) -> list[Choice]:
    """One for each k, batch size and boundary, in the order of the rows."""
    return [_choice(group, members) for group, members in groups(rows).items()]


def _choice(group: Group, rows: Sequence[Measurement]) -> Choice:
    right = sorted((r for r in rows if r.grade in RIGHT and r.median_ns), key=lambda r: r.took_ns)
    best = right[0] if right else None
    timed = sorted((r for r in rows if r.median_ns), key=lambda r: r.took_ns)
    faster = [r for r in timed if best is None or r.took_ns < best.took_ns]
    return Choice(
        group,
        best,
        leading(group, "right", right) if right else None,
        next((r for r in right if r.grade == "exact"), None),
        tuple(r for r in faster if r.grade == "wrong"),
        tuple(r for r in faster if r.grade == "undecided"),
        any(r.status == "interrupted" for r in rows),
    )


def measured(rows: Iterable[Measurement]) -> list[str]:
    """Engines that have a figure, in the order of the rows."""
    return list(dict.fromkeys(r.engine for r in rows if r.status not in FAILED))
