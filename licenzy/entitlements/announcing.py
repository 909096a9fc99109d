"""What endpoints are told when a purchase is projected: its changes, and what its new facts tell."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlmodel import Session, col, select

from licenzy.catalog.models import Kind
from licenzy.connections.queries import connection_of
from licenzy.connections.rules import time_of
from licenzy.deliveries.models import EventType, Source
from licenzy.deliveries.outbox import announce
from licenzy.deliveries.rules import Data, Happening
from licenzy.entitlements.decision import remaining, standing
from licenzy.entitlements.models import Entitlement, Fact, Purchase, State
from licenzy.entitlements.news import ended, failed_invoices, paid_invoices
from licenzy.kit.clock import rfc3339

Change = dict[str, Any]
"""One entitlement's row before (or None) and after, as the event inspector shows it."""


@dataclass(frozen=True, slots=True)
class Because:
    """Why a purchase is projected, for those who are told of what that changed."""

    source: Source
    reason: str
    stripe_event_id: str | None = None
    actor_user_id: str | None = None
    news: Collection[tuple[str, str]] = ()
    """Source id and kind of the facts that are new, or newly of a known subject."""


REPLAYED = Because(Source.STRIPE, "replayed")
_BOUGHT = "stripe"


def announce_purchase(
    db: Session,
    purchase: Purchase,
    *,
    facts: Sequence[Fact],
    rows: Iterable[Entitlement],
    changes: Sequence[Change],
    because: Because,
    now: datetime,
) -> None:
    """Tell the endpoints of this side, if there are any, in the transaction of the change.

    The purchase is locked and its subject known; `rows` are all that it gave. That it is finalized is
    noted whoever listens.
    """
    if not changes and not because.news:
        return
    was_finalized = purchase.finalized_at is not None
    if not was_finalized and changes and any(map(_is_available, rows)):
        purchase.finalized_at = now
        db.flush()
    told = _Telling(db, purchase, facts, changes, because, was_finalized, now)
    announce(
        db, project_id=purchase.project_id, mode=purchase.mode, happenings=lambda: list(told.all()), now=now
    )


def _is_available(row: Entitlement) -> bool:
    return row.source == _BOUGHT and row.state in {State.ACTIVE, State.TRIALING}


@dataclass(slots=True)
class _Telling:
    """One projection as endpoints hear of it. Reads only when somebody listens."""

    db: Session
    purchase: Purchase
    facts: Sequence[Fact]
    changes: Sequence[Change]
    because: Because
    was_finalized: bool
    now: datetime

    def all(self) -> Iterator[Happening]:
        """Everything, the purchase before its parts."""
        rows = {row.id: row for row in self._rows()}
        own = [row for row in rows.values() if row.purchase_key == self.purchase.key]
        first = own[0] if own else None
        if self.purchase.finalized_at is not None and not self.was_finalized:
            yield self._about(EventType.PURCHASE_FINALIZED, first, **self._price())
        yield from self._of_subscription(first)
        for invoice in self._new(paid_invoices):
            yield self._about(EventType.INVOICE_PAYMENT_SUCCEEDED, first, **_paid(invoice))
        for invoice in self._new(failed_invoices):
            yield self._about(EventType.INVOICE_PAYMENT_FAILED, first, **_due(invoice))
        for changed in self._changed():
            yield self._about(EventType.ENTITLEMENT_UPDATED, rows[changed])

    def _of_subscription(self, first: Entitlement | None) -> Iterator[Happening]:
        if self._new(ended):
            yield self._about(EventType.SUBSCRIPTION_DELETED, first)
            return
        told = any(kind == "subscription" for _source, kind in self.because.news)
        if told and self.was_finalized and self._changed():
            yield self._about(EventType.SUBSCRIPTION_UPDATED, first)

    def _new(self, read: Any) -> list[Fact]:
        """What the new facts tell that the older ones had not told."""
        older = [fact for fact in self.facts if (fact.source_id, fact.kind) not in self.because.news]
        known = set(read(older))
        return [fact for about, fact in read(self.facts).items() if about not in known]

    def _changed(self) -> list[str]:
        """The entitlements that differ from before, each once however often it was written."""
        before: dict[str, Any] = {}
        after: dict[str, Any] = {}
        for change in self.changes:
            before.setdefault(change["entitlement"], change["before"])
            after[change["entitlement"]] = change["after"]
        return [each for each in after if before[each] != after[each]]

    def _rows(self) -> list[Entitlement]:
        """The entitlements of the purchase, and those of its siblings that changed with it."""
        theirs = col(Entitlement.id).in_([change["entitlement"] for change in self.changes])
        return list(
            self.db.exec(
                select(Entitlement)
                .where(
                    Entitlement.project_id == self.purchase.project_id,
                    Entitlement.mode == self.purchase.mode,
                    (col(Entitlement.purchase_key) == self.purchase.key) | theirs,
                )
                .order_by(Entitlement.purchase_key, Entitlement.item_key)
            )
        )

    def _price(self) -> dict[str, Any]:
        """What was paid for the purchase: the session tells it, else the first paid invoice."""
        for fact in self.facts:
            if fact.kind == "session" and fact.data["amount_total"] is not None:
                return {"amount_total": fact.data["amount_total"], "currency": fact.data["currency"]}
        paid = sorted(paid_invoices(self.facts).values(), key=lambda fact: fact.occurred_at)
        return _paid(paid[0]) if paid else {}

    def _about(self, event_type: EventType, row: Entitlement | None, **more: Any) -> Happening:
        data = Data(
            attempt_id=self.purchase.attempt_id,
            stripe_subscription_id=self.purchase.key if self.purchase.key.startswith("sub_") else None,
            stripe_event_id=self.because.stripe_event_id,
            actor_user_id=self.because.actor_user_id,
        )
        if row is not None:
            data = self._with_row(data, row)
        subject_id = row.subject_id if row is not None else self.purchase.subject_id
        return Happening(
            event_type, self.because.source, self.because.reason, subject_id, replace(data, **more)
        )

    def _with_row(self, data: Data, row: Entitlement) -> Data:
        connection = connection_of(self.db, project_id=row.project_id, mode=row.mode)
        stands = standing(row, time_of(connection, self.now))
        pack = row.kind is Kind.USAGE_PACK
        return replace(
            data,
            entitlement_id=row.id,
            product_code=row.product_code,
            kind=row.kind.value,
            status=stands.status,
            available=stands.available,
            usage_remaining=remaining(row) if pack else None,
            units=row.granted_units if pack else None,
            valid_until=rfc3339(row.valid_until) if row.valid_until else None,
            canceled_at=rfc3339(row.canceled_at) if row.canceled_at else None,
            attempt_id=row.attempt_id,
            stripe_checkout_session_id=row.stripe_checkout_session_id,
            stripe_subscription_id=row.stripe_subscription_id,
        )


def _paid(invoice: Fact) -> dict[str, Any]:
    return {"amount_total": invoice.data["amount_paid"], "currency": invoice.data["currency"]}


def _due(invoice: Fact) -> dict[str, Any]:
    return {"amount_total": invoice.data["amount_due"], "currency": invoice.data["currency"]}
