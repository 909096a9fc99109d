"""What the product says of included units, for the tests of agreement: its own code, on a real database."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile, zip_longest
from typing import Any

from sqlmodel import select

from licenzy.alignment.modes import Mode
from licenzy.api_keys.rules import presented_hash
from licenzy.catalog.models import Kind
from licenzy.db.unit_of_work import Database
from licenzy.entitlements.actions import (
    FactDraft,
    give_purchase,
    lock_purchase,
    project_purchase,
    record_facts,
)
from licenzy.entitlements.decision import standing
from licenzy.entitlements.models import Entitlement, UsageWindow
from licenzy.entitlements.projected import Projected
from licenzy.entitlements.projection import project
from licenzy.entitlements.window_counters import due_window
from licenzy.entitlements.windows import UnitWindows, included_of
from licenzy.errors import ReservationClosed, ReservationNotFound
from licenzy.hotpath.consume import Answered, ConsumeRequest, ExpiredReservations, UnopenedWindows
from licenzy.hotpath.with_events import consume_with_events
from licenzy.idempotency.actions import CallKey
from licenzy.idempotency.outcome import Outcome
from licenzy.kit.clock import from_unix, to_micros
from licenzy.projects.models import ProjectSide
from licenzy.projects.scope import Scope
from licenzy.stripe_events.replay import replay_purchases
from licenzy.subjects.models import Subject
from licenzy.usage import actions
from licenzy.usage import windows as opening
from licenzy.usage.actions import ReserveRequest
from licenzy.usage.grants import WindowGrant
from licenzy.usage.queries import owned_by_ref
from licenzy.usage.results import Committed, Consumed, Refused, Released, Reserved
from licenzy.usage.rules import burning, named, total
from licenzy.usage.window_queries import window_grants_of
from tests.properties.fixtures_projection import Fact
from tests.properties.included.purchase import (
    Answer,
    Balance,
    Call,
    Commit,
    Consume,
    Pack,
    Release,
    Reserve,
)
from tests.properties.included.stripe_facts import by
from tests.properties.included.subject import Bounds
from tests.support.cast import make_key, make_product, make_subject
from tests.support.purchases import make_entitlement

_numbers = itertools.count()


def windows_at(facts: Sequence[Fact], item: str, unit: str, now: int) -> Bounds | None:
    """The window of an item that is in force by the facts; None where none is, or it is not available.

    `item` is as the facts have it, and of those that took each other's place the first.
    """
    included = _available_units(facts, item, unit, now)
    window = included.at(now).present if included is not None else None
    return Bounds(window.starts_at, window.ends_at, window.units) if window is not None else None


def unused_at(facts: Sequence[Fact], item: str, unit: str, now: int) -> tuple[int, int, int] | None:
    """The end of that window, its units and those carried into it, where nothing was ever used."""
    included = _available_units(facts, item, unit, now)
    due = due_window(included, None, from_unix(now)) if included is not None else None
    return (due.window.ends_at, due.window.units, due.carried_units) if due is not None else None


def _available_units(facts: Sequence[Fact], item: str, unit: str, now: int) -> UnitWindows | None:
    heirs = [each for each in project(facts) if item in (each.item_key, *each.continues)]
    held = max(heirs, key=lambda each: len(each.continues), default=None)
    if held is None or not standing(_row(held), from_unix(now)).available:
        return None
    return next((each for each in included_of(held.included) if each.unit == unit), None)


@dataclass
class Product:
    """The product, with a customer of its own for each history."""

    database: Database
    project_id: str

    def calls(self, facts: Mapping[str, Sequence[Fact]], packs: Sequence[Pack]) -> Customer:
        """A customer with these subscriptions, by name, and packs, of which nothing is used yet.

        An item `a` of the subscription `sub` is `a_sub` in its facts, and `("sub", "a")` among balances.
        """
        number = next(_numbers)
        with self.database.write() as db:
            subject = make_subject(db, project_id=self.project_id, subject_ref=f"customer_{number}")
            _key, token = make_key(db, project_id=self.project_id)
            for each in packs:
                make_entitlement(
                    db,
                    subject=subject,
                    product_code="PACK",
                    kind=Kind.USAGE_PACK,
                    starts_at=from_unix(each.bought),
                    ends_at=from_unix(each.ends) if each.ends is not None else None,
                    unit=each.unit,
                    granted_units=each.units,
                )
        named_facts = {f"sub_{number}_{name}": list(theirs) for name, theirs in facts.items()}
        return Customer(self.database, subject, token, number, named_facts)


def _row(projected: Projected) -> Entitlement:
    return Entitlement(
        **{
            name: getattr(projected, name)
            for name in ("kind", "state", "reason", "starts_at", "ends_at", "ends_as", "product_code")
        }
    )


class Customer:
    """A customer whose facts are recorded as their time comes."""

    def __init__(
        self, database: Database, subject: Subject, token: str, number: int, facts: Mapping[str, list[Fact]]
    ) -> None:
        self._database, self._subject, self._token, self._number = database, subject, token, number
        self._facts = facts
        self._recorded: dict[str, int] = dict.fromkeys(facts, 0)
        self._reservations: dict[str, str] = {}
        self._scope = Scope.of(subject)

    def perform(self, call: Call) -> Answer:
        self._record(call.at)
        now = from_unix(call.at)
        match call:
            case Consume(units=units, unit=unit):
                return self._consume(units, unit, now)
            case Reserve():
                return self._reserve(call, now)
            case Commit(name=name, units=units):
                return self._close(name, units, now)
            case Release(name=name):
                return self._close(name, None, now)

    def left(self, unit: str, now: int) -> int:
        self._record(now)
        owned, windows = self._owned(now)
        return total(burning(named([*owned, *windows], unit), from_unix(now)))

    def balances(self, unit: str, now: int) -> Mapping[tuple[str, str], Balance]:
        self._record(now)
        found = {}
        owned, windows = self._owned(now)
        del owned
        for grant in named(windows, unit):
            if not standing(grant, from_unix(now)).available:
                continue
            row = grant.window
            taken = row.used_units + row.reserved_units
            carried_left = max(0, row.carried_units - taken)
            own = max(0, taken - row.carried_units)
            item = self._item_of(grant, now)
            found[item] = Balance(
                starts=int(row.starts_at.timestamp()),
                ends=int(row.ends_at.timestamp()),
                granted=max(row.granted_units - row.overdrawn_units, own),
                used=own,
                reserved=0,
                carried=carried_left,
                left=grant.granted_units - taken,
                overdrawn=row.overdrawn_units,
            )
        return found

    def order(self) -> Mapping[tuple[str, str, str, int], str]:
        rows = self._rows()
        held = {row["id"]: row for row in rows if "id" in row}
        found = {}
        for row in rows:
            if "entitlement_id" in row:
                of = held[row["entitlement_id"]]
                purchase = of["purchase_key"].removeprefix(f"sub_{self._number}_")
                item = of["item_key"].removesuffix(f"_{purchase}")
                start = int(row["starts_at"].timestamp())
                found[purchase, item, row["unit"], start] = row["entitlement_id"]
        return found

    def changed_by_replay(self, now: int) -> list[str]:
        """What differs in the rows of entitlements and windows once their purchases are projected anew."""
        self._record(now)
        before = self._rows()
        replayed = replay_purchases(
            self._database, clock=lambda: from_unix(now), scope=self._scope, subject_id=self._subject.id
        )
        changed = [f"{key}: {changes}" for key, changes in replayed if changes]
        return [
            *changed,
            *(f"{row}, not {old}" for old, row in zip_longest(before, self._rows()) if row != old),
        ]

    def _rows(self) -> list[dict[str, Any]]:
        with self._database.read() as db:
            entitlements = select(Entitlement).where(Entitlement.subject_id == self._subject.id)
            windows = select(UsageWindow).where(UsageWindow.subject_id == self._subject.id)
            rows = [*db.exec(entitlements), *db.exec(windows)]
            return sorted((row.model_dump() for row in rows), key=str)

    def _item_of(self, grant: WindowGrant, now: int) -> tuple[str, str]:
        """The purchase, and of items with this unit that took each other's place the first."""
        key, name = grant.entitlement.item_key, grant.entitlement.purchase_key
        facts = by(self._facts[name], now)
        heir = next(each for each in project(facts) if each.item_key == key)
        having = {
            item["id"]
            for fact in facts
            if fact.kind == "subscription"
            for item in fact.data["items"]
            if any(line["unit"] == grant.unit for line in (item.get("sold") or {}).get("included", ()))
        }
        lineage = takewhile(having.__contains__, (key, *heir.continues))
        purchase = name.removeprefix(f"sub_{self._number}_")
        return purchase, list(lineage)[-1].removesuffix(f"_{purchase}")

    def _owned(self, now: int) -> tuple[list[Entitlement], list[WindowGrant]]:
        at = from_unix(now)
        with self._database.read() as db:
            owned = owned_by_ref(db, self._scope, subject_ref=self._subject.subject_ref, now=at)
            return owned, window_grants_of(db, self._scope, owned, now=at)

    def _record(self, now: int) -> None:
        """Tell what has happened by an instant."""
        for key, facts in self._facts.items():
            known = by(facts, now)
            if len(known) == self._recorded[key]:
                continue
            self._recorded[key] = len(known)
            with self._database.write() as db:
                at = from_unix(now)
                purchase = lock_purchase(db, self._scope, key=key, now=at)
                if purchase.subject_id is None:
                    purchase = give_purchase(db, purchase, subject_id=self._subject.id)
                record_facts(db, self._scope, [self._draft(fact, key) for fact in known], now=at)
                project_purchase(db, purchase, now=at)

    def _draft(self, fact: Fact, key: str) -> FactDraft:
        source_id = f"{self._number}_{fact.source_id}"
        return FactDraft(fact.source, source_id, fact.kind, fact.object_id, fact.occurred_at, fact.data, key)

    def _consume(self, units: int, unit: str, now: datetime) -> Answer:
        request = ConsumeRequest(
            key_hash=presented_hash(self._token),
            subject_ref=self._subject.subject_ref,
            units=units,
            idempotency_key=f"key-{next(_numbers)}",
            body_hash="",
            request_id=f"req_{next(_numbers):012}",
            now=to_micros(now),
            render=_rendered,
            unit=unit,
            names_are_known=True,
        )
        for _ in range(5):
            result = consume_with_events(self._database, request)
            if isinstance(result, UnopenedWindows):
                self._open(now)
            elif isinstance(result, ExpiredReservations):
                self._return_expired(now)
            else:
                assert isinstance(result, Answered)
                return Answer(result.outcome.status == 200, int(result.outcome.body))
        raise AssertionError("still due")

    def _return_expired(self, now: datetime) -> None:
        with self._database.write() as db:
            actions.return_expired_reservations(db, self._scope, subject_id=self._subject.id, now=now)

    def _open(self, now: datetime) -> None:
        with self._database.write() as db:
            opening.open_due_windows(db, self._scope, subject_id=self._subject.id, now=now, called_at=now)

    def _reserve(self, call: Reserve, now: datetime) -> Answer:
        wish = ReserveRequest(self._subject.subject_ref, call.units, call.seconds, call.unit)
        made: list[Reserved] = []

        def render(decided: Reserved | Refused) -> Outcome:
            if isinstance(decided, Reserved):
                made.append(decided)
            return Outcome(201 if isinstance(decided, Reserved) else 409, str(decided.remaining))

        for _ in range(5):
            try:
                with self._database.write() as db:
                    done = actions.reserve(
                        db,
                        key=CallKey(self._scope, "usage/reserve", f"key-{next(_numbers)}"),
                        wish=wish,
                        body_hash="",
                        render=render,
                        called_at=now,
                        now=now,
                    )
                break
            except opening.WindowsDue:
                self._return_expired(now)
                self._open(now)
        if made:
            self._reservations[call.name] = made[-1].reservation_id
        return Answer(bool(made), int(done.outcome.body))

    def _close(self, name: str, units: int | None, now: datetime) -> Answer:
        reservation_id = self._reservations.pop(name, None)
        if reservation_id is None:
            return Answer(False, 0)
        try:
            with self._database.write() as db:
                if units:
                    left = actions.commit(
                        db,
                        self._scope,
                        reservation_id=reservation_id,
                        units=units,
                        request_id=f"req_{next(_numbers):012}",
                        render=_left,
                        called_at=now,
                        now=now,
                    )
                else:
                    left = actions.release(
                        db, self._scope, reservation_id=reservation_id, render=_left, now=now
                    )
        except (ReservationClosed, ReservationNotFound):
            return Answer(False, 0)
        return Answer(True, int(left))


def _rendered(decided: Consumed | Refused, _mode: Mode) -> Outcome:
    return Outcome(200 if isinstance(decided, Consumed) else 409, str(decided.remaining))


def _left(done: Committed | Released) -> str:
    return str(done.remaining)


def make(database: Database, project_id: str) -> Product:
    """The product on a database, with the side that its customers are of."""
    with database.write() as db:
        for unit in ("images", "videos", "gigabytes"):
            make_product(
                db, project_id=project_id, kind=Kind.USAGE_PACK, product_code=unit, unit=unit, units=1
            )
        assert db.exec(select(ProjectSide).where(ProjectSide.project_id == project_id)).first()
    return Product(database, project_id)
