"""What speaks against the figures of a run: it was cut short, quick, throttled, disturbed or noisy. Follows from its files alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from knnscope.analysis import statistics
from knnscope.analysis.choice import Choice
from knnscope.analysis.measurement import Measurement
from knnscope.analysis.run import ComparisonRun, LadderRun
from knnscope.analysis.verdict import QUICK_MATTERS
from knnscope.units import duration, percent

OTHERS = 0.15
"""Cores that others may keep busy unmentioned: the system itself takes a few hundredths."""
STOLEN = 0.01
"""Share of all time that a virtual machine's host may take unmentioned."""
BROKEN = ("oom", "timeout", "crashed")
"""Statuses of an engine that was asked, and failed."""
THROTTLED = {
    0x4: "its power cap",
    0x8: "a hardware slowdown",
    0x20: "its temperature",
    0x40: "its temperature (hardware)",
    0x80: "a power brake",
}
"""Bits of NVML's clocksThrottleReasons that make a GPU slower than it could be; the others say that it is idle or set so."""

Kind = Literal["incomplete", "quick", "throttled", "disturbed", "noisy"]


@dataclass(frozen=True, slots=True)
class Doubt:
    """A reason for doubt, and what it means for the reader."""

    kind: Kind
    text: str


def doubts(run: ComparisonRun | LadderRun, choices: Sequence[Choice] = ()) -> list[Doubt]:
    """All that there are, the gravest first.

    Args:
        run: its rows, environment and facts.
        choices: those of a comparison, whose winners may be noisy.
    """
    found = []
    if run.facts.interrupted:
        found.append(Doubt("incomplete", "the run was interrupted: its figures are those of the rounds until then"))
    if isinstance(run, ComparisonRun):
        found += _broken(run.rows) + _short(run.rows)
    return [*found, *_throttled(run.environment), *_disturbed(run.environment), *_noisy(choices)]


def _broken(rows: Sequence[Measurement]) -> list[Doubt]:
    failed: dict[str, dict[str, None]] = {}
    for row in rows:
        if row.status in BROKEN:
            failed.setdefault(row.engine, {})[row.status] = None
    said = ", ".join(f"{engine} ({', '.join(how)})" for engine, how in failed.items())
    return [Doubt("incomplete", f"without figures, in part or in all: {said}")] if said else []


def _short(rows: Sequence[Measurement]) -> list[Doubt]:
    if any(row.quick for row in rows):
        text = f"few rounds by one process an engine: below {QUICK_MATTERS:g} times nothing is told apart"
        return [Doubt("quick", f"a quick run: {text}")]
    most = max((_processes(row) for row in rows if row.cache == "hot"), default=0)
    if 0 < most < statistics.FEWEST_ROUNDS:
        text = f"at most {most} rounds, those of one process counted once: {statistics.FEWEST_ROUNDS} are needed to tell engines apart"
        return [Doubt("incomplete", text)]
    return []


def _processes(row: Measurement) -> int:
    """So many draws are what the test has, whatever the number of rounds."""
    return len(statistics.by_process([1.0 if some else None for some in row.samples_ns], row.rounds_a_process))


def _throttled(environment: Mapping[str, Any]) -> list[Doubt]:
    found = []
    lost = _grown(environment, "throttled_usec")
    if lost:
        text = f"the control group withheld the processor for {duration(1000 * lost)}: times may be too long"
        found.append(Doubt("throttled", text))
    after = environment.get("after")
    gpus = after.get("gpus") if isinstance(after, dict) else None
    for number, gpu in enumerate(gpus if isinstance(gpus, list) else ()):
        said = gpu.get("throttle_reasons") if isinstance(gpu, dict) else None
        bits = _bits(said)
        if reasons := [why for bit, why in THROTTLED.items() if bits & bit]:
            found.append(Doubt("throttled", f"GPU {number} was held back by {' and '.join(reasons)}"))
    return found


def other_work(cores: float) -> str:
    """That other programs kept so many cores busy."""
    count = f"{cores:.2g}"
    return f"other work kept {count} core{'s' * (count != '1')} busy meanwhile: on an idle machine times and ranking may differ"


def _disturbed(environment: Mapping[str, Any]) -> list[Doubt]:
    found = []
    others = environment.get("other_cores")
    if isinstance(others, int | float) and others > OTHERS:
        found.append(Doubt("disturbed", other_work(others)))
    total, stolen = _grown(environment, "total_ticks"), _grown(environment, "stolen_ticks")
    if total and stolen and stolen / total > STOLEN:
        text = f"the host of this virtual machine took {percent(stolen / total)} of its time for others"
        found.append(Doubt("disturbed", text))
    return found


def _noisy(choices: Sequence[Choice]) -> list[Doubt]:
    with_best = [c for c in choices if c.best is not None]
    loud = [c for c in with_best if c.best is not None and c.best.noisy]
    if not loud:
        return []
    text = f"the fastest engine's own time is too noisy to tell in {len(loud)} of {len(with_best)} cases"
    return [Doubt("noisy", f"{text}: its interval is wider than a fifth of its median")]


def _grown(environment: Mapping[str, Any], name: str) -> float | None:
    """By how much a counter grew during the run; None where it was not read. The file may be anybody's."""
    before, after = environment.get("before"), environment.get("after")
    if not isinstance(before, dict) or not isinstance(after, dict):
        return None
    first, last = before.get(name), after.get(name)
    if not isinstance(first, int | float) or not isinstance(last, int | float):
        return None
    return last - first if last > first else None


def _bits(said: object) -> int:
    try:
        return int(said, 16) if isinstance(said, str) else 0
    except ValueError:
        return 0
