"""Ctrl-C while what every command needs is still imported."""

from __future__ import annotations

import subprocess
import sys

import pytest

STOPPED = """
import os, runpy, signal, sys
class Stops:
    where = sys.argv.pop()
    def find_spec(self, name, path=None, target=None):
        if name == self.where:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Stops())
sys.argv = ["knnscope", "--version"]
runpy.run_module("knnscope", run_name="__main__")
"""
"""Somebody presses Ctrl-C when a module is imported."""


@pytest.mark.parametrize(
    "name", ["knnscope.cli", "argparse", "numpy", "numpy._core._multiarray_umath", "knnscope.store"]
)
def test_ctrl_c_before_anything_is_begun_is_one_line(child_environment: dict[str, str], name: str) -> None:
    done = subprocess.run([sys.executable, "-c", STOPPED, name], env=child_environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "knnscope: interrupted before anything was begun\n"


def test_where_ctrl_c_is_ignored_it_goes_on(child_environment: dict[str, str]) -> None:
    code = STOPPED.replace("import os", "import os, signal; signal.signal(signal.SIGINT, signal.SIG_IGN); import os", 1)
    done = subprocess.run([sys.executable, "-c", code, "numpy"], env=child_environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("knnscope ")
