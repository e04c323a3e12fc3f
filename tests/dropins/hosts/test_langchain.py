"""``knnscope.langchain`` in LangChain's own suite for vector stores, langchain-tests 1.1.9, and against its store in memory, of langchain-core 1.8.3."""

from __future__ import annotations

import asyncio
import warnings
from concurrent.futures import ThreadPoolExecutor
from threading import Thread
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding, Embeddings
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_tests.integration_tests import VectorStoreIntegrationTests

from knnscope.errors import KnnscopeError
from knnscope.langchain import ExactVectorStore
from knnscope.search import definition
from tests.dropins.hosts.hosts import held_to, texts

SUITE, HOST = "1.1.9", "1.8.3"


def test_the_host_is_the_one_that_is_named() -> None:
    held_to("langchain-core", HOST)
    held_to("langchain-tests", SUITE)


class TestSuite(VectorStoreIntegrationTests):
    """All of it: synchronous, asynchronous, documents by their ids."""

    @pytest.fixture
    def vectorstore(self) -> ExactVectorStore:
        return ExactVectorStore(self.get_embeddings())


class TestSuiteByDistance(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self) -> ExactVectorStore:
        return ExactVectorStore(self.get_embeddings(), metric="l2", dtype="float64")


class Said(Embeddings):
    """A text is its vector: "1 0 -2"."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return [float(part) for part in text.split()]


TEXTS = texts(200)
METADATA = [{"number": i, "even": i % 2 == 0} for i in range(200)]
IDS = [f"document {i}" for i in range(200)]


@pytest.fixture
def both() -> tuple[ExactVectorStore, InMemoryVectorStore]:
    """Of the same texts."""
    embedding = DeterministicFakeEmbedding(size=32)
    ours = ExactVectorStore.from_texts(TEXTS, embedding, METADATA, ids=IDS, dtype="float64")
    return ours, InMemoryVectorStore.from_texts(TEXTS, embedding, METADATA, ids=IDS)


def even(document: Document) -> bool:
    return bool(document.metadata["even"])


@pytest.mark.parametrize("filtered", [None, even, lambda document: document.metadata["number"] < 3, lambda _: False])
@pytest.mark.parametrize("k", [1, 4, 150, 1000])
def test_answers_are_those_of_the_store_in_memory(both: Any, k: int, filtered: Any) -> None:
    ours, theirs = both
    for query in texts(20, seed=9):
        asked = {"k": k, "filter": filtered}
        found, expected = (
            ours.similarity_search_with_score(query, **asked),
            theirs.similarity_search_with_score(query, **asked),
        )
        assert [document for document, _ in found] == [document for document, _ in expected]
        assert [score for _, score in found] == pytest.approx([score for _, score in expected], abs=1e-12)
        assert ours.similarity_search(query, **asked) == theirs.similarity_search(query, **asked)
        vector = ours.embeddings.embed_query(query)
        assert ours.similarity_search_by_vector(vector, **asked) == theirs.similarity_search_by_vector(vector, **asked)


@pytest.mark.parametrize("how", [{}, {"k": 7, "fetch_k": 30, "lambda_mult": 0.1}, {"k": 3, "filter": even}, {"k": 0}])
def test_those_that_differ_from_each_other_are_the_same(both: Any, how: dict[str, Any]) -> None:
    ours, theirs = both
    for query in texts(5, seed=9):
        found = ours.max_marginal_relevance_search(query, **how)
        assert found == theirs.max_marginal_relevance_search(query, **how)
        assert asyncio.run(ours.amax_marginal_relevance_search(query, **how)) == found
    assert len(found) == how.get("k", 4)


def test_a_retriever_of_each_kind_answers(both: Any) -> None:
    ours, theirs = both
    query = TEXTS[5]
    for kind, how in (("similarity", {"k": 6}), ("mmr", {"k": 2})):
        asked = {"search_type": kind, "search_kwargs": how}
        assert ours.as_retriever(**asked).invoke(query) == theirs.as_retriever(**asked).invoke(query)
    near = ours.as_retriever(search_type="similarity_score_threshold", search_kwargs={"score_threshold": 0.99})
    assert [document.id for document in near.invoke(query)] == [IDS[5]]
    relevance = [score for _, score in ours.similarity_search_with_relevance_scores(query, k=200)]
    assert relevance[0] == pytest.approx(1)
    assert all(0 <= score <= 1 for score in relevance)
    with pytest.raises(KnnscopeError, match="scores of l2 have no bounds"):
        ExactVectorStore(Said(), metric="l2").similarity_search_with_relevance_scores("1 2")


def test_asynchronous_ways_are_the_same(both: Any) -> None:
    async def asked() -> Any:
        store = await ExactVectorStore.afrom_texts(
            TEXTS, DeterministicFakeEmbedding(size=32), METADATA, ids=IDS, dtype="float64"
        )
        await store.adelete(IDS[:3])
        return await store.asimilarity_search_with_score(TEXTS[7], 5), await store.aget_by_ids(IDS[:4])

    both[0].delete(IDS[:3])
    found, known = asyncio.run(asked())
    assert found == both[0].similarity_search_with_score(TEXTS[7], 5)
    assert [document.id for document in known] == [IDS[3]]


def test_relevance_is_within_its_bounds_where_rounding_is_not() -> None:
    """The cosine of opposite vectors is below -1 by a rounding."""
    rows = [np.random.default_rng(i).standard_normal(384) for i in range(60)]
    store = ExactVectorStore.from_texts([" ".join(map(repr, row.tolist())) for row in rows], Said(), dtype="float64")
    opposite = [" ".join(map(repr, (-row).tolist())) for row in rows]
    assert min(score for one in opposite for _, score in store.similarity_search_with_score(one, 60)) < -1
    with warnings.catch_warnings(action="error"):
        for one in opposite:
            assert store.similarity_search_with_relevance_scores(one, k=60)[-1][1] >= 0


VECTORS = st.lists(st.lists(st.integers(-2, 2), min_size=3, max_size=3), min_size=1, max_size=12)


@given(rows=VECTORS, queries=VECTORS, k=st.integers(1, 14), metric=st.sampled_from(["cosine", "ip", "l2"]))
def test_ids_and_scores_are_those_of_the_definition(rows: Any, queries: Any, k: int, metric: str) -> None:
    """Ids ascend as they are added, so that both know the same smallest one."""
    names = [f"{i:02}" for i in range(len(rows))]
    store = ExactVectorStore.from_texts([" ".join(map(str, row)) for row in rows], Said(), ids=names, metric=metric)
    exact = definition.search(np.array(rows, float), np.array(queries, float), min(k, len(rows)), metric)
    for query, ids, scores in zip(queries, exact.ids, exact.distances, strict=True):
        found = store.similarity_search_with_score_by_vector(query, k)
        assert [int(document.id) for document, _ in found] == ids.tolist()
        assert [score for _, score in found] == scores.tolist()


def test_an_addition_is_all_or_nothing() -> None:
    store = ExactVectorStore.from_texts(["1 0", "0 1"], Said(), ids=["a", "b"])
    before = store.similarity_search_with_score("1 1", 9)
    for added, ids, said in (
        (["5 5", "nan 1"], ["a", "c"], "nan"),
        (["5 5", "1 2 3"], ["a", "c"], "inhomogeneous"),
        (["5 5 5", "1 2 3"], ["a", "c"], "rows have 3 components, those of the index 2"),
        (["5 5", "6 6"], ["a", "c\0"], "NUL"),
        (["5 5", "6 6"], ["a"], "one for each of 2 texts"),
    ):
        with pytest.raises((KnnscopeError, ValueError), match=said):
            store.add_texts(added, ids=ids)
        assert store.similarity_search_with_score("1 1", 9) == before
    for metadata in (None, 1):
        with pytest.raises(TypeError):
            store.add_texts(["5 5", "6 6"], [{}, metadata], ids=["a", "c"])
        assert store.similarity_search_with_score("1 1", 9) == before
    with pytest.raises(KnnscopeError, match="NUL"):
        ExactVectorStore.from_texts(["1 0"], Said(), ids=["\0b"])
    store.add_texts(["5 5", "1 2", "3 4"], ids=["a", "c", "c"])  # of two the last
    assert {one.id: one.page_content for one in store.get_by_ids(["a", "b", "c"])} == {
        "a": "5 5",
        "b": "0 1",
        "c": "3 4",
    }
    assert [one.id for one in store.similarity_search("3 4", 9)] == ["c", "a", "b"]


def test_nothing_added_has_no_answers_and_all_can_be_deleted() -> None:
    store = ExactVectorStore(Said())
    assert store.add_texts([]) == store.similarity_search("1 2") == store.max_marginal_relevance_search("1 2") == []
    store.add_texts(["1 2"])
    assert store.delete(["unknown"]) is True
    assert len(store.similarity_search("1 2")) == 1
    assert store.delete() is True
    assert store.similarity_search("1 2") == []
    store.add_texts(["1 2 3"])  # of another dimension: nothing is left of the first
    assert len(store.similarity_search("1 2 3")) == 1


def test_what_is_given_out_is_not_what_is_kept() -> None:
    store = ExactVectorStore.from_texts(["1 2"], Said(), [{"a": 1}], ids=["x"])

    def change(document: Document) -> bool:
        document.page_content = "changed"
        document.metadata["score"] = 1  # as is done with documents that were found
        return True

    for given_out in (
        lambda: store.similarity_search("1 2"),
        lambda: store.max_marginal_relevance_search("1 2"),
        lambda: store.get_by_ids(["x"]),
    ):
        for document in given_out():
            change(document)
        assert store.get_by_ids(["x"]) == [Document(id="x", page_content="1 2", metadata={"a": 1})]


def test_a_document_may_go_while_those_that_differ_are_chosen() -> None:
    class Leaving(ExactVectorStore):
        def similarity_search_with_score_by_vector(self, *args: Any, **how: Any) -> Any:
            found = super().similarity_search_with_score_by_vector(*args, **how)
            other = Thread(target=self.delete, args=(["a"],))
            other.start()
            other.join(0.2)  # it has its turn when this one has had its own
            others.append(other)
            return found

    others: list[Thread] = []
    store = Leaving.from_texts(["1 0", "0 1", "1 1"], Said(), ids=["a", "b", "c"])
    assert store.max_marginal_relevance_search("1 0", k=2)[0].id == "a"
    others[0].join()
    assert store.get_by_ids(["a"]) == []


def test_threads_add_delete_and_search_at_once() -> None:
    store = ExactVectorStore(Said())

    def work(number: int) -> int:
        names = [f"{number}-{i}" for i in range(20)]
        for name in names:
            store.add_texts([f"{number + 1} {name[-1]}"], ids=[name])
            assert store.similarity_search(f"{number + 1} 1", 50)
        store.delete(names[:10])
        return len(store.get_by_ids(names))

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(8))) == [10] * 8
    assert len(store.similarity_search("1 1", 1000)) == 80
