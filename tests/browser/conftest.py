"""A Chromium that reaches no network, and every page opened in it once a session."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser.pages import PAGES

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ("--disable-gpu", "--disable-background-networking", "--disable-component-update", "--no-first-run")
Open = Callable[..., Page]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The Chromium of this machine (CHROMIUM names another); without one the tests fail."""
    program = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    assert program, "no Chromium here: apt-get install chromium, or name it with CHROMIUM"
    sandbox = ("--no-sandbox",) if os.geteuid() == 0 else ()
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=[*FLAGS, *sandbox])
        yield started
        started.close()


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The file of a page, by its name in PAGES; made when it is first asked for."""
    made: dict[str, Path] = {}

    def file(name: str) -> Path:
        if name not in made:
            made[name] = PAGES[name](tmp_path_factory.mktemp("page"))
        return made[name]

    return file


@pytest.fixture
def opened(browser: Browser, files: Callable[[str], Path]) -> Iterator[Open]:
    """Opens a page by its name: ``opened(name, width=360)``; other keywords go to Playwright's context.

    At the end of the test, it fails if the console had an error, or anything but the file itself was asked for.
    """
    contexts, wrong = [], []

    def open_page(name: str, width: int = 1600, height: int = 1000, **options: Any) -> Page:
        context = browser.new_context(viewport={"width": width, "height": height}, offline=True, **options)
        contexts.append(context)
        address = files(name).as_uri()
        context.on("request", lambda r: None if _own(r.url, address) else wrong.append(f"asks for {r.url}"))
        page = context.new_page()
        page.on("console", lambda m: wrong.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(address)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not wrong


def _own(url: str, address: str) -> bool:
    """The page itself, or what it brings along."""
    return url.partition("#")[0] == address or url.startswith(("data:", "blob:"))
