"""The string column behaves like a list of strings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knnscope.strings import Strings

any_text = st.text(st.characters())  # surrogates too


@given(st.lists(any_text, max_size=20), st.data())
def test_like_a_list(values: list[str], data: st.DataObject) -> None:
    column = Strings(values)
    assert len(column) == len(values)
    assert list(column) == values
    assert column == values
    assert column[:] == values
    assert column[1:7:2] == values[1:7:2]
    if values:
        i = data.draw(st.integers(-len(values), len(values) - 1))
        assert column[i] == values[i]
    for outside in (len(values), -len(values) - 1):
        with pytest.raises(IndexError):
            column[outside]


def test_a_string_costs_its_bytes_and_eight() -> None:
    assert Strings(["ab", "é", ""]).nbytes == 2 + 2 + 3 * 8
