"""What Tab offers, asked from the shells themselves where they are here."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from knnscope import cli
from knnscope.cli import completion
from knnscope.datasets import registry
from knnscope.encoders import models
from knnscope.search import catalog
from tests.cli.conftest import Run, refused

ASK = """
source "$1"; shift
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_knnscope
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def script(knnscope: Run, tmp_path: Path) -> Path:
    """Bash's, in a folder with one file and one folder."""
    code, out, _ = knnscope("completion", "bash")
    assert code == 0
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "my vectors.npy").touch()
    (tmp_path / "here" / "all files").mkdir()
    (tmp_path / "completion").write_text(out)
    return tmp_path / "completion"


def offered(script: Path, *words: str) -> list[str]:
    """What bash offers for the last word."""
    done = subprocess.run(
        ["bash", "--norc", "-c", ASK, "ask", script, "knnscope", *words],
        capture_output=True,
        text=True,
        check=True,
        cwd=script.parent / "here",
    )
    assert done.stderr == ""
    return [line for line in done.stdout.split("\n") if line]


def test_bash_offers_every_command(script: Path) -> None:
    assert offered(script, "") == list(cli.COMMANDS)
    assert offered(script, "comp") == ["compare", "completion"]


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_bash_offers_every_option_of_a_command_and_its_choices(script: Path, name: str) -> None:
    actions = [action for action in cli.parser_of(name)._actions if action.option_strings]
    assert offered(script, name, "-") == [flag for action in actions for flag in action.option_strings]
    for action in actions:
        if action.choices:
            assert offered(script, name, action.option_strings[0], "") == list(action.choices)


def test_bash_offers_names_and_files(script: Path) -> None:
    names = offered(script, "compare", "")
    assert {"sample", "wordnet", *registry.published(), "my vectors.npy", "all files"} <= set(names)
    assert offered(script, "compare", "--limit", "5", "my") == ["my vectors.npy"]
    assert offered(script, "embed", "sample", "--encoder", "all") == ["all-MiniLM-L6-v2", "all files"]
    assert set(offered(script, "embed", "sample", "--encoder", "")) >= set(models.MODELS)
    assert offered(script, "compare", "--limit", "") == [], "a number: nobody can guess it"


def test_bash_offers_what_follows_a_comma(script: Path) -> None:
    assert offered(script, "compare", "--engines", "numpy,faiss-t") == ["numpy,faiss-tuned"]
    assert len(offered(script, "compare", "sample", "--engines", "usearch,numpy,")) == len(catalog.ENGINES)


def test_a_word_of_a_closed_set_comes_before_names(script: Path) -> None:
    assert offered(script, "data", "") == ["list", "get", "show"]
    assert "wordnet" in offered(script, "data", "show", "w")
    assert offered(script, "completion", "") == list(completion.SHELLS)


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_every_option_is_in_every_script(knnscope: Run, shell: str) -> None:
    _, out, _ = knnscope("completion", shell)
    words = set(out.replace("=", " ").replace("[", " ").replace("'", " ").replace("|", " ").replace(")", " ").split())
    for command in completion.commands():
        assert command.name in words
        for flag in (flag for option in command.options for flag in option.flags):
            assert (flag.lstrip("-") if shell == "fish" else flag) in words
    if program := shutil.which(shell):
        done = subprocess.run([program, "-n"], input=out, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not shutil.which("fish"), reason="no fish here")
def test_fish_offers_the_same(knnscope: Run, tmp_path: Path) -> None:
    _, out, _ = knnscope("completion", "fish")
    (tmp_path / "knnscope.fish").write_text(out)

    def offered(line: str) -> list[str]:
        done = subprocess.run(
            ["fish", "--no-config", "-c", f"source knnscope.fish; complete -C '{line}'"],
            capture_output=True,
            text=True,
            check=True,
            cwd=tmp_path,
            env={**os.environ, "HOME": os.fspath(tmp_path)},
        )
        return [line.split("\t")[0] for line in done.stdout.splitlines()]

    assert sorted(offered("knnscope ")) == sorted(cli.COMMANDS)
    assert sorted(offered("knnscope compare --metric ")) == ["cosine", "ip", "l2"]
    assert "numpy,faiss-tuned" in offered("knnscope compare --engines numpy,faiss-t")
    assert "wordnet" in offered("knnscope compare wo")


def test_what_is_no_shell_is_refused(knnscope: Run) -> None:
    refused(knnscope("completion", "csh"), "bash")
