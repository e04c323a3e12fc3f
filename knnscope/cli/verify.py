"""knnscope verify."""

from __future__ import annotations

import argparse
import json

from knnscope.api.verifying import VerifyOptions, verify
from knnscope.cli import inputs, options
from knnscope.cli.notes import notes


class Verify:
    """Is this ground truth right? Anyone's file, graded by the definition: exact, right up to ties or float32 rounding, undecided, or wrong.

    Each wrong query has its evidence: the place, the row that stands there, the row that should, and both distances. Recall is told
    by ids, and where rows as near as the last place count as found. Stored distances are graded as well. The exit code is 1 where
    ids or distances are wrong or undecided.

    knnscope verify base.fbin gt.bin --queries queries.fbin
    knnscope verify glove-100-angular.hdf5 glove-100-angular.hdf5 --sample 500
    """

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        inputs.add_base(parser)
        parser.add_argument(
            "truth",
            metavar="TRUTH",
            help="the file to grade: .hdf5 with neighbors, .npy, .ivecs, .ibin, or big-ann's .bin; distances beside it as truth writes them",
        )
        parser.add_argument(
            "--sample",
            type=options.positive,
            metavar="N",
            help="grade so many queries, chosen at random (default: all)",
        )
        parser.add_argument(
            "--seed", type=options.natural, default=0, metavar="N", help="of the choice of queries (default 0)"
        )
        parser.add_argument("--json", action="store_true", help="print a JSON object")

    def run(self, args: argparse.Namespace) -> int:
        """Grade and print."""
        count = inputs.threads_number(args.threads)
        how = VerifyOptions(args.sample, args.seed, args.metric, args.ids, args.memory, count)
        with options.dashed():
            found = verify(args.base, args.truth, args.queries, how)
        notes(found.notes)
        print(json.dumps(found.to_dict(), allow_nan=False) if args.json else found)
        return 0 if found.ok else 1
