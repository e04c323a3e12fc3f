"""knnscope ladder."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime

from knnscope.api import reporting
from knnscope.api.climbing import ClimbOptions, climb
from knnscope.bench.ladder import ENGINES
from knnscope.ceilings.record import DEVICES
from knnscope.cli import inputs, options
from knnscope.cli.notes import notes
from knnscope.cli.show import show, show_rows
from knnscope.errors import KnnscopeError, unknown_name
from knnscope.search import catalog, ladder
from knnscope.search.ladder.verbose import explain


class Ladder:
    """One search from a Python loop to a kernel at memory's rate: every version timed on your data and GPU, every answer judged.

    Without a GPU the rungs that need none run with NumPy; the others are rows that say so. --rungs verbose explains the search in
    words. Each rung runs in this process: put a profiler before the command, and name one rung, to see what it does.

    knnscope ladder                                    75,000 generated rows of 384 components
    knnscope ladder vectors.npy -k 10 --rungs fused,topk,fused-topk
    nsys profile -t cuda,nvtx knnscope ladder --rungs argsort --repeat 3
    """

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        inputs.add_dataset(parser, optional=True)
        parser.add_argument(
            "--rows", type=options.positive, metavar="N", dest="limit", help="the same as --limit: the first N rows"
        )
        parser.add_argument("-k", type=options.positive, default=3, metavar="K", help="neighbors (default 3)")
        parser.add_argument(
            "--rungs",
            metavar="R,R...",
            help=f"of verbose, {', '.join(ladder.RUNGS)}, or engines (default: all but verbose, and {', '.join(ENGINES)})",
        )
        parser.add_argument(
            "--device", choices=DEVICES, help="where the rungs run (default: cuda where there is a GPU)"
        )
        parser.add_argument(
            "--repeat", type=options.positive, default=10, metavar="N", help="timed searches of a rung (default 10)"
        )
        parser.add_argument(
            "--loop-rows",
            type=options.positive,
            metavar="N",
            help="Python loops visit N rows only; their time is scaled to all rows",
        )
        parser.add_argument("--out", metavar="DIR", help="where the run is saved (default: runs/ladder-DATE-TIME)")
        parser.add_argument("--json", action="store_true", help="print the rows, a JSON object a line")
        inputs.add_encoder(parser, devices=None)

    def run(self, args: argparse.Namespace) -> int:
        """Climb and print."""
        chosen = _chosen(args.rungs)
        if chosen is not None and "verbose" in chosen:
            print(explain())
            chosen.remove("verbose")
            if not chosen:
                return 0
            print()
        how = ClimbOptions(
            device=args.device,
            repeat=args.repeat,
            loop_rows=args.loop_rows,
            dataset=inputs.dataset_options(args),
            encoder=inputs.encoder_options(args, "cpu"),
            each=(lambda row: show_rows([row])) if args.json else None,
        )
        out = args.out or f"runs/ladder-{datetime.now(UTC):%Y%m%d-%H%M%S}"
        try:
            with options.dashed():
                found = climb(args.dataset, args.k, chosen, how, out)
        except KeyboardInterrupt as stop:
            raise KeyboardInterrupt("interrupted; no rung was climbed yet, no run was written") from stop
        notes(reporting.beside(found.run))
        if args.json:
            notes(found.notes)
        else:
            show(found.run)
        if found.interrupted and found.folder is not None:
            raise KeyboardInterrupt(f"interrupted; the rungs climbed until then are in {found.folder.resolve()}")
        return 0


def _chosen(text: str | None) -> list[str] | None:
    """Names of rungs and engines, ``verbose`` among them; None where none are named."""
    known = ("verbose", *ladder.RUNGS, *catalog.ENGINES)
    if text is None:
        return None
    names = options.listed(text)
    if not names:
        raise KnnscopeError(f"--rungs {text!r}: names of rungs were expected, such as argsort,fused-topk")
    for name in names:
        if name not in known:
            raise unknown_name("rung or engine", name, known)
    return names
