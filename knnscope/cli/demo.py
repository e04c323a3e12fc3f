"""knnscope demo."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np

from knnscope import catalog, environment, quality
from knnscope.cli import options
from knnscope.cli.data import show_texts
from knnscope.cli.embed import encode
from knnscope.cli.search import Answer, search_all
from knnscope.cli.show import notes, table
from knnscope.records import Neighbors
from knnscope.store import make_folder, whole_file, write_json
from knnscope.workload import Workload

QUERY = "q-crewed-mars"
DEPTH = 10


class Demo:
    """The shipped sample from words to an answer: encode it, search it with every engine, show what they found.

    Needs no network once the packages are installed. The run is saved, to be looked at or used further.
    """

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument(
            "--out", default="runs/demo", metavar="DIR", help="where the run is saved (default runs/demo)"
        )
        options.add_encoder(parser)

    def run(self, args: argparse.Namespace) -> int:
        """All steps in turn."""
        folder = make_folder(Path(args.out))
        workload = Workload("sample", None, options.encoder_options(args))
        texts = workload.texts
        print("== 1. A query and a document that people judged relevant\n")
        row, judged = workload.query_row(QUERY), texts.judgements
        best = judged.queries[judged.grades == 2]
        show_texts(texts, pairs=1, offset=int(np.flatnonzero(best == row)[0]), grade=2)

        print(f"\n== 2. {len(texts.documents)} documents and {len(texts.queries)} queries become vectors\n")
        encode(workload, folder)
        rows, queries, metric = workload.documents.values, workload.queries, workload.metric
        print(f"{workload.encoder.model.name}: {rows.shape[1]} components each, searched by {metric}")

        print("\n== 3. One query, its three nearest documents, from every engine here\n")
        found, refused = search_all(catalog.available(), rows, queries, DEPTH, metric)
        top = {name: Neighbors(a.ids[row : row + 1, :3], a.distances[row : row + 1, :3]) for name, a in found.items()}
        print(Answer(workload, metric, row, None, queries[row : row + 1], top).as_text())

        print(f"\n== 4. All {len(queries)} queries\n")
        results = _results(workload, found)
        shown = [(r["engine"], f"{r['agree_queries']} of {r['queries']}", f"{r['ndcg_at_10']:.4f}") for r in results]
        print(table(shown, ("engine", f"same top {DEPTH} as numpy64", f"nDCG@{DEPTH}"), right=(2,)))
        notes(refused)
        with whole_file(folder / "results.jsonl", "w") as file:
            file.writelines(json.dumps(r, allow_nan=False) + "\n" for r in results)
        write_json(folder / "environment.json", environment.collect())
        print(
            f"\nThe run is saved in {folder.resolve()}: vectors.npy, ids.txt, meta.json, queries/, results.jsonl, environment.json"
        )
        program = "knnscope" if shutil.which("knnscope") else sys.argv[0]
        print(f'Go on with: {program} search sample "your own words"')
        return 0


def _results(workload: Workload, found: dict[str, Neighbors]) -> list[dict[str, Any]]:
    reference = found["numpy64"].ids
    judged = workload.texts.judgements
    return [
        {
            "engine": name,
            "rows": len(workload.documents),
            "dim": workload.documents.dim,
            "metric": workload.metric,
            "k": answer.ids.shape[1],
            "queries": len(answer.ids),
            "agree_queries": int(np.count_nonzero((answer.ids == reference).all(axis=1))),
            "ndcg_at_10": round(quality.ndcg(answer, judged, DEPTH), 6),
            "ids": answer.ids.tolist(),
        }
        for name, answer in found.items()
    ]
