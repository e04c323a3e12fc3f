"""knnscope report."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from knnscope.api import reporting
from knnscope.cli import options
from knnscope.errors import KnnscopeError
from knnscope.units import decimal_size


class Report:
    """A saved run as one page to decide from: HTML, Markdown, or its rows as CSV; no GPU, network or engine's library is needed.

    compare and ladder write it into their folder by themselves. A folder of profile, or one trace, gives what the traces say;
    the record of grade (its --out) who answers exactly.

    knnscope report runs/compare-20260101-120000
    knnscope report runs/compare-20260101-120000 -o answer.md
    knnscope report runs/compare-20260101-120000 --charts figures --format svg
    knnscope report runs/before runs/after                                         what changed, written as changes.html
    knnscope report runs/1 runs/2 runs/3 runs/after                                what changed since several, oldest first
    knnscope report runs/1 runs/2 runs/3 --later runs/after runs/again             the same of several later runs
    """

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument(
            "folders",
            nargs="+",
            metavar="DIR",
            help="the folder that compare, ladder, crossover or profile wrote; a trace; the record of grade; of two runs or more: what changed in the last one",
        )
        parser.add_argument(
            "--later",
            nargs="+",
            action="extend",
            metavar="DIR",
            help="later runs that measured the same: what changed in them since the runs before, judged by all of them together",
        )
        parser.add_argument(
            "-o",
            "--output",
            metavar="FILE",
            help="a name that ends in .html, .md or .csv (default: report.html in DIR)",
        )
        parser.add_argument(
            "--charts", metavar="FOLDER", help="write every chart as a file into this folder, and no page"
        )
        parser.add_argument("--format", metavar="F,F", help="of the charts: png, svg or both (default: both)")

    def run(self, args: argparse.Namespace) -> int:
        """Read and write."""
        if args.charts is not None and args.output is not None:
            raise KnnscopeError("--charts writes no page: leave --output out, or call twice")
        if args.format is not None and args.charts is None:
            raise KnnscopeError("--format is that of --charts: name a folder with it")
        *earlier, last = args.folders
        if args.later is not None:
            return self._changes(args, args.folders, args.later)
        if earlier:
            return self._changes(args, earlier, [last])
        folder = Path(last)
        if args.charts is not None:
            with options.dashed():
                formats = options.listed(args.format) if args.format is not None else ("png", "svg")
                reporting.check_formats(formats)
                written = reporting.draw(reporting.read(folder), args.charts, formats)
            print(f"{args.charts}: {len(written)} files: {', '.join(path.name for path in written)}")
            return 0
        out = (
            Path(args.output)
            if args.output is not None
            else (folder if folder.is_dir() else folder.parent) / reporting.PAGE
        )
        reporting.check_ending(out)
        found = reporting.read(folder)
        reporting.write(found, out)
        print(f"{out}: {decimal_size(out.stat().st_size)}")
        return 0

    def _changes(self, args: argparse.Namespace, earlier: Sequence[str], later: Sequence[str]) -> int:
        """Of earlier runs and later ones."""
        if args.charts is not None:
            raise KnnscopeError("--charts draws one run: name one folder")
        out = Path(args.output) if args.output is not None else Path(later[0]) / reporting.CHANGES
        reporting.write_changes(earlier, later, out)
        print(f"{out}: {decimal_size(out.stat().st_size)}")
        return 0
