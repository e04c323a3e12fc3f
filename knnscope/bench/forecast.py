"""What a run will take: told roughly before anything is started, then from its warm-ups, which its progress is measured by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from knnscope.bench.plan import COLD_ROUNDS, NEW_CALLS, PRIME_NS, Options
from knnscope.units import counted, expected

if TYPE_CHECKING:
    from knnscope.bench.runner import Measured

FLUSH_NS = 50_000_000
"""About what overwriting the caches takes."""
TOLD_FROM = 60.0
"""Seconds from which a run is announced."""
START_SECONDS = 0.3
"""About what a process takes until its libraries are there, where all start at once, before it builds anything."""
READ_NS = 0.25
"""Nanoseconds a component in which float32 rows are read: about what one query takes, and more than each of many."""
WARMING = 0.25
"""Share of the longest warm-up that most take."""


class Forecast:
    """Expected seconds of turns, of new processes and of all that is left."""

    def __init__(self, options: Options, starts: Mapping[str, float]) -> None:
        """From the options and the seconds that each engine's first process took until its index stood."""
        self._options, self._starts = options, starts

    def turn(self, m: Measured) -> float:
        """Of a case in a round: untimed calls before, timed ones, and its share of those with cold caches."""
        assert m.schedule is not None
        assert m.warmed is not None
        plan, typical = m.schedule, m.warmed.warm.typical_ns
        before = max(PRIME_NS, typical * (NEW_CALLS + plan.each - 1) / plan.each) if plan.prime else 0
        colds = (min(COLD_ROUNDS, plan.rounds // 2) if plan.prime else 1) if self._options.cold else 0
        return (plan.samples * typical + before + colds / plan.rounds * (typical + FLUSH_NS)) / 1e9

    def renewal(self, measured: Sequence[Measured], process: int) -> float:
        """Of the engines that start anew before the first round of a process."""
        return sum(
            self._starts.get(name, 0) for name in {m.case.engine for m in measured if _takes_part(m, process, 0)}
        )

    def left(self, measured: Sequence[Measured], first: int = 0) -> float:
        """Of the rounds from ``first`` on, and the processes that they begin with."""
        seconds = 0.0
        for number in range(first, self._options.rounds):
            process, place = divmod(number, self._options.per_process)
            if process and not place:
                seconds += self.renewal(measured, process)
            seconds += sum(self.turn(m) for m in measured if _takes_part(m, process, place))
        return seconds

    def answers(self, measured: Sequence[Measured], count: int) -> float:
        """Of the last pass, in which every engine answers all queries."""
        best = {m.case.engine: m for m in sorted(measured, key=lambda m: m.case.batch) if m.warmed and m.status == "ok"}
        return sum(count / m.case.batch * m.warmed.warm.typical_ns / 1e9 for m in best.values() if m.warmed)

    def before(self, measured: Sequence[Measured], count: int) -> float:
        """Of the whole run, where nothing is known but about how long each call may take."""
        warming = WARMING * self._options.warm_seconds * len(measured)
        return warming + self.renewal(measured, 0) + self.left(measured) + self.answers(measured, count)

    def said(self, seconds: float, measured: Sequence[Measured]) -> str:
        """One line."""
        cases = [m.case for m in measured if m.status == "ok"]
        parts = [
            counted(len({c.engine for c in cases}), "engine"),
            counted(len({c.batch for c in cases}), "batch size"),
            *([counted(len(ks), "value") + " of k"] if len(ks := {c.k for c in cases}) > 1 else []),
            f"at most {counted(self._options.rounds, 'round')}",
        ]
        return f"{expected(seconds)}: {' x '.join(parts)}; Ctrl-C keeps what was measured" + (
            "" if self._options.quick else ", --quick tells large differences in less"
        )


def _takes_part(m: Measured, process: int, place: int) -> bool:
    return m.status == "ok" and m.schedule is not None and m.schedule.has(process, place)
