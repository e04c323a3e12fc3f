"""What happens when something is wrong: one line, exit code 2 (130 when interrupted), nothing lost."""

from __future__ import annotations

import json
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from knnscope import cli
from knnscope.datasets import registry
from tests.cli.conftest import Run, refused
from tests.encoders.folders import lay_out
from tests.processes import LONG, until


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["serach", "sample"], "no command named 'serach': did you mean search"),
        (["search", "smaple", "x"], "no data set, folder or file named 'smaple': did you mean sample"),
        (["search", "sample"], "either a query in words or --query-id"),
        (["search", "sample", "x", "--query-id", "q-zoos"], "either a query in words or --query-id"),
        (["search", "sample", "   "], "the query is empty"),
        (["search", "sample", "--query-id", "q-zoo"], "no query with id 'q-zoo': ids look like q-congestion-charge"),
        (["search", "sample", "x", "--engines", "fais"], "no engine named 'fais': did you mean faiss"),
        (
            ["search", "sample", "x", "--engines", "nosuch"],
            r"'nosuch': known: .*numpy64.* \(see knnscope info\)",
        ),
        (["compare", "sample", "--engines", "nosuch"], r"'nosuch': known: .*numpy64.* \(see knnscope info\)"),
        (["compare", "sample", "--engines", "NumPy"], "no engine named 'NumPy': did you mean numpy"),
        (["compare", "sample", "--engines", "numba"], r"'numba': known: .*knnscope info"),
        (["compare", "sample", "--engines", "fais"], "no engine named 'fais': did you mean faiss(-gpu)?[^()]*$"),
        (["ladder", "--rungs", "nosuch"], r"'nosuch': known: .*argsort.*knnscope info"),
        (["profile", "nosuch"], r"'nosuch': known: .*argsort.*knnscope info.*after --"),
        (["search", "sample", "x", "--encoder", "word2vec"], "no encoder or folder named 'word2vec': known: [^()]*$"),
        (["search", "sample", "x", "--engines", ","], "--engines is empty"),
        (["search", "sample", "x", "-k", "0"], "'0' is not a whole number above 0"),
        (["search", "sample", "x", "-k", "241"], "k = 241 is outside 1 to 240"),
        (["search", "sample", "x", "--metric", "l3"], "invalid choice: 'l3'"),
        (["search", "sample", "x", "--encoder", "gte-smal"], "did you mean gte-small"),
        (["search", "sample", "x", "--recipe", "notebok"], "did you mean notebook"),
        (["search", "sample", "x", "--split", "dev"], "no dev.tsv; there is test.tsv"),
        (["data", "show"], "needs the name of a data set"),
        (["data", "get", "cqadupstack"], "did you mean cqadupstack/"),
        (["data", "get", "synthetic:text", "-o", "x.bin"], "must end in .npy"),
        (["data", "show", "sample", "--pairs", "-1"], "not a whole number"),
        (["compare", "sample", "--again", "-1"], "'-1' is not a whole number from 0 up"),
        (["embed", "wordnet", "--wordnet", "/nowhere"], "no WordNet data files"),
        (["embed", "sample", "--limit", "0"], "not a whole number above 0"),
        (["embed", "sample", "-o", "/proc/nowhere"], "/proc/nowhere"),
        (["frobnicate"], "no command named 'frobnicate'"),
        (["embed"], "required: DATASET"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(knnscope: Run, argv: list[str], message: str) -> None:
    code, _out, err = knnscope(*argv)
    refused((code, "", err), message)


def test_a_missing_library_names_the_line_that_installs_it(knnscope: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "usearch", None)
    monkeypatch.delitem(sys.modules, "knnscope.search.engines.usearch", raising=False)
    refused(
        knnscope("search", "sample", "x", "--engines", "usearch"),
        r"usearch is not installed: .*pip install -e .*\[cpu\]",
    )


def test_no_network_is_one_line(knnscope: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("knnscope.fetch.time.sleep", lambda _: None)
    monkeypatch.setattr(
        registry, "published", lambda: {"toy": {"url": "http://192.0.2.1/toy.zip", "documents": 1, "queries": 1}}
    )
    refused(knnscope("data", "get", "toy"), "tests reach no network.*put the file at")


def test_terminal_codes_in_texts_are_not_sent(knnscope: Run, tmp_path: Path) -> None:
    (tmp_path / "corpus.jsonl").write_text('{"_id": "d\\u001b[2J", "text": "red \\u001b[31m text\\u0007"}\n')
    (tmp_path / "queries.jsonl").write_text('{"_id": "q", "text": "\\u001b]0;title\\u0007 words"}\n')
    for argv in (("search", tmp_path, "--query-id", "q", "-k", 1), ("data", "show", tmp_path)):
        code, out, err = knnscope(*argv)
        assert code == 0
        assert "\x1b" not in out + err
        assert "\x07" not in out + err


def test_a_closed_pipe_is_no_error(child_environment: dict[str, str]) -> None:
    command = f"{sys.executable} -m knnscope data show sample --pairs 60 | head -n 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], env=child_environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0"
    assert done.stderr == ""


def test_ctrl_c_keeps_what_was_done_and_exits_130(
    tmp_path: Path, child_environment: dict[str, str], popen: Callable[..., Any]
) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    with (folder / "corpus.jsonl").open("w") as file:
        for i in range(20_000):
            file.write(json.dumps({"_id": str(i), "text": f"number {i} of very many passages"}) + "\n")
    (folder / "queries.jsonl").write_text('{"_id": "q", "text": "number"}\n')
    environment_ = {**child_environment, "KNNSCOPE_HOME": str(tmp_path / "home")}
    process = popen(
        [sys.executable, "-m", "knnscope", "embed", str(folder)],
        env=environment_,
        stderr=subprocess.PIPE,
        text=True,
    )

    def under_way() -> bool:
        written = [wal.stat().st_size for wal in (tmp_path / "home" / "vectors").glob("*.sqlite-wal")]
        return sum(written) > 100_000 or process.poll() is not None

    until(under_way, "vectors in the cache")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=LONG)
    assert process.returncode == 130, err
    assert "interrupted; what was finished is kept, and the same command goes on from there" in err
    assert "Traceback" not in err
    with sqlite3.connect(next((tmp_path / "home" / "vectors").glob("*.sqlite"))) as db:
        assert db.execute("SELECT count(*) FROM vectors").fetchone()[0] > 0
    db.close()


def test_terminal_codes_in_errors_are_not_sent(knnscope: Run, tmp_path: Path) -> None:
    code, _, err = knnscope("data", "show", f"{tmp_path}/\x1b]0;title\x07.csv")
    assert code == 2
    assert "\x1b" not in err
    assert "\x07" not in err


def run_process(
    child_environment: dict[str, str], command: str, **variables: str
) -> subprocess.CompletedProcess[bytes]:
    environment = {**child_environment, **variables}
    return subprocess.run(
        ["bash", "-c", command.replace("knnscope", f"{sys.executable} -m knnscope")],
        env=environment,
        capture_output=True,
        check=False,
    )


def test_streams_that_are_closed_or_lack_characters(tmp_path: Path, child_environment: dict[str, str]) -> None:
    (tmp_path / "corpus.jsonl").write_text('{"_id": "日本", "text": "自然言語処理 \\ud800"}\n', encoding="utf-8")
    (tmp_path / "queries.jsonl").write_text('{"_id": "q", "text": "言語"}\n', encoding="utf-8")
    tiny = lay_out("pooling-mean", tmp_path / "tiny")
    for variables in ({"LC_ALL": "C", "PYTHONUTF8": "0"}, {"PYTHONIOENCODING": "latin-1"}):
        for command in (
            f"knnscope data show {tmp_path}",
            f"knnscope search {tmp_path} --query-id q -k 1 --engines numpy64 --encoder {tiny} --json",
        ):
            done = run_process(child_environment, command, **variables)
            assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["engines"]["numpy64"]["ids"] == ["日本"]
    assert run_process(child_environment, "knnscope data list >&-").returncode == 0
    assert b"240 documents" in run_process(child_environment, "knnscope data show sample 2>&-").stdout
    assert run_process(child_environment, "COLUMNS=5 knnscope data show sample").returncode == 0


def test_a_file_that_shadows_a_library_is_named(tmp_path: Path, child_environment: dict[str, str]) -> None:
    (tmp_path / "usearch.py").write_text("")
    done = run_process(child_environment, f"cd {tmp_path} && knnscope info")
    assert done.returncode == 0, done.stderr
    assert b"usearch.py shadows the library usearch" in done.stdout
    assert b"usearch is installed but does not load" in done.stdout


def test_very_long_numbers(knnscope: Run, tmp_path: Path) -> None:
    refused(knnscope("search", "synthetic:ties,rows=9,dim=2", "--query-id", "9" * 5000), "a row from 0 to 999")
    refused(knnscope("search", "sample", "x", "-k", "9" * 5000), "not a whole number")


def test_k_above_the_rows_is_said_before_anything_is_encoded(knnscope: Run, home: Path) -> None:
    refused(knnscope("search", "sample", "--query-id", "q-zoos", "-k", 241), "k = 241 is outside 1 to 240")
    assert not list(home.rglob("*-wal")), "nothing was encoded"


def test_little_address_space_is_one_line_before_a_library_crashes(child_environment: dict[str, str]) -> None:
    """Faiss ends the process by SIGSEGV where it cannot map its memory."""
    code = (
        "import resource, runpy, sys\n"
        "import knnscope.cli\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + (100 << 20),) * 2)\n"
        "sys.argv = ['knnscope', 'search', 'sample', 'tax']\n"
        "sys.exit(knnscope.cli.run())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=child_environment, capture_output=True, text=True, timeout=LONG
    )
    assert done.returncode == 2
    assert re.search(
        "knnscope: .* of address space .ulimit -v. and uses .*: raise the limit to", done.stderr.splitlines()[-1]
    )


def _names() -> list[tuple[str, str]]:
    """Arguments of all commands that name one thing."""
    every = [(name, action) for name in cli.COMMANDS for action in cli.parser_of(name)._actions]
    plain = [(name, one) for name, one in every if one.metavar and one.type is None and not one.choices]
    return [(name, one.dest) for name, one in plain if one.metavar != "PROMPT" and not set(",;") & set(one.metavar)]


@pytest.mark.parametrize(("command", "argument"), _names())
def test_a_name_of_nothing_is_refused(
    knnscope: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, argument: str
) -> None:
    """``"$UNSET"`` of a script: it was the current folder, or the sample."""
    monkeypatch.chdir(tmp_path)
    actions = cli.parser_of(command)._actions
    argv: list[str] = []
    for number, action in enumerate(actions):
        is_it, later = action.dest == argument, [one.dest for one in actions[number:]]
        needed = action.required or (not action.option_strings and argument in later)
        if is_it or needed:
            argv += [*action.option_strings[:1], "" if is_it else next(iter(action.choices or ["x"]))]
    refused(
        knnscope(command, *argv), " is empty: give a name, or leave it out; perhaps a variable of the shell is not set"
    )
    assert not list(tmp_path.iterdir())
