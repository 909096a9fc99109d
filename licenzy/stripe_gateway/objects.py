"""Single objects of Stripe’s, read with all that facts are taken from, and checked before they are used."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import TypeVar
from urllib.parse import quote

import stripe

from licenzy.stripe_gateway import answers, invoices, shapes
from licenzy.stripe_gateway.answers import Json, ListPage, ObjectRead
from licenzy.stripe_gateway.facts import PaymentFacts

R = TypeVar("R", ObjectRead, ListPage)


def asked_at(read: Callable[[], R]) -> R:
    """What was read, dated back from its answer by the whole seconds that it took: later events are newer."""
    began = time.monotonic()
    answer = read()
    took = timedelta(seconds=int(time.monotonic() - began))
    return answer if answer.at is None else answer._replace(at=answer.at - took)


def path_part(text: str) -> str:
    """An id as a part of a path."""
    return quote(text, safe="")


def checkout_session(client: stripe.StripeClient, session_id: str) -> Json:
    """A Checkout Session of which the facts, and what was bought, can be read."""
    found = answers.one(
        client, "get", f"checkout/sessions/{path_part(session_id)}", {"expand": ["line_items"]}
    )
    shapes.session(found)
    lines = answers.part(found, "line_items")
    for line in answers.entries(lines, "data") if lines else ():
        price = answers.part(line, "price")
        if price.get("id") is not None:
            answers.identity(price, "id")
        answers.optional_whole(line, "quantity")
    return found


def sessions_of(client: stripe.StripeClient, subscription_id: str) -> list[Json]:
    """The sessions behind a subscription, of which the facts can be read."""
    sessions = answers.listed(client, "checkout/sessions", {"subscription": subscription_id})
    for each in sessions:
        shapes.session(each)
    return sessions


def subscription(client: stripe.StripeClient, subscription_id: str) -> ObjectRead:
    """A subscription of which the facts can be read, and those of its latest invoice."""
    read = answers.one_read(
        client, "get", f"subscriptions/{path_part(subscription_id)}", {"expand": ["latest_invoice"]}
    )
    found = read.value
    shapes.subscription(found)
    invoice = found.get("latest_invoice")
    if isinstance(invoice, dict):
        answers.name(invoice, "id")
        invoices.invoice(invoice)
        found["latest_invoice"] = with_all_lines(client, invoice)
    return read


_MOST_LINES = 2_000
"""Lines read of one invoice at most: Stripe sends the first ten, and an invoice may have hundreds."""


def with_all_lines(client: stripe.StripeClient, invoice: Json) -> Json:
    """The invoice with those of its lines that did not come along."""
    lines = answers.part(invoice, "lines")
    if not lines.get("has_more"):
        return invoice
    path = f"invoices/{path_part(answers.name(invoice, 'id'))}/lines"
    entries = answers.listed(client, path, {"limit": 100}, most=_MOST_LINES)
    whole = {**lines, "data": entries, "has_more": len(entries) == _MOST_LINES}
    return {**invoice, "lines": whole}


def payment(client: stripe.StripeClient, ref: str) -> PaymentFacts:
    refs, intent = {ref}, ref
    if not ref.startswith("pi_"):
        named = answers.optional_name(
            answers.one(client, "get", f"charges/{path_part(ref)}"), "payment_intent"
        )
        if named is None:
            return PaymentFacts(refs)
        intent = named
        refs.add(intent)
    sessions = answers.page(client, "checkout/sessions", {"payment_intent": intent, "limit": 1}).entries
    if sessions:
        shapes.session(sessions[0])
        return PaymentFacts(refs, session=sessions[0])
    paid = answers.page(
        client,
        "invoice_payments",
        {"payment": {"type": "payment_intent", "payment_intent": intent}, "limit": 1},
    ).entries
    if not paid:
        return PaymentFacts(refs)
    invoices.invoice_payment(paid[0])
    path = f"invoices/{path_part(answers.name(paid[0], 'invoice'))}"
    invoice, at = asked_at(partial(answers.one_read, client, "get", path))
    invoices.invoice(invoice)
    whole = with_all_lines(client, invoice)
    return PaymentFacts(refs, invoice=whole, invoice_payment=paid[0], at=at)
