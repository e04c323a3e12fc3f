"""Runs a Python program in this process with our recorder on.

python -m knnscope.profile TRACE.sqlite (all | range) (-m MODULE | SCRIPT) ARGS...
"""

from __future__ import annotations

import os
import runpy
import sys
from importlib import import_module
from pathlib import Path

from knnscope.errors import require
from knnscope.processes import end_with_parent


def main() -> None:
    """Record, run, write; the program's own exit code."""
    end_with_parent()
    target, ranged = Path(sys.argv[1]), sys.argv[2] == "range"
    module = sys.argv[3] == "-m"
    sys.argv = sys.argv[4:] if module else sys.argv[3:]
    program = sys.argv[0]
    recorder = require("knnscope.profile.cupti", "cupti", "cupti").Recorder()
    (recorder.wait if ranged else recorder.start)()
    code: object = 0
    try:
        if module:
            runpy.run_module(program, run_name="__main__", alter_sys=True)
        else:
            sys.path[0] = str(Path(program).resolve().parent)
            runpy.run_path(program, run_name="__main__")
    except SystemExit as stop:
        code = stop.code
    finally:
        if "cupy" in sys.modules:
            import_module("cupy").cuda.runtime.deviceSynchronize()
        if recorder.on:
            recorder.stop()
        if recorder.began:
            recorder.write(target)
    sys.stdout.flush()
    os._exit(code if isinstance(code, int) else 1 if code else 0)  # what libraries do at exit is not the program's


if __name__ == "__main__":
    main()
