"""The state machine of living_machine.py, and beside its rules: save, save and fail, load, write to a folder, pickle, copy."""

from __future__ import annotations

import copy
import os
import pickle
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from knnscope import ExactIndex
from knnscope.certified.saved import folder as folders
from knnscope.errors import KnnscopeError
from tests.certified import test_living_machine
from tests.certified.living_machine import LivingMachine, of
from tests.certified.saved.failing import Failure, failing


class SavedMachine(LivingMachine):
    """``folder``: what the index is saved to; ``writes``: whether its changes are written there."""

    def __init__(self) -> None:
        super().__init__()
        self.scratch = Path(tempfile.mkdtemp())
        self.folder, self.writes, self.copies = self.scratch / "index", False, list[tuple[Any, Any]]()

    @rule(goes_on=st.sampled_from(["here", "read", "mapped", "writes", "writes"]))
    def save(self, goes_on: str) -> None:
        """And go on with what is loaded, or not."""
        self.index.save(self.folder)
        if goes_on != "here":
            self.index.close()
            self.index = ExactIndex.load(
                self.folder, mmap=goes_on != "read", writable=goes_on == "writes", verify=True, threads=2
            )
            self.writes = goes_on == "writes"

    @precondition(lambda self: self.writes)
    @rule(
        step=st.integers(0, 60),
        error=st.sampled_from([OSError, MemoryError, KeyboardInterrupt]),
        after=st.booleans(),
        stays=st.booleans(),
    )
    def save_fails(self, step: int, error: type[BaseException], after: bool, stays: bool) -> None:
        """All changes are there, and the index goes on; where it was interrupted within a record, the next one does."""
        with failing(Failure(step, error, after, stays and error is OSError)) as steps:
            try:
                self.index.save()
            except (KnnscopeError, MemoryError, KeyboardInterrupt):
                assert steps.struck
        assert ExactIndex.load(self.folder, verify=True).ids.tolist() == list(self.model.rows)
        keeper = self.index._living.keeper
        assert isinstance(keeper, folders.Kept)
        if keeper._is_half:
            self.index.close()
            self.index = ExactIndex.load(self.folder, writable=True, threads=2)

    @precondition(lambda self: self.writes)
    @rule(goes_on=st.booleans(), verify=st.booleans())
    def load(self, goes_on: bool, verify: bool) -> None:
        """All changes are there, without another ``save``; the writer may end, and the next go on."""
        found = ExactIndex.load(self.folder, verify=verify)
        assert found.ids.tolist() == list(self.model.rows)
        if goes_on:
            self.index.close()
            self.index = ExactIndex.load(self.folder, writable=True, threads=2)

    @rule(how=st.sampled_from(["pickle", "copy"]))
    def goes_on_as_a_twin(self, how: str) -> None:
        """The index stays as it is while its twin changes."""
        twin = pickle.loads(pickle.dumps(self.index)) if how == "pickle" else copy.deepcopy(self.index)
        self.copies = [*self.copies[-1:], (self.index, self.model.copy())]
        if self.writes:
            self.index.close()
        self.index, self.writes = twin, False

    @precondition(lambda self: self.copies and self.copies[0][1].rows)
    @rule()
    def twins_are_as_they_were(self) -> None:
        for index, model in self.copies:
            if model.rows:
                queries = self.vectors(3)
                k = min(5, len(model.rows))
                assert of(index.search(queries, k)) == model.answer(queries, k)

    @precondition(lambda self: self.model.rows)
    @rule()
    def fork(self) -> None:
        """Where changes go to a folder, a child's are refused."""
        if not self.writes:
            super().fork()
            return
        queries, k = self.asked()
        rows, names = self.vectors(3), self.names(3)
        if (child := os.fork()) == 0:
            right = of(self.index.search(queries, k)) == self.model.answer(queries, k)
            try:
                self.index.add(rows, ids=names)
                right = False
            except KnnscopeError:
                pass
            os._exit(0 if right else 1)
        assert os.waitpid(child, 0)[1] == 0

    def teardown(self) -> None:
        if hasattr(self, "index"):
            self.index.close()
        shutil.rmtree(self.scratch)


def run(examples: int, steps: int, monkeypatch: pytest.MonkeyPatch, random: bool = False) -> None:
    monkeypatch.setattr(folders, "JOURNALLED", 2000)  # a few changes make a journal that is long
    test_living_machine.run(examples, steps, monkeypatch, random, SavedMachine)


def test_a_saved_index_agrees_with_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    run(6, 25, monkeypatch)


@pytest.mark.slow
def test_a_saved_index_agrees_with_a_list_for_5000_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    run(100, 50, monkeypatch, random=True)
