"""``ExactVectorStore``: documents, and an index of their embeddings that changes with them."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Sequence
from threading import RLock
from typing import Any

import numpy as np

from knnscope.certified.filters import Keep
from knnscope.certified.index import ExactIndex
from knnscope.checks import check_finite
from knnscope.errors import ArgumentError, require
from knnscope.langchain.searching import Searching

Document: Any = require("langchain_core.documents").Document


class ExactVectorStore(Searching):
    """Documents by their embeddings, for any number of threads: one has its turn after another."""

    def __init__(self, embedding: Any, metric: str = "cosine", dtype: str = "float32") -> None:
        """An empty store.

        Args:
            embedding: LangChain's ``Embeddings``.
            metric: cosine or ip, whose scores are similarities, or l2, whose scores are squared distances.
            dtype: what embeddings of documents are kept as; float64 where they have more digits than float32.
        """
        self.embeddings, self.metric, self._dtype = embedding, metric, dtype
        self._lock = RLock()
        self._index: ExactIndex | None = None
        self._documents: dict[str, Any] = {}

    def add_texts(self, texts: Iterable[str], metadatas: Any = None, *, ids: Any = None, **_: Any) -> list[str]:
        """Add texts, or replace those of these ids: all or, after an error, none. Returns their ids, new ones where there is none."""
        texts = list(texts)
        if any(given and len(given) != len(texts) for given in (metadatas, ids)):
            raise ArgumentError(f"metadatas and ids: one for each of {len(texts)} texts was expected")
        names = [name or str(uuid.uuid4()) for name in ids or [None] * len(texts)]
        if not texts:
            return names
        rows = np.asarray(self.embeddings.embed_documents(texts), dtype=self._dtype)
        check_finite(rows, "embeddings")
        last = {name: i for i, name in enumerate(names)}  # where an id stands twice
        given = {i: dict(metadatas[i]) if metadatas else {} for i in last.values()}
        made = {name: Document(id=name, page_content=texts[i], metadata=given[i]) for name, i in last.items()}
        with self._lock:
            index = ExactIndex(dim=rows.shape[1], metric=self.metric) if self._index is None else self._index
            there = [name for name in last if name in self._documents]
            if fresh := [name for name in last if name not in self._documents]:
                index.add(rows[[last[name] for name in fresh]], ids=fresh)  # refuses whatever can be wrong
            if there:
                index.update(there, rows[[last[name] for name in there]])
            self._index = index
            self._documents.update(made)
        return names

    def delete(self, ids: Iterable[str] | None = None, **_: Any) -> bool:
        """Remove those of these ids that are there, or all."""
        with self._lock:
            if ids is None:
                self._index, self._documents = None, {}
            elif (known := [name for name in dict.fromkeys(ids) if name in self._documents]) and self._index:
                self._index.remove(known)
                for name in known:
                    del self._documents[name]
        return True

    def get_by_ids(self, ids: Sequence[str], /) -> list[Any]:
        """Documents in the order asked, without those that are not there."""
        with self._lock:
            return [_copy(self._documents[name]) for name in ids if name in self._documents]

    def similarity_search_with_score_by_vector(
        self,
        embedding: Any,
        k: int = 4,
        filter: Callable[[Any], bool] | None = None,  # noqa: A002 - the host's name
        **_: Any,
    ) -> list[tuple[Any, float]]:
        """The k nearest of the documents for which ``filter`` is true, with scores; all where there are fewer."""
        with self._lock:
            may = [name for name, one in self._documents.items() if filter is None or filter(one)]
            if self._index is None or min(k, len(may)) < 1:
                return []
            where = None if filter is None else Keep(may)
            found = self._index.search(np.asarray(embedding, dtype=np.float64), min(k, len(may)), where=where)
            return list(zip(self.get_by_ids(found.ids.tolist()), found.distances.tolist(), strict=True))

    def rows_of(self, documents: list[Any]) -> list[Any]:
        """Embeddings of documents that are there."""
        return list(self._index.get([one.id for one in documents])) if self._index and documents else []


def _copy(document: Any) -> Any:
    """What is given out: who adds a score to its metadata changes no document that is kept."""
    return document.model_copy(update={"metadata": dict(document.metadata)})
