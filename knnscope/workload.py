"""From a data set's name to vectors that can be searched: what every command starts with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope.datasets import names
from knnscope.encoders import embed, models, recipes
from knnscope.encoders.onnx_encoder import OnnxEncoder
from knnscope.errors import KnnscopeError
from knnscope.records import TextDataset, VectorDataset, Vectors


@dataclass(frozen=True, slots=True)
class EncoderOptions:
    """Which model (None: the one that made the vectors, else the default), where it runs, and the recipe (None: the model's own)."""

    name: str | None = None
    device: str = "cpu"
    recipe: str | None = None


class Workload:
    """A data set opened for searching; texts are encoded when first needed, from the cache where they can be."""

    def __init__(
        self, spec: str, options: names.DatasetOptions | None = None, encoder: EncoderOptions | None = None
    ) -> None:
        self.dataset, self.notes = names.load(spec, options)
        self._options = encoder or EncoderOptions()

    @property
    def texts(self) -> TextDataset:
        """The data set in words.

        Raises:
            KnnscopeError: it holds vectors only.
        """
        if isinstance(self.dataset, VectorDataset):
            raise KnnscopeError(f"{self.dataset.name}: holds vectors, no texts to encode")
        return self.dataset

    @cached_property
    def encoder(self) -> OnnxEncoder:
        """The encoder of the options; for vectors that say what made them, that one.

        Raises:
            KnnscopeError: it cannot be had, or the options name another one than made the vectors.
        """
        made = self.dataset.encoded_by if isinstance(self.dataset, VectorDataset) else None
        model = models.resolve(self._options.name or (made.name if made else models.DEFAULT))
        wanted = self._options.recipe
        if wanted is None and made is not None and made.recipe["name"] in recipes.RECIPES:
            wanted = str(made.recipe["name"])
        recipe = recipes.choose(wanted, model.recipe)
        if made is not None:
            now = recipe.as_dict()
            same = all(
                now.get(key) == value for key, value in made.recipe.items() if key != "name"
            )  # a folder may be renamed
            if model.sha256 != made.sha256 or not same:
                raise KnnscopeError(
                    f"{self.dataset.name}: its rows were encoded by {made.name}, recipe {made.recipe['name']}, with other weights or another "
                    f"recipe than {model.name}, {recipe.name}: leave --encoder and --recipe out, or encode anew: knnscope embed -o"
                )
        self.notes += model.notes
        return OnnxEncoder(model, recipe, self._options.device)

    def encoder_facts(self) -> dict[str, object]:
        """What a record says of the encoder, so that it is found again."""
        name = self._options.name or models.DEFAULT
        where = {} if name in models.MODELS else {"encoder_folder": str(Path(name).resolve())}
        return {**self.encoder.model.as_dict(), **where, "recipe": self.encoder.recipe.as_dict()}

    def words(self, text: str) -> npt.NDArray[np.float32]:
        """A query in words as a (1, dim) array.

        Raises:
            KnnscopeError: vectors that do not say what made them.
        """
        if isinstance(self.dataset, VectorDataset) and self.dataset.encoded_by is None:
            raise KnnscopeError(
                f"{self.dataset.name}: holds vectors, no texts, and does not say what encoded them: give --query-id ROW"
            )
        return self.encoder.encode([text])

    @property
    def document_texts(self) -> Sequence[str] | None:
        """The texts of the rows, where they are known."""
        return self.dataset.documents.texts

    def query_text(self, row: int) -> str | None:
        """The text of a query, where it is known."""
        asked = self.dataset.queries if self.dataset.queries is not None else self.dataset.documents
        return asked.texts[row] if asked.texts is not None else None

    def said(self) -> tuple[str, ...]:
        """The notes so far, and which nodes of a CUDA session ran on the CPU."""
        if "encoder" in self.__dict__ and self.encoder.strayed:
            return (*self.notes, f"CUDA session: {self.encoder.strayed}")
        return self.notes

    @cached_property
    def documents(self) -> Vectors:
        """The rows to search."""
        if isinstance(self.dataset, VectorDataset):
            return self.dataset.documents
        return Vectors(self.encode(self.dataset.documents.texts, "encode documents")[0], self.dataset.documents.ids)

    def encode(self, texts: Sequence[str], what: str) -> tuple[npt.NDArray[np.float32], embed.Work]:
        """Vectors of texts, through the cache."""
        cache = embed.open_cache(self.encoder)
        try:
            work = embed.fill(cache, self.encoder, texts, what)
            return embed.read(cache, texts), work
        finally:
            cache.close()

    @cached_property
    def queries(self) -> npt.NDArray[Any]:
        """Vectors of all queries.

        Raises:
            KnnscopeError: the data set has none.
        """
        if self.dataset.queries is None or not len(self.dataset.queries):
            raise KnnscopeError(f"{self.dataset.name}: holds no queries")
        if isinstance(self.dataset, TextDataset):
            return self.encode(self.dataset.queries.texts, "encode queries")[0]
        return self.dataset.queries.values

    def query_vectors(self, rows: Sequence[int]) -> npt.NDArray[Any]:
        """Vectors of some queries; only these are encoded.

        Raises:
            KnnscopeError: a file of vectors without queries.
        """
        if isinstance(self.dataset, TextDataset) and "queries" not in self.__dict__:
            return self.encode([self.dataset.queries.texts[row] for row in rows], "encode queries")[0]
        chosen: npt.NDArray[Any] = self.queries[np.asarray(rows)]
        return chosen

    @property
    def metric(self) -> str:
        """The recipe's metric, or the one the file declares, else l2."""
        if isinstance(self.dataset, VectorDataset):
            return self.dataset.metric or "l2"
        return self.encoder.recipe.metric

    def query_row(self, query_id: str) -> int:
        """Row number of a query by its id (texts) or number (vectors).

        Raises:
            KnnscopeError: no such query.
        """
        ids = self.query_ids
        if ids is None:
            assert isinstance(self.dataset, VectorDataset)
            count = len(self.dataset.queries or self.dataset.documents)
            if not (query_id.isascii() and query_id.isdigit() and len(query_id) < 19 and int(query_id) < count):
                raise KnnscopeError(
                    f"{self.dataset.name}: --query-id {query_id!r}: a row from 0 to {count - 1} was expected"
                )
            return int(query_id)
        for row, known in enumerate(ids):
            if known == query_id:
                return row
        if not len(ids):
            raise KnnscopeError(
                f'{self.dataset.name}: holds no queries: search it with words: knnscope search DATASET "words"'
            )
        raise KnnscopeError(f"{self.dataset.name}: no query with id {query_id!r}: ids look like {', '.join(ids[:3])}")

    @property
    def query_ids(self) -> Sequence[str] | None:
        """Ids of the queries; None where they have row numbers only."""
        if isinstance(self.dataset, TextDataset):
            return self.dataset.queries.ids
        return (self.dataset.queries or self.dataset.documents).ids

    def query_vector(self, row: int) -> npt.NDArray[Any]:
        """One query as a (1, dim) array; a file without queries lends its own rows."""
        if isinstance(self.dataset, VectorDataset):
            return (self.dataset.queries or self.dataset.documents).values[row : row + 1]
        return self.encode([self.dataset.queries.texts[row]], "encode query")[0]
