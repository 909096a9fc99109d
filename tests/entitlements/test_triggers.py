"""What a checkout and a one-time purchase become, event by event, row by row of the documentation."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import select

from licenzy.catalog.models import Kind
from licenzy.checkout.models import AttemptStatus
from licenzy.entitlements.decision import standing
from licenzy.entitlements.grants import OperatorContext, grant
from licenzy.entitlements.models import Entitlement, State
from licenzy.projects.scope import Scope
from licenzy.stripe_events.models import UntrackedCheckout
from licenzy.workspace.audit import Actor
from tests.entitlements.fixtures_purchases import APPLIED, DAY, GRANTED, IGNORED, Sale, Storefront
from tests.entitlements.rows import row
from tests.support.cast import SOLD_KINDS
from tests.support.clock import START

PAID = (AttemptStatus.PAID, None)
ONE_TIME = pytest.mark.parametrize("kind", [Kind.TIME_PASS, Kind.USAGE_PACK])


@pytest.fixture
def sell(storefront: Storefront, shape: str) -> Any:
    def sell_one(kind: Kind, *, quantity: int = 1, **columns: Any) -> Sale:
        return storefront.sell(storefront.product(kind, **columns), quantity=quantity, shape=shape)

    return sell_one


@ONE_TIME
@row("checkout.paid")
def test_a_paid_session_grants(sell: Any, kind: Kind) -> None:
    sale = sell(kind)
    kept = sale.session()
    assert kept.status is APPLIED
    assert [change["before"] for change in kept.changes] == [None]
    assert sale.standing_at(START) == GRANTED
    assert sale.attempt_outcome() == PAID


@ONE_TIME
@row("checkout.free")
def test_a_session_with_nothing_to_pay_grants_as_well(sell: Any, kind: Kind) -> None:
    sale = sell(kind)
    sale.session(paid="no_payment_required", payment_intent=None, amount_total=0)
    assert (sale.standing_at(START), sale.attempt_outcome()) == (GRANTED, PAID)


@row("checkout.free")
def test_a_subscription_bought_with_a_coupon_of_all_its_price(sell: Any) -> None:
    sale = sell(Kind.SUBSCRIPTION)
    sale.subscription("active", event_name="created")
    assert sale.entitlements() == []
    sale.invoice("paid", amount_due=0, amount_paid=0)
    sale.session(paid="no_payment_required", amount_total=0)
    assert (sale.standing_at(START), sale.attempt_outcome()) == (GRANTED, PAID)


@ONE_TIME
@row("checkout.unpaid", "checkout.settled")
def test_a_bank_debit_grants_when_it_settles(sell: Any, kind: Kind) -> None:
    sale = sell(kind)
    sale.session(paid="unpaid")
    assert (sale.entitlements(), sale.attempt_outcome()) == (
        [],
        (AttemptStatus.PROCESSING, "awaiting_payment"),
    )
    sale.session("async_payment_succeeded", at=START + 3 * DAY)
    assert sale.row().starts_at == START + 3 * DAY
    assert (sale.standing_at(START + 3 * DAY), sale.attempt_outcome()) == (GRANTED, PAID)


@ONE_TIME
@row("checkout.settled")
def test_a_settlement_before_its_completion(sell: Any, kind: Kind) -> None:
    sale = sell(kind)
    sale.session("async_payment_succeeded", at=START + 3 * DAY)
    sale.session(paid="unpaid")
    assert (sale.standing_at(START + 3 * DAY), sale.attempt_outcome()) == (GRANTED, PAID)
    assert sale.row().paid_at == START + 3 * DAY


@ONE_TIME
@pytest.mark.parametrize("failure_first", [True, False])
@row("checkout.debit_failed")
def test_a_bank_debit_that_fails(sell: Any, kind: Kind, failure_first: bool) -> None:
    sale = sell(kind)
    steps = [
        lambda: sale.session(paid="unpaid"),
        lambda: sale.session("async_payment_failed", paid="unpaid", at=START + DAY),
    ]
    for step in reversed(steps) if failure_first else steps:
        step()
    assert (sale.entitlements(), sale.attempt_outcome()) == ([], (AttemptStatus.FAILED, "payment_failed"))


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (1, 3, 0, 2)])
@row("checkout.subscription")
def test_a_subscription_is_granted_and_linked_whatever_arrives_first(
    sell: Any, order: tuple[int, ...]
) -> None:
    sale = sell(Kind.SUBSCRIPTION)
    steps = [
        lambda: sale.session(),
        lambda: sale.subscription("incomplete", event_name="created"),
        lambda: sale.subscription("active", previous={"status": "incomplete"}),
        lambda: sale.invoice("paid"),
    ]
    for index in order:
        steps[index]()
    held = sale.row()
    assert (held.stripe_subscription_id, held.stripe_checkout_session_id) == (
        sale.sub,
        sale.attempt.stripe_checkout_session_id,
    )
    assert (sale.standing_at(START), sale.attempt_outcome()) == (GRANTED, PAID)


@row("checkout.setup")
def test_a_session_that_only_saves_a_card_is_ignored(sell: Any) -> None:
    sale = sell(Kind.USAGE_PACK)
    kept = sale.session(mode="setup", paid="no_payment_required", payment_intent=None)
    assert (kept.status, sale.entitlements()) == (IGNORED, [])
    assert sale.attempt_outcome() == (AttemptStatus.OPEN, None)


@pytest.mark.parametrize("kind", SOLD_KINDS)
@row("checkout.expired")
def test_an_expired_session_fails_its_attempt(sell: Any, kind: Kind) -> None:
    sale = sell(kind)
    sale.session("expired", paid="unpaid", subscription=None, payment_intent=None)
    assert (sale.entitlements(), sale.attempt_outcome()) == ([], (AttemptStatus.FAILED, "expired"))


@row("subscription.foreign")
def test_a_subscription_begun_elsewhere_is_kept_and_grants_nothing(storefront: Storefront) -> None:
    product = storefront.product(Kind.SUBSCRIPTION)
    sale = storefront.sell(product)
    event = sale.subscription(metadata={}, event_name="created")
    assert event.note is not None
    assert event.note.startswith("Untracked subscription")
    with storefront.database.read() as db:
        kept = db.exec(select(UntrackedCheckout).where(UntrackedCheckout.purchase_key == sale.sub)).one()
    assert sale.entitlements() == []
    assert (kept.session_id, kept.purchase_key, kept.status) == (None, sale.sub, "active")
    assert kept.items == [{"price": product.prices[0].stripe_price_id, "quantity": 1, "product": product.id}]


@row("checkout.foreign")
def test_a_session_opened_elsewhere_is_kept_and_grants_nothing(sell: Any) -> None:
    sale = sell(Kind.USAGE_PACK)
    kept = sale.session(id=f"cs_test_elsewhere_{sale.tag}", metadata={})
    assert (kept.status, sale.entitlements()) == (IGNORED, [])
    assert kept.note is not None
    assert kept.note.startswith("Untracked checkout")


@row("kind:time_pass")
def test_a_pass_counts_from_its_payment_for_each_unit_bought(sell: Any) -> None:
    sale = sell(Kind.TIME_PASS, quantity=3)
    sale.session()
    held = sale.row()
    assert (held.starts_at, held.valid_until, held.quantity) == (START, START + 3 * DAY, 3)
    second = timedelta(seconds=1)
    assert sale.standing_at(START - second) == ("active", False, "not_started")
    assert sale.standing_at(START) == sale.standing_at(START + 3 * DAY - second) == GRANTED
    assert sale.standing_at(START + 3 * DAY) == ("expired", False, "expired")


@row("kind:time_pass")
def test_passes_of_one_product_follow_each_other_and_move_up(storefront: Storefront, shape: str) -> None:
    product, subject = storefront.product(Kind.TIME_PASS), storefront.subject()
    sales = [storefront.sell(product, subject=subject, shape=shape) for _ in range(4)]
    hour = timedelta(hours=1)
    for index in (2, 0, 3, 1):  # told in another order than they were paid in
        sales[index].session(at=START + index * hour)

    def spans() -> list[Any]:
        return [sale.row().starts_at for sale in sales]

    assert spans() == [START, START + DAY, START + 2 * DAY, START + 3 * DAY]
    # The second is given back after it began: the third had not started and moves up, the first stays.
    sales[1].refunded_charge(1200, at=START + 1.5 * DAY)
    assert spans() == [START, START + DAY, START + 1.5 * DAY, START + 2.5 * DAY]
    # The first is given back after it ended: nothing moves that has started.
    sales[0].refunded_charge(1200, at=START + 2 * DAY)
    assert spans() == [START, START + DAY, START + 1.5 * DAY, START + 2.5 * DAY]


@row("kind:time_pass")
def test_passes_of_other_products_and_people_do_not_wait(storefront: Storefront, shape: str) -> None:
    subject, product = storefront.subject(), storefront.product(Kind.TIME_PASS)
    sales = [
        storefront.sell(product, subject=subject, shape=shape),
        storefront.sell(storefront.product(Kind.TIME_PASS), subject=subject, shape=shape),
        storefront.sell(product, shape=shape),
    ]
    for sale in sales:
        sale.session()
    assert [sale.row().starts_at for sale in sales] == [START] * 3


@row("kind:usage_pack")
def test_a_pack_holds_units_times_quantity(sell: Any) -> None:
    sale = sell(Kind.USAGE_PACK, quantity=4, units=250)
    sale.session()
    held = sale.row()
    assert (held.granted_units, held.valid_until) == (1000, None)
    assert sale.standing_at(START + 5000 * DAY) == GRANTED


@row("kind:usage_pack")
def test_a_pack_may_expire(sell: Any) -> None:
    sale = sell(Kind.USAGE_PACK, quantity=2, duration_seconds=86_400)
    sale.session()
    assert sale.row().valid_until == START + DAY
    assert sale.standing_at(START + DAY) == ("expired", False, "expired")


@row("usage.spent")
def test_a_spent_pack_is_exhausted_and_later_events_leave_its_counters(sell: Any) -> None:
    sale = sell(Kind.USAGE_PACK)
    sale.session()
    with sale.storefront.database.write() as db:
        held = db.get(Entitlement, (sale.row().project_id, sale.row().mode, sale.row().id))
        assert held is not None
        held.used_units = 1000
    assert sale.standing_at(START) == ("exhausted", False, "exhausted")
    sale.session("async_payment_succeeded", at=START + DAY)
    assert (sale.row().used_units, sale.row().granted_units) == (1000, 1000)


@pytest.mark.parametrize("kind", SOLD_KINDS)
@row("checkout.again")
def test_everything_sent_three_times_counts_once(sell: Any, kind: Kind) -> None:
    sale = sell(kind, quantity=2)
    if kind is Kind.SUBSCRIPTION:
        sale.subscribed()
    else:
        sale.session()
        sale.session("async_payment_succeeded")
    before = sale.row()
    for value in sale.sent * 2:
        assert sale.storefront.deliver(value).status is APPLIED
    assert sale.row() == before


@row("operator.revoke")
@ONE_TIME
def test_an_operator_revokes(sell: Any, kind: Kind) -> None:
    sale = sell(kind)
    sale.session()
    sale.operator("revoke", at=START + timedelta(hours=2))
    held = sale.row()
    assert (held.state, held.canceled_at) == (State.CANCELED, START + timedelta(hours=2))
    assert sale.standing_at(START + timedelta(hours=3)) == ("canceled", False, "canceled")


@row("operator.adjust")
def test_an_operator_adjusts_units(sell: Any) -> None:
    sale = sell(Kind.USAGE_PACK)
    sale.session()
    sale.operator("adjust", at=START + DAY, units=-400)
    sale.operator("adjust", at=START + 2 * DAY, units=50)
    assert sale.row().granted_units == 650


@row("operator.extend")
def test_an_operator_extends_a_pass_and_the_next_one_waits(storefront: Storefront, shape: str) -> None:
    product, subject = storefront.product(Kind.TIME_PASS), storefront.subject()
    first, second = (storefront.sell(product, subject=subject, shape=shape) for _ in range(2))
    first.session()
    second.session(at=START + timedelta(minutes=1))
    first.operator("extend", at=START + timedelta(hours=1), seconds=86_400)
    assert first.row().valid_until == second.row().starts_at == START + 2 * DAY


@pytest.mark.parametrize("kind", SOLD_KINDS)
@row("operator.grant")
def test_an_operator_grants_without_a_purchase(storefront: Storefront, kind: Kind) -> None:
    product, subject = storefront.product(kind), storefront.subject()
    hand = OperatorContext(Scope.of(subject), Actor(None), "a present", START)
    with storefront.database.write() as db:
        grant(db, hand, subject_ref=subject.subject_ref, product=product, until=START + DAY)
    with storefront.database.read() as db:
        (held,) = db.exec(select(Entitlement).where(Entitlement.subject_id == subject.id)).all()
    assert (held.source, held.product_code, held.valid_until) == ("portal", product.product_code, START + DAY)
    assert held.granted_units == (1000 if kind is Kind.USAGE_PACK else 0)
    assert standing(held, START) == GRANTED
    assert standing(held, START + DAY) == ("expired", False, "expired")
