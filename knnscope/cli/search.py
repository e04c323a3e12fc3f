"""knnscope search."""

from __future__ import annotations

import argparse
import json

from knnscope.api.searching import DEPTH, Asked, ask, engines_of
from knnscope.api.workload import Workload
from knnscope.cli import inputs, options
from knnscope.cli.notes import notes
from knnscope.report import side_by_side as report
from knnscope.search import catalog


class Search:
    """The nearest documents to a query, from several engines side by side, and whether they agree.

    knnscope search sample "is a ban on sugar fair?"
    knnscope search sample --query-id q-sugar-tax --engines numpy64,faiss -k 5
    """

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        inputs.add_dataset(parser)
        parser.add_argument("text", nargs="?", help="the query in words")
        parser.add_argument(
            "--query-id", metavar="ID", help="a query of the data set; its relevant documents are marked"
        )
        parser.add_argument(
            "--engines",
            metavar="E,E...",
            help=f"of {', '.join(catalog.ENGINES)} (default: all that are installed, but dask)",
        )
        parser.add_argument(
            "-k", type=options.positive, help=f"neighbors (default {DEPTH}, or all rows where there are fewer)"
        )
        inputs.add_metric(parser)
        inputs.add_encoder(parser)
        parser.add_argument("--json", action="store_true", help="print a JSON object")

    def run(self, args: argparse.Namespace) -> int:
        """Search and print."""
        asked = Asked(args.text, args.query_id, args.k, args.metric)
        asked.check()
        with options.dashed():
            engines = engines_of(options.listed(args.engines)) if args.engines is not None else None
        workload = Workload(args.dataset, inputs.dataset_options(args), inputs.encoder_options(args))
        answer, refused = ask(workload, asked, engines)
        notes([*workload.said(), *refused])
        print(json.dumps(answer.to_dict(), indent=2, allow_nan=False) if args.json else report.text(answer))
        return 0
