"""knnscope ladder."""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from knnscope import annotate, environment
from knnscope.analysis.verdict import duration
from knnscope.api.workload import Workload
from knnscope.bench import jsonl
from knnscope.bench.ladder import ENGINES, Climb, climb
from knnscope.ceilings import cache
from knnscope.ceilings.record import DEVICES, Ceilings
from knnscope.cli import options
from knnscope.cli.compare import task_of
from knnscope.cli.notes import notes
from knnscope.errors import KnnscopeError, unknown_name
from knnscope.records import Row
from knnscope.report.text import table
from knnscope.search import catalog, ladder
from knnscope.search.device import gpu_problem
from knnscope.search.engine import check_k, check_matrix
from knnscope.search.ladder.verbose import explain
from knnscope.store import new_folder, write_json

ROWS = 75_000
"""Of the generated data: as many as the study had."""
QUERIES = 16
"""Asked in turn, so that a rung is not judged by one."""
SCHEMA = "ladder.schema.json"
COLUMNS = ("rung", "grade", "wall", "events", "vs previous", "vs first", "moved", "kernels", "copies", "of floor")


class Ladder:
    """One search from a Python loop to a kernel at memory's rate: every version timed on your data and GPU, every answer judged.

    Without a GPU the rungs that need none run with NumPy; the others are rows that say so. --rungs verbose explains the search in
    words. Each rung runs in this process: put a profiler before the command, and name one rung, to see what it does.

    knnscope ladder                                    75,000 generated rows of 384 components
    knnscope ladder vectors.npy -k 10 --rungs fused,topk,fused-topk
    nsys profile -t cuda,nvtx knnscope ladder --rungs argsort --repeat 3
    """

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        options.add_dataset(parser, optional=True)
        parser.add_argument(
            "--rows", type=options.positive, metavar="N", dest="limit", help="the same as --limit: the first N rows"
        )
        parser.add_argument("-k", type=options.positive, default=3, metavar="K", help="neighbors (default 3)")
        parser.add_argument(
            "--rungs",
            metavar="R,R...",
            help=f"of verbose, {', '.join(ladder.RUNGS)}, or engines (default: all but verbose, and {', '.join(ENGINES)})",
        )
        parser.add_argument("--device", choices=DEVICES, help="of the rungs (default: cuda where there is a GPU)")
        parser.add_argument(
            "--repeat", type=options.positive, default=10, metavar="N", help="timed searches of a rung (default 10)"
        )
        parser.add_argument(
            "--loop-rows", type=options.positive, metavar="N", help="loops visit N rows only, and their time is scaled"
        )
        parser.add_argument(
            "--out", metavar="DIR", help="where results.jsonl and environment.json go (default: runs/ladder-DATE-TIME)"
        )
        parser.add_argument("--json", action="store_true", help="print the rows, a JSON object a line")
        options.add_encoder(parser, devices=None)

    def run(self, args: argparse.Namespace) -> int:
        """Climb and print."""
        chosen = _chosen(args.rungs)
        if "verbose" in chosen:
            print(explain())
            chosen.remove("verbose")
            if not chosen:
                return 0
            print()
        plan = _plan(args)
        with new_folder(Path(args.out or f"runs/ladder-{datetime.now(UTC):%Y%m%d-%H%M%S}")) as folder:
            rows: list[Row] = []
            interrupted = False
            try:
                for row in climb(chosen, plan):
                    rows.append(jsonl.check(row, SCHEMA))
                    if args.json:
                        print(json.dumps(row, allow_nan=False), flush=True)
            except KeyboardInterrupt:
                interrupted = True
            jsonl.write(folder / "results.jsonl", rows, SCHEMA)
            found = {device: ceilings.to_json() for device, ceilings in plan.ceilings.items()}
            write_json(folder / "environment.json", {**environment.collect(), "ceilings": found})
        if plan.where == "cuda" and gpu_problem() is None and (why := annotate.problem()):
            notes([why])
        if not args.json:
            print(report(rows, plan))
            print(f"\nsaved in {folder.resolve()}: results.jsonl, environment.json")
        if interrupted:
            raise KeyboardInterrupt(f"interrupted; the rungs climbed until then are in {folder.resolve()}")
        return 0


def report(rows: list[Row], plan: Climb) -> str:
    """The table, and a sentence a rung."""
    head = (
        f"{plan.dataset}: {len(plan.rows):,} rows of {plan.rows.shape[1]} components, k = {plan.k}, one query, "
        f"{'on the GPU' if plan.where == 'cuda' else 'no GPU: what says cupy or GPU is NumPy here'}"
    )
    shown = [(row["rung"] + ("*" if row["scaled"] else ""), *cells(row)) for row in rows]
    parts = [head, table(shown, COLUMNS, right=tuple(range(2, len(COLUMNS))))]
    if any(row["scaled"] for row in rows):
        parts.append("* the loop visited fewer rows, and its time was scaled to all")
    width = max((len(row["rung"]) for row in rows), default=0)
    without: dict[str, list[str]] = {}
    for row in rows:
        if row["status"] == "no-gpu":
            without.setdefault(row["reason"], []).append(row["rung"])
            continue
        said = row["reason"] if row["wall_ns"] is None else row["changed"]
        note = f" ({row['note']})" if row["note"] else ""
        parts.append(f"{row['rung']:<{width}}  {said}{note}")
    parts += [f"not measured: {', '.join(rungs)}: {why}" for why, rungs in without.items()]
    return "\n".join([parts[0], "", *parts[1:2], "", *parts[2:]])


def cells(row: Row) -> tuple[str, ...]:
    """A row under ``COLUMNS``, all but its name; ~ marks counts that follow from the code."""
    if row["wall_ns"] is None:
        return (row["status"], *[""] * 8)
    timed = row["event_ns"] or row["wall_ns"]
    counted = "~" if row["device"] == "cuda" and row["counted_by"] != "cupti" else ""

    def times(value: float | None) -> str:
        return "" if value is None else f"{value:,.2f}" if value < 100 else f"{value:,.0f}"

    return (
        row["grade"],
        duration(row["wall_ns"]),
        "" if row["event_ns"] is None else duration(row["event_ns"]),
        times(row["ratio_below"]),
        times(row["ratio_first"]),
        "" if not row["bytes_moved"] else f"{row['bytes_moved'] / 1e6:,.0f} MB",
        "" if row["kernels"] is None else f"{counted}{row['kernels']:,}",
        "" if row["copies"] is None else f"{counted}{row['copies']:,}",
        "" if not row["floor_ns"] else share(row["floor_ns"] / timed),
    )


def share(value: float) -> str:
    """Percent, with a digit more where it is small."""
    return f"{100 * value:.0f}%" if value >= 0.1 else f"{100 * value:.2g}%"


def _chosen(text: str | None) -> list[str]:
    known = ("verbose", *ladder.RUNGS, *catalog.ENGINES)
    if text is None:
        return [*ladder.RUNGS, *ENGINES]
    names = options.listed(text)
    if not names:
        raise KnnscopeError(f"--rungs {text!r}: names of rungs were expected, such as argsort,fused-topk")
    for name in names:
        if name not in known:
            raise unknown_name("rung or engine", name, known)
    return [name for name in known if name in names]


def _plan(args: argparse.Namespace) -> Climb:
    spec = args.dataset or f"synthetic:text,rows={args.limit or ROWS},queries={QUERIES}"
    workload = Workload(spec, options.dataset_options(args), options.encoder_options(args, "cpu"))
    task = task_of(workload, str(QUERIES) if args.dataset and _enough(workload) else None, "l2", 0)
    rows, queries = (np.ascontiguousarray(a, dtype=np.float32) for a in (task.rows, task.queries[:QUERIES]))
    for values, what in ((rows, "rows"), (queries, "queries")):
        check_matrix(values, what)
    check_k(args.k, len(rows))
    where = args.device or ("cpu" if gpu_problem() else "cuda")
    notes(workload.said())
    return Climb(task.name, rows, queries, args.k, where, args.repeat, args.loop_rows, _ceilings(where))


def _enough(workload: Workload) -> bool:
    """Whether so many rows can be held out as queries, or the data has its own."""
    own = workload.dataset.queries
    return bool(own is not None and len(own)) or len(workload.dataset.documents) >= 2 * QUERIES


def _ceilings(where: str) -> dict[str, Ceilings]:
    found = {}
    for device in ("cpu", "cuda") if where == "cuda" and gpu_problem() is None else ("cpu",):
        try:
            found[device] = cache.obtain(device)
        except KnnscopeError as error:
            notes([f"no read floor for {device}: {error}"])
    return found
