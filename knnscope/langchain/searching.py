"""The host's ways to ask a vector store, each by the one that the store answers: by vector, with scores."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from threading import RLock
from typing import Any

import numpy as np

from knnscope.errors import UnsupportedError, require

host: Any = require("langchain_core.vectorstores")
utils: Any = require("langchain_core.vectorstores.utils")


class Searching(host.VectorStore):  # type: ignore[misc]
    """What a store inherits; ``embeddings`` and ``metric`` are the store's. The asynchronous ways are the host's own, in a thread."""

    embeddings: Any = None
    metric: str
    _lock: RLock

    @classmethod
    def from_texts(cls, texts: list[str], embedding: Any, metadatas: Any = None, **options: Any) -> Any:
        """A store of these texts, with ``ids`` where they are given, and with the options of the class."""
        ids = options.pop("ids", None)
        store = cls(embedding, **options)
        store.add_texts(texts, metadatas, ids=ids)
        return store

    @abstractmethod
    def similarity_search_with_score_by_vector(self, embedding: Any, k: int = 4, **how: Any) -> list[tuple[Any, float]]:
        """The k nearest documents, with scores."""

    @abstractmethod
    def rows_of(self, documents: list[Any]) -> list[Any]:
        """Their embeddings."""

    def similarity_search_with_score(self, query: str, k: int = 4, **how: Any) -> list[tuple[Any, float]]:
        """The k nearest documents, with scores."""
        return self.similarity_search_with_score_by_vector(self.embeddings.embed_query(query), k, **how)

    def similarity_search_by_vector(self, embedding: Any, k: int = 4, **how: Any) -> list[Any]:
        """The k nearest documents."""
        return [document for document, _ in self.similarity_search_with_score_by_vector(embedding, k, **how)]

    def similarity_search(self, query: str, k: int = 4, **how: Any) -> list[Any]:
        """The k nearest documents."""
        return self.similarity_search_by_vector(self.embeddings.embed_query(query), k, **how)

    def max_marginal_relevance_search_by_vector(
        self, embedding: Any, k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **how: Any
    ) -> list[Any]:
        """Of the ``fetch_k`` nearest documents, k that differ from each other, as the host chooses them."""
        asked = np.asarray(embedding, dtype=np.float32)
        with self._lock:  # what was found is still there
            nearest = self.similarity_search_by_vector(embedding, fetch_k, **how)
            rows = self.rows_of(nearest)
        return [nearest[i] for i in utils.maximal_marginal_relevance(asked, rows, lambda_mult, k)]

    def max_marginal_relevance_search(self, query: str, *args: Any, **how: Any) -> list[Any]:
        """Of the ``fetch_k`` nearest documents, k that differ from each other."""
        return self.max_marginal_relevance_search_by_vector(self.embeddings.embed_query(query), *args, **how)

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        if self.metric != "cosine":
            raise UnsupportedError(
                f"scores of {self.metric} have no bounds: relevance, from 0 to 1, is there with metric='cosine'"
            )
        return lambda score: min(max((score + 1) / 2, 0.0), 1.0)  # rounding may leave a cosine's bounds
