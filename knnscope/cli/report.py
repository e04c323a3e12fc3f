"""knnscope report."""

from __future__ import annotations

import argparse
from pathlib import Path

from knnscope.analysis.contents import contents
from knnscope.api import reporting
from knnscope.units import decimal_size


class Report:
    """A saved run as one page to decide from: HTML, Markdown, or the rows as CSV. No GPU, no network, no engine's library is needed.

    knnscope report runs/compare-20260101-120000
    """

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("folder", metavar="DIR", help="the folder that compare, ladder or profile wrote")
        parser.add_argument(
            "-o", "--output", metavar="FILE", help="ends in .html, .md or .csv (default: report.html in DIR)"
        )

    def run(self, args: argparse.Namespace) -> int:
        """Read and write."""
        found = contents(args.folder)
        out = reporting.write(found, args.output or Path(args.folder) / reporting.PAGE)
        print(f"{out}: {decimal_size(out.stat().st_size)}")
        return 0
