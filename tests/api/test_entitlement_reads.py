"""`GET /v1/customer/access/<ref>` and `GET /v1/entitlements/<ref>`: what they show, and to whom."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient

from licenzy.alignment.modes import Mode
from licenzy.catalog.models import Kind
from licenzy.db.unit_of_work import Database
from licenzy.entitlements.models import State
from tests.support.cast import Cast, make_key, make_subject
from tests.support.clock import START
from tests.support.purchases import make_entitlement

ROUTES = ["/v1/customer/access/", "/v1/entitlements/"]


@pytest.fixture
def token(database: Database, cast: Cast) -> str:
    with database.write() as db:
        return make_key(db, project_id=cast.project_id)[1]


def get(client: FlaskClient, token: str, path: str, method: str = "GET") -> Any:
    return client.open(path, method=method, headers={"Authorization": f"Bearer {token}"})


def hold(database: Database, cast: Cast, ref: str, **columns: Any) -> str:
    with database.write() as db:
        subject = make_subject(db, project_id=cast.project_id, subject_ref=ref)
        return make_entitlement(db, subject=subject, **columns).id


def test_customer_access(client: FlaskClient, database: Database, cast: Cast, token: str) -> None:
    pack = {"kind": Kind.USAGE_PACK, "product_code": "CREDITS", "ends_at": None}
    held = hold(database, cast, "u", granted_units=100, used_units=30, reserved_units=20, **pack)
    assert get(client, token, "/v1/customer/access/u").get_json() == {
        "subject_ref": "u",
        "has_access": True,
        "status": "active",
        "entitlements": [
            {
                "id": held,
                "product_code": "CREDITS",
                "kind": "usage_pack",
                "status": "active",
                "available": True,
                "usage_remaining": 50,
                "valid_until": None,
            }
        ],
        "features": [],
        "limits": {},
        "default_product": None,
        "balances": {"units": {"remaining": 50, "granted": 100, "renews_at": None}},
    }


def test_balances_are_of_what_is_available_by_unit(
    client: FlaskClient, database: Database, cast: Cast, token: str
) -> None:
    with database.write() as db:
        subject = make_subject(db, project_id=cast.project_id, subject_ref="u")
        packs: list[dict[str, Any]] = [
            {"unit": "pages", "granted_units": 10, "used_units": 4},
            {"unit": "images", "granted_units": 5},
            {"unit": "pages", "granted_units": 7, "reserved_units": 1},
            {"unit": "pages", "granted_units": 3, "ends_at": START},
            {"unit": "sounds", "granted_units": 3, "used_units": 3},
        ]
        for columns in packs:
            make_entitlement(db, subject=subject, kind=Kind.USAGE_PACK, **{"ends_at": None, **columns})
        make_entitlement(db, subject=subject)
    told = get(client, token, "/v1/customer/access/u").get_json()
    assert told["balances"] == {
        "images": {"remaining": 5, "granted": 5, "renews_at": None},
        "pages": {"remaining": 12, "granted": 17, "renews_at": None},
    }
    listed = get(client, token, "/v1/entitlements/u").get_json()["entitlements"]
    assert sorted(each["unit"] or "" for each in listed) == [
        "", "images", "pages", "pages", "pages", "sounds",
    ]  # fmt: skip
    assert get(client, token, "/v1/customer/access/nobody").get_json()["balances"] == {}


def test_entitlements_show_ended_ones_with_their_reason(
    client: FlaskClient, database: Database, cast: Cast, token: str
) -> None:
    hold(database, cast, "u", state=State.CANCELED, canceled_at=START, stripe_subscription_id="sub_1")
    told = get(client, token, "/v1/entitlements/u").get_json()
    assert told["has_more"] is False
    shown = told["entitlements"][0]
    assert set(shown) >= {
        "id", "source", "reason", "granted_units", "usage_remaining", "starts_at", "valid_until", "cancel_at",
        "canceled_at", "stripe_subscription_id", "stripe_checkout_session_id", "attempt_id", "created_at",
        "updated_at",
    }  # fmt: skip
    assert (shown["status"], shown["available"], shown["reason"]) == ("canceled", False, "canceled")
    assert shown["canceled_at"] == "2026-11-23T09:30:00Z"
    assert shown["valid_until"] == "2026-12-23T09:30:00Z"


def test_pages(client: FlaskClient, database: Database, cast: Cast, token: str) -> None:
    with database.write() as db:
        subject = make_subject(db, project_id=cast.project_id, subject_ref="u")
        made = [
            make_entitlement(db, subject=subject, starts_at=START + timedelta(hours=hour)).id
            for hour in range(12)
        ]
    newest_first = made[::-1]
    assert [e["id"] for e in get(client, token, "/v1/entitlements/u").get_json()["entitlements"]] == (
        newest_first[:10]
    )
    seen: list[str] = []
    after = ""
    while True:
        page = get(client, token, f"/v1/entitlements/u?limit=5{after}").get_json()
        seen += [each["id"] for each in page["entitlements"]]
        if not page["has_more"]:
            break
        after = f"&starting_after={seen[-1]}"
    assert seen == newest_first


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=-1", "limit=1000000000", "limit=abc", "limit=%D9%A1", "limit=1&limit=2",
     "starting_after=ent_nobody", "starting_after=%00", "starting_after=a&starting_after=b"],
)  # fmt: skip
def test_bad_paging(client: FlaskClient, database: Database, cast: Cast, token: str, query: str) -> None:
    hold(database, cast, "u")
    answer = get(client, token, f"/v1/entitlements/u?{query}")
    assert (answer.status_code, answer.get_json()["error"]) == (400, "invalid_request")
    assert answer.get_json()["fields"]


def test_a_foreign_cursor_is_garbage(client: FlaskClient, database: Database, cast: Cast, token: str) -> None:
    foreign = hold(database, cast, "other")
    assert get(client, token, f"/v1/entitlements/u?starting_after={foreign}").status_code == 400


REFS = ["a/b", "a//b", "/lead", "trail/", ".", "..", "%2e", "a b", "☃", "a%2Fb", "?q", "#f", "+"]


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("ref", REFS)
def test_refs_in_paths_are_literal(
    client: FlaskClient, database: Database, cast: Cast, token: str, route: str, ref: str
) -> None:
    hold(database, cast, ref)
    answer = client.open(
        method="GET",
        headers={"Authorization": f"Bearer {token}"},
        environ_overrides={"PATH_INFO": (route + ref).encode().decode("latin-1")},
    )
    assert answer.status_code == 200
    assert answer.get_json()["subject_ref"] == ref
    assert len(answer.get_json()["entitlements"]) == 1


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    "tail", [b"\x00", b"a\nb", b"a\x1fb", b"\xff", b"\xed\xa0\x80", b"\xe2\x80\xae", b" ", b"u" * 9000]
)
def test_bad_refs_in_paths_are_refused(client: FlaskClient, token: str, route: str, tail: bytes) -> None:
    answer = client.open(
        method="GET",
        headers={"Authorization": f"Bearer {token}"},
        environ_overrides={"PATH_INFO": route + tail.decode("latin-1")},
    )
    assert (answer.status_code, answer.get_json()["error"]) == (400, "invalid_request")


@pytest.mark.parametrize("route", ROUTES)
def test_unknown_and_foreign_refs_are_alike(
    client: FlaskClient, database: Database, cast: Cast, token: str, route: str
) -> None:
    with database.write() as db:
        theirs = make_subject(db, project_id=cast.stranger.project_id, subject_ref="u")
        make_entitlement(db, subject=theirs)
        live = make_subject(db, project_id=cast.project_id, mode=Mode.LIVE, subject_ref="u")
        make_entitlement(db, subject=live)
    known_elsewhere = get(client, token, route + "u").data
    unknown = get(client, token, route + "v").data
    assert known_elsewhere.replace(b'"u"', b'"v"') == unknown


@pytest.mark.parametrize("route", ROUTES)
def test_head_and_caching(client: FlaskClient, token: str, route: str) -> None:
    for method in ("GET", "HEAD"):
        answer = get(client, token, route + "u", method)
        assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "no-store")
