"""What must hold of a trace that nobody should write, once it is read."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from knnscope.errors import KnnscopeError
from knnscope.trace import names, reader
from knnscope.trace.columns import LARGEST
from knnscope.trace.explain import explain
from knnscope.trace.model import Trace

Write = Callable[[bytes], Path]


def sound(trace: Trace) -> None:
    """What every trace promises, whatever it was read from."""
    for events in (trace.kernels, trace.copies, trace.calls, trace.ranges):
        columns = {name: getattr(events, name) for name in events.__dataclass_fields__}
        for name, column in columns.items():
            assert column.shape == (len(events),), f"{type(events).__name__}.{name}"
            assert column.dtype.kind in "ib", f"{type(events).__name__}.{name} is {column.dtype}"
        assert (np.diff(events.start) >= 0).all()
        assert (events.start >= 0).all()
        assert (events.end >= events.start).all()
        assert (events.duration < reader.LONGEST).all()
        assert (events.name >= 0).all()
        assert (events.name < len(trace.names)).all()
    for events in (trace.kernels, trace.copies):
        assert (events.call >= -1).all()
        assert (events.call < len(trace.calls)).all()
        assert (events.lane >= 0).all()
        assert (events.lane < len(trace.lanes)).all()
    assert (trace.copies.nbytes >= 0).all()
    assert (trace.copies.nbytes <= LARGEST).all()
    assert (trace.ranges.depth >= 0).all()
    low, high = trace.span
    assert 0 <= low <= high
    assert all(isinstance(name, str) and len(name) <= names.NAME for name in trace.names)
    assert len(set(trace.names)) == len(trace.names)
    assert np.isfinite(trace.gpu.bandwidth)
    assert trace.gpu.name
    assert trace.recorder


def explained(trace: Trace) -> None:
    """Whatever was read can be explained, and no finding saves more than its phase takes."""
    for finding in explain(trace).findings:
        assert 0 < finding.share <= 1
        assert finding.sql


def survive(path: Path) -> Trace | None:
    """Read it: the trace, or nothing where it was refused; the file and its folder stay as they are."""
    before, beside = hashlib.sha256(path.read_bytes()).digest(), sorted(os.listdir(path.parent))
    trace = None
    try:
        trace = reader.read(path)
    except KnnscopeError as error:
        assert str(path) in str(error)
    else:
        sound(trace)
        if before[0] % 32 == 0:  # some of the thousands
            explained(trace)
    assert hashlib.sha256(path.read_bytes()).digest() == before
    assert sorted(os.listdir(path.parent)) == beside
    return trace


def accepted(path: Path) -> Trace:
    trace = survive(path)
    assert trace is not None, "this trace has a part that can be read"
    return trace
