"""Traces of a command's GPU work: what ``knnscope profile`` does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from knnscope.errors import KnnscopeError
from knnscope.profile import in_process, nsys
from knnscope.search.device import gpu_problem
from knnscope.store import make_folder
from knnscope.trace import reader
from knnscope.trace.model import Trace

RECORDERS = ("nsys", "cupti")


@dataclass(frozen=True, slots=True)
class RecordOptions:
    """How to record.

    recorder: of ``RECORDERS``; None is nsys where it is found, else cupti. nsys: the program's path. capture_range: record between
    cudaProfilerStart and cudaProfilerStop only. ours: the command is part of this program, and ends with it.
    """

    recorder: str | None = None
    nsys: str | None = None
    capture_range: bool = False
    ours: bool = False


@dataclass(frozen=True, slots=True)
class Recording:
    """A trace that was recorded: its file, what is in it, by what, and what was odd."""

    path: Path
    trace: Trace
    by: str
    notes: tuple[str, ...]


def check_gpu() -> None:
    """Refuse a machine without a GPU.

    Raises:
        KnnscopeError: there is none, or it does not answer.
    """
    if why := gpu_problem():
        raise KnnscopeError(f"nothing to record: {why}")


def record(argv: Sequence[str], target: Path, options: RecordOptions | None = None) -> Recording:
    """Run a command and record what it does on the GPU.

    Args:
        argv: the command.
        target: the trace to write (.sqlite); nsys leaves its report beside it.
        options: how.

    Raises:
        KnnscopeError: no recorder, or no trace came of it.
    """
    how = options or RecordOptions()
    program = nsys.find(how.nsys) if how.recorder != "cupti" else None
    if program is None and how.recorder == "nsys":
        raise KnnscopeError("no nsys found: name it with --nsys or NSYS, or use --recorder cupti")
    make_folder(target.parent)  # a recorder would not
    odd: list[str] = []
    if program is not None:
        code, odd = nsys.record(program, argv, target.with_suffix(""), nsys.CAPTURE_RANGE if how.capture_range else ())
        nsys.export(program, target.with_suffix(".nsys-rep"), target)
        by = nsys.version(program)
    else:
        code = in_process.record(argv, target, how.capture_range, how.ours)
        by = "CUPTI in process"
    trace = reader.read(target)
    said = [*odd, *trace.notes, *([f"the command ended with exit code {code}"] if code else [])]
    if not len(trace.ranges):
        said.append("no NVTX ranges: explain will know no phases (nvtx 0.2.11, or CuPy's own, works under nsys 2023.4)")
    return Recording(target, trace, by, tuple(said))
