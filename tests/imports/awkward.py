"""Awkward accounts: what each is in the preview, and what its customers have once the import is written.

All of them are at one account together, so that none may bear on another. What is expected was worked out by
hand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from licenzy.catalog.models import Kind, Product
from licenzy.subjects.models import Subject
from tests.imports.account import Account
from tests.support.cast import make_subject

Sell = Callable[..., Product]
MATCHED, AMBIGUOUS, UNMATCHED = "matched", "ambiguous", "unmatched"


class Expected(NamedTuple):
    """The preview of one purchase."""

    outcome: str
    subject_ref: str | None = None
    why: str | None = None
    """How it was matched, or the reason why it was not."""


@dataclass
class Awkward:
    """The account with its products, on which each case puts its customers."""

    account: Account
    prices: dict[str, str]
    lines: list[str] = field(default_factory=list)
    """Of the merchant's CSV."""
    preview: dict[str, Expected] = field(default_factory=dict)
    has: dict[str, list[str]] = field(default_factory=dict)
    """What each customer has afterwards."""
    over: list[str] = field(default_factory=list)

    def names(
        self, *, subscription: str = "", customer: str = "", email: str = "", ref: str, **more: Any
    ) -> None:
        """A line of the CSV."""
        unit, used = more.get("unit", ""), more.get("used", "")
        self.lines.append(f"{subscription},{customer},{email},{ref},{unit},{used}")

    @property
    def csv(self) -> str:
        header = "stripe_subscription_id,stripe_customer_id,email,subject_ref,unit,used_units"
        return "\n".join([header, *self.lines])

    def subscribe(
        self, *items: Any, customer: Mapping[str, Any] | None = None, **params: Any
    ) -> tuple[str, str]:
        """A new customer and its subscription, to PRO where no items are given."""
        made = self.account.customer(**(customer or {}))
        return made, self.account.subscribe(made, *(items or (self.prices["PRO"],)), **params)

    def expect(self, key: str, *expected: str | None, has: Mapping[str, list[str]] | None = None) -> None:
        self.preview[key] = Expected(*expected)  # type: ignore[arg-type]
        self.has |= has or {}

    def leave(self, key: str, ref: str) -> None:
        """The purchase is over: only an import that was asked for ended ones reads it."""
        self.over.append(key)
        self.has[ref] = []


Case = Callable[[Awkward], None]
CASES: dict[str, Case] = {}
MOVED: dict[str, Case] = {}
"""Those that are looked at 70 days after they began."""


def case(cases: dict[str, Case] = CASES) -> Callable[[Case], Case]:
    def add(build: Case) -> Case:
        cases[build.__name__] = build
        return build

    return add


def products(sell: Sell, account: Account) -> dict[str, str]:
    """The prices of the shop's products, and one that is nobody's."""
    made = {
        "PRO": sell("PRO", Kind.SUBSCRIPTION, grace_days=3),
        "TEAM": sell("TEAM", Kind.SUBSCRIPTION),
        "CREDITS": sell("CREDITS", Kind.USAGE_PACK, units=100),
        "PASS": sell("PASS", Kind.TIME_PASS, duration_seconds=30 * 86_400),
        "IMAGES": sell(
            "IMAGES",
            Kind.SUBSCRIPTION,
            included=[{"unit": "images", "units": 1000, "every": "month", "rollover": None}],
        ),
    }
    prices = {code: product.prices[0].stripe_price_id for code, product in made.items()}
    return prices | {"OTHER": account.price(700)}


# --- who it is ---------------------------------------------------------------------------------------


@case()
def metadata_of_the_subscription(at: Awkward) -> None:
    _, key = at.subscribe(metadata={"user": "a1"})
    at.expect(key, MATCHED, "a1", "subscription_metadata", has={"a1": ["PRO active"]})


@case()
def metadata_of_the_customer(at: Awkward) -> None:
    _, key = at.subscribe(customer={"metadata": {"user": "a2"}})
    at.expect(key, MATCHED, "a2", "customer_metadata", has={"a2": ["PRO active"]})


@case()
def metadata_of_both(at: Awkward) -> None:
    _, key = at.subscribe(customer={"metadata": {"user": "not_me"}}, metadata={"user": "a3"})
    at.expect(key, MATCHED, "a3", "subscription_metadata", has={"a3": ["PRO active"], "not_me": []})


@case()
def a_second_key(at: Awkward) -> None:
    _, key = at.subscribe(metadata={"account_id": "a4"})
    at.expect(key, MATCHED, "a4", "subscription_metadata", has={"a4": ["PRO active"]})


@case()
def the_first_key_wins(at: Awkward) -> None:
    _, key = at.subscribe(metadata={"account_id": "not_me", "user": "a5"})
    at.expect(key, MATCHED, "a5", "subscription_metadata", has={"a5": ["PRO active"]})


@case()
def a_key_nobody_named(at: Awkward) -> None:
    _, key = at.subscribe(metadata={"User": "not_me", "plan": "pro"})
    at.expect(key, UNMATCHED)


@case()
def a_name_that_is_too_long(at: Awkward) -> None:
    _, key = at.subscribe(metadata={"user": "x" * 201})
    at.expect(key, UNMATCHED, None, "ref_not_valid")


@case()
def a_name_in_another_script(at: Awkward) -> None:
    _, key = at.subscribe(metadata={"user": "Ærøskøbing 東京"})
    at.expect(
        key, MATCHED, "Ærøskøbing 東京", "subscription_metadata", has={"Ærøskøbing 東京": ["PRO active"]}
    )


@case()
def a_line_about_the_subscription(at: Awkward) -> None:
    _, key = at.subscribe()
    at.names(subscription=key, ref="b1")
    at.expect(key, MATCHED, "b1", "csv_subscription", has={"b1": ["PRO active"]})


@case()
def a_line_about_the_customer(at: Awkward) -> None:
    customer, key = at.subscribe()
    at.names(customer=customer, ref="b2")
    at.expect(key, MATCHED, "b2", "csv_customer", has={"b2": ["PRO active"]})


@case()
def a_line_about_the_address(at: Awkward) -> None:
    _, key = at.subscribe(customer={"email": "b3@example.com"})
    at.names(email="b3@example.com", ref="b3")
    at.expect(key, AMBIGUOUS, None, "email_only", has={"b3": []})


@case()
def a_line_about_an_address_in_capitals(at: Awkward) -> None:
    _, key = at.subscribe(customer={"email": "b4@example.com"})
    at.names(email="B4@Example.com", ref="b4")
    at.expect(key, AMBIGUOUS, None, "email_only", has={"b4": []})


@case()
def an_address_of_two_customers(at: Awkward) -> None:
    for _ in range(2):
        _, key = at.subscribe(customer={"email": "b5@example.com"})
        at.expect(key, AMBIGUOUS, None, "email_twice", has={"b5": []})
    at.names(email="b5@example.com", ref="b5")


@case()
def lines_that_disagree(at: Awkward) -> None:
    _, key = at.subscribe(metadata={"user": "not_me"})
    at.names(subscription=key, ref="b6")
    at.names(subscription=key, ref="b7")
    at.expect(key, AMBIGUOUS, None, "csv_disagrees", has={"b6": [], "b7": []})


@case()
def a_line_beats_metadata(at: Awkward) -> None:
    _, key = at.subscribe(metadata={"user": "not_me"})
    at.names(subscription=key, ref="b8")
    at.expect(key, MATCHED, "b8", "csv_subscription", has={"b8": ["PRO active"]})


@case()
def the_surer_line_wins(at: Awkward) -> None:
    customer, key = at.subscribe(customer={"email": "b9@example.com"})
    at.names(email="b9@example.com", ref="not_me")
    at.names(customer=customer, ref="not_me")
    at.names(subscription=key, ref="b9")
    at.expect(key, MATCHED, "b9", "csv_subscription", has={"b9": ["PRO active"]})


@case()
def a_known_customer_of_stripes(at: Awkward) -> None:
    customer, key = at.subscribe()
    _known(at, "c1", stripe_customer_id=customer)
    at.expect(key, MATCHED, "c1", "linked_customer", has={"c1": ["PRO active"]})


@case()
def a_customer_of_two_subjects(at: Awkward) -> None:
    customer, key = at.subscribe()
    _known(at, "c2", stripe_customer_id=customer)
    _known(at, "c3", stripe_customer_id=customer)
    at.expect(key, AMBIGUOUS, None, "several_linked", has={"c2": [], "c3": []})


@case()
def an_address_that_is_known_here(at: Awkward) -> None:
    _, key = at.subscribe(customer={"email": "C4@example.com"})
    _known(at, "c4", email="c4@example.com")
    at.expect(key, AMBIGUOUS, None, "email_only", has={"c4": []})


@case()
def nothing_names_it(at: Awkward) -> None:
    _, key = at.subscribe(customer={"email": "nobody@example.com"})
    at.expect(key, UNMATCHED)


@case()
def no_address_at_all(at: Awkward) -> None:
    _, key = at.subscribe(customer={"metadata": {"user": "c5"}})
    at.expect(key, MATCHED, "c5", "customer_metadata", has={"c5": ["PRO active"]})


@case()
def its_sessions_reference(at: Awkward) -> None:
    key = _bought(at, "PRO", client_reference_id="d1")
    at.expect(key, MATCHED, "d1", "session_reference", has={"d1": ["PRO active"]})


@case()
def metadata_beats_the_reference(at: Awkward) -> None:
    key = _bought(at, "PRO", client_reference_id="not_me", subscription_data={"metadata": {"user": "d2"}})
    at.expect(key, MATCHED, "d2", "subscription_metadata", has={"d2": ["PRO active"]})


@case()
def sold_by_another_project(at: Awkward) -> None:
    _, key = at.subscribe(metadata={"user": "not_me", "licenzy_project": "prj_01abcdefghjkmnpqrstvwxyz12"})
    at.expect(key, UNMATCHED, None, "other_project")


@case()
def metadata_of_an_attempt_copied_by_hand(at: Awkward) -> None:
    _, key = at.subscribe(metadata={"user": "d3", "licenzy_attempt": "att_01abcdefghjkmnpqrstvwxyz12"})
    at.expect(key, MATCHED, "d3", "subscription_metadata", has={"d3": ["PRO active"]})


@case()
def two_purchases_of_one_customer(at: Awkward) -> None:
    customer = at.account.customer(metadata={"user": "d4"})
    for code in ("PRO", "TEAM"):
        key = at.account.subscribe(customer, at.prices[code])
        at.expect(key, MATCHED, "d4", "customer_metadata")
    at.has["d4"] = ["PRO active", "TEAM active"]


@case()
def two_customers_of_one_subject(at: Awkward) -> None:
    for code in ("PRO", "TEAM"):
        _, key = at.subscribe(at.prices[code], metadata={"user": "d5"})
        at.expect(key, MATCHED, "d5", "subscription_metadata")
    at.has["d5"] = ["PRO active", "TEAM active"]


@case()
def a_customer_deleted_at_stripe(at: Awkward) -> None:
    customer, key = at.subscribe(metadata={"user": "d6"})
    at.account.shop.stripe.v1.customers.delete(customer)
    at.leave(key, "d6")


# --- what it is ----------------------------------------------------------------------------------------


@case()
def a_price_of_no_product(at: Awkward) -> None:
    _, key = at.subscribe(at.prices["OTHER"], metadata={"user": "e1"})
    at.expect(key, "price_not_mapped", has={"e1": []})


@case()
def one_item_of_two(at: Awkward) -> None:
    _, key = at.subscribe(at.prices["OTHER"], at.prices["PRO"], metadata={"user": "e2"})
    at.expect(key, MATCHED, "e2", "subscription_metadata", has={"e2": ["PRO active"]})


@case()
def two_items(at: Awkward) -> None:
    _, key = at.subscribe(at.prices["TEAM"], at.prices["PRO"], metadata={"user": "e3"})
    at.expect(key, MATCHED, "e3", "subscription_metadata", has={"e3": ["PRO active", "TEAM active"]})


@case()
def seats(at: Awkward) -> None:
    _, key = at.subscribe({"price": at.prices["TEAM"], "quantity": 5}, metadata={"user": "e4"})
    at.expect(key, MATCHED, "e4", "subscription_metadata", has={"e4": ["TEAM active ×5"]})


@case()
def no_seats(at: Awkward) -> None:
    _, key = at.subscribe({"price": at.prices["TEAM"], "quantity": 0}, metadata={"user": "e5"})
    at.expect(key, MATCHED, "e5", "subscription_metadata", has={"e5": ["TEAM suspended ×0"]})


@case()
def a_trial(at: Awkward) -> None:
    _, key = at.subscribe(metadata={"user": "e6"}, trial_period_days=14)
    at.expect(key, MATCHED, "e6", "subscription_metadata", has={"e6": ["PRO trialing"]})


@case()
def canceled(at: Awkward) -> None:
    _, key = at.subscribe(metadata={"user": "e7"})
    at.account.act("cancel", subscription=key)
    at.leave(key, "e7")


@case()
def canceled_at_the_end_of_its_period(at: Awkward) -> None:
    _, key = at.subscribe(metadata={"user": "e8"})
    at.account.act("cancel_at_period_end", subscription=key)
    at.expect(key, MATCHED, "e8", "subscription_metadata", has={"e8": ["PRO active"]})


@case()
def collection_paused(at: Awkward) -> None:
    _, key = at.subscribe(metadata={"user": "e9"})
    at.account.shop.stripe.v1.subscriptions.update(key, {"pause_collection": {"behavior": "void"}})
    at.expect(key, MATCHED, "e9", "subscription_metadata", has={"e9": ["PRO paused"]})


@case()
def collection_paused_with_access(at: Awkward) -> None:
    _, key = at.subscribe(metadata={"user": "f1"})
    at.account.shop.stripe.v1.subscriptions.update(key, {"pause_collection": {"behavior": "keep_as_draft"}})
    at.expect(key, MATCHED, "f1", "subscription_metadata", has={"f1": ["PRO active"]})


@case()
def never_paid(at: Awkward) -> None:
    _, key = at.subscribe(metadata={"user": "f2"}, default_payment_method="pm_card_chargeCustomerFail")
    at.expect(key, MATCHED, "f2", "subscription_metadata", has={"f2": []})


@case()
def billed_by_invoice(at: Awkward) -> None:
    _, key = at.subscribe(metadata={"user": "f3"}, collection_method="send_invoice", days_until_due=30)
    at.expect(key, MATCHED, "f3", "subscription_metadata", has={"f3": ["PRO active"]})


@case()
def changed_with_a_proration(at: Awkward) -> None:
    """Its latest invoice is that of the change: the period was paid by another."""
    _, key = at.subscribe(metadata={"user": "f4"})
    at.account.act(
        "change_plan", subscription=key, price=at.prices["TEAM"], proration_behavior="always_invoice"
    )
    at.expect(key, MATCHED, "f4", "subscription_metadata", has={"f4": ["TEAM active"]})


@case()
def one_whose_payment_fails(at: Awkward) -> None:
    _, key = at.subscribe(metadata={"user": "f5"})
    at.account.act("fail_renewal", subscription=key)
    at.expect(key, MATCHED, "f5", "subscription_metadata", has={"f5": ["PRO past_due"]})


@case()
def units_that_were_used(at: Awkward) -> None:
    _, key = at.subscribe(at.prices["IMAGES"])
    at.names(subscription=key, ref="g1", unit="images", used=300)
    at.expect(key, MATCHED, "g1", "csv_subscription", has={"g1": ["IMAGES active, 700 images"]})


@case()
def more_units_used_than_there_are(at: Awkward) -> None:
    _, key = at.subscribe(at.prices["IMAGES"])
    at.names(subscription=key, ref="g2", unit="images", used=5000)
    at.expect(key, MATCHED, "g2", "csv_subscription", has={"g2": ["IMAGES active, 0 images"]})


@case()
def units_that_it_does_not_include(at: Awkward) -> None:
    _, key = at.subscribe()
    at.names(subscription=key, ref="g3", unit="images", used=10)
    at.expect(key, MATCHED, "g3", "csv_subscription", has={"g3": ["PRO active"]})


# --- payments ------------------------------------------------------------------------------------------


@case()
def credits_of_a_guest(at: Awkward) -> None:
    key = _bought(at, "CREDITS", client_reference_id="h1")
    at.expect(key, MATCHED, "h1", "session_reference", has={"h1": ["CREDITS active, 100 units"]})


@case()
def credits_thrice(at: Awkward) -> None:
    key = _bought(at, "CREDITS", quantity=3, client_reference_id="h2")
    at.expect(key, MATCHED, "h2", "session_reference", has={"h2": ["CREDITS active ×3, 300 units"]})


@case()
def a_pass(at: Awkward) -> None:
    key = _bought(at, "PASS", client_reference_id="h3")
    at.expect(key, MATCHED, "h3", "session_reference", has={"h3": ["PASS active"]})


@case()
def credits_given_back(at: Awkward) -> None:
    key = _bought(at, "CREDITS", client_reference_id="h4")
    at.account.act("refund", payment_intent=_payment(at, key))
    at.expect(key, MATCHED, "h4", "session_reference", has={"h4": ["CREDITS canceled, 0 units"]})


@case()
def credits_given_back_in_part(at: Awkward) -> None:
    key = _bought(at, "CREDITS", client_reference_id="h5")
    at.account.act("refund_partially", payment_intent=_payment(at, key), amount=100)
    at.expect(key, MATCHED, "h5", "session_reference", has={"h5": ["CREDITS active, 100 units"]})


@case()
def credits_in_dispute(at: Awkward) -> None:
    key = _bought(at, "CREDITS", client_reference_id="h6")
    at.account.act("dispute", payment_intent=_payment(at, key))
    at.expect(key, MATCHED, "h6", "session_reference", has={"h6": ["CREDITS suspended, 100 units"]})


@case()
def a_payment_that_failed(at: Awkward) -> None:
    session = _session(at, "CREDITS", client_reference_id="h7")
    at.account.act("expire_session", session=session)
    at.has["h7"] = []


@case()
def a_payment_for_nothing_of_ours(at: Awkward) -> None:
    once = at.account.price(500, interval=None)
    key = _bought(at, once, client_reference_id="h8")
    at.expect(key, "price_not_mapped", has={"h8": []})


# --- 70 days later ---------------------------------------------------------------------------------------


@case(MOVED)
def renewed(at: Awkward) -> None:
    _, key = at.subscribe(metadata={"user": "m1"})
    at.expect(key, MATCHED, "m1", "subscription_metadata", has={"m1": ["PRO active"]})


@case(MOVED)
def a_trial_that_is_over(at: Awkward) -> None:
    _, key = at.subscribe(
        metadata={"user": "m2"}, trial_period_days=14, default_payment_method="pm_card_visa"
    )
    at.expect(key, MATCHED, "m2", "subscription_metadata", has={"m2": ["PRO active"]})


@case(MOVED)
def a_trial_without_a_card(at: Awkward) -> None:
    _, key = at.subscribe(
        metadata={"user": "m3"},
        trial_period_days=14,
        trial_settings={"end_behavior": {"missing_payment_method": "pause"}},
    )
    at.expect(key, MATCHED, "m3", "subscription_metadata", has={"m3": ["PRO paused"]})


@case(MOVED)
def over_since_its_period_ended(at: Awkward) -> None:
    _, key = at.subscribe(metadata={"user": "m4"})
    at.account.act("cancel_at_period_end", subscription=key)
    at.leave(key, "m4")


@case(MOVED)
def the_first_payment_never_came(at: Awkward) -> None:
    _, key = at.subscribe(metadata={"user": "m5"}, default_payment_method="pm_card_chargeCustomerFail")
    at.expect(key, "ended", has={"m5": []})


@case(MOVED)
def units_of_the_third_month(at: Awkward) -> None:
    _, key = at.subscribe(at.prices["IMAGES"])
    at.names(subscription=key, ref="m6", unit="images", used=1)
    at.expect(key, MATCHED, "m6", "csv_subscription", has={"m6": ["IMAGES active, 999 images"]})


@case(MOVED)
def credits_that_were_used(at: Awkward) -> None:
    customer = at.account.customer()
    key = _bought(at, "CREDITS", customer=customer)
    at.names(customer=customer, ref="m7", used=40)
    at.expect(key, MATCHED, "m7", "csv_customer", has={"m7": ["CREDITS active, 60 units"]})


@case(MOVED)
def credits_that_were_used_of_several_purchases(at: Awkward) -> None:
    """Newest first, and nothing of what does not have the unit."""
    customer = at.account.customer()
    at.names(customer=customer, ref="m9", used=130)
    for code in ("CREDITS", "CREDITS", "PRO"):
        at.expect(_bought(at, code, customer=customer), MATCHED, "m9", "csv_customer")
    at.has["m9"] = ["CREDITS active, 70 units", "CREDITS exhausted, 0 units", "PRO active"]


@case(MOVED)
def a_pass_that_is_over(at: Awkward) -> None:
    key = _bought(at, "PASS", client_reference_id="m8")
    at.expect(key, MATCHED, "m8", "session_reference", has={"m8": ["PASS expired"]})


# --- how they came to be -------------------------------------------------------------------------------


def _known(at: Awkward, ref: str, **columns: Any) -> Subject:
    with at.account.shop.runtime.database.write() as db:
        return make_subject(db, project_id=at.account.shop.project_id, subject_ref=ref, **columns)


def _session(at: Awkward, price: str, *, quantity: int = 1, **params: Any) -> str:
    """An open session of the merchant's own code."""
    price_id = at.prices.get(price, price)
    recurring = price in {"PRO", "TEAM", "IMAGES"}
    asked: Any = {
        "mode": "subscription" if recurring else "payment",
        "line_items": [{"price": price_id, "quantity": quantity}],
        "success_url": "https://shop.test/thanks",
        **params,
    }
    return at.account.shop.stripe.v1.checkout.sessions.create(asked).id


def _bought(at: Awkward, price: str, **params: Any) -> str:
    """A paid session of the merchant's own code: its subscription, or the session itself."""
    session_id = _session(at, price, **params)
    at.account.act("pay_session", session=session_id)
    session = at.account.shop.stripe.v1.checkout.sessions.retrieve(session_id)
    return str(session.subscription or session_id)


def _payment(at: Awkward, session_id: str) -> str:
    return str(at.account.shop.stripe.v1.checkout.sessions.retrieve(session_id).payment_intent)
