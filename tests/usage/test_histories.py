"""Grants, consumption, refunds, reservations, time and retries in any order, held against a plain model."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)
from sqlmodel import select

from licenzy.catalog.models import Kind, Product
from licenzy.entitlements import grants
from licenzy.entitlements.grants import OperatorContext
from licenzy.entitlements.models import Entitlement
from licenzy.errors import InvalidRequest
from licenzy.projects.scope import Scope
from licenzy.runtime import Runtime
from licenzy.usage.models import Hold, LedgerRow, Reservation
from licenzy.workspace.audit import Actor
from tests.support.cast import Cast, make_product
from tests.support.clock import StandingClock
from tests.support.sizes import sizes
from tests.support.worker import work_once
from tests.usage.buying import Customer, consume, customer_with, post, reserve

EXAMPLES = int(os.environ.get("LICENZY_TEST_EXAMPLES", "25"))
UNITS = st.integers(1, 40)
PRODUCTS = {"CREDITS": "units", "IMAGES": "images", "MORE_IMAGES": "images"}
"""The unit of each product."""
CODES = st.sampled_from(sorted(PRODUCTS))
NAMES = st.fixed_dictionaries(
    {},
    optional={
        "unit": st.sampled_from(["units", "images"]),
        "product_code": CODES,
    },
)
"""What a call may name."""


@dataclass
class Pack:
    """What a pack ought to be."""

    granted: int
    until: datetime | None
    age: int
    product_code: str
    used: int = 0
    gone: bool = False


@dataclass
class SetAside:
    """What a reservation ought to be: shares by pack, in burning order."""

    shares: list[tuple[str, int]]
    until: datetime
    unit: str
    closed: tuple[Any, ...] | None = None

    @property
    def units(self) -> int:
        return sum(units for _pack, units in self.shares)


@dataclass
class Model:
    """One subject's packs and reservations, as a page of arithmetic."""

    packs: dict[str, Pack] = field(default_factory=dict)
    reservations: dict[str, SetAside] = field(default_factory=dict)

    def reserved_units(self, pack_id: str, now: datetime) -> int:
        return sum(
            units
            for each in self.reservations.values()
            if each.closed is None and each.until > now
            for owner, units in each.shares
            if owner == pack_id
        )

    def free(self, pack_id: str, now: datetime) -> int:
        pack = self.packs[pack_id]
        if pack.gone or (pack.until is not None and pack.until <= now):
            return 0
        return pack.granted - pack.used - self.reserved_units(pack_id, now)

    def named(self, names: dict[str, str]) -> list[str]:
        """The packs that a call with these names may draw."""
        unit, code = names.get("unit", "units"), names.get("product_code")
        return [
            pack_id
            for pack_id, pack in self.packs.items()
            if PRODUCTS[pack.product_code] == unit and (code is None or pack.product_code == code)
        ]

    def left(self, now: datetime, names: dict[str, str]) -> int:
        return sum(self.free(pack_id, now) for pack_id in self.named(names))

    def shares(self, units: int, now: datetime, names: dict[str, str]) -> list[tuple[str, int]] | None:
        if units > self.left(now, names):
            return None
        order = sorted(
            self.named(names),
            key=lambda p: (self.packs[p].until or now + timedelta(days=999), self.packs[p].age),
        )
        taken = []
        for pack_id in order:
            share = min(units, self.free(pack_id, now))
            if share:
                taken.append((pack_id, share))
            units -= share
        return taken


def machine(
    app: Flask, cast: Cast, clock: StandingClock, products: dict[str, Product]
) -> type[RuleBasedStateMachine]:
    parts: Runtime = app.extensions["licenzy"]
    database = parts.database
    client = app.test_client()
    subjects = iter(range(1_000_000))

    class Histories(RuleBasedStateMachine):
        packs = Bundle("packs")
        calls = Bundle("calls")
        reservations = Bundle("reservations")

        @initialize()
        def begin(self) -> None:
            self.customer: Customer = customer_with(database, cast, ref=f"user_{next(subjects)}")
            self.model = Model()

        def operator(self) -> OperatorContext:
            scope = Scope(cast.project_id, self.customer.subject.mode)
            return OperatorContext(scope, actor=Actor(cast.owner.user_id), note="", now=clock())

        @rule(
            target=packs,
            units=UNITS,
            hours=st.sampled_from([None, None, 1, 2, 5]),
            code=CODES,
        )
        def grants(self, units: int, hours: int | None, code: str) -> str:
            clock.advance(microseconds=1)
            until = clock() + timedelta(hours=hours) if hours else None
            with database.write() as db:
                grants.grant(
                    db,
                    self.operator(),
                    subject_ref=self.customer.subject.subject_ref,
                    product=products[code],
                    until=until,
                    units=units,
                )
            with database.read() as db:
                rows = db.exec(
                    select(Entitlement.id).where(Entitlement.subject_id == self.customer.subject.id)
                ).all()
            (pack_id,) = set(rows) - set(self.model.packs)
            self.model.packs[pack_id] = Pack(units, until, len(self.model.packs), code)
            return pack_id

        @rule(pack=packs)
        def revokes(self, pack: str) -> None:
            with database.write() as db:
                grants.revoke(db, self.operator(), entitlement_id=pack)
            self.model.packs[pack].gone = True

        @rule(pack=packs, by=st.integers(-40, 40).filter(bool))
        def adjusts(self, pack: str, by: int) -> None:
            # What is held is counted as it is written, whether or not its time is up.
            with database.read() as db:
                row = db.get_one(Entitlement, (cast.project_id, self.customer.subject.mode, pack))
            fits = row.granted_units + by >= row.used_units + row.reserved_units
            fits = fits and not self.model.packs[pack].gone
            try:
                with database.write() as db:
                    grants.adjust_units(db, self.operator(), entitlement_id=pack, units=by)
            except InvalidRequest:
                assert not fits
            else:
                assert fits
                self.model.packs[pack].granted += by

        @rule(target=calls, units=UNITS, names=NAMES)
        def takes(self, units: int, names: dict[str, str]) -> Any:
            now = clock()
            shares = self.model.shares(units, now, names)
            key = f"key {clock.advance(microseconds=1)}"
            answer = consume(client, self.customer, units, key=key, **names)
            if shares is None:
                assert (answer.status_code, answer.get_json()["error"]) == (409, "insufficient_usage")
            else:
                for pack_id, share in shares:
                    self.model.packs[pack_id].used += share
                assert answer.get_json() == {
                    "ok": True,
                    "consumed": units,
                    "usage_remaining": self.model.left(now, names),
                    **({"unit": names["unit"]} if "unit" in names else {}),
                }
            assert answer.get_json()["usage_remaining"] == self.model.left(now, names)
            assert answer.get_json().get("unit") == names.get("unit")
            return key, units, names, answer.status_code, answer.data

        @rule(call=calls)
        def repeats(self, call: Any) -> None:
            key, units, names, status, data = call
            again = consume(client, self.customer, units, key=key, **names)
            assert (again.status_code, again.data) == (status, data)
            assert again.headers["Idempotent-Replayed"] == "true"

        @rule(call=calls, more=st.integers(1, 5))
        def reuses(self, call: Any, more: int) -> None:
            again = consume(client, self.customer, call[1] + more, key=call[0], **call[2])
            assert again.get_json()["error"] == "idempotency_key_reused"

        @rule(call=calls, names=NAMES)
        def names_another(self, call: Any, names: dict[str, str]) -> None:
            again = consume(client, self.customer, call[1], key=call[0], **names)
            if names == call[2]:
                assert (again.status_code, again.data) == call[3:]
            else:
                assert again.get_json()["error"] == "idempotency_key_reused"

        @rule(target=reservations, units=UNITS, minutes=st.integers(1, 90), names=NAMES)
        def reserves(self, units: int, minutes: int, names: dict[str, str]) -> Any:
            now = clock()
            shares = self.model.shares(units, now, names)
            answer = reserve(client, self.customer, units, ttl_seconds=60 * minutes, **names)
            if shares is None:
                assert answer.get_json()["error"] == "insufficient_usage"
                assert answer.get_json()["usage_remaining"] == self.model.left(now, names)
                return multiple()
            made = answer.get_json()
            until = now + timedelta(minutes=minutes)
            self.model.reservations[made["reservation_id"]] = SetAside(
                shares, until, names.get("unit", "units")
            )
            assert made["usage_remaining"] == self.model.left(now, names)
            return made["reservation_id"]

        @rule(made=reservations, units=UNITS)
        def commits(self, made: str, units: int) -> None:
            held, now = self.model.reservations[made], clock()
            answer = post(client, self.customer, f"/v1/usage/reservations/{made}/commit", {"units": units})
            told = answer.get_json()
            if held.closed is not None and held.closed[:2] == ("committed", units):
                assert answer.data == held.closed[2]
            elif held.closed is not None or held.until <= now:
                assert told["error"] == "reservation_closed"
            elif units > held.units:
                assert told["error"] == "invalid_request"
            else:
                rest = units
                for pack_id, share in held.shares:
                    self.model.packs[pack_id].used += min(rest, share)
                    rest -= min(rest, share)
                held.closed = ("committed", units, answer.data)
                assert told == {
                    "ok": True,
                    "consumed": units,
                    "released": held.units - units,
                    "usage_remaining": self.model.left(now, {"unit": held.unit}),
                }

        @rule(made=reservations)
        def releases(self, made: str) -> None:
            held, now = self.model.reservations[made], clock()
            answer = post(client, self.customer, f"/v1/usage/reservations/{made}/release", {})
            if held.closed is not None and held.closed[0] == "released":
                assert answer.data == held.closed[1]
            elif held.closed is not None or held.until <= now:
                assert answer.get_json()["error"] == "reservation_closed"
            else:
                held.closed = ("released", answer.data)
                assert answer.get_json()["released"] == held.units
                assert answer.get_json()["usage_remaining"] == self.model.left(now, {"unit": held.unit})

        @rule(minutes=st.integers(1, 120))
        def waits(self, minutes: int) -> None:
            clock.advance(minutes=minutes)

        @rule()
        def works(self) -> None:
            work_once(parts)

        @rule(made=consumes(reservations))
        def forgets(self, made: str) -> None:
            """The merchant's backend dies and never closes it."""

        @invariant()
        def rows_are_as_the_model_says(self) -> None:
            now = clock()
            with database.read() as db:
                rows = db.exec(
                    select(Entitlement).where(Entitlement.subject_id == self.customer.subject.id)
                ).all()
                ledger = db.exec(
                    select(LedgerRow).where(LedgerRow.subject_id == self.customer.subject.id)
                ).all()
                held = db.exec(
                    select(Hold, Reservation).where(
                        Hold.reservation_id == Reservation.id,
                        Reservation.subject_id == self.customer.subject.id,
                    )
                ).all()
            assert {row.id for row in rows} == set(self.model.packs)
            for row in rows:
                pack = self.model.packs[row.id]
                assert row.unit == PRODUCTS[pack.product_code]
                assert (row.granted_units, row.used_units) == (pack.granted, pack.used)
                assert row.used_units == sum(each.units for each in ledger if each.entitlement_id == row.id)
                still = [(hold, of) for hold, of in held if hold.entitlement_id == row.id]
                assert row.reserved_units == sum(hold.units for hold, of in still if of.closed_at is None)
                assert self.model.reserved_units(row.id, now) == sum(
                    hold.units for hold, of in still if of.closed_at is None and of.expires_at > now
                )

    return Histories


@pytest.mark.slow
@pytest.mark.timeout(900)
@sizes("examples", sqlite=(EXAMPLES,), postgres=(EXAMPLES // 3,))
def test_any_history_ends_as_the_model_says(
    app: Flask, cast: Cast, clock: StandingClock, examples: int
) -> None:
    with app.extensions["licenzy"].database.write() as db:
        products = {
            code: make_product(
                db, project_id=cast.project_id, kind=Kind.USAGE_PACK, product_code=code, unit=unit, units=10
            )
            for code, unit in PRODUCTS.items()
        }
    run_state_machine_as_test(
        machine(app, cast, clock, products),
        settings=settings(
            max_examples=examples,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
