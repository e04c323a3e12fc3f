"""Exact retrieval for BEIR, in the place of its ``DenseRetrievalExactSearch``. Embeddings that are kept in files are NumPy's, never pickles."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from knnscope.certified.index import ExactIndex
from knnscope.errors import ArgumentError, KnnscopeError, require
from knnscope.tensors import detached, made_of, read_named, write_named

host: Any = require("beir.retrieval.search.base")
METRICS = {"cos_sim": "cosine", "dot": "ip"}

Corpus = Mapping[str, Mapping[str, str]]
Results = dict[str, dict[str, float]]


class ExactSearch(host.BaseSearch):  # type: ignore[misc]
    """The best documents of each query by float64, equal scores by the order of the corpus. All embeddings are in memory at once."""

    def __init__(self, model: Any, batch_size: int = 128, corpus_chunk_size: int = 50000, **options: Any) -> None:
        """For a model with ``encode_queries`` and ``encode_corpus``; options go to both: ``show_progress_bar``, ``convert_to_tensor``."""
        self.model, self.corpus_chunk_size = model, corpus_chunk_size
        self.options = {"batch_size": batch_size, "show_progress_bar": True, "convert_to_tensor": True, **options}

    def search(self, corpus: Corpus, queries: Mapping[str, str], top_k: int, score_function: str, **_: Any) -> Results:
        """``top_k`` documents of each query, or all, by ``cos_sim`` or ``dot``; never the one of the query's own name."""
        parts = ((places, self._documents(corpus, places)) for places in self._chunks(corpus))
        return _best(_index(parts, score_function), list(corpus), (list(queries), self._queries(queries)), top_k)

    def encode(
        self, corpus: Corpus, queries: Mapping[str, str], encode_output_path: str = "./embeddings/", **how: Any
    ) -> None:
        """Write embeddings for ``search_from_files``: .npz, called ``query_filename`` and, for each number, ``corpus_filename`` with it for ``*``.

        A file that is there is kept, without ``overwrite=True``; so an interrupted call goes on. Which model wrote it is not known: another one
        wants another folder.

        Raises:
            KnnscopeError: a file that is there holds embeddings of other texts, or is one too many: the host searches all that are there.
        """
        names, folder, pattern = list(corpus), Path(encode_output_path), how.get("corpus_filename", "corpus.*.pkl")
        chunks = list(self._chunks(corpus))
        if "*" not in pattern and len(chunks) > 1:
            raise ArgumentError(
                f"corpus_filename {pattern!r}: {len(chunks)} files are written: put * where their number goes"
            )
        if "*" in pattern and (beyond := folder / pattern.replace("*", str(len(chunks)))).exists():
            raise KnnscopeError(f"{beyond}: is of a larger corpus, and would be searched with this one: remove it")
        again = bool(how.get("overwrite"))
        _kept(folder / how.get("query_filename", "queries.pkl"), queries, again, lambda: self._queries(queries))
        for number, places in enumerate(chunks):
            part = {names[i]: corpus[names[i]] for i in places}
            file = folder / pattern.replace("*", str(number))
            _kept(file, part, again, lambda places=places: self._documents(corpus, places))  # type: ignore[misc]

    def search_from_files(
        self, query_embeddings_file: str, corpus_embeddings_files: Sequence[str], top_k: int, **how: Any
    ) -> Results:
        """``search`` in what ``encode`` wrote, by ``score_function``, dot unless another is given; equal scores by the order of the files."""
        parts = [read_named(Path(file)) for file in corpus_embeddings_files]
        first: dict[str, int] = {}
        for number, (names, _) in enumerate(parts):
            for name in names:
                if (other := first.setdefault(name, number)) != number:
                    told = f"{corpus_embeddings_files[number]}: {name!r} is also in {corpus_embeddings_files[other]}"
                    raise KnnscopeError(f"{told}: files of one corpus, each once, were expected")
        index = _index(((None, rows) for _, rows in parts), how.get("score_function", "dot"))
        return _best(
            index, [name for names, _ in parts for name in names], read_named(Path(query_embeddings_file)), top_k
        )

    def _chunks(self, corpus: Corpus) -> Iterator[list[int]]:
        """Places of documents that are encoded together, the longest texts first: a batch has texts of about a length."""
        texts = [len(document.get("title", "") + document.get("text", "")) for document in corpus.values()]
        order = sorted(range(len(texts)), key=texts.__getitem__, reverse=True)
        return (order[i : i + self.corpus_chunk_size] for i in range(0, len(order), self.corpus_chunk_size))

    def _documents(self, corpus: Corpus, places: list[int]) -> Any:
        documents = list(corpus.values())
        return detached(self.model.encode_corpus([documents[i] for i in places], **self.options))

    def _queries(self, queries: Mapping[str, str]) -> Any:
        return detached(self.model.encode_queries(list(queries.values()), **self.options))


def _kept(file: Path, texts: Mapping[str, Any], again: bool, encode: Callable[[], Any]) -> None:
    """Write embeddings of texts by name, unless those of the same are there.

    Raises:
        KnnscopeError: those of others are there.
    """
    of = hashlib.sha256(json.dumps(list(texts.values()), default=str).encode()).hexdigest()
    if again or not file.exists():
        write_named(file, list(texts), encode(), of)
    elif read_named(file)[0] != list(texts) or made_of(file) != of:
        raise KnnscopeError(f"{file}: embeddings of others than these texts: overwrite=True writes them anew")


def _index(parts: Iterable[tuple[Any, Any]], score_function: str) -> ExactIndex:
    """Over ids, None for the next numbers, and embeddings, part by part."""
    if score_function not in METRICS:
        raise ArgumentError(f"score_function {score_function!r} is none of {', '.join(METRICS)}")
    index: ExactIndex | None = None
    for ids, rows in parts:
        index = ExactIndex(dim=int(rows.shape[1]), metric=METRICS[score_function]) if index is None else index
        index.add(rows, ids=ids)
    if index is None:
        raise KnnscopeError("the corpus has no documents: there is nothing to search")
    return index


def _best(index: ExactIndex, names: list[str], queries: tuple[list[str], Any], top_k: int) -> Results:
    found = index.search(queries[1], min(top_k + 1, len(index)))  # one more: it may be the query itself
    results = {}
    for name, ids, scores in zip(queries[0], found.ids.tolist(), found.distances.tolist(), strict=True):
        others = [(names[i], score) for i, score in zip(ids, scores, strict=True) if names[i] != name]
        results[name] = dict(others[:top_k])
    return results
