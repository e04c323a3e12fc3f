"""Every code block of README.md and docs/ runs, or is parsed by the program that it calls."""

from __future__ import annotations

import ast
import json
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import knnscope
from knnscope import cli
from pages.blocks import Block, blocks, commands
from tests.trace import fixtures

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
NAMED = {str(path.relative_to(ROOT)): path for path in PAGES}
OWN_TEST = {"docs/python.md"}
"""tests/test_examples.py runs it, and holds what it says."""
TOOLS = {
    "pip",
    "git",
    "nsys",
    "npx",
    "docker",
    "cd",
    ".",
    "export",
    "curl",
    "uv",
    "cp",
    "mkdir",
    "compute-sanitizer",
    "nvidia-smi",
}
"""Programs that are not ours: what they take is not looked at."""
EXTRAS = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
DEV = {"help", *re.findall(r"^\./dev ([a-z-]+)", (ROOT / "dev").read_text(), re.M)}


def of(language: str, *, mark: str = "") -> list[Any]:
    """Blocks of all pages as parameters of a test."""
    return [
        pytest.param(name, block, id=f"{name}:{block.line}")
        for name, path in NAMED.items()
        for block in blocks(path.read_text("utf-8"))
        if block.language == language and block.mark.startswith(mark)
    ]


def spoken(words: list[str]) -> None:
    """A command that the program it names understands.

    Raises:
        AssertionError: it does not.
    """
    match words:
        case ["knnscope", *arguments] | ["python", "-m", "knnscope", *arguments]:
            cli.parsed(arguments)
        case ["./dev", command, *_]:
            assert command in DEV, f"./dev has no {command}"
        case ["python", "-m", ("pip" | "venv"), *_] | ["python", "-c", _]:
            pass
        case ["python", "-m", module, *_]:
            path = ROOT / module.replace(".", "/")
            assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), f"there is no module {module}"
        case ["python" | "bash", file, *_]:
            assert (ROOT / file).exists() or file.startswith("my_"), f"there is no file {file}"
        case [tool, *_]:
            assert tool in TOOLS, f"{tool} is no command that a reader has: name it in TOOLS, or mend the page"
    for extra in re.findall(r"(?:\.|knnscope|\.whl)\[([\w,]+)\]", " ".join(words)):
        assert set(extra.split(",")) <= EXTRAS, f"there is no extra {extra}"


@pytest.mark.parametrize("name", NAMED)
def test_blocks_are_fenced_and_name_their_language(name: str) -> None:
    blocks(NAMED[name].read_text("utf-8"))


@pytest.mark.parametrize(("name", "block"), of("sh"))
def test_a_command_is_understood(name: str, block: Block) -> None:
    found = list(commands(block.text))
    assert found
    for words in found:
        spoken(words)


@pytest.mark.parametrize("name", NAMED)
def test_a_command_within_a_line_has_the_options_that_it_names(name: str) -> None:
    for text in re.findall(r"`((?:python -m )?knnscope [^`]+)`", NAMED[name].read_text("utf-8")):
        words = shlex.split(text.replace("\\|", "|").removeprefix("python -m "))[1:]
        if words[0] in cli.COMMANDS:
            known = {option for action in cli.parser_of(words[0])._actions for option in action.option_strings}
            own = words[: words.index("--")] if "--" in words else words
            assert {word for word in own if re.match(r"--?[a-z]", word)} <= known, text
        else:
            assert words[0] in ("COMMAND", "NAME", "--version", "--help"), text


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the blocks run: the files that they name."""
    made = tmp_path_factory.mktemp("blocks")
    rng = np.random.default_rng(0)
    np.save(made / "vectors.npy", rng.standard_normal((300, 16), dtype=np.float32))
    np.save(made / "queries.npy", rng.standard_normal((20, 16), dtype=np.float32))
    texts = ("a tax on sugar", "free trams for everyone", "cats purr", "the bus is late again", "bread rises overnight")
    lines = [json.dumps({"id": f"note-{i}", "text": text}) for i, text in enumerate(texts)]
    (made / "notes.jsonl").write_text("\n".join(lines) + "\n")
    for name, trace in (("loop", "nsys-cupy-loop"),):
        fixtures.unpacked(trace, made).rename(made / f"{name}.sqlite")
    return made


@pytest.mark.usefixtures("one_process")
@pytest.mark.parametrize("name", [n for n in NAMED if n not in OWN_TEST])
def test_python_blocks_run_in_the_order_of_the_page(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks(NAMED[name].read_text("utf-8")):
        if block.language == "python":
            code = compile(block.text, f"{name}:{block.line}", "exec")
            used = {node.attr for node in ast.walk(ast.parse(block.text)) if of_knnscope(node)}  # type: ignore[attr-defined]
            assert used <= {*knnscope.PUBLIC, "__version__"}
            if not block.mark:
                exec(code, names)


def of_knnscope(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "knnscope"


@pytest.mark.parametrize(
    "name", [n for n in NAMED if any(b.mark == "run" for b in blocks(NAMED[n].read_text("utf-8")))]
)
def test_commands_that_cost_little_run_and_print_what_the_page_says(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    printed: list[str] = []
    for block in blocks(NAMED[name].read_text("utf-8")):
        if block.mark == "run":
            printed = []
            for words in commands(block.text):
                assert cli.main(words[words.index("knnscope") + 1 :]) == 0
                printed += capsys.readouterr().out.splitlines()
        elif block.mark == "printed":
            rest = iter(printed)
            for line in filter(None, block.text.splitlines()):
                start, cut, _ = line.partition(" ...")
                assert any(said.startswith(start) if cut else said == line for said in rest), line


def test_blocks_that_run_are_there() -> None:
    """None of the tests above is without cases."""
    assert len(of("sh")) >= 20
    assert len(of("python")) >= 20
    assert len(of("sh", mark="run")) >= 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a\n\n    knnscope info\n", "line 3: put a block between fences"),
        ("```\nknnscope info\n```\n", "line 1: a block is one of"),
        ("a\n```sh\nknnscope info\n", "line 2: this block does not end"),
    ],
)
def test_a_block_that_no_test_would_see_is_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        blocks(text)


@pytest.mark.parametrize(
    "line",
    [
        "knnscope compare sample --no-such-option",
        "knnscope nothing",
        "A=1 knnscope info --measur && true",
        "./dev nothing",
        "python -m benchmarks.nothing",
        "rm -r folder",
        "pip install '.[nothing]'",
    ],
)
def test_what_does_not_exist_is_found(line: str) -> None:
    found = next(commands(line))
    with pytest.raises((AssertionError, knnscope.KnnscopeError)):
        spoken(found)


def test_commands_of_a_line() -> None:
    line = 'A=1 knnscope sql x.sqlite "SELECT 1" --format csv >a.csv | cat && knnscope info  # what it is\n'
    assert list(commands(line)) == [
        ["knnscope", "sql", "x.sqlite", "SELECT 1", "--format", "csv"],
        ["cat"],
        ["knnscope", "info"],
    ]
