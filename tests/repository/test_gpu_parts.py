"""How tests of a GPU are shared out between processes, where minutes are lent."""

from __future__ import annotations

import pytest

from tests.gpu import parts


@pytest.mark.parametrize(("tests", "at_once"), [(1, 14), (24, 12), (24, 5), (373, 14), (0, 8)])
def test_every_test_is_in_one_part_and_nobody_is_idle(tests: int, at_once: int) -> None:
    asked = [str(number) for number in range(tests)]
    shared = parts.shares(asked, at_once)
    assert sorted(name for part in shared for name in part) == sorted(asked)
    assert len(shared) >= min(at_once, tests)
    assert all(0 < len(part) <= parts.TOGETHER for part in shared)
    assert max(map(len, shared), default=0) - min(map(len, shared), default=0) <= 1
