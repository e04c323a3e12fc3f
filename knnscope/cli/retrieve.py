"""knnscope run. The file has another name: ``run`` of this package is the console script."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from knnscope.api.retrieving import BEHIND, RunOptions, run
from knnscope.cli import inputs, options
from knnscope.cli.notes import notes
from knnscope.store import is_stream


class Run:
    """The exact answers to a data set's queries as a TREC run, with nDCG@10, recall and MRR. Nothing is timed.

    Texts are encoded, or saved vectors taken; all queries are searched by certified search, ties by the smallest row. Several encoders
    (--encoder A,B) are compared on the same queries: a paired randomisation test for each pair and measure, with the difference, its
    95% interval, and p values corrected for all tests made (Holm). The measures go to OUT.measures.json, query by query.

    knnscope run sample -o run.trec
    knnscope run scifact -k 1000 -o scifact.trec --encoder all-MiniLM-L6-v2,gte-small
    knnscope run vectors/ -o run.trec --qrels qrels.tsv
    """

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        inputs.add_dataset(parser)
        parser.add_argument(
            "-o", "--out", required=True, metavar="OUT", help="the run file; of several encoders NAME-ENCODER each"
        )
        parser.add_argument(
            "-k", type=options.positive, default=100, metavar="K", help="answers to a query (default 100)"
        )
        inputs.add_metric(parser)
        parser.add_argument("--qrels", metavar="FILE", help="judgements by ids, in BEIR's three columns or TREC's four")
        parser.add_argument(
            "--keep-own",
            action="store_true",
            help="keep documents that have the query's own id as answers (default: leave them out, as BEIR does)",
        )
        parser.add_argument("--json", action="store_true", help="print the measures, a JSON object")
        inputs.add_encoder(parser)

    def run(self, args: argparse.Namespace) -> int:
        """Search, write and print."""
        encoders = options.listed(args.encoder) if args.encoder is not None else None
        args.encoder = None
        how = RunOptions(
            args.k,
            args.metric,
            args.qrels,
            args.keep_own,
            inputs.dataset_options(args),
            inputs.encoder_options(args),
        )
        with options.dashed():
            found = run(args.dataset, encoders, args.out, how)
        notes(found.notes)
        print(json.dumps(found.to_dict(), allow_nan=False) if args.json else found)
        if not args.json:
            print()
            for path in found.files:
                print(f"{path}: the run, qid Q0 docid rank score tag")
            if not is_stream(Path(args.out), follow=True):
                print(f"{Path(f'{args.out}{BEHIND}')}: measures, query by query")
        return 0
