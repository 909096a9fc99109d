"""What people do by hand on a customer's page: who may, what is refused, what it leaves behind."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from sqlmodel import select
from werkzeug.test import TestResponse

from licenzy.alignment.modes import Mode
from licenzy.catalog.models import Kind, Product
from licenzy.entitlements.decision import standing
from licenzy.entitlements.models import Entitlement, Fact, State
from licenzy.projects.scope import Scope
from licenzy.runtime import Runtime
from licenzy.subjects.models import Subject
from licenzy.workspace.models import AuditEntry, Role
from tests.portal.set_up_side import SidePages, side_pages
from tests.support.cast import Cast, make_connection, make_key, make_product, make_subject, make_user
from tests.support.clock import START
from tests.support.purchases import make_entitlement
from tests.support.visits import csrf_token

pytestmark = pytest.mark.slow

DAY = timedelta(days=1)
ACTS = {
    "revocation": {"note": "as agreed"},
    "adjustments": {"note": "as agreed", "units": "5", "direction": "add"},
    "extensions": {"note": "as agreed", "amount": "2", "amount_unit": "days"},
    "lifting": {"note": "as agreed"},
}
Holds = Callable[..., Entitlement]


@pytest.fixture
def support(app: Flask, cast: Cast, runtime: Runtime) -> SidePages:
    """The test side as somebody of the role support sees it."""
    with runtime.database.write() as db:
        make_user(db, email="support@example.com", workspace_id=cast.owner.workspace_id, role=Role.SUPPORT)
    return side_pages(app, cast, email="support@example.com")


@pytest.fixture
def subject(runtime: Runtime, cast: Cast) -> Subject:
    with runtime.database.write() as db:
        return make_subject(db, project_id=cast.project_id)


@pytest.fixture
def holds(runtime: Runtime, cast: Cast, subject: Subject) -> Holds:
    """Something granted by hand, so that the facts behind it are real."""

    def granted(kind: Kind = Kind.USAGE_PACK, *, to: Subject = subject, **columns: Any) -> Entitlement:
        from licenzy.entitlements import grants
        from licenzy.entitlements.grants import OperatorContext
        from licenzy.workspace.audit import Actor

        with runtime.database.write() as db:
            product = make_product(
                db, project_id=to.project_id, mode=to.mode, product_code=f"P_{kind.name}", kind=kind
            )
            hand = OperatorContext(Scope.of(to), Actor(), "to begin with", START)
            until = None if kind is Kind.USAGE_PACK else START + DAY
            (change,) = grants.grant(db, hand, subject_ref=to.subject_ref, product=product, until=until)
            row = db.get_one(Entitlement, (to.project_id, to.mode, change["entitlement"]))
            for name, value in columns.items():
                setattr(row, name, value)
            db.add(row)
            return row

    return granted


def row(runtime: Runtime, entitlement: Entitlement) -> Entitlement:
    with runtime.database.read() as db:
        return db.get_one(Entitlement, (entitlement.project_id, entitlement.mode, entitlement.id))


def send(
    pages: SidePages, entitlement: Entitlement, act: str, *, htmx: bool = False, **values: Any
) -> TestResponse:
    """Fill in the form of an act on the customer's page, and send it."""
    place = f"/customers/{entitlement.subject_id}"
    return pages.send(place, f"/entitlements/{entitlement.id}/{act}", {**ACTS[act], **values}, htmx=htmx)


def audited(runtime: Runtime) -> list[tuple[str, str | None]]:
    with runtime.database.read() as db:
        rows = db.exec(select(AuditEntry).order_by(AuditEntry.id)).all()
    return [(row.action, row.actor_user_id) for row in rows if row.action.startswith("entitlement.")]


def test_an_end_moves_in_days(support: SidePages, runtime: Runtime, holds: Holds) -> None:
    held = holds(Kind.TIME_PASS)
    answer = send(support, held, "extensions", note="They were away.")
    assert answer.status_code == 303
    assert row(runtime, held).ends_at == START + 3 * DAY
    page = support.get(f"/customers/{held.subject_id}").text
    for said in ("Extended.", "Extended by 2 days", "They were away.", "By Support"):
        assert said in page, said
    action, actor = audited(runtime)[-1]
    assert action == "entitlement.extend"
    assert actor is not None


def test_units_are_added_and_taken(support: SidePages, runtime: Runtime, holds: Holds) -> None:
    held = holds(used_units=990)
    assert send(support, held, "adjustments", units="20").status_code == 303
    assert row(runtime, held).granted_units == 1020
    assert send(support, held, "adjustments", units="30", direction="take").status_code == 303
    assert row(runtime, held).granted_units == 990
    refused = send(support, held, "adjustments", units="1", direction="take")
    assert refused.status_code == 422
    assert "already used or reserved" in refused.text
    assert row(runtime, held).granted_units == 990


def test_what_is_revoked_is_over(support: SidePages, runtime: Runtime, holds: Holds) -> None:
    held = holds()
    assert send(support, held, "revocation").status_code == 303
    assert standing(row(runtime, held), START) == ("canceled", False, "canceled")
    page = support.get(f"/customers/{held.subject_id}").text
    assert "No access" in page
    assert "<dt>Ended</dt>" in page
    assert "Valid until" not in page
    assert "/revocation" not in page


def test_a_suspension_is_lifted(support: SidePages, runtime: Runtime, holds: Holds) -> None:
    held = holds(Kind.TIME_PASS, state=State.SUSPENDED, reason="disputed")
    assert send(support, held, "lifting").status_code == 303
    assert row(runtime, held).state is State.ACTIVE


def test_only_what_has_a_point_is_offered(support: SidePages, holds: Holds, subject: Subject) -> None:
    place = f"/customers/{subject.id}"
    assert "/entitlements/" not in support.get(place).text
    pack, time_pass = holds(), holds(Kind.TIME_PASS)
    page = support.get(place).text
    offered = {
        (held.id, act)
        for held in (pack, time_pass)
        for act in ACTS
        if f"/entitlements/{held.id}/{act}" in page
    }
    assert offered == {
        (pack.id, "adjustments"),
        (pack.id, "revocation"),
        (time_pass.id, "extensions"),
        (time_pass.id, "revocation"),
    }


@pytest.mark.parametrize(
    ("act", "values", "said"),
    [
        ("revocation", {"note": ""}, "Give a reason"),
        ("revocation", {"note": "  "}, "Give a reason"),
        ("revocation", {"note": "x" * 501}, "At most 500 characters"),
        ("revocation", {"submission_id": "'--"}, "Reload the page"),
        ("revocation", {"submission_id": "x" * 65}, "Reload the page"),
        ("revocation", {"submission_id": ""}, "Reload the page"),
        ("adjustments", {"units": ""}, "Enter the number of units."),
        ("adjustments", {"units": "0"}, "A whole number from 1"),
        ("adjustments", {"units": "-5"}, "A whole number from 1"),
        ("adjustments", {"units": "1.5"}, "Not a valid integer"),
        ("adjustments", {"units": "many"}, "Not a valid integer"),
        ("adjustments", {"units": "9" * 5000}, "integer"),
        ("adjustments", {"units": str(10**9 + 1)}, "A whole number from 1"),
        ("adjustments", {"direction": "sideways"}, "Not a valid choice"),
        ("extensions", {"amount": ""}, "Enter a length."),
        ("extensions", {"amount": "0"}, "A whole number from 1"),
        ("extensions", {"amount": "101", "amount_unit": "years"}, "At most 100 years"),
        ("extensions", {"amount": "100", "amount_unit": "years"}, "more than 100 years ahead"),
        ("extensions", {"amount_unit": "fortnights"}, "Not a valid choice"),
    ],
)
@pytest.mark.parametrize("htmx", [False, True], ids=["plain", "htmx"])
def test_what_a_form_cannot_hold(
    support: SidePages,
    runtime: Runtime,
    holds: Holds,
    act: str,
    values: dict[str, str],
    said: str,
    htmx: bool,
) -> None:
    held = holds(Kind.TIME_PASS if act == "extensions" else Kind.USAGE_PACK)
    before = held.model_dump()
    answer = send(support, held, act, htmx=htmx, **values)
    assert answer.status_code == 422
    assert said in answer.text
    assert ("<html" in answer.text) is not htmx
    name = {"revocation": "revoke", "adjustments": "adjust", "extensions": "extend"}[act]
    assert f'id="{name}-{held.id}"' in answer.text
    assert row(runtime, held).model_dump() == before
    assert len(audited(runtime)) == 1  # The grant.


def test_an_act_that_has_no_point_is_refused(support: SidePages, runtime: Runtime, holds: Holds) -> None:
    for kind, act, said in (
        (Kind.USAGE_PACK, "lifting", "No refund or dispute"),
        (Kind.USAGE_PACK, "extensions", "an entitlement that has an end"),
        (Kind.TIME_PASS, "adjustments", "Only a usage pack has units"),
    ):
        held = holds(kind) if row_of_kind(runtime, kind) is None else row_of_kind(runtime, kind)
        assert held is not None
        sent = {
            **ACTS[act],
            "submission_id": "0a",
            "csrf_token": csrf_token(support.client, support.base + "/customers"),
        }
        answer = support.client.post(
            f"{support.base}/customers/{held.subject_id}/entitlements/{held.id}/{act}", data=sent
        )
        assert answer.status_code == 422, act
        assert said in answer.text, act


def row_of_kind(runtime: Runtime, kind: Kind) -> Entitlement | None:
    with runtime.database.read() as db:
        return db.exec(select(Entitlement).where(Entitlement.kind == kind)).first()


def test_a_form_sent_twice_is_done_once(support: SidePages, runtime: Runtime, holds: Holds) -> None:
    held = holds()
    form = support.form(f"/customers/{held.subject_id}", f"{held.id}/adjustments")
    data = {**form.fields, **ACTS["adjustments"]}
    for _ in range(2):
        assert support.client.post(form.action, data=data).status_code == 303
    assert row(runtime, held).granted_units == 1005
    assert "Nothing changed" in support.get(f"/customers/{held.subject_id}").text
    assert [action for action, _ in audited(runtime)] == ["entitlement.grant", "entitlement.adjust"]


def test_in_live_the_ref_is_typed_before_something_is_taken(
    app: Flask, cast: Cast, runtime: Runtime, holds: Holds
) -> None:
    with runtime.database.write() as db:
        buyer = make_subject(db, project_id=cast.project_id, mode=Mode.LIVE, subject_ref="user 7 & co")
    held = holds(to=buyer)
    pages = side_pages(app, cast, mode="live")
    acts: list[tuple[str, dict[str, Any]]] = [("revocation", {}), ("adjustments", {"direction": "take"})]
    for act, values in acts:
        for typed in ("", "user 7", "USER 7 & CO"):
            answer = send(pages, held, act, typed=typed, **values)
            assert answer.status_code == 422
            assert "This does not match the customer’s subject_ref" in answer.text
    assert row(runtime, held).granted_units == 1000
    assert send(pages, held, "adjustments").status_code == 303  # Adding takes nothing.
    assert send(pages, held, "adjustments", direction="take", typed="user 7 & co").status_code == 303
    assert send(pages, held, "revocation", typed=" user 7 & co ").status_code == 303
    assert row(runtime, held).state is State.CANCELED


def test_in_test_nothing_is_typed(support: SidePages, holds: Holds) -> None:
    held = holds()
    assert "Type <strong" not in support.get(f"/customers/{held.subject_id}").text


def granted(runtime: Runtime) -> list[Entitlement]:
    with runtime.database.read() as db:
        return list(db.exec(select(Entitlement).order_by(Entitlement.id)))


@pytest.fixture
def products(runtime: Runtime, cast: Cast) -> list[Product]:
    with runtime.database.write() as db:
        return [
            make_product(db, project_id=cast.project_id, product_code=kind.name, kind=kind) for kind in Kind
        ]


def give(pages: SidePages, htmx: bool = False, **values: Any) -> TestResponse:
    return pages.send("/grants/new", "/grants/new", {"note": "a gift", **values}, htmx=htmx)


@pytest.mark.parametrize(
    ("values", "until", "units"),
    [
        ({"product_code": "SUBSCRIPTION"}, None, 0),
        ({"product_code": "SUBSCRIPTION", "amount": "3", "amount_unit": "hours"}, timedelta(hours=3), 0),
        ({"product_code": "TIME_PASS"}, DAY, 0),
        ({"product_code": "TIME_PASS", "amount": "2", "amount_unit": "weeks", "units": "7"}, 14 * DAY, 0),
        ({"product_code": "USAGE_PACK"}, None, 1000),
        ({"product_code": "USAGE_PACK", "units": "50", "amount": "1", "amount_unit": "days"}, DAY, 50),
    ],
)
@pytest.mark.usefixtures("products")
def test_each_kind_is_granted_with_what_it_needs(
    support: SidePages, runtime: Runtime, values: dict[str, Any], until: timedelta | None, units: int
) -> None:
    answer = give(support, subject_ref="brand new / user", **values)
    assert answer.status_code == 303
    (held,) = granted(runtime)
    assert held.granted_units == units
    assert held.ends_at == (START + until if until is not None else None)
    page = support.client.get(answer.headers["Location"]).text
    assert f"{values['product_code']} was granted to brand new / user." in page
    assert "Has access" in page
    assert "a gift" in page


@pytest.mark.usefixtures("products")
def test_a_grant_goes_to_whom_one_came_from(support: SidePages, runtime: Runtime, subject: Subject) -> None:
    page = support.get(f"/customers/{subject.id}").text
    assert "/grants/new?subject_ref=user_123" in page
    form = support.form("/grants/new?subject_ref=user_123", "/grants/new")
    assert form.fields["subject_ref"] == "user_123"
    data = {**form.fields, "product_code": "USAGE_PACK", "note": "x"}
    for _ in range(2):
        assert support.client.post(form.action, data=data).status_code == 303
    (held,) = granted(runtime)
    assert held.subject_id == subject.id


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"subject_ref": ""}, "Enter the customer’s subject_ref"),
        ({"subject_ref": "x" * 201}, "1 to 200 characters"),
        ({"subject_ref": "a\u202eb"}, "text direction overrides"),
        ({"product_code": ""}, "Choose a product."),
        ({"product_code": "NONE"}, "Not a valid choice"),
        ({"note": ""}, "Give a reason"),
        ({"units": "0"}, "A whole number from 1"),
        ({"amount": "0"}, "A whole number from 1"),
        ({"amount": "1000000", "amount_unit": "years"}, "At most 100 years"),
        ({"amount_unit": "x"}, "Not a valid choice"),
        ({"submission_id": "no!"}, "Reload the page"),
    ],
)
@pytest.mark.usefixtures("products")
def test_grants_that_make_no_sense(
    support: SidePages, runtime: Runtime, values: dict[str, str], said: str
) -> None:
    for htmx in (False, True):
        sent = {"subject_ref": "user_1", "product_code": "USAGE_PACK", **values}
        answer = give(support, htmx, **sent)
        assert answer.status_code == 422
        assert said in answer.text
        assert ("<html" in answer.text) is not htmx
    assert granted(runtime) == []


def test_there_is_nothing_to_grant_without_products(support: SidePages) -> None:
    assert "No products in test mode yet" in support.get("/grants/new").text


def test_a_product_of_the_other_mode_cannot_be_granted(
    support: SidePages, runtime: Runtime, cast: Cast
) -> None:
    with runtime.database.write() as db:
        make_product(db, project_id=cast.project_id, product_code="HERE")
        make_product(db, project_id=cast.project_id, product_code="THERE", mode=Mode.LIVE)
    assert give(support, subject_ref="u", product_code="THERE").status_code == 422
    assert granted(runtime) == []


def test_by_hand_is_by_the_clock_of_the_sandbox_account(
    support: SidePages, runtime: Runtime, cast: Cast, holds: Holds
) -> None:
    with runtime.database.write() as db:
        make_connection(
            db, project_id=cast.project_id, secret_box=runtime.secret_box, clock_offset_seconds=10 * 86_400
        )
        make_product(db, project_id=cast.project_id, product_code="DAY", kind=Kind.TIME_PASS)
    assert give(support, subject_ref="user_123", product_code="DAY").status_code == 303
    (held,) = granted(runtime)
    assert held.ends_at == START + 11 * DAY
    with runtime.database.read() as db:
        assert db.exec(select(Fact.recorded_at)).one() == START
        assert db.exec(select(AuditEntry.at).where(AuditEntry.action == "entitlement.grant")).one() == START


def test_many_entitlements_stay_readable(support: SidePages, runtime: Runtime, subject: Subject) -> None:
    with runtime.database.write() as db:
        for _ in range(30):
            make_entitlement(db, subject=subject, state=State.CANCELED)
        gives_access = make_entitlement(db, subject=subject, starts_at=START - DAY)
    page = support.get(f"/customers/{subject.id}")
    assert page.text.count("<article") == 25
    assert page.text.index(f'id="{gives_access.id}"') < page.text.index("is-ended")
    assert "Show 6 more" in page.text
    page = support.get(f"/customers/{subject.id}?all=1")
    assert page.text.count("<article") == 31
    ids = [piece.split('"')[0] for piece in page.text.split('id="')[1:]]
    assert len(ids) == len(set(ids)), "every id stands once"


def test_access_changes_with_it(app: Flask, support: SidePages, runtime: Runtime, cast: Cast) -> None:
    with runtime.database.write() as db:
        token = make_key(db, project_id=cast.project_id)[1]
        make_product(db, project_id=cast.project_id)

    def allowed() -> bool:
        asked = {"json": {"subject_ref": "user_9"}, "headers": {"Authorization": f"Bearer {token}"}}
        return bool(app.test_client().post("/v1/access/check", **asked).get_json()["allowed"])

    assert not allowed()
    give(support, subject_ref="user_9", product_code="PRO_MONTHLY")
    assert allowed()
    assert send(support, granted(runtime)[0], "revocation", htmx=True).headers["HX-Redirect"]
    assert not allowed()
