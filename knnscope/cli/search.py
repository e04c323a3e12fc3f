"""knnscope search."""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy.typing as npt

from knnscope.analysis.side_by_side import Question, SideBySide, side_by_side
from knnscope.cli import options
from knnscope.cli.notes import notes
from knnscope.errors import KnnscopeError
from knnscope.progress import bar
from knnscope.records import Neighbors
from knnscope.report import side_by_side as report
from knnscope.search import catalog, engine
from knnscope.workload import Workload


class Search:
    """The nearest documents to a query, from several engines side by side, and whether they agree.

    knnscope search sample "is a ban on sugar fair?"
    knnscope search sample --query-id q-sugar-tax --engines numpy64,faiss -k 5
    """

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        options.add_dataset(parser)
        parser.add_argument("text", nargs="?", help="the query in words")
        parser.add_argument(
            "--query-id", metavar="ID", help="a query of the data set; its relevant documents are marked"
        )
        parser.add_argument(
            "--engines", metavar="E,E...", help=f"of {', '.join(catalog.ENGINES)} (default: all there are)"
        )
        parser.add_argument("-k", type=options.positive, default=3, help="neighbors (default 3)")
        options.add_metric(parser)
        options.add_encoder(parser)
        parser.add_argument("--json", action="store_true", help="print a JSON object")

    def run(self, args: argparse.Namespace) -> int:
        """Search and print."""
        if (args.text is None) == (args.query_id is None):
            raise KnnscopeError("give either a query in words or --query-id ID")
        if args.text is not None and not args.text.strip():
            raise KnnscopeError("the query is empty: give some words")
        engines = choose_engines(args.engines)
        workload = Workload(args.dataset, options.dataset_options(args), options.encoder_options(args))
        row = workload.query_row(args.query_id) if args.query_id is not None else None
        query = workload.words(args.text) if row is None else workload.query_vector(row)
        engine.check_k(args.k, len(workload.dataset.documents))
        metric = args.metric or workload.metric
        rows = workload.documents.values
        found, refused = search_all(engines, rows, query, args.k, metric)
        notes([*workload.said(), *refused])
        answer = side_by_side(workload, metric, Question(query, row, args.text), found)
        print(json.dumps(as_dict(answer), indent=2, allow_nan=False) if args.json else report.text(answer))
        return 0


def choose_engines(names: str | None) -> list[str]:
    """The engines of a comma-separated list; by default those whose library is here.

    Raises:
        KnnscopeError: unknown, or missing: names the line that installs it.
    """
    if names is None:
        return catalog.available()
    chosen = options.listed(names)
    if not chosen:
        raise KnnscopeError(f"--engines is empty: {', '.join(catalog.ENGINES)}")
    for name in chosen:
        catalog.load(name)
    return chosen


def search_all(
    engines: list[str], rows: npt.NDArray[Any], queries: npt.NDArray[Any], k: int, metric: str
) -> tuple[dict[str, Neighbors], list[str]]:
    """Answers by engine, and why an engine was left out.

    Raises:
        KnnscopeError: none of them can.
    """
    found: dict[str, Neighbors] = {}
    refused: list[str] = []
    with bar(len(engines), "search", "engine") as progress:
        for name in engines:
            progress.set_description(f"search with {name}", refresh=False)
            try:
                found[name] = engine.build(catalog.load(name), rows, metric, name).search(queries, k)
            except KnnscopeError as error:
                refused.append(str(error))
            progress.update()
    if not found:
        raise KnnscopeError(refused[0])
    return found, refused


def as_dict(found: SideBySide) -> dict[str, Any]:
    """Plain values; distances as the engine gave them."""

    def name(row: int) -> str:
        return found.document(row).name

    return {
        "dataset": found.dataset,
        "query_id": found.query_id,
        "query": found.query,
        "metric": found.metric,
        "k": len(found.engines[found.reference].rows),
        "engines": {
            engine: {
                "rows": list(answer.rows),
                "ids": [name(row) for row in answer.rows],
                "distances": list(answer.distances),
            }
            for engine, answer in found.engines.items()
        },
        "agree": not found.differences,
        "differences": [
            {
                "engine": d.engine,
                "rank": d.rank,
                "id": name(d.row),
                "expected_id": name(d.expected_row),
                "float64_distance": d.distance,
                "expected_float64_distance": d.expected_distance,
            }
            for d in found.differences
        ],
        "relevant": [{"id": d.name, "grade": d.grade, "rank": d.rank} for d in found.relevant],
    }
