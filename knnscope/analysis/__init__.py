"""Conclusions from measurements. In: the files of a run, or its records. Out: verdicts, statistics, quality; nothing is measured here.

``load(folder)`` reads a saved run of compare or of the ladder. Read measurement.py first, then run.py and verdict.py.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from knnscope.analysis.run import load

__all__ = ["load"]


def __getattr__(name: str) -> Any:
    """``load`` brings msgspec along, which an engine's process, that needs the statistics alone, should not wait for."""
    if name == "load":
        from knnscope.analysis.run import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
