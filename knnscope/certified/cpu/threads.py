"""Starting a thread in one step."""

from __future__ import annotations

import _thread
from collections.abc import Callable
from typing import Any


def start_thread(work: Callable[..., None], *given: Any) -> bool:
    """Start a thread; False where the system gives none.

    One step of the interpreter: ``threading.Thread.start`` is many, and an exception between two of them ends the thread.
    """
    try:
        _thread.start_new_thread(work, given)
    except RuntimeError as error:
        if "new thread" not in str(error):  # a signal handler's own
            raise
        return False  # "can't start new thread"
    return True
