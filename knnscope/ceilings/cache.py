"""The ceilings of this machine, measured once in a process of their own and kept with the environment they hold for."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from knnscope import environment, store, threads
from knnscope.ceilings.record import Ceilings
from knnscope.errors import KnnscopeError
from knnscope.processes import PACKAGE, PARENT
from knnscope.progress import say

CODE = 1
"""Counts up when the measuring code changes what it finds."""

CHILD = [sys.executable, "-m", "knnscope.ceilings"]
TIMEOUT_S = 300


def obtain(device: str, budget: int | None = None, fresh: bool = False) -> Ceilings:
    """The ceilings of a device: those kept for this environment, else measured now, which takes seconds.

    Args:
        device: "cpu", or "cuda" for the first visible GPU.
        budget: threads for the CPU (default: every usable core); None for a GPU.
        fresh: measure in any case.

    Raises:
        KnnscopeError: the measuring failed.
    """
    key = key_of(device, budget)
    path = path_of(key)
    with store.locked(path.with_suffix(".lock")):  # a second process waits here, then finds them
        known = None if fresh else _read(path, key)
        if known is None:
            known = replace(_measure(device, key["threads"]), key=key)
            store.write_json(path, known.to_json())
    return known


def cached(device: str, budget: int | None = None) -> Ceilings | None:
    """The ceilings kept for this environment, if there are any."""
    key = key_of(device, budget)
    return _read(path_of(key), key)


def key_of(device: str, budget: int | None) -> dict[str, Any]:
    """The environment that decides the ceilings of a device."""
    cpu, libraries = environment.cpu(), environment.libraries()
    key = {
        "code": CODE,
        "device": device,
        "threads": budget or threads.usable() if device == "cpu" else None,
        "numpy": np.__version__,
        **{name: cpu[name] for name in ("model", "usable_cores", "quota_cores", "caches")},
    }
    if device == "cuda":
        key["gpus"] = [[gpu["name"], gpu["driver"]] for gpu in environment.gpus()]
        key["visible_gpus"] = os.environ.get("CUDA_VISIBLE_DEVICES")
        key["libraries"] = {n: v for n, v in libraries.items() if v and n.startswith(("cupy", "torch"))}
    return key


def path_of(key: dict[str, Any]) -> Path:
    """Where the ceilings of this key are kept."""
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    return store.home() / "ceilings" / f"{digest[:16]}.json"


def _read(path: Path, key: dict[str, Any]) -> Ceilings | None:
    try:
        found = Ceilings.from_json(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, RecursionError):  # not there, damaged, or of another version: measured anew
        return None
    return found if found.key == key else None


def _measure(device: str, budget: int | None) -> Ceilings:
    what = f"the CPU with {budget} thread{'s' if budget != 1 else ''}" if device == "cpu" else "the GPU"
    say(f"measuring what {what} can do at best: 10 to 20 seconds, kept for this machine and its libraries")
    if (load := os.getloadavg()[0]) + (budget or 0) > (os.cpu_count() or 1) + 0.5:
        say(
            f"other work was running (load {load:.1f}): the figures may be low, `knnscope info --measure` takes them anew"
        )
    try:
        done = subprocess.run(
            [*CHILD, device, *([str(budget)] if budget else [])],
            env={**threads.environment(budget), PARENT: str(os.getpid())},
            cwd=PACKAGE,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )
    except subprocess.TimeoutExpired as error:
        raise KnnscopeError(f"measuring {what} took more than {TIMEOUT_S} s: is the machine busy?") from error
    said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}, nothing said"]
    if done.returncode:
        raise KnnscopeError(f"{what} could not be measured: {said[-1]}")
    try:
        return Ceilings.from_json(json.loads(done.stdout.strip().splitlines()[-1]))
    except (ValueError, IndexError) as error:
        raise KnnscopeError(f"measuring {what} gave no figures: {error}") from error
