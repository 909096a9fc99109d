"""What a browser fetches that has never been here: little, compressed, and once."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from licenzy.runtime import Runtime
from licenzy.settings import Settings
from tests.portal.filled_side import fill_side
from tests.portal.test_accessibility import sign_in
from tests.support.cast import Cast
from tests.support.web_processes import ROOT, serving

pytestmark = [pytest.mark.browser, pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)]

MOST_BYTES = 120_000


@dataclass
class Fetched:
    """What was transferred for one page, headers included."""

    bytes: int = 0
    static: dict[str, dict[str, str]] = field(default_factory=dict)
    """The headers of each static file, by its address; names in lower case."""


@pytest.fixture
def address(tmp_path: Path, runtime: Runtime, settings: Settings) -> Iterator[str]:
    """The product as `make run` serves it: in processes of its own, with compressed static files."""
    for name in ("licenzy", "static", "templates", "docs"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "*.gz"))
    compress = [sys.executable, "-m", "whitenoise.compress", "--quiet", "--no-brotli", "static"]
    subprocess.run(compress, cwd=tmp_path, check=True)
    with serving(settings, tree=tmp_path):
        yield f"http://127.0.0.1:{settings.port}"


def fetched(chromium: Any, url: str, **state: Any) -> Fetched:
    """Open a page in a profile with an empty cache, and wait until nothing more is fetched."""
    context = chromium.new_context(viewport={"width": 1280, "height": 800}, **state)
    page, total = context.new_page(), Fetched()
    session = context.new_cdp_session(page)
    session.send("Network.enable")

    def finished(event: dict[str, Any]) -> None:
        total.bytes += int(event["encodedDataLength"])

    def received(event: dict[str, Any]) -> None:
        headers = {name.lower(): value for name, value in event["response"]["headers"].items()}
        if "/static/" in event["response"]["url"]:
            total.static[event["response"]["url"]] = headers

    session.on("Network.loadingFinished", finished)
    session.on("Network.responseReceived", received)
    page.goto(url, wait_until="networkidle")
    context.close()
    return total


def test_the_first_page_is_small_and_its_files_are_kept_for_good(
    chromium: Any, browser: Any, address: str, runtime: Runtime, cast: Cast
) -> None:
    fill_side(runtime, cast)
    sign_in(browser, address)
    inside = {"storage_state": browser.context.storage_state()}
    overview = fetched(chromium, f"{address}/projects/{cast.project_id}/test", **inside)
    outside = fetched(chromium, f"{address}/sign-in")
    assert 0 < outside.bytes < MOST_BYTES
    assert 0 < overview.bytes < MOST_BYTES
    for page in (outside, overview):
        kinds = {url.rpartition(".")[2] for url in page.static}
        assert {"css", "js", "woff2"} <= kinds
        for url, headers in page.static.items():
            assert "immutable" in headers["cache-control"], url
            if url.endswith((".css", ".js")):
                assert headers["content-encoding"] == "gzip", url
