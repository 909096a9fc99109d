"""What led to an entitlement, for a merchant: the facts behind it as entries of a timeline."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from licenzy.catalog.rules import duration_text
from licenzy.entitlements.changed_terms import TERMS
from licenzy.entitlements.imported import IMPORT
from licenzy.entitlements.models import FactSource
from licenzy.entitlements.projected import SETTLED, FactLike
from licenzy.imports.wording import MATCHED_BY
from licenzy.kit.clock import from_micros, from_unix
from licenzy.kit.money import format_amount
from licenzy.portal.formatting import day, instant
from licenzy.portal.limit_text import limit_text


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """One thing that happened."""

    at: datetime
    title: str
    text: str | None
    source: FactSource
    tone: str = "info"
    """`good` gives access, `bad` takes it, `info` changes neither."""
    event_id: str | None = None
    """The event of Stripe's that brought it first."""
    actor_id: str | None = None
    note: str | None = None
    times: int = 1
    """How often it was sent, one time after the other."""


def history(facts: Iterable[FactLike], item_key: str = "") -> list[TimelineEntry]:
    """The facts of one purchase that concern the item, the latest first; what repeats stands once."""
    ordered = sorted(
        (fact for fact in facts if _concerns(fact, item_key)),
        key=lambda fact: (fact.occurred_at, fact.source is FactSource.SNAPSHOT, fact.source_id),
    )
    currency = next((fact.data["currency"] for fact in ordered if fact.data.get("currency")), None)
    entries: list[TimelineEntry] = []
    known: _State | None = None
    description: _Description | None
    for fact in ordered:
        if fact.kind == "subscription":
            state = _State.of(fact.data, item_key)
            description = _subscription(fact, known, state)
            known = state
        else:
            description = _DESCRIBE[fact.kind](fact.data, currency) if fact.kind in _DESCRIBE else None
        if description is not None:
            _add(entries, _entry(fact, description))
    return entries[::-1]


def _concerns(fact: FactLike, item_key: str) -> bool:
    """Acts are about one item each; adopting, importing and giving terms are about the whole purchase."""
    of_all = fact.kind != "operator" or fact.data["action"] in {"adopt", IMPORT, TERMS}
    return of_all or bool(fact.data.get("item_key", "") == item_key)


@dataclass(frozen=True, slots=True)
class _Description:
    title: str
    text: str | None = None
    tone: str = "info"


@dataclass(frozen=True, slots=True)
class _State:
    """What of a subscription's state access depends on, as one fact states it."""

    status: str
    product: str | None
    quantity: int
    until: int | None
    cancel_at: int | None
    paused: bool

    @classmethod
    def of(cls, data: Mapping[str, Any], item_key: str) -> _State:
        items = data["items"]
        item = next((each for each in items if each["id"] == item_key), items[0])
        at_period_end = item.get("period_end") if data.get("cancel_at_period_end") else None
        return cls(
            status=str(data.get("status")),
            product=(item.get("sold") or {}).get("product_code"),
            quantity=item.get("quantity") or 1,
            until=item.get("period_end"),
            cancel_at=data.get("cancel_at") or at_period_end,
            paused=data.get("pause") == "void",
        )


def _entry(fact: FactLike, description: _Description) -> TimelineEntry:
    operator = fact.source is FactSource.OPERATOR
    return TimelineEntry(
        at=fact.occurred_at,
        title=description.title,
        text=description.text,
        source=fact.source,
        tone=description.tone,
        event_id=fact.source_id if fact.source is FactSource.EVENT else None,
        actor_id=fact.data.get("actor") if operator else None,
        note=fact.data.get("note") or None if operator else None,
    )


def _add(entries: list[TimelineEntry], entry: TimelineEntry) -> None:
    """Add an entry, or count it where the one before says the same; acts of people always stand alone."""
    last = entries[-1] if entries else None
    same = last is not None and (last.title, last.text) == (entry.title, entry.text)
    if last is None or not same or entry.source is FactSource.OPERATOR:
        entries.append(entry)
    else:
        entries[-1] = replace(last, times=last.times + 1, event_id=last.event_id or entry.event_id)


def _subscription(fact: FactLike, before: _State | None, now: _State) -> _Description:
    read = fact.source is FactSource.SNAPSHOT
    if before is None:
        title = f"Subscription synced from Stripe: {_word(now.status)}" if read else _begun(fact.data, now)
        return _Description(title, _terms(now), _TONES.get(now.status, "info"))
    changes = _changes(before, now)
    if not changes:
        return _Description(
            "Synced with Stripe: no change" if read else "Subscription reported again",
            None if read else "Nothing that affects access changed.",
        )
    title = "Changed in a sync with Stripe" if read else "Subscription changed"
    if fact.data.get("event") == "customer.subscription.deleted":
        title = "Subscription ended"
    return _Description(title, " ".join(changes), _TONES.get(now.status, "info") if before != now else "info")


def _begun(data: Mapping[str, Any], now: _State) -> str:
    if data.get("event") == "customer.subscription.deleted":
        return "Subscription ended"
    return (
        f"Subscription {'began' if data.get('event') == 'customer.subscription.created' else 'reported'}: "
        + (_word(now.status))
    )


def _changes(before: _State, now: _State) -> list[str]:
    changes: list[str] = []
    if now.status != before.status:
        changes.append(f"It was {_word(before.status)} and is {_word(now.status)}.")
    if now.paused != before.paused:
        changes.append("Collection is paused." if now.paused else "Collection has resumed.")
    if (now.product, now.quantity) != (before.product, before.quantity):
        changes.append(f"It is now {_sold(now)}.")
    if now.cancel_at != before.cancel_at:
        changes.append(
            f"It ends on {_day(now.cancel_at)}." if now.cancel_at else "The cancellation was withdrawn."
        )
    if now.until != before.until and now.until is not None:
        changes.append(f"The period ends on {_day(now.until)}.")
    return changes


def _terms(state: _State) -> str:
    until = f", period until {_day(state.until)}" if state.until is not None else ""
    ends = f", set to end on {_day(state.cancel_at)}" if state.cancel_at else ""
    return f"{_sold(state)}{until}{ends}."


def _sold(state: _State) -> str:
    times = f" × {state.quantity}" if state.quantity > 1 else ""
    return f"{state.product or 'a price that no product is mapped to'}{times}"


def _session(data: Mapping[str, Any], currency: str | None) -> _Description:
    amount = format_amount(data.get("amount_total"), data.get("currency") or currency)
    event = data.get("event")
    if event == "checkout.session.expired":
        return _Description("The checkout expired", "Nobody paid in time.", "info")
    if event == "checkout.session.async_payment_failed":
        return _Description("The payment failed", f"{amount} did not arrive.", "bad")
    if event == "checkout.session.async_payment_succeeded":
        return _Description("The payment arrived", f"{amount}.", "good")
    if data.get("payment_status") == "no_payment_required":
        return _Description("The checkout was completed", "No payment was due.", "good")
    if data.get("payment_status") in SETTLED:
        return _Description("Paid on the payment page", f"{amount}.", "good")
    return _Description(
        "The checkout was completed", f"{amount} is processing, for example by bank debit.", "info"
    )


def _invoice(data: Mapping[str, Any], currency: str | None) -> _Description:
    currency = data.get("currency") or currency
    until = f" Paid until {_day(data.get('period_end'))}." if data.get("period_end") else ""
    if data.get("event") == "invoice.payment_failed":
        return _Description(
            "A payment failed", f"{format_amount(data.get('amount_due'), currency)} is due.", "bad"
        )
    if data.get("event") in {"invoice.paid", "invoice.payment_succeeded"} or data.get("status") == "paid":
        return _Description(
            "Invoice paid", f"{format_amount(data.get('amount_paid'), currency)}.{until}", "good"
        )
    due = format_amount(data.get("amount_due"), currency)
    return _Description(f"Invoice {_word(str(data.get('status') or 'open'))}", f"{due}.", "info")


def _invoice_payment(_data: Mapping[str, Any], _currency: str | None) -> None:
    """Only names the payment of an invoice that stands in a line of its own."""
    return


def _charge(data: Mapping[str, Any], currency: str | None) -> _Description:
    refunded, whole = (
        format_amount(data.get("amount_refunded"), currency),
        format_amount(data.get("amount"), currency),
    )
    full = (data.get("amount_refunded") or 0) >= (data.get("amount") or 0)
    return _Description("Refunded", f"{refunded} of {whole} in total.", "bad" if full else "info")


def _refund(data: Mapping[str, Any], currency: str | None) -> _Description:
    amount, status = format_amount(data.get("amount"), currency), str(data.get("status") or "unknown")
    if status in {"failed", "canceled"}:
        return _Description(
            f"A refund {'failed' if status == 'failed' else 'was canceled'}", f"{amount}.", "good"
        )
    return _Description(
        "A refund was made" if status == "succeeded" else "A refund is processing", f"{amount}.", "bad"
    )


def _dispute(data: Mapping[str, Any], currency: str | None) -> _Description:
    amount, status = format_amount(data.get("amount"), currency), str(data.get("status") or "unknown")
    if status == "lost":
        return _Description("The dispute was lost", f"{amount}.", "bad")
    if status in {"won", "warning_closed", "prevented"}:
        return _Description(
            "The dispute was won" if status == "won" else "The inquiry was closed", f"{amount}.", "good"
        )
    if status.startswith("warning_"):
        return _Description(
            "The bank asks about the payment", f"{amount}. An inquiry does not affect access.", "info"
        )
    return _Description("The payment is disputed", f"{amount}: {_word(status)}.", "bad")


def _operator(data: Mapping[str, Any], _currency: str | None) -> _Description:
    action = data["action"]
    if action == "grant":
        until = (
            f"until {instant(from_micros(data['until']))}" if data["until"] is not None else "never expires"
        )
        units = f"{data['units']:,} units, " if data["units"] is not None else ""
        return _Description("Granted manually", f"{data['product_code']}, {units}{until}.", "good")
    if action == "revoke":
        return _Description("Revoked manually", None, "bad")
    if action == "adjust":
        units = data["units"]
        return _Description(f"{abs(units):,} units {'added' if units > 0 else 'removed'} manually", None)
    if action == "adjust_window":
        units, unit = data["units"], data["unit"]
        return _Description(
            f"{abs(units):,} included {unit} {'added' if units > 0 else 'removed'} manually",
            f"In the window that began on {_day(data['starts_at'])}.",
        )
    if action == "extend":
        return _Description(f"Extended by {duration_text(data['seconds'])}", None, "good")
    if action == "lift":
        return _Description(
            "Access restored manually", "Earlier refunds and disputes no longer affect it.", "good"
        )
    if action == "override":
        until = f", until {instant(from_micros(data['until']))}" if data["until"] is not None else ""
        value = f" = {limit_text(data['value'])}" if data["limit"] is not None else ""
        return _Description("Set manually", f"{data['limit'] or data['feature']}{value}{until}.", "good")
    if action == "remove_override":
        return _Description("Taken away manually", None, "bad")
    if action == TERMS:
        return _Description("Terms changed", f"{data['product_code']}, version {data['version']}.")
    if action == IMPORT:
        return _Description("Imported from Stripe", MATCHED_BY.get(data["matched_by"]), "good")
    return _Description("Checkout adopted manually", _adopted(data), "good")


def _adopted(data: Mapping[str, Any]) -> str:
    sold = [data["sold"], *(each["sold"] for each in data.get("others", ()))]
    return f"{', '.join(each['product_code'] for each in sold)}, from {data['session']}."


def _day(seconds: int | None) -> str:
    return day(from_unix(seconds)) if seconds is not None else "an unknown day"


def _word(status: str) -> str:
    return status.replace("_", " ")


_TONES = {
    "active": "good",
    "trialing": "good",
    "past_due": "bad",
    "unpaid": "bad",
    "paused": "bad",
    "canceled": "bad",
    "incomplete_expired": "bad",
}

_DESCRIBE: dict[str, Callable[[Mapping[str, Any], str | None], _Description | None]] = {
    "session": _session,
    "invoice": _invoice,
    "invoice_payment": _invoice_payment,
    "charge": _charge,
    "refund": _refund,
    "dispute": _dispute,
    "operator": _operator,
}
