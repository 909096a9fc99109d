"""Which sessions and subscriptions count for an attempt, and what becomes of it, row by row."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from itertools import permutations
from typing import Any

import pytest
from sqlmodel import col, select

from licenzy.catalog.models import Kind
from licenzy.checkout.models import AttemptStatus, CheckoutAttempt
from licenzy.entitlements.models import Entitlement, Purchase
from licenzy.projects.scope import Scope
from licenzy.stripe_events.models import EventStatus, SettlingRead, UntrackedCheckout
from licenzy.stripe_events.read import session_found
from licenzy.stripe_events.settling import claim_now
from licenzy.stripe_events.snapshots import record_snapshot
from tests.entitlements.fixtures_purchases import DAY, GRANTED, IGNORED, MONTH, NEW, Sale, Storefront, unix
from tests.entitlements.rows import row
from tests.support.cast import SOLD_KINDS
from tests.support.clock import START
from tests.support.invoice_lines import one_off

PAID, EXPIRED = (AttemptStatus.PAID, None), (AttemptStatus.FAILED, "expired")
PAYMENT_FAILED = (AttemptStatus.FAILED, "payment_failed")
ALL_KINDS = pytest.mark.parametrize("kind", SOLD_KINDS)


@pytest.fixture
def sell(storefront: Storefront, shape: str) -> Any:
    return lambda kind: storefront.sell(storefront.product(kind), shape=shape)


def attempt_of(sale: Sale) -> CheckoutAttempt:
    with sale.storefront.database.read() as db:
        return db.exec(select(CheckoutAttempt).where(CheckoutAttempt.id == sale.attempt.id)).one()


def recovered(sale: Sale, number: int = 1, **changes: Any) -> Any:
    opened = sale.attempt.stripe_checkout_session_id
    return sale.session(id=f"cs_recovered_{sale.tag}_{number}", recovered_from=opened, **changes)


def expired(sale: Sale) -> Any:
    return sale.session("expired", paid="unpaid", subscription=None, payment_intent=None)


@ALL_KINDS
@pytest.mark.parametrize("order", list(permutations(range(2))))
@row("checkout.recovered")
def test_a_session_recovered_after_it_expired_counts_for_its_attempt(
    sell: Any, kind: Kind, order: tuple[int, ...]
) -> None:
    sale = sell(kind)
    steps: list[Callable[[], Any]] = [lambda: expired(sale), lambda: recovered(sale, at=START + DAY)]
    for index in order:
        steps[index]()
    if kind is Kind.SUBSCRIPTION:
        sale.subscription("active", at=START + DAY)
    assert (sale.standing_at(START + DAY), sale.attempt_outcome()) == (GRANTED, PAID)
    after = attempt_of(sale)
    assert after.stripe_checkout_session_id == sale.attempt.stripe_checkout_session_id
    assert (after.paid_at, after.amount_total) == (START + DAY, 1200)


@row("checkout.recovered")
def test_a_recovery_link_that_is_used_twice_sells_twice(sell: Any) -> None:
    sale = sell(Kind.SUBSCRIPTION)
    for number in (1, 2):
        recovered(sale, number, subscription=f"sub_{sale.tag}_{number}", at=START + number * DAY)
        sale.subscription("active", id=f"sub_{sale.tag}_{number}")
    expired(sale)
    granted = {each.purchase_key for each in sale.entitlements()}
    assert granted == {f"sub_{sale.tag}_1", f"sub_{sale.tag}_2"}
    assert (sale.attempt_outcome(), attempt_of(sale).paid_at) == (PAID, START + DAY)


@pytest.mark.parametrize("kind", [Kind.TIME_PASS, Kind.USAGE_PACK])
@row("checkout.copied")
def test_metadata_copied_to_another_session_grants_nothing(sell: Any, kind: Kind) -> None:
    sale = sell(kind)
    copied = sale.session(id=f"cs_copied_{sale.tag}", payment_intent=f"pi_copied_{sale.tag}")
    assert (copied.status, sale.entitlements()) == (IGNORED, [])
    assert (copied.note or "").startswith("Untracked checkout")
    assert sale.attempt_outcome() == (AttemptStatus.OPEN, None)
    with sale.storefront.database.read() as db:
        kept = db.exec(
            select(UntrackedCheckout).where(UntrackedCheckout.session_id == copied.object_id)
        ).one()
    assert kept.adopted_at is None
    sale.session()
    assert (sale.row().stripe_checkout_session_id, sale.attempt_outcome()) == (
        sale.attempt.stripe_checkout_session_id,
        PAID,
    )


@row("checkout.copied")
def test_metadata_copied_to_another_subscription_grants_nothing_in_any_order(
    storefront: Storefront, shape: str
) -> None:
    product = storefront.product(Kind.SUBSCRIPTION)
    orders = list(permutations(range(6)))
    random.Random("orders of copies").shuffle(orders)
    for order in orders[:24]:
        sale = storefront.sell(product, shape=shape)
        copy = Sale(storefront, sale.attempt, f"{sale.tag}copy", shape)
        steps: list[Callable[[], Any]] = [
            sale.session,
            partial(sale.subscription, "active"),
            partial(sale.invoice, "paid"),
            partial(copy.subscription, "active"),
            partial(copy.invoice, "paid"),
            partial(copy.session, id=f"cs_{copy.tag}"),
        ]
        for index in order:
            steps[index]()
        assert [each.purchase_key for each in sale.entitlements()] == [sale.sub], order
        assert (sale.standing_at(START), sale.attempt_outcome()) == (GRANTED, PAID), order
        assert attempt_of(sale).stripe_subscription_id == sale.sub
        with storefront.database.read() as db:
            owners = db.exec(select(Purchase.subject_id).where(Purchase.key == copy.sub)).all()
            assert db.exec(select(Entitlement).where(Entitlement.purchase_key == copy.sub)).all() == []
        assert owners == [None], order
        assert copy.subscription("active", at=START + DAY).status is EventStatus.IGNORED


@row("checkout.copied")
def test_until_its_session_is_known_the_first_subscription_that_names_an_attempt_counts(sell: Any) -> None:
    sale = sell(Kind.SUBSCRIPTION)
    copy = Sale(sale.storefront, sale.attempt, f"{sale.tag}copy", sale.shape)
    copy.subscription("active")
    copy.invoice("paid")
    assert sale.row().purchase_key == copy.sub
    sale.subscription("active")
    assert sale.invoice("paid").status is EventStatus.IGNORED
    assert sale.row().purchase_key == copy.sub
    taken_back = sale.session()
    assert sale.row().purchase_key == sale.sub
    after = {change["after"]["state"]: change["before"] for change in taken_back.changes}
    assert after["active"] is None, "what the right one grants"
    assert after["canceled"]["state"] == "active", "what the copy loses"


@pytest.mark.parametrize("order", list(permutations(range(4)))[::5])
@row("checkout.first_payment_failed")
def test_a_subscription_whose_first_debit_fails_fails_its_attempt(sell: Any, order: tuple[int, ...]) -> None:
    sale = sell(Kind.SUBSCRIPTION)
    steps: list[Callable[[], Any]] = [
        lambda: sale.session(paid="unpaid"),
        lambda: sale.invoice("payment_failed", at=START + 5 * DAY),
        lambda: sale.subscription("past_due", at=START + 5 * DAY),
        lambda: sale.session("async_payment_failed", paid="unpaid", at=START + 5 * DAY),
    ]
    for index in order:
        steps[index]()
    assert sale.attempt_outcome() == PAYMENT_FAILED


@pytest.mark.parametrize("status", ["past_due", "unpaid"])
@pytest.mark.parametrize("paid_first", [True, False])
@row("checkout.first_payment_failed")
def test_an_invoice_that_is_paid_in_the_end_makes_the_attempt_paid(
    sell: Any, status: str, paid_first: bool
) -> None:
    sale = sell(Kind.SUBSCRIPTION)
    steps: list[Callable[[], Any]] = [
        lambda: sale.subscription(status, at=START + 5 * DAY),
        lambda: sale.invoice("paid", at=START + 7 * DAY),
    ]
    sale.session(paid="unpaid")
    for step in reversed(steps) if paid_first else steps:
        if step is steps[-1] and not paid_first:
            assert sale.attempt_outcome() == PAYMENT_FAILED
        step()
    assert (sale.attempt_outcome(), attempt_of(sale).paid_at) == (PAID, START + 7 * DAY)


@pytest.mark.parametrize("paid_first", [True, False])
@row("checkout.first_payment_failed")
def test_a_manual_invoice_does_not_make_the_attempt_paid(sell: Any, paid_first: bool) -> None:
    sale = sell(Kind.SUBSCRIPTION)
    extra = {"data": [one_off(50, start=unix(START), until=unix(START), newer=sale.shape == NEW)]}
    steps: list[Callable[[], Any]] = [
        lambda: sale.subscription("past_due", at=START + 5 * DAY),
        lambda: sale.invoice("paid", period=9, at=START + 6 * DAY, billing_reason="manual", lines=extra),
    ]
    sale.session(paid="unpaid")
    for step in reversed(steps) if paid_first else steps:
        step()
    assert sale.attempt_outcome() == PAYMENT_FAILED
    sale.invoice("paid", at=START + 7 * DAY)
    assert (sale.attempt_outcome(), attempt_of(sale).paid_at) == (PAID, START + 7 * DAY)


@row("checkout.first_payment_failed")
def test_a_renewal_that_fails_leaves_the_attempt_paid(sell: Any) -> None:
    sale = sell(Kind.SUBSCRIPTION).subscribed()
    sale.invoice("payment_failed", period=2, at=START + MONTH)
    sale.subscription("past_due", period=2, at=START + MONTH)
    assert sale.attempt_outcome() == PAID


def opened_for(sale: Sale, amount: int, *, subtotal: int | None = None) -> None:
    with sale.storefront.database.write() as db:
        attempt = db.get(CheckoutAttempt, (sale.attempt.project_id, sale.attempt.mode, sale.attempt.id))
        assert attempt is not None
        attempt.sold = {**attempt.sold, "opened_amount": amount, "opened_subtotal": subtotal}


def reads_of(sale: Sale) -> list[str]:
    with sale.storefront.database.read() as db:
        wanted = {sale.sub, str(sale.attempt.stripe_checkout_session_id)}
        due = select(SettlingRead.object_id).where(col(SettlingRead.due_at).is_not(None))
        return sorted(wanted & set(db.exec(due).all()))


@ALL_KINDS
@row("checkout.more_bought")
def test_the_lines_of_a_session_are_read_when_its_amount_is_another(sell: Any, kind: Kind) -> None:
    session_reads = []
    for opened in (1200, 900):
        sale = sell(kind)
        opened_for(sale, opened)
        sale.session()
        session_reads.append(sale.attempt.stripe_checkout_session_id in reads_of(sale))
    assert session_reads == [False, True]


def is_read(sale: Sale) -> bool:
    return sale.attempt.stripe_checkout_session_id in reads_of(sale)


@ALL_KINDS
@pytest.mark.parametrize(
    ("session", "read"),
    [
        ({"amount_total": 1200, "total_details": {"amount_discount": 300}}, True),
        ({"amount_total": 1200, "amount_subtotal": 1500, "total_details": {"amount_discount": 300}}, True),
        ({"amount_total": 1200, "amount_subtotal": 1500, "total_details": None}, True),
        ({"amount_total": 900, "amount_subtotal": 1200, "total_details": {"amount_discount": 300}}, True),
        ({"amount_total": 1200, "amount_subtotal": 1200, "optional_items": [{"price": "price_free"}]}, True),
        ({"amount_total": 1200, "amount_subtotal": 1200, "optional_items": []}, False),
        ({"amount_total": 1428, "amount_subtotal": 1200, "total_details": {"amount_tax": 228}}, False),
    ],
    ids=["discount", "subtotal", "subtotal alone", "code", "offered", "nothing", "tax"],
)
@row("checkout.more_bought")
def test_the_lines_are_read_where_its_amounts_or_fields_leave_open_what_was_bought(
    sell: Any, kind: Kind, session: dict[str, Any], read: bool
) -> None:
    sale = sell(kind)
    opened_for(sale, 1200, subtotal=1200)
    sale.session(**session)
    assert is_read(sale) is read


@row("checkout.more_bought")
def test_the_lines_are_read_once(sell: Any) -> None:
    sale = sell(Kind.USAGE_PACK)
    opened_for(sale, 900, subtotal=900)
    sale.session()
    line = {"price": {"id": sale.attempt.sold["stripe_price_id"]}, "quantity": 1}
    found = session_found(sale.sent[-1]["data"]["object"], lines=[line])
    assert found is not None
    scope, session_id = Scope.of(sale.attempt), found.purchase_key
    with sale.storefront.database.write() as db:
        connection_id = sale.storefront.connection.id
        claim = claim_now(db, scope, connection_id=connection_id, object_id=session_id, began=START)
        record_snapshot(db, claim, found, as_of=START, now=START)
    sale.session("async_payment_succeeded")
    with sale.storefront.database.read() as db:
        of_session = select(SettlingRead.requests).where(SettlingRead.object_id == session_id)
        assert db.exec(of_session).one() == 1


@row("checkout.more_bought")
def test_an_attempt_that_knows_no_subtotal_asks_by_the_total(sell: Any) -> None:
    sale = sell(Kind.USAGE_PACK)
    opened_for(sale, 1200)
    sale.session(amount_total=1300, amount_subtotal=1200)
    assert is_read(sale)


@pytest.mark.parametrize(("discount", "noted"), [(0, True), (300, False)])
@row("checkout.less_paid")
def test_a_session_paid_with_less_says_so(sell: Any, discount: int, noted: bool) -> None:
    sale = sell(Kind.USAGE_PACK)
    opened_for(sale, 1500)
    kept = sale.session(total_details={"amount_discount": discount})
    said = "Paid 1200 instead of 1500 (smallest unit): the buyer changed the amount or the quantity."
    assert kept.note == (said if noted else None)
    assert sale.standing_at(START) == GRANTED


@row("checkout.unreadable")
def test_an_object_that_cannot_be_read_fails_only_where_it_is_ours(
    storefront: Storefront, shape: str
) -> None:
    ours, theirs = (storefront.sell(storefront.product(Kind.SUBSCRIPTION), shape=shape) for _ in range(2))
    ours.subscribed()
    broken: dict[str, Any] = {"object": "subscription", "status": "active", "items": {"data": []}}
    kept = theirs.send("customer.subscription.updated", {**broken, "id": "sub_broken_theirs", "metadata": {}})
    assert kept.status is IGNORED
    assert kept.note == (
        "It cannot be read (a subscription without items), and was not sold through Licenzy."
    )
    own = {**broken, "id": ours.sub, "metadata": {}}
    named = {**broken, "id": "sub_broken", "metadata": {"licenzy_attempt": theirs.attempt.id}}
    for obj in (own, named):
        assert ours.send("customer.subscription.updated", obj).status is EventStatus.FAILED


@row("subscription.metered")
def test_a_metered_item_is_named_once(sell: Any) -> None:
    sale = sell(Kind.SUBSCRIPTION)
    price = sale.attempt.sold["stripe_price_id"]
    metered = {"id": price, "recurring": {"usage_type": "metered"}}
    rows = [{"id": f"si_{sale.tag}", "price": metered, "current_period_end": unix(START + MONTH)}]
    obj = {
        "id": sale.sub,
        "object": "subscription",
        "status": "active",
        "items": {"data": rows},
        "metadata": {"licenzy_attempt": sale.attempt.id},
        "start_date": unix(START),
    }
    first = sale.send("customer.subscription.created", obj)
    assert first.note == f"Metered price: {price}. Stripe bills its use, which Licenzy does not count."
    assert sale.send("customer.subscription.updated", obj).note is None
    sale.invoice("paid")
    assert sale.standing_at(START) == GRANTED


@row("dispute.prevented")
def test_a_dispute_that_stripe_resolves_by_itself(sell: Any) -> None:
    sale = sell(Kind.USAGE_PACK)
    sale.session()
    sale.dispute("needs_response", at=START + DAY)
    kept = sale.dispute("prevented", at=START + 2 * DAY, event_name="closed")
    assert kept.note == "The dispute is closed: prevented. It takes no access away."
    assert sale.standing_at(START + 2 * DAY) == GRANTED


@row("refund.credit_note")
def test_a_credit_note_paid_back_outside_of_stripe_is_named(sell: Any) -> None:
    sale = sell(Kind.SUBSCRIPTION).subscribed()
    note = {"id": f"cn_{sale.tag}", "object": "credit_note", "invoice": sale.invoice_id(), "currency": "usd"}
    kept = sale.send("credit_note.created", {**note, "out_of_band_amount": 500})
    assert kept.status is IGNORED
    assert (kept.note or "").startswith(
        "Credit note: 500 usd (smallest unit) was paid back outside of Stripe."
    )
    assert sale.standing_at(START) == GRANTED
    nothing = sale.send("credit_note.created", {**note, "out_of_band_amount": 0})
    assert nothing.note == "Access does not depend on credit_note.created."
