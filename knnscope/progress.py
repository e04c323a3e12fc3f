"""Progress of long work on standard error: a bar with rate and time left on a terminal, else a line now and then."""

from __future__ import annotations

import re
import sys
import threading
from contextlib import suppress
from typing import Any, TextIO

from tqdm import tqdm

STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


COUNTED = "{desc} {percentage:3.0f}% {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}]"
UNCOUNTED = "{desc} {n_fmt} [{elapsed}, {rate_fmt}]"
UNLIKE = "{desc} {n_fmt}/{total_fmt} [{elapsed}]"
EXPECTED = "{desc} {percentage:3.0f}% [{elapsed}<{remaining}]"


class _Bar(tqdm):  # type: ignore[misc]
    """With a lock of this process alone: tqdm's own is for several, and where these come from a server it starts one more to watch it.

    One that Ctrl-C stopped while it was made has nothing to close: tqdm's own complains when it is collected.
    """

    def __del__(self) -> None:
        with suppress(AttributeError):
            super().__del__()

    def refresh(self, nolock: bool = False, lock_args: Any = None) -> Any:  # noqa: ARG002 - tqdm's own
        """Draw; Ctrl-C meanwhile leaves no lock behind, for which other threads' bars would wait for ever."""
        if nolock:
            return super().refresh(nolock=True)
        with self._lock:
            return super().refresh(nolock=True)


_Bar.set_lock(threading.RLock())
_Bar.monitor_interval = 0  # no thread: each update looks at the clock


class _Lines:
    """A stream on which a redrawn line becomes a line of its own."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        if line := text.strip():
            self._stream.write(f"{line}\n")

    def flush(self) -> None:
        self._stream.flush()


def bar(
    total: float | None, what: str, unit: str, *, initial: int = 0, scale: bool = False, form: str = COUNTED
) -> tqdm[Any]:
    """A progress bar; on a pipe it prints a line every 10 seconds instead of redrawing.

    Args:
        total: units in all, if known.
        what: the label.
        unit: name of one unit ("text", "B").
        initial: units done before now; they do not count towards the rate.
        scale: print large counts with k and M.
        form: COUNTED, UNLIKE where no time left follows from the count, EXPECTED where the units are expected seconds.
    """
    terminal = sys.stderr.isatty()
    return _Bar(
        total=total,
        desc=harmless(what),
        unit=unit,
        initial=initial,
        unit_scale=scale,
        file=sys.stderr if terminal else _Lines(sys.stderr),
        mininterval=0.2 if terminal else 10.0,
        miniters=1,
        leave=False,
        delay=1.0 if terminal else 5.0,  # short work shows nothing
        bar_format=UNCOUNTED if total is None else form,
    )


def say(line: str) -> None:
    """A line about work that goes on, beside its bar."""
    _Bar.write(harmless(line).replace("\n", " "), file=sys.stderr)


def harmless(text: str) -> str:
    """The text with control characters, line ends of Unicode and what turns the direction of writing shown as their codes."""
    return STEERING.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def skip(progress: tqdm[Any], units: int) -> None:
    """Count units that took no time: they do not enter the rate."""
    progress.n += units
    progress.initial += units
    progress.last_print_n += units
