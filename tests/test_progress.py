"""A progress bar draws, and does nothing else."""

from __future__ import annotations

import subprocess
import sys


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
