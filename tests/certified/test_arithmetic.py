"""Whatever rounding mode or flushing a library left behind: answers equal those of plain Python in a clean thread, to the last bit."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from knnscope.arithmetic import Ieee
from knnscope.certified.cpu import dispatch
from knnscope.certified.cpu.plain import Plain
from knnscope.certified.index import ExactIndex
from knnscope.certified.scanner import Request
from knnscope.search import definition, reference
from tests import oracle
from tests.test_arithmetic import DEFAULT, MODES, Register

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="sets the register of x86-64")
ROWS, DIM, QUERIES, K = 260, 12, 3, 10


def normal(random: np.random.Generator) -> np.ndarray:
    return random.standard_normal((ROWS + QUERIES, DIM))


DATA: dict[str, tuple[str, Callable[[np.random.Generator], np.ndarray]]] = {
    "normal": ("float32", normal),
    "subnormal float16": ("float16", lambda r: normal(r) * 1e-6),
    "subnormal float32": ("float32", lambda r: normal(r) * 1e-39),
    "some subnormal": ("float32", lambda r: np.where(r.random((ROWS + QUERIES, DIM)) < 0.9, 0, normal(r) * 1e-39)),
    "one large": ("float32", lambda r: normal(r) * np.where(np.arange(ROWS + QUERIES) == 7, 1.0, 1e-40)[:, None]),
    "near": ("float32", lambda r: normal(r)[:1] + normal(r) * 1e-7),
    "ties": ("float32", lambda r: r.integers(-1, 2, (ROWS + QUERIES, DIM))),
    "squares that underflow": ("float64", lambda r: normal(r) * 1e-160),
    "subnormal float64": ("float64", lambda r: normal(r) * 1e-310),
    "large": ("float64", lambda r: normal(r) * 1e150),
    "whole": ("int8", lambda r: normal(r) * 30),
}


@pytest.fixture
def register() -> Iterator[Register]:
    register = Register()
    yield register
    register.set(DEFAULT)


@pytest.mark.parametrize("metric", definition.METRICS)
@pytest.mark.parametrize("data", DATA)
def test_answers_do_not_depend_on_what_a_library_set(register: Register, data: str, metric: str) -> None:
    dtype, make = DATA[data]
    both = make(np.random.default_rng(1)).astype(dtype)
    rows, queries = both[:ROWS], both[ROWS:]
    expected = [oracle.nearest(rows, query, K, metric) for query in queries]
    built = {
        (isa, threads): ExactIndex(rows, metric, threads=threads, device=f"cpu:{isa}")
        for isa in dispatch.available()
        for threads in (1, 2)
    }
    for name, mode in (*MODES.items(), ("NumPy raises", 0)):
        with np.errstate(all="raise" if mode == 0 else "warn"):
            register.set(DEFAULT | mode)
            answers = {
                "definition": definition.search(rows, queries, K, metric),
                "two threads": definition.search(
                    np.tile(rows, (1, 1)), np.repeat(queries, 8, axis=0), K, metric, threads=2
                ),
                "filter": reference.answers(rows, queries, K, metric),
            }
            for (isa, threads), index in built.items():
                answers[f"{isa}, {threads}"] = index.search(queries, K, threads=threads)  # type: ignore[assignment]
                answers[f"{isa}, at once"] = index.search(queries, K)  # type: ignore[assignment]
                later = ExactIndex(rows, metric, threads=threads, device=f"cpu:{isa}")
                answers[f"{isa}, {threads}, built so"] = later.search(queries, K, threads=threads)  # type: ignore[assignment]
            with np.errstate(all="ignore"), Ieee():
                asked = Request(queries.astype(np.float64), K, np.empty((0, ROWS), bool))
                answers["plain"] = Plain(rows, np.empty(0, np.int64), metric).nearest(asked)  # type: ignore[assignment]
            after = register.get()
            register.set(DEFAULT)
        assert after == DEFAULT | mode
        for who, found in answers.items():
            every = 8 if who == "two threads" else 1
            for number in range(QUERIES):
                one = found.ids[number * every].tolist(), found.distances[number * every].tolist()
                assert one == expected[number], (name, who)


@pytest.mark.parametrize("device", [f"cpu:{isa}" for isa in dispatch.available()])
@pytest.mark.parametrize("count", [2, 5000])
def test_no_answer_is_minus_zero(device: str, count: int) -> None:
    """A cosine that underflows is 0 from either side, in every kind of search."""
    rows = np.tile([[-5e-324, 1e10], [5e-324, 1e10], [-1.0, 0.0], [0.0, 0.0]], (count // 2, 1))
    query = np.array([[1.0, 0.0]])
    expected = definition.search(rows, query, len(rows), "cosine")
    index = ExactIndex(rows, "cosine", device=device).wait()
    for found in (expected, index.search(query, len(rows)), index.radius_search(query, -1.0)):
        values = np.ravel(found.distances)
        assert (values == 0).sum() == len(rows) * 3 // 4
        assert not np.signbit(values[values == 0]).any()
