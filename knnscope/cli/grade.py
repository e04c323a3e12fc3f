"""knnscope grade."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from knnscope.api.grading import GradeOptions, Grades, grade
from knnscope.bench.hard_cases import HARD
from knnscope.cli import options
from knnscope.cli.notes import notes
from knnscope.search import catalog
from knnscope.search.definition import METRICS
from knnscope.store import check_outputs


class Grade:
    """Who answers exactly: every engine that is here on hard data (ties, near-duplicates, extreme norms, many neighbors ...).

    Each answer is exact (the neighbors that float64 defines, ties by the smallest number), float32 (only rows exchanged that
    rounding cannot tell apart), wrong, with the evidence, or refused, with the reason. Nothing is timed. Each engine runs in a
    process of its own, so one that crashes is a line of the table. Ctrl-C keeps what was asked.

    knnscope grade
    knnscope grade --engines faiss,faiss-gpu --metric l2 --cases "offset 1,000" --out grades.json
    knnscope grade --hold grades.json
    """

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument(
            "--engines",
            metavar="E,E...",
            help=f"of {', '.join(catalog.ENGINES)} (default: all but dask and {catalog.REFERENCE}, by which they are judged)",
        )
        parser.add_argument("--metric", metavar="M,M...", help=f"of {', '.join(METRICS)} (default: all)")
        parser.add_argument(
            "--cases", metavar="C;C...", help=f"of {'; '.join(case.name for case in HARD)} (default: all)"
        )
        options.add_threads(parser)
        parser.add_argument(
            "--timeout",
            type=options.positive,
            default=60,
            metavar="S",
            help="seconds after which an engine is given up: a build, the answers of one batch size (default 60)",
        )
        parser.add_argument(
            "--memory",
            type=options.positive,
            metavar="MIB",
            help="what one engine may allocate in host memory (default: no limit)",
        )
        parser.add_argument("--out", metavar="FILE", help="a file for the record, JSON")
        parser.add_argument(
            "--hold",
            metavar="FILE",
            help="an earlier record: exit with 1 where an engine is wrong that was right, or refuses what it answered",
        )
        parser.add_argument("--json", action="store_true", help="print the record instead of the tables")

    def run(self, args: argparse.Namespace) -> int:
        """Ask and print."""
        check_outputs([Path(args.out) if args.out else None], [Path(args.hold) if args.hold else None])
        held = Grades.load(args.hold) if args.hold else None
        how = GradeOptions(options.threads_of(args.threads), args.timeout, args.memory)
        with options.dashed():
            found = grade(
                options.listed(args.engines) if args.engines is not None else None,
                options.listed(args.metric) if args.metric is not None else None,
                options.listed(args.cases, ";") if args.cases is not None else None,
                how,
                args.out,
            )
        print(json.dumps(found.to_dict(), allow_nan=False) if args.json else found)
        if args.out and not args.json:
            print(f"\nsaved in {Path(args.out).resolve()}")
        if found.interrupted:
            raise KeyboardInterrupt("interrupted; the grades are those until then")
        if held is not None and (changed := found.differences(held)):
            notes([f"--hold: {line}" for line in changed])
            return 1
        return 0
