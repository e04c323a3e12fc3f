"""knnscope timeline."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from knnscope.api.explaining import Part, Trace, check_ending
from knnscope.cli.notes import notes
from knnscope.cli.options import positive
from knnscope.report.text import plain
from knnscope.units import duration


class Timeline:
    """A recorded run over time: kernels, copies, API calls and NVTX ranges; as a page to move in, a picture, or JSON for ui.perfetto.dev.

    TRACE is an export of Nsight Systems (nsys export --type sqlite), or what knnscope profile wrote. The page is one file for any browser: it pans, zooms,
    searches, and shows what launched what and the findings of knnscope explain; ? lists its keys.

    knnscope timeline run.sqlite -o run.html                     a page of all of it
    knnscope timeline run.sqlite -o run.png                      all of it
    knnscope timeline run.sqlite --phase search -o search.svg    the last time through the first range whose name contains "search"
    knnscope timeline run.sqlite --around 100 -o loop.png        one iteration: what ends with the 100th copy to the host
    knnscope timeline run.sqlite --from 20 --to 35 -o part.json  milliseconds; open it at https://ui.perfetto.dev
    """

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument(
            "trace", metavar="TRACE", help="an SQLite export of Nsight Systems, or what knnscope profile wrote"
        )
        parser.add_argument(
            "-o",
            "--out",
            required=True,
            metavar="FILE",
            help="the file to write; its name ends in .html, .png, .svg or .json",
        )
        parser.add_argument(
            "--from",
            type=_time,
            metavar="MS",
            dest="begin",
            help="where to begin, in milliseconds after the trace's first event (default: there)",
        )
        parser.add_argument(
            "--to",
            type=_time,
            metavar="MS",
            dest="end",
            help="where to end, counted likewise (default: the end of the trace)",
        )
        parser.add_argument(
            "--phase", metavar="P", help="draw the last time through the first range whose name contains P"
        )
        parser.add_argument(
            "--around",
            type=positive,
            metavar="N",
            help="draw the iteration that ends with the N-th copy to the host (or kernel, if there is no copy)",
        )

    def run(self, args: argparse.Namespace) -> int:
        """Draw it."""
        part = Part(args.begin, args.end, args.phase, args.around)
        check_ending(Path(args.out))
        part.check()
        drawn = Trace(args.trace).draw(args.out, part)
        notes(drawn.notes)
        window = drawn.window
        print(f"{args.out}: {plain(window.title)}, {duration(window.high - window.low)}; {drawn.what}")
        return 0


def _time(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < 1e12:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time in milliseconds")
    return value
