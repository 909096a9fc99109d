"""What endpoints are told when a purchase is projected: its changes, and what its new facts tell."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlmodel import Session, col, select

from licenzy.catalog.models import Kind
from licenzy.connections.queries import with_clock
from licenzy.db.upsert import change_row
from licenzy.deliveries.models import EventType, Source
from licenzy.deliveries.outbox import announce
from licenzy.deliveries.rules import Data, EventDraft
from licenzy.entitlements.decision import remaining, standing
from licenzy.entitlements.fact_events import ended, failed_invoices, paid_invoices
from licenzy.entitlements.models import OVERRIDE, Entitlement, Purchase, State
from licenzy.entitlements.projected import FactLike
from licenzy.entitlements.purchases import LockedPurchase
from licenzy.entitlements.trials import confirmed_endings, is_ahead
from licenzy.kit.clock import rfc3339

Change = dict[str, Any]
"""One entitlement's row before (or None) and after, as the event inspector shows it."""


@dataclass(frozen=True, slots=True)
class ChangeCause:
    """Why a purchase is projected, for those who are told of what that changed."""

    source: Source
    reason: str
    stripe_event_id: str | None = None
    actor_user_id: str | None = None
    new_facts: Collection[tuple[str, str]] = ()
    """Source id and kind of the facts that are new, or newly of a known subject."""


REPLAYED = ChangeCause(Source.STRIPE, "replayed")
_BOUGHT = "stripe"


def announce_purchase(
    db: Session,
    purchase: LockedPurchase,
    *,
    facts: Sequence[FactLike],
    rows: Iterable[Mapping[str, Any]],
    changes: Sequence[Change],
    cause: ChangeCause,
    has_endpoints: bool = True,
    now: datetime,
) -> None:
    """Tell the endpoints of this side, if there are any, in the transaction of the change.

    The purchase is held and its subject known; `rows` are all that it gave, by column. That it is finalized
    is noted whoever listens; without `has_endpoints` nobody does.
    """
    if not changes and not cause.new_facts:
        return
    is_finalized_now = purchase.finalized_at is None and bool(changes) and any(map(_is_available, rows))
    if is_finalized_now:
        change_row(db, Purchase, purchase.primary_key, {"finalized_at": now})
    if not has_endpoints:
        return
    events = _PurchaseEvents(db, purchase, facts, changes, cause, is_finalized_now, now)
    announce(db, purchase.scope, drafts=lambda: list(events.all()), now=now)


def _is_available(row: Mapping[str, Any]) -> bool:
    return row["source"] == _BOUGHT and row["state"] in {State.ACTIVE, State.TRIALING}


@dataclass(slots=True)
class _PurchaseEvents:
    """One projection as endpoints hear of it. Reads only when somebody listens."""

    db: Session
    purchase: LockedPurchase
    facts: Sequence[FactLike]
    changes: Sequence[Change]
    cause: ChangeCause
    is_finalized_now: bool
    now: datetime
    at: datetime | None = None
    """The account's own time, once it has been looked up."""

    def all(self) -> Iterator[EventDraft]:
        """Everything, the purchase before its parts."""
        rows = {row.id: row for row in self._rows()}
        own = [row for row in rows.values() if row.purchase_key == self.purchase.key]
        # What a subscription's session sold once is not what later events of the subscription are about.
        first = min(own, key=lambda row: row.kind is not Kind.SUBSCRIPTION, default=None)
        if self.is_finalized_now:
            yield self._about(EventType.PURCHASE_FINALIZED, first, **self._price())
        yield from self._of_subscription(first)
        for invoice in self._new(paid_invoices):
            yield self._about(EventType.INVOICE_PAYMENT_SUCCEEDED, first, **_paid(invoice))
        for invoice in self._new(failed_invoices):
            yield self._about(EventType.INVOICE_PAYMENT_FAILED, first, **_due(invoice))
        for changed in self._changed():
            yield self._about(EventType.ENTITLEMENT_UPDATED, rows[changed])

    def _of_subscription(self, first: Entitlement | None) -> Iterator[EventDraft]:
        if self._new(ended):
            yield self._about(EventType.SUBSCRIPTION_DELETED, first)
            return
        events = any(kind == "subscription" for _source, kind in self.cause.new_facts)
        was_finalized = self.purchase.finalized_at is not None
        if events and was_finalized and self._changed():
            yield self._about(EventType.SUBSCRIPTION_UPDATED, first)
        for ending in self._reported_first(confirmed_endings):
            if is_ahead(ending, self.facts, self._now_there()):
                yield self._about(EventType.SUBSCRIPTION_TRIAL_ENDING, first)

    def _new(self, read: Any) -> list[FactLike]:
        """What the new facts tell that the older ones had not told."""
        return list(self._reported_first(read).values())

    def _reported_first(self, read: Any) -> dict[Any, FactLike]:
        """The same, by what it is about."""
        older = [fact for fact in self.facts if (fact.source_id, fact.kind) not in self.cause.new_facts]
        known = set(read(older))
        return {about: fact for about, fact in read(self.facts).items() if about not in known}

    def _now_there(self) -> datetime:
        """The account's own time."""
        if self.at is None:
            self.at = with_clock(self.db, self.purchase.scope).at(self.now)
        return self.at

    def _changed(self) -> list[str]:
        """The entitlements that differ from before, each once however often it was written."""
        before: dict[str, Any] = {}
        after: dict[str, Any] = {}
        for change in self.changes:
            before.setdefault(change["entitlement"], change["before"])
            after[change["entitlement"]] = change["after"]
        return [each for each in after if before[each] != after[each]]

    def _rows(self) -> list[Entitlement]:
        """The entitlements of the purchase, and those of its siblings that changed with it, as written."""
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
                .execution_options(populate_existing=True)
            )
        )

    def _price(self) -> dict[str, Any]:
        """What was paid for the purchase: the session tells it, else the first paid invoice."""
        for fact in self.facts:
            if fact.kind == "session" and fact.data["amount_total"] is not None:
                return {"amount_total": fact.data["amount_total"], "currency": fact.data["currency"]}
        paid = sorted(paid_invoices(self.facts).values(), key=lambda fact: fact.occurred_at)
        return _paid(paid[0]) if paid else {}

    def _about(self, event_type: EventType, row: Entitlement | None, **more: Any) -> EventDraft:
        data = Data(
            attempt_id=self.purchase.attempt_id,
            stripe_subscription_id=self.purchase.key if self.purchase.key.startswith("sub_") else None,
            stripe_event_id=self.cause.stripe_event_id,
            actor_user_id=self.cause.actor_user_id,
        )
        if row is not None:
            data = self._with_row(data, row)
        subject_id = row.subject_id if row is not None else self.purchase.subject_id
        return EventDraft(event_type, self.cause.source, self.cause.reason, subject_id, replace(data, **more))

    def _with_row(self, data: Data, row: Entitlement) -> Data:
        stands = standing(row, self._now_there())
        pack = row.kind is Kind.USAGE_PACK
        return replace(
            data,
            entitlement_id=row.id,
            product_code=row.product_code if row.source != OVERRIDE else None,
            kind=row.kind.value if row.source != OVERRIDE else None,
            status=stands.status,
            available=stands.available,
            usage_remaining=remaining(row) if pack else None,
            unit=row.unit if pack else None,
            units=row.granted_units if pack else None,
            valid_until=rfc3339(row.valid_until) if row.valid_until else None,
            canceled_at=rfc3339(row.canceled_at) if row.canceled_at else None,
            attempt_id=row.attempt_id,
            stripe_checkout_session_id=row.stripe_checkout_session_id,
            stripe_subscription_id=row.stripe_subscription_id,
        )


def _paid(invoice: FactLike) -> dict[str, Any]:
    return {"amount_total": invoice.data["amount_paid"], "currency": invoice.data["currency"]}


def _due(invoice: FactLike) -> dict[str, Any]:
    return {"amount_total": invoice.data["amount_due"], "currency": invoice.data["currency"]}
