"""Searches for crossings: asks analysis/bisection.py which size is next, has it measured, keeps the record after each."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from msgspec.structs import replace as changed

from knnscope.analysis.bisection import following, grid
from knnscope.analysis.crossover import CrossoverRun, Probe, Question
from knnscope.analysis.measurement import Measurement
from knnscope.bench import session
from knnscope.bench.plan import Options
from knnscope.bench.session import Grid
from knnscope.bench.task import Task
from knnscope.errors import KnnscopeError
from knnscope.progress import UNLIKE, bar

SECONDS = 0.5
"""Budget for the hot calls of a case in a probe; the fewest rounds that tell a large difference may take longer."""
PROBES = 10
"""About what a crossing takes beside the grid."""
Measured = tuple[list[Measurement], dict[str, Any]]
"""Rows, and the environment around them."""
ABSENT = ("missing", "no-gpu")


class Session:
    """Measures a probe as a quick run of compare: engines in processes of their own, interleaved rounds, every answer judged."""

    def __init__(self, task: Task, question: Question, options: Options) -> None:
        """Over the first rows of a task, as many as are asked for."""
        self._task, self._question, self._options = task, question, options

    def measure(self, engines: Sequence[str], at: int, fixed: int) -> Measured:
        """All engines at one size. Where rows grow, for every fixed batch at once: starting the processes takes longest.

        Raises:
            KeyboardInterrupt: it was stopped; half a probe tells nothing.
        """
        rows = at if self._question.over == "rows" else fixed
        batches = self._question.fixed if self._question.over == "rows" else (at,)
        part = replace(self._task, rows=self._task.rows[:rows])
        grid = Grid(engines, (self._question.k,), batches)
        found = session.measure(part, grid, self._options, ceilings=False)
        if found.interrupted:
            raise KeyboardInterrupt
        return found.rows, found.environment


def search(
    run: CrossoverRun,
    measure: Callable[[Sequence[str], int, int], Measured],
    keep: Callable[[CrossoverRun], None],
    seconds: float | None = None,
) -> CrossoverRun:
    """Probe until nothing more would be learnt; Ctrl-C, or the end of the time, keeps what there is.

    Args:
        run: what is known, perhaps nothing.
        measure: engines, the size, the fixed size.
        keep: called with the record after each probe.
        seconds: no probe begins later than this.

    Raises:
        KnnscopeError: fewer than two of the engines are here.
    """
    began, unit = time.monotonic(), {"rows": "rows", "batch": "queries a call"}[run.question.over]
    q = run.question
    expected = len(grid(q.low, q.high)) + PROBES * len(q.fixed)
    with bar(expected, "probe", "size", initial=len(run.probes), form=UNLIKE) as progress:
        try:
            while (asked := following(run)) is not None:
                if seconds is not None and time.monotonic() - began > seconds:
                    return run
                progress.set_description(f"probe {asked[0]:,} {unit}", refresh=False)
                rows, around = measure(_here(run), *asked)
                run = changed(
                    run,
                    environment=run.environment or around,
                    probes=(*run.probes, Probe(at=asked[0], measurements=tuple(rows))),
                )
                _here(run)
                keep(run)
                progress.total = max(expected, len(run.probes) + 1)
                progress.update()
        except KeyboardInterrupt:
            return run
    run = changed(run, finished=True)
    keep(run)
    return run


def _here(run: CrossoverRun) -> list[str]:
    """Engines that the first probe did not find absent."""
    absent = {row.engine: row.reason for probe in run.probes[:1] for row in probe.measurements if row.status in ABSENT}
    here = [name for name in run.question.engines if name not in absent]
    if len(here) < 2:
        why = "; ".join(f"{name}: {reason}" for name, reason in absent.items())
        raise KnnscopeError(f"a crossing takes two engines that are here: {why}")
    return here
