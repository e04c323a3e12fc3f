"""What a rule says of a trace."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

SEVERITIES = ("high", "medium", "low")
SHARES = {"high": 0.3, "medium": 0.1, "low": 0.02}
"""Least share of the phase's time that can be saved."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A reason for slowness, with its evidence.

    saving_ms: predicted, of one time through the phase. share: of the phase's time. sql, rows: a query over the trace, and how many rows
    it gives.
    """

    rule: str
    phase: str
    title: str
    sql: str
    rows: int
    saving_ms: float
    share: float
    remedy: str

    @property
    def severity(self) -> str | None:
        """By the share; None where it is not worth mentioning."""
        return next((name for name in SEVERITIES if self.share >= SHARES[name]), None)

    def to_json(self) -> dict[str, Any]:
        """As ``knnscope explain --json`` prints it."""
        return {
            "rule": self.rule,
            "severity": self.severity,
            "phase": self.phase,
            "title": self.title,
            "evidence": {"sql": self.sql, "rows": self.rows},
            "saving_ms": round(self.saving_ms, 6),
            "share": round(self.share, 4),
            "remedy": self.remedy,
        }


class CannotTellError(Exception):
    """This trace does not hold what the rule asks for."""
