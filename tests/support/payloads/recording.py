"""Make the saved payloads anew: `python -m tests.support.payloads.recording`.

A merchant and a buyer do at the sandbox what they do at Stripe, and the events of that are saved: one of
each type and shape. What the sandbox does not do is written here, over an object that it made. Ids are
numbered and instants are moved to a fixed one, so that a new recording differs where the payloads differ.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.contract.description import wrong_with_event, wrong_with_object
from tests.stripe_sandbox.conftest import free_port, make_sandbox
from tests.stripe_sandbox.shop import Shop
from tests.support.payloads import ANSWERS, CURRENT, FOLDER
from tests.support.servers import served

Json = dict[str, Any]
DAY = 86_400
FIRST_INSTANT = 1_790_000_000
_ID = re.compile(r"(?<![A-Za-z0-9])((?:[a-z]+_)+)(?=[a-z]*[A-Z0-9])[A-Za-z0-9]{10,}(?![A-Za-z0-9])")
_ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        sandbox = make_sandbox(Path(folder) / "sandbox.sqlite3", port=port, start=False)
        with served(sandbox, port=port) as url:
            began = int(time.time())
            shop = Shop(url)
            do_business(shop)
            events = [*distinct(all_events(shop)), *written(shop)]
            answers = list(answered(shop))
        sandbox.close()
    tidy = Tidy(began)
    save(CURRENT, [(tidy(name), tidy(value)) for name, value in events])
    save(ANSWERS, [(tidy(name), tidy(value)) for name, value in answers])


def do_business(shop: Shop) -> None:
    """Every purchase and what may become of it, once."""
    subscriptions(shop)
    one_time_payments(shop)
    customer = shop.stripe.customers.create({"email": "buyer@example.com", "name": "A Buyer"})
    shop.stripe.customers.update(customer.id, {"name": "The Buyer"})
    shop.stripe.customers.delete(customer.id)
    product = shop.stripe.products.create({"name": "Not sold"})
    shop.stripe.products.update(product.id, {"name": "Never sold"})
    shop.stripe.products.delete(product.id)
    price = shop.price()
    shop.stripe.prices.update(price.id, {"active": False})


def subscriptions(shop: Shop) -> None:
    metadata: Any = {"metadata": {"order": "1001"}}
    member = shop.subscribed(quantity=3, subscription_data=metadata, client_reference_id="account-7")
    shop.act("renew", subscription=member.id)
    shop.act("change_plan", subscription=member.id, price=shop.price(4900).id)
    shop.act("pause_collection", subscription=member.id)
    shop.act("resume_collection", subscription=member.id)
    shop.act("pause", subscription=member.id)
    shop.act("resume", subscription=member.id)
    shop.act("fail_renewal", subscription=member.id)
    shop.act("recover", subscription=member.id)
    shop.act("cancel_at_period_end", subscription=member.id)
    shop.act("keep", subscription=member.id)
    shop.act("cancel", subscription=member.id)
    trial: Any = {"trial_period_days": 10}
    shop.subscribed(subscription_data=trial)
    shop.act("advance_clock", seconds=8 * DAY)
    shop.act("advance_clock", seconds=3 * DAY)


def one_time_payments(shop: Shop) -> None:
    price = shop.price(3000, interval=None)
    paid = [str(shop.bought(price, quantity=2).payment_intent) for _ in range(3)]
    shop.act("refund_partially", payment_intent=paid[0])
    shop.act("refund", payment_intent=paid[0])
    refund = shop.stripe.refunds.list({"payment_intent": paid[0]}).data[0]
    shop.act("fail_refund", refund=refund.id)
    shop.act("dispute", payment_intent=paid[1])
    shop.act("submit_evidence", payment_intent=paid[1])
    shop.act("win_dispute", payment_intent=paid[1])
    shop.act("inquire", payment_intent=paid[2])
    shop.act("escalate_inquiry", payment_intent=paid[2])
    shop.act("lose_dispute", payment_intent=paid[2])
    for ending in ("settle_session", "fail_session"):
        session = shop.session(price)
        shop.act("pay_session_later", session=session.id)
        shop.act(ending, session=session.id)
    shop.act("expire_session", session=shop.session(price, customer_email="other@example.com").id)


def all_events(shop: Shop) -> list[Json]:
    """All events, the oldest first."""
    found: list[Json] = []
    while True:
        page = {"limit": "100", **({"starting_after": found[-1]["id"]} if found else {})}
        answer = shop.raw("GET", "/v1/events", params=page).json()
        found += answer["data"]
        if not answer["has_more"]:
            return found[::-1]


def distinct(events: list[Json]) -> Iterator[tuple[str, Json]]:
    """The first of each shape, with a name: its type, and what sets it apart from others of the type."""
    seen: set[tuple[str, str]] = set()
    names: Counter[str] = Counter()
    for value in events:
        obj, before = value["data"]["object"], value["data"].get("previous_attributes") or {}
        marks = (obj.get(name) for name in ("mode", "payment_status", "status", "billing_reason"))
        label = "--".join([value["type"], "-".join(str(mark) for mark in marks if mark)]).rstrip("-")
        if (label, changed := " ".join(sorted(before))) not in seen:
            seen.add((label, changed))
            names[label] += 1
            yield label if names[label] == 1 else f"{label}--{names[label]}", value


def written(shop: Shop) -> Iterator[tuple[str, Json]]:
    """Types and states that the sandbox does not give off, over the objects that it has."""
    events = {event["type"]: event for event in all_events(shop)}

    def as_type(event_type: str, source: str, **changes: Any) -> tuple[str, Json]:
        event = json.loads(json.dumps(events[source]))
        event["id"] = f"evt_1{event_type.replace('.', '').replace('_', '')}"
        event["data"] = {"object": {**event["data"]["object"], **changes}}
        return event_type, {**event, "type": event_type}

    open_invoice = {"status": "open", "amount_paid": 0}
    yield as_type("invoice.payment_action_required", "invoice.payment_failed")
    yield as_type("invoice.upcoming", "invoice.created", id="upcoming_in_1abcdefghijklm", status="draft")
    yield as_type("invoice.updated", "invoice.finalized", **open_invoice)
    yield as_type("invoice.overdue", "invoice.finalized", **open_invoice)
    yield as_type("invoice.voided", "invoice.finalized", status="void", amount_paid=0)
    yield as_type("invoice.marked_uncollectible", "invoice.finalized", status="uncollectible", amount_paid=0)
    yield as_type("payment_intent.canceled", "payment_intent.created", status="canceled")
    yield as_type("price.deleted", "price.updated", active=False)
    name, setup = as_type(
        "checkout.session.completed",
        "checkout.session.completed",
        mode="setup",
        payment_status="no_payment_required",
        payment_intent=None,
        subscription=None,
        invoice=None,
        amount_total=None,
        amount_subtotal=None,
        currency=None,
    )
    yield f"{name}--setup-no-payment-required", setup
    name, unasked = as_type("invoice.paid", "invoice.paid", parent=None, billing_reason="manual")
    unasked["data"]["object"]["lines"]["data"] = []
    yield f"{name}--paid-manual-without-parent", unasked
    portal = shop.stripe.billing_portal.sessions.create({"customer": any_customer(events)}).to_dict()
    name, event = as_type("billing_portal.session.created", "customer.created")
    event["data"]["object"] = json.loads(json.dumps(portal))
    yield name, event


def answered(shop: Shop) -> Iterator[tuple[str, Json]]:
    """Answers of the API, none of which is an event."""
    for name in ("charges", "invoices", "subscriptions", "checkout/sessions", "customers"):
        page = shop.raw("GET", f"/v1/{name}", params={"limit": "2"}).json()
        yield f"list--{name.replace('/', '.')}", page
        yield f"one--{name.replace('/', '.')}", page["data"][0]


def any_customer(events: dict[str, Json]) -> str:
    customer: str = events["customer.subscription.created"]["data"]["object"]["customer"]
    return customer


class Tidy:
    """The same payload with numbered ids, instants from FIRST_INSTANT on, and an address of no machine."""

    def __init__(self, began: int) -> None:
        self._began, self._ids = began, dict[str, str]()

    def __call__(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: self(inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [self(inner) for inner in value]
        if isinstance(value, str):
            return _ID.sub(self._numbered, _ADDRESS.sub("https://sandbox.example.com", value))
        if isinstance(value, int) and abs(value - self._began) < 2 * 366 * DAY:
            return value - self._began + FIRST_INSTANT
        return value

    def _numbered(self, found: re.Match[str]) -> str:
        return self._ids.setdefault(found.group(), f"{found.group(1)}{len(self._ids) + 1:014}")


def save(part: str, payloads: list[tuple[str, Json]]) -> None:
    folder = FOLDER / part
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, value in payloads:
        wrong = wrong_with_event(value) if part == CURRENT else wrong_with_object(value)
        assert not wrong, f"{name}: {wrong}"
        (folder / f"{name}.json").write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
