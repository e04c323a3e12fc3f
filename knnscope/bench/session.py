"""From vectors to rows: reference answers, files for the children, the measurement, quality, the environment around it."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from knnscope import environment, threads
from knnscope.analysis import quality
from knnscope.analysis.measurement import Measurement
from knnscope.bench import result
from knnscope.bench.child import Child, Data
from knnscope.bench.failures import FailedError
from knnscope.bench.forecast import READ_NS
from knnscope.bench.plan import Case, Options, grid
from knnscope.bench.runner import Run, Runner
from knnscope.bench.task import Task
from knnscope.bench.worker import Answer
from knnscope.ceilings import cache
from knnscope.ceilings.record import Ceilings
from knnscope.errors import KnnscopeError
from knnscope.progress import say
from knnscope.records import Neighbors
from knnscope.search import catalog, device, geometry, reference
from knnscope.search.engine import check_k, check_matrix
from knnscope.search.engines.numpy import WIDE
from knnscope.search.grading import Grade, Judge
from knnscope.search.rounding import Formula
from knnscope.store import home, locked, make_folder, open_own, os_problem

ROOM = 3
"""One more engine is started only if this many times the rows' bytes of memory are available."""

HELD = "held"
"""A file that a run keeps locked in its folder of vectors."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Engines by name, and what each is asked."""

    engines: Sequence[str]
    ks: Sequence[int] = (10,)
    batches: Sequence[int] = (1, 10, 100)
    boundaries: Sequence[str] | None = None
    """None: each engine at those that it has."""

    def cases(self) -> list[Case]:
        """Every case, engine by engine."""
        found = []
        for name in self.engines:
            has = ("host", "device") if catalog.ENGINES[name].device == "cuda" else ("host",)
            found += grid([name], self.ks, self.batches, self.boundaries or has)
        return found


@dataclass(frozen=True, slots=True)
class Result:
    """Rows as in results.jsonl, the environment with the data's geometry, and every engine's answers to all queries."""

    rows: list[Measurement]
    environment: dict[str, Any]
    answers: dict[str, Neighbors]
    interrupted: bool


def measure(task: Task, what: Grid, options: Options, ceilings: bool = True) -> Result:
    """Measure every case of the grid.

    Args:
        task: vectors and metric.
        what: engines, k, batch sizes, boundaries.
        options: how.
        ceilings: also obtain this machine's read bandwidth and matrix rates (from the cache, else measured, some seconds).

    Raises:
        KnnscopeError: data that cannot be searched.
    """
    task = checked(task, what)
    known = _ceilings(what, options, cache.cached if options.quick else cache.obtain) if ceilings else {}
    with ready(task, what, options, known) as made:
        before = environment.state()
        need = ROOM * made.task.rows.size * max(4, made.task.rows.itemsize)
        runner = Runner(
            lambda name: start(name, made.data, options),
            made.grade,
            len(made.order),
            options,
            room=lambda: (environment.memory()["available"] or need) >= need,
        )
        count = len(made.task.queries)
        wanted = made.task.qrels is not None or not options.quick
        ask = (made.depth, min(max(what.batches), count), count) if wanted else None
        run = runner.run(what.cases(), ask, made.query_ns)
        after = environment.state()
    facts_of_run = {
        **surroundings(before, after, options),
        "ceilings": {name: c.to_json() for name, c in known.items()},
        "geometry": asdict(made.shape),
    }
    return Result(made.rows_of(run), facts_of_run, run.answers, run.interrupted)


@dataclass(frozen=True, slots=True)
class Ready:
    """A task with its reference answers, its files for the children, and what all rows share.

    order: which query each line of the file of queries is. depth: reference answers a query. query_ns: about what a query takes.
    """

    task: Task
    facts: result.Facts
    data: Data
    order: npt.NDArray[np.int64]
    judge: Judge
    shape: geometry.Geometry
    depth: int
    query_ns: float
    formulas: dict[str, Callable[[int], Formula]] = field(default_factory=dict)
    """By engine, of those that answered."""

    def formula(self, engine: str) -> Callable[[int], Formula]:
        """By which an engine computes a batch."""
        if engine not in self.formulas:
            some = catalog.load(engine)
            dtype, dim = self.task.rows.dtype.name, self.task.rows.shape[1]
            self.formulas[engine] = lambda batch: some.formula(self.task.metric, dtype, batch, dim)
        return self.formulas[engine]

    def grade(self, case: Case, answer: Answer, formula: Formula | None = None) -> Grade:
        """Judge an answer of an engine's, by its own formula or another."""
        first, ids, distances = answer
        found = self.judge.grade(ids, first, formula or self.formula(case.engine)(case.batch), distances)
        return found.numbered(self.order)

    def rows_of(self, run: Run) -> list[Measurement]:
        """What was measured as rows."""
        return _rows(run, self.task, self.facts, self.formulas)


def checked(task: Task, what: Grid) -> Task:
    """The task, with queries as all engines are asked them.

    Raises:
        KnnscopeError: data that cannot be searched.
    """
    check_matrix(task.rows, "rows")
    check_matrix(task.queries, "queries")
    task = replace(task, queries=_as_asked(task.queries, task.rows.dtype))
    if task.queries.shape[1] != task.rows.shape[1]:
        raise KnnscopeError(
            f"queries have {task.queries.shape[1]} components, the rows {task.rows.shape[1]}: use the same encoder for both"
        )
    for k in what.ks:
        check_k(k, len(task.rows))
    return task


@contextmanager
def ready(task: Task, what: Grid, options: Options, known: dict[str, Ceilings]) -> Iterator[Ready]:
    """Find the reference answers of a task that was checked, and write the files."""
    depth = min(max(*what.ks, quality.DEPTH) + bool(task.own), len(task.rows)) if task.qrels else max(what.ks)
    began = time.perf_counter_ns()
    expected = reference.answers(task.rows, task.queries, depth, task.metric)
    query_ns = min((time.perf_counter_ns() - began) / len(task.queries), READ_NS * task.rows.size)  # few rows: all else
    shape = geometry.measure(task.rows, task.queries, min(10, len(task.rows)), task.metric)
    facts = result.Facts(
        task.name,
        len(task.rows),
        task.rows.shape[1],
        task.rows.dtype.name,
        task.rows.itemsize,
        task.metric,
        options.threads,
        known,
        options.per_process,
        options.quick,
    )
    with vector_files(task, max(what.batches)) as (data, order):
        judge = Judge(
            task.rows, task.queries[order], Neighbors(expected.ids[order], expected.distances[order]), task.metric
        )
        yield Ready(task, facts, data, order, judge, shape, depth, query_ns)


def surroundings(before: dict[str, Any], after: dict[str, Any], options: Options) -> dict[str, Any]:
    """What is recorded around a run, between two states of the machine."""
    return {
        **environment.collect(catalog.libraries()),
        "options": asdict(options),
        "cleared_variables": threads.cleared(),
        "before": before,
        "after": after,
        "other_cores": environment.other_cores(before, after),
    }


def _as_asked(queries: npt.NDArray[Any], rows: np.dtype[Any]) -> npt.NDArray[Any]:
    """Queries rounded to float32 where the rows have no more: engines would round them, each in its way."""
    if queries.dtype.name in WIDE and rows.name not in WIDE:
        say(
            f"note: the queries are {queries.dtype.name} and the rows {rows.name}: the queries are rounded to float32 for all engines"
        )
        return queries.astype(np.float32)
    return queries


def _rows(
    run: Run, task: Task, facts: result.Facts, formulas: dict[str, Callable[[int], Formula]]
) -> list[Measurement]:
    found: list[Measurement] = []
    good: dict[tuple[str, int], dict[str, float]] = {}
    for m in run.measured:
        case = m.case
        if task.qrels is not None and case.engine in run.answers and (case.engine, case.k) not in good:
            lines = quality.ranked(run.answers[case.engine], task.metric, task.own, task.query_rows)
            good[case.engine, case.k] = quality.measures(lines, task.qrels, case.k, task.query_rows)
        formula = str(formulas[case.engine](case.batch)) if case.engine in formulas else None
        entry = catalog.ENGINES[case.engine]
        about = result.About(entry.device, formula, good.get((case.engine, case.k), {}), entry.elsewhere)
        found += result.rows_of(m, facts, about)
    return found


def start(name: str, data: Data, options: Options) -> Child:
    """The process of an engine.

    Raises:
        FailedError: it needs a GPU, and there is none.
    """
    entry = catalog.ENGINES[name]
    if entry.device == "cuda" and (why := device.gpu_problem()):
        raise FailedError("no-gpu", why)
    return Child(entry, data, options)


def _ceilings(what: Grid, options: Options, ask: Callable[..., Ceilings | None]) -> dict[str, Ceilings]:
    """By device, as far as they can be measured; a quick run takes what the cache has."""
    wanted = {catalog.ENGINES[name].device for name in what.engines}
    if device.gpu_problem():
        wanted.discard("cuda")
    found = {}
    for name in sorted(wanted):
        try:
            if (of := ask(name, options.threads or threads.usable() if name == "cpu" else None)) is not None:
                found[name] = of
        except KnnscopeError as error:
            say(f"note: no read floors for {name}: {error}")
    return found


@contextmanager
def vector_files(task: Task, largest: int) -> Iterator[tuple[Data, npt.NDArray[np.int64]]]:
    """Rows and queries as .npy files for the children, and which query each line of the second is.

    Fewer queries than the largest batch are repeated until they fill it.
    """
    order = np.arange(max(len(task.queries), largest)) % len(task.queries)
    base = make_folder(home())
    with locked(base / "compare.lock"):  # nobody sweeps a folder that is not held yet
        _sweep(base)
        folder, held = _held_folder(base)
    try:
        rows = _own_file(task.rows) or folder / "rows.npy"
        if not rows.exists():
            np.save(rows, task.rows)
        np.save(folder / "queries.npy", task.queries[order])
        yield Data(rows, folder / "queries.npy", task.metric), order
    except OSError as error:
        raise os_problem(error, folder) from error
    finally:
        held.close()
        shutil.rmtree(folder, ignore_errors=True)


def _held_folder(base: Path) -> tuple[Path, IO[bytes]]:
    """A new folder, and the lock that says that it is in use; a folder without a lock would never be removed."""
    try:
        folder = Path(tempfile.mkdtemp(prefix="compare-", dir=base))
    except OSError as error:
        raise os_problem(error, base) from error
    try:
        held = (folder / HELD).open("wb")
        try:
            fcntl.flock(held, fcntl.LOCK_EX)
        except OSError:
            held.close()
            raise
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise os_problem(error, folder) from error
    return folder, held


def _sweep(base: Path) -> None:
    """Remove what killed runs left behind; a run under way, perhaps in another container, holds a lock on its folder."""
    for left in base.glob(f"compare-*/{HELD}"):
        with suppress(OSError, KnnscopeError), open_own(left) as held:  # held, or gone since
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left.parent, ignore_errors=True)


def _own_file(rows: npt.NDArray[Any]) -> Path | None:
    """The .npy file that an array is a map of, whole and in order, if it is one."""
    if not isinstance(rows, np.memmap) or rows.filename is None or not os.fspath(rows.filename).endswith(".npy"):
        return None
    path = Path(os.fspath(rows.filename))
    whole = path.stat().st_size == rows.offset + rows.nbytes and rows.flags.c_contiguous
    return path if whole and np.load(path, mmap_mode="r").shape == rows.shape else None
