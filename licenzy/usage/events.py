"""Telling endpoints of consumption, in the transaction that consumes, where one wants to hear."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlmodel import Session, select

from licenzy.catalog.models import Kind
from licenzy.catalog.queries import product_by_code
from licenzy.deliveries.models import EventType, Source
from licenzy.deliveries.outbox import announce
from licenzy.deliveries.rules import Data, EventDraft
from licenzy.entitlements.decision import standing
from licenzy.entitlements.models import Entitlement
from licenzy.entitlements.queries import entitlements_of
from licenzy.projects.scope import Scope
from licenzy.usage.models import LedgerRow
from licenzy.usage.rules import burning, named, total


def announce_consumed(
    db: Session, scope: Scope, *, subject_id: str, request_id: str, called_at: datetime, now: datetime
) -> None:
    """Tell what the ledger has of this call: that it consumed, and which product has run low by it.

    `called_at` is real time, which says when it is sent; `now` the instant that decisions are made at.
    """

    def drafts() -> list[EventDraft]:
        return list(_Call(db, scope, subject_id, request_id, now).all())

    announce(db, scope, drafts=drafts, now=called_at)


@dataclass(slots=True)
class _Call:
    """One call's rows of the ledger, with the packs of its subject."""

    db: Session
    scope: Scope
    subject_id: str
    request_id: str
    now: datetime

    def all(self) -> Iterator[EventDraft]:
        rows = self._ledger()
        if not rows:
            return
        packs = entitlements_of(self.db, self.scope, subject_id=self.subject_id)
        by_id = {pack.id: pack for pack in packs}
        used: dict[str, int] = {}
        for row in rows:
            code = by_id[row.entitlement_id].product_code
            used[code] = used.get(code, 0) + row.units
        only = by_id[rows[0].entitlement_id] if len(rows) == 1 else None
        # One call draws one unit.
        unit = by_id[rows[0].entitlement_id].unit
        packs = named(packs, unit)
        burns = burning(packs, self.now)
        data = Data(
            usage_remaining=total(burns), unit=unit, units=sum(used.values()), **_about(only, set(used))
        )
        yield EventDraft(EventType.USAGE_CONSUMED, Source.RUNTIME, "consumed", self.subject_id, data)
        for code in used:
            if self._runs_low(code, packs, rows):
                left = total(pack for pack in burns if pack.product_code == code)
                low = Data(
                    product_code=code,
                    kind="usage_pack",
                    unit=unit,
                    usage_remaining=left,
                    available=left > 0,
                )
                yield EventDraft(EventType.USAGE_LOW, Source.RUNTIME, "low", self.subject_id, low)

    def _ledger(self) -> list[LedgerRow]:
        return list(
            self.db.exec(
                select(LedgerRow).where(
                    LedgerRow.project_id == self.scope.project_id,
                    LedgerRow.mode == self.scope.mode,
                    LedgerRow.subject_id == self.subject_id,
                    LedgerRow.request_id == self.request_id,
                )
            )
        )

    def _runs_low(self, code: str, packs: Sequence[Entitlement], rows: Sequence[LedgerRow]) -> bool:
        """Whether this call took what is unused of a product to its mark, or below.

        Units set aside count as unused: they may come back, and are told of when they are consumed.
        """
        product = product_by_code(self.db, self.scope, product_code=code)
        mark = product.usage_low_units if product is not None else None
        if mark is None:
            return False
        owned = {each.id: _unused(each, self.now) for each in packs if each.product_code == code}
        left = sum(each for each in owned.values() if each is not None)
        taken = sum(row.units for row in rows if owned.get(row.entitlement_id) is not None)
        return left <= mark < left + taken


def _about(pack: Entitlement | None, codes: set[str]) -> dict[str, Any]:
    about: dict[str, Any] = {"kind": "usage_pack"}
    if len(codes) == 1:
        about["product_code"] = next(iter(codes))
    if pack is not None:
        about |= {"entitlement_id": pack.id, "attempt_id": pack.attempt_id}
    return about


def _unused(pack: Entitlement, now: datetime) -> int | None:
    """Units of a pack that nobody has consumed, those set aside included; none while it gives no units."""
    in_force = pack.kind is Kind.USAGE_PACK and standing(pack, now).reason in {None, "exhausted"}
    return pack.granted_units - pack.used_units if in_force else None
