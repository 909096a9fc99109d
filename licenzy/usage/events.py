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
from licenzy.entitlements.decision import remaining, standing
from licenzy.entitlements.models import DEFAULT, Entitlement
from licenzy.entitlements.queries import entitlements_and_overrides_of
from licenzy.entitlements.windows import included_of
from licenzy.kit.clock import rfc3339
from licenzy.projects.scope import Scope
from licenzy.usage.default_units import grants_with_default
from licenzy.usage.grants import GrantRow, WindowGrant
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


def announce_granted(
    db: Session, scope: Scope, *, opened: Sequence[WindowGrant], called_at: datetime
) -> None:
    """Tell which windows were opened, in the transaction that opens them."""
    if not opened:
        return

    def drafts() -> list[EventDraft]:
        return [
            EventDraft(
                EventType.USAGE_GRANTED,
                Source.RUNTIME,
                "window_opened",
                each.entitlement.subject_id,
                Data(
                    entitlement_id=each.entitlement.id,
                    product_code=each.product_code,
                    kind=each.kind.value,
                    unit=each.unit,
                    units=each.window.granted_units,
                    usage_remaining=max(0, remaining(each)),
                    valid_until=rfc3339(each.window_ends_at),
                    attempt_id=each.entitlement.attempt_id,
                ),
            )
            for each in opened
        ]

    announce(db, scope, drafts=drafts, now=called_at)


@dataclass(slots=True)
class _Call:
    """One call's rows of the ledger, with the packs and windows of its subject."""

    db: Session
    scope: Scope
    subject_id: str
    request_id: str
    now: datetime

    def all(self) -> Iterator[EventDraft]:
        rows = self._ledger()
        if not rows:
            return
        owned = entitlements_and_overrides_of(self.db, self.scope, subject_id=self.subject_id)
        by_id = {each.id: each for each in owned}
        # One call draws one unit.
        unit = rows[0].unit or by_id[rows[0].entitlement_id].unit
        windows = grants_with_default(self.db, self.scope, owned, now=self.now)
        grants: list[GrantRow] = named([*owned, *windows], unit)
        burns = burning(grants, self.now)
        codes = {by_id[row.entitlement_id].product_code for row in rows}
        only = by_id[rows[0].entitlement_id] if len(rows) == 1 else None
        data = Data(
            usage_remaining=total(burns),
            unit=unit,
            units=sum(row.units for row in rows),
            **_about(only, codes),
        )
        yield EventDraft(EventType.USAGE_CONSUMED, Source.RUNTIME, "consumed", self.subject_id, data)
        packs = [each for each in grants if isinstance(each, Entitlement)]
        taken_from_packs = [row for row in rows if row.window_starts_at is None]
        for code in {by_id[row.entitlement_id].product_code: None for row in taken_from_packs}:
            if self._runs_low(code, packs, taken_from_packs):
                yield self._low(code, Kind.USAGE_PACK, unit, burns)
        for row in rows:
            window = next((each for each in windows if _is_of(each, row, unit)), None)
            if window is not None and _window_runs_low(window, row):
                yield self._low(window.product_code, window.kind, unit, burns)

    def _low(self, code: str, kind: Kind, unit: str, burns: Sequence[GrantRow]) -> EventDraft:
        left = total(each for each in burns if each.product_code == code)
        low = Data(product_code=code, kind=kind.value, unit=unit, usage_remaining=left, available=left > 0)
        return EventDraft(EventType.USAGE_LOW, Source.RUNTIME, "low", self.subject_id, low)

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


def _is_of(window: WindowGrant, row: LedgerRow, unit: str) -> bool:
    named = window.id, window.unit, window.window_starts_at
    return named == (row.entitlement_id, unit, row.window_starts_at)


def _window_runs_low(window: WindowGrant, row: LedgerRow) -> bool:
    """Whether a call took what is unused of a window to its mark, or below: once in each window."""
    mark = next(
        (each.low_units for each in included_of(window.entitlement.included) if each.unit == window.unit),
        None,
    )
    left = window.granted_units - window.used_units
    return mark is not None and left <= mark < left + row.units


def _about(grant: Entitlement | None, codes: set[str]) -> dict[str, Any]:
    about: dict[str, Any] = {"kind": grant.kind.value if grant is not None else "usage_pack"}
    if len(codes) == 1:
        about["product_code"] = next(iter(codes))
    if grant is not None and grant.source != DEFAULT:
        about |= {"entitlement_id": grant.id, "attempt_id": grant.attempt_id}
    return about


def _unused(pack: Entitlement, now: datetime) -> int | None:
    """Units of a pack that nobody has consumed, those set aside included; none while it gives no units."""
    in_force = pack.kind is Kind.USAGE_PACK and standing(pack, now).reason in {None, "exhausted"}
    return pack.granted_units - pack.used_units if in_force else None
