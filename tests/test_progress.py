"""A progress bar draws, and does nothing else."""

from __future__ import annotations

import gc
import re
import subprocess
import sys
import threading
from itertools import count, takewhile
from types import FrameType
from typing import Any

import pytest

from knnscope import progress


def test_a_bar_starts_no_process(child_environment: dict[str, str]) -> None:
    """Where processes are started by a server, as from Python 3.14 on, a lock of multiprocessing's starts another to watch over it."""
    code = (
        "import multiprocessing\n"
        "from multiprocessing import resource_tracker\n"
        "multiprocessing.set_start_method('forkserver')\n"
        "from knnscope import progress\n"
        "with progress.bar(3, 'work', 'step') as bar:\n"
        "    bar.update()\n"
        "    progress.say('a line')\n"
        "assert resource_tracker._resource_tracker._pid is None"
    )
    subprocess.run([sys.executable, "-c", code], env=child_environment, check=True, capture_output=True)


def test_work_of_unknown_length_is_told_by_its_count(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.bar(None, "compile", "step") as bar:
        bar.delay = 0
        bar.update(3)
        bar.refresh()
    assert re.fullmatch(r"compile 3 \[00:00, .*step/s\]\n", capsys.readouterr().err)


def test_one_that_is_stopped_while_it_is_made_leaves_no_message(capsys: pytest.CaptureFixture[str]) -> None:
    """By Ctrl-C, at any line of it: whatever is there by then is collected in silence."""
    said = list[str]()

    def stopped(moment: int) -> bool:
        left = moment

        def step(_: FrameType, event: str, __: object) -> Any:
            nonlocal left
            left -= event == "line"
            if left == 0:
                raise KeyboardInterrupt
            return step

        sys.settrace(step)
        try:
            progress.bar(10, "work", "step")
        except KeyboardInterrupt:
            return True
        finally:
            sys.settrace(None)
        return False

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            progress._Bar, "_lock", threading.RLock()
        )  # tracing stops it where no signal does, before it is released
        patch.setattr(sys, "unraisablehook", lambda what: said.append(repr(what.exc_value)))
        moments = sum(1 for _ in takewhile(stopped, count(1)))
        gc.collect()
    assert moments > 50
    assert not [one for one in said if "KeyboardInterrupt" not in one], "what stops a __del__ itself, Python tells"


def test_one_that_is_stopped_while_it_draws_lets_others_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    lock = threading.RLock()
    monkeypatch.setattr(progress._Bar, "_lock", lock)
    with progress.bar(10, "work", "step") as bar, monkeypatch.context() as patch:
        patch.setattr(progress._Bar, "display", stop)
        with pytest.raises(KeyboardInterrupt):
            bar.refresh()
    free = list[bool]()

    def draw() -> None:
        free.append(lock.acquire(timeout=5))
        if free[0]:
            lock.release()

    other = threading.Thread(target=draw)
    other.start()
    other.join()
    assert free == [True]
