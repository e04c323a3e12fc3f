"""Which kernels the OpenBLAS inside Faiss uses, and which would be fastest on this processor.

OpenBLAS chooses when it is loaded, by a list of processors that is as old as its build: one that it does not know gets kernels of 2005 (Prescott). The
variable OPENBLAS_CORETYPE names others. It is read once, so that each is tried in a process of its own.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

from knnscope.environment import cpu, libraries
from knnscope.errors import KnnscopeError
from knnscope.store import home, write_json

VARIABLE = "OPENBLAS_CORETYPE"
NEEDS = {"SkylakeX": ("avx512f",), "Haswell": ("avx2",), "Zen": ("avx2",)}
"""Kernels, and the processor's features that they need."""
OLD = frozenset({"prescott", "core2", "nehalem", "penryn", "dunnington", "atom", "barcelona", "generic"})
"""Kernels without 256-bit arithmetic."""
BETTER = 0.95
"""Others are taken where they need no more than this share of the CPU time."""
SECONDS = 20
"""A try that takes longer is no candidate."""
TRY = """
import json, sys, time
import faiss, numpy as np
dim = int(sys.argv[1])
r = np.random.default_rng(0)
rows, queries = (r.standard_normal((n, dim), dtype=np.float32) for n in (4096, 128))
index = faiss.IndexFlatL2(dim)
index.add(rows)
faiss.cvar.distance_compute_blas_threshold = 1
index.search(queries, 10)
best, until = 1e9, time.process_time() + 0.15
while time.process_time() < until:
    began = time.process_time()
    index.search(queries, 10)
    best = min(best, time.process_time() - began)
print(json.dumps(best))
"""


def kernel_in_use() -> str | None:
    """The name of the kernels that the loaded Faiss computes with; None where it cannot be told."""
    try:
        maps = Path("/proc/self/maps").read_text("utf-8")
        paths = sorted(
            {line.split(maxsplit=5)[5] for line in maps.splitlines() if "faiss" in line and "openblas" in line}
        )
        for path in paths:
            name = ctypes.CDLL(path).openblas_get_corename
            name.restype = ctypes.c_char_p
            if found := name():
                return str(found.decode("ascii", "replace"))
    except (OSError, AttributeError, IndexError):  # another system, another build
        return None
    return None


def is_old(kernel: str | None) -> bool:
    """Whether these kernels leave most of a processor of today unused."""
    return kernel is not None and kernel.lower() in OLD


def fastest(dim: int) -> str | None:
    """The name for ``VARIABLE`` with which a batch of this dimension is fastest here; None where the library's own choice is.

    It is remembered for this processor and version of Faiss: an engine that is measured is built again and again.
    """
    machine = cpu()
    flags = set(machine["vector_instructions"])
    names = [None, *(name for name, needed in NEEDS.items() if flags.issuperset(needed))]
    versions = sorted((name, version) for name, version in libraries().items() if version and name.startswith("faiss"))
    key = hashlib.sha256(json.dumps([machine["model"], sorted(flags), versions, dim]).encode()).hexdigest()[:16]
    path = home() / "openblas" / f"{key}.json"
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        known = json.loads(path.read_text("utf-8"))["kernels"]
        if known in names:
            return None if known is None else str(known)
    best = _best(names, dim)
    with contextlib.suppress(KnnscopeError):  # a home that cannot be written costs the next build two seconds
        write_json(path, {"kernels": best, "processor": machine["model"], "dim": dim})
    return best


def _best(names: list[str | None], dim: int) -> str | None:
    took = {name: seconds for name in names if (seconds := _tried(name, dim)) is not None}
    best = min(took, key=lambda name: took[name], default=None)
    if best is None or (None in took and took[best] > BETTER * took[None]):
        return None
    return best


def _tried(name: str | None, dim: int) -> float | None:
    # CPU time of one thread: other work on the machine says nothing about kernels
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    environment.pop(VARIABLE, None)
    if name is not None:
        environment[VARIABLE] = name
    try:
        done = subprocess.run(
            [sys.executable, "-c", TRY, str(dim)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=True,
        )
        return float(json.loads(done.stdout))
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
