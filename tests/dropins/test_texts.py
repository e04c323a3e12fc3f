"""Drop-ins for libraries of texts where these are not installed: what needs none of them works, what does says which."""

from __future__ import annotations

import importlib
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from knnscope.errors import KnnscopeError, MissingLibraryError
from knnscope.mteb import ExactSearchIndex
from knnscope.search import definition
from knnscope.sentence_transformers import mine_hard_negatives, paraphrase_mining_embeddings, semantic_search
from knnscope.tensors import detached, read_named, write_named


@pytest.mark.parametrize(("name", "metric"), [("cos_sim", "cosine"), ("dot_score", "ip"), ("euclidean_sim", "l2")])
def test_arrays_are_searched_without_the_host(name: str, metric: str) -> None:
    rng = np.random.default_rng(0)
    rows, queries = rng.integers(-2, 3, (40, 3)).astype(np.float32), rng.integers(-2, 3, (6, 3)).astype(np.float32)
    exact = definition.search(rows, queries, 5, metric)
    scores = -np.sqrt(exact.distances) if metric == "l2" else exact.distances
    found = semantic_search(queries, rows, top_k=5, score_function=name)
    assert [[hit["corpus_id"] for hit in hits] for hits in found] == exact.ids.tolist()
    assert [[hit["score"] for hit in hits] for hits in found] == scores.tolist()
    pairs = paraphrase_mining_embeddings(rows, top_k=39, max_pairs=10**6, score_function=name)
    assert len(pairs) == 40 * 39 / 2
    assert pairs == sorted(pairs, key=lambda pair: (-pair[0], *pair[1:]))


def test_mteb_s_index_is_made_and_searched_without_the_host() -> None:
    model: Any = SimpleNamespace(mteb_model_meta=SimpleNamespace(similarity_fn_name="dot"))
    index = ExactSearchIndex(model)
    index.add_documents(np.eye(3), ["a", "b", "c"])
    assert index.search(np.array([[1.0, 2.0, 3.0]]), 2, max) == ([[3.0, 2.0]], [[2, 1]])


@pytest.mark.parametrize(
    ("module", "library", "extra"), [("langchain", "langchain_core", "langchain"), ("beir", "beir", "beir")]
)
def test_what_needs_its_host_says_how_to_install_it(
    module: str, library: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    for name in [name for name in sys.modules if name.startswith(f"knnscope.{module}")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(MissingLibraryError, match=rf"{library} is not installed: .*\[{extra}\]"):
        importlib.import_module(f"knnscope.{module}")


def test_mining_needs_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    model = SimpleNamespace(similarity_fn_name="cosine")
    with pytest.raises(
        MissingLibraryError, match=r"sentence_transformers is not installed: .*\[sentence-transformers\]"
    ):
        mine_hard_negatives([], model)


def test_embeddings_with_names_are_kept_whole(tmp_path: Any) -> None:
    rows = np.arange(6, dtype=np.float16).reshape(3, 2)
    write_named(tmp_path / "rows.pkl", ["a", "é", "c d"], rows)
    names, kept = read_named(tmp_path / "rows.pkl")
    assert names == ["a", "é", "c d"]
    assert kept.dtype == rows.dtype
    assert (kept == rows).all()
    assert detached(rows) is rows
    for name, arrays in {
        "fewer": {"names": np.array(["a"]), "embeddings": rows},
        "numbers": {"names": np.arange(3), "embeddings": rows},
        "lacking": {"embeddings": rows},
    }.items():
        np.savez(tmp_path / f"{name}.npz", **arrays)  # type: ignore[arg-type]
        with pytest.raises(KnnscopeError, match=r"embeddings with a name each were expected"):
            read_named(tmp_path / f"{name}.npz")
