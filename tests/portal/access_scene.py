"""A filled installation on SQLite, and visitors who ask it and whose answers are looked through."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from flask import Flask
from sqlmodel import col, select, update
from werkzeug.exceptions import HTTPException
from werkzeug.test import TestResponse

from licenzy.runtime import Runtime
from licenzy.workspace.models import User
from licenzy.workspace.sign_in_models import SignInSession
from tests.portal.access_cells import EMAILS, STALE
from tests.portal.access_records import Records, make_personal_records, make_records
from tests.support.cast import make_cast
from tests.support.clock import START
from tests.support.visits import csrf_token, sign_in

_NOT_COMPARED = {"audit_log", "audit_repeats"}
"""That somebody was refused is recorded there."""
_FINDINGS = re.compile(
    r'<section (class="findings-here"|aria-labelledby="findings-title").*?</section>', re.DOTALL
)
_ACTION = re.compile(r'<form[^>]* action="(/[^"]*)"')
_SINGLE_USE = re.compile(r"I[jm][\w-]{30,}\.[\w.-]+|\b[0-9a-f]{32}\b|\b(aud|req)_[0-9a-z]{26}\b")
"""Tokens of forms, names under which they are sent once, ids of what a request itself made."""


@dataclass(frozen=True)
class Visitor:
    """A browser: its cookies, and the token of its forms."""

    cookies: str
    token: str


class AccessScene:
    """The installation and who visits it. What an answer changes is undone by `restore`."""

    def __init__(self, app: Flask) -> None:
        self.app = app
        self._runtime: Runtime = app.extensions["licenzy"]
        self._client = app.test_client(use_cookies=False)
        self._addresses = app.url_map.bind("localhost")
        self._compared: dict[tuple[Any, ...], str] = {}
        with self._runtime.database.write() as db:
            cast = make_cast(db)
        records = make_records(self._runtime, cast)
        self._visitors = self._sign_in()
        # Only now, since whoever has a passkey is asked for it at the sign-in.
        with self._runtime.database.write() as db:
            people = {
                user.email: make_personal_records(db, user_id=user.id)
                for user in db.exec(select(User).where(col(User.email).in_(EMAILS.values())))
            }
        self.records: Records = replace(records, people=people)
        path = self._runtime.settings.database_url.removeprefix("sqlite:///")
        self._file = Path(path)
        self._reader = sqlite3.connect(path, isolation_level=None)
        self._kept = sqlite3.connect(":memory:")
        self._reader.backup(self._kept)
        self._rows = self._all_rows()
        self._version = self._data_version()
        self._has_more = False  # Rows of tables that are not compared.

    def close(self) -> None:
        self._reader.close()
        self._kept.close()

    def ask(
        self, visitor: str, method: str, path: str, sent: Mapping[str, str], *, htmx: bool = False
    ) -> TestResponse:
        """What the visitor is answered; forms have a valid token."""
        who = self._visitors[visitor]
        more: dict[str, Any] = {"headers": {"Cookie": who.cookies}}
        if htmx:
            more["headers"]["HX-Request"] = "true"
        if method == "GET":
            more["query_string"] = sent
        else:
            more["data"] = {**sent, "csrf_token": who.token}
        return self._client.open(path, method=method, **more)

    def compared(
        self, visitor: str, method: str, path: str, sent: Mapping[str, str], *, htmx: bool = False
    ) -> str:
        """What `comparable` makes of the visitor's answer, which is asked for once."""
        key = (visitor, method, path, tuple(sent.items()), htmx)
        if key not in self._compared:
            answer = self.ask(visitor, method, path, sent, htmx=htmx)
            self._compared[key] = self.comparable(answer, sent)
            self.restore()
        return self._compared[key]

    def remember(
        self, answer: TestResponse, visitor: str, method: str, path: str, sent: Mapping[str, str]
    ) -> None:
        """Spare `compared` the same question."""
        self._compared[(visitor, method, path, tuple(sent.items()), False)] = self.comparable(answer, sent)

    def comparable(self, answer: TestResponse, sent: Mapping[str, str]) -> str:
        """All that the answer tells, without what is made anew for each and without what was sent."""
        to = answer.headers.get("Location"), answer.headers.get("HX-Redirect")
        told = f"{answer.status_code} {to} {self._flashed(answer)}\n{answer.text}"
        return _SINGLE_USE.sub("ONCE", without(told, tuple(sent.values())))

    def _flashed(self, answer: TestResponse) -> list[Any]:
        """What the answer has the next page say."""
        serializer = self.app.session_interface.get_signing_serializer(self.app)  # type: ignore[attr-defined]
        name = self.app.config["SESSION_COOKIE_NAME"]
        for header in answer.headers.getlist("Set-Cookie"):
            if header.startswith(f"{name}=") and (value := header.split("=", 1)[1].split(";")[0]):
                return list(serializer.loads(value).get("_flashes", []))
        return []

    def offers(self, answer: TestResponse) -> set[tuple[str, str]]:
        """The methods and endpoints to which the forms of a page lead."""
        if answer.mimetype != "text/html":
            return set()
        found = set()
        for path in set(_ACTION.findall(answer.text)):
            with suppress(HTTPException):
                found.add(("POST", self._addresses.match(path.partition("?")[0], "POST")[0]))
        return found

    def changes(self) -> list[str]:
        """The tables whose rows are other than in the beginning."""
        if self._data_version() == self._version:
            return []
        rows = self._all_rows()
        changed = sorted(table for table in rows if rows[table] != self._rows.get(table))
        if not changed:
            self._version, self._has_more = self._data_version(), True
        return changed

    def restore(self) -> None:
        """Have the rows of the beginning again."""
        if self._has_more or self._data_version() != self._version:
            with closing(sqlite3.connect(self._file)) as connection:
                self._kept.backup(connection)
            self._version, self._has_more = self._data_version(), False

    def _sign_in(self) -> dict[str, Visitor]:
        visitors = {}
        for name in [*EMAILS, *(role + STALE for role in ("viewer", "support", "admin", "owner"))]:
            client = self.app.test_client()
            answer = sign_in(client, EMAILS[name.removesuffix(STALE)])
            assert answer.status_code == 303, answer.text
            visitors[name] = self._visitor(client, "/projects")
            with self._runtime.database.write() as db:
                newest = db.exec(_sessions_of(EMAILS[name.removesuffix(STALE)])).first()
                assert newest is not None
                if name.endswith(STALE):
                    newest.authenticated_at = START - timedelta(hours=5)
                if name == "ended":
                    newest.revoked_at = START
        visitors["nobody"] = self._visitor(self.app.test_client(), "/sign-in")
        with self._runtime.database.write() as db:
            db.exec(update(User).where(col(User.email) == EMAILS["disabled"]).values(disabled_at=START))
        return visitors

    def _visitor(self, client: Any, page: str) -> Visitor:
        token = csrf_token(client, page)
        cookies = "; ".join(f"{each.key}={each.value}" for each in client._cookies.values())
        return Visitor(cookies, token)

    def _data_version(self) -> int:
        version: int = self._reader.execute("PRAGMA data_version").fetchone()[0]
        return version

    def _all_rows(self) -> dict[str, list[Any]]:
        names = self._reader.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        return {
            name: sorted(map(repr, self._reader.execute(f"SELECT {self._columns(name)} FROM {name}")))
            for (name,) in names
            if name not in _NOT_COMPARED and not name.startswith("sqlite_")
        }

    def _columns(self, table: str) -> str:
        names = [row[1] for row in self._reader.execute(f"PRAGMA table_info({table})")]
        return ", ".join(f'"{name}"' for name in names if name != "last_seen_at")


def without_findings(text: str) -> str:
    """The page without what alignment found, which compares both modes."""
    return _FINDINGS.sub("", text)


def without(text: str, ids: tuple[str, ...]) -> str:
    """The text without these ids."""
    for each in sorted(ids, key=len, reverse=True):
        text = text.replace(each, "ID")
    return text


def _sessions_of(email: str) -> Any:
    return (
        select(SignInSession)
        .join(User, col(User.id) == col(SignInSession.user_id))
        .where(User.email == email, SignInSession.user_agent != "")
        .order_by(col(SignInSession.id).desc())
    )
