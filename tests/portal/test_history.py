"""The timeline of an entitlement, as a table: facts in, lines out."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from licenzy.entitlements.models import FactSource
from licenzy.kit.clock import to_micros
from licenzy.portal.customers.history import TimelineEntry, history
from tests.support.clock import START

SECOND = int(START.timestamp())
MONTH = 30 * 86_400


@dataclass
class FactStub:
    """A fact without a row."""

    kind: str
    data: dict[str, Any]
    after: int = 0
    """Minutes."""
    source: FactSource = FactSource.EVENT
    source_id: str = "evt_1"
    object_id: str = "x_1"
    occurred_at: Any = field(init=False)
    recorded_at: Any = field(init=False)

    def __post_init__(self) -> None:
        self.occurred_at = START + timedelta(minutes=self.after)
        self.recorded_at = self.occurred_at


def session(**changes: Any) -> dict[str, Any]:
    return {
        "mode": "payment",
        "payment_status": "paid",
        "event": "checkout.session.completed",
        "amount_total": 1200,
        "currency": "usd",
        **changes,
    }


def subscription(**changes: Any) -> dict[str, Any]:
    item = {
        "id": "si_1",
        "price": "price_1",
        "quantity": changes.pop("quantity", 1),
        "period_end": changes.pop("until", SECOND + MONTH),
        "sold": changes.pop("sold", {"product_code": "PRO"}),
    }
    return {
        "status": "active",
        "items": [item],
        "cancel_at": None,
        "cancel_at_period_end": False,
        "pause": None,
        "event": "customer.subscription.updated",
        **changes,
    }


def act(action: str, **more: Any) -> dict[str, Any]:
    return {"action": action, "actor": "usr_1", "note": "as agreed", **more}


OPERATOR, SNAPSHOT = FactSource.OPERATOR, FactSource.SNAPSHOT

ONE_LINE = {
    "paid": (FactStub("session", session()), "Paid on the payment page", "$12.00.", "good"),
    "free": (
        FactStub("session", session(payment_status="no_payment_required", amount_total=0)),
        "The checkout was completed",
        "No payment was due.",
        "good",
    ),
    "unpaid": (
        FactStub("session", session(payment_status="unpaid")),
        "The checkout was completed",
        "$12.00 is processing, for example by bank debit.",
        "info",
    ),
    "settled": (
        FactStub("session", session(event="checkout.session.async_payment_succeeded")),
        "The payment arrived",
        "$12.00.",
        "good",
    ),
    "debit failed": (
        FactStub("session", session(event="checkout.session.async_payment_failed", payment_status="unpaid")),
        "The payment failed",
        "$12.00 did not arrive.",
        "bad",
    ),
    "expired": (
        FactStub("session", session(event="checkout.session.expired", payment_status="unpaid")),
        "The checkout expired",
        "Nobody paid in time.",
        "info",
    ),
    "began": (
        FactStub("subscription", subscription(event="customer.subscription.created", quantity=3)),
        "Subscription began: active",
        "PRO × 3, period until 23 Dec 2026.",
        "good",
    ),
    "unmapped": (
        FactStub("subscription", subscription(sold=None, status="past_due")),
        "Subscription reported: past due",
        "a price that no product is mapped to, period until 23 Dec 2026.",
        "bad",
    ),
    "read": (
        FactStub("subscription", subscription(event="snapshot"), source=SNAPSHOT),
        "Subscription synced from Stripe: active",
        "PRO, period until 23 Dec 2026.",
        "good",
    ),
    "deleted first": (
        FactStub("subscription", subscription(event="customer.subscription.deleted", status="canceled")),
        "Subscription ended",
        "PRO, period until 23 Dec 2026.",
        "bad",
    ),
    "invoice": (
        FactStub(
            "invoice",
            {"event": "invoice.paid", "amount_paid": 1200, "currency": "eur", "period_end": SECOND + MONTH},
        ),
        "Invoice paid",
        "€12.00. Paid until 23 Dec 2026.",
        "good",
    ),
    "invoice failed": (
        FactStub("invoice", {"event": "invoice.payment_failed", "amount_due": 900, "currency": "usd"}),
        "A payment failed",
        "$9.00 is due.",
        "bad",
    ),
    "a fact of another time": (FactStub("invoice", {}), "Invoice open", "–.", "info"),
    "refund": (
        FactStub("refund", {"amount": 1200, "status": "succeeded", "currency": "usd"}),
        "A refund was made",
        "$12.00.",
        "bad",
    ),
    "refund failed": (
        FactStub("refund", {"amount": 1200, "status": "failed", "currency": "usd"}),
        "A refund failed",
        "$12.00.",
        "good",
    ),
    "part of a charge": (
        FactStub("charge", {"amount": 1200, "amount_refunded": 300, "currency": "usd"}),
        "Refunded",
        "$3.00 of $12.00 in total.",
        "info",
    ),
    "dispute": (
        FactStub("dispute", {"amount": 1200, "status": "needs_response", "currency": "usd"}),
        "The payment is disputed",
        "$12.00: needs response.",
        "bad",
    ),
    "inquiry": (
        FactStub("dispute", {"amount": 1200, "status": "warning_needs_response", "currency": "usd"}),
        "The bank asks about the payment",
        "$12.00. An inquiry does not affect access.",
        "info",
    ),
    "won": (
        FactStub("dispute", {"amount": 1200, "status": "won", "currency": "usd"}),
        "The dispute was won",
        "$12.00.",
        "good",
    ),
    "lost": (
        FactStub("dispute", {"amount": 1200, "status": "lost", "currency": "usd"}),
        "The dispute was lost",
        "$12.00.",
        "bad",
    ),
    "grant": (
        FactStub(
            "operator",
            act("grant", product_code="PACK", units=1500, until=to_micros(START)),
            source=OPERATOR,
        ),
        "Granted manually",
        "PACK, 1,500 units, until 23 Nov 2026, 09:30 UTC.",
        "good",
    ),
    "grant for good": (
        FactStub("operator", act("grant", product_code="PRO", units=None, until=None), source=OPERATOR),
        "Granted manually",
        "PRO, never expires.",
        "good",
    ),
    "revoke": (FactStub("operator", act("revoke"), source=OPERATOR), "Revoked manually", None, "bad"),
    "terms": (
        FactStub("operator", act("terms", product_code="PRO", version=2), source=OPERATOR),
        "Terms changed",
        "PRO, version 2.",
        "info",
    ),
    "taken": (
        FactStub("operator", act("adjust", units=-20), source=OPERATOR),
        "20 units removed manually",
        None,
        "info",
    ),
    "extended": (
        FactStub("operator", act("extend", seconds=3 * 86_400), source=OPERATOR),
        "Extended by 3 days",
        None,
        "good",
    ),
    "lifted": (
        FactStub("operator", act("lift"), source=OPERATOR),
        "Access restored manually",
        "Earlier refunds and disputes no longer affect it.",
        "good",
    ),
    "adopted": (
        FactStub("operator", act("adopt", sold={"product_code": "PACK"}, session="cs_1"), source=OPERATOR),
        "Checkout adopted manually",
        "PACK, from cs_1.",
        "good",
    ),
}


@pytest.mark.parametrize("case", ONE_LINE)
def test_what_one_fact_says(case: str) -> None:
    fact, title, text, tone = ONE_LINE[case]
    item = "si_1" if fact.kind == "subscription" else ""
    (line,) = history([fact], item)
    assert (line.title, line.text, line.tone) == (title, text, tone)
    assert (line.at, line.source) == (START, fact.source)


def lines(*facts: FactStub) -> list[tuple[str, str | None]]:
    return [(line.title, line.text) for line in history(facts, "si_1")]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"status": "past_due"}, "It was active and is past due."),
        ({"pause": "void"}, "Collection is paused."),
        ({"sold": {"product_code": "TEAM"}}, "It is now TEAM."),
        ({"quantity": 4}, "It is now PRO × 4."),
        ({"cancel_at": SECOND}, "It ends on 23 Nov 2026."),
        ({"cancel_at_period_end": True}, "It ends on 23 Dec 2026."),
        ({"until": SECOND + 2 * MONTH}, "The period ends on 22 Jan 2027."),
    ],
)
def test_a_subscription_tells_what_changed_since_before(changed: dict[str, Any], said: str) -> None:
    told = lines(
        FactStub("subscription", subscription(event="customer.subscription.created")),
        FactStub("subscription", subscription(**changed), after=1, source_id="evt_2"),
    )
    assert told[0] == ("Subscription changed", said)
    read = lines(
        FactStub("subscription", subscription(event="customer.subscription.created")),
        FactStub("subscription", subscription(**changed), after=1, source=SNAPSHOT, source_id="snapshot:1"),
    )
    assert read[0] == ("Changed in a sync with Stripe", said)


def test_what_is_called_off_is_said() -> None:
    told = lines(
        FactStub("subscription", subscription(cancel_at=SECOND, pause="void")),
        FactStub("subscription", subscription(), after=1, source_id="evt_2"),
    )
    assert told[0] == ("Subscription changed", "Collection has resumed. The cancellation was withdrawn.")


def test_the_latest_stands_first_and_what_repeats_once() -> None:
    paid = {"event": "invoice.paid", "amount_paid": 1200, "currency": "usd"}
    facts = [
        FactStub("invoice", paid, after=2),
        FactStub("invoice", {**paid, "event": "invoice.payment_succeeded"}, after=2, source_id="evt_2"),
        FactStub("session", session()),
        *(
            FactStub(
                "subscription",
                subscription(),
                after=minute,
                source=SNAPSHOT if minute > 1 else FactSource.EVENT,
                source_id=f"evt_{minute}",
            )
            for minute in (1, 3, 4, 5)
        ),
        FactStub("invoice_payment", {"invoice": "in_1"}, after=6),
    ]
    told: list[TimelineEntry] = history(facts, "si_1")
    assert [(line.title, line.times) for line in told] == [
        ("Synced with Stripe: no change", 3),
        ("Invoice paid", 2),
        ("Subscription reported: active", 1),
        ("Paid on the payment page", 1),
    ]
    assert told[1].event_id == "evt_1"


def test_what_people_did_stands_alone_with_its_reason() -> None:
    facts = [
        FactStub("operator", act("adjust", units=5), source=OPERATOR, source_id=f"once:{n}", after=n)
        for n in range(2)
    ]
    told = history(facts)
    assert [(line.times, line.actor_id, line.note, line.event_id) for line in told] == [
        (1, "usr_1", "as agreed", None)
    ] * 2


def test_acts_on_another_item_are_not_told() -> None:
    facts = [
        FactStub("subscription", subscription()),
        FactStub("operator", act("revoke", item_key="si_2"), source=OPERATOR, after=1),
        FactStub("operator", act("extend", item_key="si_1", seconds=60), source=OPERATOR, after=2),
    ]
    assert [title for title, _ in lines(*facts)] == ["Extended by 1 minute", "Subscription reported: active"]


def test_amounts_of_refunds_have_the_currency_of_the_purchase() -> None:
    told = lines(
        FactStub("session", session(currency="gbp")),
        FactStub("refund", {"amount": 100, "status": "pending"}, after=1),
    )
    assert told[0] == ("A refund is processing", "£1.00.")


def test_a_kind_that_nobody_knows_is_left_out() -> None:
    assert history([FactStub("astrology", {})]) == []
