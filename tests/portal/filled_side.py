"""A side of the cast's project on which something has happened, with ordinary or with the longest names."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from typing import Any

from sqlmodel import Session, select

from licenzy.alignment.modes import Mode
from licenzy.api_keys.refusals import RefusedCall, keep_refusals
from licenzy.catalog.included import Every, IncludedUnits, Rollover
from licenzy.catalog.models import Kind
from licenzy.deliveries.claims import DeliveryOutcome, claim_due, record_outcomes
from licenzy.deliveries.models import EventType
from licenzy.entitlements.grants import OperatorContext
from licenzy.entitlements.models import Entitlement, Purchase, State, UsageWindow
from licenzy.entitlements.overrides import Override, set_override
from licenzy.kit.clock import from_unix
from licenzy.kit.ids import new_id
from licenzy.projects.models import Project
from licenzy.projects.scope import Scope
from licenzy.runtime import Runtime
from licenzy.stripe_events.models import EventStatus
from licenzy.subjects.models import Subject
from licenzy.workspace.audit import Actor
from licenzy.workspace.models import User
from tests.portal.filled_import import make_imports
from tests.portal.fixtures_events import make_event, record_fact_of
from tests.portal.test_reconciliation import make_walk
from tests.portal.test_untracked import make_untracked
from tests.support.cast import (
    Cast,
    make_backfill,
    make_connection,
    make_key,
    make_product,
    make_product_price,
    make_subject,
)
from tests.support.clock import START
from tests.support.endpoints import enqueue_events, make_endpoint
from tests.support.holders import make_term_change
from tests.support.included_units import ANCHOR, NEXT_YEAR, at, billed, line, paid, record, sold, state
from tests.support.purchases import make_attempt, make_entitlement


@dataclass(frozen=True, slots=True)
class Names:
    """What merchants and Stripe name freely."""

    product_code: str = "PRO_MONTHLY"
    product_name: str = "Pro, monthly"
    subject_ref: str = "user_123"
    email: str = "buyer@example.com"
    key: str = "a key"
    account: str = "The tests' shop"
    project: str = "Our project"
    person: str = "Owner"
    url: str = "http://127.0.0.1:9999/hook"
    event_type: str = "invoice.paid"
    limit: str = "projects"
    unit: str = "songs"


LONGEST = Names(
    product_code="ENTERPRISE_WITHOUT_ANY_PLACE_TO_BREAK_A_LINE_AND_64_CHARS_LONG_X",
    product_name="Ünternehmens-Lizenz für größere Teams – 年間サブスクリプション, " * 3,
    subject_ref="größte-organisation/東京/" + "0123456789abcdef" * 11 + "/x",
    email=f"{'a' * 64}@{'subdomain-of-a-long-name.' * 4}example.com",
    key="backend in the region with the longest name, eu-central-1, second of two keys",
    account="Gesellschaft für außerordentlich lange Firmennamen mbH & Co. KG, 東京支社",
    project="Ein Projekt mit einem außerordentlich langen Namen, das 東京 heißt",
    person="Maximiliane Wolfeschlegelsteinhausenbergerdorff-Przybyszewska",
    url=f"http://127.0.0.1:9999/{'a-long-path-without-end/' * 8}hook",
    event_type="customer.subscription.pending_update_applied",
    limit="projects_without_any_place_to_break_a_line_and_64_character_long",
    unit="seconds_of_rendered_video_in_4k_",
)
INCLUDED = (
    IncludedUnits("images", 1000, Every.MONTH, Rollover(500), trial_units=50, low_units=100),
    IncludedUnits("w" * 32, 1_000_000_000, Every.DAY),
)


def include_units(db: Session, subject: Subject, names: Names) -> None:
    """Give a subject a plan that includes two units, of which three windows were used."""
    rollover = {"at_most": 500}
    terms = sold(
        line("images", 1000, rollover=rollover),
        line(names.unit, 1_000_000_000, rollover=rollover),
        code=names.product_code,
    )
    span = ANCHOR, NEXT_YEAR
    facts = [
        state(ANCHOR, terms, span=span, invoice="in_1"),
        paid("in_1", ANCHOR, billed(span, 20_000), reason="subscription_create"),
    ]
    record(db, subject, facts, now=START)
    of_subject = select(Entitlement).where(Entitlement.subject_id == subject.id)
    owned = db.exec(of_subject.where(Entitlement.purchase_key == "sub_1")).one()
    months = [at(f"2026-{month}-15T10:00:00") for month in ("09", "10", "11", "12")]
    for unit, granted in (("images", 1000), (names.unit, 1_000_000_000)):
        for place, (begin, end) in enumerate(pairwise(months)):
            db.add(
                UsageWindow(
                    project_id=subject.project_id,
                    mode=subject.mode,
                    entitlement_id=owned.id,
                    unit=unit,
                    starts_at=from_unix(begin),
                    ends_at=from_unix(end),
                    subject_id=subject.id,
                    holder_id=owned.id,
                    granted_units=granted,
                    carried_units=500 if place else 0,
                    used_units=granted // 4 * (place + 1) - 180,
                    reserved_units=40 if place == 2 else 0,
                    overdrawn_units=30 if place == 2 else 0,
                    opened_at=from_unix(begin),
                    spent_at_end=granted // 4 if place < 2 else None,
                )
            )
    db.flush()


def fill_side(
    runtime: Runtime, cast: Cast, *, mode: Mode = Mode.TEST, names: Names | None = None, free: bool = False
) -> list[str]:
    """Let something of every kind happen; gives the addresses below the side of what has pages of its own.

    With `free` there is a default product too.
    """
    names = names or Names()
    here: dict[str, Any] = {"project_id": cast.project_id, "mode": mode}
    with runtime.database.write() as db:
        connection = make_connection(db, secret_box=runtime.secret_box, **here)
        connection.account_name = names.account
        db.get_one(Project, cast.project_id).name = names.project
        db.get_one(User, cast.owner.user_id).name = names.person
    untracked = make_untracked(runtime, connection, email=names.email)
    subscription = make_untracked(
        runtime,
        connection,
        email=None,
        session_id=None,
        payment_status=None,
        event_id=None,
        purchase_key=new_id("sub"),
        recurring=True,
        customer=new_id("cus"),
        status="past_due",
        items=[{"price": "price_" + "x" * 24, "quantity": 3, "product": "prd_x"}],
        sold_here=True,
    )
    make_walk(runtime, connection, problem="Stripe cannot be reached right now.")
    with runtime.database.write() as db:
        limits = {names.limit: 10, "seats": None}
        product = make_product(
            db,
            product_code=names.product_code,
            stripe_product_name=names.product_name,
            included=[line.to_json() for line in INCLUDED],
            trial_days=14,
            limits=limits,
            features=[names.limit],
            **here,
        )
        free_product = (
            make_product(db, product_code="FREE", kind=Kind.FREE, limits=limits, is_default=True, **here)
            if free
            else None
        )
        make_product_price(db, product, label="year", interval="year", active=False)
        retired = make_product_price(db, product, label="x" * 32, retired_at=product.created_at)
        make_backfill(db, retired)
        make_term_change(db, product, features=["a" * 64, "api"], stopped_at=START, ended_at=START)
        make_term_change(db, product, features=["api"], total=1_000_000, checked=400_000, changed=300_000)
        imports = make_imports(
            db,
            connection,
            price=product.selling_prices[0].stripe_price_id,
            subject_ref=names.subject_ref,
            email=names.email,
        )
        make_product(db, product_code="OLD", archived_at=product.created_at, **here)
        key, _ = make_key(db, name=names.key, scopes="runtime audit", **here)
        replaced, _ = make_key(
            db,
            name=names.key,
            replaced_by=key.id,
            expires_at=runtime.clock() + timedelta(days=1),
            last_used_at=key.created_at + timedelta(seconds=1),
            **here,
        )
        refused = RefusedCall(
            new_id("req"),
            START,
            409,
            "insufficient_usage",
            "POST",
            "/v1/usage/reservations/{reservation_id}/commit",
        )
        keep_refusals(db, Scope(cast.project_id, mode), key_id=replaced.id, calls=[refused])
        make_key(db, name="old", revoked_at=product.created_at, **here)
        subject = make_subject(db, subject_ref=names.subject_ref, email=names.email, **here)
        attempt = make_attempt(db, connection=connection, subject=subject, product=product)
        code = names.product_code
        owned = make_entitlement(db, subject=subject, product_code=code, attempt_id=attempt.id, limits=limits)
        purchase = db.get_one(Purchase, (owned.project_id, owned.mode, owned.purchase_key))
        purchase.trialed_at, purchase.trialed_products = START, [code]
        operator = OperatorContext(Scope(**here), Actor(cast.owner.user_id), "as agreed by phone", START)
        for override in (Override(limit=names.limit, value=25), Override(feature=names.limit)):
            set_override(db, operator, subject=subject, override=override)
        pack: dict[str, Any] = {
            "subject": subject,
            "product_code": code,
            "kind": Kind.USAGE_PACK,
            "granted_units": 5,
        }
        make_entitlement(db, state=State.CANCELED, **pack)
        make_entitlement(db, stripe_checkout_session_id=f"cs_{mode}_{'a1' * 29}", **pack)
        make_entitlement(db, subject=subject, product_code=code, state=State.SUSPENDED, reason="disputed")
        include_units(db, subject, names)
        for status in EventStatus:
            make_event(
                db,
                connection=connection,
                event_id=f"evt_{status.value}",
                status=status,
                type=names.event_type,
            )
        change = {"entitlement": owned.id, "before": None, "after": {"state": "active"}}
        problem = {"object": "sub_9", "problem": "It has no items."}
        report = {"events_missed": 2, "differences": [change], "problems": [problem]}
        record_fact_of(
            db,
            event=make_event(db, connection=connection, event_id="evt_changed", changes=[change]),
            entitlement=owned,
        )
        endpoint, _secret = make_endpoint(
            db,
            secret_box=runtime.secret_box,
            url=names.url.replace("http:", "https:") if mode.livemode else names.url,
            **here,
        )
        for event_type in (EventType.INVOICE_PAYMENT_SUCCEEDED, *[EventType.ENTITLEMENT_UPDATED] * 2):
            enqueue_events(db, event_type=event_type, subject_id=subject.id, **here)
        claims = claim_due(db, room={endpoint.id: 2}, now=START)
        answers = ((500, "The endpoint answered 500. " * 12, "broken"), (200, None, "ok"))
        outcomes = [
            DeliveryOutcome(claim, START, 12, status=status, error=error, answer=answer)
            for claim, (status, error, answer) in zip(claims, answers, strict=True)
        ]
        record_outcomes(db, outcomes, now=START)
    make_walk(runtime, connection, full=True, report=report)
    return [
        f"/api-keys/{key.id}",
        f"/api-keys/{replaced.id}",
        f"/api-keys/{replaced.id}?q=req_none",
        f"/webhooks/{endpoint.id}",
        f"/deliveries/{claims[0].delivery_id}",
        f"/deliveries/{claims[1].delivery_id}",
        "/deliveries?status=dead",
        f"/products/{product.id}",
        *([f"/products/{free_product.id}"] if free_product is not None else []),
        f"/products/{product.id}/terms/2/holders",
        f"/products/{product.id}/terms/1/holders",
        f"/setup/purchase?attempt={attempt.id}",
        f"/customers/{subject.id}",
        f"/customers/{subject.id}/erasure",
        f"/customers?search={'nobody' * 30}",
        f"/search?q={'nobody' * 30}",
        f"/search?q={names.product_code}",
        "/events?status=failed",
        "/events?status=parked",
        f"/untracked/{untracked.id}",
        f"/untracked/{subscription.id}",
        "/untracked?show=adopted",
        *imports,
        "/events/evt_failed",
        "/events/evt_changed",
    ]
