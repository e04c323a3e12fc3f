"""Scans with AVX-512 VNNI and AMX, on a processor that lacks them: the same tests, with these instructions done by others (emulated/)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from knnscope.certified.cpu import dispatch

CHECKOUT = Path(__file__).parents[3]
EMULATED = "tests.certified.cpu.emulated"
SOME = (
    "tests/certified/cpu/test_products.py",
    "tests/certified/cpu/test_plane_answers.py::test_answers_are_those_of_the_definition_and_few_rows_are_computed[l2-vnni]",
    "tests/certified/test_index.py::test_against_the_independent_checker",
    "tests/certified/test_index.py::test_codes_that_stream_leave_the_same_candidates_as_plain_loops",
)


def passed(*given: str) -> int:
    """How many tests passed, all that were asked for, in a process where every instruction set is there."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", EMULATED, *given]
    done = subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    last = done.stdout.strip().splitlines()[-1].split()
    return int(last[last.index("passed") - 1]) if "passed" in last else int(last[last.index("passed,") - 1])


@pytest.mark.skipif("amx" in dispatch.available(), reason="this processor has them all")
def test_what_this_processor_lacks_gives_the_same_bits() -> None:
    assert passed(*SOME) >= 45


@pytest.mark.slow
@pytest.mark.skipif("amx" in dispatch.available(), reason="this processor has them all")
def test_all_of_certified_search_with_what_this_processor_lacks() -> None:
    assert passed("tests/certified", "--deselect", "tests/certified/cpu/test_emulated.py") > 1500
