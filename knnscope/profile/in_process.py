"""Records a Python program by CUPTI from inside it, in a process of its own. It knows nothing of searches."""

from __future__ import annotations

import importlib.util
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from knnscope.errors import KnnscopeError, install_line
from knnscope.processes import PARENT


def record(argv: Sequence[str], target: Path, capture_range: bool, ours: bool) -> int:
    """Run a Python program with our recorder in it, which writes ``target``.

    Args:
        argv: the interpreter, then its arguments.
        target: the trace.
        capture_range: record between cudaProfilerStart and cudaProfilerStop only.
        ours: the program is part of this one, and ends when this process is killed; a user's command is the user's.

    Returns:
        The program's exit code.

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
    if library := _library():
        environment.setdefault("NVTX_INJECTION64_PATH", library)  # before the first range, or none is seen
    recorder = [argv[0], "-m", "knnscope.profile", str(half), "range" if capture_range else "all"]
    done = subprocess.run([*recorder, *argv[1:]], env=environment, check=False)
    if not half.exists():
        why = "; did it call cudaProfilerStart?" if capture_range else ""
        raise KnnscopeError(
            f"CUPTI left no trace (exit code {done.returncode}); what the program printed stands above{why}"
        )
    half.rename(target)
    return done.returncode


def _library() -> str | None:
    """The libcupti that cupti-python loads, where it can be found."""
    for package in ("nvidia", "cupti"):
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations or []) if spec else []:
            found = sorted(Path(folder).glob("**/libcupti.so.1[0-9]*"))
            if found:
                return str(found[-1])
    return None
