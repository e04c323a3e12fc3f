"""The plan of batches, the cache, and runs that are killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from knnscope.encoders import embed
from knnscope.encoders.onnx_encoder import OnnxEncoder, plan
from tests import processes
from tests.processes import LONG


@given(st.lists(st.integers(1, 300), max_size=200), st.integers(1, 2000))
def test_every_text_is_in_one_batch_within_the_budget(lengths: list[int], budget: int) -> None:
    batches = plan(lengths, budget)
    assert sorted(int(i) for b in batches for i in b) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) * max(lengths[i] for i in batch) <= max(budget, lengths[batch[0]])
    spread = [lengths[i] for b in batches for i in b]
    assert spread == sorted(lengths, reverse=True)


def test_order_is_restored_and_nothing_is_encoded_twice(
    shipped_encoder: OnnxEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = shipped_encoder
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
import os, sys
from knnscope.encoders import embed, models, onnx_encoder
model = models.resolve(models.DEFAULT)
encoder = onnx_encoder.OnnxEncoder(model, model.recipe, threads=1)
texts = [f"passage {i} " + "about many things " * (i * 37 % 19) for i in range(175)]
def fill(name, ends):
    os.environ["KNNSCOPE_HOME"] = name
    log = os.open(f"{name}.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
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
    embed.fill(cache, encoder, texts, "texts")
    import numpy
    numpy.save(f"{name}.npy", embed.read(cache, texts))
    if not ends:
        os.read(0, 1)
for line in iter(sys.stdin.readline, ""):
    name, ends = line.split()
    child = os.fork()
    if not child:
        fill(name, ends == "ends")
        os._exit(0)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
"""A process for each line; the model, which takes longest, is loaded once."""


def counts(log: Path, word: str) -> list[int]:
    return (
        [int(line.split()[1]) for line in log.read_text().splitlines() if line.startswith(word)] if log.exists() else []
    )


@pytest.mark.parametrize("marks", [(1, 90), pytest.param((1, 50, 110), marks=pytest.mark.slow)])
def test_killed_again_and_again_it_ends_with_the_same_bits_and_no_work_twice(
    tmp_path: Path,
    child_environment: dict[str, str],
    popen: Callable[..., subprocess.Popen[str]],
    marks: tuple[int, ...],
) -> None:
    """Each time when so many texts are done."""
    driver = popen(
        [sys.executable, "-c", DRIVER], cwd=tmp_path, env=child_environment,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert driver.stdin
    assert driver.stdout

    def run(name: str, until: int | None) -> int:
        # one that is to be killed does not end before, however long it takes to kill it
        print(name, "ends" if until is None else "stays", file=driver.stdin, flush=True)
        child = int(driver.stdout.readline())
        if until is not None:
            log = tmp_path / f"{name}.log"
            processes.until(lambda: sum(counts(log, "done")) >= until or processes.gone(child), "so many are done")
            time.sleep(chance.random() * 0.05)
            os.kill(child, signal.SIGKILL)
        return int(driver.stdout.readline())

    chance = random.Random(1)
    assert run("alone", None) == 0
    kills = [run("killed", mark) for mark in marks]
    assert kills == [-signal.SIGKILL] * len(marks)
    assert run("killed", None) == 0
    driver.communicate(timeout=LONG)
    alone, killed = (np.load(tmp_path / f"{name}.npy") for name in ("alone", "killed"))
    np.testing.assert_array_equal(alone.view(np.uint32), killed.view(np.uint32))
    needed, started = counts(tmp_path / "alone.log", "done"), counts(tmp_path / "killed.log", "start")
    assert sum(counts(tmp_path / "killed.log", "done")) <= sum(needed)
    assert len(needed) <= len(started) <= len(needed) + len(kills), "a kill costs at most the batch under way"
    assert os.path.exists(tmp_path / "killed" / "vectors")
