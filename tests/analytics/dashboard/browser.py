"""The system's Chromium, driven by Playwright; saves screenshots."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.analytics.kit import ROOT

PICTURES = ROOT / ".cache" / "test-artefacts" / "dashboard"
_FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    " --disable-component-update --disable-sync"
)
expect.set_options(timeout=60_000)  # a busy machine draws slowly
_NAMES = ("chromium", "chromium-browser", "google-chrome")


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser; without one, skips, or fails with CI=true."""
    program = next(filter(None, map(shutil.which, _NAMES)), None)
    if program is None:
        missing = f"none of {', '.join(_NAMES)} is installed: apt-get install chromium"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(missing)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=_FLAGS.split())
        try:
            yield browser
        finally:
            browser.close()


class Reader:
    """An open page, with its errors and the hosts it requested."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.faults: list[str] = []
        self.hosts: set[str] = set()
        self.page: Page = context.new_page()
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("console", lambda said: self.faults.append(said.text) if said.type == "error" else None)
        self.page.on("request", lambda request: self.hosts.add(request.url.split("/")[2]))
        self.page.goto(url)
        self.page.wait_for_selector("main[aria-busy=false]")

    def picture(self, name: str) -> Path:
        """Save a screenshot."""
        PICTURES.mkdir(parents=True, exist_ok=True)
        path = PICTURES / f"{name}.png"
        self.page.screenshot(path=path)
        return path

    def totals(self) -> dict[str, str]:
        """The totals by title."""
        entries = self.page.locator("#totals > div").all_inner_texts()
        return {title: value for title, value, *_ in (entry.split("\n") for entry in entries)}

    def calls(self) -> int:
        return self.page.locator("#calls tbody tr").count()
