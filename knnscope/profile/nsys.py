"""Finds NVIDIA Nsight Systems, records a command with it and exports SQLite. It knows nothing of searches."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from knnscope.errors import KnnscopeError

USUAL = (
    *("/opt/nvidia/nsight-systems", "/usr/local/cuda/bin", "/usr/local/bin", "/opt/nvidia/nsight-systems-cli"),
    *("/usr/lib/nsight-systems", "/usr/local/nsight-systems"),
)
OPTIONS = ("-t", "cuda,nvtx", "-s", "none", "--cpuctxsw=none", "--cuda-graph-trace=node", "-f", "true")
"""The GPU's and the API's events and ranges; no sampling of the CPU, which disturbs what is measured."""
CAPTURE_RANGE = ("--capture-range=cudaProfilerApi", "--capture-range-end=stop")
"""Between cudaProfilerStart and cudaProfilerStop only; the program goes on after it."""
PROGRESS = re.compile(r"Processing \d+ events|^\s*\[\d+/\d+\]")
"""Its own progress, once for every percent."""


def find(given: str | None = None) -> Path | None:
    """The nsys to use: the one given, NSYS, one on the PATH, else the newest in the usual folders.

    Raises:
        KnnscopeError: one was named that is no program.
    """
    for where, named in (("--nsys", given), ("NSYS", os.environ.get("NSYS"))):
        if named:
            path = Path(named)
            path = path / "nsys" if path.is_dir() else path
            if not (path.is_file() and os.access(path, os.X_OK)):
                raise KnnscopeError(f"{where} {named}: no program there: the path of nsys was expected")
            return path
    if found := shutil.which("nsys"):
        return Path(found)
    every = [p for folder in USUAL for p in Path(folder).glob("**/nsys") if p.is_file() and os.access(p, os.X_OK)]
    return max(every, key=_version, default=None)


def _version(path: Path) -> tuple[int, ...]:
    found = re.search(r"(\d{4})\.(\d+)(?:\.(\d+))?", str(path))
    return tuple(int(part or 0) for part in found.groups()) if found else (0,)


def version(nsys: Path) -> str:
    """What it says of itself."""
    said = subprocess.run([nsys, "--version"], capture_output=True, text=True, check=False).stdout.strip()
    return said.splitlines()[0] if said else str(nsys)


def record(nsys: Path, argv: Sequence[str], base: Path, options: Sequence[str] = ()) -> tuple[int, list[str]]:
    """Record a command into ``base``.nsys-rep; its output goes to standard error.

    Returns:
        The command's exit code, and what nsys found wrong with the recording.

    Raises:
        KnnscopeError: nsys does not start, or leaves no report.
    """
    command = [str(nsys), "profile", *OPTIONS, *options, "-o", str(base), *argv]
    said = []
    report = Path(f"{base}.nsys-rep")
    report.unlink(missing_ok=True)  # an older one would pass for this one's
    try:
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        ) as child:
            assert child.stdout is not None
            for line in child.stdout:
                said.append(line)
                if not PROGRESS.search(line):
                    sys.stderr.write(line)
    except OSError as error:
        raise KnnscopeError(f"{nsys}: {error.strerror or error}") from error
    if not report.exists():
        why = "; did the program call cudaProfilerStart?" if set(CAPTURE_RANGE) & set(options) else ""
        raise KnnscopeError(f"{nsys} left no report (exit code {child.returncode}): what it says stands above{why}")
    return child.returncode, _odd("".join(said))


def _odd(said: str) -> list[str]:
    """What its importer complains of, in words that help."""
    if "GetAPICallbackName" in said:
        return [
            "this nsys is older than the driver's CUDA: it met an unknown call and lost what followed: "
            "take a newer nsys, --recorder cupti, or --capture-range, which begins after the first search"
        ]
    if "Errors occurred while processing" in said or "Analysis failed" in said:
        return ["nsys could not process all records: some may be missing"]
    return []


def export(nsys: Path, report: Path, target: Path) -> None:
    """A report as SQLite; a temporary name first.

    Raises:
        KnnscopeError: the export failed; the report is kept.
    """
    half = target.with_suffix(".half")
    command = [str(nsys), "export", "--type", "sqlite", "-f", "true", "-o", str(half), str(report)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or not half.exists():
        half.unlink(missing_ok=True)
        said = (done.stderr or done.stdout).strip().splitlines() or [f"exit code {done.returncode}"]
        raise KnnscopeError(f"{report}: the export failed ({said[-1]}): the report is kept")
    half.rename(target)
