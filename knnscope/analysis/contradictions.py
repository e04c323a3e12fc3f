"""Whether the rows of a file can be those of one run: nobody is trusted to have written, joined or edited it well.

A row says its time twice, in its samples, which verdicts go by, and as their median, which tables show.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from pathlib import Path
from statistics import median

from knnscope.analysis.measurement import Measurement, RungMeasurement
from knnscope.errors import KnnscopeError

SHARED = ("dataset", "rows", "dim", "dtype", "metric", "threads", "rounds_a_process", "quick")
SHARED_RUNGS = ("dataset", "rows", "dim", "k")
"""Fields that all rows of a run have the same."""
ROUNDED = 1e-9
"""Share by which a median may be off, besides a nanosecond: large numbers are rounded to float64."""


def check(rows: Sequence[Measurement | RungMeasurement], path: Path) -> None:
    """Refuse rows that no run has beside each other, or that contradict themselves.

    Args:
        rows: of all lines of a file.
        path: the file, for the error.

    Raises:
        KnnscopeError: names file, line and field.
    """
    seen: dict[Hashable, int] = {}
    for number, row in enumerate(rows, 1):
        if why := _alone(row) or _beside(rows[0], row):
            raise KnnscopeError(f"{path}:{number}: {why}: the file was edited, or joined from several: measure again")
        first = seen.setdefault(_key(row), number)
        if first != number:
            raise KnnscopeError(
                f"{path}:{number}: measures the same as line {first}: a run has each row once: keep one file a run"
            )


def _key(row: Measurement | RungMeasurement) -> Hashable:
    return (row.case, row.cache) if isinstance(row, Measurement) else row.rung


def _beside(first: Measurement | RungMeasurement, row: Measurement | RungMeasurement) -> str:
    """What of a row is not as in the first; empty where all is."""
    names: Iterable[str] = SHARED if isinstance(row, Measurement) else SHARED_RUNGS
    return next((f"{name} is not that of line 1" for name in names if getattr(row, name) != getattr(first, name)), "")


def _alone(row: Measurement | RungMeasurement) -> str:
    """How a row contradicts itself; empty where it does not."""
    if isinstance(row, Measurement):
        rounds = [median(samples) for samples in row.samples_ns if samples]
        return _off("median_ns", row.median_ns, median(rounds)) if rounds else ""
    if row.samples_ns and row.visited:
        return _off("wall_ns", row.wall_ns, median(row.samples_ns) * row.rows / row.visited)
    return ""


def _off(name: str, said: int | None, follows: float) -> str:
    if said is None or abs(said - follows) <= 1 + ROUNDED * follows:
        return ""
    return f"{name} is {said:,}, and {follows:,.0f} by its samples"
