"""A process that changes an index in a folder, and is killed at a moment that nobody chooses: what it acknowledged is there.

    python -m tests.certified.saved.killed --times 200 [--seed 0]

The child prints what it is about to do, and, when the call has returned, that it is done. The parent kills it with SIGKILL, reads the folder with a fresh
load, and holds it against what was printed: all that was acknowledged, and of the one change that was under way all or nothing. Answers are held
against the definition. Each child goes on where the one before was killed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from knnscope.certified.index import ExactIndex
from knnscope.certified.saved import folder as folders
from knnscope.search import definition

DIM = 8
MOST = 3000
"""Rows from which on more are removed than added."""
JOURNALLED = 30_000
"""Bytes of a journal after which the child's index writes segments, so that it does while it changes."""
Model = dict[int, int]
"""By id the number that the row is made of."""


def row(number: int) -> np.ndarray:
    """Some components small whole numbers, so that there are ties."""
    made = np.random.default_rng(number).integers(-2, 3, DIM).astype(np.float32)
    made[0] = number % 1009
    return made


def rows(of: list[int]) -> np.ndarray:
    return np.array([row(number) for number in of], dtype=np.float32).reshape(-1, DIM)


def applied(model: Model, step: dict[str, Any]) -> Model:
    """The model after a step."""
    made = dict(model)
    for called, number in zip(step.get("ids", ()), step.get("rows", [None] * len(step.get("ids", ()))), strict=True):
        made.pop(called, None)
        if number is not None:
            made[called] = number
    return made


def change(folder: Path, seed: int, model: Model) -> None:
    """What the child does, until it is killed."""
    picks = random.Random(seed)
    folders.JOURNALLED = JOURNALLED
    index = ExactIndex.load(folder, writable=True, threads=2)
    following = max([*model, 0]) + 1
    while True:
        known = list(model)
        what = picks.choice(["add", "add", "add", "update", "remove", "remove", "save", "merge"])
        count = picks.choice([1, 1, 1, 2, 10, 300])
        if what == "remove" and len(model) < MOST // 2:
            what = "add"
        if what == "add" and len(model) > MOST:
            what = "remove"
        step: dict[str, Any] = {"what": what}
        if what == "add":
            step["ids"] = [following + i for i in range(count)]
            following += count
        elif what in ("update", "remove"):
            step["ids"] = picks.sample(known, min(count, len(known)))
        if what in ("add", "update"):
            step["rows"] = [picks.randrange(10**6) for _ in step["ids"]]
        print(json.dumps(step), flush=True)
        if what == "add":
            index.add(rows(step["rows"]), ids=step["ids"])
        elif what == "update":
            index.update(step["ids"], rows(step["rows"]))
        elif what == "remove":
            index.remove(step["ids"])
        elif what == "save":
            index.save()
        else:
            index.merge()
        print("done", flush=True)
        model = applied(model, step)


def held(folder: Path, models: list[Model], whole: bool) -> Model:
    """The one of the models that the folder holds; answers are right.

    Raises:
        AssertionError: it holds none of them.
    """
    index = ExactIndex.load(folder, mmap=not whole, verify=whole)
    ids = index.ids.tolist()
    model = next((model for model in models if sorted(model) == sorted(ids)), None)
    assert model is not None, f"{len(ids)} rows, and not {[len(one) for one in models]}"
    found = index.get(ids)
    fitting = [one for one in models if sorted(one) == sorted(ids) and (rows([one[i] for i in ids]) == found).all()]
    assert fitting, "rows are not as they were given"
    if ids:
        names = sorted(ids)
        queries = rows([names[0], names[-1], 5])
        expected = definition.search(rows([fitting[0][i] for i in names]), queries, min(10, len(names)), "l2")
        answer = index.search(queries, min(10, len(names)))
        assert (np.array(names)[expected.ids] == answer.ids).all()
        assert (expected.distances == answer.distances).all()
    return fitting[0]


def kill_once(folder: Path, seed: int, model: Model, whole: bool) -> tuple[Model, int]:
    """Let a child change the folder and kill it; what the folder holds then, and how many changes were acknowledged."""
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.certified.saved.killed", "--child", str(folder), "--seed", str(seed)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdin
    assert child.stdout
    child.stdin.write(json.dumps(list(model.items())))
    child.stdin.close()
    first = child.stdout.readline()  # it has loaded the folder
    time.sleep(0)
    timer = threading.Timer(random.Random(seed).uniform(0, 0.6) ** 2, lambda: os.kill(child.pid, signal.SIGKILL))
    timer.start()
    lines = [first, *child.stdout]
    timer.join()
    assert child.wait() == -signal.SIGKILL, f"the child ended by itself: {child.returncode}"
    child.stdout.close()
    models, done = [model], 0
    for line in lines:
        if not line.endswith("\n"):  # half a line: it had not begun
            break
        if line == "done\n":
            models, done = models[-1:], done + 1
        else:
            models = [models[-1], applied(models[-1], json.loads(line))]
    return held(folder, models, whole), done


def kill(folder: Path, times: int, seed: int) -> Counter[str]:
    """So often, and counted."""
    model: Model = {i: i for i in range(500)}
    ExactIndex(rows(list(model.values())), ids=list(model)).save(folder)
    seen = Counter[str]()
    for number in range(times):
        model, done = kill_once(folder, seed + number, model, number % 3 == 0)
        seen.update(kills=1, acknowledged=done, rows=len(model))
        seen["journals"] = max(seen["journals"], max(int(p.name[8:]) for p in folder.glob("journal-*")))
        seen["segments"] = max(seen["segments"], max(int(p.name[8:]) for p in folder.glob("segment-*")))
    return seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        change(args.child, args.seed, dict(map(tuple, json.load(sys.stdin))))
    with tempfile.TemporaryDirectory() as folder:
        print(dict(kill(Path(folder, "index"), args.times, args.seed)))


if __name__ == "__main__":
    main()
