"""Which engine is fastest and right on this data and machine: what ``knnscope compare`` does, for Python."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from knnscope import threads
from knnscope.analysis import quality, statistics
from knnscope.analysis import run as runs
from knnscope.analysis.change import changes
from knnscope.analysis.contents import Contents
from knnscope.analysis.measurement import BOUNDARIES, Measurement, to_dict
from knnscope.analysis.run import CompareFacts, ComparisonRun
from knnscope.analysis.side_by_side import Question, SideBySide, side_by_side
from knnscope.analysis.verdict import Verdict, as_json, verdicts
from knnscope.api.choosing import Choice, Queries, choose
from knnscope.api.loading import opened, options_of
from knnscope.api.runs import RunResult, counts, names
from knnscope.api.searching import top
from knnscope.api.workload import EncoderOptions, Workload
from knnscope.bench import beside as by_turns
from knnscope.bench import other, session
from knnscope.bench.beside import Two
from knnscope.bench.other import Other
from knnscope.bench.plan import QUICK_ROUNDS, QUICK_SECONDS, Options
from knnscope.bench.session import Grid, Result
from knnscope.bench.task import Task
from knnscope.bench.turns import AGAIN, PROCESSES, Plan
from knnscope.datasets.registry import DatasetOptions
from knnscope.errors import ArgumentError, unknown_name
from knnscope.records import TextDataset, VectorDataset
from knnscope.report import comparison, html
from knnscope.report.text import plain
from knnscope.search import catalog
from knnscope.search.definition import METRICS
from knnscope.search.device import gpu_problem
from knnscope.search.engine import check_k
from knnscope.store import write_json
from knnscope.units import short

QUERIES = 1000
"""Queries that are used where the data has more, or rows held out where it has none."""
QUICK_QUERIES = 200
"""The same in a quick run: as few as tell an engine that is wrong now and then."""
SECONDS = 20
"""Budget of a case."""
FEWEST = 5
"""Rounds; with fewer than statistics.FEWEST_ROUNDS the figures stand without a verdict."""
DISAGREEING = 8
"""Queries whose answers are saved with their texts."""
NAMED = 4
"""Winners that a line names."""


@dataclass(frozen=True, slots=True)
class CompareOptions:
    """How to compare.

    Attributes:
        metric: "l2", "ip" or "cosine"; None is the data's, else "l2".
        quick: few queries and rounds, which tell large differences only.
        boundary: of ``BOUNDARIES``; None is all that an engine has.
        threads: the budget of every library; None is all cores, "stock" leaves each its own default.
        rounds: at least 5; 7 allow a verdict; None is 20, or 5 of a quick run, or with beside 8, each by new processes.
        seconds: budget of a case; None is 20, or a share of a minute of a quick run.
        timeout: seconds for any one step: a build, a warm-up, a turn.
        memory: MiB of host memory that one engine may allocate; None is no limit.
        seed: of the choice of queries and the order of calls.
        keep_own: measure quality with documents that have the query's own id.
        beside: the interpreter of another environment, or the folder of a virtual one: each engine is measured there and here by turns, and the result
            says what changed from there to here (``knnscope.changes(found.beside, found)``).
        again: with beside: up to so many times as many rounds more, while a row is not clear.
        dataset: which part of a data set.
        encoder: what encodes its texts.
    """

    metric: str | None = None
    quick: bool = False
    boundary: Sequence[str] | None = None
    threads: int | Literal["stock"] | None = None
    rounds: int | None = None
    seconds: float | None = None
    timeout: float = 300
    memory: int | None = None
    seed: int = 0
    keep_own: bool = False
    beside: str | Path | None = None
    again: int = AGAIN
    dataset: DatasetOptions | None = None
    encoder: EncoderOptions | None = None


class Comparison(RunResult[ComparisonRun]):
    """Every engine measured side by side, every answer judged. ``str`` gives the tables and verdicts in words."""

    command = "compare"
    made_of = ComparisonRun

    def __init__(self, run: ComparisonRun, beside: Comparison | None = None) -> None:
        """A result from the record of its run, and what was measured by turns with it."""
        super().__init__(run)
        self._beside = beside

    @property
    def beside(self) -> Comparison | None:
        """What was measured by turns with it in another environment, if it was."""
        if self._beside is None and (folder := runs.beside(self.run.folder)) is not None:
            self._beside = type(self).load(folder)
        return self._beside

    def save(self, folder: str | Path) -> None:
        """Write the files of the run into a folder, as the command does; what was measured by turns with it into ``beside`` in there.

        Raises:
            KnnscopeError: the folder cannot be written.
        """
        beside = self.beside
        super().save(folder)
        if beside is not None:
            beside.save(Path(folder) / runs.BESIDE)
            write_json(Path(folder) / runs.CHANGES, to_dict(changes(beside.run, self.run)))

    def _contents(self) -> Contents:
        """What its page shows: where there is one beside it, what changed."""
        return replace(super()._contents(), beside=self.beside.run if self.beside is not None else None)

    @property
    def measurements(self) -> tuple[Measurement, ...]:
        """A record for each case and state of the caches, failures among them."""
        return self.run.rows

    @property
    def verdicts(self) -> list[Verdict]:
        """For each k, batch size and boundary: the fastest exact engine, the fastest that float32 rounding explains."""
        return verdicts(self.run.rows)

    def to_dict(self) -> dict[str, Any]:
        """All of it in JSON's own types: ``rows``, ``environment``, ``run``, ``verdict``."""
        return {**super().to_dict(), "verdict": as_json(self.run.rows)}

    def __str__(self) -> str:
        return comparison.text(self.run)

    def __repr__(self) -> str:
        engines = len({row.engine for row in self.run.rows})
        best = [f"{v.engine} at batch {v.batch}" for v in self.verdicts if v.grade == "exact"]
        more = f" and {len(best) - NAMED} more" if len(best) > NAMED else ""
        first = short(plain(", ".join(best[:NAMED])), 100) + more
        on = short(comparison.heading(self.run), 200)
        return f"<Comparison of {engines} engines on {on}; fastest exact: {first or 'none'}>"

    def _repr_html_(self) -> str:
        return html.comparison_html(self.run)


def compare(
    vectors_or_dataset: Any,
    queries: Queries = None,
    engines: Sequence[str] | None = None,
    k: int | Sequence[int] = 10,
    batch: int | Sequence[int] = (1, 10, 100),
    options: CompareOptions | None = None,
    out: str | Path | None = None,
    **keywords: Any,
) -> Comparison:
    """Measure engines side by side, each in a process of its own, and judge every answer by the definition.

    Ctrl-C ends it and keeps what was measured (``interrupted``).

    Args:
        vectors_or_dataset: an array of shape (rows, dim), the path of a file or folder, or the name of a data set.
        queries: an array of shape (queries, dim), a file of vectors, or how many; by default the data's own, at most 1,000, else 1,000
            rows held out. A quick run asks 200 of an array, a file or the data's own.
        engines: by name; by default all but the reference, which judges them.
        k: neighbors, one number or several.
        batch: queries in a call, one number or several.
        options: how to measure.
        out: a folder for the files of the run.
        **keywords: fields of the options, in their place or beside them: ``metric="cosine"``.

    Raises:
        KnnscopeError: data, names or numbers that cannot be.
    """
    how = options_of(options or CompareOptions(), keywords)
    grid = _grid(engines, counts(k, "k"), counts(batch, "batch"), how.boundary)  # type: ignore[arg-type]
    settings = settings_of(how, grid)
    beside = _found(how) if how.beside is not None else None
    if how.metric is not None and how.metric not in METRICS:
        raise unknown_name("metric", how.metric, METRICS)
    with runs.new(out) as folder:
        workload = opened(vectors_or_dataset, how.dataset, how.encoder)
        for number in grid.ks:
            check_k(number, len(workload.dataset.documents))
        if not isinstance(queries, str | Path | int | None):
            queries = np.asarray(queries)
        task = choose(workload, _choice(queries, how))
        if how.keep_own:
            task = replace(task, own={})
        said = _said(workload, task, settings) + _without_effect(workload, task, grid, how)
        if beside is None:
            return recorded(workload, task, session.measure(task, grid, settings), said, folder)
        two = by_turns.measure(task, grid, replace(settings, cold=False), _plan(how), beside)
        found = _two(two, task, (*said, *workload.said()))
        if folder is not None:
            found.save(folder)
        return found


def _choice(queries: Queries, how: CompareOptions) -> Choice:
    if how.quick:
        return Choice(queries, how.metric, how.seed, QUICK_QUERIES, QUICK_QUERIES)
    return Choice(queries, how.metric, how.seed, QUERIES)


def _found(how: CompareOptions) -> Other:
    """The environment beside this one.

    Raises:
        ArgumentError: it cannot measure, or a quick run is asked for.
    """
    assert how.beside is not None
    if how.quick:
        raise ArgumentError(
            "quick: one process an engine tells no change of two environments: leave it out, and give --seconds and --rounds"
        )
    return other.find(how.beside)


def _plan(how: CompareOptions) -> Plan:
    return Plan(how.rounds or PROCESSES, how.again)


def _two(two: Two, task: Task, said: Sequence[str]) -> Comparison:
    """What two environments had, as the result of this one with the other beside it."""
    there, here = (
        ComparisonRun(
            tuple(measured.rows),
            measured.environment,
            CompareFacts(
                queries=len(task.queries),
                held_out=task.held_out,
                interrupted=measured.interrupted,
                notes=(*said, *two.notes),
                turns=two.turns,
            ),
        )
        for measured in (two.before, two.after)
    )
    return Comparison(here, Comparison(there))


def recorded(
    workload: Workload, task: Task, measured: Result, said: Sequence[str] = (), folder: Path | None = None
) -> Comparison:
    """The result of a measurement, saved where there is a folder.

    Args:
        workload: what the task was chosen from.
        task: what was searched.
        measured: what came of it.
        said: notes from before.
        folder: where to save.
    """
    facts = CompareFacts(queries=len(task.queries), held_out=task.held_out, interrupted=measured.interrupted)
    run = ComparisonRun(tuple(measured.rows), measured.environment, facts)
    if folder is not None:  # first of all: what was measured is not lost, whatever its texts do
        run = runs.save(run, folder)
    run = replace(
        run,
        facts=CompareFacts(
            queries=facts.queries,
            held_out=facts.held_out,
            interrupted=facts.interrupted,
            answers=answers(workload, task, measured),
            disagreeing=disagreeing(workload, task, measured),
            notes=(*said, *workload.said()),
        ),
    )
    return Comparison(runs.save_facts(run))


def answers(workload: Workload, task: Task, measured: Result) -> SideBySide | None:
    """One query's top texts from every engine: the first that one is wrong on, else the first of all; None where there are no texts."""
    wrong = [row.evidence.query for row in measured.rows if row.grade == "wrong" and row.evidence is not None]
    return _answers_to(wrong[0] if wrong else 0, workload, task, measured)


def disagreeing(workload: Workload, task: Task, measured: Result) -> tuple[SideBySide, ...]:
    """The same of queries on which an engine departs from the definition, those that one is wrong on first; at most ``DISAGREEING``."""
    worst = sorted((row for row in measured.rows if row.evidence is not None), key=lambda row: row.grade != "wrong")
    lines = dict.fromkeys(row.evidence.query for row in worst if row.evidence is not None)
    found = (_answers_to(line, workload, task, measured) for line in list(lines)[:DISAGREEING])
    return tuple(one for one in found if one is not None)


def _answers_to(line: int, workload: Workload, task: Task, measured: Result) -> SideBySide | None:
    """One query's top texts; None where there are no texts, or no engine answered all queries."""
    if workload.document_texts is None or task.held_out or not measured.answers:
        return None
    shown = {
        name: answer
        for name, answer in top(measured.answers, line).items()
        if answer.ids.min() >= 0 and answer.ids.max() < len(task.rows)
    }
    if not shown:
        return None
    row = task.query_rows[line] if task.query_rows else None
    return side_by_side(workload, task.metric, Question(task.queries[line : line + 1], row), shown)


def _grid(
    engines: Sequence[str] | None, ks: Sequence[int], batches: Sequence[int], boundaries: Sequence[str] | None
) -> Grid:
    chosen = catalog.timed() if engines is None else names(engines, tuple(catalog.ENGINES), "engines")
    at = None if boundaries is None else names(boundaries, BOUNDARIES, "boundary")
    return Grid(chosen, ks, batches, at)


def settings_of(how: CompareOptions, grid: Grid) -> Options:
    """How to measure a grid, as ``how`` asks.

    Raises:
        ArgumentError: too few rounds, or a limit that is not above 0.
    """
    if how.rounds is not None and how.rounds < FEWEST and how.beside is None:
        raise ArgumentError(f"rounds {how.rounds}: at least {FEWEST}, since fewer say nothing about the noise")
    for name in ("seconds", "timeout", "memory"):
        value = getattr(how, name)
        if value is not None and not value > 0:
            raise ArgumentError(f"{name} {value}: a number above 0 was expected")
    return Options(
        threads=threads.chosen(how.threads),
        rounds=how.rounds or (QUICK_ROUNDS if how.quick else statistics.ROUNDS),
        seconds=how.seconds or (QUICK_SECONDS / _cases_here(grid) if how.quick else SECONDS),
        timeout=how.timeout,
        memory=how.memory * 2**20 if how.memory else None,
        seed=how.seed,
        cold=not how.quick,
        quick=how.quick,
    )


def _cases_here(grid: Grid) -> int:
    """Cases of engines that seem to be here, whose libraries are not loaded for it; at least one."""
    here = {
        name: importlib.util.find_spec(entry.library) is not None and (entry.device == "cpu" or gpu_problem() is None)
        for name in grid.engines
        for entry in (catalog.ENGINES[name],)
    }
    return max(1, sum(here[case.engine] for case in grid.cases()))


def _without_effect(workload: Workload, task: Task, grid: Grid, how: CompareOptions) -> list[str]:
    """What was asked for and is not as it was asked."""
    said = []
    if isinstance(workload.dataset, VectorDataset) and how.encoder is not None and how.encoder.name is not None:
        said.append(f"{task.name}: holds vectors: the encoder is not used")
    if (largest := max(grid.batches)) > len(task.queries):
        said.append(f"{len(task.queries):,} queries are fewer than {largest:,} a call: they are repeated")
    return said


def _said(workload: Workload, task: Task, settings: Options) -> list[str]:
    """What a reader should know before the figures."""
    said = []
    if isinstance(workload.dataset, TextDataset) and task.own:
        said.append(quality.own_note(task.name, task.own, task.qrels))
    if (settings.threads or 0) > threads.usable():
        said.append(f"{settings.threads} threads on {threads.usable()} cores: they take turns")
    if cleared := threads.cleared():
        said.append(f"set to the thread budget or cleared for the measurement: {', '.join(sorted(cleared))}")
    return said
