"""knnscope profile."""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from knnscope.cli import options
from knnscope.cli.notes import notes
from knnscope.errors import KnnscopeError, install_line, unknown_name
from knnscope.processes import PARENT
from knnscope.profile import nsys
from knnscope.search import catalog, ladder
from knnscope.search.device import gpu_problem
from knnscope.store import make_folder, new_folder
from knnscope.trace import reader
from knnscope.units import size

RECORDERS = ("nsys", "cupti")


class Profile:
    """Record a rung of the ladder, an engine, or any command, for knnscope explain, sql and timeline.

    By Nsight Systems where nsys is found (--nsys, NSYS, the PATH, the usual folders), else by CUPTI inside the Python program
    (cupti-python, the extra cupti). What is recorded of a rung or engine is knnscope ladder itself, as it is measured.

    knnscope profile cupy-loop --every 75
    knnscope profile fused-topk --rows 1000000 -k 10
    knnscope profile gemm --capture-range              # the searches alone, after the first
    knnscope profile --out traces -- python train.py --epochs 1
    """

    runs_commands = True
    """What follows -- is not parsed."""

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("name", nargs="?", metavar="NAME | -- COMMAND", help="a rung or an engine; or any command")
        parser.add_argument(
            "--out", default="runs/traces", metavar="DIR", help="where the trace goes (default runs/traces)"
        )
        parser.add_argument("--recorder", choices=RECORDERS, help="default: nsys where it is found, else cupti")
        parser.add_argument("--nsys", metavar="PATH", help="the nsys to use")
        parser.add_argument("--rows", type=options.positive, default=75_000, metavar="N", help="default 75,000")
        parser.add_argument("--dim", type=options.positive, default=384, metavar="D", help="default 384")
        parser.add_argument("-k", type=options.positive, default=10, metavar="K", help="default 10")
        parser.add_argument("--repeat", type=options.positive, default=3, metavar="N", help="searches (default 3)")
        parser.add_argument(
            "--every",
            type=options.positive,
            default=1,
            metavar="N",
            help="a loop visits one row of N: long loops, short traces",
        )

        parser.add_argument(
            "--capture-range",
            action="store_true",
            help="record between the program's cudaProfilerStart and cudaProfilerStop; of a rung, the searches after the first",
        )

    def run(self, args: argparse.Namespace) -> int:
        """Record, export, say what was seen."""
        argv, name = _command(args)
        if why := gpu_problem():
            raise KnnscopeError(f"nothing to record: {why}")
        with new_folder(Path(args.out)) as folder:
            return self._record(args, argv, folder / f"{name}.sqlite")

    def _record(self, args: argparse.Namespace, argv: list[str], target: Path) -> int:
        program = nsys.find(args.nsys) if args.recorder != "cupti" else None
        if program is None and args.recorder == "nsys":
            raise KnnscopeError("no nsys found: give it with --nsys or NSYS, or take --recorder cupti")
        make_folder(target.parent)  # a recorder would not
        if program is not None:
            code, odd = nsys.record(
                program, argv, target.with_suffix(""), nsys.CAPTURE_RANGE if args.capture_range else ()
            )
            notes(odd)
            nsys.export(program, target.with_suffix(".nsys-rep"), target)
            by = nsys.version(program)
        else:
            code = _in_process(argv, target, args.capture_range, ours=args.rest is None)
            by = "CUPTI in process"
        trace = reader.read(target)
        print(
            f"{target}: {size(target.stat().st_size)}, recorded by {by}: {len(trace.kernels):,} kernels, {len(trace.copies):,} copies, "
            f"{len(trace.calls):,} API calls, {len(trace.ranges):,} ranges"
        )
        notes([*trace.notes, *([f"the command ended with exit code {code}"] if code else [])])
        if not len(trace.ranges):
            notes(["no NVTX ranges: explain will know no phases (nvtx 0.2.11, or CuPy's own, works under nsys 2023.4)"])
        print(f"next: knnscope explain {target}")
        return 0


def _command(args: argparse.Namespace) -> tuple[list[str], str]:
    """What to run, and what to call the trace."""
    if (args.name is None) == (args.rest is None) or args.rest == []:
        raise KnnscopeError("either the name of a rung or engine, or -- and a command, was expected")
    if args.rest:
        stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
        return args.rest, f"{re.sub(r'[^A-Za-z0-9.-]+', '-', Path(args.rest[0]).name)}-{stamp}"
    name = args.name
    known = [*ladder.RUNGS, *catalog.ENGINES]
    if name not in known:
        raise unknown_name("rung or engine", name, known, "(a command stands after --)")
    argv = [
        *(sys.executable, "-m", "knnscope", "ladder", f"synthetic:text,rows={args.rows},dim={args.dim},queries=16"),
        *("--rungs", name, "-k", str(args.k), "--repeat", str(args.repeat), "--device", "cuda"),
        *("--out", str(Path(args.out) / f"{name}-ladder")),
    ]
    if args.every > 1:
        argv += ["--loop-rows", str(-(-args.rows // args.every))]
    return argv, f"{name}-{args.rows}x{args.dim}-k{args.k}"


def _in_process(argv: list[str], target: Path, capture_range: bool, ours: bool) -> int:
    """By our own recorder, inside the Python program: one of ours ends when this process is killed, a user's command is the user's.

    Raises:
        KnnscopeError: no cupti-python, no Python program, or no trace came of it.
    """
    if importlib.util.find_spec("cupti") is None:
        raise KnnscopeError(f"neither nsys nor cupti-python is here: {install_line('cupti')}")
    if not Path(argv[0]).name.startswith("python") or len(argv) < 2:
        raise KnnscopeError(f"{argv[0]}: CUPTI records inside Python programs: -- python SCRIPT, or install nsys")
    half = target.with_suffix(".half")
    half.unlink(missing_ok=True)
    environment = {**os.environ, "KNNSCOPE_RECORDING": str(target), **({PARENT: str(os.getpid())} if ours else {})}
    if library := _cupti_library():
        environment.setdefault("NVTX_INJECTION64_PATH", library)  # before the first range, or none is seen
    recorder = [argv[0], "-m", "knnscope.profile", str(half), "range" if capture_range else "all"]
    done = subprocess.run([*recorder, *argv[1:]], env=environment, check=False)
    if not half.exists():
        why = "; did it call cudaProfilerStart?" if capture_range else ""
        raise KnnscopeError(
            f"CUPTI left no trace (exit code {done.returncode}): what the program says stands above{why}"
        )
    half.rename(target)
    return done.returncode


def _cupti_library() -> str | None:
    """The libcupti that cupti-python loads, where it can be found."""
    for package in ("nvidia", "cupti"):
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations or []) if spec else []:
            found = sorted(Path(folder).glob("**/libcupti.so.1[0-9]*"))
            if found:
                return str(found[-1])
    return None
