"""What every command's help has in common: the terminal's width, one spelling, one unit."""

from __future__ import annotations

import argparse
import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from knnscope import cli, environment
from knnscope.search import catalog
from tests.cli.conftest import Run, refused

MICROSECONDS = re.compile(r"(^|[\d}]) us\b")


@pytest.mark.parametrize("columns", [60, 80, 200])
@pytest.mark.parametrize("name", ["", *cli.COMMANDS])
def test_help_keeps_to_the_terminals_width(
    knnscope: Run, monkeypatch: pytest.MonkeyPatch, name: str, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    code, out, _ = knnscope(*([name] if name else []), "--help")
    assert code == 0
    assert max(map(len, out.splitlines())) <= columns
    if columns == 200:
        monkeypatch.setenv("COLUMNS", "60")
        assert len(knnscope(*([name] if name else []), "--help")[1].splitlines()) >= len(out.splitlines())


def test_a_narrow_terminal_takes_more_lines(knnscope: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all together: a short help may have nothing to wrap."""
    lines = []
    for columns in (60, 200):
        monkeypatch.setenv("COLUMNS", str(columns))
        lines.append(sum(len(knnscope(name, "--help")[1].splitlines()) for name in cli.COMMANDS))
    assert lines[0] > lines[1]


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_a_narrow_help_says_what_a_wide_one_says(knnscope: Run, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    said = []
    for columns in (60, 500):
        monkeypatch.setenv("COLUMNS", str(columns))
        text = knnscope(name, "--help")[1]
        said.append(text[text.index("options:") if name else 0 :].split())
    words = ["".join(parts) for parts in said]  # a word that is longer than the line is broken
    assert words[0] == words[1]


def test_examples_stay_commands(knnscope: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Broken as a shell reads them, and whole where there is room."""
    monkeypatch.setenv("COLUMNS", "60")
    narrow = knnscope("timeline", "--help")[1]
    monkeypatch.setenv("COLUMNS", "200")
    wide = knnscope("timeline", "--help")[1]
    assert re.search(r"^knnscope timeline run.sqlite -o run.png {3,}all of it$", wide, re.M)
    assert "knnscope timeline run.sqlite --phase search -o search.svg" in narrow
    assert "--from 20 --to 35 -o part.json\n    milliseconds; open it at https://ui.perfetto.dev\n" in narrow.replace(
        "\\\n    ", ""
    )


def options_of(name: str) -> list[argparse.Action]:
    return [action for action in cli.parser_of(name)._actions if action.option_strings]


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_engines_are_chosen_by_one_spelling(name: str) -> None:
    """--engines, with commas between them, wherever engines alone are named."""
    for action in options_of(name):
        names_engines = all(engine in (action.help or "") for engine in catalog.ENGINES)
        spelled = {option for option in action.option_strings if "engine" in option}
        assert spelled <= {"--engines"}
        assert (spelled == {"--engines"}) == (names_engines or action.metavar == "E,E...")


@pytest.mark.parametrize("name", ["", *cli.COMMANDS])
def test_no_help_measures_in_us(knnscope: Run, name: str) -> None:
    assert not MICROSECONDS.search(knnscope(*([name] if name else []), "--help")[1])


def test_nothing_that_is_printed_or_written_for_people_measures_in_us(root: Path) -> None:
    for path in (*(root / "knnscope").rglob("*.py"), *(root / "benchmarks").glob("*.py")):
        text = path.read_text("utf-8")
        if not re.search(r"\bus\b", text):
            continue  # to parse all of them takes seconds
        tree = ast.parse(text)
        silent = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}  # docstrings
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in silent:
                assert not MICROSECONDS.search(node.value), (path, node.lineno, node.value)
    for path in (root / "README.md", *(root / "docs").rglob("*.md")):
        assert not MICROSECONDS.search(path.read_text("utf-8")), path


def test_an_option_has_one_spelling(knnscope: Run) -> None:
    """A part of its name is none: the next option that begins alike would change what it means."""
    refused(knnscope("compare", "sample", "--engine", "numpy"), "--engine")
    refused(knnscope("info", "--jso"), "--jso")


def test_first_screen_names_every_command(knnscope: Run) -> None:
    for argv in ((), ("--help",), ("help",)):
        code, out, _ = knnscope(*argv)
        assert code == 0
        assert all(f"knnscope {name}" in out for name in cli.COMMANDS)
    assert knnscope("--version")[1] == f"knnscope {environment.version()}\n"


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_help_and_stands_in_the_readme(knnscope: Run, root: Path, name: str) -> None:
    code, out, _ = knnscope(name, "--help")
    assert code == 0
    assert (cli.load(name).__doc__ or "").strip().splitlines()[0].split(":")[0] in out.replace("\n", " ")
    assert f"knnscope {name}" in (root / "README.md").read_text()


HEAVY = (
    *("altair", "dask", "distributed", "h5py", "matplotlib", "onnx", "onnxruntime", "pandas", "pyarrow"),
    *("pytrec_eval", "scipy", "sklearn", "tokenizers", "torch", "vl_convert"),
)
"""Each takes a tenth of a second to several."""
NOT_LOADED = {
    "": (*HEAVY, "faiss", "msgspec", "usearch"),
    "--help": (*HEAVY, "faiss", "msgspec", "usearch"),
    "--version": (*HEAVY, "faiss", "msgspec", "usearch"),
    "search --help": (*HEAVY, "faiss", "usearch"),
    "info --help": (*HEAVY, "faiss", "usearch"),
    "info": HEAVY,  # which asks small libraries whether they load
    "info --json": HEAVY,
}


@pytest.mark.parametrize("line", NOT_LOADED)
def test_what_tells_of_others_loads_none_of_them(child_environment: dict[str, str], line: str) -> None:
    code = (
        f"import sys, knnscope.cli as c; sys.argv[1:] = {line.split()}\n"
        "try: c.run()\n"
        "except SystemExit: pass\n"
        f"print([m for m in {NOT_LOADED[line]} if m in sys.modules])"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], env=child_environment, capture_output=True, text=True, check=True
    ).stdout
    assert len(out.splitlines()) > 1
    assert out.splitlines()[-1] == "[]"


def test_the_first_screen_says_what_the_commands_say() -> None:
    for name in cli.COMMANDS:
        assert cli.summary_of(name) == cli.help_of(name).splitlines()[0]


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_argument_says_what_it_is_and_not_its_default_alone(name: str) -> None:
    for action in cli.parser_of(name)._actions:
        assert action.help, action
        assert not action.help.startswith("default"), action
