"""What the import of a purchase says of it: that access had begun, and which periods are paid. Pure.

A purchase that is brought along has no events of its past here. Its latest invoice need not be the one of
its period, so the import says which periods count as paid.
"""

from __future__ import annotations

from collections.abc import Sequence

from licenzy.entitlements.periods import PaidInvoice
from licenzy.entitlements.projected import FactLike
from licenzy.kit.clock import from_unix

IMPORT = "import"
"""The action of the fact that an import records of each purchase."""


def import_in(facts: Sequence[FactLike]) -> FactLike | None:
    """The fact by which a purchase was imported; None where it was not."""
    acts = (fact for fact in facts if fact.kind == "operator" and fact.data["action"] == IMPORT)
    return min(acts, key=lambda fact: (fact.occurred_at, fact.source_id), default=None)


def had_begun(facts: Sequence[FactLike], item_id: str) -> bool:
    """Whether access to an item of a subscription had begun when it was imported."""
    fact = import_in(facts)
    return fact is not None and item_id in fact.data.get("begun", ())


def assumed_invoices(facts: Sequence[FactLike]) -> list[PaidInvoice]:
    """The periods that were running at the import and count as paid, as if an invoice had billed each.

    An invoice that Stripe tells of later has the same period, and stands in its place.
    """
    fact = import_in(facts)
    periods = fact.data.get("periods", ()) if fact is not None else ()
    return [
        PaidInvoice(
            id=f"{IMPORT}:{period['item']}",
            paid_at=from_unix(period["start"]),
            created=period["start"],
            reason="subscription_cycle",
            amount_paid=None,
            payments=frozenset(),
            lines=[{**period, "recurring": True, "proration": False}],
            has_more=False,
            period_end=period["end"],
        )
        for period in periods
    ]
