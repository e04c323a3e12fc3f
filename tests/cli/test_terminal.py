"""Names of files, folders and ids are anybody's: nothing that steers a terminal is printed, whatever they hold."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from knnscope.progress import harmless
from tests.cli.conftest import Run

EVIL = "a\x1b[31mred\x1b]0;title\x07\x9b2J\u202ebidi\u2066x\u2028y\u0085z\rback"


def steers(text: str) -> bool:
    """Control characters, line ends of Unicode, and what turns the direction of writing."""
    turns = {0x61C, 0x200E, 0x200F, 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A)}
    return any((ord(c) < 32 and c not in "\n\t") or 127 <= ord(c) < 160 or ord(c) in turns for c in text)


def test_what_steers_is_shown_as_its_code() -> None:
    assert steers(EVIL)
    assert not steers(harmless(EVIL))
    assert harmless("plain\n\ttext, \u00e4\u65e5\U0001f600") == "plain\n\ttext, \u00e4\u65e5\U0001f600"
    assert harmless("\x1b\u202e\udcff") == "\\x1b\\u202e\\udcff"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A BEIR folder and a file of vectors with names that steer, and one of bytes that are no text."""
    made = tmp_path / EVIL
    (made / "qrels").mkdir(parents=True)
    ids = [f"d{EVIL}{i}" for i in range(3)]
    (made / "corpus.jsonl").write_text(
        "".join(json.dumps({"_id": i, "title": EVIL, "text": f"sugar {EVIL}"}) + "\n" for i in ids)
    )
    (made / "queries.jsonl").write_text(json.dumps({"_id": f"q{EVIL}", "text": f"sweet {EVIL}"}) + "\n")
    (made / "qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\n")
    np.save(made / f"{EVIL}.npy", np.eye(9, 4, dtype=np.float32))
    np.save(os.fsdecode(os.fsencode(made) + b"/\xff\xfe.npy"), np.eye(9, 4, dtype=np.float32))
    return made


def test_no_command_prints_what_steers(
    folder: Path, tmp_path: Path, knnscope: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = str(folder / f"{EVIL}.npy")
    monkeypatch.chdir(tmp_path)
    for argv in (
        ("data", "show", str(folder)),
        ("data", "show", vectors),
        ("data", "get", "synthetic:text,rows=9,dim=4", "-o", str(folder / f"{EVIL}2.npy")),
        ("embed", str(folder), "-o", str(folder / "out")),
        ("search", str(folder), f"sugar {EVIL}", "-k", "2"),
        ("search", vectors, EVIL),
        ("sql", vectors, "kernels"),
        ("explain", str(folder / EVIL)),
    ):
        _, *said = knnscope(*argv)
        assert any(said), argv
        assert not any(map(steers, said)), (argv, said)


def test_no_process_prints_what_steers(folder: Path, tmp_path: Path, child_environment: dict[str, str]) -> None:
    """Of what is no text, too, which only a stream of its own shows."""
    commands = (
        ("data", "show", str(folder)),
        ("data", "show", os.fsdecode(os.fsencode(folder) + b"/\xff\xfe.npy")),
        ("data", "show", EVIL),
        (EVIL,),
    )
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "knnscope", *argv],
            env=child_environment,
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for argv in commands
    ]
    for argv, process in zip(commands, running, strict=True):
        for said in process.communicate():
            assert not steers(said.decode("utf-8")), (argv, said)
