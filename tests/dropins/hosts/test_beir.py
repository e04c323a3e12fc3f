"""``knnscope.beir`` in BEIR 2.2.0's ``EvaluateRetrieval``, against its ``DenseRetrievalExactSearch``, on a made data set."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from beir.retrieval.evaluation import EvaluateRetrieval
from beir.retrieval.search.dense import DenseRetrievalExactSearch

from knnscope.beir import ExactSearch
from knnscope.errors import KnnscopeError
from knnscope.search import definition
from tests.dropins.hosts.hosts import encoder, held_to, texts

HOST = "2.2.0"
CORPUS = {f"d{i}": {"title": text.split()[0], "text": text} for i, text in enumerate(texts(300))}
QUERIES = {f"q{i}": text for i, text in enumerate(texts(40, seed=5))} | {"d7": CORPUS["d7"]["text"]}
QRELS = {q: {f"d{(7 * i + j) % 300}": 1 + j % 2 for j in range(6)} for i, q in enumerate(QUERIES)}


class Model:
    """An encoder as BEIR asks it; ``dtype`` is what it answers in."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        self.model, self.dtype, self.asked = encoder(), dtype, 0

    def encode_queries(self, queries: list[str], **options: Any) -> Any:
        found = self.model.encode(queries, **options)
        return found.to(self.dtype) if isinstance(found, torch.Tensor) else found

    def encode_corpus(self, corpus: Sequence[Mapping[str, str]], **options: Any) -> Any:
        self.asked += 1
        return self.encode_queries([f"{one['title']} {one['text']}" for one in corpus], **options)


def test_the_host_is_the_one_that_is_named() -> None:
    held_to("beir", HOST)


def same(ours: dict[str, dict[str, float]], theirs: dict[str, dict[str, float]]) -> None:
    assert ours.keys() == theirs.keys()
    for name, found in theirs.items():
        assert ours[name].keys() == found.keys()
        assert [ours[name][one] for one in found] == pytest.approx(list(found.values()), abs=1e-12)


@pytest.mark.parametrize("score_function", ["cos_sim", "dot"])
@pytest.mark.parametrize("chunk", [50000, 64])
@pytest.mark.parametrize("k_values", [[1, 3, 10], [1, 1000]])
def test_scores_and_measures_are_those_of_the_host(score_function: str, chunk: int, k_values: list[int]) -> None:
    found, measured = [], []
    for search in (ExactSearch, DenseRetrievalExactSearch):
        host = EvaluateRetrieval(
            search(Model(torch.float64), batch_size=16, corpus_chunk_size=chunk, show_progress_bar=False),
            k_values=k_values,
            score_function=score_function,
        )
        found.append(host.retrieve(CORPUS, QUERIES))
        measured.append(host.evaluate(QRELS, found[-1], k_values))
    same(*found)
    assert measured[0] == measured[1]
    assert measured[0][0][f"NDCG@{k_values[-1]}"] > 0


def test_the_query_s_own_document_is_no_answer_and_all_others_can_be() -> None:
    found = ExactSearch(Model()).search(CORPUS, QUERIES, 1000, "cos_sim")
    assert len(found["d7"]) == 299
    assert "d7" not in found["d7"]
    assert len(found["q0"]) == 300
    assert len(ExactSearch(Model()).search(CORPUS, QUERIES, 5, "cos_sim")["d7"]) == 5


@pytest.mark.parametrize("options", [{}, {"convert_to_tensor": False}])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_ids_and_scores_are_those_of_the_definition(options: dict[str, Any], dtype: torch.dtype) -> None:
    model = Model(dtype)
    rows = model.encode_corpus(list(CORPUS.values()), convert_to_tensor=True).double().numpy()
    asked = model.encode_queries(list(QUERIES.values()), convert_to_tensor=True).double().numpy()
    if options:  # arrays are not made narrower by this model
        rows, asked = (Model().encode_corpus(list(CORPUS.values())), Model().encode_queries(list(QUERIES.values())))
    exact = definition.search(rows, asked, 11, "ip")
    found = ExactSearch(model, corpus_chunk_size=70, **options).search(CORPUS, QUERIES, 10, "dot")
    for name, ids, scores in zip(QUERIES, exact.ids.tolist(), exact.distances.tolist(), strict=True):
        expected = [(f"d{i}", score) for i, score in zip(ids, scores, strict=True) if f"d{i}" != name][:10]
        assert list(found[name].items()) == expected


def test_equal_scores_stand_in_the_order_of_the_corpus() -> None:
    """Whatever the lengths of texts, by which they are encoded."""
    corpus = {f"d{9 - i}": {"title": "", "text": "w3 w4"} for i in range(9)} | {
        "long": {"text": "w3 w4", "title": "?" * 50}
    }

    class Same(Model):
        def encode_corpus(self, corpus: Sequence[Mapping[str, str]], **options: Any) -> Any:
            return self.encode_queries([one["text"] for one in corpus], **options)

    found = ExactSearch(Same(), corpus_chunk_size=3).search(corpus, {"q": "w3"}, 10, "cos_sim")
    assert list(found["q"]) == list(corpus)
    assert len(set(found["q"].values())) == 1


def test_embeddings_in_files_give_the_same_and_an_interrupted_encoding_goes_on(tmp_path: Path) -> None:
    model = Model(torch.bfloat16)
    search = ExactSearch(model, corpus_chunk_size=100, show_progress_bar=False)
    host = EvaluateRetrieval(search, k_values=[10], score_function="dot")
    found = host.encode_and_retrieve(CORPUS, QUERIES, encode_output_path=str(tmp_path))
    same(found, search.search(CORPUS, QUERIES, 10, "dot"))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "corpus.0.pkl",
        "corpus.1.pkl",
        "corpus.2.pkl",
        "queries.pkl",
    ]
    (tmp_path / "corpus.1.pkl").unlink()
    model.asked = 0
    same(host.encode_and_retrieve(CORPUS, QUERIES, encode_output_path=str(tmp_path)), found)
    assert model.asked == 1
    search.encode(CORPUS, QUERIES, str(tmp_path), overwrite=True)
    assert model.asked == 4
    cosine = search.search_from_files(
        str(tmp_path / "queries.pkl"), sorted(map(str, tmp_path.glob("c*"))), 10, score_function="cos_sim"
    )
    same(cosine, search.search(CORPUS, QUERIES, 10, "cos_sim"))


def test_a_pickle_is_never_read(tmp_path: Path) -> None:
    class Harm:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "harmed",))

    (tmp_path / "queries.pkl").write_bytes(pickle.dumps(Harm()))
    np.savez(tmp_path / "corpus.npz", names=np.array(["a", Harm()], dtype=object), embeddings=np.ones((2, 2)))
    np.savez(tmp_path / "other.npz", names=np.array(["a"]), embeddings=np.ones((2, 2)))
    search = ExactSearch(Model())
    for path, said in (
        ("queries.pkl", "no .npz file"),
        ("corpus.npz", "no .npz file"),
        ("other.npz", "encode again"),
        ("x", "no such file"),
    ):
        with pytest.raises(KnnscopeError, match=said):
            search.search_from_files("queries.npz", [str(tmp_path / path)], 10)
    assert not (tmp_path / "harmed").exists()


def test_what_cannot_be_is_refused_in_a_line() -> None:
    with pytest.raises(KnnscopeError, match="score_function 'l2' is none of cos_sim, dot"):
        ExactSearch(Model()).search(CORPUS, QUERIES, 10, "l2")
    with pytest.raises(KnnscopeError, match="the corpus has no documents"):
        ExactSearch(Model()).search({}, QUERIES, 10, "dot")
