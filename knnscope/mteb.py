"""An exact index for MTEB, in the place of its ``FaissSearchIndex``: what it calls an ``IndexEncoderSearchProtocol``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from knnscope.certified.filters import Keep
from knnscope.certified.index import ExactIndex
from knnscope.errors import KnnscopeError, UnsupportedError
from knnscope.records import Neighbors
from knnscope.tensors import detached

METRICS = {"cosine": "cosine", "dot": "ip", "euclidean": "l2"}
"""By the value of MTEB's ``ScoringFunction``."""


class ExactSearchIndex:
    """Documents of one task after another: MTEB adds, searches and clears. Of equally similar ones the first to be added comes first."""

    def __init__(self, model: Any) -> None:
        """For an encoder that MTEB runs: one with ``mteb_model_meta``.

        Raises:
            KnnscopeError: its similarity is another than cosine, dot and euclidean.
        """
        similarity = model.mteb_model_meta.similarity_fn_name
        name = str(getattr(similarity, "value", similarity))
        if name not in METRICS:
            raise UnsupportedError(f"the model's similarity is {name}: an index knows {', '.join(METRICS)}")
        self._metric = METRICS[name]
        self._index: ExactIndex | None = None
        self._places: dict[str, int] = {}

    def add_documents(self, embeddings: Any, idxs: Sequence[str]) -> None:
        """Add embeddings, (documents, dim), an array or a tensor, and what each document is called."""
        rows = detached(embeddings)
        if len(rows) != len(idxs):
            raise KnnscopeError(f"{len(rows)} embeddings and {len(idxs)} idxs: as many were expected")
        if self._index is None:
            self._index = ExactIndex(rows, self._metric)
        else:
            self._index.add(rows)
        self._places |= {name: place for place, name in enumerate(idxs, len(self._index) - len(idxs))}

    def search(
        self,
        embeddings: Any,
        top_k: int,
        similarity_fn: Callable[[Any, Any], Any],  # noqa: ARG002 - the model's, which is known
        top_ranked: Mapping[str, Sequence[str]] | None = None,
        query_idx_to_id: Mapping[int, str] | None = None,
    ) -> tuple[list[list[float]], list[list[int]]]:
        """The best documents of each query, ``top_k`` or all that there are.

        Args:
            embeddings: (queries, dim), an array or a tensor.
            top_k: at least 1.
            similarity_fn: not needed.
            top_ranked: the documents that a query may have, by its name; None for all.
            query_idx_to_id: names of the queries, where ``top_ranked`` is given.

        Returns:
            Similarities, the best first, and places of documents: as they were added or, with ``top_ranked``, in the list of the query.

        Raises:
            KnnscopeError: nothing was added, ``top_ranked`` names what was not, or what ``ExactIndex.search`` refuses.
        """
        if self._index is None:
            raise KnnscopeError("no documents were added: there is nothing to search")
        queries = detached(embeddings)
        if top_ranked is None:
            found = self._index.search(queries, min(top_k, len(self._index)))
            return self._similarities(found), found.ids.tolist()
        if query_idx_to_id is None:
            raise KnnscopeError("top_ranked needs query_idx_to_id, the name of each query")
        answers = [
            self._ranked(query, top_k, top_ranked.get(query_idx_to_id[i], ())) for i, query in enumerate(queries)
        ]
        return [scores for scores, _ in answers], [places for _, places in answers]

    def _ranked(self, query: Any, top_k: int, names: Sequence[str]) -> tuple[list[float], list[int]]:
        if unknown := [name for name in names if name not in self._places]:
            raise KnnscopeError(f"top_ranked names {unknown[0]!r}: no such document was added")
        places = {self._places[name]: i for i, name in reversed(list(enumerate(names)))}
        if self._index is None or not places:
            return [], []
        found = self._index.search(query, min(top_k, len(places)), where=Keep(list(places)))
        return self._similarities(found), [places[i] for i in found.ids.tolist()]

    def _similarities(self, found: Neighbors) -> Any:
        return (-np.sqrt(found.distances) if self._metric == "l2" else found.distances).tolist()

    def clear(self) -> None:
        """Forget all documents."""
        self._index, self._places = None, {}
