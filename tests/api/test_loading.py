"""Data sets for Python."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import knnscope
from knnscope.api.loading import dataset_options, opened
from knnscope.datasets.beir import Selection
from knnscope.datasets.registry import DatasetOptions
from knnscope.errors import KnnscopeError
from knnscope.records import TextDataset, VectorDataset, Vectors


def test_texts_by_name_and_part() -> None:
    whole, part = knnscope.load("sample"), knnscope.load("sample", limit=7, subset="relevant")
    assert isinstance(whole, TextDataset)
    assert isinstance(part, TextDataset)
    assert set(part.documents.ids) < set(whole.documents.ids)
    assert part.documents == knnscope.load("sample", DatasetOptions(Selection("relevant", 7))).documents
    assert len(part.rows()) == part.to_dict()["documents"] == 7
    assert part.rows()[2] == {"row": 2, "id": part.documents.ids[2], "text": part.documents.texts[2]}


def test_vectors_by_path_with_notes(tmp_path: Path) -> None:
    rows = np.arange(12, dtype=np.float32).reshape(4, 3)
    np.save(tmp_path / "x.npy", rows)
    np.save(tmp_path / "x-queries.npy", rows[:2])
    found = knnscope.load(tmp_path / "x.npy")
    assert isinstance(found, VectorDataset)
    np.testing.assert_array_equal(found.documents.values, rows)
    assert "queries are the rows of" in found.notes[0]
    assert found.to_dict()["queries"] == 2
    assert found.rows()[3]["vector"].tolist() == [9, 10, 11]
    assert repr(found).endswith("x.npy: 4 rows x 3 float32, 2 queries>")


def test_names_are_escaped_and_kept_in_one_line() -> None:
    found = VectorDataset("<b>\x1b[1m\n", Vectors(np.eye(2)))
    assert "\x1b" not in repr(found)
    assert "\n" not in repr(found)
    assert "&lt;b&gt;" in found._repr_html_()
    assert "<b>" not in found._repr_html_()


def test_unknown_names_are_refused() -> None:
    for name, options, message in (
        ("sampel", {}, "did you mean sample"),
        ("sample", {"limits": 3}, "no option named 'limits': did you mean limit"),
    ):
        with pytest.raises(KnnscopeError, match=message):
            knnscope.load(name, **options)
    assert dataset_options(None, {"lemmas": True, "split": "dev"}) == DatasetOptions(
        Selection(split="dev"), lemmas=True
    )


def test_arrays_and_data_sets_are_opened_as_they_are() -> None:
    rows = np.eye(3, dtype=np.float32)
    assert opened(rows).documents.values is rows
    dataset = VectorDataset("some", Vectors(rows), notes=("odd",))
    assert opened(dataset).dataset is dataset
    assert opened(dataset).notes == ("odd",)
    assert opened(opened(dataset)).dataset is dataset
    with pytest.raises(KnnscopeError, match="two dimensions"):
        opened(rows[0])


@pytest.mark.parametrize(
    "work",
    [
        lambda: knnscope.compare(""), lambda: knnscope.truth("", "queries.npy", 3, "out.npy"), lambda: knnscope.embed(""),
        lambda: knnscope.ExactIndex.build(""), lambda: knnscope.ExactIndex.load(""), lambda: knnscope.ExactIndex(np.ones((3, 2))).save(""),
    ],
)  # fmt: skip
def test_a_name_of_nothing_is_no_name_of_this_folder(
    work: Callable[[], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("vectors.npy", np.ones((4, 2), np.float32))  # which a data set of this folder would be
    with pytest.raises(KnnscopeError, match=r"is empty: perhaps a variable is not set$"):
        work()
    assert [path.name for path in tmp_path.iterdir()] == ["vectors.npy"]
