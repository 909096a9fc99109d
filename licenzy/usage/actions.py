"""Verbs on reservations: set units aside, commit or release them, and give back those whose time is up.

All of them lock reservations before packs, and several of either in the order of their ids.
docs/usage.md tells what a reservation promises.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlmodel import Session

from licenzy.entitlements.models import Entitlement
from licenzy.errors import InvalidRequest, ReservationClosed, ReservationNotFound
from licenzy.idempotency.actions import CallKey, begin, finish
from licenzy.idempotency.outcome import Outcome
from licenzy.kit.ids import new_id
from licenzy.projects.scope import Scope
from licenzy.subjects.queries import subject_by_ref
from licenzy.usage.events import announce_consumed
from licenzy.usage.models import Closing, Hold, LedgerRow, Reservation
from licenzy.usage.queries import (
    holds_of,
    lock_open,
    lock_packs,
    next_expired_reservation,
    packs_of,
    reservation_by_id,
)
from licenzy.usage.results import Committed, Refused, Released, Reserved
from licenzy.usage.rules import Draw, burning, committed, drawn, named, total
from licenzy.usage.units import require_known_names, unit_of_call


@dataclass(frozen=True, slots=True)
class ReserveOutcome:
    """The outcome of a call to reserve: the stored answer, and whether it was stored before."""

    outcome: Outcome
    replayed: bool


@dataclass(frozen=True, slots=True)
class ReserveRequest:
    """What a merchant's backend asks to have set aside."""

    subject_ref: str
    units: int
    ttl_seconds: int
    unit: str | None = None
    """None for the default unit of the side."""
    product_code: str | None = None
    """The only product whose packs may be drawn."""


def reserve(
    db: Session,
    *,
    key: CallKey,
    wish: ReserveRequest,
    body_hash: str,
    render: Callable[[Reserved | Refused], Outcome],
    called_at: datetime,
    now: datetime,
) -> ReserveOutcome:
    """Set units aside, all or none, once per Idempotency-Key.

    `called_at` is real time, `now` the instant that decisions are made at; `render` gives the answer that is
    kept for repeats, of a refusal as of a success. Raises the refusals about the key, and UnitNotFound and
    ProductNotFound, which are not kept.
    """
    begun = begin(db, key, body_hash=body_hash, now=called_at)
    if begun.replay is not None:
        return ReserveOutcome(begun.replay, replayed=True)
    unit = unit_of_call(db, key.scope, unit=wish.unit, called_at=called_at)
    outcome = render(_set_aside(db, key.scope, wish, unit, now))
    finish(db, key, holder=begun.holder, outcome=outcome)
    return ReserveOutcome(outcome, replayed=False)


def commit(
    db: Session,
    scope: Scope,
    *,
    reservation_id: str,
    units: int,
    request_id: str,
    render: Callable[[Committed], str],
    called_at: datetime,
    now: datetime,
) -> str:
    """Consume `units` of what was set aside and give the rest back; the answer as it is kept for repeats.

    What was set aside can be committed until the reservation's own end, whatever has become of its packs.
    `called_at` is real time, `now` the instant that decisions are made at. Raises ReservationNotFound,
    ReservationClosed, and InvalidRequest for more than was set aside.
    """
    reservation = _ready_to_close(db, scope, reservation_id, now)
    if reservation.closed_as is Closing.COMMITTED and reservation.committed_units == units:
        return str(reservation.answer)
    _refuse_closed(reservation)
    if units > reservation.units:
        raise InvalidRequest(fields={"units": f"must be at most the {reservation.units} that were reserved"})
    holds = _holds(db, reservation)
    for hold, taken in zip(holds, committed(holds, units), strict=True):
        pack = _give_back(db, scope, hold)
        pack.used_units += taken.units
        if taken.units:
            db.add(_noted(reservation, taken, request_id, now))
    reservation.committed_units = units
    _close(db, reservation, Closing.COMMITTED, now)
    announce_consumed(
        db, scope, subject_id=reservation.subject_id, request_id=request_id, called_at=called_at, now=now
    )
    left = _remaining(db, scope, reservation, now)
    return _kept(db, reservation, render(Committed(units, reservation.units - units, left)))


def release(
    db: Session, scope: Scope, *, reservation_id: str, render: Callable[[Released], str], now: datetime
) -> str:
    """Give back all that was set aside; the answer as it is kept for repeats.

    Raises ReservationNotFound and ReservationClosed.
    """
    reservation = _ready_to_close(db, scope, reservation_id, now)
    if reservation.closed_as is Closing.RELEASED:
        return str(reservation.answer)
    _refuse_closed(reservation)
    for hold in _holds(db, reservation):
        _give_back(db, scope, hold)
    _close(db, reservation, Closing.RELEASED, now)
    return _kept(
        db, reservation, render(Released(reservation.units, _remaining(db, scope, reservation, now)))
    )


def return_expired_reservations(db: Session, scope: Scope, *, subject_id: str, now: datetime) -> None:
    """Close the subject's reservations whose time is up, and give back what they hold."""
    _return_expired(db, scope, subject_id, now)


def return_next_expired(db: Session, *, now: datetime) -> bool:
    """The same for one subject of any project that has such a reservation; False when nobody has."""
    found = next_expired_reservation(db, now=now)
    if found is None:
        return False
    reservation, its_now = found
    scope = Scope.of(reservation)
    _return_expired(db, scope, reservation.subject_id, its_now)
    return True


def _set_aside(
    db: Session, scope: Scope, wish: ReserveRequest, unit: str, now: datetime
) -> Reserved | Refused:
    subject = subject_by_ref(db, scope, subject_ref=wish.subject_ref)
    packs: list[Entitlement] = []
    if subject is not None:
        _return_expired(db, scope, subject.id, now, and_all_packs=True)
        locked = lock_packs(db, scope, subject_id=subject.id, and_all=True)
        packs = named(locked, unit, wish.product_code)
    if not packs:
        require_known_names(
            db, scope, subject_ref=wish.subject_ref, unit=wish.unit, product_code=wish.product_code
        )
    packs = burning(packs, now)
    left = total(packs)
    if subject is None or left < wish.units:
        return Refused(left)
    reservation = Reservation(
        id=new_id("rsv"),
        project_id=scope.project_id,
        mode=scope.mode,
        subject_id=subject.id,
        unit=unit,
        units=wish.units,
        created_at=now,
        expires_at=now + timedelta(seconds=wish.ttl_seconds),
    )
    db.add(reservation)
    db.flush()
    by_id = {pack.id: pack for pack in packs}
    for place, draw in enumerate(drawn(packs, wish.units)):
        by_id[draw.pack_id].reserved_units += draw.units
        db.add(
            Hold(
                project_id=scope.project_id,
                mode=scope.mode,
                reservation_id=reservation.id,
                entitlement_id=draw.pack_id,
                place=place,
                units=draw.units,
            )
        )
    db.flush()
    return Reserved(reservation.id, wish.units, left - wish.units, reservation.expires_at)


def _ready_to_close(db: Session, scope: Scope, reservation_id: str, now: datetime) -> Reservation:
    """The reservation, locked, after those of its subject whose time is up have been closed."""
    found = reservation_by_id(db, scope, reservation_id=reservation_id)
    if found is None:
        raise ReservationNotFound
    if found.closed_at is None:
        _return_expired(db, scope, found.subject_id, now, also=reservation_id)
        db.refresh(found)
    return found


def _refuse_closed(reservation: Reservation) -> None:
    if reservation.closed_as is not None:
        raise ReservationClosed(f"This reservation {_CLOSED[reservation.closed_as]}.")


_CLOSED = {
    Closing.COMMITTED: "was already committed",
    Closing.RELEASED: "was already released",
    Closing.EXPIRED: "has expired",
}


def _return_expired(
    db: Session,
    scope: Scope,
    subject_id: str,
    now: datetime,
    *,
    also: str | None = None,
    and_all_packs: bool = False,
) -> None:
    """Locks what it closes and, in the same turn, the reservation `also`, closed only if its time is up.

    Where packs are locked, they are locked together with those that the caller goes on with: of the
    reservation `also`, or `and_all_packs` that may have units left. Locked afterwards, they would be out of
    their order.
    """
    locked = lock_open(db, scope, subject_id=subject_id, until=now, also=also)
    expired = [each for each in locked if each.expires_at <= now]
    if not expired:
        return
    holds = holds_of(db, scope, reservation_ids=[each.id for each in locked])
    pack_ids = [hold.entitlement_id for hold in holds]
    lock_packs(db, scope, subject_id=subject_id, pack_ids=pack_ids, and_all=and_all_packs)
    over = {each.id for each in expired}
    for hold in holds:
        if hold.reservation_id in over:
            _give_back(db, scope, Draw(hold.entitlement_id, hold.units))
    for each in expired:
        _close(db, each, Closing.EXPIRED, now)


def _holds(db: Session, reservation: Reservation) -> list[Draw]:
    """What the reservation holds, in order, with the packs locked."""
    scope = Scope.of(reservation)
    holds = holds_of(db, scope, reservation_ids=[reservation.id])
    lock_packs(
        db,
        scope,
        subject_id=reservation.subject_id,
        pack_ids=[hold.entitlement_id for hold in holds],
    )
    return [Draw(hold.entitlement_id, hold.units) for hold in holds]


def _give_back(db: Session, scope: Scope, hold: Draw) -> Entitlement:
    pack = db.get_one(Entitlement, (scope.project_id, scope.mode, hold.pack_id))
    pack.reserved_units -= hold.units
    return pack


def _close(db: Session, reservation: Reservation, how: Closing, now: datetime) -> None:
    reservation.closed_at, reservation.closed_as = now, how
    db.flush()


def _remaining(db: Session, scope: Scope, reservation: Reservation, now: datetime) -> int:
    packs = packs_of(db, scope, subject_id=reservation.subject_id)
    return total(burning(named(packs, reservation.unit), now))


def _kept(db: Session, reservation: Reservation, answer: str) -> str:
    reservation.answer = answer
    db.flush()
    return answer


def _noted(reservation: Reservation, taken: Draw, request_id: str, now: datetime) -> LedgerRow:
    return LedgerRow(
        project_id=reservation.project_id,
        mode=reservation.mode,
        subject_id=reservation.subject_id,
        request_id=request_id,
        entitlement_id=taken.pack_id,
        units=taken.units,
        reservation_id=reservation.id,
        used_at=now,
    )
