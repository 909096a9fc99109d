"""Calls to Stripe, each with one deadline over all of its tries, worded failures and plain answers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, TypeVar, cast

import stripe

from licenzy.errors import StripeError, StripeUnavailable
from licenzy.kit.clock import from_unix
from licenzy.kit.deadline import standing_still
from licenzy.stripe_gateway.pace import in_passing, with_patience
from licenzy.stripe_gateway.permissions import Trial
from licenzy.stripe_gateway.translate import StripeKeyRejected, StripeObjectMissing, StripePermissionMissing
from licenzy.stripe_gateway.transport import DEADLINE_SECONDS, asked, deadline, seconds_left
from licenzy.stripe_gateway.transport import StripeAccess as StripeAccess

API_VERSION: str = stripe.api_version or ""
"""The version of Stripe's API that the pinned library speaks; endpoints are made with it."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class AccountFacts:
    """The account behind a key. All but `denied` are unknown when a restricted key may not read it."""

    id: str | None
    name: str | None
    country: str | None
    charges_enabled: bool | None
    denied: str | None = None
    """The permission that a restricted key lacks to read its own account."""


@dataclass(frozen=True, slots=True)
class PriceFacts:
    """A Stripe price with the product it belongs to."""

    id: str
    livemode: bool
    active: bool
    product_id: str
    product_name: str
    product_active: bool
    unit_amount: int | None
    currency: str
    interval: str | None
    interval_count: int | None
    lookup_key: str | None
    nickname: str | None
    metered: bool

    @property
    def recurring(self) -> bool:
        return self.interval is not None


@dataclass(frozen=True, slots=True)
class SessionFacts:
    """A Checkout Session just created."""

    id: str
    url: str | None
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class EndpointFacts:
    """A webhook endpoint at Stripe; its secret is told only by the call that creates it."""

    id: str
    url: str
    status: str
    api_version: str | None
    enabled_events: tuple[str, ...]
    livemode: bool
    secret: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class PaymentFacts:
    """What a payment paid for: the Checkout Session behind it, or the invoice, as Stripe has them."""

    refs: set[str]
    """The payment's ids: its payment intent and charge."""
    session: dict[str, Any] | None = None
    invoice: dict[str, Any] | None = None
    invoice_payment: dict[str, Any] | None = None


class StripeGateway:
    """The way out to Stripe.

    `concurrent_calls` bounds how many threads of this process may wait for Stripe at once, so that a
    hanging Stripe never takes the threads that answer access checks.
    """

    def __init__(self, *, stripe_base: str | None, sandbox_base: str | None, concurrent_calls: int) -> None:
        self._stripe_base = stripe_base
        self._sandbox_base = sandbox_base
        self._slots = threading.BoundedSemaphore(concurrent_calls)

    def access(self, api_key: str, *, sandbox: bool) -> StripeAccess:
        """The key together with the address it belongs to.

        Raises StripeUnavailable for a sandbox that is switched off: its keys are never sent to Stripe.
        """
        if sandbox and self._sandbox_base is None:
            raise StripeUnavailable("The built-in sandbox is switched off.", hint="See LICENZY_SANDBOX.")
        return StripeAccess(api_key, self._sandbox_base if sandbox else self._stripe_base)

    def account(self, access: StripeAccess) -> AccountFacts:
        """The key's own account. A restricted key that may not read it is fine and says what it lacks."""
        try:
            account = self._call(access, lambda client: client.v1.accounts.retrieve_current())
        except StripePermissionMissing as refused:
            return AccountFacts(None, None, None, None, denied=refused.permission or "account")
        facts = account.to_dict()
        profile = facts.get("business_profile") or {}
        dashboard = (facts.get("settings") or {}).get("dashboard") or {}
        return AccountFacts(
            id=facts.get("id"),
            name=dashboard.get("display_name") or profile.get("name") or facts.get("email"),
            country=facts.get("country"),
            charges_enabled=facts.get("charges_enabled"),
        )

    def prices(self, access: StripeAccess, *, most: int = 300) -> list[PriceFacts]:
        """The account's active prices, newest first, at most `most` of them."""

        def collect(client: stripe.StripeClient) -> list[PriceFacts]:
            page = client.v1.prices.list({"active": True, "limit": 100, "expand": ["data.product"]})
            found: list[PriceFacts] = []
            for price in page.auto_paging_iter():
                found.append(_price_facts(price.to_dict()))
                if len(found) >= most:
                    break
            return found

        return self._call(access, collect)

    def price(self, access: StripeAccess, price_id: str) -> PriceFacts:
        """One price. Raises StripeObjectMissing."""
        price = self._call(
            access, lambda client: client.v1.prices.retrieve(price_id, {"expand": ["product"]})
        )
        return _price_facts(price.to_dict())

    def create_checkout_session(
        self, access: StripeAccess, params: Mapping[str, Any], *, idempotency_key: str
    ) -> SessionFacts:
        """Open a Checkout Session with exactly these parameters."""
        session = self._call(
            access,
            lambda client: client.v1.checkout.sessions.create(
                cast(Any, dict(params)), {"idempotency_key": idempotency_key}
            ),
        )
        return SessionFacts(session.id, session.url, from_unix(session.expires_at))

    def create_portal_session(self, access: StripeAccess, *, customer_id: str, return_url: str | None) -> str:
        """The address of the customer portal for this customer. Raises StripeObjectMissing."""
        params: dict[str, Any] = {"customer": customer_id}
        if return_url is not None:
            params["return_url"] = return_url
        session = self._call(
            access, lambda client: client.v1.billing_portal.sessions.create(cast(Any, params))
        )
        return session.url

    def checkout_session(self, access: StripeAccess, session_id: str) -> dict[str, Any]:
        """One Checkout Session with its line items, as Stripe has it. Raises StripeObjectMissing."""
        found = self._call(
            access,
            lambda client: client.v1.checkout.sessions.retrieve(session_id, {"expand": ["line_items"]}),
        )
        return dict(found.to_dict())

    def subscription(self, access: StripeAccess, subscription_id: str) -> dict[str, Any]:
        """One subscription with its latest invoice, as Stripe has it. Raises StripeObjectMissing."""
        found = self._call(
            access,
            lambda client: client.v1.subscriptions.retrieve(subscription_id, {"expand": ["latest_invoice"]}),
        )
        return dict(found.to_dict())

    def payment(self, access: StripeAccess, ref: str) -> PaymentFacts:
        """What a payment intent (`pi_…`) or charge (`ch_…`) paid for. Raises StripeObjectMissing."""
        return self._call(access, lambda client: _payment(client, ref))

    def events(self, access: StripeAccess, *, created_from: int) -> Iterator[list[dict[str, Any]]]:
        """Pages of the account's events since a Unix second, oldest first."""
        pages = list(self._pages(access, "events", {"created": {"gte": created_from}}))
        for page in reversed(pages):
            yield page[::-1]

    def subscriptions(self, access: StripeAccess) -> Iterator[list[dict[str, Any]]]:
        """Pages of all the account's subscriptions, ended ones included, with their latest invoices."""
        return self._pages(access, "subscriptions", {"status": "all", "expand": ["data.latest_invoice"]})

    def sessions(self, access: StripeAccess, *, created_from: int) -> Iterator[list[dict[str, Any]]]:
        """Pages of the account's Checkout Sessions made since a Unix second, newest first."""
        return self._pages(access, "checkout/sessions", {"created": {"gte": created_from}})

    def refunds(self, access: StripeAccess, *, created_from: int) -> Iterator[list[dict[str, Any]]]:
        """Pages of the account's refunds made since a Unix second, newest first."""
        return self._pages(access, "refunds", {"created": {"gte": created_from}})

    def refunds_of(self, access: StripeAccess, payment_intent: str) -> list[dict[str, Any]]:
        """The refunds of one payment."""
        pages = self._pages(access, "refunds", {"payment_intent": payment_intent})
        return [each for page in pages for each in page]

    def disputes_of(self, access: StripeAccess, payment_intent: str) -> list[dict[str, Any]]:
        """The disputes of one payment."""
        pages = self._pages(access, "disputes", {"payment_intent": payment_intent})
        return [each for page in pages for each in page]

    def disputes(self, access: StripeAccess, *, created_from: int) -> Iterator[list[dict[str, Any]]]:
        """Pages of the account's disputes opened since a Unix second, newest first."""
        return self._pages(access, "disputes", {"created": {"gte": created_from}})

    def _pages(
        self, access: StripeAccess, what: str, params: dict[str, Any]
    ) -> Iterator[list[dict[str, Any]]]:
        """Pages of one of Stripe's lists, newest first; each is a call with a deadline of its own."""
        after: dict[str, Any] = {}
        while True:
            page = self._call(access, partial(_list, what=what, params={"limit": 100, **params, **after}))
            yield page["data"]
            if not page.get("has_more"):
                return
            after = {"starting_after": page["data"][-1]["id"]}

    def lacking(self, access: StripeAccess, trial: Trial) -> str | None:
        """The permission that a key lacks for a trial call, in Stripe's name; none when it may make it.

        Raises StripeKeyRejected, StripeTimeout and StripeUnavailable, which tell nothing of a permission.
        """
        try:
            self._call(
                access, lambda client: client.raw_request(trial.method, trial.path, **dict(trial.params))
            )
        except StripePermissionMissing as refused:
            return refused.permission or trial.permission
        except StripeKeyRejected:
            raise
        except StripeError:  # The call itself is refused, as a trial of writing is meant to be.
            return None
        return None

    def webhook_endpoints(self, access: StripeAccess) -> list[EndpointFacts]:
        """The account's webhook endpoints in the key's mode."""
        listed = self._call(
            access,
            lambda client: list(client.v1.webhook_endpoints.list({"limit": 100}).auto_paging_iter()),
        )
        return [_endpoint_facts(endpoint.to_dict()) for endpoint in listed]

    def create_webhook_endpoint(
        self, access: StripeAccess, *, url: str, events: tuple[str, ...], idempotency_key: str
    ) -> EndpointFacts:
        """Register an address with the pinned API version; the answer alone holds the secret."""
        params = {
            "url": url,
            "enabled_events": list(events),
            "api_version": API_VERSION,
            "description": "Licenzy",
        }
        endpoint = self._call(
            access,
            lambda client: client.v1.webhook_endpoints.create(
                cast(Any, params), {"idempotency_key": idempotency_key}
            ),
        )
        return _endpoint_facts(endpoint.to_dict())

    def update_webhook_endpoint(
        self, access: StripeAccess, endpoint_id: str, *, events: tuple[str, ...]
    ) -> EndpointFacts:
        """Set what an endpoint subscribes to, and enable it. Raises StripeObjectMissing."""
        params = {"enabled_events": list(events), "disabled": False}
        endpoint = self._call(
            access, lambda client: client.v1.webhook_endpoints.update(endpoint_id, cast(Any, params))
        )
        return _endpoint_facts(endpoint.to_dict())

    def delete_webhook_endpoint(self, access: StripeAccess, endpoint_id: str) -> None:
        """Remove an address; one that is gone already is no error."""
        try:
            self._call(access, lambda client: client.v1.webhook_endpoints.delete(endpoint_id))
        except StripeObjectMissing:
            return

    def _call(self, access: StripeAccess, ask: Callable[[stripe.StripeClient], T]) -> T:
        with standing_still():
            if access.pace is not None:
                return with_patience(lambda: self._in_time(access, ask), access.pace)
            with self._slot(), deadline():
                return in_passing(lambda: asked(access, ask), left=seconds_left)

    def _in_time(self, access: StripeAccess, ask: Callable[[stripe.StripeClient], T]) -> T:
        with self._slot(patience=DEADLINE_SECONDS), deadline(access.pace):
            return asked(access, ask)

    @contextmanager
    def _slot(self, patience: float | None = None) -> Iterator[None]:
        if not self._slots.acquire(blocking=patience is not None, timeout=patience):
            raise StripeUnavailable("Too many calls to Stripe are waiting already.")
        try:
            yield
        finally:
            self._slots.release()


def _list(client: stripe.StripeClient, *, what: str, params: dict[str, Any]) -> dict[str, Any]:
    """One page as Stripe wrote it: making the library's objects of it takes longer than the call."""
    page: dict[str, Any] = client.raw_request("get", f"/v1/{what}", **params).data
    if not isinstance(page, dict) or not isinstance(page.get("data"), list):
        raise StripeError("What answered is not Stripe's API.")
    return page


def _payment(client: stripe.StripeClient, ref: str) -> PaymentFacts:
    refs, intent = {ref}, ref
    if not ref.startswith("pi_"):
        named = client.v1.charges.retrieve(ref).to_dict().get("payment_intent")
        if named is None:
            return PaymentFacts(refs)
        intent = str(named)
        refs.add(intent)
    sessions = client.v1.checkout.sessions.list({"payment_intent": intent, "limit": 1}).data
    if sessions:
        return PaymentFacts(refs, session=dict(sessions[0].to_dict()))
    paid = client.v1.invoice_payments.list(
        {"payment": {"type": "payment_intent", "payment_intent": intent}, "limit": 1}
    ).data
    if not paid:
        return PaymentFacts(refs)
    payment = dict(paid[0].to_dict())
    invoice = client.v1.invoices.retrieve(payment["invoice"])
    return PaymentFacts(refs, invoice=dict(invoice.to_dict()), invoice_payment=payment)


def _price_facts(price: Mapping[str, Any]) -> PriceFacts:
    product = price["product"]
    if isinstance(product, str):
        product = {"id": product, "name": product, "active": True}
    recurring = price.get("recurring") or {}
    return PriceFacts(
        id=price["id"],
        livemode=bool(price.get("livemode")),
        active=bool(price.get("active")),
        product_id=product["id"],
        product_name=product.get("name") or product["id"],
        product_active=bool(product.get("active", not product.get("deleted"))),
        unit_amount=price.get("unit_amount"),
        currency=price.get("currency") or "",
        interval=recurring.get("interval"),
        interval_count=recurring.get("interval_count"),
        lookup_key=price.get("lookup_key"),
        nickname=price.get("nickname"),
        metered=recurring.get("usage_type") == "metered",
    )


def _endpoint_facts(endpoint: Mapping[str, Any]) -> EndpointFacts:
    return EndpointFacts(
        id=endpoint["id"],
        url=endpoint["url"],
        status=endpoint.get("status") or "enabled",
        api_version=endpoint.get("api_version"),
        enabled_events=tuple(endpoint.get("enabled_events") or ()),
        livemode=bool(endpoint.get("livemode")),
        secret=endpoint.get("secret"),
    )
