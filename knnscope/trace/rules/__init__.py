"""The rules. One is a file with functions ``cause`` and ``find``, and a line here."""

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
"""What these save is the GPU's time, which a recorder leaves as it is; the others save the host's, which it stretches."""


class Rule(Protocol):
    """A rule's module. Both raise ``CannotTellError`` where the trace lacks what the rule needs."""

    @staticmethod
    def cause(phase: Phase) -> Cause:
        """The rule's own events in a phase, be they worth a word or not."""

    @staticmethod
    def find(phase: Phase) -> Iterator[Finding]:
        """What is worth a word."""


def rule(name: str) -> Rule:
    """A rule by its name."""
    return cast(Rule, import_module(f"{__name__}.{name.replace('-', '_')}"))
