"""python -m knnscope.ceilings cpu THREADS, or cuda: measures in this process, prints the record as a line of JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from knnscope.ceilings import cpu
from knnscope.errors import KnnscopeError, require
from knnscope.processes import end_with_parent


def main(argv: Sequence[str]) -> int:
    """Measure; returns the exit code."""
    try:
        measured = (
            require("knnscope.ceilings.gpu", "cuda13", "cupy").measure()
            if argv[0] == "cuda"
            else cpu.measure(int(argv[1]))
        )
    except KnnscopeError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    sys.stdout.write(json.dumps(measured.to_json(), allow_nan=False) + "\n")
    return 0


if __name__ == "__main__":
    end_with_parent()
    sys.exit(main(sys.argv[1:]))
