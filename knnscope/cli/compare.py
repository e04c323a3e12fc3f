"""knnscope compare."""

from __future__ import annotations

import argparse
import importlib.util
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from knnscope import threads
from knnscope.analysis import quality, statistics
from knnscope.analysis.side_by_side import Question
from knnscope.analysis.side_by_side import side_by_side as answers_of
from knnscope.analysis.verdict import QUICK_MATTERS, as_json
from knnscope.api.workload import Workload
from knnscope.bench import result, session
from knnscope.bench.plan import BOUNDARIES, QUICK_ROUNDS, QUICK_SECONDS, Options
from knnscope.bench.session import Grid, Result, Task
from knnscope.cli import options
from knnscope.cli.notes import notes
from knnscope.datasets import registry, vector_files
from knnscope.errors import KnnscopeError, unknown_name
from knnscope.records import Neighbors, Row, TextDataset, VectorDataset
from knnscope.report import side_by_side as answers
from knnscope.report.comparison import report, verdict
from knnscope.search import catalog
from knnscope.search.device import gpu_problem
from knnscope.search.engine import check_k
from knnscope.store import new_folder, write_json

QUERIES = 1000
"""Queries that are used where the data has more, or rows held out where it has none."""
QUICK_QUERIES = 200
"""The same in a quick run: as few as tell an engine that is wrong now and then."""
SECONDS = 20
"""Budget of a case."""
FEWEST = 5
"""Rounds; with fewer than stats.FEWEST_ROUNDS the figures stand without a verdict."""
FAIL_ON = ("wrong", "unsupported", "missing", "no-gpu", "oom", "timeout", "crashed", "noisy")


class Compare:
    """Which engine is fastest and right on this data and machine: every engine measured side by side, every answer checked.

    Each engine runs in a process of its own with the same thread budget; rounds in random order; first call, cold and hot
    caches apart. An answer is exact (the ids that float64 defines), float32 (only rows exchanged that float32 rounding may
    exchange) or wrong; a wrong one never wins. Ctrl-C keeps what was measured.

    knnscope compare wordnet --limit 75000 --batch 1,10,100,1000
    knnscope compare base.fbin --queries queries.fbin -k 10,100 --engines faiss,usearch
    """

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        options.add_dataset(parser, optional=True)
        parser.add_argument(
            "--queries",
            metavar="FILE|N",
            help=f"a file of vectors, or how many (default: the data's own, at most {QUERIES:,}; else {QUERIES:,} rows, held out)",
        )
        parser.add_argument(
            "--engines",
            metavar="E,E...",
            help=f"of {', '.join(catalog.ENGINES)} (default: all but {catalog.REFERENCE}, by which they are judged)",
        )
        parser.add_argument(
            "--quick",
            action="store_true",
            help=f"under a minute for 100,000 x 384: {QUICK_QUERIES} queries, {QUICK_ROUNDS} rounds by one process an engine, "
            f"no cold caches; tells apart what differs {QUICK_MATTERS:g} times or more",
        )
        parser.add_argument("-k", default="10", metavar="K,K...", help="neighbors (default 10)")
        parser.add_argument(
            "--batch", default="1,10,100", metavar="B,B...", help="queries in a call (default 1,10,100)"
        )
        options.add_metric(parser)
        parser.add_argument(
            "--boundary",
            metavar="B,B",
            help="host: queries and answers in host memory; device: both in GPU memory (default: all that an engine has)",
        )
        parser.add_argument(
            "--threads",
            default=str(threads.usable()),
            metavar="N|stock",
            help="thread budget of every library (default: all cores); stock: their own defaults",
        )
        parser.add_argument(
            "--rounds",
            type=options.positive,
            metavar="N",
            help=f"at least 5; 7 allow a verdict (default {statistics.ROUNDS})",
        )
        parser.add_argument(
            "--seconds", type=options.positive, metavar="S", help=f"budget of a case (default {SECONDS})"
        )
        parser.add_argument(
            "--timeout",
            type=options.positive,
            default=300,
            metavar="S",
            help="limit of any one step: a build, a warm-up, a turn (default 300)",
        )
        parser.add_argument(
            "--memory", type=options.positive, metavar="MIB", help="what one engine may allocate in host memory"
        )
        parser.add_argument(
            "--seed", type=options.natural, default=0, metavar="N", help="of queries and order (default 0)"
        )
        parser.add_argument(
            "--out",
            metavar="DIR",
            help="where results.jsonl, environment.json and verdict.json go (default: runs/compare-DATE-TIME)",
        )
        parser.add_argument(
            "--keep-own",
            action="store_true",
            help="measure quality with documents that have the query's own id (default: without, as BEIR does)",
        )
        parser.add_argument("--json", action="store_true", help="print the rows, a JSON object a line")
        parser.add_argument(
            "--fail-on", metavar="S,S...", help=f"exit with 1 if a row is one of {', '.join(FAIL_ON)} (or any)"
        )
        options.add_encoder(parser)

    def run(self, args: argparse.Namespace) -> int:
        """Measure and print."""
        grid = grid_of(args)
        if args.rounds is not None and args.rounds < FEWEST:
            raise KnnscopeError(f"--rounds {args.rounds}: at least {FEWEST}, since fewer say nothing about the noise")
        fail_on = _choose(args.fail_on, FAIL_ON, "--fail-on") if args.fail_on is not None else []
        settings = Options(
            threads=_threads(args.threads),
            rounds=args.rounds or (QUICK_ROUNDS if args.quick else statistics.ROUNDS),
            seconds=args.seconds or (QUICK_SECONDS / _cases_here(grid) if args.quick else SECONDS),
            timeout=args.timeout,
            memory=args.memory * 2**20 if args.memory else None,
            seed=args.seed,
            cold=not args.quick,
            quick=args.quick,
        )
        with new_folder(Path(args.out or f"runs/compare-{datetime.now(UTC):%Y%m%d-%H%M%S}")) as folder:
            workload = Workload(args.dataset or "sample", options.dataset_options(args), options.encoder_options(args))
            for k in grid.ks:
                check_k(k, len(workload.dataset.documents))
            at_most = QUICK_QUERIES if args.quick else QUERIES
            task = task_of(workload, args.queries, args.metric, args.seed, at_most)
            if args.keep_own:
                task = replace(task, own={})
            elif isinstance(workload.dataset, TextDataset) and task.own:
                notes([quality.own_note(workload.dataset, task.own)])
            if (settings.threads or 0) > threads.usable():
                notes([f"{settings.threads} threads on {threads.usable()} cores: they take turns"])
            if cleared := threads.cleared():
                notes([f"set to the thread budget or cleared for the measurement: {', '.join(sorted(cleared))}"])
            measured = session.measure(task, grid, settings)
            save(folder, measured)
        notes(workload.said())
        if args.json:
            for row in measured.rows:
                print(json.dumps(row, allow_nan=False))
        else:
            print(report(measured, task))
            if text := side_by_side(workload, task, measured):
                print(f"\n{text}")
            if text := verdict(measured):
                print(f"\n{text}")
            print(f"\nsaved in {folder.resolve()}: results.jsonl, environment.json, verdict.json")
        if measured.interrupted:
            raise KeyboardInterrupt(f"interrupted; what was measured until then is in {folder.resolve()}")
        if failing := _failing(measured.rows, fail_on):
            notes([f"--fail-on: {'; '.join(failing)}"])
            return 1
        if all(row["median_ns"] is None for row in measured.rows):
            first = measured.rows[0]
            raise KnnscopeError(f"nothing was measured: {first['engine']}: {first['reason']}")
        return 0


def grid_of(args: argparse.Namespace) -> Grid:
    """The grid that the arguments describe.

    Raises:
        KnnscopeError: unknown names, or numbers that are none.
    """
    engines = (
        _choose(args.engines, tuple(catalog.ENGINES), "--engines") if args.engines is not None else catalog.timed()
    )
    boundaries = _choose(args.boundary, BOUNDARIES, "--boundary") if args.boundary is not None else None
    return Grid(engines, _numbers(args.k, "-k"), _numbers(args.batch, "--batch"), boundaries)


def _cases_here(grid: Grid) -> int:
    """Cases of engines that seem to be here, whose libraries are not loaded for it; at least one."""
    here = {
        name: importlib.util.find_spec(entry.library) is not None and (entry.device == "cpu" or gpu_problem() is None)
        for name in grid.engines
        for entry in (catalog.ENGINES[name],)
    }
    return max(1, sum(here[case.engine] for case in grid.cases()))


def task_of(workload: Workload, queries: str | None, metric: str | None, seed: int, at_most: int = QUERIES) -> Task:
    """Rows and queries: those of a file, the data's own (a seeded choice where there are many), or rows held out.

    Raises:
        KnnscopeError: no such file, or no row would be left.
    """
    metric = metric or workload.metric
    dataset = workload.dataset
    if queries is not None and not (queries.isascii() and queries.isdigit()):
        if not vector_files.split(queries)[0].exists():
            raise KnnscopeError(f"--queries {queries}: no such file: a file of vectors or a number was expected")
        other, _ = registry.load(queries)
        if not isinstance(other, VectorDataset):
            raise KnnscopeError(f"--queries {queries}: a file of vectors or a number was expected")
        return Task(dataset.name, workload.documents.values, other.documents.values, metric)
    wanted = _number(queries, "--queries") if queries is not None else at_most
    chance = np.random.default_rng(seed)
    own = len(dataset.queries) if dataset.queries is not None else 0
    if own:
        chosen = np.sort(chance.choice(own, wanted, replace=False)) if own > wanted else np.arange(own)
        rows, asked = workload.documents.values, workload.query_vectors(chosen.tolist())
        if isinstance(dataset, TextDataset) and len(dataset.qrels):
            return Task(
                dataset.name,
                rows,
                asked,
                metric,
                dataset.qrels,
                tuple(chosen.tolist()),
                quality.own_documents(dataset),
            )
        return Task(dataset.name, rows, asked, metric, query_rows=tuple(chosen.tolist()))
    rows = workload.documents.values
    if len(rows) < 2:
        raise KnnscopeError(f"{dataset.name}: one row and no queries: give some with --queries FILE")
    if queries is not None and wanted > len(rows) // 2:
        raise KnnscopeError(f"--queries {wanted}: at most half of the {len(rows):,} rows can be held out as queries")
    held = np.zeros(len(rows), dtype=bool)
    held[chance.choice(len(rows), min(wanted, len(rows) // 2), replace=False)] = True
    return Task(dataset.name, rows[~held], rows[held], metric, held_out=True)


def save(folder: Path, measured: Result) -> None:
    """results.jsonl, environment.json and verdict.json."""
    result.write(folder / "results.jsonl", measured.rows)
    write_json(folder / "verdict.json", as_json(measured.rows))
    write_json(folder / "environment.json", measured.environment)


def side_by_side(workload: Workload, task: Task, measured: Result, rank: int = 3) -> str:
    """One query's top texts from every engine: the first judged wrong on, else the first of all."""
    if workload.document_texts is None or task.held_out or not measured.answers:
        return ""
    line = next((row["evidence"]["query"] for row in measured.rows if row["grade"] == "wrong"), 0)
    shown = {
        name: Neighbors(a.ids[line : line + 1, :rank], a.distances[line : line + 1, :rank])
        for name, a in measured.answers.items()
        if a.ids[line, :rank].min() >= 0 and a.ids[line, :rank].max() < len(task.rows)
    }
    if not shown:
        return ""
    number = task.query_rows[line] if task.query_rows else None
    question = Question(task.queries[line : line + 1], number)
    return answers.text(answers_of(workload, task.metric, question, shown))


def _choose(text: str, known: Sequence[str], option: str) -> list[str]:
    chosen = options.listed(text)
    if not chosen:
        raise KnnscopeError(f"{option} is empty: {', '.join(known)}")
    if option == "--fail-on" and "any" in chosen:
        chosen = list(dict.fromkeys([*(name for name in chosen if name != "any"), *known]))
    for name in chosen:
        if name not in known:
            raise unknown_name({"--engines": "engine"}.get(option, f"choice for {option}"), name, known)
    return chosen


def _numbers(text: str, option: str) -> list[int]:
    parts = options.listed(text)
    if not parts:
        raise KnnscopeError(f"{option} is empty: numbers from 1 up, with commas between them")
    return sorted({_number(part, option) for part in parts})


def _number(text: str, option: str) -> int:
    try:
        return options.positive(text)
    except argparse.ArgumentTypeError as error:
        raise KnnscopeError(f"{option}: {error}") from error


def _threads(text: str) -> int | None:
    if text == "stock":
        return None
    try:
        number = options.positive(text)
    except argparse.ArgumentTypeError as error:
        raise KnnscopeError(f"--threads {text!r}: a number or stock was expected") from error
    if number > threads.LIMIT:
        raise KnnscopeError(
            f"--threads {number}: at most {threads.LIMIT:,}; this process may use {threads.usable()} cores"
        )
    return number


def _failing(rows: Sequence[Row], fail_on: Sequence[str]) -> list[str]:
    """Each engine with what it failed in, in the order of the rows; noisy is what the table shows as such, its hot calls."""
    found = []
    for row in rows:
        noisy = "noisy" if row["noisy"] and row["cache"] == "hot" else ""
        found += [f"{row['engine']} {why}" for why in (row["status"], noisy) if why in fail_on]
    return list(dict.fromkeys(found))
