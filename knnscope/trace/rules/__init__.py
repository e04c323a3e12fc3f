"""The rules of explain. In: a ``Phase`` of a trace. Out: the events that are the cause, and findings with a remedy.

A rule is a file with the two functions of ``Rule``, named as the rule with ``_``, and a line in ``RULES``. Start with tiny_copies.py;
loops.py is shared. tests/trace/test_laws.py holds every rule to what no finding may break; a case of its own shows what it finds.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Protocol, cast

from knnscope.trace.findings import Cause, Finding
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
    "copy-bound",
    "unified-memory",
    "below-floor",
    "startup-cost",
    "host-compute",
)
ON_GPU = ("unfused-chain", "sort-for-topk", "slow-transfer", "copy-bound", "unified-memory", "below-floor")
"""Rules that save GPU time, which recording does not change. The others save host time, which recording lengthens."""
FEWER = ("unfused-chain", "sort-for-topk")
"""Of them, those after which the host has fewer kernels to launch."""

AT_MOST = ("gpu-idle", "host-compute")
"""Rules that say how much could be saved at most: how much of the host's own work has to be done, no trace tells."""


class Rule(Protocol):
    """A rule's module. Both functions raise ``CannotTellError`` where the trace lacks what the rule needs."""

    @staticmethod
    def cause(phase: Phase) -> Cause:
        """The rule's own events in a phase, whether or not they make a finding."""

    @staticmethod
    def find(phase: Phase) -> Iterator[Finding]:
        """The findings, if any."""


def rule(name: str) -> Rule:
    """A rule by its name."""
    return cast(Rule, import_module(f"{__name__}.{name.replace('-', '_')}"))
