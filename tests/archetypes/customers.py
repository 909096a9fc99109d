"""Customers: what they and the merchant's backend do, and what the backend expects to see."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx

from tests.archetypes.purchases import Purchase
from tests.support.ports import wait_until

if TYPE_CHECKING:
    from tests.archetypes.merchant import Merchant

Json = dict[str, Any]


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

    def pay_refused(self, checkout: Json) -> None:
        """The hosted page no longer takes a payment."""
        answer = httpx.post(checkout["checkout_url"], data={"action": "pay"}, timeout=30, trust_env=False)
        assert answer.status_code == 409, answer.text

    def pay(self, checkout: Json) -> Purchase:
        self.merchant.pay(checkout)
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

    def wait_until_allowed(self, **asked: Any) -> None:
        """What the worker does may take a moment."""
        wait_until(lambda: self._check(asked)["allowed"], seconds=30, what=f"{asked} is allowed")

    def limit_not_found(self, code: str) -> None:
        body = {"subject_ref": self.subject_ref, "limit": code, "value": 0}
        answer = self.merchant.call("POST", "/v1/access/check", body, status=404)
        assert answer["error"] == "limit_not_found", answer

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
