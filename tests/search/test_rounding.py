"""The bound of each formula, against exact rationals."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from knnscope.datasets.array_checks import MAX_DIM
from knnscope.search import rounding
from knnscope.search.engine import unit_rows
from knnscope.search.rounding import DEFINITION, UNITS, Formula
from tests import oracle

KINDS = {"float32": np.float32, "float64": np.float64}
CASES = [("l2", "difference"), ("l2", "expanded"), ("ip", "expanded"), ("cosine", "expanded")]
ODD = [0.0, -0.0, 1.0, 1 + 2.0**-23, 1 - 2.0**-24, -(2.0**40), 2.0**24 + 2, 1e-20, 2.0**-126, 2.0**-149]


@st.composite
def pairs(draw: st.DrawFn, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """A row and a query; some components are equal, some are neighbors of each other."""
    number = st.one_of(
        st.sampled_from(ODD),
        st.integers(-4, 4).map(float),
        st.floats(-(2.0**40), 2.0**40, width=32 if kind == "float32" else 64),
    )
    drawn = draw(st.lists(st.tuples(number, number, st.sampled_from("onne")), min_size=1, max_size=12))
    x, q = (np.array([d[i] for d in drawn], KINDS[kind]) for i in (0, 1))
    how = np.array([d[2] for d in drawn])
    return x, np.where(how == "e", x, np.where(how == "n", np.nextafter(x, KINDS[kind](2.0**41)), q))


def sums(terms: np.ndarray) -> list[np.floating]:
    """In sequence, backwards, by halves, and as NumPy does it."""

    def chain(values: np.ndarray) -> np.floating:
        total = terms.dtype.type(0)
        for value in values:
            total = total + value
        return total

    def halves(values: np.ndarray) -> np.floating:
        half = len(values) // 2
        return values[0] if len(values) == 1 else halves(values[:half]) + halves(values[half:])

    return [chain(terms), chain(terms[::-1]), halves(terms), terms.sum(), terms.sum()]


def products(x: np.ndarray, q: np.ndarray) -> list[np.floating]:
    return [*sums(x * q)[:4], (np.stack([x] * 4) @ np.stack([q] * 4).T)[2, 1]]


def evaluate(x: np.ndarray, q: np.ndarray, metric: str, form: str) -> list[np.floating]:
    """The distance in the arithmetic of its inputs, in several ways."""
    if (metric, form) == ("l2", "difference"):
        return sums((x - q) * (x - q))
    p, nx, nq = products(x, q), sums(x * x), sums(q * q)
    if metric == "ip":
        return p
    if metric == "l2":
        left = [(a - 2 * b) + c for a, b, c in zip(nx, p, nq, strict=True)]
        return left + [a + (c - 2 * b) for a, b, c in zip(nx, p, reversed(nq), strict=True)]
    kind, norms = x.dtype.type, rounding.norms(np.stack([x, q]))
    found = products(unit_rows(x[None], kind)[0], unit_rows(q[None], kind)[0])
    if kind is np.float64 and norms.min() < 1e-140:
        return []  # squares underflow in unit_rows too
    if norms.min() > 1e-14:  # as the module says of underflow
        found += [b / (np.sqrt(a) * np.sqrt(c)) for a, b, c in zip(nx, p, nq, strict=True)]
    return found + [1 - (1 - value) for value in found]


def bound(formula: Formula, x: np.ndarray, q: np.ndarray, metric: str) -> Fraction:
    """As the product computes it, and as much again as float64 may have lost of it."""
    arguments = (np.array([float(oracle.rational(x, q, metric))]), rounding.norms(x[None]), rounding.norms(q[None]))
    return Fraction(float(formula.bound(metric, len(x), *arguments)[0])) * (1 + Fraction(1, 2**40))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("metric", "form"), CASES)
def test_no_order_of_summation_is_further_off(metric: str, form: str, kind: str) -> None:
    @given(pairs(kind))
    @example((np.full(9, 2.0**-140, KINDS[kind]), np.full(9, 3 * 2.0**-140, KINDS[kind])))
    @example((np.full(3, 1e-12, KINDS[kind]), np.full(3, 1 / 3, KINDS[kind])))
    def holds(both: tuple[np.ndarray, np.ndarray]) -> None:
        true, allowed = oracle.rational(*both, metric), bound(Formula(form, kind), *both, metric)
        for found in evaluate(*both, metric, form):
            assert found.dtype == kind
            assert abs(Fraction(float(found)) - true) <= allowed

    holds()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("metric", "form"), CASES)
def test_the_bound_is_nearly_reached(metric: str, form: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """1 and many terms just below half its last digit: each is lost, and half the bound would be too small."""
    small = np.sqrt(0.99 * UNITS[kind])
    x = np.array([1] + [small] * 15, KINDS[kind])
    q = {"l2": -x, "ip": x, "cosine": np.eye(1, 16, dtype=KINDS[kind])[0]}[metric]
    off = abs(
        Fraction(float(evaluate(x, q, metric, form)[5 if metric == "cosine" else 0])) - oracle.rational(x, q, metric)
    )
    assert off <= bound(Formula(form, kind), x, q, metric)
    inner: Callable[[int, float], float] = rounding.gamma
    share = 0.15 if metric == "cosine" else 0.5  # its two norms cannot both err against the product
    monkeypatch.setattr(rounding, "gamma", lambda n, u: share * inner(n, u))
    assert off > bound(Formula(form, kind), x, q, metric)


def eleven_bits(values: np.ndarray) -> np.ndarray:
    mantissa, exponent = np.frexp(values)
    return np.ldexp(np.rint(mantissa * 2**11) / np.float32(2**11), exponent)


@given(pairs("float32"), st.sampled_from(("l2", "ip")))
@example((np.array([1 + 2.0**-11 - 2.0**-23], np.float32),) * 2, "ip")
def test_tf32_rounds_the_factors_first(both: tuple[np.ndarray, np.ndarray], metric: str) -> None:
    x, q = both
    rounded = products(eleven_bits(x), eleven_bits(q))
    if metric == "l2":
        rounded = [(a - 2 * b) + c for a, b, c in zip(sums(x * x), rounded, sums(q * q), strict=True)]
    allowed = bound(Formula("expanded", "tf32"), x, q, metric)
    assert all(abs(Fraction(float(found)) - oracle.rational(x, q, metric)) <= allowed for found in rounded)


def test_tf32_needs_a_bound_of_its_own() -> None:
    x = np.array([1 + 2.0**-11 - 2.0**-23], np.float32)
    assert eleven_bits(x) == 1
    off = oracle.rational(x, x, "ip") - 1
    assert off > 1000 * bound(Formula("expanded"), x, x, "ip")
    assert off > bound(Formula("expanded", "tf32"), x, x, "ip") / 2


def test_the_definition_allows_nothing() -> None:
    for metric in ("l2", "ip", "cosine"):
        allowed = DEFINITION.bound(metric, 5, np.ones((2, 3)), np.ones(3), np.ones((2, 1)))
        np.testing.assert_array_equal(allowed, np.zeros((2, 3)))
    assert (str(DEFINITION), str(Formula("expanded", "tf32"))) == ("definition", "expanded tf32")


def test_gamma() -> None:
    assert rounding.gamma(3, 2.0**-24) == 3 / (2**24 - 3)
    assert rounding.gamma(2047, 2.0**-11) == 2047
    for n in (2048, 5000):
        assert rounding.gamma(n, 2.0**-11) == np.inf
    one = np.ones(1)
    for metric, form in CASES:
        assert 0.0009 < Formula(form, "tf32").bound(metric, 4000, one, one, one) < 0.01
        assert Formula(form, "float32").bound(metric, 4000, one, one, one) < 0.01


@given(
    st.lists(
        st.one_of(st.sampled_from([0.0, 5e-324, 1e-308, 1e-170, 1e-145, 1.0, 3e100]), st.floats(-1e9, 1e9)),
        min_size=1,
        max_size=8,
    )
)
def test_norms_are_right_also_where_squares_underflow(values: list[float]) -> None:
    exact = oracle.root(oracle.rational(values, values, "ip"))
    assume(exact == 0 or exact > Fraction(1, 10**300))  # below it float64 itself has fewer digits
    found = Fraction(float(rounding.norms(np.array([values]))[0]))
    assert abs(found - exact) <= exact * (len(values) + 4) / 2**53


def test_norms_of_many_rows() -> None:
    rows = np.random.default_rng(0).integers(-100, 100, (2 * 4096 + 1, 3)).astype(np.int8)
    np.testing.assert_allclose(rounding.norms(rows), np.linalg.norm(rows.astype(float), axis=1), rtol=1e-15)


@pytest.mark.parametrize("metric", ["l2", "ip", "cosine"])
@pytest.mark.parametrize("form", ["difference", "rooted", "expanded"])
def test_where_rounding_may_make_anything_of_a_sum_the_bound_is_infinite_and_a_number(form: str, metric: str) -> None:
    zero = np.zeros(2)
    for dim in (1 << 24, 1 << 30):
        assert (Formula(form).bound(metric, dim, zero, zero, zero) == np.inf).all()
    assert (Formula(form).bound(metric, MAX_DIM, zero + 1, zero + 1, zero + 1) < 8).all()
