"""``knnscope.sentence_transformers`` against Sentence Transformers 6.2.0, which it replaces, and against the definition.

Where many scores are compared the host is given float64: in float32 it confuses neighbors that differ in the seventh digit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st
from sentence_transformers import util
from sentence_transformers.util.similarity import euclidean_sim, manhattan_sim

from knnscope.certified.index import ExactIndex
from knnscope.errors import KnnscopeError
from knnscope.search import definition
from knnscope.sentence_transformers import mine_hard_negatives, paraphrase_mining_embeddings, semantic_search
from tests.dropins.hosts.hosts import encoder, held_to, texts

HOST = "6.2.0"
FUNCTIONS = {"cosine": util.cos_sim, "ip": util.dot_score, "l2": euclidean_sim}


def drawn(rows: int, dim: int = 16, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((rows, dim), dtype=np.float32))


def test_the_host_is_the_one_that_is_named() -> None:
    held_to("sentence-transformers", HOST)


def same_hits(ours: list[list[dict[str, Any]]], theirs: list[list[dict[str, Any]]]) -> None:
    assert [[hit["corpus_id"] for hit in hits] for hits in ours] == [
        [hit["corpus_id"] for hit in hits] for hits in theirs
    ]
    for own, other in zip(ours, theirs, strict=True):
        assert [hit["score"] for hit in own] == pytest.approx([hit["score"] for hit in other], abs=1e-5)
        assert all(list(hit) == ["corpus_id", "score"] and type(hit["corpus_id"]) is int for hit in own)
        assert all(type(hit["score"]) is float for hit in own)


@pytest.mark.parametrize("metric", FUNCTIONS)
@pytest.mark.parametrize("top_k", [1, 7, 400, 1000])
def test_semantic_search_finds_what_the_host_finds(metric: str, top_k: int) -> None:
    queries, corpus = drawn(30, seed=1), drawn(400)
    asked = {"top_k": top_k, "score_function": FUNCTIONS[metric], "query_chunk_size": 11, "corpus_chunk_size": 90}
    same_hits(
        semantic_search(queries, corpus, **asked), util.semantic_search(queries.double(), corpus.double(), **asked)
    )


def test_semantic_search_has_the_arguments_and_defaults_of_the_host() -> None:
    queries, corpus = drawn(3, seed=1), drawn(50)
    same_hits(semantic_search(queries, corpus), util.semantic_search(queries, corpus))
    same_hits(
        semantic_search(queries, corpus, 2, 20, 4, util.dot_score),
        util.semantic_search(queries, corpus, 2, 20, 4, util.dot_score),
    )
    same_hits(
        semantic_search(queries, corpus, score_function="dot_score"),
        util.semantic_search(queries, corpus, score_function=util.dot_score),
    )


def test_an_index_is_searched_as_it_is_with_its_ids() -> None:
    queries, corpus = drawn(3, seed=1), drawn(50)
    index = ExactIndex(corpus.numpy(), "cosine")
    same_hits(semantic_search(queries, index), util.semantic_search(queries, corpus))
    named = ExactIndex(corpus.numpy(), "ip", ids=[f"row {i}" for i in range(50)])
    hits = semantic_search(queries[0], named, top_k=2, score_function=util.dot_score)
    expected = util.semantic_search(queries[0], corpus, top_k=2, score_function=util.dot_score)
    assert [hit["corpus_id"] for hit in hits[0]] == [f"row {hit['corpus_id']}" for hit in expected[0]]
    with pytest.raises(KnnscopeError, match="score_function is of the metric cosine, the index of ip"):
        semantic_search(queries, named)
    assert semantic_search(queries, ExactIndex(dim=16, metric="cosine")) == [[], [], []]


FORMS: dict[str, Any] = {
    "tensor": lambda x: x,
    "needs its gradient": lambda x: x.clone().requires_grad_(),
    "array": lambda x: x.numpy(),
    "float64": lambda x: x.double(),
    "list of tensors": list,
    "list of arrays": lambda x: list(x.numpy()),
    "lists": lambda x: x.tolist(),
    "columns first": lambda x: x.T.contiguous().T,
}


@pytest.mark.parametrize("queries", FORMS)
@pytest.mark.parametrize("corpus", FORMS)
def test_embeddings_come_in_every_form(queries: str, corpus: str) -> None:
    asked, rows = drawn(3, seed=1), drawn(40)
    same_hits(semantic_search(FORMS[queries](asked), FORMS[corpus](rows)), util.semantic_search(asked, rows))
    pairs = paraphrase_mining_embeddings(FORMS[corpus](rows))
    assert [pair[1:] for pair in pairs] == [pair[1:] for pair in util.paraphrase_mining_embeddings(rows)]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_halves_are_read_as_they_are(dtype: torch.dtype) -> None:
    queries, corpus = drawn(5, seed=1).to(dtype), drawn(60).to(dtype)
    same_hits(semantic_search(queries, corpus), util.semantic_search(queries, corpus))


@pytest.mark.parametrize("form", ["tensor", "array", "lists"])
def test_one_query_has_one_line(form: str) -> None:
    query, corpus = FORMS[form](drawn(1, seed=1)[0]), drawn(40)
    same_hits(semantic_search(query, corpus), util.semantic_search(drawn(1, seed=1), corpus))
    assert semantic_search(query, corpus[:0]) == [[]]


def test_an_empty_corpus_and_no_neighbors_are_empty_lines() -> None:
    for corpus in (torch.empty(0), np.array([]), torch.empty(0, 16)):
        assert semantic_search(torch.ones(2, 16), corpus) == util.semantic_search(torch.ones(2, 16), corpus) == [[], []]
    assert semantic_search(torch.ones(2, 16), torch.ones(3, 16), top_k=0) == [[], []]


@given(
    rows=st.integers(1, 12),
    queries=st.integers(1, 4),
    k=st.integers(1, 14),
    metric=st.sampled_from(sorted(FUNCTIONS)),
    seed=st.integers(0, 1000),
)
def test_ids_and_scores_are_those_of_the_definition_ties_too(
    rows: int, queries: int, k: int, metric: str, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    x = rng.integers(-2, 3, (rows, 3)).astype(np.float32)
    q = rng.integers(-2, 3, (queries, 3)).astype(np.float32)
    found = semantic_search(torch.from_numpy(q), torch.from_numpy(x), top_k=k, score_function=FUNCTIONS[metric])
    exact = definition.search(x, q, min(k, rows), metric)
    scores = -np.sqrt(exact.distances) if metric == "l2" else exact.distances
    assert [[hit["corpus_id"] for hit in hits] for hits in found] == exact.ids.tolist()
    assert [[hit["score"] for hit in hits] for hits in found] == scores.tolist()


def test_what_float32_confuses_is_told_apart() -> None:
    """Rows that differ in the ninth digit: the host's product of float32 finds them equal."""
    corpus = np.ones((50, 8))
    corpus[:, 0] += np.arange(50) * 1e-9
    query = np.ones((1, 8))
    found = semantic_search(query, corpus, top_k=3, score_function=util.dot_score)
    assert [hit["corpus_id"] for hit in found[0]] == [49, 48, 47]
    narrow = util.semantic_search(
        query.astype(np.float32), corpus.astype(np.float32), top_k=50, score_function=util.dot_score
    )
    assert len({hit["score"] for hit in narrow[0]}) == 1


def by_hand(rows: np.ndarray, metric: str, top_k: int, max_pairs: int) -> list[list[float | int]]:
    """Pairs by the definition's distances of all rows, one after another."""
    values = definition.distances(rows, rows, metric)
    scores = -np.sqrt(values) if metric == "l2" else values
    pairs = set()
    for i in range(len(rows)):
        others = sorted((j for j in range(len(rows)) if j != i), key=lambda j: (-scores[i, j], j))
        pairs |= {(min(i, j), max(i, j)) for j in others[:top_k]}
    return [[float(scores[i, j]), i, j] for i, j in sorted(pairs, key=lambda p: (-scores[p], *p))[:max_pairs]]


@given(
    rows=st.integers(0, 12),
    top_k=st.integers(0, 14),
    max_pairs=st.integers(0, 30),
    metric=st.sampled_from(sorted(FUNCTIONS)),
    seed=st.integers(0, 1000),
)
def test_pairs_are_those_of_the_definition_ties_too(
    rows: int, top_k: int, max_pairs: int, metric: str, seed: int
) -> None:
    x = np.random.default_rng(seed).integers(-2, 3, (rows, 3)).astype(np.float32)
    found = paraphrase_mining_embeddings(x, max_pairs=max_pairs, top_k=top_k, score_function=FUNCTIONS[metric])
    assert found == by_hand(x, metric, top_k, max_pairs)


@pytest.mark.parametrize("metric", FUNCTIONS)
@pytest.mark.parametrize(("top_k", "max_pairs"), [(1, 500000), (3, 10), (100, 50), (1000, 500000)])
def test_paraphrases_are_those_of_the_host(metric: str, top_k: int, max_pairs: int) -> None:
    asked = {"top_k": top_k, "max_pairs": max_pairs, "score_function": FUNCTIONS[metric]}
    ours = paraphrase_mining_embeddings(drawn(120), query_chunk_size=7, corpus_chunk_size=13, **asked)
    theirs = util.paraphrase_mining_embeddings(drawn(120).double(), query_chunk_size=7, corpus_chunk_size=13, **asked)
    assert [pair[1:] for pair in ours] == [pair[1:] for pair in theirs]
    assert [pair[0] for pair in ours] == pytest.approx([pair[0] for pair in theirs], abs=1e-5)
    assert all([type(part) for part in pair] == [float, int, int] for pair in ours)


def test_what_is_not_known_is_refused_in_a_line() -> None:
    rows = drawn(4)

    def cos_sim(a: Any, b: Any) -> Any:
        return a @ b.T

    for function in (manhattan_sim, cos_sim, "cosine", None):
        with pytest.raises(
            KnnscopeError, match=r"score_function .* is none of cos_sim, pytorch_cos_sim, dot_score, euclidean_sim"
        ):
            semantic_search(rows, rows, score_function=function)
        with pytest.raises(KnnscopeError, match="is none of cos_sim"):
            paraphrase_mining_embeddings(rows, score_function=function)
    for call in (
        lambda: semantic_search(rows.to_sparse(), rows),
        lambda: paraphrase_mining_embeddings(rows.to_sparse()),
    ):
        with pytest.raises(KnnscopeError, match="sparse tensor: give"):
            call()
    with pytest.raises(KnnscopeError, match="queries have 16 components, the rows 8"):
        semantic_search(rows, drawn(4, 8))
    with pytest.raises(KnnscopeError, match="nan"):
        semantic_search(rows, rows * float("nan"))


ANCHORS = texts(60, seed=1)
POSITIVES = [f"{anchor} {more}" for anchor, more in zip(ANCHORS, texts(60, seed=2, longest=6), strict=True)]
CORPUS = texts(150, seed=3)
PAIRS = Dataset.from_dict({"anchor": ANCHORS, "positive": POSITIVES})
SEVERAL = Dataset.from_dict({"anchor": [*ANCHORS[:20], *ANCHORS[:10], ANCHORS[0]], "positive": POSITIVES[:31]})
OPTIONS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "a corpus": {"corpus": CORPUS, "num_negatives": 5},
    "ranges": {"range_min": 3, "range_max": 20, "num_negatives": 4},
    "margins": {"corpus": CORPUS, "relative_margin": 0.05, "absolute_margin": 0.01, "num_negatives": 2},
    "limits": {"corpus": CORPUS, "max_score": 0.3, "min_score": -1.35},
    "positives too": {"include_positives": True, "num_negatives": 5},
    "tuples": {"output_format": "n-tuple", "num_negatives": 2},
    "pairs": {"output_format": "labeled-pair", "corpus": CORPUS},
    "lists": {"output_format": "labeled-list", "corpus": CORPUS},
    "more than there are": {"num_negatives": 90},
    "some queries at a time": {"faiss_batch_size": 7, "corpus": CORPUS},
    "Faiss is not asked": {"use_faiss": True, "corpus": CORPUS},
}


@pytest.mark.parametrize("similarity", ["cosine", "dot", "euclidean"])
@pytest.mark.parametrize("dataset", [PAIRS, SEVERAL], ids=["one each", "several each"])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=list(OPTIONS))
def test_negatives_are_those_that_the_host_mines(similarity: str, dataset: Dataset, options: dict[str, Any]) -> None:
    model = encoder(similarity)
    asked = {"output_scores": True, "verbose": False, **options}
    ours = mine_hard_negatives(dataset, model, **asked).to_dict()
    theirs = util.mine_hard_negatives(dataset, model, **(asked | {"use_faiss": False})).to_dict()
    assert ours.keys() == theirs.keys()
    for name, column in theirs.items():
        if name in ("score", "scores"):
            assert np.hstack(ours[name]) == pytest.approx(np.hstack(column), abs=1e-5)
        else:
            assert ours[name] == column
    assert len(theirs["anchor"]) > 10 or options.get("num_negatives") == 90


def test_random_negatives_are_drawn_from_the_same_candidates() -> None:
    import random

    asked = {"sampling_strategy": "random", "range_max": 20, "corpus": CORPUS, "verbose": False}
    random.seed(3)
    ours = mine_hard_negatives(PAIRS, encoder(), **asked)
    random.seed(3)
    assert ours.to_dict() == util.mine_hard_negatives(PAIRS, encoder(), **asked).to_dict()


def test_arguments_by_place_and_the_cache_reach_the_host(tmp_path: Any) -> None:
    options = {"cache_folder": str(tmp_path), "verbose": False}
    first = mine_hard_negatives(PAIRS, encoder(), "anchor", "positive", CORPUS, **options)
    assert len(list(tmp_path.glob("*.npy"))) == 2
    assert mine_hard_negatives(PAIRS, encoder(), "anchor", "positive", CORPUS, **options).to_dict() == first.to_dict()


def test_no_matrix_of_all_similarities_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    model = encoder()
    expected = util.mine_hard_negatives(PAIRS, model, corpus=CORPUS, verbose=False).to_dict()

    def refused(*_: Any) -> Any:
        raise AssertionError("all similarities were computed")

    monkeypatch.setattr(type(model), "similarity", property(lambda _: refused))
    with pytest.raises(AssertionError, match="all similarities"):
        util.mine_hard_negatives(PAIRS, model, corpus=CORPUS, verbose=False)
    assert mine_hard_negatives(PAIRS, model, corpus=CORPUS, verbose=False).to_dict() == expected


def test_of_equally_similar_candidates_the_first_in_the_corpus_are_looked_at() -> None:
    """The host asks for range_max and one more; in which order it then takes equal ones is its own affair."""
    model = encoder()
    same = [f"w1 w2 {letter}" for letter in "qwertyuiop"]  # words that the encoder does not know are one word to it
    assert len(np.unique(model.encode(same), axis=0)) == 1
    data = Dataset.from_dict({"anchor": ["w1 w2 w3"], "positive": ["w1 w2 w3 w9"]})
    mined = mine_hard_negatives(data, model, corpus=[*texts(20), *same], num_negatives=3, range_max=4, verbose=False)
    assert len(mined) == 3
    assert set(mined["negative"]) <= set(same[:5])


def test_a_host_that_searches_in_another_way_is_not_answered_wrongly(monkeypatch: pytest.MonkeyPatch) -> None:
    def another(dataset: Any, model: Any, use_faiss: bool = False) -> Any:
        return torch.sort(model.similarity(drawn(2), drawn(9)).to("cpu"), dim=1)

    monkeypatch.setattr(util, "mine_hard_negatives", another)
    with pytest.raises(KnnscopeError, match=rf"Sentence Transformers {HOST} searches in a way that is not known"):
        mine_hard_negatives(PAIRS, encoder())


def test_a_similarity_that_no_index_knows_is_refused() -> None:
    with pytest.raises(
        KnnscopeError, match="the model's similarity is manhattan: an index knows cosine, dot, euclidean"
    ):
        mine_hard_negatives(PAIRS, encoder("manhattan"))
