"""knnscope data: what there is, getting it, relevant pairs."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from knnscope.datasets import registry
from tests.cli.conftest import Run, refused


def test_data_list(knnscope: Run) -> None:
    code, out, _ = knnscope("data", "list")
    assert code == 0
    assert all(
        re.search(rf"^{re.escape(name)} ", out, re.M) for name in ("sample", "wordnet", "arguana", "dbpedia-entity")
    )
    listed = json.loads(knnscope("data", "list", "--json")[1])
    assert {e["name"] for e in listed} >= set(registry.published())


def test_data_show_pairs(knnscope: Run) -> None:
    code, out, _ = knnscope("data", "show", "sample", "--pairs", 2, "--offset", 3, "--grade", 2)
    assert code == 0
    assert out.count("\nquery q-") == 2
    assert out.count(", grade 2") == 2
    assert "to see the next: knnscope data show sample --grade 2 --offset 5" in out
    assert "no pairs from --offset 99" in knnscope("data", "show", "sample", "--offset", 99)[1]
    assert "no pair has grade 7" in knnscope("data", "show", "sample", "--grade", 7)[1]


def test_data_get_writes_synthetic_vectors_as_streamed(knnscope: Run, tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    spec = "synthetic:text,rows=9000,dim=8,seed=2,queries=5"
    assert knnscope("data", "get", spec, "-o", path)[0] == 0
    np.testing.assert_array_equal(np.load(path), registry.load(spec)[0].documents.values)
    np.testing.assert_array_equal(np.load(tmp_path / "x-queries.npy"), registry.load(spec)[0].queries.values)
    _code, out, _ = knnscope("data", "show", path)
    assert "9,000 rows of 8 float32" in out
    assert "norms" in out


def test_a_beir_archive_from_a_server_to_an_answer(
    knnscope: Run, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``data get`` of a published name: download, checksum, unpacking, reading."""
    import hashlib
    import threading
    from functools import partial
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    shutil.make_archive(str(tmp_path / "toy"), "zip", registry.SAMPLE.parent, registry.SAMPLE.name)
    web = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path)))
    thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    raw = (tmp_path / "toy.zip").read_bytes()
    entry = {
        "url": f"http://127.0.0.1:{web.server_port}/toy.zip",
        "md5": hashlib.md5(raw).hexdigest(),
        "documents": 240,
        "queries": 60,
    }
    monkeypatch.setattr(registry, "published", lambda: {"sample_data": entry})
    code, out, _ = knnscope("data", "get", "sample_data")
    web.shutdown()
    thread.join()
    web.server_close()
    assert code == 0
    assert "sample_data lies in" in out
    assert "240 documents, 60 queries" in knnscope("data", "show", "sample_data", "--pairs", 0)[1]
    assert not list(home.rglob("*.zip")), "the archive is deleted once unpacked"


@pytest.mark.parametrize(
    ("spec", "members"),
    [
        ("toy", []),
        ("toy", ["notes.txt"]),
        ("toy", ["toy/corpus.jsonl"]),
        ("toy", ["toy/queries.jsonl"]),
        ("toy/two", ["toy/one/corpus.jsonl", "toy/one/queries.jsonl"]),
    ],
)
def test_an_archive_that_is_no_collection_is_refused_and_does_not_count_as_one(
    knnscope: Run, home: Path, monkeypatch: pytest.MonkeyPatch, spec: str, members: list[str]
) -> None:
    archive = home / "downloads" / "toy.zip"
    archive.parent.mkdir()
    with zipfile.ZipFile(archive, "w") as bundle:
        for member in members:
            bundle.writestr(member, "{}\n")
    entry: dict[str, object] = {"url": "http://127.0.0.1:1/toy.zip", "documents": 1, "queries": 1}
    if "/" in spec:
        entry["parts"] = ("one", "two")
    monkeypatch.setattr(registry, "published", lambda: {"toy": entry})
    refused(
        knnscope("data", "get", spec), "toy.zip.*(holds no file|holds no corpus.jsonl and queries.jsonl).*delete it"
    )
    assert not registry.folder_of("toy").exists()
    assert not list((home / "datasets").iterdir()), "nor anything else"
    assert "downloaded" not in knnscope("data", "list")[1]
