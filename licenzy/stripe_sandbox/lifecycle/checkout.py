"""What a buyer does on the hosted page, and what it does to the session."""

from __future__ import annotations

from typing import Any

from licenzy.stripe_sandbox.account_store import AccountStore
from licenzy.stripe_sandbox.errors import RequestRefused
from licenzy.stripe_sandbox.lifecycle import collection, cycles, invoices, payments
from licenzy.stripe_sandbox.lifecycle.payments import PaymentOutcome
from licenzy.stripe_sandbox.shapes import checkout as shapes
from licenzy.stripe_sandbox.shapes.customers import customer as new_customer
from licenzy.stripe_sandbox.shapes.subscriptions import subscription as subscription_shape
from licenzy.stripe_sandbox.version import Json

DEFAULT_EMAIL = "buyer@example.com"


def complete(
    account_store: AccountStore,
    session: Json,
    *,
    outcome: PaymentOutcome,
    email: str | None,
    quantities: dict[int, int],
) -> None:
    """The buyer pays, at once or by bank debit. The session must be open: `is_open` says so."""
    _set_quantities(account_store, session, quantities)
    customer = _customer(account_store, session, email)
    known = customer["email"] if customer else email or session["customer_email"] or DEFAULT_EMAIL
    details = shapes.details(known, customer)
    if session["mode"] == "subscription":
        payment_fields = _subscribe(account_store, session, customer, outcome)
    else:
        payment_fields = _buy(account_store, session, customer, outcome, known)
    tax = session["automatic_tax"]
    account_store.change(
        session,
        status="complete",
        url=None,
        customer=customer["id"] if customer else None,
        customer_details=details,
        collected_information={"business_name": None, "individual_name": None, "shipping_details": None},
        automatic_tax={**tax, "status": "complete" if tax["enabled"] else None},
        **payment_fields,
    )
    account_store.emit("checkout.session.completed", session)


def decline(account_store: AccountStore, session: Json) -> None:
    """The bank says no; the session stays open for another try. A subscription is not begun before its
    payment."""
    intent = account_store.find("payment_intent", session["payment_intent"])
    if intent is None:
        intent = _open_intent(
            account_store, session, session["customer"], session["customer_email"] or DEFAULT_EMAIL
        )
    if session["mode"] == "payment":
        account_store.change(session, payment_intent=intent["id"])
    payments.attempt(account_store, intent, outcome=PaymentOutcome.FAILED)


def settle(account_store: AccountStore, session: Json, *, succeeds: bool) -> None:
    """The bank answers a debit that `pay_later` began."""
    if session["status"] != "complete" or session["payment_status"] != "unpaid":
        raise RequestRefused(f"The session {session['id']} has no payment under way.")
    invoice = account_store.find("invoice", session["invoice"])
    intent = (
        invoices.intent_of(account_store, invoice)
        if invoice
        else account_store.find("payment_intent", session["payment_intent"])
    )
    if intent is None or intent["status"] != "processing":
        raise RequestRefused(f"The payment of the session {session['id']} has failed already.")
    collection.settle_debit(account_store, intent, succeeds=succeeds)
    if succeeds:
        account_store.change(session, payment_status="paid")
    account_store.emit(f"checkout.session.async_payment_{'succeeded' if succeeds else 'failed'}", session)


def expire(account_store: AccountStore, session: Json) -> None:
    """The session can no longer be paid."""
    if session["status"] != "open":
        message = (
            'Only Checkout Sessions with a status in ["open"] can be expired. This Checkout Session has a'
        )
        raise RequestRefused(f"{message} status of '{session['status']}'.")
    account_store.change(session, status="expired", url=None)
    account_store.emit("checkout.session.expired", session)


def is_open(account_store: AccountStore, session: Json) -> bool:
    """Open and in time; one past its time is expired here and now."""
    if session["status"] == "open" and account_store.now >= session["expires_at"]:
        expire(account_store, session)
    return bool(session["status"] == "open")


def _set_quantities(account_store: AccountStore, session: Json, quantities: dict[int, int]) -> None:
    lines = [
        shapes.with_quantity(line, quantities[n]) if n in quantities and line["adjustable_quantity"] else line
        for n, line in enumerate(session["_lines"])
    ]
    account_store.change(session, _lines=lines, **shapes.totals(lines))


def _customer(account_store: AccountStore, session: Json, email: str | None) -> Json | None:
    if session["customer"]:
        return account_store.get("customer", session["customer"], param="customer")
    if session["customer_creation"] != "always":
        return None
    params = {"email": email or session["customer_email"] or DEFAULT_EMAIL}
    customer = account_store.insert(new_customer(account_store, params))
    account_store.emit("customer.created", customer)
    return customer


def _buy(
    account_store: AccountStore,
    session: Json,
    customer: Json | None,
    outcome: PaymentOutcome,
    email: str,
) -> dict[str, Any]:
    if session["amount_total"] == 0:
        return {"payment_status": "no_payment_required"}
    intent = account_store.find("payment_intent", session["payment_intent"])
    if intent is None:
        intent = _open_intent(account_store, session, customer["id"] if customer else None, email)
    else:
        account_store.change(
            intent,
            customer=customer["id"] if customer else None,
            amount=session["amount_total"],
            _email=email,
        )
    payments.attempt(account_store, intent, outcome=outcome)
    return {
        "payment_intent": intent["id"],
        "payment_status": "paid" if outcome is PaymentOutcome.SUCCEEDED else "unpaid",
    }


def _open_intent(account_store: AccountStore, session: Json, customer: str | None, email: str) -> Json:
    data = session["_payment_intent_data"]
    return payments.open_intent(
        account_store,
        amount=session["amount_total"],
        currency=session["currency"],
        customer=customer,
        email=email,
        metadata=data.get("metadata") or {},
        description=data.get("description"),
        for_renewals=session["mode"] == "subscription" or data.get("setup_future_usage") == "off_session",
    )


def _subscribe(
    account_store: AccountStore, session: Json, customer: Json | None, outcome: PaymentOutcome
) -> dict[str, Any]:
    if customer is None:
        raise RequestRefused("A subscription needs a customer.")
    lines = [{"price": line["price"], "quantity": line["quantity"]} for line in session["_lines"]]
    items = [line for line in lines if line["price"]["recurring"]]
    data, trial_end = session["_subscription_data"], _trial_end(account_store, session)
    free = trial_end is not None and session["amount_total"] == 0
    subscription = subscription_shape(
        account_store,
        customer=customer["id"],
        lines=items,
        metadata=data.get("metadata") or {},
        description=data.get("description"),
        automatic_tax=session["automatic_tax"]["enabled"],
        payment_method=None,
        end_without_card=_end_without_card(data),
        has_card=not (free and session["payment_method_collection"] == "if_required"),
        billing_mode=data.get("billing_mode", {}).get("type", "flexible"),
    )
    extra = [line for line in lines if not line["price"]["recurring"]]
    how = cycles.SubscriptionStart(items=items, extra=extra, trial_end=trial_end, outcome=outcome)
    cycles.start(account_store, subscription, how)
    paid = "paid" if outcome is PaymentOutcome.SUCCEEDED else "unpaid"
    if session["amount_total"] == 0:
        paid = "no_payment_required"
    return {
        "subscription": subscription["id"],
        "invoice": subscription["latest_invoice"],
        "payment_status": paid,
    }


def _trial_end(account_store: AccountStore, session: Json) -> int | None:
    data = session["_subscription_data"]
    if "trial_end" in data:
        return int(data["trial_end"])
    days = data.get("trial_period_days")
    return account_store.now + days * 86400 if days else None


def _end_without_card(data: Json) -> str:
    behavior: Json = data.get("trial_settings", {}).get("end_behavior", {})
    return str(behavior.get("missing_payment_method", "create_invoice"))
