"""One brute-force search, version after version. In: rows, a query, k. Out: the numbers of the k nearest rows.

A rung is a class that is itself the lesson, and a line in ``RUNGS``. Start with rung.py, then loops.py, the slowest.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from knnscope.errors import unknown_name
from knnscope.search.ladder.rung import Rung

RUNGS = {
    "numpy-loop": "loops:NumpyLoop",
    "cupy-loop-numpy-input": "loops:CupyLoopNumpyInput",
    "cupy-loop": "loops:CupyLoop",
    "cupy-pinned": "loops:CupyPinned",
    "pageable-bulk": "bulk:PageableBulk",
    "pinned-bulk": "bulk:PinnedBulk",
    "vectorized": "vectorized:Vectorized",
    "argsort": "vectorized:Argsort",
    "fused": "vectorized:Fused",
    "topk": "vectorized:TopK",
    "gemm": "vectorized:Gemm",
    "fused-topk": "fused:FusedTopkRung",
    "graph": "fused:Graph",
}
"""From the first to the last; ``verbose`` explains and is not measured."""


def rung_class(name: str) -> type[Rung]:
    """The class of this name; nothing is imported but NumPy.

    Raises:
        KnnscopeError: no such rung.
    """
    if name not in RUNGS:
        raise unknown_name("rung", name, RUNGS)
    module, _, cls = RUNGS[name].partition(":")
    found: type[Rung] = getattr(import_module(f"{__name__}.{module}"), cls)
    return found


def make(name: str, xp: Any) -> Rung:
    """The rung, computing with this array module (numpy or cupy)."""
    return rung_class(name)(xp)
