"""Features and limits on a customer's page: who may set them, what is refused, what is shown."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask

from licenzy.alignment.modes import Mode
from licenzy.catalog.models import Kind
from licenzy.runtime import Runtime
from licenzy.subjects.models import Subject
from licenzy.workspace.models import Role
from tests.portal.set_up_side import SidePages, side_pages
from tests.support.cast import Cast, make_product, make_subject, make_user
from tests.support.purchases import make_entitlement

LIMIT = {"what": "limit", "code": "projects", "value": "25", "note": "as agreed by phone"}


@pytest.fixture
def support(app: Flask, cast: Cast, runtime: Runtime) -> SidePages:
    with runtime.database.write() as db:
        make_user(db, email="support@example.com", workspace_id=cast.owner.workspace_id, role=Role.SUPPORT)
    return side_pages(app, cast, email="support@example.com")


@pytest.fixture
def subject(runtime: Runtime, cast: Cast) -> Subject:
    with runtime.database.write() as db:
        return make_subject(db, project_id=cast.project_id)


def set_one(pages: SidePages, subject: Subject, *, htmx: bool = False, **values: Any) -> Any:
    return pages.send(f"/customers/{subject.id}", "/overrides", {**LIMIT, **values}, htmx=htmx)


def test_a_limit_is_set_and_taken_away(support: SidePages, subject: Subject) -> None:
    place = f"/customers/{subject.id}"
    assert "no features or limits" in support.get(place).text
    assert set_one(support, subject).status_code == 303
    feature: dict[str, Any] = {
        "what": "feature",
        "code": "beta",
        "value": "",
        "amount": "2",
        "amount_unit": "days",
    }
    assert set_one(support, subject, **feature).status_code == 303
    page = support.get(place).text
    for said in (
        "projects = 25",
        "Set for this customer",
        "set by Support: as agreed by phone",
        "25 Nov 2026",
    ):
        assert said in page, said
    assert page.index("projects = 25") < page.index('<h2 id="held-title">Entitlements'), "shown first"
    assert "No access" in page
    assert "No entitlements yet" in page
    assert support.send(place, "/removal", {"note": "over"}).status_code == 303
    page = support.get(place).text
    assert 'data-override="limit:projects"' in page
    assert 'data-override="feature:beta"' not in page
    assert "counts again" in page


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"value": ""}, "Enter a whole number, or unlimited."),
        ({"value": "many"}, "Enter a whole number, or unlimited."),
        ({"value": "9007199254740992"}, "Must be a whole number from 0"),
        ({"code": ""}, "Enter the code"),
        ({"code": "a b"}, "Must be 1 to 64 letters"),
        ({"note": ""}, "Give a reason"),
        ({"amount": "0"}, "A whole number from 1"),
        ({"amount": "101", "amount_unit": "years"}, "At most 100 years"),
        ({"what": "meter"}, "Not a valid choice"),
    ],
)
def test_what_is_wrong_is_said_at_the_form(
    support: SidePages, subject: Subject, values: dict[str, str], said: str
) -> None:
    answer = set_one(support, subject, htmx=True, **values)
    assert answer.status_code == 422
    assert said in answer.text
    assert answer.text.lstrip().startswith("<section")


def test_viewers_only_see(app: Flask, cast: Cast, support: SidePages, subject: Subject) -> None:
    set_one(support, subject)
    page = side_pages(app, cast, email=cast.colleague.email).get(f"/customers/{subject.id}").text
    assert "projects = 25" in page
    assert "/overrides" not in page


def test_in_live_the_ref_is_typed_to_take_away(app: Flask, cast: Cast, runtime: Runtime) -> None:
    with runtime.database.write() as db:
        subject = make_subject(db, project_id=cast.project_id, mode=Mode.LIVE)
    pages = side_pages(app, cast, mode="live")
    assert set_one(pages, subject).status_code == 303
    refused = pages.send(f"/customers/{subject.id}", "/removal", {"note": "over", "typed": "x"})
    assert refused.status_code == 422
    assert "does not match" in refused.text
    done = pages.send(f"/customers/{subject.id}", "/removal", {"note": "over", "typed": "user_123"})
    assert done.status_code == 303


def test_the_default_product_is_named(
    support: SidePages, runtime: Runtime, cast: Cast, subject: Subject
) -> None:
    with runtime.database.write() as db:
        make_product(
            db, project_id=cast.project_id, product_code="BASIC", kind=Kind.FREE, is_default=True,
            grants_access=True, limits={"projects": 3},
        )  # fmt: skip
    page = support.get(f"/customers/{subject.id}").text
    assert "<strong>BASIC</strong>, the default product, gives access." in page
    assert "projects 3" in page
    assert "by default: BASIC" in support.get("/customers").text
    with runtime.database.write() as db:
        make_entitlement(db, subject=subject, limits={"projects": 10})
    page = support.get(f"/customers/{subject.id}").text
    assert "BASIC" not in page
    assert "projects 10" in page
