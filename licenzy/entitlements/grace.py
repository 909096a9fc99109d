"""Since when the latest invoice of a subscription has not been paid. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from licenzy.entitlements.models import FactSource
from licenzy.entitlements.projected import FactLike, is_paid_invoice
from licenzy.kit.clock import from_unix

_GIVEN_BACK = frozenset({"void", "uncollectible"})


def unpaid_since(
    state: FactLike, item: Mapping[str, Any], states: Sequence[FactLike], facts: Sequence[FactLike]
) -> datetime:
    """When the payment that a `past_due` state speaks of first failed, or became overdue.

    It is that of the latest invoice: failures of others do not count, nor do those of an invoice that is
    void or uncollectible. Where no event tells it, the first state that was past due with this invoice does,
    else the day on which the invoice was due or made, else the beginning of the item's period.
    """
    invoice_id = state.data.get("latest_invoice")
    about = [fact for fact in facts if fact.kind == "invoice"]
    if invoice_id is None:
        return min(_failures_after_last_payment(about), default=_period_start(state, item))
    about = [fact for fact in about if fact.object_id == invoice_id]
    if not any(fact.data["status"] in _GIVEN_BACK for fact in about):
        failed = [fact.occurred_at for fact in about if fact.data["event"] in _FAILED]
        if failed:
            return min(failed)
    past_due = [
        each.occurred_at
        for each in states
        if each.source is FactSource.EVENT
        and each.data["status"] == "past_due"
        and each.data.get("latest_invoice") == invoice_id
    ]
    if past_due:
        return min(past_due)
    dues = [fact.data.get("due_date") or fact.data.get("created") for fact in about]
    known = [from_unix(due) for due in dues if due]
    return min(known, default=_period_start(state, item))


_FAILED = frozenset({"invoice.payment_failed", "invoice.overdue"})


def _failures_after_last_payment(invoices: Iterable[FactLike]) -> list[datetime]:
    """Failures of unpaid invoices since the last payment, for a state that names no invoice."""
    about = list(invoices)
    paid = [fact for fact in about if is_paid_invoice(fact)]
    settled = {fact.object_id for fact in paid}
    settled |= {fact.object_id for fact in about if fact.data["status"] in _GIVEN_BACK}
    last_paid = max((fact.occurred_at for fact in paid), default=None)
    return [
        fact.occurred_at
        for fact in about
        if fact.data["event"] in _FAILED
        and fact.object_id not in settled
        and (last_paid is None or fact.occurred_at >= last_paid)
    ]


def _period_start(state: FactLike, item: Mapping[str, Any]) -> datetime:
    return from_unix(item["period_start"]) if item["period_start"] else state.occurred_at
