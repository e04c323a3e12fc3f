"""Texts to vectors for Python."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import partial, partialmethod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import knnscope
from knnscope.api.embedding import Embedding
from knnscope.api.workload import EncoderOptions, Workload
from knnscope.datasets import registry, saved
from knnscope.errors import KnnscopeError
from knnscope.records import Texts, VectorDataset
from tests.encoders.folders import Graph, lay_out

TEXTS = ["a tax on sugar", "free trams", "a tax on sugar"]


def test_texts_become_vectors_once() -> None:
    found = knnscope.embed(TEXTS)
    assert found.vectors.shape == (3, 384) == (len(found), found.facts["dim"])
    assert found.queries is None
    assert (found.work["documents"].encoded, found.work["documents"].cached) == (2, 0)
    assert (found.vectors[0] == found.vectors[2]).all()
    again = knnscope.embed(TEXTS)
    assert again.work["documents"].encoded == 0
    assert (again.vectors == found.vectors).all()
    assert [row["id"] for row in again.rows()] == ["0", "1", "2"]


def test_what_is_saved_is_loaded_and_is_what_the_command_writes(tmp_path: Path) -> None:
    few = knnscope.load("sample", limit=5)
    found = knnscope.embed(few, out=tmp_path / "a")
    loaded = Embedding.load(tmp_path / "a")
    loaded.save(tmp_path / "b")
    for path in sorted((tmp_path / "a").rglob("*.*")):
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes(), path
    dataset = knnscope.load(tmp_path / "a")
    for other in (loaded, knnscope.embed(few)):
        assert (other.vectors == found.vectors).all()
        assert other.queries is not None
        assert (other.queries == found.queries).all()
        assert other.dataset.encoded_by == dataset.encoded_by
        assert other.dataset.metric == dataset.metric == "cosine"
    assert (Workload(dataset).documents.values == found.vectors).all()
    json.dumps(found.to_dict())
    assert repr(found) == repr(loaded) == "<Embedding of 'sample' by all-MiniLM-L6-v2: 5 documents x 384>"
    assert "&lt;Embedding" in found._repr_html_()


@pytest.mark.parametrize("first", [None, ("a", 2), ("a", 0)])
@pytest.mark.parametrize("queries", [2, 0])
def test_a_save_that_is_stopped_leaves_one_run_or_none(
    first: tuple[str, int] | None, queries: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever it is stopped: never rows of one run with queries of another, or without their own."""

    def made(name: str, asked: int) -> Embedding:
        def column(part: str, count: int) -> saved.Column:
            texts = Texts([f"{name}{part}{i}" for i in range(count)], ["x"] * count)
            facts = {"encoder": name, "sha256": "0" * 64, "recipe": {"name": "x", "metric": "cosine"}}
            return saved.Column(texts, [np.ones((count, 3), np.float32)], 3, facts)

        saved.write(tmp_path / "made", column("d", 3), column("q", asked))
        return Embedding.load(tmp_path / "made")

    def read(folder: Path) -> object:
        try:
            found, _ = registry.load(str(folder))
        except KnnscopeError:
            return None
        assert isinstance(found, VectorDataset)
        assert found.encoded_by is not None
        return (
            found.encoded_by.name,
            list(found.documents.ids or ()),
            list(found.queries.ids or ()) if found.queries else [],
        )

    whole, seen = [], []
    for name, asked in ((first,) if first else ()) + (("b", queries),):
        made(name, asked)
        whole.append(read(tmp_path / "made"))
    for steps in range(20):
        folder = tmp_path / str(steps)
        if first:
            made(*first).save(folder)
        now = made("b", queries)
        left = steps

        def step(*args: Any, real: Any = None, **how: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                raise KeyboardInterrupt
            return real(*args, **how)

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", partial(step, real=os.replace))
            patch.setattr(Path, "unlink", partialmethod(step, real=Path.unlink))
            try:
                now.save(folder)
            except KeyboardInterrupt:
                pass
            else:
                assert read(folder) == whole[-1]
                break
        seen.append(read(folder))
        assert seen[-1] is None or seen[-1] in whole
    assert steps > 4


def test_a_saved_folder_of_anybodys_words_is_one_short_escaped_line(tmp_path: Path) -> None:
    knnscope.embed(TEXTS, out=tmp_path / "a")
    meta = json.loads((tmp_path / "a" / "meta.json").read_text())
    (tmp_path / "a" / "meta.json").write_text(json.dumps(meta | dict.fromkeys(("dataset", "encoder"), "<b>\n" * 999)))
    found = Embedding.load(tmp_path / "a")
    assert len(repr(found)) < 300
    assert "\n" not in repr(found)
    assert "<b>" not in found._repr_html_()


def _swap_words(path: Path) -> None:
    found = json.loads(path.read_text())
    vocabulary = found["model"]["vocab"]
    (a, first), (b, second) = list(vocabulary.items())[-2:]
    vocabulary[a], vocabulary[b] = second, first
    path.write_text(json.dumps(found))


def _other_number(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)


def _other_epsilon(path: Path) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | {"layer_norm_eps": 0.1}))


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("tokenizer.json", _swap_words),
        ("config.json", _other_epsilon),
        ("2_Dense/model.safetensors", _other_number),
        ("model.onnx_data", _other_number),
    ],
)
def test_words_are_not_encoded_by_a_model_that_was_changed_since(
    file: str, change: Callable[[Path], None], tmp_path: Path
) -> None:
    """Whichever of its files; the one of the weights alone would not tell."""
    folder = lay_out("dense", tmp_path / "model")
    if file == "model.onnx_data":
        (folder / "model.safetensors").unlink()
        onnx.save(Graph().model(), folder / "model.onnx", save_as_external_data=True, location=file, size_threshold=64)
    knnscope.embed(["a tax on sugar"], str(folder), out=tmp_path / "run")
    _other_version(folder / "config.json")
    assert Workload(str(tmp_path / "run")).words("sugar").shape == (
        1,
        len(knnscope.load(tmp_path / "run").documents.values[0]),
    )
    change(folder / file)
    with pytest.raises(KnnscopeError, match=r"run: its rows were encoded by .*model with another tokenizer.*embed -o"):
        Workload(str(tmp_path / "run")).words("sugar")


def _other_version(path: Path) -> None:
    """As who saves it anew with another library: nothing changes."""
    path.write_text(json.dumps(json.loads(path.read_text()) | {"transformers_version": "9"}))


def test_encoder_options_by_record_or_keyword() -> None:
    by_keyword = knnscope.embed(TEXTS, recipe="notebook")
    by_record = knnscope.embed(TEXTS, EncoderOptions(recipe="notebook"))
    assert by_keyword.facts["recipe"] == by_record.facts["recipe"]
    assert by_record.work["documents"].encoded == 0
    assert not np.array_equal(by_keyword.vectors, knnscope.embed(TEXTS).vectors)


def test_refusals(tmp_path: Path) -> None:
    np.save(tmp_path / "vectors.npy", np.eye(3, dtype=np.float32))
    for data, options, message in (
        (tmp_path / "vectors.npy", {}, "holds vectors, no texts to encode"),
        ("sampel", {}, "did you mean sample"),
        (["a", 3], {}, "a sequence of str"),
        ([], {}, "texts: there are none"),
        (np.array(["a", "b"]), {}, r"texts in an array: give a list of them, array\.tolist\(\)"),
        ("free trams", {}, r"no data set, folder or file named 'free trams': .*; texts are given as a list, \[text\]"),
        (TEXTS, {"devices": "cpu"}, "no option named 'devices': did you mean device"),
        (TEXTS, {"encoder": "nowhere"}, "no encoder"),
    ):
        with pytest.raises(KnnscopeError, match=message):
            knnscope.embed(data, **options)
    with pytest.raises(KnnscopeError, match=r"no ids\.txt: a folder that knnscope embed -o wrote was expected"):
        Embedding.load(tmp_path)
