"""Calls to Stripe, each with one deadline over all of its tries, worded failures and plain answers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, TypeVar

import stripe

from licenzy.errors import StripeError, StripeUnavailable
from licenzy.kit.deadline import standing_still
from licenzy.stripe_gateway import answers, objects
from licenzy.stripe_gateway.answers import Json
from licenzy.stripe_gateway.answers import ListPage as ListPage
from licenzy.stripe_gateway.answers import ObjectRead as ObjectRead
from licenzy.stripe_gateway.facts import AccountFacts as AccountFacts
from licenzy.stripe_gateway.facts import EndpointFacts as EndpointFacts
from licenzy.stripe_gateway.facts import PaymentFacts as PaymentFacts
from licenzy.stripe_gateway.facts import PriceFacts as PriceFacts
from licenzy.stripe_gateway.facts import SessionFacts as SessionFacts
from licenzy.stripe_gateway.facts import (
    account_facts,
    endpoint_facts,
    price_facts,
    readable_prices,
    session_facts,
)
from licenzy.stripe_gateway.objects import asked_at, path_part
from licenzy.stripe_gateway.pace import in_passing, with_patience
from licenzy.stripe_gateway.permissions import Trial
from licenzy.stripe_gateway.translate import (
    StripeAnswerUnreadable,
    StripeKeyRejected,
    StripeObjectMissing,
    StripePermissionMissing,
    was_answered,
)
from licenzy.stripe_gateway.transport import DEADLINE_SECONDS, call_stripe, deadline, seconds_left
from licenzy.stripe_gateway.transport import StripeAccess as StripeAccess

API_VERSION: str = stripe.api_version or ""
"""The version of Stripe's API that the pinned library speaks; endpoints are made with it."""

T = TypeVar("T")
R = TypeVar("R", ObjectRead, ListPage)


class StripeGateway:
    """The way out to Stripe. All calls raise Stripe's refusals and silences in our words, and
    StripeAnswerUnreadable for an answer that is not in Stripe's shape.

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
            return self._call(access, lambda client: account_facts(answers.one(client, "get", "account")))
        except StripePermissionMissing as refused:
            return AccountFacts(None, None, None, None, denied=refused.permission or "account")

    def prices(self, access: StripeAccess, *, most: int = 300) -> list[PriceFacts]:
        """The account's active prices, newest first, at most `most` of them; without what cannot be read."""
        params = {"active": True, "expand": ["data.product"]}
        return self._call(
            access, lambda client: readable_prices(answers.listed(client, "prices", params, most=most))
        )

    def price(self, access: StripeAccess, price_id: str) -> PriceFacts:
        """One price. Raises StripeObjectMissing."""
        found = partial(
            answers.one, method="get", path=f"prices/{path_part(price_id)}", params={"expand": ["product"]}
        )
        return self._call(access, lambda client: price_facts(found(client)))

    def prices_by_lookup_key(self, access: StripeAccess, lookup_keys: Sequence[str]) -> list[PriceFacts]:
        """The prices that have one of these lookup keys, inactive ones included."""
        batches = [lookup_keys[n : n + _LOOKUP_KEYS] for n in range(0, len(lookup_keys), _LOOKUP_KEYS)]
        found: list[PriceFacts] = []
        for batch in batches:
            ask = partial(_prices_with, lookup_keys=list(batch))
            found += self._call(access, ask)
        return found

    def create_price(
        self, access: StripeAccess, params: Mapping[str, Any], *, idempotency_key: str
    ) -> PriceFacts:
        """Create a price with exactly these parameters."""
        sent = {**params, "expand": ["product"], "idempotency_key": idempotency_key}
        return self._call(access, lambda client: price_facts(answers.one(client, "post", "prices", sent)))

    def create_checkout_session(
        self, access: StripeAccess, params: Mapping[str, Any], *, idempotency_key: str
    ) -> SessionFacts:
        """Open a Checkout Session with exactly these parameters."""
        sent = {**params, "idempotency_key": idempotency_key}
        return self._call(
            access, lambda client: session_facts(answers.one(client, "post", "checkout/sessions", sent))
        )

    def close_checkout_session(self, access: StripeAccess, session_id: str) -> str:
        """Expire a Checkout Session unless it is over; its status then. Raises StripeObjectMissing."""
        path = f"checkout/sessions/{path_part(session_id)}"
        try:
            return self._call(access, partial(_status, method="post", path=f"{path}/expire"))
        except StripeError as refused:
            if isinstance(refused, StripeObjectMissing) or not was_answered(refused):
                raise
        return self._call(access, partial(_status, method="get", path=path))

    def create_portal_session(self, access: StripeAccess, *, customer_id: str, return_url: str | None) -> str:
        """The address of the customer portal for this customer. Raises StripeObjectMissing."""
        params = {"customer": customer_id, **({} if return_url is None else {"return_url": return_url})}
        made = partial(answers.one, method="post", path="billing_portal/sessions", params=params)
        return self._call(access, lambda client: answers.text(made(client), "url"))

    def checkout_session(self, access: StripeAccess, session_id: str) -> Json:
        """One Checkout Session with its line items, as Stripe has it. Raises StripeObjectMissing."""
        return self._call(access, lambda client: objects.checkout_session(client, session_id))

    def session_lines(self, access: StripeAccess, session_id: str) -> list[Json]:
        """The line items of one Checkout Session. Raises StripeObjectMissing."""
        return self._call(
            access,
            lambda client: answers.listed(
                client, f"checkout/sessions/{path_part(session_id)}/line_items", {}
            ),
        )

    def subscription(self, access: StripeAccess, subscription_id: str) -> ObjectRead:
        """One subscription with its latest invoice, as Stripe has it. Raises StripeObjectMissing."""
        return self._call(
            access, lambda client: asked_at(partial(objects.subscription, client, subscription_id))
        )

    def sessions_of(self, access: StripeAccess, subscription_id: str) -> list[Json]:
        """The Checkout Sessions that made a subscription."""
        return self._call(access, lambda client: objects.sessions_of(client, subscription_id))

    def invoices_of(self, access: StripeAccess, subscription_id: str) -> Iterator[Json]:
        """The invoices of one subscription, newest first, each with all of its lines."""
        for page in self._pages(access, "invoices", {"subscription": subscription_id}):
            for each in page.entries:
                yield self._call(access, partial(objects.with_all_lines, invoice=each))

    def payments_of_invoice(self, access: StripeAccess, invoice_id: str) -> list[Json]:
        """Which payments an invoice was paid with."""
        return self._call(
            access, lambda client: answers.listed(client, "invoice_payments", {"invoice": invoice_id})
        )

    def payment(self, access: StripeAccess, ref: str) -> PaymentFacts:
        """What a payment intent (`pi_…`) or charge (`ch_…`) paid for. Raises StripeObjectMissing."""
        return self._call(access, lambda client: objects.payment(client, ref))

    def events(self, access: StripeAccess, *, created_from: int) -> Iterator[list[Json]]:
        """Pages of the account's events since a Unix second, oldest first."""
        ask = self._page_after(access, "events", {"created": {"gte": created_from}}, words=["type"])
        for page in answers.pages_oldest_first(ask):
            yield page.entries[::-1]

    def latest_events(self, access: StripeAccess, *, created_from: int) -> Iterator[ListPage]:
        """The same, newest first: each page is asked for when it is wanted."""
        return self._pages(access, "events", {"created": {"gte": created_from}}, words=["type"])

    def subscriptions(self, access: StripeAccess) -> Iterator[ListPage]:
        """Pages of all the account's subscriptions, ended ones included, with their latest invoices."""
        return self._pages(access, "subscriptions", {"status": "all", "expand": ["data.latest_invoice"]})

    def subscriptions_page(
        self, access: StripeAccess, *, with_ended: bool, after: str | None = None
    ) -> ListPage:
        """One page of the account's subscriptions, newest first, with their customers and latest invoices."""
        params = {"expand": ["data.customer", "data.latest_invoice"]}
        wanted = {**params, "status": "all"} if with_ended else params
        return self._page_after(access, "subscriptions", wanted)(after)

    def subscription_items(self, access: StripeAccess, subscription_id: str) -> list[Json]:
        """All items of a subscription, of which its object shows the first ones."""
        pages = self._pages(access, "subscription_items", {"subscription": subscription_id})
        return [each for page in pages for each in page.entries]

    def completed_sessions_page(
        self, access: StripeAccess, *, created_from: int, with_payments: bool, after: str | None = None
    ) -> ListPage:
        """One page of the Checkout Sessions that were completed, newest first.

        With their line items and the charges of their payments where those are asked for.
        """
        params: dict[str, Any] = {"created": {"gte": created_from}, "status": "complete"}
        if with_payments:
            params["expand"] = ["data.line_items", "data.payment_intent.latest_charge"]
        return self._page_after(access, "checkout/sessions", params, words=["payment_status"])(after)

    def sessions(self, access: StripeAccess, *, created_from: int) -> Iterator[ListPage]:
        """Pages of the account's Checkout Sessions made since a Unix second, newest first."""
        words = ["status", "payment_status"]
        return self._pages(access, "checkout/sessions", {"created": {"gte": created_from}}, words=words)

    def refunds(self, access: StripeAccess, *, created_from: int) -> Iterator[ListPage]:
        """Pages of the account's refunds made since a Unix second, newest first."""
        return self._pages(access, "refunds", {"created": {"gte": created_from}})

    def refunds_of(self, access: StripeAccess, payment_intent: str) -> list[Json]:
        """The refunds of one payment."""
        pages = self._pages(access, "refunds", {"payment_intent": payment_intent})
        return [each for page in pages for each in page.entries]

    def disputes_of(self, access: StripeAccess, payment_intent: str) -> list[Json]:
        """The disputes of one payment."""
        pages = self._pages(access, "disputes", {"payment_intent": payment_intent})
        return [each for page in pages for each in page.entries]

    def disputes(self, access: StripeAccess, *, created_from: int) -> Iterator[ListPage]:
        """Pages of the account's disputes opened since a Unix second, newest first."""
        return self._pages(access, "disputes", {"created": {"gte": created_from}})

    def _pages(
        self, access: StripeAccess, what: str, params: dict[str, Any], *, words: Sequence[str] = ()
    ) -> Iterator[ListPage]:
        """Pages of one of Stripe's lists, newest first."""
        return answers.pages(self._page_after(access, what, params, words=words))

    def _page_after(
        self, access: StripeAccess, what: str, params: dict[str, Any], *, words: Sequence[str] = ()
    ) -> Callable[[str | None], ListPage]:
        """Asks for the page of a list behind an object; each is a call with a deadline of its own."""
        return lambda after: self._call(
            access,
            lambda client: asked_at(partial(answers.page, client, what, params, words=words, after=after)),
        )

    def lacking(self, access: StripeAccess, trial: Trial) -> str | None:
        """The permission that a key lacks for a trial call, in Stripe's name; none when it may make it.

        Raises StripeKeyRejected, StripeAnswerUnreadable, StripeTimeout and StripeUnavailable, which tell
        nothing of a permission.
        """
        try:
            self._call(
                access, lambda client: answers.json_object(client, trial.method, trial.path, trial.params)
            )
        except StripePermissionMissing as refused:
            return refused.permission or trial.permission
        except (StripeKeyRejected, StripeAnswerUnreadable):
            raise
        except StripeError:  # The call itself is refused, as a trial of writing is meant to be.
            return None
        return None

    def webhook_endpoints(self, access: StripeAccess) -> list[EndpointFacts]:
        """The account's webhook endpoints in the key's mode."""
        return self._call(
            access,
            lambda client: [endpoint_facts(each) for each in answers.listed(client, "webhook_endpoints", {})],
        )

    def create_webhook_endpoint(
        self, access: StripeAccess, *, url: str, events: tuple[str, ...], idempotency_key: str
    ) -> EndpointFacts:
        """Register an address with the pinned API version; the answer alone holds the secret."""
        params = {
            "url": url,
            "enabled_events": list(events),
            "api_version": API_VERSION,
            "description": "Licenzy",
            "idempotency_key": idempotency_key,
        }
        return self._call(
            access, lambda client: endpoint_facts(answers.one(client, "post", "webhook_endpoints", params))
        )

    def update_webhook_endpoint(
        self, access: StripeAccess, endpoint_id: str, *, events: tuple[str, ...]
    ) -> EndpointFacts:
        """Set what an endpoint subscribes to, and enable it. Raises StripeObjectMissing."""
        params = {"enabled_events": list(events), "disabled": False}
        path = f"webhook_endpoints/{path_part(endpoint_id)}"
        return self._call(access, lambda client: endpoint_facts(answers.one(client, "post", path, params)))

    def delete_webhook_endpoint(self, access: StripeAccess, endpoint_id: str) -> None:
        """Remove an address; one that is gone already is no error."""
        path = f"webhook_endpoints/{path_part(endpoint_id)}"
        with suppress(StripeObjectMissing):
            self._call(access, lambda client: answers.one(client, "delete", path))

    def _call(self, access: StripeAccess, ask: Callable[[stripe.StripeClient], T]) -> T:
        with standing_still():
            if access.pace is not None:
                return with_patience(lambda: self._in_time(access, ask), access.pace)
            with self._slot(), deadline():
                return in_passing(lambda: call_stripe(access, ask), left=seconds_left)

    def _in_time(self, access: StripeAccess, ask: Callable[[stripe.StripeClient], T]) -> T:
        with self._slot(patience=DEADLINE_SECONDS), deadline(access.pace):
            return call_stripe(access, ask)

    @contextmanager
    def _slot(self, patience: float | None = None) -> Iterator[None]:
        if not self._slots.acquire(blocking=patience is not None, timeout=patience):
            raise StripeUnavailable("Too many calls to Stripe are already waiting.")
        try:
            yield
        finally:
            self._slots.release()


def _status(client: stripe.StripeClient, *, method: str, path: str) -> str:
    return answers.text(answers.one(client, method, path), "status")


_LOOKUP_KEYS = 10
"""Lookup keys in one call at most: Stripe's own limit."""


def _prices_with(client: stripe.StripeClient, lookup_keys: list[str]) -> list[PriceFacts]:
    params = {"lookup_keys": lookup_keys, "expand": ["data.product"]}
    return [price_facts(each) for each in answers.listed(client, "prices", params)]
