"""Drop-ins for libraries of texts where these are not installed: what needs none of them works, what does says which."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType, SimpleNamespace
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


class Lengths:
    """A model of BEIR: texts by how long they are."""

    def encode_queries(self, queries: list[str], **_: Any) -> Any:
        return np.array([[1.0, len(query)] for query in queries])

    def encode_corpus(self, corpus: list[dict[str, str]], **_: Any) -> Any:
        return self.encode_queries([one["text"] for one in corpus])


@pytest.fixture
def beir(monkeypatch: pytest.MonkeyPatch) -> Any:
    """``knnscope.beir`` with what it needs of its host."""
    if importlib.util.find_spec("beir") is None:
        for name in ("beir", "beir.retrieval", "beir.retrieval.search"):
            monkeypatch.setitem(sys.modules, name, ModuleType(name))
        base = SimpleNamespace(BaseSearch=object)
        monkeypatch.setitem(sys.modules, "beir.retrieval.search.base", base)
    monkeypatch.delitem(sys.modules, "knnscope.beir", raising=False)
    yield importlib.import_module("knnscope.beir")
    sys.modules.pop("knnscope.beir", None)


def corpus_of(*lengths: int) -> dict[str, dict[str, str]]:
    return {f"d{n}": {"text": "x" * n} for n in lengths}


def test_beir_s_files_of_another_corpus_are_not_searched_for_this_one(beir: Any, tmp_path: Any) -> None:
    search = beir.ExactSearch(Lengths(), corpus_chunk_size=2)

    def found(corpus: Any, queries: Any = {"q": "?"}, **how: Any) -> Any:  # noqa: B006 - not changed
        search.encode(corpus, queries, str(tmp_path), **how)
        files = sorted(map(str, tmp_path.glob("corpus.*.pkl")))
        return search.search_from_files(str(tmp_path / "queries.pkl"), files, 9)

    first = corpus_of(1, 2, 3, 4)
    assert found(first) == found(first) == search.search(first, {"q": "?"}, 9, "dot")
    for other, how, said in (
        (corpus_of(1, 2, 3, 4, 5), {}, r"corpus.0.pkl: embeddings of others .*overwrite=True"),
        (corpus_of(1, 3, 4), {}, r"corpus.1.pkl: embeddings of others .*overwrite=True"),
        (corpus_of(3, 4), {}, r"corpus.1.pkl: .* larger corpus.*remove it"),
        (corpus_of(7, 8), {"overwrite": True}, r"corpus.1.pkl: .* larger corpus.*remove it"),
        (first, {"queries": {"other": "?"}}, r"queries.pkl: embeddings of others .*overwrite=True"),
        (first, {"queries": {"q": "another"}}, r"queries.pkl: embeddings of others .*overwrite=True"),
        (first | {"d4": {"text": "yyyy"}}, {}, r"corpus.0.pkl: embeddings of others .*overwrite=True"),
    ):
        with pytest.raises(KnnscopeError, match=said):
            found(other, **how)
        assert found(first) == search.search(first, {"q": "?"}, 9, "dot")
    assert found(corpus_of(5, 6, 7), overwrite=True).keys() == {"q"}


def test_a_document_that_stands_in_two_of_beir_s_files_is_told(beir: Any, tmp_path: Any) -> None:
    search = beir.ExactSearch(Lengths())
    for number, corpus in enumerate((corpus_of(1, 2), corpus_of(2, 3))):
        search.encode(corpus, {"q": "?"}, str(tmp_path), corpus_filename=f"{number}.pkl")
    files = [str(tmp_path / f"{number}.pkl") for number in range(2)]
    with pytest.raises(KnnscopeError, match=r"1.pkl: 'd2' is also in .*0.pkl"):
        search.search_from_files(str(tmp_path / "queries.pkl"), files, 9)
    with pytest.raises(KnnscopeError, match=r"0.pkl: 'd2' is also in .*0.pkl"):
        search.search_from_files(str(tmp_path / "queries.pkl"), files[:1] * 2, 9)
    with pytest.raises(KnnscopeError, match=r"corpus_filename 'one': 2 files"):
        beir.ExactSearch(Lengths(), corpus_chunk_size=1).encode(
            corpus_of(1, 2), {"q": "?"}, str(tmp_path), corpus_filename="one", overwrite=True
        )


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
