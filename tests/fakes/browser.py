"""A real browser that reaches this machine only, and what a page must keep in it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

PACKAGES = ["chromium", "fonts-dejavu-core"]
_INSTALL_S = 600
# Names are resolved nowhere but here, so that a page which needs the internet fails.
_ARGUMENTS = [
    "--no-sandbox",
    "--disable-background-networking",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]

_AUDIT = Path(__file__).with_name("audit.js").read_text()


def find_chromium() -> str:
    """Return the program's path; as root with apt-get, install it first where it is missing. Skips the test without."""
    program = shutil.which("chromium")
    if program is None and os.geteuid() == 0 and shutil.which("apt-get"):
        install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *PACKAGES]
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in (["apt-get", "update", "-qq"], install):
            subprocess.run(command, env=environment, capture_output=True, timeout=_INSTALL_S, check=False)
        program = shutil.which("chromium")
    if program is None:
        pytest.skip(f"chromium is missing: apt-get install {' '.join(PACKAGES)}")
    return program


@dataclass
class Visit:
    """A person at a browser.

    Attributes:
        page: The page.
        origin: Where it may load from.
        faults: Console errors, exceptions, requests that left the origin.
    """

    page: Page
    origin: str
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", lambda message: self._note(message.type == "error", f"console: {message.text}"))
        self.page.on("pageerror", lambda error: self._note(True, f"exception: {error}"))
        self.page.on("request", lambda request: self._note(not request.url.startswith(self.origin), request.url))

    def _note(self, bad: bool, words: str) -> None:
        if bad:
            self.faults.append(words)

    def audit(self) -> list[str]:
        """Return what an accessibility checker would complain of, and whether the page is wider than the screen."""
        found: list[str] = self.page.evaluate(_AUDIT)
        width = self.page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
        return found + ([f"{width[0]} px wide on {width[1]}"] if width[0] > width[1] else [])

    def shoot(self, folder: Path, name: str) -> Path:
        """Save a picture of the whole page."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{name}.png"
        self.page.screenshot(path=path, full_page=True)
        return path


@contextmanager
def running_browser() -> Iterator[Browser]:
    """Run Debian's Chromium, without a window, until the context ends."""
    program = find_chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=_ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def visit(browser: Browser, origin: str, **settings: Any) -> Iterator[Visit]:
    """Open a page of its own, with no cookies.

    Args:
        browser: The browser.
        origin: Where everything must come from.
        settings: Of the browser context, for example ``viewport`` and ``color_scheme``.
    """
    context: BrowserContext = browser.new_context(**{"timezone_id": "Europe/Berlin", **settings})
    context.set_default_timeout(20_000)
    try:
        yield Visit(context.new_page(), origin)
    finally:
        context.close()
