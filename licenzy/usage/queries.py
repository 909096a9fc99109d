"""Reads of consumption: the ledger, and what is set aside."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import BigInteger, and_, cast, func, or_, type_coerce
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import Select, SelectOfScalar

from licenzy.catalog.models import Kind
from licenzy.catalog.queries import default_product
from licenzy.connections.models import Connection
from licenzy.db.reads import read_all, read_first, read_one
from licenzy.entitlements.decision import DefaultProduct
from licenzy.entitlements.models import Entitlement
from licenzy.entitlements.queries import entitlements_and_overrides_of
from licenzy.kit.clock import to_micros
from licenzy.projects.scope import Scope
from licenzy.subjects.models import Subject
from licenzy.subjects.queries import subject_by_ref
from licenzy.usage.models import Hold, LedgerRow, Reservation


class Usage(NamedTuple):
    """What a subject's page shows of its usage."""

    ledger: list[tuple[LedgerRow, Entitlement]]
    """The newest draws, each with the entitlement it came from."""
    reservations: list[Reservation]
    """What is set aside now, the next to end first."""


def usage_of(db: Session, scope: Scope, *, subject_id: str, now: datetime, limit: int) -> Usage:
    """What the subject consumed last, and what is set aside for it at `now`."""
    return Usage(
        ledger_of(db, scope, limit=limit, subject_id=subject_id),
        open_reservations_of(db, scope, now=now, subject_id=subject_id),
    )


@read_all
def ledger_of(scope: Scope, *, subject_id: str, limit: int) -> Select[LedgerRow, Entitlement]:
    """What the subject consumed, newest first, each row with the entitlement it came from."""
    return (
        select(LedgerRow, Entitlement)
        .join(Entitlement)
        .where(
            LedgerRow.project_id == scope.project_id,
            LedgerRow.mode == scope.mode,
            LedgerRow.subject_id == subject_id,
        )
        .order_by(col(LedgerRow.request_id).desc(), col(LedgerRow.entitlement_id))
        .limit(limit)
    )


@read_all
def open_reservations_of(scope: Scope, *, subject_id: str, now: datetime) -> SelectOfScalar[Reservation]:
    """What is set aside for the subject at `now`, the next to end first."""
    return (
        select(Reservation)
        .where(
            Reservation.project_id == scope.project_id,
            Reservation.mode == scope.mode,
            Reservation.subject_id == subject_id,
            col(Reservation.closed_at).is_(None),
            col(Reservation.expires_at) > now,
        )
        .order_by(col(Reservation.expires_at), col(Reservation.id))
    )


@read_first
def reservation_by_id(scope: Scope, *, reservation_id: str) -> SelectOfScalar[Reservation]:
    """The reservation with this id."""
    return select(Reservation).where(
        Reservation.project_id == scope.project_id,
        Reservation.mode == scope.mode,
        Reservation.id == reservation_id,
    )


def next_expired_reservation(db: Session, *, now: datetime) -> tuple[Reservation, datetime] | None:
    """A reservation of any project that is over and not closed, with the time of its side."""
    ahead = timedelta(seconds=_furthest_ahead(db) or 0)
    found = _expired_reservations(db, until=now + ahead, micros=to_micros(now))
    return (found[0], now + timedelta(seconds=found[1])) if found else None


@read_one
def _furthest_ahead() -> SelectOfScalar[int | None]:
    return select(func.max(Connection.clock_offset_seconds))


@read_first
def _expired_reservations(*, until: datetime, micros: int) -> Select[Reservation, int]:
    offset = func.coalesce(cast(Connection.clock_offset_seconds, BigInteger), 0)
    return (
        select(Reservation, offset)
        .outerjoin(
            Connection,
            and_(
                col(Connection.project_id) == col(Reservation.project_id),
                col(Connection.mode) == col(Reservation.mode),
            ),
        )
        .where(
            col(Reservation.closed_at).is_(None),
            # The first condition is what the index knows; clocks are ahead in a sandbox only.
            col(Reservation.expires_at) <= until,
            type_coerce(Reservation.expires_at, BigInteger) - offset * 1_000_000 <= micros,
        )
        .limit(1)
    )


def lock_open(
    db: Session, scope: Scope, *, subject_id: str, until: datetime, also: str | None
) -> list[Reservation]:
    """The subject's open reservations that end by `until`, and the one `also` them, held against others."""
    return _lock_open(db, scope, until=until, also=also or "", subject_id=subject_id)


@read_all
def _lock_open(scope: Scope, *, subject_id: str, until: datetime, also: str) -> SelectOfScalar[Reservation]:
    return (
        select(Reservation)
        .where(
            Reservation.project_id == scope.project_id,
            Reservation.mode == scope.mode,
            Reservation.subject_id == subject_id,
            col(Reservation.closed_at).is_(None),
            or_(col(Reservation.expires_at) <= until, col(Reservation.id) == also),
        )
        .order_by(col(Reservation.id))
        .with_for_update()
        .execution_options(populate_existing=True)
    )


@read_all
def holds_of(scope: Scope, *, reservation_ids: Sequence[str]) -> SelectOfScalar[Hold]:
    """The holds of some reservations, each one's in the order in which they are committed."""
    return (
        select(Hold)
        .where(
            Hold.project_id == scope.project_id,
            Hold.mode == scope.mode,
            col(Hold.reservation_id).in_(reservation_ids),
        )
        .order_by(col(Hold.reservation_id), col(Hold.place))
    )


@read_all
def packs_of(scope: Scope, *, subject_id: str) -> SelectOfScalar[Entitlement]:
    """The subject's packs that may have units left."""
    return _packs(scope, subject_id)


def lock_packs(
    db: Session,
    scope: Scope,
    *,
    subject_id: str,
    pack_ids: Sequence[str] = (),
    and_all: bool = False,
) -> list[Entitlement]:
    """These packs of the subject, `and_all` others that may have units left, held against other writers.

    In the order of their ids, as everybody locks them, so that no two ever wait for each other: who needs
    some of them and then others locks all in one call.
    """
    if not and_all:
        return _lock_these_packs(db, scope, subject_id=subject_id, pack_ids=pack_ids)
    if not pack_ids:
        return _lock_all_packs(db, scope, subject_id=subject_id)
    return _lock_these_and_all_packs(db, scope, subject_id=subject_id, pack_ids=pack_ids)


@read_all
def _lock_all_packs(scope: Scope, *, subject_id: str) -> SelectOfScalar[Entitlement]:
    return _locked(_packs(scope, subject_id))


@read_all
def _lock_these_packs(
    scope: Scope, *, subject_id: str, pack_ids: Sequence[str]
) -> SelectOfScalar[Entitlement]:
    return _locked(owned_by(scope, subject_id).where(col(Entitlement.id).in_(pack_ids)))


@read_all
def _lock_these_and_all_packs(
    scope: Scope, *, subject_id: str, pack_ids: Sequence[str]
) -> SelectOfScalar[Entitlement]:
    wanted = or_(col(Entitlement.id).in_(pack_ids), _MAY_HAVE_UNITS)
    return _locked(owned_by(scope, subject_id).where(wanted))


def _locked(packs: SelectOfScalar[Entitlement]) -> SelectOfScalar[Entitlement]:
    return packs.with_for_update().execution_options(populate_existing=True)


def expired_units_by_pack(
    db: Session, scope: Scope, *, pack_ids: Sequence[str], now: datetime
) -> dict[str, int]:
    """Units that reservations hold in these packs although their time is up."""
    rows = _expired_units(db, scope, pack_ids=pack_ids, now=now)
    return {pack_id: int(units) for pack_id, units in rows}


@read_all
def _expired_units(scope: Scope, *, pack_ids: Sequence[str], now: datetime) -> Select[str, int]:
    return (
        select(Hold.entitlement_id, func.sum(Hold.units))
        .join(Reservation)
        .where(
            Reservation.project_id == scope.project_id,
            Reservation.mode == scope.mode,
            col(Hold.entitlement_id).in_(pack_ids),
            col(Reservation.closed_at).is_(None),
            col(Reservation.expires_at) <= now,
        )
        .group_by(col(Hold.entitlement_id))
    )


@read_all
def units_set_aside(scope: Scope, *, pack_ids: Sequence[str], now: datetime) -> Select[str, int, datetime]:
    """What open reservations hold in these packs after `now`, with when each is over."""
    return (
        select(Hold.entitlement_id, Hold.units, Reservation.expires_at)
        .join(Reservation)
        .where(
            Reservation.project_id == scope.project_id,
            Reservation.mode == scope.mode,
            col(Hold.entitlement_id).in_(pack_ids),
            col(Reservation.closed_at).is_(None),
            col(Reservation.expires_at) > now,
        )
    )


def default_of(db: Session, scope: Scope) -> DefaultProduct | None:
    """The side's default product, as decisions read it; none where it has none."""
    found = default_product(db, scope)
    if found is None:
        return None
    return DefaultProduct(found.product_code, found.grants_access, found.features, found.limits)


def owned_by_ref(db: Session, scope: Scope, *, subject_ref: str, now: datetime) -> list[Entitlement]:
    """What the subject holds or held as of `now`, newest first, with what operators set for it."""
    subject = subject_by_ref(db, scope, subject_ref=subject_ref)
    owned = entitlements_and_overrides_of(db, scope, subject_id=subject.id) if subject else []
    as_of(db, scope, owned, now=now)
    return owned


def owned_by_refs(
    db: Session, scope: Scope, *, subject_refs: Sequence[str], now: datetime
) -> dict[str, list[Entitlement]]:
    """The same for each of these subjects; who holds nothing is left out."""
    rows = _owned_by_refs(db, scope, subject_refs=subject_refs)
    as_of(db, scope, [row for _ref, row in rows], now=now)
    owned: dict[str, list[Entitlement]] = {}
    for ref, row in rows:
        owned.setdefault(ref, []).append(row)
    return owned


@read_all
def _owned_by_refs(scope: Scope, *, subject_refs: Sequence[str]) -> Select[str, Entitlement]:
    return (
        select(Subject.subject_ref, Entitlement)
        .join(Entitlement)
        .where(
            Subject.project_id == scope.project_id,
            Subject.mode == scope.mode,
            col(Subject.subject_ref).in_(subject_refs),
            Entitlement.project_id == scope.project_id,
            Entitlement.mode == scope.mode,
        )
        .order_by(col(Entitlement.created_at).desc(), col(Entitlement.id).desc())
    )


def as_of(db: Session, scope: Scope, owned: Sequence[Entitlement], *, now: datetime) -> None:
    """Have rows that were read for showing or deciding count what reservations held until `now` as free.

    Reservations end by the clock; the worker writes it down a moment later. The rows that differ are taken
    out of the session, so that nothing of this is ever written.
    """
    packs = {row.id: row for row in owned if row.reserved_units}
    if not packs:
        return
    expired = expired_units_by_pack(db, scope, pack_ids=list(packs), now=now)
    for pack_id, units in expired.items():
        db.expunge(packs[pack_id])
        packs[pack_id].reserved_units -= units


def owned_by(scope: Scope, subject_id: str) -> SelectOfScalar[Entitlement]:
    """The rows of a subject's entitlements, in the order of their ids, as everybody locks them."""
    return (
        select(Entitlement)
        .where(
            Entitlement.subject_id == subject_id,
            Entitlement.project_id == scope.project_id,
            Entitlement.mode == scope.mode,
        )
        .order_by(col(Entitlement.id))
    )


def _packs(scope: Scope, subject_id: str) -> SelectOfScalar[Entitlement]:
    return owned_by(scope, subject_id).where(_MAY_HAVE_UNITS)


_MAY_HAVE_UNITS = and_(
    col(Entitlement.kind) == Kind.USAGE_PACK,
    col(Entitlement.voided_at).is_(None),
    col(Entitlement.granted_units) > col(Entitlement.used_units),
)
