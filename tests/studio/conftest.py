"""A Chromium, pages in it, and services with pages."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from hanji.studio.pages import add_pages
from serving.conftest import database, tokenizer, trained  # noqa: F401  fixtures
from serving.running import Running, running

CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
Open = Callable[..., Page]
with_pages: Callable[..., AbstractContextManager[Running]] = partial(running, prepare=add_pages)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """The system's Chromium; what asks for it skips where there is none."""
    found = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if found is None:
        pytest.skip(f"there is no browser ({', '.join(CHROMIUM)}): apt install chromium")
    # root, as in a container, has no sandbox of Chromium's
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium: Browser) -> Iterator[Open]:
    """Opens pages of a service: `open_page(one, locale="ko-KR")`.

    At the end, nothing was asked of another host, no script failed, and no policy had to stop anything.
    """
    wrong: list[str] = []
    with ExitStack() as stack:

        def open_one(one: Running, **options: Any) -> Page:
            context = chromium.new_context(**{"locale": "en-US", **options})
            stack.callback(context.close)
            page = context.new_page()
            page.set_default_timeout(20_000)
            host = urlsplit(one.url).netloc
            page.on("request", lambda asked: note(urlsplit(asked.url).netloc != host, asked.url))
            page.on("pageerror", lambda error: wrong.append(str(error)))
            page.on("console", lambda said: note("Content Security Policy" in said.text, said.text))
            page.goto(one.url)
            page.wait_for_selector("#model:not([disabled]), #notice:not([hidden]), #key[open]")
            return page

        def note(is_wrong: bool, what: str) -> None:
            if is_wrong:
                wrong.append(what)

        yield open_one
    assert not wrong
