"""knnscope sql."""

from __future__ import annotations

import argparse

from knnscope.api.explaining import Trace
from knnscope.cli.notes import notes
from knnscope.cli.options import positive
from knnscope.report import answer as report
from knnscope.trace.asking import LIMIT
from knnscope.trace.queries import QUERIES


class Sql:
    """Ask a trace of Nsight Systems (.sqlite) a question: by name, or any SELECT. The trace is only read.

    Without a question the named ones are listed. Times in a trace are nanoseconds since the session's start.

    knnscope sql trace.sqlite
    knnscope sql trace.sqlite copy-throughput
    knnscope sql trace.sqlite "SELECT name FROM sqlite_master" --format csv
    """

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument(
            "trace", metavar="TRACE", help="an SQLite export of Nsight Systems, or what knnscope profile wrote"
        )
        parser.add_argument("question", nargs="?", metavar='NAME|"SELECT ..."', help=f"{', '.join(QUERIES)}, or SQL")
        parser.add_argument(
            "--format", choices=report.FORMATS, default="table", help="how to print the rows (default: table)"
        )
        parser.add_argument(
            "--raw-cells",
            action="store_true",
            help="csv: leave texts that begin like a formula (= + - @) as they are; a spreadsheet would run them",
        )
        parser.add_argument(
            "--limit", type=positive, default=LIMIT, metavar="N", help=f"rows to print (default {LIMIT})"
        )

    def run(self, args: argparse.Namespace) -> int:
        """Ask and print."""
        trace = Trace(args.trace)
        found = trace.questions() if args.question is None else trace.sql(args.question, args.limit)
        if args.format == "csv":
            print(report.as_csv(found, args.raw_cells), end="")
        else:
            print(report.as_json(found) if args.format == "json" else report.text(found))
        if found.more:
            notes([f"there are more rows than these {args.limit:,}: --limit N prints more"])
        return 0
