"""`GET /v1/audit`: the entries of the key's project and mode, in pages."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import update

from licenzy.alignment.modes import Mode
from licenzy.db.unit_of_work import Database
from licenzy.workspace.audit import Actor, record
from licenzy.workspace.models import AuditEntry
from tests.api.bad_requests import bearer
from tests.support.cast import Cast, make_key
from tests.support.clock import START


@pytest.fixture
def token(database: Database, cast: Cast) -> str:
    def note(about: str, project_id: str | None, mode: Mode | None) -> None:
        place: dict[str, Any] = {"project_id": project_id, "mode": mode}
        actor = Actor(cast.owner.user_id, "192.0.2.1")
        record(db, actor=actor, action="product.created", about=about, now=START, **place)

    with database.write() as db:
        for number in range(5):
            note(f"thing {number}", cast.project_id, Mode.TEST)
        note("live", cast.project_id, Mode.LIVE)
        note("of both", cast.project_id, None)
        note("of nowhere", None, None)
        note("theirs", cast.stranger.project_id, Mode.TEST)
        return make_key(db, project_id=cast.project_id, scopes="audit")[1]


@pytest.mark.parametrize("by_an_older_version", [False, True])
def test_pages_of_one_project_and_mode(
    client: FlaskClient, token: str, database: Database, cast: Cast, by_an_older_version: bool
) -> None:
    if by_an_older_version:
        with database.write() as db:
            db.execute(update(AuditEntry).values(workspace_id=None))
    seen, cursor, pages = [], "", 0
    while True:
        answer = client.get(f"/v1/audit?limit=2{cursor}", headers=bearer(token))
        assert answer.status_code == 200
        assert answer.json is not None
        seen += answer.json["entries"]
        pages += 1
        if not answer.json["has_more"]:
            assert answer.json["next_cursor"] is None
            break
        cursor = f"&cursor={answer.json['next_cursor']}"
    assert [each["about"] for each in seen] == [f"thing {number}" for number in (4, 3, 2, 1, 0)]
    assert pages == 3
    assert seen[0] == {
        "id": seen[0]["id"],
        "at": "2026-11-23T09:30:00Z",
        "actor": {"type": "user", "user_id": cast.owner.user_id, "ip": "192.0.2.1"},
        "action": "product.created",
        "project_id": cast.project_id,
        "mode": "test",
        "about": "thing 4",
        "before": None,
        "after": None,
    }


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=1&limit=2", "limit"),
        ("cursor=nonsense", "cursor"),
        ("cursor=aud_00000000000000000000000000", "cursor"),
        ("cursor=%00", "cursor"),
    ],
)
def test_bad_queries(client: FlaskClient, token: str, query: str, field: str) -> None:
    answer = client.get(f"/v1/audit?{query}", headers=bearer(token))
    assert answer.status_code == 400
    assert answer.json is not None
    assert (answer.json["error"], list(answer.json["fields"])) == ("invalid_request", [field])


def test_an_entry_of_the_other_mode_is_no_cursor(
    client: FlaskClient, token: str, database: Database, cast: Cast
) -> None:
    with database.write() as db:
        live = make_key(db, project_id=cast.project_id, mode=Mode.LIVE, scopes="audit")[1]
    answer = client.get("/v1/audit", headers=bearer(live))
    assert answer.json is not None
    (entry,) = answer.json["entries"]
    assert entry["about"] == "live"
    assert client.get(f"/v1/audit?cursor={entry['id']}", headers=bearer(token)).status_code == 400
    assert client.get(f"/v1/audit?cursor={entry['id']}", headers=bearer(live)).status_code == 200


def test_a_key_without_the_scope_is_refused(client: FlaskClient, database: Database, cast: Cast) -> None:
    with database.write() as db:
        runtime_key = make_key(db, project_id=cast.project_id, scopes="runtime")[1]
    answer = client.get("/v1/audit", headers=bearer(runtime_key))
    assert answer.json is not None
    assert (answer.status_code, answer.json["error"]) == (403, "insufficient_scope")
