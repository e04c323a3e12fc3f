"""knnscope profile."""

from __future__ import annotations

import argparse
import re
import sys
from datetime import UTC, datetime
from pathlib import Path

from knnscope.api.recording import RECORDERS, RecordOptions, check_gpu, record
from knnscope.cli import options
from knnscope.cli.notes import notes
from knnscope.errors import KnnscopeError, unknown_name
from knnscope.search import catalog, ladder
from knnscope.store import free, new_folder
from knnscope.units import size


class Profile:
    """Record a rung of the ladder, an engine, or any command, for knnscope explain, sql and timeline.

    Nsight Systems records where nsys is found (--nsys, NSYS, the PATH, the usual folders), else CUPTI inside the Python program
    (cupti-python, the extra cupti). A rung or an engine is recorded while knnscope ladder measures it.

    knnscope profile cupy-loop --every 75
    knnscope profile fused-topk --rows 1000000 -k 10
    knnscope profile gemm --capture-range              # the searches alone, after the first
    knnscope profile --out traces -- python train.py --epochs 1
    """

    runs_commands = True
    """What follows -- is not parsed."""

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument(
            "name",
            nargs="?",
            metavar="NAME | -- COMMAND",
            help="a rung of the ladder or an engine; or, after --, any command",
        )
        parser.add_argument(
            "--out", default="runs/traces", metavar="DIR", help="where the trace goes (default runs/traces)"
        )
        parser.add_argument(
            "--recorder", choices=RECORDERS, help="what records (default: nsys where it is found, else cupti)"
        )
        parser.add_argument("--nsys", metavar="PATH", help="the nsys program to use")
        parser.add_argument(
            "--rows", type=options.positive, default=75_000, metavar="N", help="generated rows (default 75,000)"
        )
        parser.add_argument(
            "--dim", type=options.positive, default=384, metavar="D", help="components of a row (default 384)"
        )
        parser.add_argument("-k", type=options.positive, default=10, metavar="K", help="neighbors (default 10)")
        parser.add_argument("--repeat", type=options.positive, default=3, metavar="N", help="searches (default 3)")
        parser.add_argument(
            "--every",
            type=options.positive,
            default=1,
            metavar="N",
            help="a Python loop visits only one row in N, which keeps its trace short",
        )

        parser.add_argument(
            "--capture-range",
            action="store_true",
            help="record between the program's cudaProfilerStart and cudaProfilerStop; of a rung, the searches after the first",
        )

    def run(self, args: argparse.Namespace) -> int:
        """Record, and say what was seen."""
        argv, name = _command(args)
        check_gpu()
        how = RecordOptions(args.recorder, args.nsys, args.capture_range, ours=args.rest is None)
        with new_folder(Path(args.out)) as folder:
            found = record(argv, folder / f"{name}.sqlite", how)
        trace = found.trace
        print(
            f"{found.path}: {size(found.path.stat().st_size)}, recorded by {found.by}: {len(trace.kernels):,} kernels, "
            f"{len(trace.copies):,} copies, {len(trace.calls):,} API calls, {len(trace.ranges):,} ranges"
        )
        notes(found.notes)
        print(f"next: knnscope explain {found.path}")
        return 0


def _command(args: argparse.Namespace) -> tuple[list[str], str]:
    """What to run, and what to call the trace."""
    if (args.name is None) == (args.rest is None) or args.rest == []:
        raise KnnscopeError("give either the name of a rung or engine, or -- and a command")
    if args.rest:
        stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
        return args.rest, f"{re.sub(r'[^A-Za-z0-9.-]+', '-', Path(args.rest[0]).name)}-{stamp}"
    name = args.name
    known = [*ladder.RUNGS, *catalog.ENGINES]
    if name not in known:
        raise unknown_name("rung or engine", name, known, "(a command goes after --)")
    out = Path(args.out)
    trace = free(out / f"{name}-{args.rows}x{args.dim}-k{args.k}.sqlite")
    argv = [
        *(sys.executable, "-m", "knnscope", "ladder", f"synthetic:text,rows={args.rows},dim={args.dim},queries=16"),
        *("--rungs", name, "-k", str(args.k), "--repeat", str(args.repeat), "--device", "cuda"),
        *("--out", str(free(out / f"{name}-ladder"))),
    ]
    if args.every > 1:
        argv += ["--loop-rows", str(-(-args.rows // args.every))]
    return argv, trace.stem
