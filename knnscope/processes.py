"""Processes of this package's own."""

from __future__ import annotations

import ctypes
import os
import signal
import sys


def end_with(parent: int) -> None:
    """End this process when the one that started it ends, however it does: kill -9 runs nobody's clean-up.

    Args:
        parent: its number: 1 in a container, so "1 means that it has gone" would not do.
    """
    set_parent_death_signal = 1
    ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the parent is gone")
