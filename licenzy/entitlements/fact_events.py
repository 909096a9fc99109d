"""What facts tell beside an entitlement's state: invoices paid and failed, subscriptions ended. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from licenzy.entitlements.projected import FactLike, is_paid_invoice

F = TypeVar("F", bound=FactLike)


def paid_invoices(facts: Iterable[F]) -> dict[str, F]:
    """Each paid invoice with the first fact that tells of it, whichever of Stripe's two events that is."""
    return _first(facts, lambda fact: fact.kind == "invoice" and is_paid_invoice(fact))


def failed_invoices(facts: Iterable[F]) -> dict[str, F]:
    """Each invoice whose payment failed, with the first fact that tells of it."""
    return _first(
        facts, lambda fact: fact.kind == "invoice" and fact.data["event"] == "invoice.payment_failed"
    )


def ended(facts: Iterable[F]) -> dict[str, F]:
    """Each subscription that has ended at Stripe, with the first fact that tells of it."""
    return _first(facts, lambda fact: fact.kind == "subscription" and fact.data["status"] == "canceled")


def _first(facts: Iterable[F], is_of_kind: Callable[[F], bool]) -> dict[str, F]:
    found: dict[str, F] = {}
    for fact in facts:
        if is_of_kind(fact):
            found.setdefault(fact.object_id, fact)
    return found
