"""``knnscope`` and ``python -m knnscope``. What every command imports takes most of a second: Ctrl-C meanwhile is one line as well."""

from __future__ import annotations

import os
import signal
import threading

SAID = b"knnscope: interrupted before anything was begun\n"


def run() -> int:
    """The console script."""
    here = threading.current_thread() is threading.main_thread()
    if not here or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:  # nohup ignores it
        return _command()
    signal.signal(signal.SIGINT, _stop)
    try:
        from knnscope import cli  # noqa: F401 - what takes so long
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    return _command()


def _command() -> int:
    from knnscope.cli import run as command

    return command()


def _stop(_: int, __: object) -> None:
    """End at once: nothing has to be tidied up, and what raises while a library is imported may be taken for another error."""
    os.write(2, SAID)
    os._exit(130)


if __name__ == "__main__":
    raise SystemExit(run())
