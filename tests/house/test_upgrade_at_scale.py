"""A hundred thousand entitlements of the schema before named units are upgraded, and answered as before.

The older version's own code, from git, writes them and answers. This version upgrades a copy and answers too.
"""

from __future__ import annotations

import json
import re
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import text

from licenzy.db import migrate, schema
from licenzy.db.engine import make_engine
from licenzy.factory import create_app
from tests.bench.versions import Version, check_out, commit_of
from tests.conftest import make_settings
from tests.house.upgrade import answer, multiply, requests
from tests.house.upgrade.answer import Answer, Request, answered, read_answers, write_lines
from tests.house.upgrade.requests import STORED
from tests.support.clock import StandingClock
from tests.support.databases import PostgresServer
from tests.support.hotpath import Incoming, called

BEFORE_NAMED_UNITS = "b9c038e364cfd84e7bba239346b61605290bec01"
"""The last commit whose packs did not name their unit, at schema 0018."""
COPIES = 1_210
"""Of the stored installation, which has 83 entitlements."""

ADDED = {
    "customer/access": {"features", "limits", "default_product", "balances"},
    "entitlements": {
        "entitlements.unit",
        "entitlements.included",
        "entitlements.limits",
        "entitlements.adds",
    },
}
"""Fields that this version adds, by the call; those of a part of the answer behind its name."""

WORDED = {
    "is not accepted: units come from the subject's usage packs": (
        "is not accepted: send unit, the name of what the subject's usage packs consist of"
    ),
}
"""What is said of a field that is not accepted, and what this version says instead."""

_MADE = re.compile(r"(?:ent|fct|rsv|att)_[0-9a-z]{26}")


@dataclass(frozen=True)
class Installed:
    """A database that the older version fills, and the folder of what goes with it."""

    folder: Path
    server: PostgresServer | None
    name: str

    @property
    def url(self) -> str:
        return f"sqlite:///{self.name}" if self.server is None else self.server.url(self.name)

    def copied(self) -> Installed:
        """Another one with the same rows; nobody is connected to this one."""
        if self.server is not None:
            return Installed(self.folder, self.server, self.server.copy_of(self.name))
        copy = f"{self.name}.copied"
        for path in self.folder.glob(f"{Path(self.name).name}*"):
            shutil.copyfile(path, path.with_name(path.name.replace(Path(self.name).name, Path(copy).name, 1)))
        return Installed(self.folder, None, copy)

    def drop(self) -> None:
        if self.server is not None:
            self.server.drop(self.name)


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Version:
    """The older version, checked out of this repository's history."""
    if not commit_of(BEFORE_NAMED_UNITS):
        pytest.skip(f"the history of this repository does not reach back to {BEFORE_NAMED_UNITS}")
    return check_out(BEFORE_NAMED_UNITS, tmp_path_factory.mktemp("older") / "tree")


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def installed(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Installed]:
    if request.param == "sqlite":
        (tmp_path / "older.sqlite3").touch()
        yield Installed(tmp_path, None, str(tmp_path / "older.sqlite3"))
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    made = Installed(tmp_path, server, server.empty())
    yield made
    made.drop()


@pytest.mark.soak
def test_nobody_is_answered_otherwise(older: Version, installed: Installed, tmp_path: Path) -> None:
    environ = older.environ(
        LICENZY_INSTANCE=str(tmp_path / "instance"),
        LICENZY_DATABASE_URL=installed.url,
        LICENZY_BASE_URL=STORED.facts["base_url"],
        LICENZY_SECRET_KEY=STORED.facts["secret_key"],
        LICENZY_ENCRYPTION_KEYS=STORED.facts["encryption_keys"],
        LICENZY_RATE_LIMIT="1000000",
    )

    def run(script: str | None, *arguments: str) -> str:
        return older.run(["-P", str(script), *arguments], environ, seconds=1_800)

    def asked(made: list[Request]) -> list[Answer]:
        write_lines(tmp_path / "requests", made)
        run(answer.__file__, str(tmp_path / "requests"), str(tmp_path / "answers"))
        return read_answers(tmp_path / "answers")

    rows = json.loads(run(multiply.__file__, str(COPIES)).splitlines()[-1])
    assert rows["entitlements"] >= 100_000
    before = requests.before_the_upgrade(COPIES)
    done_before = asked(before)
    copy = installed.copied()
    try:
        reads = requests.reads(COPIES)
        reading = len(reads.made)
        requests.add_refused(reads)
        requests.add_writes(reads, before, done_before, COPIES)
        requests.add_later(reads, COPIES)
        recorded = asked(reads.made)
        began = time.monotonic()
        known, reservations = _upgraded(copy)
        took = time.monotonic() - began
        wrong = _answered_otherwise(copy, tmp_path, reads.made, recorded, reading, known)
    finally:
        copy.drop()
    distinct = {(each.method, each.path, each.body, str(each.headers)) for each in reads.made}
    print(
        f"{rows}; {reservations} open reservations; upgraded in {took:.1f} s; {len(reads.made)} requests, "
        f"{len(distinct)} distinct; {sorted(Counter(each.status for each in recorded).items())}"
    )
    assert not wrong, f"{len(wrong)} answers differ:\n" + "\n".join(wrong[:40])
    assert len(distinct) >= 2_000
    assert reservations >= 3_000


def _upgraded(copy: Installed) -> tuple[set[str], int]:
    """Upgrade it; the ids that were there before, and how many reservations were open."""
    engine = make_engine(copy.url)
    with engine.connect() as connection:
        known = {
            row[0]
            for table in ("entitlements", "facts", "usage_reservations", "checkout_attempts")
            for row in connection.execute(text(f"SELECT id FROM {table}"))
        }
        is_open = "SELECT count(*) FROM usage_reservations WHERE closed_at IS NULL"
        reservations = connection.execute(text(is_open)).scalar_one()
    assert migrate.upgrade(engine).revision == schema.head()
    engine.dispose()
    return known, reservations


def _answered_otherwise(
    copy: Installed, folder: Path, made: list[Request], recorded: list[Answer], reading: int, known: set[str]
) -> list[str]:
    """What this version answers otherwise, one line each. The first `reading` requests change nothing."""
    settings = make_settings(
        folder / "upgraded",
        copy.url,
        base_url=STORED.facts["base_url"],
        secret_key=STORED.facts["secret_key"],
        encryption_keys=(STORED.facts["encryption_keys"],),
        rate_limit=1_000_000,
    )
    clock = StandingClock(made[0].at)
    app = create_app(settings, clock=clock)
    try:
        wrong = _wrong_on_the_loop(app, made[:reading], recorded)
        for each, then, now in zip(made, recorded, answered(app, clock, made), strict=True):
            difference = _difference(each, then, now, known)
            if difference:
                wrong.append(f"{each}: {difference}")
    finally:
        app.extensions["licenzy"].database.close()
    return wrong


def _wrong_on_the_loop(app: Flask, made: list[Request], recorded: list[Answer]) -> list[str]:
    """The access checks on the event loop, where processes answer them."""
    checks = [
        (each, then)
        for each, then in zip(made, recorded, strict=False)
        if each.method == "POST" and each.path == "/v1/access/check"
    ]
    incoming = [
        Incoming(each.headers["Authorization"].removeprefix("Bearer "), each.path, (each.body or "").encode())
        for each, _then in checks
    ]
    wrong, left = [], 0
    for (each, then), reply in zip(checks, called(app, *incoming), strict=True):
        if reply is None:
            left += 1
            continue
        body = json.loads(reply.body)
        body.pop("request_id", None)
        if (reply.status, body) != (then.status, then.body):
            wrong.append(f"{each} on the loop: {reply.status} {body} instead of {then}")
    assert left < len(checks) * 0.1, "the others are left to Flask"
    return wrong


def _difference(request: Request, then: Answer, now: Answer, known: set[str]) -> str:
    """How the two answers differ, beyond fields that are new; empty when they do not."""
    added = next((names for call, names in ADDED.items() if request.path.startswith(f"/v1/{call}/")), set())
    found, old = (
        {"status": each.status, "headers": _names(each.headers, known), "body": _names(body, known)}
        for each, body in ((now, _without(now.body, added)), (then, _worded_anew(then.body)))
    )
    return "; ".join(
        f"{part} {found[part]} instead of {old[part]}" for part in found if found[part] != old[part]
    )


def _worded_anew(body: Any) -> Any:
    fields = body.get("fields") if isinstance(body, dict) else None
    return (
        body | {"fields": {name: WORDED.get(each, each) for name, each in fields.items()}} if fields else body
    )


def _without(value: Any, added: set[str], at: str = "") -> Any:
    if isinstance(value, dict):
        return {
            name: _without(each, added, f"{at}{name}.")
            for name, each in value.items()
            if f"{at}{name}" not in added
        }
    if isinstance(value, list):
        return [_without(each, added, at) for each in value]
    return value


def _names(value: Any, known: set[str]) -> Any:
    """The same with ids of rows that the calls themselves made reduced to their prefix."""
    if isinstance(value, dict):
        return {name: _names(each, known) for name, each in value.items()}
    if isinstance(value, list):
        return [_names(each, known) for each in value]
    if isinstance(value, str) and _MADE.fullmatch(value) and value not in known:
        return value.partition("_")[0]
    return value
