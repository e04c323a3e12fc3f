"""Requirement files are pinned, hashed and name no host; libraries that overwrite each other never share an extra."""

from __future__ import annotations

import re
import subprocess
import tomllib
import zipfile
from pathlib import Path

import pytest
from flit_core import buildapi

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "requirements").glob("*.txt"))
OWN = {"model", "docs", "dropins-cpu", "dropins-cuda"}
"""Of these nothing is built."""
TORCH = {"torch", "dropins", "dropins-cpu", "dropins-cuda"}
"""Environments of their own: nowhere else is torch installed."""
EXTRAS: dict[str, list[str]] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_every_requirement_is_pinned_and_hashed(path: Path) -> None:
    text = path.read_text()
    assert "://" not in text
    assert "--index" not in text
    assert "--find-links" not in text
    requirements = text.replace("\\\n", " ").strip().splitlines()
    assert requirements
    for line in requirements:
        assert re.match(r"[a-z0-9._-]+==\S+( ;[^#]*?)?\s+--hash=sha256:[0-9a-f]{64}", line), line


def test_there_is_a_file_for_every_use_and_the_build_backend_is_in_it() -> None:
    names = {path.stem for path in FILES}
    assert names == {
        "run",
        "test",
        "check",
        "browser",
        "docs",
        "wheel",
        "report",
        "cupti",
        "cuda12",
        "cuda13",
        "model",
        "notebook",
        "torch",
        "dropins",
        "dropins-cpu",
        "dropins-cuda",
    }
    assert all("flit-core==" in path.read_text() for path in FILES if path.stem not in OWN)
    assert "torch" not in "".join(path.read_text() for path in FILES if path.stem not in TORCH)
    assert not re.search("nvidia|triton|cuda", (ROOT / "requirements" / "dropins.txt").read_text())


@pytest.mark.parametrize("family", ["onnxruntime", "faiss", "cupy"])
def test_libraries_that_overwrite_each_other_share_no_extra(family: str) -> None:
    for extra, requirements in EXTRAS.items():
        found = [r for r in requirements if re.split(r"[\[<>=;]", r)[0].startswith(family)]
        assert len(found) <= 1, (extra, found)


def test_the_extras_that_were_asked_for() -> None:
    assert set(EXTRAS) == {
        "common",
        "cpu",
        "cuda13",
        "cuda12",
        "files",
        "report",
        "cupti",
        "test",
        "torch",
        "flashlib",
        "certex",
        "sentence-transformers",
        "mteb",
        "beir",
        "langchain",
    }
    assert not any(r.startswith(("torch", "onnxruntime", "faiss")) for r in EXTRAS["common"])


def test_what_is_no_code_gets_into_the_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Templates, styles and scripts of the page, kernels, schemas: all files of the package."""
    monkeypatch.chdir(ROOT)
    wheel = tmp_path / buildapi.build_wheel(str(tmp_path))
    with zipfile.ZipFile(wheel) as packed:
        names = set(packed.namelist())
    listed = subprocess.run(["git", "ls-files", "knnscope"], capture_output=True, text=True, check=True).stdout.split()
    assert {"knnscope/report/page/templates/page.html.j2", "knnscope/report/page/templates/style.css"} <= set(listed)
    assert set(listed) <= names
