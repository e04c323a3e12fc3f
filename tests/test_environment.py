"""Who else kept the processor busy."""

from __future__ import annotations

import subprocess
import sys
import time

from knnscope import environment


def test_other_cores_are_what_is_busy_and_not_ours() -> None:
    before = {"busy_ticks": 100, "own_ticks": 10, "total_ticks": 1000}
    cores = environment.os.cpu_count() or 1
    after = {"busy_ticks": 200, "own_ticks": 60, "total_ticks": 1400}
    assert environment.other_cores(before, after) == round(50 / 400 * cores, 2)
    assert environment.other_cores(before, {**after, "own_ticks": 900}) == 0
    assert environment.other_cores(before, before) is None
    assert environment.other_cores({**before, "busy_ticks": None}, after) is None


def test_our_own_work_and_that_of_our_children_is_not_other_work() -> None:
    spin = "import time\nend = time.process_time() + 0.6\nwhile time.process_time() < end: pass"
    before = environment.state()
    subprocess.run([sys.executable, "-c", spin], check=True)
    end = time.process_time() + 0.3
    while time.process_time() < end:
        pass
    after = environment.state()
    assert after["own_ticks"] - before["own_ticks"] >= 80
    assert after["busy_ticks"] is None or after["busy_ticks"] - before["busy_ticks"] >= 60
