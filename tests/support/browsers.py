"""A real Chromium for browser tests."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

HOW_TO_GET_ONE = (
    "browser tests need Chromium: `apt-get install chromium`, or set LICENZY_TEST_CHROMIUM to its path"
)
_NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "chrome")
_ARGS = [
    "--no-sandbox",  # Chromium refuses to run as root otherwise, which containers do.
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def find_chromium() -> str | None:
    """The path of a Chromium on this machine."""
    given = os.environ.get("LICENZY_TEST_CHROMIUM")
    if given:
        return given
    return next((path for name in _NAMES if (path := shutil.which(name))), None)


def chromium() -> Iterator[Any]:
    """A running browser, closed afterwards."""
    path = find_chromium()
    if path is None:
        pytest.skip(HOW_TO_GET_ONE)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=_ARGS)
        yield running
        running.close()


def fresh_page(running: Any) -> Iterator[Any]:
    """A page in a profile of its own; what the page's console calls an error fails the test."""
    context = running.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(15_000)
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: _note(complaints, message))
    page.complaints = complaints
    yield page
    context.close()
    assert complaints == []


def _note(complaints: list[str], message: Any) -> None:
    # Chromium calls every 4xx answer an error; a form that answers 422 is meant to.
    if message.type == "error" and "status of 4" not in message.text:
        complaints.append(message.text)
