"""What is measured: the grid of cases, how often each is called, and who takes part in which round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from knnscope.analysis import statistics

COLD_ROUNDS = 7
"""Overwriting the caches takes longer than most calls."""
MOST_SAMPLES = 10
"""Hot calls of a case in a round, at most."""
SHORT_NS, MIDDLE_NS, LONG_NS = 10_000_000, 50_000_000, 500_000_000
"""Calls up to these long are made 10, 5, 3 times a round; longer ones once."""
ROUNDS_A_LIFE = 2
"""Rounds that one process answers. The same engine in another process is up to 20% faster or slower for as long as that process lives
(benchmarks/same_engine.py), so that only many processes tell how fast the engine is."""
FAR = 3
"""A case this many times slower than the best of its grade gets one round a process: that is enough to tell them apart."""
PRIME_NS = 10_000_000
"""Untimed calls before the timed ones of a turn."""
NEW_CALLS = 3
"""Untimed calls of a case that this process has not made yet: the first loads kernels, the next may still fill pools."""
QUICK_ROUNDS = 5
"""Rounds of a quick run, all by the same processes."""
QUICK_SECONDS = 12.0
"""Budget for the hot calls of all cases of a quick run together; a call longer than its share exceeds it."""
WARM_SECONDS, QUICK_WARM_SECONDS = 3.0, 0.3
"""A warm-up ends here at the latest."""


@dataclass(frozen=True, slots=True)
class Case:
    """One line of the table before it is measured."""

    engine: str
    k: int
    batch: int
    boundary: str

    @property
    def group(self) -> tuple[int, int, str]:
        """What is asked: cases of one group compete."""
        return self.k, self.batch, self.boundary


@dataclass(frozen=True, slots=True)
class Options:
    """How to measure.

    threads: for every library; None is stock. seconds: what the hot calls of a case may take in all, unless the fewest rounds that
    allow a verdict take longer. timeout: seconds for any one step (a build, a warm-up, a turn). memory: bytes a child may allocate (None: no limit).
    quick: one process an engine, short warm-ups, and as few rounds as fit into the seconds.
    """

    threads: int | None = None
    rounds: int = statistics.ROUNDS
    seconds: float = 20.0
    timeout: float = 300.0
    memory: int | None = None
    seed: int = 0
    cold: bool = True
    quick: bool = False

    @property
    def warm_seconds(self) -> float:
        """When a warm-up ends at the latest."""
        return QUICK_WARM_SECONDS if self.quick else WARM_SECONDS

    @property
    def per_process(self) -> int:
        """Rounds that a process answers before it is started anew."""
        if self.quick:
            return self.rounds
        return ROUNDS_A_LIFE if self.rounds >= ROUNDS_A_LIFE * statistics.FEWEST_ROUNDS else 1

    @property
    def processes(self) -> int:
        """Processes that an engine has one after another."""
        return -(-self.rounds // self.per_process)


@dataclass(frozen=True, slots=True)
class Schedule:
    """Hot calls in a round, in how many of the processes and in how many rounds of each, and whether untimed calls precede them."""

    samples: int
    processes: int
    each: int
    prime: bool

    def has(self, process: int, place: int) -> bool:
        """Whether the case takes part in a round: the ``place``-th of a process."""
        return process < self.processes and place < self.each

    @property
    def rounds(self) -> int:
        """Its rounds, where the last process has as many as the others."""
        return self.processes * self.each


def schedule(typical_ns: int, options: Options) -> Schedule:
    """Fit a case into its budget: fewer samples a round first, then one round a process, then as few as a verdict needs."""
    samples = (
        MOST_SAMPLES
        if typical_ns < SHORT_NS
        else 5
        if typical_ns < MIDDLE_NS
        else statistics.SAMPLES
        if typical_ns < LONG_NS
        else 1
    )
    prime = typical_ns < LONG_NS
    affordable = int(options.seconds * 1e9 / (max(1, typical_ns) * (samples + prime)))
    if options.quick and affordable < options.rounds:
        prime = typical_ns < MIDDLE_NS  # a longer call wakes the processor itself
        alone = int(options.seconds * 1e9 / (max(1, typical_ns) * (1 + prime)))
        return Schedule(1, 1, max(statistics.QUICK_FEWEST, min(options.rounds, alone)), prime)
    if affordable >= options.rounds:
        return Schedule(samples, options.processes, options.per_process, prime)
    return Schedule(samples, min(options.processes, max(affordable, statistics.FEWEST_ROUNDS)), 1, prime)


def starts(queries: int, batch: int) -> list[int]:
    """First query of each batch that the calls go through in turn."""
    return [i * batch for i in range(max(1, queries // batch))]


def asked(number: int, samples: int, firsts: Sequence[int]) -> list[int]:
    """First queries of the calls of a round: the same for every case of a batch size, of which one that makes fewer calls takes the beginning.

    Each time through all queries the rounds begin one further on, so that few calls a round do not see the same few queries.
    """
    place = number * MOST_SAMPLES
    place += place // len(firsts)
    return [firsts[(place + i) % len(firsts)] for i in range(samples)]


def grid(engines: Sequence[str], ks: Sequence[int], batches: Sequence[int], boundaries: Sequence[str]) -> list[Case]:
    """Every combination, engine by engine; the host boundary and the smallest batch come first."""
    return [
        Case(engine, k, batch, boundary)
        for engine in engines
        for boundary in boundaries
        for k in ks
        for batch in sorted(batches)
    ]
