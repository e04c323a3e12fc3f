"""knnscope crossover."""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime

from knnscope.analysis import crossover as records
from knnscope.api.crossing import AXES, BATCH_RANGE, BATCHES, HIGH, LOW, QUERIES, CrossoverOptions, crossover
from knnscope.cli import inputs, options
from knnscope.cli.notes import notes
from knnscope.search import catalog


class Crossover:
    """Where one engine overtakes another: the number of rows, or of queries in a call, from which the other is faster, and why.

    A grid of sizes comes first, then each change of the fastest right engine is bisected, until its interval is at most a factor
    of 2 wide, or it is too noisy to tell. At each size every engine is measured as compare --quick does, and every answer judged: a
    wrong engine leads nowhere. Ctrl-C keeps what was measured; the same command with the same --out goes on from there.

    knnscope crossover --engines numpy,certified --rows 500,100000 --batch 1,10
    knnscope crossover base.fbin --engines certified,certified-gpu --rows 500,1000000
    knnscope crossover wordnet --engines faiss,sklearn --over batch --batch 1,1000 --rows 75000
    """

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        inputs.add_dataset(parser, optional=True)
        parser.add_argument(
            "--engines",
            metavar="A,B...",
            help=f"two or more of {', '.join(catalog.ENGINES)} (default: all but dask and {catalog.REFERENCE})",
        )
        parser.add_argument(
            "--over", choices=AXES, default="rows", help="what grows: rows (default) or the queries in a call"
        )
        parser.add_argument(
            "--rows",
            metavar="LO,HI",
            help=f"the range of rows, the first of the data (default {LOW},{HIGH}); with --over batch one size or several (default: all)",
        )
        parser.add_argument(
            "--batch",
            metavar="B,B...",
            help=f"queries in a call, each searched by itself (default {','.join(map(str, BATCHES))}); with --over batch the range "
            f"(default {','.join(map(str, BATCH_RANGE))})",
        )
        parser.add_argument("-k", type=options.positive, default=10, metavar="K", help="neighbors (default 10)")
        inputs.add_metric(parser)
        parser.add_argument(
            "--queries",
            type=_queries,
            metavar="N",
            help=f"different queries to ask, the data's own, or rows held out (default {QUERIES})",
        )
        options.add_threads(parser)
        parser.add_argument(
            "--timeout",
            type=options.positive,
            default=120,
            metavar="S",
            help="seconds after which an engine is given up: a build, a warm-up, a turn (default 120)",
        )
        parser.add_argument(
            "--seconds",
            type=options.positive,
            metavar="S",
            help="begin no probe later than this; the same command goes on from there (default: no limit)",
        )
        parser.add_argument(
            "--seed",
            type=options.natural,
            default=0,
            metavar="N",
            help="of the choice of queries and the order of calls",
        )
        parser.add_argument(
            "--out", metavar="DIR", help="where the record is kept and continued (default: runs/crossover-DATE-TIME)"
        )
        parser.add_argument("--json", action="store_true", help="print what was found as a JSON object")
        inputs.add_encoder(parser)

    def run(self, args: argparse.Namespace) -> int:
        """Search and print."""
        out = args.out or f"runs/crossover-{datetime.now(UTC):%Y%m%d-%H%M%S}"
        how = CrossoverOptions(
            k=args.k,
            over=args.over,
            metric=args.metric,
            queries=args.queries,
            threads=options.threads_of(args.threads),
            timeout=args.timeout,
            seconds=args.seconds,
            seed=args.seed,
            dataset=inputs.dataset_options(args),
            encoder=inputs.encoder_options(args),
        )
        with options.dashed():
            found = crossover(
                args.dataset,
                options.listed(args.engines) if args.engines is not None else None,
                options.numbers(args.rows, "--rows") if args.rows is not None else None,
                options.numbers(args.batch, "--batch") if args.batch is not None else None,
                how,
                out,
            )
        notes(found.run.notes)
        if args.json:
            print(json.dumps(found.to_dict(), allow_nan=False))
        else:
            print(found)
            if found.run.probes and found.folder is not None:
                print(f"\nsaved in {(found.folder / records.FILE).resolve()}")
        if found.interrupted and args.seconds is None:
            raise KeyboardInterrupt(f"interrupted; the same command with --out {out} goes on from here")
        return 0


def _queries(text: str) -> int:
    """How many.

    Raises:
        argparse.ArgumentTypeError: no number; perhaps a file, as other commands take it.
    """
    try:
        return options.positive(text)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(
            f"{error}: it says how many are asked, of the data's own queries or of rows held out; knnscope compare asks those of a file"
        ) from error
