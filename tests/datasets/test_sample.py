"""The shipped sample is what it claims to be."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict

import numpy as np
import pytest

from knnscope.analysis import quality
from knnscope.api.workload import Workload
from knnscope.datasets import registry
from knnscope.records import TextDataset


def words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+(?:'[^\W_]+)?", text.lower())


@pytest.fixture(scope="module")
def sample() -> TextDataset:
    dataset, notes = registry.load("sample")
    assert isinstance(dataset, TextDataset)
    assert notes == ()
    return dataset


def test_size_and_grades(sample: TextDataset) -> None:
    assert len(sample.documents) >= 240
    assert len(sample.queries) == 60
    assert set(sample.qrels.grades.tolist()) == {1, 2}
    assert all(max(sample.qrels.of(q).values()) == 2 for q in range(60))
    entry = next(e for e in registry.catalogue(registry.DatasetOptions()) if e.name == "sample")
    assert (entry.documents, entry.queries) == (len(sample.documents), len(sample.queries))


def test_no_six_words_in_a_row_stand_in_two_passages(sample: TextDataset) -> None:
    runs: defaultdict[tuple[str, ...], set[int]] = defaultdict(set)
    for i, text in enumerate(sample.documents.texts):
        said = words(text)
        for start in range(len(said) - 5):
            runs[tuple(said[start : start + 6])].add(i)
    assert [run for run, where in runs.items() if len(where) > 1] == []


def overlap(query: list[str], document: list[str], frequency: Counter[str], documents: int, mean: float) -> float:
    """BM25 (k1 = 1.2, b = 0.75), the strongest plain word overlap."""
    counts = Counter(document)
    return sum(
        math.log(1 + (documents - frequency[w] + 0.5) / (frequency[w] + 0.5))
        * counts[w]
        * 2.2
        / (counts[w] + 1.2 * (0.25 + 0.75 * len(document) / mean))
        for w in set(query)
    )


@pytest.mark.usefixtures("encoded")
def test_the_encoder_beats_word_overlap_and_the_task_is_not_trivial(sample: TextDataset) -> None:
    said = [words(t) for t in sample.documents.texts]
    frequency = Counter(w for document in said for w in set(document))
    mean = sum(map(len, said)) / len(said)
    scores = np.array([[overlap(words(q), d, frequency, len(said), mean) for d in said] for q in sample.queries.texts])
    workload = Workload("sample")
    similar = workload.queries @ workload.documents.values.T
    by_words, by_meaning = (
        quality.measures(np.argsort(-found, axis=1, kind="stable")[:, :10].tolist(), sample.qrels, 10, range(60))[
            "ndcg_at_10"
        ]
        for found in (scores, similar)
    )
    assert by_meaning >= by_words + 0.1
    assert by_meaning < 0.95
    assert by_words > 0.1, "word overlap finds something: the queries are not riddles"
