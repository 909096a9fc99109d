"""What is on sale when the faults begin, and the stories that Stripe tells of it.

A story is what a process does while it may be killed; what must come of it is written down by hand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlmodel import Session

from licenzy.catalog.models import Kind, Product
from licenzy.checkout.models import CheckoutAttempt
from licenzy.connections.models import Connection
from licenzy.kit.secret_box import SecretBox
from licenzy.subjects.models import Subject
from tests.support.cast import make_cast, make_connection, make_product, make_subject
from tests.support.clock import START
from tests.support.purchases import (
    event,
    invoice_object,
    make_attempt,
    session_object,
    subscription_object,
)

SECRET = "whsec_of_the_faults_0123456789abcdef"
DAY = 86_400
PRICE = 1200
SETTLED_AFTER = 5
"""Seconds after which an object that was touched at the beginning is due to be read from Stripe."""
Json = dict[str, Any]


@dataclass(frozen=True)
class Deliver:
    """Stripe sends one event."""

    event: Json


@dataclass(frozen=True)
class Work:
    """The worker has a turn, some seconds after the story began."""

    after: float
    settle: bool = False
    """Whether it also reads from Stripe what is due; else it only applies what failed."""


@dataclass(frozen=True)
class Break:
    """From now on the database refuses new entitlements, as one does that is out of order in one place."""


@dataclass(frozen=True)
class Mend:
    """The database takes new entitlements again."""


Step = Deliver | Work | Break | Mend


@dataclass(frozen=True)
class Story:
    """What happens in a process that may be killed."""

    name: str
    steps: Sequence[Step]
    expected: Mapping[tuple[str, str], Json]
    """Every entitlement in the end, by purchase and item, with the columns that matter."""
    before: Sequence[Step] = ()
    """What happened in peace before."""
    concurrent: Sequence[Step] | None = None
    """What another process does at the same time."""
    any_order: bool = False
    """Whether the steps are events that may come in any order."""
    settle: bool = False
    """Whether the worker reads from Stripe in the end, too."""

    @property
    def events(self) -> set[str]:
        """The ids of all events that are sent."""
        steps = [*self.before, *self.steps, *(self.concurrent or ())]
        return {step.event["id"] for step in steps if isinstance(step, Deliver)}

    @property
    def is_one(self) -> bool:
        """Whether it is one piece: told from its first step whenever it is told."""
        return self.concurrent is not None or any(not isinstance(step, Deliver) for step in self.steps)


@dataclass
class Shop:
    """A connected project with something of each kind to sell."""

    db: Session
    connection: Connection
    subject: Subject
    pack: Product
    day: Product
    pro: Product
    stories: list[Story] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"/v1/webhooks/stripe/{self.connection.id}"


def open_shop(db: Session, secret_box: SecretBox, **of_connection: Any) -> Shop:
    """Write the rows that stand before anything happens."""
    project_id = make_cast(db, now=START).project_id
    connection = make_connection(
        db, project_id=project_id, secret_box=secret_box, webhook_secret=SECRET, **of_connection
    )
    return Shop(
        db,
        connection,
        make_subject(db, project_id=project_id),
        make_product(db, project_id=project_id, kind=Kind.USAGE_PACK, product_code="PACK"),
        make_product(db, project_id=project_id, kind=Kind.TIME_PASS, product_code="DAY"),
        make_product(db, project_id=project_id, kind=Kind.SUBSCRIPTION, product_code="PRO"),
    )


def stories(shop: Shop) -> list[Story]:
    """All stories that need nothing but the product and its database."""
    return [
        _pack(shop),
        _passes(shop),
        _subscription(shop),
        _refund_first(shop),
        _duplicates(shop),
        _failing(shop),
        _at_once(shop),
        _two_workers(shop),
    ]


def _pack(shop: Shop) -> Story:
    steps, expected = _sold_pack(shop, "pack", quantity=3)
    return Story("a pack is bought", steps, expected, any_order=True)


def _sold_pack(shop: Shop, tag: str, *, quantity: int) -> tuple[list[Step], dict[tuple[str, str], Json]]:
    """Two events that tell of one paid session, the second one late."""
    session = _session(shop, shop.pack, tag, quantity=quantity)
    at = START - timedelta(seconds=90)
    steps: list[Step] = [
        Deliver(event("checkout.session.completed", session, at=at, event_id=f"evt_{tag}_1")),
        Deliver(event("checkout.session.async_payment_succeeded", session, event_id=f"evt_{tag}_2")),
    ]
    granted = {"kind": "usage_pack", "state": "active", "granted_units": 1000 * quantity, "used_units": 0}
    return steps, {(session["id"], ""): granted | {"paid_at": micros(at), "quantity": quantity}}


def _passes(shop: Shop) -> Story:
    """Three passes bought within an hour follow each other, in the order of payment."""
    steps: list[Step] = []
    expected = {}
    first = START - timedelta(seconds=3000)
    for number in range(3):
        session = _session(shop, shop.day, f"pass{number}")
        at = first + timedelta(seconds=1000 * number)
        steps.append(
            Deliver(event("checkout.session.completed", session, at=at, event_id=f"evt_pass_{number}"))
        )
        expected[(session["id"], "")] = {
            "kind": "time_pass",
            "state": "active",
            "starts_at": micros(first) + number * DAY * 1_000_000,
            "ends_at": micros(first) + (number + 1) * DAY * 1_000_000,
        }
    return Story("passes follow each other", steps, expected, any_order=True)


def _subscription(shop: Shop) -> Story:
    steps, expected = _subscribed(shop, "subscription")
    return Story("a subscription begins", steps, expected, any_order=True)


def _subscribed(shop: Shop, tag: str) -> tuple[list[Step], dict[tuple[str, str], Json]]:
    sub, invoice = f"sub_{tag}", f"in_{tag}"
    attempt = _sell(shop, shop.pro, tag)
    session = session_object(attempt, subscription=sub, payment_intent=None, customer="cus_faults")
    start = int(START.timestamp())
    item = {
        "id": f"si_{tag}",
        "price": {"id": shop.pro.prices[0].stripe_price_id},
        "quantity": 1,
        "current_period_start": start,
        "current_period_end": start + 30 * DAY,
    }

    def state(status: str) -> Json:
        return subscription_object(
            attempt,
            id=sub,
            status=status,
            customer="cus_faults",
            latest_invoice=invoice,
            items={"object": "list", "data": [item]},
        )

    told: list[tuple[str, Json, Json | None]] = [
        ("customer.subscription.created", state("incomplete"), None),
        ("customer.subscription.updated", state("active"), {"status": "incomplete"}),
        ("invoice.paid", invoice_object(sub, id=invoice, customer="cus_faults"), None),
        ("checkout.session.completed", session, None),
    ]
    steps: list[Step] = [
        Deliver(
            event(
                kind,
                obj,
                at=START - timedelta(seconds=10 - number),
                event_id=f"evt_{tag}_{number}",
                previous=previous,
            )
        )
        for number, (kind, obj, previous) in enumerate(told)
    ]
    until = micros(START) + 30 * DAY * 1_000_000
    held = {"kind": "subscription", "state": "active", "valid_until": until}
    return steps, {(sub, f"si_{tag}"): held | {"ends_at": until + 3 * DAY * 1_000_000}}


def _refund_first(shop: Shop) -> Story:
    """The money goes back before anybody told what it was paid for."""
    session = _session(shop, shop.pack, "back", payment_intent="pi_back")
    payment = {"payment_intent": "pi_back", "charge": "ch_back"}
    made = START - timedelta(seconds=60)
    refund = {
        "id": "re_back",
        "object": "refund",
        "amount": PRICE,
        "status": "succeeded",
        "created": int(made.timestamp()),
        **payment,
    }
    charge = {
        "id": "ch_back",
        "object": "charge",
        "payment_intent": "pi_back",
        "invoice": None,
        "amount": PRICE,
        "amount_refunded": PRICE,
    }
    steps = [
        Deliver(event("refund.created", refund, at=made, event_id="evt_back_1")),
        Deliver(event("charge.refunded", charge, at=made, event_id="evt_back_2")),
        Deliver(event("checkout.session.completed", session, at=made, event_id="evt_back_3")),
    ]
    gone = {"state": "canceled", "reason": "refunded", "voided_at": micros(made), "granted_units": 1000}
    return Story("a refund comes first", steps, {(session["id"], ""): gone}, any_order=True)


def _duplicates(shop: Shop) -> Story:
    steps, expected = _sold_pack(shop, "twice", quantity=2)
    return Story("everything is told twice", [*steps, *steps[::-1], steps[0]], expected)


def _failing(shop: Shop) -> Story:
    steps, expected = _sold_pack(shop, "failing", quantity=2)
    told: list[Step] = [Break(), steps[0], steps[0], Mend(), Work(after=120)]
    return Story("an event fails and is tried again", told, expected)


def _at_once(shop: Shop) -> Story:
    bought, units = _sold_pack(shop, "atonce", quantity=4)
    subscribed, held = _subscribed(shop, "beside")
    steps = [bought[0], *subscribed[1:]]
    return Story("two processes are told the same", steps, units | held, concurrent=steps[::-1])


def _two_workers(shop: Shop) -> Story:
    steps, expected = _sold_pack(shop, "workers", quantity=5)
    failed = [Break(), *steps, Mend()]
    return Story(
        "two workers try again", [Work(after=120)], expected, before=failed, concurrent=[Work(after=120)]
    )


def _session(shop: Shop, product: Product, tag: str, *, quantity: int = 1, **changes: Any) -> Json:
    attempt = _sell(shop, product, tag, quantity=quantity)
    return session_object(attempt, **{"payment_intent": f"pi_{tag}", "customer": "cus_faults", **changes})


def _sell(shop: Shop, product: Product, tag: str, *, quantity: int = 1) -> CheckoutAttempt:
    return make_attempt(
        shop.db,
        connection=shop.connection,
        subject=shop.subject,
        product=product,
        session_id=f"cs_test_{tag}",
        quantity=quantity,
    )


def micros(instant: datetime) -> int:
    """As the database has it: whole microseconds since 1970."""
    return int(instant.timestamp()) * 1_000_000
