"""``mine_hard_negatives``: the host's own, with an exact index in place of its search.

The host asks its model for all similarities of some queries and of these for the best, by ``torch.topk``. It is given a model whose similarities are
not computed: they answer ``torch.topk`` from an index, by torch's protocol for what is no tensor. So no matrix of queries by rows is made, nothing of the host
is replaced, and every argument works, those on margins and ranges among them.
"""

from __future__ import annotations

import inspect
from typing import Any

from knnscope.certified.index import ExactIndex
from knnscope.errors import UnsupportedError, require
from knnscope.sentence_transformers.scores import metric_of_model, scores_of
from knnscope.tensors import detached


def mine_hard_negatives(dataset: Any, model: Any, *args: Any, **options: Any) -> Any:
    """The host's function, with all of its arguments; candidates come from an index, whatever ``use_faiss`` says.

    Returns:
        The host's dataset. Of equally similar candidates the first in the corpus are looked at.

    Raises:
        KnnscopeError: the model's similarity is another than cosine, dot and euclidean, or the host has begun to search in another way.
    """
    util = require("sentence_transformers.util")
    asked = inspect.signature(util.mine_hard_negatives).bind(dataset, SearchedModel(model), *args, **options)
    asked.arguments["use_faiss"] = False  # else Faiss is asked, and the model is not
    return util.mine_hard_negatives(*asked.args, **asked.kwargs)


class SearchedModel:
    """A model in all but its similarities."""

    def __init__(self, model: Any) -> None:
        self._model, self._metric = model, metric_of_model(model)
        self._rows: Any = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def similarity(self, queries: Any, rows: Any) -> Similarities:
        """Of some queries, (queries, dim), to (rows, dim), which the host gives anew with each."""
        if rows is not self._rows:
            self._rows, self._index = rows, ExactIndex(detached(rows), self._metric)
        return Similarities(self._index, detached(queries))


class Similarities:
    """(queries, rows), of which only the best of each line can be had."""

    def __init__(self, index: ExactIndex, queries: Any) -> None:
        self._index, self._queries = index, queries
        self._device: Any = None

    def to(self, device: Any) -> Similarities:
        """Where the answer is to lie."""
        self._device = device
        return self

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """What torch calls in place of its function."""
        torch = require("torch")
        asked = kwargs or {}
        if func is not torch.topk or len(args) != 1 or asked.keys() != {"k", "dim"} or asked["dim"] != 1:
            host = require("sentence_transformers").__version__
            raise UnsupportedError(
                f"mine_hard_negatives of Sentence Transformers {host} searches in a way that is not known: use its own, or 6.2.0"
            )
        found = args[0]._index.search(args[0]._queries, asked["k"])
        scores = torch.from_numpy(scores_of(found, args[0]._index.metric))
        device = args[0]._device
        return scores.to(device, torch.float32), torch.from_numpy(found.ids).to(device)
