"""A merchant and their customers: what each does over HTTP, and what the merchant's backend expects to see.

Licenzy is called by its API, Stripe by the official library and the hosted page. All expected values are
written by hand in the stories; nothing here computes one.
"""

from __future__ import annotations

import secrets
import time
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self

import httpx
import stripe

from tests.archetypes.instants import Calendar, calendar_from_today

Json = dict[str, Any]
Proration = Literal["create_prorations", "always_invoice", "none"]
DELIVERY_SECONDS = 60.0
POLL_SECONDS = 0.02

stripe.enable_telemetry = False


class Merchant:
    """A project of one installation, and the merchant's account at the sandbox."""

    def __init__(
        self, *, url: str, api_key: str, sandbox_url: str, sandbox_key: str, apply: Callable[[str], None]
    ) -> None:
        self.url, self.api_key = url, api_key
        self.http = httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {api_key}"}, timeout=30, trust_env=False
        )
        self.stripe = stripe.StripeClient(sandbox_key, base_addresses={"api": sandbox_url}).v1
        self.calendar: Calendar = calendar_from_today()
        self._apply = apply
        self._clock_id = self.stripe.test_helpers.test_clocks.list().data[0].id
        self._lookup_keys: dict[tuple[str, str], str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.http.close()

    def apply(self, content: str) -> None:
        """Make the catalog as the configuration file says."""
        self._apply(content)
        for product in tomllib.loads(content)["product"]:
            for price in product.get("price", []):
                self._lookup_keys[product["code"], price.get("label", "default")] = price["lookup_key"]

    def at(self, instant: str) -> None:
        """Let the account's time pass until the instant, with everything that falls due."""
        self.stripe.test_helpers.test_clocks.advance(
            self._clock_id, {"frozen_time": self.calendar.seconds(instant)}
        )
        self.delivered()

    def a_moment_later(self) -> None:
        """Let two seconds pass: Stripe dates events in whole seconds, so which of two changes in the same
        second is the later one cannot be known from them."""
        clock = self.stripe.test_helpers.test_clocks.retrieve(self._clock_id)
        self.stripe.test_helpers.test_clocks.advance(self._clock_id, {"frozen_time": clock.frozen_time + 2})

    def delivered(self) -> None:
        """Wait until Licenzy has answered every event of the account."""
        deadline = time.monotonic() + DELIVERY_SECONDS
        while self.stripe.events.list({"delivery_success": False, "limit": 1}).data:
            assert time.monotonic() < deadline, "an event was not delivered"
            time.sleep(POLL_SECONDS)

    def price(self, product_code: str, label: str = "default") -> str:
        """The Stripe ID of the price that now has the lookup key of the file."""
        key = self._lookup_keys[product_code, label]
        (found,) = self.stripe.prices.list({"lookup_keys": [key]}).data
        return found.id

    def prices_of(self, product_code: str) -> set[str]:
        """The Stripe IDs of all prices that the product is sold at."""
        labels = [label for code, label in self._lookup_keys if code == product_code]
        return {self.price(product_code, label) for label in labels}

    def customer(self, subject_ref: str) -> Customer:
        return Customer(self, subject_ref)

    def call(self, method: str, path: str, body: Json | None = None, *, status: int, key: str = "") -> Json:
        """The answer of Licenzy's API, which must have this status."""
        headers = {"Idempotency-Key": key} if key else {}
        answer = self.http.request(method, path, json=body, headers=headers)
        assert answer.status_code == status, f"{method} {path} {body}: {answer.status_code} {answer.text}"
        found: Json = answer.json()
        return found


@dataclass(frozen=True, slots=True)
class Customer:
    """One customer of the merchant."""

    merchant: Merchant
    subject_ref: str

    # What the customer and the merchant's backend do ------------------------------------------

    def open_checkout(self, product_code: str | None = None, **asked: Any) -> Json:
        """An open checkout: `price_label`, `quantity` or `items` as in the API."""
        body = {"subject_ref": self.subject_ref, **asked}
        if product_code is not None:
            body["product_code"] = product_code
        return self.merchant.call("POST", "/v1/checkout/session", body, status=201, key=secrets.token_hex(8))

    def checkout_refused(self, product_code: str, *, status: int, error: str) -> None:
        body = {"subject_ref": self.subject_ref, "product_code": product_code}
        answer = self.merchant.call(
            "POST", "/v1/checkout/session", body, status=status, key=secrets.token_hex(8)
        )
        assert answer["error"] == error, answer

    def pay(self, checkout: Json) -> Purchase:
        """The customer completes the hosted page; Stripe's events have arrived."""
        self.merchant.a_moment_later()
        paid = httpx.post(checkout["checkout_url"], data={"action": "pay"}, timeout=30, trust_env=False)
        assert paid.status_code == 303, paid.text
        self.merchant.delivered()
        return Purchase(self.merchant, checkout["stripe_checkout_session_id"])

    def buy(self, product_code: str | None = None, **asked: Any) -> Purchase:
        return self.pay(self.open_checkout(product_code, **asked))

    def consume(self, units: int, *, left: int, **named: str) -> None:
        """Units of `unit`, perhaps of one `product_code`, of which `left` remain."""
        body = {"subject_ref": self.subject_ref, "units": units, **named}
        answer = self.merchant.call("POST", "/v1/usage/consume", body, status=200, key=secrets.token_hex(8))
        assert (answer["consumed"], answer["usage_remaining"]) == (units, left), answer

    def consume_refused(self, units: int, *, left: int, **named: str) -> None:
        body = {"subject_ref": self.subject_ref, "units": units, **named}
        answer = self.merchant.call("POST", "/v1/usage/consume", body, status=409, key=secrets.token_hex(8))
        assert (answer["error"], answer["usage_remaining"]) == ("insufficient_usage", left), answer

    def reserve(self, units: int, *, left: int, hours: int = 1, **named: str) -> Reservation:
        body = {"subject_ref": self.subject_ref, "units": units, "ttl_seconds": hours * 3600, **named}
        answer = self.merchant.call("POST", "/v1/usage/reserve", body, status=201, key=secrets.token_hex(8))
        assert (answer["reserved"], answer["usage_remaining"]) == (units, left), answer
        return Reservation(self.merchant, answer["reservation_id"])

    # What the merchant's backend expects to see -----------------------------------------------

    def expect_allowed(self, **asked: Any) -> None:
        """The access check says yes: to nothing in particular, or to `product_code`, `feature`, `limit` with
        `value`, or `units` with `unit`."""
        answer = self._check(asked)
        assert answer["allowed"] is True, answer

    def expect_refused(self, reason: str, **asked: Any) -> None:
        answer = self._check(asked)
        assert (answer["allowed"], answer["explain"]["reason"]) == (False, reason), answer

    def expect_available(self, *expected: str) -> None:
        """What gives access now, each as `PRODUCT status`, in any order."""
        shown = self._access()
        found = [f"{e['product_code']} {e['status']}" for e in shown["entitlements"] if e["available"]]
        assert sorted(found) == sorted(expected), shown
        assert shown["has_access"] is bool(expected), shown

    def expect_balance(
        self, unit: str, remaining: int, *, granted: int | None = None, renews_at: str | None = None
    ) -> None:
        """What is left of a unit in all that can be used now; `granted` and `renews_at` where given."""
        shown = self._access()["balances"].get(unit, {"remaining": 0, "granted": 0, "renews_at": None})
        assert shown["remaining"] == remaining, shown
        assert granted is None or shown["granted"] == granted, shown
        assert renews_at is None or self._is_near(renews_at, shown["renews_at"]), shown

    def expect_access(self, **expected: Any) -> None:
        """Fields of `GET /v1/customer/access`."""
        shown = self._access()
        assert {name: shown[name] for name in expected} == expected, shown

    def expect_entitlement(self, product_code: str, **expected: Any) -> None:
        """Fields of the newest entitlement of a product; instants as in `Apr 1 09:00`."""
        path = f"/v1/entitlements/{self.subject_ref}"
        listed = self.merchant.call("GET", path, status=200)["entitlements"]
        shown = next((each for each in listed if each["product_code"] == product_code), None)
        assert shown is not None, listed
        self._compare(expected, shown)

    def _check(self, asked: Json) -> Json:
        body = {"subject_ref": self.subject_ref, **asked}
        return self.merchant.call("POST", "/v1/access/check?explain=true", body, status=200)

    def _access(self) -> Json:
        return self.merchant.call("GET", f"/v1/customer/access/{self.subject_ref}", status=200)

    def _is_near(self, instant: str, shown: str | None) -> bool:
        return self.merchant.calendar.is_near(instant, shown)

    def _compare(self, expected: Json, shown: Json) -> None:
        for name, value in expected.items():
            if isinstance(value, list) and value and isinstance(value[0], dict):
                assert len(value) == len(shown[name]), shown
                for one, other in zip(value, shown[name], strict=True):
                    self._compare(one, other)
            elif isinstance(value, str) and (name.endswith("_at") or name == "valid_until"):
                assert self._is_near(value, shown[name]), (name, value, shown)
            else:
                assert shown[name] == value, (name, value, shown)


@dataclass(frozen=True, slots=True)
class Reservation:
    """Units that are set aside."""

    merchant: Merchant
    reservation_id: str

    def commit(self, units: int, *, left: int) -> None:
        path = f"/v1/usage/reservations/{self.reservation_id}/commit"
        answer = self.merchant.call("POST", path, {"units": units}, status=200)
        assert (answer["consumed"], answer["usage_remaining"]) == (units, left), answer

    def release(self, *, left: int) -> None:
        path = f"/v1/usage/reservations/{self.reservation_id}/release"
        answer = self.merchant.call("POST", path, status=200)
        assert answer["usage_remaining"] == left, answer


@dataclass(frozen=True, slots=True)
class Purchase:
    """What one checkout sold, as the merchant manages it at Stripe."""

    merchant: Merchant
    session_id: str

    @property
    def subscription_id(self) -> str:
        return str(self.merchant.stripe.checkout.sessions.retrieve(self.session_id).subscription)

    def change_price(
        self,
        product_code: str,
        label: str = "default",
        *,
        proration: Proration,
        instead_of: str | None = None,
    ) -> None:
        """The item, or the one of the product `instead_of`, at another price, in the same quantity."""
        item = self._item(instead_of)
        # Stripe sets the quantity to 1 where a change of price does not name it.
        change = {"id": item.id, "price": self.merchant.price(product_code, label), "quantity": item.quantity}
        self._update(items=[change], proration_behavior=proration)

    def change_quantity(
        self, quantity: int, *, proration: Proration, product_code: str | None = None
    ) -> None:
        change = {"id": self._item(product_code).id, "quantity": quantity}
        self._update(items=[change], proration_behavior=proration)

    def add(
        self, product_code: str, label: str = "default", *, quantity: int = 1, proration: Proration
    ) -> None:
        """One more item of the subscription."""
        self.merchant.a_moment_later()
        self.merchant.stripe.subscription_items.create(
            {
                "subscription": self.subscription_id,
                "price": self.merchant.price(product_code, label),
                "quantity": quantity,
                "proration_behavior": proration,
            }
        )
        self.merchant.delivered()

    def remove(self, product_code: str, *, proration: Proration) -> None:
        self.merchant.a_moment_later()
        self.merchant.stripe.subscription_items.delete(
            self._item(product_code).id, {"proration_behavior": proration}
        )
        self.merchant.delivered()

    def restart_cycle(self, *, proration: Proration) -> None:
        """A new billing period begins now."""
        self._update(billing_cycle_anchor="now", proration_behavior=proration)

    def cancel(self) -> None:
        self.merchant.a_moment_later()
        self.merchant.stripe.subscriptions.cancel(self.subscription_id)
        self.merchant.delivered()

    def cancel_at_period_end(self) -> None:
        self._update(cancel_at_period_end=True)

    def keep(self) -> None:
        """Call off the scheduled end."""
        self._update(cancel_at_period_end=False)

    def let_card_fail(self) -> None:
        """The card on file is declined from now on."""
        self._update(default_payment_method="pm_card_chargeCustomerFail")

    def repair_card(self) -> None:
        """Another card pays what is open, and from now on."""
        self._update(default_payment_method="pm_card_visa")
        self.merchant.a_moment_later()
        open_ones = self.merchant.stripe.invoices.list(
            {"subscription": self.subscription_id, "status": "open"}
        )
        for invoice in open_ones.data:
            self.merchant.stripe.invoices.pay(invoice.id)
        self.merchant.delivered()

    def refund(self, amount: int | None = None) -> None:
        """The last payment, or so much of it in the currency's smallest unit."""
        asked: Any = {"payment_intent": self._payment_intent(), **({"amount": amount} if amount else {})}
        self.merchant.a_moment_later()
        self.merchant.stripe.refunds.create(asked)
        self.merchant.delivered()

    def expect_last_payment(self, amount: int) -> None:
        """What the last payment was, in the currency's smallest unit."""
        intent = self.merchant.stripe.payment_intents.retrieve(self._payment_intent())
        assert intent.amount_received == amount, intent

    def _payment_intent(self) -> str:
        session = self.merchant.stripe.checkout.sessions.retrieve(self.session_id)
        if session.payment_intent is not None:
            return str(session.payment_intent)
        paid = self.merchant.stripe.invoices.list({"subscription": self.subscription_id, "status": "paid"})
        last = next(invoice for invoice in paid.data if invoice.amount_paid)
        (payment,) = self.merchant.stripe.invoice_payments.list({"invoice": last.id, "status": "paid"}).data
        return str(payment.payment.payment_intent)

    def _item(self, product_code: str | None) -> Any:
        """The only item, or the one at a price of the product."""
        subscription = self.merchant.stripe.subscriptions.retrieve(self.subscription_id)
        items = subscription["items"].data
        if product_code is not None:
            prices = self.merchant.prices_of(product_code)
            items = [item for item in items if item.price.id in prices]
        (item,) = items
        return item

    def _update(self, **changes: Any) -> None:
        asked: Any = changes
        self.merchant.a_moment_later()
        self.merchant.stripe.subscriptions.update(self.subscription_id, asked)
        self.merchant.delivered()
