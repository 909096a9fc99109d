"""Guesses at a real server of two processes: the limit is one, and its owner is not kept out."""

from __future__ import annotations

import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from sqlmodel import select

from licenzy.db.engine import make_engine
from licenzy.db.unit_of_work import Database
from licenzy.factory import load_models
from licenzy.workspace.models import AuditEntry
from tests.replicas.conftest import starting
from tests.support.cast import PASSWORD, make_cast
from tests.support.databases import SqliteFiles

pytestmark = pytest.mark.slow

GUESSES, THREADS = 1000, 4


class Browser:
    """A browser at some address, as the trusted proxy names it."""

    def __init__(self, server: str) -> None:
        self._http = httpx.Client(base_url=server, trust_env=False, timeout=30)
        found = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', self._http.get("/sign-in").text)
        assert found is not None
        self._token = found.group(1)

    def sign_in(self, password: str, *, ip: str) -> httpx.Response:
        form = {"email": "owner@example.com", "password": password, "csrf_token": self._token}
        return self._http.post("/sign-in", data=form, headers={"X-Forwarded-For": ip})

    def forget_the_session(self, server: str) -> Browser:
        """The same browser after its session has ended: what it is known by is left."""
        after = Browser(server)
        for cookie in self._http.cookies.jar:
            if "device" in cookie.name:
                after._http.cookies.jar.set_cookie(cookie)
        self.close()
        return after

    def close(self) -> None:
        self._http.close()


def test_two_processes_share_the_limit_and_a_known_browser_is_let_in_meanwhile(
    sqlite_files: SqliteFiles, tmp_path: Path
) -> None:
    url = sqlite_files.fresh(tmp_path)
    load_models()
    database = Database(make_engine(url))
    with database.write() as db:
        make_cast(db, now=datetime.now(UTC))
    with starting(tmp_path) as start:
        server = start(url, LICENZY_WORKERS="2", LICENZY_TRUSTED_PROXIES="1")
        known = Browser(server)
        assert known.sign_in(PASSWORD, ip="198.51.100.7").status_code == 303
        known = known.forget_the_session(server)
        began = datetime.now(UTC)

        def guess(number: int) -> list[httpx.Response]:
            browser = Browser(server)
            mine = range(number, GUESSES, THREADS)
            answers = [browser.sign_in(f"guess {each}", ip=f"192.0.2.{each % 100}") for each in mine]
            browser.close()
            return answers

        with ThreadPoolExecutor(THREADS) as threads:
            guessing = [threads.submit(guess, number) for number in range(THREADS)]
            let_in = known.sign_in(PASSWORD, ip="192.0.2.7")
            answers = [answer for each in guessing for answer in each.result(120)]
        minutes = (datetime.now(UTC) - began).total_seconds() / 60
        assert let_in.status_code == 303
        known.close()
        stranger = Browser(server)
        waits = [int(answer.headers["Retry-After"]) for answer in answers if answer.status_code == 429]
        assert stranger.sign_in(PASSWORD, ip="203.0.113.9").status_code == 429
        stranger.close()
    told = Counter(answer.status_code for answer in answers)
    assert set(told) == {422, 429}
    assert 5 <= told[422] <= 5 + minutes
    assert max(waits) <= 60
    with database.read() as db:
        recorded = Counter(db.exec(select(AuditEntry.action)).all())
    database.close()
    assert recorded["sign_in.failed"] == told[422]
    assert recorded["sign_in.throttled"] == 1
    assert recorded["sign_in.succeeded"] == 2
