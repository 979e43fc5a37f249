"""What the tests of the browser application stand on: the built page, a server, and a real Chromium."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import ModuleType
from typing import Any

import pytest
import uvicorn
from playwright.sync_api import Browser, Page, Playwright, expect, sync_playwright

from semascope.server import Served, create_app

ROOT = Path(__file__).parents[1]
PHONE = {"width": 390, "height": 844}
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]
MORE_OF_THE_SAME = ["li:nth-child(n + 4)", "[role=listitem]:nth-child(n + 4)", "tbody tr:nth-child(n + 4)"]

Open = Callable[..., Page]
"""Opens a page of the run `mine`, by what follows its name in the address; options are those of a browser context."""


def web_build() -> ModuleType:
    """web/build.py, which belongs to no package."""
    described = importlib.util.spec_from_file_location("web_build", ROOT / "web/build.py")
    assert described is not None
    assert described.loader is not None
    module = importlib.util.module_from_spec(described)
    described.loader.exec_module(module)
    return module


def build_page() -> ModuleType:
    """Build the page from its sources as they are now, with the tools that tests need beside it."""
    build = web_build()
    try:
        build.install_tools()
        build.build()
    except (subprocess.CalledProcessError, OSError, ImportError) as problem:
        _cannot_be_tested(f"the page cannot be built ({problem})")
    return build


def chromium(playwright: Playwright) -> str:
    """The executable of a Chromium: one that is installed, or else the one that Playwright downloaded."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    if not Path(playwright.chromium.executable_path).exists():
        _cannot_be_tested("there is no Chromium: `make chromium` installs one")
    return playwright.chromium.executable_path


def _cannot_be_tested(why: str) -> None:
    """On one's own machine, what cannot be tested is skipped; where a change is judged, nothing may be."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(why)


@contextmanager
def serving(*runs: Path) -> Iterator[str]:
    """The address of a server of some runs, which ends afterwards."""
    server = uvicorn.Server(uvicorn.Config(create_app(Served(runs)), port=0, log_level="warning", ws="none"))
    with server.config.bind_socket() as listening:
        thread = Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@contextmanager
def browsing() -> Iterator[Browser]:
    """A Chromium, for the page as its sources are now."""
    build_page()
    # Where many tests run at once, a page may take its time.
    expect.set_options(timeout=20_000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(playwright), args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def opening(browser: Browser, address: str) -> Iterator[Open]:
    """What opens pages of a server; afterwards no console may have seen an error."""
    errors: list[str] = []
    contexts: list[Any] = []

    def opened(path: str = "", *, at: str = address, toured: bool = True, **options: Any) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
        contexts.append(context)
        if toured:
            context.add_init_script("localStorage.semascope ??= JSON.stringify({ toured: true })")
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"{at}/#/mine{path}")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert errors == []


def violations(page: Page) -> list[tuple[str, str]]:
    """What axe finds inaccessible, with the first piece of the page where it does; the page bypasses its policy."""
    # What comes into sight is faint at first.
    expect(page.get_by_text("Loading …")).to_have_count(0)
    page.evaluate((ROOT / "web/node_modules/axe-core/axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate(f"axe.run({{ exclude: {MORE_OF_THE_SAME} }}, {{ runOnly: {RULES} }})")
    return [(one["id"], one["nodes"][0]["html"]) for one in found["violations"]]


def width(page: Page) -> int:
    """How wide the page is, with what would have to be scrolled to."""
    return page.evaluate("document.documentElement.scrollWidth")


@contextmanager
def serving_files(folder: Path) -> Iterator[str]:
    """The address of a server that knows nothing but the files of a folder."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
