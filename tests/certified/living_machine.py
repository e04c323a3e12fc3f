"""A state machine: an index that changes, held against a list of rows and the definition after each step."""

from __future__ import annotations

import os
import threading
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import knnscope
from knnscope.errors import KnnscopeError
from knnscope.search import definition

DIM = 5
Answer = tuple[list[list[Any]], list[list[float]]]


class Model:
    """Rows by id, in the order in which they were added."""

    def __init__(self, metric: str, rows: dict[Any, np.ndarray] | None = None) -> None:
        self.metric, self.rows = metric, dict(rows or {})

    def copy(self) -> Model:
        return Model(self.metric, self.rows)

    def answer(self, queries: np.ndarray, k: int, masks: np.ndarray | None = None) -> Answer:
        """By the definition, which orders equal values by row number: so rows are put in the order of their ids."""
        names = sorted(self.rows)
        order = {name: place for place, name in enumerate(self.rows)}
        rows = np.array([self.rows[name] for name in names], dtype=np.float64)
        values = definition.distances(rows, queries, self.metric)
        none, last = ("" if isinstance(names[0], str) else -1), (np.inf if self.metric == "l2" else -np.inf)
        ids, distances = [], []
        for number, line in enumerate(values):
            allowed = [i for i in range(len(names)) if masks is None or masks[number, order[names[i]]]]
            keys = line if self.metric == "l2" else -line
            best = sorted(allowed, key=lambda i: (keys[i], i))[:k]
            ids.append([names[i] for i in best] + [none] * (k - len(best)))
            distances.append([float(line[i]) for i in best] + [last] * (k - len(best)))
        return ids, distances


def of(found: knnscope.Neighbors) -> Answer:
    return found.ids.tolist(), found.distances.tolist()


class LivingMachine(RuleBasedStateMachine):
    """See the module."""

    @initialize(
        metric=st.sampled_from(definition.METRICS),
        dtype=st.sampled_from(["float32", "float64", "float16", "int8"]),
        is_text=st.booleans(),
        begins_empty=st.booleans(),
        seed=st.integers(0, 999),
    )
    def begin(self, metric: str, dtype: str, is_text: bool, begins_empty: bool, seed: int) -> None:
        self.random, self.dtype, self.is_text = np.random.default_rng(seed), dtype, is_text
        self.model, self.next = Model(metric), 0
        if begins_empty:
            self.index = knnscope.ExactIndex(dim=DIM, metric=metric, threads=2)
        else:
            rows, names = self.vectors(12), self.names(12)
            self.index = knnscope.ExactIndex(rows, metric, ids=names, threads=2)
            self.took(rows, names)

    def vectors(self, count: int) -> np.ndarray:
        """Some of a few rows, so that there are duplicates and ties; some much longer, some zero."""
        small = self.random.integers(-1, 2, (count, DIM)).astype(np.float64)
        if self.dtype != "int8":
            small *= self.random.choice([0.5, 1, 1, 7, 300], (count, 1))
            small += self.random.choice([0, 0, 2.0**-8], (count, 1))
        return small.astype(self.dtype)

    def names(self, count: int) -> list[Any]:
        """New ones, not in order."""
        numbers = (self.next + self.random.permutation(2 * count)[:count]).tolist()
        self.next += 2 * count
        return [f"{'é' if n % 3 else ''}{n}" for n in numbers] if self.is_text else numbers

    def took(self, rows: np.ndarray, names: list[Any]) -> None:
        self.model.rows.update(zip(names, rows, strict=True))

    def some_ids(self, count: int) -> list[Any]:
        known = list(self.model.rows)
        return [known[i] for i in self.random.permutation(len(known))[:count]]

    @rule(count=st.sampled_from([0, 1, 1, 1, 2, 3, 5, 17, 60]), named=st.booleans())
    def add(self, count: int, named: bool) -> None:
        rows = self.vectors(count)
        if named or self.is_text:
            names = self.names(count)
            found = self.index.add(rows, ids=names).tolist()
            assert found == names
        else:
            names = self.index.add(rows).tolist()
            assert not set(names) & set(self.model.rows)
            assert names == sorted(names)
            self.next = max([self.next, *(name + 1 for name in names)])
        self.took(rows, names)

    @precondition(lambda self: self.model.rows)
    @rule(count=st.sampled_from([1, 1, 2, 9, 40]))
    def remove(self, count: int) -> None:
        names = self.some_ids(count)
        self.index.remove(names)
        for name in names:
            del self.model.rows[name]

    @precondition(lambda self: self.model.rows)
    @rule(count=st.sampled_from([1, 1, 3, 20]))
    def update(self, count: int) -> None:
        names = self.some_ids(count)
        rows = self.vectors(len(names))
        self.index.update(names, rows)
        for name in names:
            del self.model.rows[name]
        self.took(rows, names)

    @rule(how=st.sampled_from(["known", "twice", "absent", "nan", "inf", "short", "kind"]))
    def refused(self, how: str) -> None:
        """And nothing is half done: the invariant sees to it."""
        new, known = self.names(2), self.some_ids(1)
        rows = self.vectors(2)
        if how == "known" and known:
            calls = [lambda: self.index.add(rows, ids=[new[0], known[0]])]
        elif how == "twice":
            calls = [lambda: self.index.add(rows, ids=[new[0]] * 2), lambda: self.index.remove((known or new) * 2)]
        elif how == "absent":
            calls = [
                lambda: self.index.remove([*known, new[0]]),
                lambda: self.index.update([*known, new[0]], rows[: 1 + len(known)]),
                lambda: self.index.get([*known, new[0]]),
            ]
        elif how in ("nan", "inf"):
            bad = rows.astype(np.float64)
            bad[1, 2] = float(how)
            calls = [lambda: self.index.add(bad, ids=new)]
            if known:
                calls.append(lambda: self.index.update(known, bad[1:]))
        elif how == "short":
            calls = [lambda: self.index.add(rows[:, :3], ids=new), lambda: self.index.add(rows, ids=new[:1])]
        elif known:
            calls = [lambda: self.index.add(rows, ids=[1, 2] if self.is_text else ["a", "b"])]
        else:
            calls = []
        for call in calls:
            try:
                call()
            except KnnscopeError:
                continue
            raise AssertionError(f"{how}: not refused")

    @rule(fully=st.booleans())
    def merge(self, fully: bool) -> None:
        if fully:
            self.index.merge()
        else:
            self.index.wait()

    def asked(self) -> tuple[np.ndarray, int]:
        queries = self.vectors(int(self.random.integers(1, 7)))
        if self.random.random() < 0.3:
            queries = queries.astype(np.float64) * 1e4
        return queries, int(self.random.integers(1, min(len(self.model.rows), 30) + 1))

    @precondition(lambda self: self.model.rows)
    @rule(threads=st.sampled_from([None, 1, 2]))
    def search(self, threads: int | None) -> None:
        queries, k = self.asked()
        found = self.index.search(queries, k, threads=threads)
        assert of(found) == self.model.answer(queries, k)
        proof = found.certificate
        assert proof.exact
        assert (proof.computed <= proof.candidates).all()
        assert (proof.margin >= 0).all()
        one = self.index.search(queries[0], k)
        assert (one.ids.tolist(), one.distances.tolist()) == tuple(lines[0] for lines in of(found))

    @precondition(lambda self: self.model.rows)
    @rule(
        how=st.sampled_from(["mask", "masks", "bits", "little", "keep", "without", "each"]),
        share=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    )
    def filtered(self, how: str, share: float) -> None:
        queries, k = self.asked()
        names = list(self.model.rows)
        masks = self.random.random((len(queries), len(names))) < share
        if how not in ("masks", "each"):
            masks[:] = masks[0]
        lines = [[name for name, is_in in zip(names, mask, strict=True) if is_in] for mask in masks]
        strange = self.names(1)
        wheres = {
            "mask": masks[0],
            "masks": masks,
            "bits": knnscope.Bits(np.packbits(masks[0])),
            "little": knnscope.Bits(np.packbits(masks, axis=1, bitorder="little"), order="little"),
            "keep": knnscope.Keep(lines[0] + strange),
            "without": knnscope.Without([*(name for name in names if name not in set(lines[0])), *strange]),
            "each": [knnscope.Keep(line) for line in lines],
        }
        found = self.index.search(queries, k, where=wheres[how])
        assert of(found) == self.model.answer(queries, k, masks)

    @precondition(lambda self: self.model.rows)
    @rule(adds=st.booleans())
    def readers_see_one_state(self, adds: bool) -> None:
        """Answers of other threads are those before or after a change, and never of between."""
        queries, k = self.asked()
        rows, names, gone = self.vectors(9), self.names(9), self.some_ids(4)
        k = min(k, max(1, len(self.model.rows) - len(gone)))
        after = self.model.copy()
        if adds or len(after.rows) <= len(gone):
            after.rows.update(zip(names, rows, strict=True))
            gone = []
        else:
            for name in gone:
                del after.rows[name]
        expected, answers, stop = (
            [self.model.answer(queries, k), after.answer(queries, k)],
            list[Answer](),
            threading.Event(),
        )

        def read() -> None:
            while not stop.is_set():
                answers.append(of(self.index.search(queries, k)))

        readers = [threading.Thread(target=read) for _ in range(2)]
        for reader in readers:
            reader.start()
        try:
            if gone:
                self.index.remove(gone)
            else:
                self.index.add(rows, ids=names)
        finally:
            stop.set()
            for reader in readers:
                reader.join()
        assert all(answer in expected for answer in answers)
        self.model = after

    @precondition(lambda self: self.model.rows)
    @rule()
    def fork(self) -> None:
        """A child searches and changes its own; the parent's stays as it was."""
        queries, k = self.asked()
        rows, names, gone = self.vectors(3), self.names(3), self.some_ids(1)
        if (child := os.fork()) == 0:
            try:
                self.index.add(rows, ids=names)
                self.index.remove(gone)
                self.took(rows, names)
                del self.model.rows[gone[0]]
                right = of(self.index.search(queries, k)) == self.model.answer(queries, k)
                self.index.merge()
                right &= of(self.index.search(queries, k)) == self.model.answer(queries, k)
            except BaseException:
                right = False
            os._exit(0 if right else 1)
        assert os.waitpid(child, 0)[1] == 0

    @invariant()
    def holds_the_same_rows(self) -> None:
        if not hasattr(self, "index"):
            return
        names = list(self.model.rows)
        assert len(self.index) == len(names)
        assert self.index.ids.tolist() == names
        if names:
            some = [names[i] for i in self.random.integers(0, len(names), 4)]
            np.testing.assert_array_equal(self.index.get(some), np.array([self.model.rows[name] for name in some]))
            assert self.index.get(some).dtype == self.dtype
            assert all(name in self.index for name in some)
        assert self.names(1)[0] not in self.index
