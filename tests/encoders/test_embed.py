"""The plan of batches, the cache, and runs that are killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from knnscope.encoders import embed, models
from knnscope.encoders.onnx_encoder import OnnxEncoder, plan
from tests.processes import LONG


@given(st.lists(st.integers(1, 300), max_size=200), st.integers(1, 2000))
def test_every_text_is_in_one_batch_within_the_budget(lengths: list[int], budget: int) -> None:
    batches = plan(lengths, budget)
    assert sorted(int(i) for b in batches for i in b) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) * max(lengths[i] for i in batch) <= max(budget, lengths[batch[0]])
    spread = [lengths[i] for b in batches for i in b]
    assert spread == sorted(lengths, reverse=True)


@pytest.fixture(scope="module")
def encoder() -> OnnxEncoder:
    model = models.resolve(models.DEFAULT)
    return OnnxEncoder(model, model.recipe)


def test_order_is_restored_and_nothing_is_encoded_twice(encoder: OnnxEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embed, "WINDOW", 16)
    texts = [f"text {'word ' * (i * 7 % 23)}{i % 30}" for i in range(50)]
    cache = embed.open_cache(encoder)
    seen: list[int] = []
    inner = encoder.encode_tokens
    monkeypatch.setattr(encoder, "encode_tokens", lambda tokens: seen.append(len(tokens)) or inner(tokens))
    first = embed.fill(cache, encoder, texts[:20], "part")
    both = embed.fill(cache, encoder, texts, "all")
    assert (first.encoded, both.texts, both.encoded) == (20, 50, len(set(texts)) - 20)
    assert sum(seen) == len(set(texts))
    assert embed.fill(cache, encoder, texts, "again").encoded == 0
    found = embed.read(cache, texts)
    one_by_one = np.concatenate([inner(encoder.tokenizer([t])) for t in texts])
    np.testing.assert_allclose(found, one_by_one, rtol=0, atol=1e-5)
    cache.close()


DRIVER = """
import os, signal, sys
from knnscope.encoders import embed, models, onnx_encoder
model = models.resolve(models.DEFAULT)
encoder = onnx_encoder.OnnxEncoder(model, model.recipe, threads=1)
log = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
cache = embed.open_cache(encoder)
inner = encoder.encode_tokens
def logged(tokens):
    os.write(log, b"start %d\\n" % len(tokens))
    return inner(tokens)
encoder.encode_tokens = logged
add = cache.add
def committed(digests, values):
    add(digests, values)
    os.write(log, b"done %d\\n" % len(digests))
cache.add = committed
texts = [f"passage {i} " + "about many things " * (i * 37 % 19) for i in range(175)]
embed.fill(cache, encoder, texts, "texts")
import numpy
numpy.save(sys.argv[2], embed.read(cache, texts))
if sys.argv[3] == "stay":
    signal.pause()
"""


def counts(log: Path, word: str) -> list[int]:
    return (
        [int(line.split()[1]) for line in log.read_text().splitlines() if line.startswith(word)] if log.exists() else []
    )


@pytest.mark.parametrize("marks", [(1, 90), pytest.param((1, 50, 110), marks=pytest.mark.slow)])
def test_killed_again_and_again_it_ends_with_the_same_bits_and_no_work_twice(
    tmp_path: Path, child_environment: dict[str, str], marks: tuple[int, ...]
) -> None:
    """Each time when so many texts are done."""

    def run(name: str, until: int | None) -> int:
        environment = {**child_environment, "KNNSCOPE_HOME": str(tmp_path / name)}
        files = str(tmp_path / f"{name}.log"), str(tmp_path / f"{name}.npy")
        # one that is to be killed does not end before, however long it takes to kill it
        command = [sys.executable, "-c", DRIVER, *files, "end" if until is None else "stay"]
        process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        while until is not None and process.poll() is None and sum(counts(tmp_path / f"{name}.log", "done")) < until:
            time.sleep(0.002)
        if until is not None:
            time.sleep(chance.random() * 0.05)
            process.send_signal(signal.SIGKILL)
        return process.wait(timeout=LONG)

    chance = random.Random(1)
    assert run("alone", None) == 0
    kills = [run("killed", mark) for mark in marks]
    assert kills == [-signal.SIGKILL] * len(marks)
    assert run("killed", None) == 0
    alone, killed = (np.load(tmp_path / f"{name}.npy") for name in ("alone", "killed"))
    np.testing.assert_array_equal(alone.view(np.uint32), killed.view(np.uint32))
    needed, started = counts(tmp_path / "alone.log", "done"), counts(tmp_path / "killed.log", "start")
    assert sum(counts(tmp_path / "killed.log", "done")) <= sum(needed)
    assert len(needed) <= len(started) <= len(needed) + len(kills), "a kill costs at most the batch under way"
    assert os.path.exists(tmp_path / "killed" / "vectors")
