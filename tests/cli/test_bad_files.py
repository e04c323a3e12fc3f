"""Files and numbers that people give by mistake: the line says what is wrong, where, and what to do."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import Compare, Run, refused


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """30 vectors, 3 queries with their ground truth, and some that are no such thing."""
    monkeypatch.chdir(tmp_path)
    rows = np.random.default_rng(0).standard_normal((30, 4), dtype=np.float32)
    np.save("v.npy", rows)
    np.save("q.npy", rows[:3])
    np.save("gt.npy", np.arange(3)[:, None])
    Path("junk.npy").write_text("hello world", "utf-8")
    Path("vectors.csv").write_text("0.5,1e-3,-2\n3,4,5\n", "utf-8")
    Path("headed.csv").write_text("a,b\n3,4\n", "utf-8")
    Path("notes.jsonl").write_text('{"id": "a", "text": "x"}\n{"id": "b", text}\n', "utf-8")
    Path("folder").mkdir()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("data show nothere", r"no data set, folder or file named 'nothere': knnscope data list names the data sets$"),
        ("data show vectors.csv", r"vectors.csv: numbers and no texts: save vectors as \.npy, with numpy\.save$"),
        ("data show headed.csv", "headed.csv: no column of texts among a, b: it is called"),
        ("data show notes.jsonl", r"notes.jsonl, line 2: bad JSON at character 13 \(Expecting property name"),
        ("data get synthetic:ties,rows=-3", "rows must be a whole number from 0 up, in digits, found '-3'"),
        ("data get synthetic:ties,rows=1e6", "rows must be a whole number from 0 up, in digits, found '1e6'"),
        ("compare v.npy --engines numpy --out q.npy", "q.npy: this is a file, a folder was expected"),
        (
            "crossover v.npy --engines numpy,certified --rows 5,3000",
            "--rows 3000: v.npy has 15 rows beside its queries",
        ),
        (
            "crossover v.npy --engines numpy,certified --rows 5,15 -k 10",
            "k = 10 is more than 5, the fewest rows: take a smaller k, or begin with more rows",
        ),
        ("show v.npy", "v.npy: not a run: the folder of a run of knnscope compare, ladder or crossover was expected"),
        ("show nothere", "nothere: no such folder: the folder of a run of knnscope compare, ladder or crossover was"),
        ("show folder", "folder: holds no results.jsonl: the folder of a run of knnscope compare, ladder or crossover"),
        (
            "verify v.npy junk.npy --queries q.npy",
            r"junk.npy: no \.npy file, whatever its name says: np\.save writes one$",
        ),
        ("verify v.npy gt.npy --queries q.npy --sample 9", "--sample 9: there are 3 queries"),
    ],
)
def test_a_mistake_is_named_with_what_to_do(knnscope: Run, argv: str, message: str) -> None:
    refused(knnscope(*argv.split()), message)


NO_FILES = {
    "pipe": "a pipe or a device, which cannot be read twice: save it as a file",
    "link": "a link to far/file, which is not there",
}


@pytest.mark.parametrize("what", NO_FILES)
@pytest.mark.parametrize("name", ["x.npy", "x.fbin", "x.hdf5", "x.parquet", "x.jsonl", "x.csv", "x.zip", "x"])
def test_what_has_a_name_and_is_no_file_is_not_said_to_be_missing(knnscope: Run, what: str, name: str) -> None:
    """A shell's <(...) is a pipe; nothing is waited for."""
    if what == "pipe":
        os.mkfifo(name)
    else:
        Path(name).symlink_to("far/file")
    said = f"{name}: {NO_FILES[what]}$"
    refused(knnscope("data", "show", f"./{name}"), said)
    refused(knnscope("truth", name if "." in name else f"./{name}", "--queries", "q.npy", "-o", "t.npy"), said)
    refused(knnscope("verify", "v.npy", name, "--queries", "q.npy"), said)
    refused(knnscope("compare", "v.npy", "--queries", f"./{name}", "--quick", "--engines", "numpy"), said)


def test_a_number_is_told_as_it_was_typed(knnscope: Run) -> None:
    """3,000 would read as two numbers, where numbers are given with commas between them."""
    refused(knnscope("crossover", "v.npy", "--engines", "numpy,certified", "--rows", "3000,5"), "--rows 3000: ")


def test_what_has_no_effect_is_said(compare: Compare) -> None:
    code, _, err = compare(
        "v.npy", "--queries", "q.npy", "--engines", "Right", "--batch", "2,5", "--encoder", "my-model"
    )
    assert code == 0, err
    assert "note: v.npy: holds vectors: the encoder is not used" in err
    assert "note: 3 queries are fewer than 5 a call: they are repeated" in err
    code, _, err = compare("v.npy", "--queries", "q.npy", "--engines", "Right", "--batch", "2")
    assert "not used" not in err
    assert "repeated" not in err


def test_a_mistake_in_the_data_is_found_before_libraries_are_loaded(
    knnscope: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loading all of them takes seconds."""

    def slow() -> list[str]:
        raise AssertionError

    monkeypatch.setattr("knnscope.search.catalog.usual", slow)
    refused(knnscope("search", "nothere", "words"), "no data set, folder or file named 'nothere'")
    refused(knnscope("search", "v.npy", "words"), "v.npy: holds vectors, no texts, and does not say what encoded them")
    refused(knnscope("search", "v.npy", "--query-id", "3", "-k", "31"), "k = 31 is outside 1 to 30")
