"""Processes of this package's own."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
"""Where children start: they find this package, installed or not, and no file of the user's that is named like a library."""

PARENT = "KNNSCOPE_PARENT"
"""The variable that tells a child whom to end with."""


def end_with(parent: int) -> None:
    """End this process when the one that started it ends, however it does: kill -9 runs nobody's clean-up.

    Args:
        parent: its number: 1 in a container, so "1 means that it has gone" would not do.
    """
    set_parent_death_signal = 1
    ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the parent is gone")


def end_with_parent() -> None:
    """``end_with`` the process that ``PARENT`` names, if any; the variable goes, since children of this one have another parent."""
    if parent := os.environ.pop(PARENT, None):
        end_with(int(parent))
