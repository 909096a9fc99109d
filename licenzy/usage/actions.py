"""Verbs on reservations: set units aside, commit or release them, and give back those whose time is up.

All of them lock reservations before windows and packs, and several of either in the order of their keys.
docs/usage.md tells what a reservation promises.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from sqlmodel import Session

from licenzy.entitlements.models import DEFAULT, Entitlement, UsageWindow
from licenzy.entitlements.queries import entitlements_and_overrides_of
from licenzy.errors import InvalidRequest, ReservationClosed, ReservationNotFound
from licenzy.idempotency.actions import CallKey, begin, finish
from licenzy.idempotency.outcome import Outcome
from licenzy.kit.ids import new_id
from licenzy.projects.scope import Scope
from licenzy.subjects.queries import subject_by_ref
from licenzy.usage.default_units import (
    default_units,
    grants_with_default,
    is_hidden,
    needs_opening,
    row_of,
)
from licenzy.usage.events import announce_consumed
from licenzy.usage.grants import GrantRow, WindowGrant, fit_to_counters
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
from licenzy.usage.window_queries import including, lock_windows
from licenzy.usage.windows import WindowsDue, require_open_windows


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
    kept for repeats, of a refusal as of a success. Raises the refusals about the key, UnitNotFound and
    ProductNotFound, which are not kept, and WindowsDue, after which it is called again.
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
    locked = _lock_reserved(db, reservation)
    for hold, taken in zip(locked.holds, committed(locked.holds, units), strict=True):
        locked.give_back(reservation, hold, used=taken.units)
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
    locked = _lock_reserved(db, reservation)
    for hold in locked.holds:
        locked.give_back(reservation, hold)
    _close(db, reservation, Closing.RELEASED, now)
    return _kept(
        db, reservation, render(Released(reservation.units, _remaining(db, scope, reservation, now)))
    )


def return_expired_reservations(db: Session, scope: Scope, *, subject_id: str, now: datetime) -> None:
    """Close the subject's reservations whose time is up, and give back what they hold."""
    _return_expired(db, scope, subject_id, now)


def return_all_reservations(db: Session, scope: Scope, *, subject_id: str, now: datetime) -> None:
    """The same for all that the subject has reserved, whether or not its time is up."""
    _return_expired(db, scope, subject_id, now, until=_AFTER_ALL)


_AFTER_ALL = datetime(9999, 1, 1, tzinfo=UTC)


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
    grants: list[GrantRow] = []
    owned = entitlements_and_overrides_of(db, scope, subject_id=subject.id) if subject is not None else []
    require_open_windows(owned, now)
    default = default_units(db, scope)
    draws_default = (
        default is not None and default.includes(unit, wish.product_code) and not is_hidden(owned, now)
    )
    if default is not None and draws_default and needs_opening(default, row_of(owned), now):
        raise WindowsDue(None)
    if subject is not None:
        holders = [each for each in owned if each.included is not None]
        locked = _return_expired(db, scope, subject.id, now, and_all_of=holders)
        grants = named(locked.all_grants(and_default=draws_default), unit, wish.product_code)
    if not grants:
        require_known_names(
            db, scope, subject_ref=wish.subject_ref, unit=wish.unit, product_code=wish.product_code
        )
    grants = burning(grants, now)
    left = total(grants)
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
    by_name = {(each.id, each.window_starts_at): each for each in grants}
    for place, draw in enumerate(drawn(grants, wish.units)):
        _counters(by_name[draw.pack_id, draw.window_starts_at]).reserved_units += draw.units
        db.add(
            Hold(
                project_id=scope.project_id,
                mode=scope.mode,
                reservation_id=reservation.id,
                entitlement_id=draw.pack_id,
                window_starts_at=draw.window_starts_at,
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
    and_all_of: Sequence[Entitlement] | None = None,
    until: datetime | None = None,
) -> _Locked:
    """Locks what it closes and, in the same turn, the reservation `also`, closed only if its time is up.

    With `until` it also closes those whose time is up by then.

    Windows and packs are locked together with those that the caller goes on with: of the reservation `also`,
    or all that may have units left, `and_all_of` these entitlements that include units. Locked afterwards,
    they would be out of their order.
    """
    until = until or now
    reservations = lock_open(db, scope, subject_id=subject_id, until=until, also=also)
    expired = {each.id: each for each in reservations if each.expires_at <= until}
    if not expired and and_all_of is None:
        return _Locked()
    holds = holds_of(db, scope, reservation_ids=[each.id for each in reservations]) if expired else []
    units = {each.id: each.unit for each in reservations}
    wanted = [_Hold(_draw(hold), units[hold.reservation_id]) for hold in holds]
    locked = _lock(db, scope, subject_id, wanted, and_all_of=and_all_of)
    for hold in holds:
        if hold.reservation_id in expired:
            locked.give_back(expired[hold.reservation_id], _draw(hold))
    for each in expired.values():
        _close(db, each, Closing.EXPIRED, now)
    return locked


class _Hold(NamedTuple):
    """What a reservation holds of one pack or window, of which unit."""

    draw: Draw
    unit: str


@dataclass(slots=True)
class _Locked:
    """Packs and windows of one subject, locked."""

    packs: Mapping[str, Entitlement] = field(default_factory=dict)
    windows: Sequence[UsageWindow] = ()
    including: Sequence[Entitlement] = ()
    """The subject's entitlements that include units, where windows were locked."""
    holds: Sequence[Draw] = ()
    """What the reservation holds that they were locked for."""

    def all_grants(self, *, and_default: bool) -> list[GrantRow]:
        """The packs, and the windows that are open; those of the default product where they are drawn."""
        by_id = {each.id: each for each in self.including if and_default or each.source != DEFAULT}
        windows = [
            WindowGrant(by_id[row.holder_id], row)
            for row in self.windows
            if row.spent_at_end is None and row.holder_id in by_id
        ]
        return [*self.packs.values(), *windows]

    def give_back(self, reservation: Reservation, hold: Draw, *, used: int = 0) -> None:
        """End a hold, of which some units were `used`."""
        counters: Entitlement | UsageWindow
        if hold.window_starts_at is None:
            counters = self.packs[hold.pack_id]
        else:
            key = hold.pack_id, reservation.unit, hold.window_starts_at
            counters = next(
                row for row in self.windows if (row.entitlement_id, row.unit, row.starts_at) == key
            )
        counters.reserved_units -= hold.units
        counters.used_units += used
        if isinstance(counters, UsageWindow):
            fit_to_counters(counters, self.windows, self.including)


def _lock(
    db: Session,
    scope: Scope,
    subject_id: str,
    wanted: Sequence[_Hold],
    *,
    and_all_of: Sequence[Entitlement] | None,
) -> _Locked:
    """What holds name, and all else that may have units left: windows before packs, each in their order."""
    owned, windows = and_all_of or (), list[UsageWindow]()
    in_windows = [each for each in wanted if each.draw.window_starts_at is not None]
    if in_windows or owned:
        owned = owned or including(db, scope, subject_id=subject_id)
        windows = lock_windows(db, scope, subject_id=subject_id, named=in_windows)
    pack_ids = [each.draw.pack_id for each in wanted if each.draw.window_starts_at is None]
    packs = lock_packs(db, scope, subject_id=subject_id, pack_ids=pack_ids, and_all=and_all_of is not None)
    return _Locked({each.id: each for each in packs}, windows, owned, [each.draw for each in wanted])


def _lock_reserved(db: Session, reservation: Reservation) -> _Locked:
    """What the reservation holds, in order, with its packs and windows locked."""
    scope = Scope.of(reservation)
    holds = holds_of(db, scope, reservation_ids=[reservation.id])
    wanted = [_Hold(_draw(hold), reservation.unit) for hold in holds]
    return _lock(db, scope, reservation.subject_id, wanted, and_all_of=None)


def _draw(hold: Hold) -> Draw:
    return Draw(hold.entitlement_id, hold.units, hold.window_starts_at)


def _counters(grant: GrantRow) -> Entitlement | UsageWindow:
    return grant.window if isinstance(grant, WindowGrant) else grant


def _close(db: Session, reservation: Reservation, how: Closing, now: datetime) -> None:
    reservation.closed_at, reservation.closed_as = now, how
    db.flush()


def _remaining(db: Session, scope: Scope, reservation: Reservation, now: datetime) -> int:
    packs = packs_of(db, scope, subject_id=reservation.subject_id)
    owned = entitlements_and_overrides_of(db, scope, subject_id=reservation.subject_id)
    grants: list[GrantRow] = [*packs, *grants_with_default(db, scope, owned, now=now)]
    return total(burning(named(grants, reservation.unit), now))


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
        window_starts_at=taken.window_starts_at,
        unit=reservation.unit if taken.window_starts_at is not None else None,
        units=taken.units,
        reservation_id=reservation.id,
        used_at=now,
    )
