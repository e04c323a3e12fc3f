"""The rules. One is a file with a function ``find``, and a line here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module

from knnscope.trace.findings import Finding
from knnscope.trace.phases import Phase

RULES = (
    "tiny-copies",
    "blocking-copies",
    "sync-in-loop",
    "launch-bound",
    "unfused-chain",
    "sort-for-topk",
    "gpu-idle",
    "slow-transfer",
    "below-floor",
    "startup-cost",
    "host-compute",
)
ON_GPU = ("unfused-chain", "sort-for-topk", "slow-transfer", "below-floor")
"""What these save is the GPU's time, which a recorder leaves as it is; the others save the host's, which it stretches."""
Rule = Callable[[Phase], Iterator[Finding]]


def rule(name: str) -> Rule:
    """The function of a rule: what it finds in a phase; it raises ``CannotTellError`` where the trace lacks what it needs."""
    found: Rule = import_module(f"{__name__}.{name.replace('-', '_')}").find
    return found
