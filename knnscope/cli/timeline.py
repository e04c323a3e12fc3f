"""knnscope timeline."""

from __future__ import annotations

import argparse
import math
from dataclasses import replace
from pathlib import Path

from knnscope.cli.notes import notes
from knnscope.cli.options import positive
from knnscope.errors import KnnscopeError, require
from knnscope.report import perfetto
from knnscope.report.text import plain
from knnscope.store import whole_file
from knnscope.trace.lanes import Window, around, between, phase, whole
from knnscope.trace.model import Trace
from knnscope.trace.reader import read
from knnscope.units import duration

KINDS = (".png", ".svg", ".json")
NAME = 200
"""Characters of a name that are of use in a picture."""


class Timeline:
    """A recorded run as a picture: kernels, copies, API calls and NVTX ranges over time; or as JSON for ui.perfetto.dev.

    TRACE is an export of Nsight Systems (nsys export --type sqlite), or what knnscope profile wrote.

    knnscope timeline run.sqlite -o run.png                      all of it
    knnscope timeline run.sqlite --phase search -o search.svg    the last search: what "search" names first, its last time
    knnscope timeline run.sqlite --around 100 -o loop.png        one iteration: what ends with the 100th copy to the host
    knnscope timeline run.sqlite --from 20 --to 35 -o part.json  milliseconds; open it at https://ui.perfetto.dev
    """

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("trace", metavar="TRACE", help="a trace (.sqlite)")
        parser.add_argument("-o", "--out", required=True, metavar="FILE", help=f"ends in {', '.join(KINDS)}")
        parser.add_argument(
            "--from", type=_time, metavar="MS", dest="begin", help="from here, in ms after the trace's first event"
        )
        parser.add_argument("--to", type=_time, metavar="MS", dest="end", help="to here")
        parser.add_argument("--phase", metavar="P", help="the last time through the first range whose name contains P")
        parser.add_argument(
            "--around",
            type=positive,
            metavar="N",
            help="the iteration that ends with the N-th copy to the host (or kernel, if there is no copy)",
        )

    def run(self, args: argparse.Namespace) -> int:
        """Draw it."""
        out = Path(args.out)
        kind = out.suffix.lower()
        if kind not in KINDS:
            raise KnnscopeError(f"-o {args.out}: what it should be is told by its end: {', '.join(KINDS)}")
        if (args.begin is not None or args.end is not None) + (args.phase is not None) + (args.around is not None) > 1:
            raise KnnscopeError("--from and --to, --phase, --around: take one of them")
        if args.begin is not None and args.end is not None and args.begin >= args.end:
            raise KnnscopeError(f"--from {args.begin:g} --to {args.end:g}: the first has to be smaller")
        if kind != ".json":
            require("knnscope.report.timeline", "report", "matplotlib")  # before minutes of reading
        trace = _printable(read(args.trace))
        window = _window(trace, args)
        what = _write(trace, window, out, kind)
        notes([*trace.lacks, *trace.notes])
        print(f"{args.out}: {plain(window.title)}, {duration(window.high - window.low)}; {what}")
        return 0


def _window(trace: Trace, args: argparse.Namespace) -> Window:
    if args.phase is not None:
        return phase(trace, args.phase)
    if args.around is not None:
        return around(trace, args.around)
    if args.begin is not None or args.end is not None:
        return between(trace, args.begin, args.end)
    return whole(trace)


def _write(trace: Trace, window: Window, out: Path, kind: str) -> str:
    if kind == ".json":
        with whole_file(out, "w") as file:
            events = perfetto.write(trace, window, file)
        return f"{events:,} events, {out.stat().st_size:,} bytes: open it at https://ui.perfetto.dev"
    draw = require("knnscope.report.timeline", "report", "matplotlib").draw
    with whole_file(out) as file:
        width, height = draw(trace, window, file, kind[1:])
    return f"{width} x {height} pixels, {out.stat().st_size:,} bytes"


def _printable(trace: Trace) -> Trace:
    """The trace with names that steer no terminal and break no picture."""
    names = tuple(plain(name[:NAME]) or "unnamed" for name in trace.names)
    gpus = {number: replace(gpu, name=plain(gpu.name[:NAME]) or "unknown GPU") for number, gpu in trace.gpus.items()}
    return replace(trace, names=names, gpus=gpus, path=plain(trace.path), recorder=plain(trace.recorder[:NAME]))


def _time(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < 1e12:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time in milliseconds")
    return value
