"""A run of the drop-ins' hosts that tested nothing, or not all of its files, fails: tests/conftest.py says so."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PASSES = "def test_one():\n    assert True\n"
SKIPPED = "import pytest\n\n\n@pytest.mark.skip\ndef test_one():\n    pass\n"
LACKING = "import pytest\n\npytest.importorskip('no_such_library')\n" + PASSES
MISSING = "import no_such_library\n\n\n" + PASSES


@pytest.mark.parametrize(
    ("files", "is_run"),
    [
        ((PASSES, PASSES + SKIPPED.replace("test_one", "test_two")), True),
        pytest.param((SKIPPED,), False, marks=pytest.mark.slow),
        ((PASSES, SKIPPED), False),
        pytest.param((PASSES, LACKING), False, marks=pytest.mark.slow),
        ((PASSES, MISSING), False),
    ],
)
def test_a_run_counts_where_every_file_has_a_test_that_passed(
    files: tuple[str, ...], is_run: bool, tmp_path: Path
) -> None:
    folder = tmp_path / "tests" / "dropins" / "hosts"
    folder.mkdir(parents=True)
    for number, text in enumerate(files):
        (folder / f"test_{number}.py").write_text(text)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "tests.conftest",
            "-p",
            "no:cacheprovider",
            "--rootdir",
            str(tmp_path),
            str(folder),
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT), "KNNSCOPE_DROPIN_TESTS": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode == 0) == is_run, done.stdout + done.stderr
    assert ("this was no run of the drop-ins" in done.stdout) == (not is_run)


def test_only_then_are_they_collected() -> None:
    """``./dev test`` needs none of these libraries."""
    code = "from tests import conftest; print('dropins/hosts' in conftest.collect_ignore)"
    for value, said in ((None, "True"), ("1", "False")):
        env = {name: one for name, one in os.environ.items() if name != "KNNSCOPE_DROPIN_TESTS"}
        env |= {"KNNSCOPE_DROPIN_TESTS": value} if value else {}
        done = subprocess.run(
            [sys.executable, "-c", code], env=env, cwd=ROOT, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == said
