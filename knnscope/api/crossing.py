"""Where one engine overtakes another as rows or batches grow: what ``knnscope crossover`` does, for Python."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from msgspec.structs import replace

from knnscope import threads
from knnscope.analysis import crossover as records
from knnscope.analysis.bisection import Range
from knnscope.analysis.crossover import CrossoverRun, Question
from knnscope.analysis.explained_crossings import ExplainedCrossing, as_json, explained, leaders
from knnscope.analysis.measurement import to_dict
from knnscope.api.choosing import Choice, choose
from knnscope.api.loading import opened, options_of
from knnscope.api.runs import counts, names
from knnscope.api.workload import EncoderOptions
from knnscope.bench import crossover as searching
from knnscope.bench.plan import QUICK_ROUNDS, Options
from knnscope.bench.task import Task
from knnscope.datasets.registry import DatasetOptions
from knnscope.datasets.synthetic import Synthetic
from knnscope.errors import ArgumentError, KnnscopeError, unknown_name
from knnscope.report import crossover as report
from knnscope.search import catalog
from knnscope.search.definition import METRICS
from knnscope.search.engine import check_k
from knnscope.store import new_folder
from knnscope.units import short

LOW, HIGH = 500, 100_000
"""Rows, where none are given: from a collection that fits in a cache to one that does not."""
BATCHES = (1, 10)
BATCH_RANGE = (1, 1000)
QUERIES = 100
"""Asked in turn; a batch of more repeats them."""
AXES: tuple[str, ...] = ("rows", "batch")


@dataclass(frozen=True, slots=True)
class CrossoverOptions:
    """How to search for crossings.

    Attributes:
        k: neighbors.
        over: what grows, "rows" or "batch".
        metric: "l2", "ip" or "cosine"; None is the data's, else "l2".
        queries: how many different ones are asked; None is 100, or as many as there are.
        threads: the budget of every library; None is all cores, "stock" leaves each its own default.
        timeout: seconds for any one step: a build, a warm-up, a turn.
        seconds: no probe begins later than this; what is missing can be searched later. None is no limit.
        seed: of the choice of queries and the order of calls.
        dataset: which part of a data set.
        encoder: what encodes its texts.
    """

    k: int = 10
    over: Literal["rows", "batch"] = "rows"
    metric: str | None = None
    queries: int | None = None
    threads: int | Literal["stock"] | None = None
    timeout: float = 120
    seconds: float | None = None
    seed: int = 0
    dataset: DatasetOptions | None = None
    encoder: EncoderOptions | None = None


class Crossover:
    """Crossings with their intervals. ``str`` gives what the command prints; ``run`` is the record."""

    def __init__(self, run: CrossoverRun, folder: Path | None = None) -> None:
        """Made by ``crossover``."""
        self.run, self.folder = run, folder

    @property
    def crossings(self) -> list[ExplainedCrossing]:
        """Every crossing with its interval, and why."""
        return explained(self.run)

    @property
    def leaders(self) -> dict[int, list[Range]]:
        """By batch size (or by rows, where batches grow): who is the fastest right engine at which sizes."""
        return leaders(self.run)

    @property
    def interrupted(self) -> bool:
        """Whether something is left to ask: the same call with the same ``out`` goes on."""
        return not self.run.finished

    def save(self, folder: str | Path) -> None:
        """Write the record into a folder, as the command does.

        Raises:
            KnnscopeError: the folder cannot be written.
        """
        self.folder = Path(folder)
        records.save(self.run, self.folder)

    @classmethod
    def load(cls, folder: str | Path) -> Crossover:
        """Read a saved run: its folder, or the file in it.

        Raises:
            KnnscopeError: no such run; names file and field.
        """
        return cls(records.load(folder), Path(folder))

    def to_dict(self) -> dict[str, Any]:
        """The question and what was found, in JSON's own types; the measurements are in ``run``."""
        return {"question": to_dict(self.run.question), **as_json(self.run)}

    def rows(self) -> list[dict[str, Any]]:
        """A flat dict a crossing."""
        return [
            {k: v for k, v in c.items() if k not in ("costs", "splits", "why")} for c in as_json(self.run)["crossings"]
        ]

    def __str__(self) -> str:
        return report.text(self.run)

    def __repr__(self) -> str:
        return f"<Crossover of {short(report.heading(self.run), 200)}; {len(self.crossings)} crossings>"

    def _repr_html_(self) -> str:
        return report.crossover_html(self.run)


def crossover(
    vectors_or_dataset: Any = None,
    engines: Sequence[str] | None = None,
    rows: int | Sequence[int] | None = None,
    batch: int | Sequence[int] | None = None,
    options: CrossoverOptions | None = None,
    out: str | Path | None = None,
    **keywords: Any,
) -> Crossover:
    """Find where one engine overtakes another, by a coarse grid of sizes and bisection of each change.

    Every probe measures as a quick ``compare`` does: a process for each engine, interleaved rounds, every answer judged; a wrong engine
    leads nowhere. Ctrl-C keeps what was measured, and the same call with the same ``out`` goes on from there.

    Args:
        vectors_or_dataset: an array of shape (rows, dim), the path of a file or folder, or the name of a data set; by default generated
            rows. A smaller size is its first rows.
        engines: two or more by name; by default all but the reference.
        rows: the range (low, high) where rows grow, by default 500 to 100,000 or all rows; else one size or several, by default all.
        batch: queries in a call: one size or several, by default 1 and 10; where batches grow the range, by default 1 to 1,000.
        options: how.
        out: a folder for the record, written after each probe; one that holds a record of the same question is continued.
        **keywords: fields of the options, in their place or beside them: ``over="batch"``.

    Raises:
        KnnscopeError: data, names or numbers that cannot be.
    """
    how = options_of(options or CrossoverOptions(), keywords)
    if how.over not in AXES:
        raise unknown_name("axis", str(how.over), AXES)
    if how.metric is not None and how.metric not in METRICS:
        raise unknown_name("metric", how.metric, METRICS)
    chosen = catalog.timed() if engines is None else names(engines, tuple(catalog.ENGINES), "engines")
    if len(chosen) < 2:
        raise ArgumentError(f"engines {chosen[0]}: two or more were expected")
    asked = None if rows is None else counts(rows, "rows")  # type: ignore[arg-type]
    data = _generated(asked) if vectors_or_dataset is None else vectors_or_dataset
    settings = _settings(how)
    with new_folder(Path(out)) if out is not None else nullcontext() as folder:
        workload = opened(data, how.dataset, how.encoder)
        task = choose(workload, Choice(how.queries, how.metric, how.seed, QUERIES))
        task = Task(task.name, task.rows, task.queries, task.metric)
        question = replace(_question(task, asked, batch, how), engines=tuple(chosen), threads=settings.threads)
        run = records.resumed(folder, question) if folder is not None else None
        run = run or CrossoverRun(question=question, environment={}, notes=workload.said())

        def keep(found: CrossoverRun) -> None:
            if folder is not None:
                records.save(found, folder)

        measure = searching.Session(task, question, settings).measure
        return Crossover(searching.search(run, measure, keep, how.seconds), folder)


def _generated(asked: Sequence[int] | None) -> str:
    return Synthetic("text", rows=max(asked) if asked else HIGH, queries=QUERIES).name


def _question(
    task: Task, rows: Sequence[int] | None, batch: int | Sequence[int] | None, how: CrossoverOptions
) -> Question:
    """All of it but the engines and their threads."""
    count = len(task.rows)
    if how.over == "rows":
        low, high = _range(rows or (min(LOW, count), min(HIGH, count)), "rows")
        fixed = counts(BATCHES if batch is None else batch, "batch")  # type: ignore[arg-type]
    else:
        low, high = _range(counts(BATCH_RANGE if batch is None else batch, "batch"), "batch")  # type: ignore[arg-type]
        fixed = list(rows or [count])
    smallest, largest = (low, high) if how.over == "rows" else (min(fixed), max(fixed))
    if largest > count:
        raise ArgumentError(f"rows {largest}: {task.name} has {count:,} rows beside its queries")
    if check_k(how.k, count) > smallest:
        raise KnnscopeError(
            f"k = {how.k} is more than {smallest:,}, the fewest rows: take a smaller k, or begin with more rows"
        )
    return Question(
        dataset=task.name,
        dim=task.rows.shape[1],
        dtype=task.rows.dtype.name,
        metric=task.metric,  # type: ignore[arg-type]
        k=how.k,
        engines=(),
        over=how.over,
        low=low,
        high=high,
        fixed=tuple(fixed),
        queries=len(task.queries),
        seed=how.seed,
    )


def _range(values: Sequence[int], name: str) -> tuple[int, int]:
    if len(values) != 2:
        raise ArgumentError(
            f"{name} {', '.join(map(str, values))}: where it grows, two different numbers were expected: LOW,HIGH"
        )
    low, high = values
    return low, high


def _settings(how: CrossoverOptions) -> Options:
    for name in ("timeout", "seconds", "queries"):
        value = getattr(how, name)
        if value is not None and not value > 0:
            raise ArgumentError(f"{name} {value}: a number above 0 was expected")
    return Options(
        threads=threads.chosen(how.threads),
        rounds=QUICK_ROUNDS,
        seconds=searching.SECONDS,
        timeout=how.timeout,
        seed=how.seed,
        cold=False,
        quick=True,
    )
