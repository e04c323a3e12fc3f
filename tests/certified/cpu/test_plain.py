"""NumPy alone gives the defined answer too, whatever the data."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from knnscope.certified.cpu import plain
from knnscope.certified.cpu.plain import DOUBLE, SINGLE, Plain, Precision
from knnscope.certified.dtypes import BFLOAT, widened
from knnscope.certified.rows import as_ids, as_mask, as_queries, as_rows
from knnscope.certified.scanner import Request
from knnscope.datasets import registry
from knnscope.errors import KnnscopeError
from knnscope.records import Certificate, Neighbors
from knnscope.search import definition
from tests.certified.answers import SHAPES, check
from tests.contracts.suite import LARGEST

METRICS = definition.METRICS
NUMBERS = np.empty(0, dtype=np.int64)


def ask(rows: np.ndarray, queries: np.ndarray, k: int, metric: str, where: np.ndarray | None = None) -> Neighbors:
    """As ``ExactIndex`` would."""
    with np.errstate(all="ignore"):
        values, _ = as_queries(queries, rows.shape[1])
        request = Request(values, k, as_mask(where, len(values), len(rows)))
        found = Plain(as_rows(rows), NUMBERS, metric).nearest(request)
    assert found.path == ("plain",)
    return Neighbors(
        found.ids, found.distances, Certificate(len(rows), found.candidates, found.computed, found.margin, found.path)
    )


@given(st.data())
def test_any_small_data(data: st.DataObject) -> None:
    count, dim, asked = data.draw(st.integers(1, 70)), data.draw(st.integers(1, 19)), data.draw(st.integers(1, 15))
    dtype = data.draw(st.sampled_from(definition.DTYPES))
    metric = data.draw(st.sampled_from(METRICS))
    random = np.random.default_rng(data.draw(st.integers(0, 9999)))
    both = SHAPES[data.draw(st.sampled_from(sorted(SHAPES)))](random, count + asked, dim)
    if "int" in dtype:
        both = np.abs(both * 20) % 127
    both = both.astype(dtype)
    where = None
    if data.draw(st.booleans()):
        where = random.random((asked, count) if data.draw(st.booleans()) else count) < 0.4
    k = data.draw(st.integers(1, count))
    with pytest.MonkeyPatch.context() as patch:
        if data.draw(st.booleans()):  # little room: the next precision is asked, and at last all rows
            patch.setattr(plain, "SHARE", 1 << 20)
            patch.setattr(plain, "FEW", -4 * k + 1)
        if data.draw(st.booleans()):
            patch.setattr(plain, "PRODUCTS", 13)
            patch.setattr(plain, "QUERIES", 4)
        check(ask(both[:count], both[count:], k, metric, where), both[:count], both[count:], k, metric, where)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("data", ["text", "isotropic", "near-duplicate", "large-norm", "ties"])
def test_kinds_of_data(data: str, metric: str, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset, _ = registry.load(f"synthetic:{data},rows=600,queries=5")
    rows, queries = dataset.documents.values, dataset.queries.values
    monkeypatch.setattr(plain, "PRODUCTS", 1_000)  # several blocks
    expected = definition.search(rows, queries, len(rows), metric)
    for k in (1, 10, len(rows)):
        for batch in (1, 5):
            found = [ask(rows, queries[i : i + batch], k, metric) for i in range(0, 5, batch)]
            np.testing.assert_array_equal(np.concatenate([f.ids for f in found]), expected.ids[:, :k])
            values = np.concatenate([f.distances for f in found])
            np.testing.assert_array_equal(values.view(np.int64), expected.distances[:, :k].view(np.int64))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", definition.DTYPES)
def test_types_to_both_ends(dtype: str, metric: str) -> None:
    random, largest = np.random.default_rng(5), LARGEST[dtype]
    low = 0 if dtype == "uint8" else -largest
    rows, queries = (random.integers(low, largest, (n, 20), endpoint=True) for n in (2000, 3))
    rows[0], queries[0], queries[1] = low, largest, low
    rows, queries = rows.astype(dtype), queries.astype(dtype)
    expected = definition.search(rows, queries, 7, metric)
    for order in (rows, np.asfortranarray(rows), np.repeat(rows, 2, axis=1)[:, ::2]):
        found = ask(order, queries, 7, metric)
        np.testing.assert_array_equal(found.ids, expected.ids)
        np.testing.assert_array_equal(found.distances, expected.distances)


@pytest.mark.parametrize("metric", METRICS)
def test_bfloat16_by_its_bits(metric: str) -> None:
    values = np.random.default_rng(6).standard_normal((1500, 24)).astype(np.float32)
    bits = (values.view(np.int32) >> 16).astype(BFLOAT)
    rows = widened(bits)
    with np.errstate(all="ignore"):
        request = Request(rows[:5].astype(np.float64), 4, as_mask(None, 5, 1500))
        found = Plain(bits, NUMBERS, metric).nearest(request)
    expected = definition.search(rows, rows[:5], 4, metric)
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_array_equal(found.distances, expected.distances)
    assert (found.computed < 1500).all()


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("size", [1e-300, 1e-200, 1e-150, 1e-42, 1e-30, 1e17, 1e30, 1e100])
def test_extreme_lengths(metric: str, size: float) -> None:
    random = np.random.default_rng(3)
    rows, queries = random.standard_normal((60, 8)) * size, random.standard_normal((9, 8)) * size
    check(ask(rows, queries, 5, metric), rows, queries, 5, metric)
    usual = random.standard_normal((60, 8))
    for others in (usual, rows * 10.0 ** random.integers(-40, 40, (60, 1))):
        check(ask(others, queries, 5, metric), others, queries, 5, metric)
    check(ask(rows, usual[:9], 5, metric), rows, usual[:9], 5, metric)
    if size < 1e37:
        single, asked = rows.astype(np.float32), queries.astype(np.float32)
        check(ask(single, asked, 5, metric), single, asked, 5, metric)


@pytest.mark.parametrize("precision", [SINGLE, DOUBLE])
@pytest.mark.parametrize("shape", sorted(SHAPES))
@pytest.mark.parametrize("metric", METRICS)
def test_a_bound_holds_of_every_value(metric: str, shape: str, precision: Precision) -> None:
    """And says something: what it allows is about what rounding of so many terms allows."""
    random = np.random.default_rng(11)
    for dim in (1, 3, 40, 700):
        both = SHAPES[shape](random, 210, dim).astype(np.float32)
        rows, queries = both[:200], both[200:].astype(np.float64)
        scanner = Plain(rows, NUMBERS, metric)
        defined = definition.distances(rows, queries, metric)
        longest = np.linalg.norm(both.astype(np.float64), axis=1).max()
        for query, values in zip(queries, defined, strict=True):
            products = rows.astype(precision.dtype) @ query.astype(precision.dtype)
            length = float(np.linalg.norm(query))
            keys, slack = scanner._keys(products.astype(np.float64), 0, length, precision)
            assert (np.abs(keys - (values if metric == "l2" else -values)) <= slack).all()
            size = {"l2": 4 * longest**2, "ip": longest**2, "cosine": 1.0}[metric]
            assert np.max(slack) <= 40 * (dim + 10) * precision.unit * size + 1e-20


def test_bounds_leave_few_rows_and_a_second_precision_leaves_few_where_the_first_does_not() -> None:
    """Else everything above could pass by looking at all rows."""
    random = np.random.default_rng(1)
    rows = random.standard_normal((4000, 48)).astype(np.float32)
    for metric in METRICS:
        proof = ask(rows, rows[:5], 10, metric).certificate
        assert (proof.computed < 20).all()
        assert (proof.margin > 0).all()
    close = rows * np.float32(0.01) + np.float32(1000)
    assert (ask(close, close[:5], 10, "l2").certificate.computed < 100).all()
    assert (ask(rows.astype(np.float64), rows[:5], 10, "l2").certificate.computed < 20).all()


@pytest.mark.parametrize("metric", METRICS)
def test_names_decide_ties_and_are_what_comes_back(metric: str) -> None:
    rows = np.ones((3000, 3), np.float32)
    names = np.random.default_rng(0).permutation(3000) * 10
    scanner = Plain(rows, as_ids(names, 3000), metric)
    mask = np.zeros((1, 3000), bool)
    mask[0, 5:7] = True
    with np.errstate(all="ignore"):
        assert scanner.nearest(Request(np.ones((1, 3)), 3, np.empty((0, 3000), bool))).ids.tolist() == [[0, 10, 20]]
        found = scanner.nearest(Request(np.ones((1, 3)), 3, mask))
    assert found.ids.tolist() == [[*sorted(names[5:7].tolist()), -1]]


def test_what_is_no_number_is_one_line(tmp_path: Path) -> None:
    rows = np.array([[1e200, 1e200], [1e200, -1e200]])
    with pytest.raises(KnnscopeError, match="ip of finite numbers overflows: scale the vectors down"):
        ask(rows, np.array([[1e200, -1e200]]), 1, "ip")
    broken = np.zeros((5000, 4), dtype=np.float32)
    broken[4321, 2] = np.nan
    np.save(tmp_path / "v.npy", broken)
    with pytest.raises(KnnscopeError, match="rows: row 4,321 has nan in component 2"):
        ask(np.load(tmp_path / "v.npy", mmap_mode="r"), broken[:1], 1, "l2")


@pytest.mark.parametrize("number", [100, np.inf, np.nan])
@pytest.mark.parametrize("metric", METRICS)
def test_a_row_that_was_changed_is_an_error_that_says_so(metric: str, number: float) -> None:
    rows = np.random.default_rng(2).standard_normal((3000, 16)).astype(np.float32)
    request = Request(rows[:4].astype(np.float64), 3, np.empty((0, 3000), bool))
    with np.errstate(all="ignore"):
        scanner = Plain(rows, NUMBERS, metric)
        near = int(scanner.nearest(request).ids[2, 1])
        rows[near] = number * np.sign(rows[2])
        with pytest.raises(KnnscopeError, match=f"changed after the index was built: row {near:,} is not"):
            scanner.nearest(request)


def test_no_compiler_is_imported() -> None:
    code = (
        "import sys; sys.modules['numba'] = sys.modules['llvmlite'] = None\n"
        "import numpy as np\n"
        "from knnscope.certified.cpu.plain import Plain\n"
        "from knnscope.certified.scanner import Request\n"
        "rows = np.eye(4, dtype=np.float32)\n"
        "found = Plain(rows, np.empty(0, np.int64), 'l2').nearest(Request(rows[2:3].astype(float), 2, np.empty((0, 4), bool)))\n"
        "print(found.ids.tolist(), found.path)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[[2, 0]] ('plain',)\n"
