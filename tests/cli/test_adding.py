"""A new command that lacks something says what."""

from __future__ import annotations

import argparse

import pytest

from knnscope import cli
from knnscope.cli import completion
from tests.cli.conftest import Run


class Silent:
    def configure(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("file", metavar="FILE")

    def run(self, args: argparse.Namespace) -> int:
        return 0


class Short(Silent):
    """Says little."""


def test_a_command_without_a_docstring_is_named(monkeypatch: pytest.MonkeyPatch, knnscope: Run) -> None:
    monkeypatch.setitem(cli.COMMANDS, "silent", f"{__name__}:Silent")
    for ask in (lambda: knnscope("--help"), lambda: knnscope("silent", "--help"), completion.commands):
        with pytest.raises(
            TypeError, match=r"tests\.cli\.test_adding:Silent has no docstring: its first line is its help"
        ):
            ask()
    monkeypatch.setattr(Silent, "__doc__", "   \n  ")
    with pytest.raises(TypeError, match="Silent has no docstring"):
        cli.usage()


def test_a_short_one_is_enough(monkeypatch: pytest.MonkeyPatch, knnscope: Run) -> None:
    monkeypatch.setitem(cli.COMMANDS, "short", f"{__name__}:Short")
    assert "knnscope short      Says little." in knnscope("--help")[1]
    monkeypatch.setenv("COLUMNS", "60")
    narrow = knnscope("short", "--help")[1]
    monkeypatch.setenv("COLUMNS", "200")
    assert knnscope("short", "--help")[1] == narrow
