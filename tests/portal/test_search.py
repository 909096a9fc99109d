"""The search of a project's pages: ids lead to their records, words to what they are a part of."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from sqlmodel import Session

from licenzy.alignment.modes import Mode
from licenzy.api_keys.refusals import RefusedCall, keep_refusals
from licenzy.deliveries.models import Delivery, EventType, OutboundEvent, WebhookEndpoint
from licenzy.entitlements.models import PaymentLink, Purchase
from licenzy.kit.clock import from_micros
from licenzy.kit.ids import milliseconds_of, new_id
from licenzy.projects.scope import Scope
from licenzy.runtime import Runtime
from licenzy.stripe_events.models import UntrackedCheckout
from licenzy.usage.models import LedgerRow, Reservation
from tests.portal.fixtures_events import make_event
from tests.portal.set_up_side import SidePages, side_pages
from tests.support.cast import Cast, make_connection, make_key, make_product, make_subject
from tests.support.clock import START
from tests.support.purchases import make_attempt, make_entitlement
from tests.support.visits import visiting


@dataclass(frozen=True)
class Side:
    """A side where one of everything is recorded, and the pages that show it."""

    subject: str
    pages: dict[str, str]
    """By the id that is searched for, the end of the address that it leads to."""


def record_everything(db: Session, runtime: Runtime, *, project_id: str, mode: Mode = Mode.TEST) -> Side:
    """One record of every kind that has an id, with ids that begin alike in every mode."""
    of_mode: dict[str, Any] = {"project_id": project_id, "mode": mode}
    connection = make_connection(db, secret_box=runtime.secret_box, **of_mode)
    subject = make_subject(
        db, subject_ref="Jörg", email="jorg@example.com", stripe_customer_id=f"cus_{mode}", **of_mode
    )
    product = make_product(db, product_code="PRO_YEARLY", stripe_price_id=f"price_{mode}", **of_mode)
    session = f"cs_{mode}_a1"
    attempt = make_attempt(
        db,
        connection=connection,
        subject=subject,
        product=product,
        session_id=session,
        stripe_subscription_id=f"sub_{mode}_of_attempt",
    )
    entitlement = make_entitlement(db, subject=subject)
    db.add(Purchase(key=f"sub_{mode}", subject_id=subject.id, created_at=START, **of_mode))
    db.flush()
    for ref in ("pi", "in", "ch"):
        db.add(PaymentLink(ref=f"{ref}_{mode}", purchase_key=f"sub_{mode}", **of_mode))
    make_event(db, connection=connection, event_id=f"evt_{mode}", object_id=f"pi_{mode}_of_nobody")
    untracked = UntrackedCheckout(
        id=new_id("unt"),
        connection_id=connection.id,
        session_id=f"cs_{mode}_untracked",
        purchase_key=f"sub_{mode}_untracked",
        recurring=True,
        payment_status="paid",
        event_id=f"evt_{mode}",
        completed_at=START,
        kept_at=START,
        **of_mode,
    )
    reservation = Reservation(
        id=new_id("rsv"), subject_id=subject.id, units=1, created_at=START, expires_at=START, **of_mode
    )
    request_id = new_id("req")
    used = LedgerRow(
        subject_id=subject.id,
        request_id=request_id,
        entitlement_id=entitlement.id,
        units=1,
        used_at=from_micros(milliseconds_of(request_id) * 1000) + timedelta(seconds=2),
        **of_mode,
    )
    endpoint = WebhookEndpoint(
        id=new_id("whe"),
        url="https://example.com/hook",
        types=[],
        secret_masked="whsec_…",
        secret_saved_at=START,
        created_at=START,
        **of_mode,
    )
    outbound = OutboundEvent(
        id=new_id("evt"),
        type=EventType.USAGE_CONSUMED,
        subject_id=subject.id,
        body="{}",
        created_at=START,
        **of_mode,
    )
    db.add_all([untracked, reservation, used, endpoint, outbound])
    db.flush()
    key, _ = make_key(db, name="Grafana", **of_mode)
    refused = RefusedCall(new_id("req"), START, 400, "invalid_json", "POST", "/v1/access/check")
    keep_refusals(db, Scope(project_id, mode), key_id=key.id, calls=[refused])
    delivery = Delivery(
        id=new_id("dlv"),
        endpoint_id=endpoint.id,
        event_id=outbound.id,
        type=outbound.type,
        created_at=START,
        **of_mode,
    )
    db.add(delivery)
    db.flush()
    customer = f"/customers/{subject.id}"
    to_customer = [
        *(subject.id, f"cus_{mode}", attempt.id, session, f"sub_{mode}", f"sub_{mode}_of_attempt"),
        *(entitlement.id, f"pi_{mode}", f"in_{mode}", f"ch_{mode}", request_id, reservation.id),
    ]
    return Side(
        subject.id,
        {
            **dict.fromkeys(to_customer, customer),
            f"evt_{mode}": f"/events/evt_{mode}",
            f"pi_{mode}_of_nobody": f"/events?about=pi_{mode}_of_nobody",
            **dict.fromkeys(
                (untracked.id, f"cs_{mode}_untracked", f"sub_{mode}_untracked"), f"/untracked/{untracked.id}"
            ),
            **dict.fromkeys((product.id, f"price_{mode}"), f"/products/{product.id}"),
            endpoint.id: f"/webhooks/{endpoint.id}",
            key.id: f"/api-keys/{key.id}",
            refused.request_id: f"/api-keys/{key.id}?q={refused.request_id}",
            **dict.fromkeys((delivery.id, outbound.id), f"/deliveries/{delivery.id}"),
        },
    )


@pytest.fixture
def pages(app: Flask, cast: Cast) -> SidePages:
    return side_pages(app, cast)


@pytest.fixture
def recorded(runtime: Runtime, cast: Cast) -> Side:
    with runtime.database.write() as db:
        return record_everything(db, runtime, project_id=cast.project_id)


def search(pages: SidePages, text: str) -> Any:
    return pages.get("/search", query_string={"q": text})


def test_an_id_leads_straight_to_its_page(pages: SidePages, recorded: Side) -> None:
    for text, page in recorded.pages.items():
        for field in ("/search?q=", "/customers?search="):
            answer = pages.get(f"{field}%20{text}%20")
            assert (answer.status_code, answer.location) == (303, f"{pages.base}{page}"), text
    for page in set(recorded.pages.values()):
        assert pages.get(page).status_code == 200, page


def test_an_id_of_the_other_mode_leads_there_and_a_foreign_one_nowhere(
    app: Flask, runtime: Runtime, cast: Cast, pages: SidePages, recorded: Side
) -> None:
    with runtime.database.write() as db:
        live = record_everything(db, runtime, project_id=cast.project_id, mode=Mode.LIVE)
        foreign = cast.stranger.project_id
        make_event(
            db,
            connection=make_connection(db, project_id=foreign, secret_box=runtime.secret_box),
            event_id="evt_foreign",
        )
        make_subject(db, project_id=foreign, subject_ref="of_foreign", stripe_customer_id="cus_foreign")
    for text, page in live.pages.items():
        answer = search(pages, text)
        assert answer.status_code == 200, text
        assert "Found in live mode" in answer.text, text
        assert f'href="/projects/{cast.project_id}/live{page}"' in answer.text, text
        listed = pages.get("/customers", query_string={"search": text})
        assert listed.location == f"{pages.base}/search?q={text}"
    for text in ("cus_foreign", "evt_foreign"):
        answer = search(pages, text)
        assert answer.status_code == 200
        assert "No record has this id" in answer.text
        assert pages.get("/customers", query_string={"search": text}).status_code == 200
    assert "of_foreign" not in search(pages, "of_foreign").text.replace("“of_foreign”", "").replace(
        '"of_foreign"', ""
    )
    stranger = visiting(app, cast.stranger.email)
    assert stranger.get(f"{pages.base}/search?q=cus_test").status_code == 404


def test_words_are_found_by_group(pages: SidePages, recorded: Side, runtime: Runtime, cast: Cast) -> None:
    found = search(pages, "JORG@")
    assert found.status_code == 200
    assert f"/customers/{recorded.subject}" in found.text
    assert "Products</h2>" not in found.text
    assert "Products</h2>" in search(pages, "pro_y").text
    pages_found = search(pages, "stripe EV").text
    assert "Pages</h2>" in pages_found
    assert f'{pages.base}/events"' in pages_found
    with runtime.database.write() as db:
        for number in range(11):
            make_subject(db, project_id=cast.project_id, subject_ref=f"team_{number}")
    many = search(pages, "TEAM_").text
    assert many.count('class="row-link"') == 10
    assert f'{pages.base}/customers?search=TEAM_"' in many


def test_the_exact_ref_comes_first_and_an_id_of_several_records_shows_them(
    pages: SidePages, runtime: Runtime, cast: Cast
) -> None:
    with runtime.database.write() as db:
        exact = make_subject(db, project_id=cast.project_id, subject_ref="user_1").id
        longer = make_subject(
            db, project_id=cast.project_id, subject_ref="user_10", stripe_customer_id="cus_1"
        ).id
        named = make_subject(db, project_id=cast.project_id, subject_ref="cus_1").id
    text = search(pages, "user_1").text
    assert 0 < text.index(exact) < text.index(longer)
    for answer in (search(pages, "cus_1"), pages.get("/customers?search=cus_1", follow_redirects=True)):
        assert answer.status_code == 200
        assert named in answer.text
        assert longer in answer.text


@pytest.mark.parametrize(
    "text", ["", " ", "Q", "%", "_", "\\", "/", "مرحبا", "🦊", "\u0301", "evt_", "req_" + "z" * 26]
)
def test_odd_words_find_what_holds_them_and_nothing_else(
    pages: SidePages, recorded: Side, runtime: Runtime, cast: Cast, text: str
) -> None:
    with runtime.database.write() as db:
        odd = make_subject(db, project_id=cast.project_id, subject_ref="q%_\\/ مرحبا 🦊").id
    answer = search(pages, text)
    assert answer.status_code == 200
    assert (odd in answer.text) is (text in {"Q", "%", "_", "\\", "/", "مرحبا", "🦊"})
    assert recorded.subject not in answer.text


def test_what_cannot_be_searched_for_is_refused(pages: SidePages) -> None:
    for path in ("/search?q=a%00b", "/customers?search=a%00b"):
        explained = pages.get(path)
        assert explained.status_code == 200
        assert "This cannot be searched for" in explained.text
        assert "must not contain control characters" in explained.text
        assert "\0" not in explained.text
    for path in ("/search?q=a&x=%00", "/customers?search=a&before=%00", "/events?about=%00"):
        assert pages.get(path).status_code == 400
    assert "must have 1 to 200 characters" in search(pages, "x" * 500).text
    assert "must not contain control characters" in search(pages, "a\u202eb").text
    assert search(pages, "<script>").text.count("<script>") == 0


@pytest.mark.parametrize("secret", ["sk_live_abc", "rk_test_abc", "whsec_abc", "lz_live_abc"])
def test_a_secret_is_not_shown_again(pages: SidePages, secret: str) -> None:
    answer = search(pages, secret)
    assert answer.status_code == 200
    assert secret not in answer.text
    assert "is a secret" in answer.text
