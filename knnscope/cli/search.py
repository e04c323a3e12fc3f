"""knnscope search."""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope.cli import options
from knnscope.cli.notes import notes
from knnscope.errors import KnnscopeError
from knnscope.progress import bar
from knnscope.records import Neighbors, TextDataset
from knnscope.report.text import paragraph, plain, table
from knnscope.search import agreement, catalog, engine
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
        answer = Answer(workload, metric, row, args.text, query, found)
        print(json.dumps(answer.as_dict(), indent=2, allow_nan=False) if args.json else answer.as_text())
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


class Answer:
    """What the engines found for one query."""

    def __init__(  # one query's facts, handed over once
        self,
        workload: Workload,
        metric: str,
        row: int | None,
        text: str | None,
        query: npt.NDArray[Any],
        found: dict[str, Neighbors],
    ) -> None:
        self.found, self.metric, self.row = found, metric, row
        dataset = workload.dataset
        judged = dataset.qrels if isinstance(dataset, TextDataset) else None
        self.texts = workload.document_texts
        self.name = dataset.name
        self.ids, self.query_ids = dataset.documents.ids, workload.query_ids
        self.text = workload.query_text(row) if row is not None else text
        rows = workload.documents.values
        self.reference = "numpy64" if "numpy64" in found else next(iter(found))
        self.differences = agreement.differences(found, self.reference, rows, query, metric)
        self.relevant = judged.of(row) if judged is not None and row is not None else {}
        self.relevant = {document: grade for document, grade in self.relevant.items() if grade > 0}
        self.ranks = agreement.ranks(rows, query, list(self.relevant), metric) if self.relevant else {}

    def id_of(self, row: int) -> str:
        """The document's id, or its row number."""
        return self.ids[row] if self.ids else str(row)

    def _query_id(self) -> str | None:
        if self.row is None:
            return None
        return self.query_ids[self.row] if self.query_ids else str(self.row)

    def as_dict(self) -> dict[str, Any]:
        """Plain values; distances as the engine gave them."""
        return {
            "dataset": self.name,
            "query_id": self._query_id(),
            "query": self.text,
            "metric": self.metric,
            "k": next(iter(self.found.values())).ids.shape[1],
            "engines": {
                name: {
                    "rows": answer.ids[0].tolist(),
                    "ids": [self.id_of(i) for i in answer.ids[0].tolist()],
                    "distances": [float(d) for d in answer.distances[0]],
                }
                for name, answer in self.found.items()
            },
            "agree": not self.differences,
            "differences": [
                {
                    "engine": d.engine,
                    "rank": d.rank,
                    "id": self.id_of(d.row),
                    "expected_id": self.id_of(d.expected_row),
                    "float64_distance": d.distance,
                    "expected_float64_distance": d.expected_distance,
                }
                for d in self.differences
            ],
            "relevant": [
                {"id": self.id_of(document), "grade": grade, "rank": self.ranks[document]}
                for document, grade in sorted(self.relevant.items(), key=lambda pair: self.ranks[pair[0]])
            ],
        }

    def as_text(self) -> str:
        """For people."""
        unit = {"l2": "squared distance", "ip": "inner product", "cosine": "cosine similarity"}[self.metric]
        lines = []
        if self.text is not None:
            lines += [f"query {plain(self._query_id() or '')}".rstrip(), paragraph(self.text), ""]
        elif self.row is not None:
            lines += [f"query {plain(self._query_id() or '')} of {self.name}", ""]
        best = self.found[self.reference].ids[0].tolist()
        others = [int(i) for answer in self.found.values() for i in answer.ids[0] if int(i) not in best]
        for row in dict.fromkeys([*best, *others]):
            lines += self._document(row)
        names = list(self.found)
        cells = [
            (
                rank + 1,
                *(
                    f"{plain(self.id_of(int(a.ids[0, rank])))} {_number(a.distances[0, rank])}"
                    if not self._all_same(rank)
                    else _number(a.distances[0, rank])
                    for a in self.found.values()
                ),
            )
            for rank in range(len(best))
        ]
        lines += [f"{unit} by rank", table(cells, ("rank", *names)), "", self._verdict()]
        if self.relevant:
            told = sorted(self.relevant.items(), key=lambda pair: self.ranks[pair[0]])
            lines += [
                f"relevant: {', '.join(f'{plain(self.id_of(d))} (grade {g}) at rank {self.ranks[d]:,}' for d, g in told)}"
            ]
        return "\n".join(lines)

    def _all_same(self, rank: int) -> bool:
        return len({int(answer.ids[0, rank]) for answer in self.found.values()}) == 1

    def _document(self, row: int) -> list[str]:
        places: dict[int, list[str]] = {}
        for name, answer in self.found.items():
            where = np.flatnonzero(answer.ids[0] == row)
            if where.size:
                places.setdefault(int(where[0]) + 1, []).append(name)
        name = plain(self.id_of(row)) if self.ids else f"row {row}"
        mark = f"   <- relevant, grade {self.relevant[row]}" if row in self.relevant else ""
        if self.texts is not None and self._query_id() == self.id_of(row):
            mark += "   (the query itself)"
        if len(places) == 1 and len(next(iter(places.values()))) == len(self.found):
            head = f"{next(iter(places))}. {name}{mark}"
        else:
            who = "; ".join(f"rank {at} by {', '.join(engines)}" for at, engines in sorted(places.items()))
            head = f"-  {name}{mark}   ({who})"
        return [head, paragraph(self.texts[row])] if self.texts is not None else [head]

    def _verdict(self) -> str:
        count = len(self.found)
        if count == 1:
            return f"only {self.reference} was asked"
        if not self.differences:
            return f"{'both' if count == 2 else f'all {count}'} engines agree on the ids and their order"
        said = [
            f"{d.engine} differs from {self.reference} at rank {d.rank}: {plain(self.id_of(d.row))} for {plain(self.id_of(d.expected_row))}, "
            + (
                f"{gap:.3g} apart in float64"
                if (gap := abs(d.distance - d.expected_distance))
                else "an exact tie, which goes to the smaller row"
            )
            for d in self.differences
        ]
        return "\n".join([f"{count - len(self.differences)} of {count} engines agree", *said])


def _number(value: Any) -> str:
    return f"{float(value):.7g}"
