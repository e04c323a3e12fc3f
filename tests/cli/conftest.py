"""Running commands in this process."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable

import pytest

from knnscope import cli

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def knnscope(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command line in this process: exit code, output, errors."""

    def run(*argv: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["knnscope", *map(str, argv)])
        try:
            code = cli.run()
        except SystemExit as stop:  # --help
            code = int(stop.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return run


def refused(result: tuple[int, str, str], message: str) -> None:
    """Exit code 2, nothing on standard output, one last line that says what."""
    code, out, err = result
    assert code == 2, err
    assert out == ""
    lines = [line for line in err.splitlines() if line.startswith("knnscope:")]
    assert len(lines) == 1, err
    assert re.search(message, lines[0]), lines[0]
    assert "Traceback" not in err
