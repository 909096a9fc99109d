"""Trials: what Stripe is asked for, and that a customer has one trial of each group."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from sqlmodel import select

from licenzy.catalog.models import Kind, Product, TrialCard, TrialEnd
from licenzy.checkout.models import AttemptStatus, CheckoutAttempt
from licenzy.entitlements.models import Purchase
from licenzy.kit.ids import new_id
from licenzy.subjects.models import Subject
from tests.checkout.conftest import Shop
from tests.support.clock import START
from tests.support.threads import join

Sell = Callable[..., Product]


@pytest.fixture
def once(sell: Sell) -> Callable[..., Product]:
    """Map a subscription with a trial that each customer has once."""

    def map_product(code: str = "PRO_MONTHLY", **columns: Any) -> Product:
        return sell(code, Kind.SUBSCRIPTION, **{"trial_days": 14, "trial_once": True, **columns})

    return map_product


def asked_for(shop: Shop, answer: Any) -> dict[str, Any]:
    """What Stripe was asked for by a checkout."""
    assert answer.status_code == 201, answer.text
    return attempt_of(shop, answer).stripe_params


def attempt_of(shop: Shop, answer: Any) -> CheckoutAttempt:
    with shop.runtime.database.read() as db:
        wanted = answer.get_json()["attempt_id"]
        return db.exec(select(CheckoutAttempt).where(CheckoutAttempt.id == wanted)).one()


def status_at_stripe(shop: Shop, answer: Any) -> str | None:
    session_id = answer.get_json()["stripe_checkout_session_id"]
    return shop.stripe.v1.checkout.sessions.retrieve(session_id).status


def trial_days(answer: Any) -> Any:
    assert answer.status_code == 201, answer.text
    return answer.get_json().get("trial_days", "left out")


def had_trial(shop: Shop, *codes: str, subject_ref: str = "user_123") -> None:
    """A subscription of the subject's that was in a trial of these products."""
    with shop.runtime.database.write() as db:
        subject = db.exec(select(Subject).where(Subject.subject_ref == subject_ref)).first()
        if subject is None:
            subject = Subject(
                id=new_id("sbj"),
                project_id=shop.project_id,
                mode=shop.connection.mode,
                subject_ref=subject_ref,
                created_at=START,
            )
            db.add(subject)
            db.flush()
        db.add(
            Purchase(
                project_id=shop.project_id,
                mode=shop.connection.mode,
                key=f"sub_{new_id('x')}",
                subject_id=subject.id,
                trialed_at=START,
                trialed_products=list(codes),
                created_at=START,
            )
        )


def link(shop: Shop, customer: str, *refs: str) -> None:
    with shop.runtime.database.write() as db:
        for subject in db.exec(select(Subject)):
            if subject.subject_ref in refs:
                subject.stripe_customer_id = customer
                db.add(subject)


def allow_another(shop: Shop, subject_ref: str = "user_123") -> None:
    with shop.runtime.database.write() as db:
        subject = db.exec(select(Subject).where(Subject.subject_ref == subject_ref)).one()
        subject.another_trial_allowed_at, subject.another_trial_attempt_id = START, None
        db.add(subject)


def complete(shop: Shop, answer: Any) -> None:
    session_id = answer.get_json()["stripe_checkout_session_id"]
    shop._control("POST", "actions", {"action": "pay_session", "session": session_id})


# --- what Stripe is asked for ----------------------------------------------------------------------


def test_a_trial_comes_with_its_card_and_its_end(shop: Shop, sell: Sell) -> None:
    sell("PRO_MONTHLY", Kind.SUBSCRIPTION, trial_days=14)
    sent = asked_for(shop, shop.checkout())
    assert sent["subscription_data"]["trial_period_days"] == 14
    assert sent["payment_method_collection"] == "always"
    assert sent["subscription_data"]["trial_settings"] == {
        "end_behavior": {"missing_payment_method": "cancel"}
    }
    sell(
        "FREELY",
        Kind.SUBSCRIPTION,
        trial_days=3,
        trial_card=TrialCard.IF_REQUIRED,
        trial_end_without_card=TrialEnd.PAUSE,
    )
    answer = shop.checkout("k2", product_code="FREELY")
    sent = asked_for(shop, answer)
    assert sent["payment_method_collection"] == "if_required"
    assert sent["subscription_data"]["trial_settings"] == {
        "end_behavior": {"missing_payment_method": "pause"}
    }
    session = shop.stripe.v1.checkout.sessions.retrieve(answer.get_json()["stripe_checkout_session_id"])
    assert session.payment_method_collection == "if_required"


def test_without_a_trial_nothing_about_one_is_sent(shop: Shop, sell: Sell, once: Sell) -> None:
    sell("PLAIN", Kind.SUBSCRIPTION, trial_card=TrialCard.IF_REQUIRED)
    once()
    had_trial(shop, "PRO_MONTHLY")
    for code in ("PLAIN", "PRO_MONTHLY"):
        sent = asked_for(shop, shop.checkout(code, product_code=code))
        assert "payment_method_collection" not in sent
        assert set(sent["subscription_data"]) == {"metadata"}


def test_the_answer_names_the_trial_only_where_the_product_has_one(
    shop: Shop, sell: Sell, once: Sell
) -> None:
    sell("PLAIN", Kind.SUBSCRIPTION)
    once()
    assert trial_days(shop.checkout("k1", product_code="PLAIN")) == "left out"
    first = shop.checkout("k2")
    assert trial_days(first) == 14
    assert shop.checkout("k2").data == first.data
    had_trial(shop, "PRO_MONTHLY")
    assert trial_days(shop.checkout("k3")) == 0


# --- once --------------------------------------------------------------------------------------------


def test_without_once_a_trial_is_offered_again(shop: Shop, once: Sell) -> None:
    once(trial_once=False)
    had_trial(shop, "PRO_MONTHLY")
    first, second = shop.checkout("k1"), shop.checkout("k2")
    assert (trial_days(first), trial_days(second)) == (14, 14)
    assert status_at_stripe(shop, first) == "open"


def test_a_trial_of_another_product_counts_only_within_the_group(shop: Shop, once: Sell) -> None:
    once()
    once("MAX", trial_group="main")
    once("TEAM", trial_group="main")
    once("OTHER", trial_group="other")
    had_trial(shop, "TEAM")
    offered = {code: trial_days(shop.checkout(code, product_code=code)) for code in ("MAX", "OTHER")}
    assert offered == {"MAX": 0, "OTHER": 14}
    assert trial_days(shop.checkout("k")) == 14


def test_the_group_in_the_catalog_now_decides(shop: Shop, once: Sell) -> None:
    product = once()
    once("TEAM", trial_group="main")
    had_trial(shop, "TEAM")
    assert trial_days(shop.checkout("k1")) == 14
    with shop.runtime.database.write() as db:
        row = db.get_one(Product, (product.project_id, product.id))
        row.trial_group = "main"
        db.add(row)
    assert trial_days(shop.checkout("k2")) == 0


def test_a_group_may_be_named_like_a_product(shop: Shop, once: Sell) -> None:
    once("main")
    once("TEAM", trial_group="main")
    had_trial(shop, "main")
    assert trial_days(shop.checkout(product_code="TEAM")) == 14


def test_subjects_of_one_stripe_customer_share_their_trials(shop: Shop, once: Sell) -> None:
    once()
    customer = shop.stripe.v1.customers.create({"email": "known@example.com"}).id
    had_trial(shop, "PRO_MONTHLY", subject_ref="first")
    assert trial_days(shop.checkout("k1", subject_ref="second")) == 14
    link(shop, customer, "first", "second")
    assert trial_days(shop.checkout("k2", subject_ref="second")) == 0
    assert trial_days(shop.checkout("k3", subject_ref="third")) == 14


# --- open checkouts -------------------------------------------------------------------------------


def test_an_open_trial_is_expired_before_another_one_is_offered(shop: Shop, once: Sell) -> None:
    once("PRO_MONTHLY", trial_group="main")
    once("MAX", trial_group="main")
    once("OTHER")
    other = shop.checkout("k0", product_code="OTHER")
    first, second = shop.checkout("k1"), shop.checkout("k2", product_code="MAX")
    assert (trial_days(first), trial_days(second)) == (14, 14)
    assert [status_at_stripe(shop, each) for each in (other, first, second)] == ["open", "expired", "open"]
    closed = attempt_of(shop, first)
    assert (closed.status, closed.reason) == (AttemptStatus.FAILED, "expired")
    assert shop.checkout("k1").data == first.data


def test_a_trial_that_begins_meanwhile_leaves_none(shop: Shop, once: Sell) -> None:
    once()
    first = shop.checkout("k1")
    complete(shop, first)
    second = shop.checkout("k2")
    assert (trial_days(second), status_at_stripe(shop, first)) == (0, "complete")
    assert attempt_of(shop, first).status is AttemptStatus.OPEN, "its event says what became of it"


def test_a_session_of_another_account_is_no_hindrance(shop: Shop, once: Sell) -> None:
    once()
    first = shop.checkout("k1")
    with shop.runtime.database.write() as db:
        row = db.exec(select(CheckoutAttempt)).one()
        row.stripe_checkout_session_id = "cs_test_gone"
        db.add(row)
    assert trial_days(shop.checkout("k2")) == 14
    assert attempt_of(shop, first).status is AttemptStatus.FAILED


def test_nothing_is_offered_while_stripe_does_not_expire(shop: Shop, once: Sell) -> None:
    once()
    first = shop.checkout("k1")
    shop.inject_faults(http_500=20, match="POST /v1/checkout/sessions/*")
    refused = shop.checkout("k2")
    assert (refused.status_code, refused.get_json()["error"]) == (503, "stripe_unavailable")
    assert status_at_stripe(shop, first) == "open"
    shop.behave()
    assert trial_days(shop.checkout("k2")) == 14
    assert status_at_stripe(shop, first) == "expired"


@pytest.mark.usefixtures("clock")
def test_a_checkout_that_broke_off_is_closed_by_the_next_one(shop: Shop, once: Sell) -> None:
    """Its session exists at Stripe, and nobody knows of it here."""
    once()
    shop.inject_faults(drop_after_work=3, match="POST /v1/checkout/sessions")
    broken = shop.checkout("k1")
    assert broken.status_code in {503, 504}
    shop.behave()
    second = shop.checkout("k2")
    assert trial_days(second) == 14
    first = shop.checkout("k1")
    assert trial_days(first) == 14
    assert [status_at_stripe(shop, each) for each in (first, second)] == ["expired", "open"]


def test_a_refused_checkout_is_decided_anew(shop: Shop, once: Sell) -> None:
    once()
    shop.inject_faults(forbid=1, match="POST /v1/checkout/sessions")
    assert shop.checkout("k1").status_code == 502
    shop.behave()
    had_trial(shop, "PRO_MONTHLY")
    assert trial_days(shop.checkout("k1")) == 0


def test_two_checkouts_at_once_leave_one_open_trial(shop: Shop, once: Sell) -> None:
    once()
    answers: dict[str, Any] = {}

    def buy(key: str) -> None:
        client = shop.client.application.test_client()
        own = Shop(**{**vars(shop), "client": client})
        for _ in range(5):
            answers[key] = own.checkout(key)
            if answers[key].status_code == 201:
                return

    threads = [threading.Thread(target=buy, args=(f"k{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    join(*threads, seconds=60)
    assert [trial_days(each) for each in answers.values()] == [14] * 4
    statuses = sorted(str(status_at_stripe(shop, each)) for each in answers.values())
    assert statuses == ["expired", "expired", "expired", "open"]


# --- another one --------------------------------------------------------------------------------------


def test_an_operator_allows_one_more(shop: Shop, once: Sell) -> None:
    once()
    once("OTHER")
    had_trial(shop, "PRO_MONTHLY", "OTHER")
    allow_another(shop)
    first = shop.checkout("k1")
    assert trial_days(first) == 14
    second = shop.checkout("k2")
    assert (trial_days(second), status_at_stripe(shop, first)) == (14, "expired"), "it was not used"
    complete(shop, second)
    assert trial_days(shop.checkout("k3")) == 0
    assert trial_days(shop.checkout("k4", product_code="OTHER")) == 0, "one, of whatever product"
    allow_another(shop)
    assert trial_days(shop.checkout("k6")) == 14
