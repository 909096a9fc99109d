"""`?explain=true`: the same answer, and why."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from licenzy.alignment.modes import Mode
from licenzy.db.unit_of_work import Database
from licenzy.entitlements.actions import record_fact
from licenzy.entitlements.models import Entitlement, FactSource, State
from licenzy.projects.scope import Scope
from tests.support.cast import Cast, make_key, make_subject
from tests.support.clock import START
from tests.support.purchases import make_entitlement


def explain(client: FlaskClient, token: str, **body: Any) -> Any:
    answer = client.post(
        "/v1/access/check?explain=true",
        json={"subject_ref": "u", **body},
        headers={"Authorization": f"Bearer {token}"},
    )
    assert answer.status_code == 200
    return answer.get_json()


def key(database: Database, cast: Cast, mode: Mode = Mode.TEST) -> str:
    with database.write() as db:
        return make_key(db, project_id=cast.project_id, mode=mode)[1]


def hold(database: Database, cast: Cast, mode: Mode = Mode.TEST, **columns: Any) -> Entitlement:
    with database.write() as db:
        subject = make_subject(db, project_id=cast.project_id, mode=mode, subject_ref="u")
        row = make_entitlement(db, subject=subject, **columns)
        record_fact(
            db,
            Scope(cast.project_id, mode),
            source=FactSource.EVENT,
            source_id="evt_1",
            kind="session",
            object_id="cs_1",
            purchase_key=row.purchase_key,
            occurred_at=START,
            data={},
            now=START,
        )
        return row


def test_what_allows_is_named_with_its_facts(client: FlaskClient, database: Database, cast: Cast) -> None:
    row = hold(database, cast)
    told = explain(client, key(database, cast))
    assert told["allowed"] is True
    assert told["explain"]["reason"] is None
    assert told["explain"]["entitlement"]["id"] == row.id
    assert [fact[:4] for fact in told["explain"]["facts"]] == ["fct_"]


def test_what_refuses_is_named_with_its_reason(client: FlaskClient, database: Database, cast: Cast) -> None:
    hold(database, cast, state=State.SUSPENDED, reason="disputed")
    told = explain(client, key(database, cast))
    assert (told["allowed"], told["explain"]["reason"]) == (False, "disputed")
    assert explain(client, key(database, cast), product_code="OTHER")["explain"] == {
        "reason": "product_not_held",
        "entitlement": None,
        "facts": [],
    }


def test_held_in_the_other_mode_is_said_without_ids(
    client: FlaskClient, database: Database, cast: Cast
) -> None:
    hold(database, cast, Mode.LIVE)
    told = explain(client, key(database, cast))
    assert told == {
        "subject_ref": "u",
        "allowed": False,
        "explain": {"reason": "held_in_other_mode", "entitlement": None, "facts": []},
    }
    with database.write() as db:
        theirs = make_key(db, project_id=cast.stranger.project_id)[1]
    assert explain(client, theirs)["explain"]["reason"] == "no_entitlement"


def test_the_plain_check_never_explains(client: FlaskClient, database: Database, cast: Cast) -> None:
    hold(database, cast, Mode.LIVE)
    answer = client.post(
        "/v1/access/check",
        json={"subject_ref": "u"},
        headers={"Authorization": f"Bearer {key(database, cast)}"},
    )
    assert answer.get_json() == {"subject_ref": "u", "allowed": False}


@pytest.mark.parametrize(
    ("query", "explained"),
    [
        ("", False),
        ("?explain=true", True),
        ("?explain=%74rue", True),
        ("?explain=false", False),
        ("?other=1", False),
        ("?other=1&explain=true", True),
    ],
)
def test_it_is_asked_for_by_true(
    client: FlaskClient, database: Database, cast: Cast, query: str, explained: bool
) -> None:
    headers = {"Authorization": f"Bearer {key(database, cast)}"}
    answer = client.post(f"/v1/access/check{query}", json={"subject_ref": "u"}, headers=headers)
    assert answer.status_code == 200
    assert ("explain" in answer.get_json()) is explained


@pytest.mark.parametrize(
    "query",
    [
        "explain", "explain=", "explain=1", "explain=yes", "explain=True", "explain=TRUE", "explain=%FF",
        "explain=true%00", "explain=true&explain=true", "explain=true&explain=false", "explain=true&explain=",
    ],
)  # fmt: skip
def test_any_other_word_is_refused(client: FlaskClient, database: Database, cast: Cast, query: str) -> None:
    address, body = f"/v1/access/check?{query}", {"subject_ref": "u"}
    answer = client.post(address, json=body, headers={"Authorization": f"Bearer {key(database, cast)}"})
    assert (answer.status_code, answer.get_json()["error"]) == (400, "invalid_request")
    assert answer.get_json()["fields"] == {"explain": "must be `true` or `false`, once"}
    # What is wrong with the key is said before what is wrong with the query.
    assert client.post(address, json=body).get_json()["error"] == "api_key_missing"
