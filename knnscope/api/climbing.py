"""One search from a Python loop to a kernel at memory's rate: what ``knnscope ladder`` does, for Python."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from knnscope import annotate, environment
from knnscope.analysis import run as runs
from knnscope.analysis.measurement import RungMeasurement
from knnscope.analysis.run import LadderFacts, LadderRun
from knnscope.api.choosing import Choice, choose
from knnscope.api.loading import opened, options_of
from knnscope.api.runs import RunResult
from knnscope.api.workload import EncoderOptions, Workload
from knnscope.bench import ladder as climbing
from knnscope.bench.ladder import ENGINES, Climb
from knnscope.ceilings import cache
from knnscope.ceilings.record import DEVICES, Ceilings
from knnscope.datasets.registry import DatasetOptions
from knnscope.errors import ArgumentError, KnnscopeError, unknown_name
from knnscope.report import html, ladder
from knnscope.report.text import plain
from knnscope.search import catalog
from knnscope.search.device import gpu_problem
from knnscope.search.engine import check_k, check_matrix
from knnscope.search.grading import RIGHT
from knnscope.search.ladder import RUNGS
from knnscope.units import short

ROWS = 75_000
"""Of the generated data: as many as the study had."""
QUERIES = 16
"""Asked in turn, so that a rung is not judged by one."""


@dataclass(frozen=True, slots=True)
class ClimbOptions:
    """How to climb.

    Attributes:
        device: of the rungs, "cpu" or "cuda"; None is cuda where there is a GPU.
        repeat: timed searches of a rung.
        loop_rows: rows that Python loops visit at most, their time then scaled to all; None is all.
        dataset: which part of a data set.
        encoder: what encodes its texts.
        each: called with every row as soon as it is measured.
    """

    device: str | None = None
    repeat: int = 10
    loop_rows: int | None = None
    dataset: DatasetOptions | None = None
    encoder: EncoderOptions | None = None
    each: Callable[[RungMeasurement], None] | None = None


class Ladder(RunResult[LadderRun]):
    """The rungs that were climbed, each timed, counted and judged. ``str`` gives the table and a sentence a rung."""

    command = "ladder"
    made_of = LadderRun

    @property
    def measurements(self) -> tuple[RungMeasurement, ...]:
        """A record for each rung, those that could not be climbed among them."""
        return self.run.rows

    def __str__(self) -> str:
        return ladder.text(self.run)

    def __repr__(self) -> str:
        right = [row for row in self.run.rows if row.wall_ns is not None and row.grade in RIGHT]
        best = min(right, key=lambda row: row.wall_ns or 0).rung if right else "none"
        on = short(ladder.heading(self.run), 200)
        return f"<Ladder of {len(self.run.rows)} rungs on {on}; fastest right: {short(plain(best), 100)}>"

    def _repr_html_(self) -> str:
        return html.ladder_html(self.run)


def climb(
    vectors_or_dataset: Any = None,
    k: int = 3,
    rungs: Sequence[str] | None = None,
    options: ClimbOptions | None = None,
    out: str | Path | None = None,
    **keywords: Any,
) -> Ladder:
    """Time every version of one search in this process, and judge every answer.

    Ctrl-C ends it and keeps what was climbed (``interrupted``).

    Args:
        vectors_or_dataset: an array of shape (rows, dim), the path of a file or folder, or the name of a data set; by default 75,000
            generated rows.
        k: neighbors.
        rungs: names of rungs or engines; by default all rungs and four engines. They are climbed in the ladder's order.
        options: how to climb.
        out: a folder for the files of the run.
        **keywords: fields of the options, in their place or beside them.

    Raises:
        KnnscopeError: data, names or numbers that cannot be.
    """
    how = options_of(options or ClimbOptions(), keywords)
    names = _known(rungs)
    workload, plan, problems = _plan(vectors_or_dataset, k, how)
    with runs.new(out) as folder:
        rows: list[RungMeasurement] = []
        interrupted = False
        try:
            for row in climbing.climb(names, plan):
                rows.append(row)
                if how.each is not None:
                    how.each(row)
        except KeyboardInterrupt:
            if not rows:  # a run without a row would keep its folder from the next one
                raise
            interrupted = True
        if plan.where == "cuda" and gpu_problem() is None and (why := annotate.problem()):
            problems.append(why)
        facts = LadderFacts(
            dataset=plan.dataset,
            rows=len(plan.rows),
            dim=plan.rows.shape[1],
            k=plan.k,
            device="cuda" if plan.where == "cuda" else "cpu",
            queries=len(plan.queries),
            repeat=plan.repeat,
            loop_rows=plan.loop_rows,
            interrupted=interrupted,
            notes=(*workload.said(), *problems),
        )
        ceilings = {device: found.to_json() for device, found in plan.ceilings.items()}
        run = LadderRun(tuple(rows), facts, {**environment.collect(catalog.libraries()), "ceilings": ceilings})
        return Ladder(run if folder is None else runs.save(run, folder))


def _known(rungs: Sequence[str] | None) -> list[str]:
    """In the ladder's order."""
    if rungs is None:
        return [*RUNGS, *ENGINES]
    known = (*RUNGS, *catalog.ENGINES)
    chosen = [rungs] if isinstance(rungs, str) else list(rungs)
    if not chosen:
        raise ArgumentError("rungs is empty: names of rungs were expected, such as argsort,fused-topk")
    for name in chosen:
        if name not in known:
            raise unknown_name("rung or engine", name, known)
    return [name for name in known if name in chosen]


def _plan(data: Any, k: int, how: ClimbOptions) -> tuple[Workload, Climb, list[str]]:
    """What is opened, what is climbed, and what there is to say of it."""
    if how.device not in (None, *DEVICES):
        raise ArgumentError(f"device {how.device!r}: {' or '.join(DEVICES)} was expected")
    for name in ("repeat", "loop_rows"):
        value = getattr(how, name)
        if value is not None and value < 1:
            raise ArgumentError(f"{name.replace('_', '-')} {value}: a number above 0 was expected")
    limit = how.dataset.selection.limit if how.dataset else None
    generated = f"synthetic:text,rows={limit or ROWS},queries={QUERIES}"
    workload = opened(generated if data is None else data, how.dataset, how.encoder)
    task = choose(workload, Choice(None, "l2", at_most=QUERIES))
    rows, queries = (np.ascontiguousarray(a, dtype=np.float32) for a in (task.rows, task.queries[:QUERIES]))
    for values, what in ((rows, "rows"), (queries, "queries")):
        check_matrix(values, what)
    check_k(k, len(rows))
    where = how.device or ("cpu" if gpu_problem() else "cuda")
    ceilings, problems = _ceilings(where)
    return workload, Climb(task.name, rows, queries, k, where, how.repeat, how.loop_rows, ceilings), problems


def _ceilings(where: str) -> tuple[dict[str, Ceilings], list[str]]:
    """By device, and why one has none."""
    found, problems = {}, []
    for device in ("cpu", "cuda") if where == "cuda" and gpu_problem() is None else ("cpu",):
        try:
            found[device] = cache.obtain(device)
        except KnnscopeError as error:
            problems.append(f"no read floor for {device}: {error}")
    return found, problems
