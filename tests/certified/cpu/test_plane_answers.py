"""What is found by the plane: the definition's answers, whatever the data, memory, masks and room."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knnscope.certified.cpu import dispatch
from knnscope.certified.cpu import search as searches
from knnscope.certified.cpu.plane import Plane
from knnscope.certified.index import ExactIndex
from knnscope.errors import KnnscopeError
from knnscope.search import definition
from tests import oracle
from tests.certified.answers import SHAPES
from tests.certified.cpu.planes import planes_for_all

ISAS = [isa for isa in dispatch.available() if isa != "amx"]
METRICS = definition.METRICS
RANDOM = np.random.default_rng


@given(st.data())
@settings(max_examples=25)
@pytest.mark.parametrize("isa", ISAS)
def test_any_small_data(isa: str, data: st.DataObject) -> None:
    count, dim = data.draw(st.integers(40, 140)), data.draw(st.sampled_from((32, 33, 64, 70)))
    asked, metric = data.draw(st.sampled_from((1, 2, 4, 5, 9, 23))), data.draw(st.sampled_from(METRICS))
    # each type of rows is compiled anew: all of them for the fastest
    dtype = data.draw(st.sampled_from(("float32", "float16", "uint8") if isa == ISAS[0] else ("float32",)))
    random = RANDOM(data.draw(st.integers(0, 9999)))
    both = SHAPES[data.draw(st.sampled_from(sorted(SHAPES)))](random, count + asked, dim)
    both = (np.abs(both * 20) % 127 if "int" in dtype else both).astype(dtype)
    rows, queries = both[:count], both[count:]
    where = random.random((asked, count) if data.draw(st.booleans()) else count) < 0.5
    where = where if data.draw(st.booleans()) else None
    k = data.draw(st.integers(1, count))
    with pytest.MonkeyPatch.context() as patch:
        planes_for_all(patch)
        patch.setattr(searches, "FEWEST_BLOCKS", 1)
        patch.setattr(searches, "WHOLE", data.draw(st.sampled_from((0, 1 << 24))))
        patch.setattr(searches, "PASS", data.draw(st.integers(1, 4)))
        patch.setattr(searches, "TOLD", data.draw(st.sampled_from((0, 1 << 24))))
        for name in ("GROUP", "WHOLE_GROUP"):
            patch.setattr(searches, name, data.draw(st.sampled_from((5, 10, 64))))
        if data.draw(st.booleans()):  # lists that run full
            patch.setattr(searches, "LEAST_ROOM", data.draw(st.sampled_from((8, 16, 40))))
            patch.setattr(dispatch, "room", lambda _: 0.0)
        memory = data.draw(st.sampled_from(("fast", "small") if dtype == "float32" else ("fast",)))
        index = ExactIndex(rows, metric, threads=data.draw(st.integers(1, 3)), device=f"cpu:{isa}", memory=memory)
        if memory == "small":  # slices and groups
            patch.setattr(searches, "BLOCK", data.draw(st.sampled_from((5, 1024))))
            patch.setattr(searches, "BLOCK_BYTES", data.draw(st.sampled_from((1 << 12, 1 << 27))))
        found = index.search(queries, k, where)
    for number, query in enumerate(queries):
        mask = np.ones(count, bool) if where is None else where if where.ndim == 1 else where[number]
        left = np.flatnonzero(mask)
        expected, values = oracle.nearest(rows[left], query, min(k, len(left)), metric) if len(left) else ([], [])
        short = k - len(expected)
        assert found.ids[number].tolist() == [int(left[i]) for i in expected] + [-1] * short
        assert found.distances[number].tolist() == values + [np.inf if metric == "l2" else -np.inf] * short


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("metric", METRICS)
def test_answers_are_those_of_the_definition_and_few_rows_are_computed(
    small: pytest.MonkeyPatch, isa: str, metric: str
) -> None:
    random = RANDOM(2)
    fall = np.arange(1, 97) ** -0.8
    rows = (random.standard_normal((9000, 96)) * fall).astype(np.float32)
    queries = (random.standard_normal((12, 96)) * fall).astype(np.float32)
    small.setattr(searches, "FEWEST_BLOCKS", 100)
    small.setattr(searches, "PASS", 32)
    small.setattr(searches, "WHOLE", 0)
    index = ExactIndex(rows, metric, device=f"cpu:{isa}", threads=2)
    assert index.nbytes > 9000 * (96 + 12), "a plane was built"
    every = definition.search(rows, queries, len(rows), metric)
    for k in (1, 10, 100):
        for batch, threads in ((1, 2), (2, 1), (4, 2), (6, 1), (12, 2)):
            found = [index.search(queries[i : i + batch], k, threads=threads) for i in range(0, 12, batch)]
            np.testing.assert_array_equal(np.concatenate([f.ids for f in found]), every.ids[:, :k])
            np.testing.assert_array_equal(np.concatenate([f.distances for f in found]), every.distances[:, :k])
            proofs = [f.certificate for f in found]
            assert all(p.path == ("plane",) for p in proofs)
            assert np.median(np.concatenate([p.computed for p in proofs])) < 1200
            for first, f, p in zip(range(0, 12, batch), found, proofs, strict=True):
                for number in range(len(f.ids)):
                    last = f.distances[number, -1]
                    assert 0 < p.margin[number] < np.inf, "rows are left out, by more than nothing"
                    rest = every.distances[first + number, int(p.computed[number])]
                    gap = np.sqrt(rest) - np.sqrt(last) if metric == "l2" else last - rest
                    assert p.margin[number] <= gap + 1e-9


def test_what_the_plane_has_no_room_for_is_answered_otherwise(small: pytest.MonkeyPatch) -> None:
    """A crowd that no bound tells apart."""
    small.setattr(dispatch, "room", lambda _: 0.5)
    random = RANDOM(3)
    rows = random.standard_normal((70_000, 32)).astype(np.float32)
    rows[:45_000] = rows[0] + random.standard_normal((45_000, 32)).astype(np.float32) * 1e-5
    query = rows[:1].copy()
    random.shuffle(rows)
    index = ExactIndex(rows, threads=1)
    found = index.search(query, 5)
    expected = definition.search(rows, query, 5, "l2")
    assert found.ids.tolist() == expected.ids.tolist()
    assert found.certificate.path == ("exhaustive",)
    apart = index.search(np.concatenate([query, rows[:0], query + 3]), 5)
    assert apart.certificate.path == (*sorted(("plane", "stream" if "vnni" in ISAS else ISAS[0])), "exhaustive")


def test_codes_are_written_for_a_scan_when_one_comes(small: pytest.MonkeyPatch) -> None:
    rows = RANDOM(5).standard_normal((500, 64)).astype(np.float32)
    index = ExactIndex(rows, threads=1)
    before = index.nbytes
    assert index.search(rows[:3], 4).certificate.path == ("plane",)
    assert index.search(rows[:0], 4).ids.shape == (0, 4)
    assert index.nbytes == before
    small.setattr(Plane, "answers", lambda *_: False)
    found = index.search(rows[:4], 4)  # one more, since it is known by what way three are answered
    assert found.certificate.path != ("plane",)
    np.testing.assert_array_equal(found.ids, definition.search(rows, rows[:4], 4, "l2").ids)
    assert index.nbytes == before + 512 * 64


@pytest.mark.parametrize("masks", [1, 30])
def test_more_queries_than_are_asked_at_once(small: pytest.MonkeyPatch, masks: int) -> None:
    small.setattr(searches, "BLOCK", 7)
    rows = RANDOM(6).standard_normal((300, 64)).astype(np.float32)
    where = RANDOM(7).random((masks, 300)) < 0.5
    found = ExactIndex(rows, threads=2).search(rows[:30], 4, where if masks > 1 else where[0])
    assert found.certificate.path == ("plane",)
    for number in range(30):
        left = np.flatnonzero(where[min(number, masks - 1)])
        expected, _ = oracle.nearest(rows[left], rows[number], 4, "l2")
        assert found.ids[number].tolist() == left[expected].tolist()


@pytest.mark.parametrize("memory", ["fast", "small"])
@pytest.mark.parametrize("metric", METRICS)
def test_rows_that_were_changed_are_noticed(small: pytest.MonkeyPatch, metric: str, memory: str) -> None:
    rows = RANDOM(4).standard_normal((500, 64)).astype(np.float32)
    index = ExactIndex(rows, metric, threads=1, memory=memory)
    query = rows[7] + np.float32(0.01)
    assert index.search(query, 1).ids.tolist() == [7]
    was = rows[7].copy()
    signs = np.sign(RANDOM(1).standard_normal(64)).astype(np.float32)
    for now in (was + 40 * signs, was * np.float32(np.nan), was + np.float32(np.inf)):
        rows[7] = now
        with pytest.raises(KnnscopeError, match="changed after the index was built: row 7"):
            index.search(query, 1)


def test_a_plane_is_built_where_it_pays() -> None:
    random = RANDOM(6)
    even = random.standard_normal((9000, 64)).astype(np.float32)
    fall = (even * np.arange(1, 65) ** -1.0).astype(np.float32)
    assert ExactIndex(fall, threads=1).nbytes > ExactIndex(even[:4000], threads=1).nbytes * 9000 / 4000
    assert ExactIndex(even[:8000], threads=1).nbytes <= 8000 * 76 + 32 * 76, "fewer rows than a plane is built for"
