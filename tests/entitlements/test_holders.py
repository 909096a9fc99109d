"""Giving a version of terms to all who have a product: batches, resuming, stopping, taking back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event as listening
from sqlmodel import Session, col, select

from licenzy.alignment.modes import Mode
from licenzy.catalog.actions import change_product
from licenzy.catalog.included import Every, IncludedUnits
from licenzy.catalog.models import Kind, Product
from licenzy.catalog.queries import product as product_by_id
from licenzy.catalog.rules import Draft
from licenzy.db.lock_order import LOCK_ORDER
from licenzy.db.unit_of_work import Database
from licenzy.deliveries.models import OutboundEvent
from licenzy.entitlements import holder_batches, holders
from licenzy.entitlements.actions import FactDraft, lock_purchase, project_purchase, record_facts
from licenzy.entitlements.models import Entitlement, Fact, Purchase, State, TermChange
from licenzy.entitlements.queries import was_granted
from licenzy.errors import NotFound, ProductNotFound
from licenzy.projects.scope import Scope
from licenzy.runtime import Runtime
from licenzy.stripe_events.replay import replay_purchases
from licenzy.workspace.audit import Actor
from licenzy.workspace.models import AuditEntry
from tests.support.cast import Cast, make_product
from tests.support.clock import StandingClock
from tests.support.endpoints import make_endpoint
from tests.support.holders import make_holders, state_of, terms_facts


class Shop:
    """A product that many have, and the worker that gives them other terms."""

    def __init__(self, database: Database, cast: Cast, clock: StandingClock, kind: Kind) -> None:
        self.database, self.clock, self.actor = database, clock, Actor(cast.owner.user_id)
        with database.write() as db:
            self.product = make_product(db, project_id=cast.project_id, kind=kind, features=["v1"])
        self.scope = Scope.of(self.product)

    def sells_to(self, count: int, *, prefix: str = "") -> list[str]:
        with self.database.write() as db:
            return make_holders(db, self._read(db), count, prefix=prefix, now=self.clock())

    def edits(self, *features: str, **changes: Any) -> int:
        """Make the next version; its number."""
        with self.database.write() as db:
            draft = Draft(
                self.product.product_code,
                self.product.kind,
                "",
                features=features,
                units=self.product.units,
                duration_seconds=self.product.duration_seconds,
                **changes,
            )
            changed = change_product(
                db,
                self.scope,
                product_id=self.product.id,
                draft=draft,
                price=None,
                was_granted=was_granted,
                actor=self.actor,
                now=self.clock(),
            )
            return changed.terms_version

    def gives(self, version: int) -> TermChange:
        with self.database.write() as db:
            return holders.give_to_holders(
                db,
                self.scope,
                product_id=self.product.id,
                version=version,
                actor=self.actor,
                now=self.clock(),
            )

    def works(self, **sizes: int) -> bool:
        return self.database.retrying(lambda db: holder_batches.change_next(db, now=self.clock(), **sizes))

    def works_until_done(self, **sizes: int) -> TermChange:
        for _ in range(1000):
            if not self.works(**sizes):
                break
        return self.change()

    def change(self) -> TermChange:
        with self.database.read() as db:
            return holders.changes_of(db, self.scope, product_id=self.product.id)[0]

    def rows(self) -> list[Entitlement]:
        with self.database.read() as db:
            return list(db.exec(select(Entitlement).order_by(col(Entitlement.id))))

    def versions(self) -> list[int | None]:
        return [row.terms_version for row in self.rows()]

    def facts(self) -> list[tuple[str, str]]:
        with self.database.read() as db:
            return terms_facts(db, self.scope)

    def _read(self, db: Session) -> Product:
        return product_by_id(db, self.scope, product_id=self.product.id)


@pytest.fixture
def shop(database: Database, cast: Cast, clock: StandingClock) -> Shop:
    return Shop(database, cast, clock, Kind.SUBSCRIPTION)


def test_every_purchase_gets_one_fact_and_its_entitlement_the_terms(shop: Shop) -> None:
    keys = shop.sells_to(7)
    assert shop.edits("v2") == 2
    assert shop.versions() == [1] * 7, "an edit alone is for new purchases"
    shop.gives(2)
    progress = []
    while shop.works(batch=3):
        change = shop.change()
        progress.append((change.checked, change.total, change.changed, change.state))
    assert progress == [
        (3, 7, 3, "running"),
        (6, 7, 6, "running"),
        (7, 7, 7, "done"),
    ]
    assert [(row.terms_version, row.features) for row in shop.rows()] == [(2, ["v2"])] * 7
    assert shop.facts() == [(f"terms:{shop.product.id}:2:{key}", key) for key in keys]


def test_who_has_the_version_already_needs_no_fact(shop: Shop) -> None:
    shop.sells_to(2)
    shop.edits("v2")
    shop.sells_to(3, prefix="new")
    shop.gives(2)
    assert (shop.works_until_done().changed, len(shop.facts())) == (2, 2)
    shop.gives(2)
    assert (shop.works_until_done().changed, len(shop.facts())) == (0, 2)


def test_who_buys_while_it_runs_has_the_version_in_the_end(shop: Shop) -> None:
    shop.sells_to(4)
    shop.edits("v2")
    shop.gives(2)
    shop.works(batch=2)
    shop.sells_to(2, prefix="new")
    assert shop.works_until_done(batch=2).state == "done"
    assert shop.versions() == [2] * 6


def test_it_is_taken_back_and_given_again(shop: Shop) -> None:
    keys = shop.sells_to(2)
    shop.edits("v2")
    for version in (2, 1, 2):
        shop.gives(version)
        shop.works_until_done()
        assert shop.versions() == [version] * 2
        assert {row.features[0] for row in shop.rows()} == {f"v{version}"}
    product_id = shop.product.id
    given = [f"terms:{product_id}:1:{{}}", f"terms:{product_id}:2:{{}}", f"terms:{product_id}:2:{{}}:2"]
    assert sorted(source_id for source_id, _ in shop.facts()) == sorted(
        form.format(key) for form in given for key in keys
    )


@pytest.mark.parametrize("behind", [timedelta(seconds=20), timedelta(days=40)])
def test_a_clock_that_goes_back_takes_nothing_back(shop: Shop, behind: timedelta) -> None:
    """Another server's is behind, or the clock of a sandbox was reset."""
    shop.sells_to(1)
    shop.edits("v2")
    shop.gives(2)
    shop.works_until_done()
    shop.clock.now -= behind
    shop.gives(1)
    assert (shop.works_until_done().changed, shop.versions()) == (1, [1])


def test_one_who_bought_by_a_clock_that_is_ahead_gets_the_terms(shop: Shop) -> None:
    shop.clock.now += timedelta(seconds=30)
    shop.sells_to(1)
    shop.clock.now -= timedelta(seconds=30)
    shop.edits("v2")
    shop.gives(2)
    shop.works_until_done()
    assert shop.versions() == [2]


def test_a_version_that_gives_the_same_changes_nobody(shop: Shop) -> None:
    shop.sells_to(2)
    shop.edits("v2")
    shop.edits("v1")
    shop.gives(3)
    assert (shop.works_until_done().changed, shop.versions()) == (0, [1, 1])


def test_another_version_takes_the_place_of_one_that_is_running(shop: Shop) -> None:
    shop.sells_to(4)
    shop.edits("v2")
    first = shop.gives(2)
    shop.works(batch=2)
    assert shop.gives(2).id == first.id, "asking again changes nothing"
    second = shop.gives(1)
    assert shop.works_until_done().id == second.id
    assert shop.versions() == [1] * 4
    with shop.database.read() as db:
        assert [each.state for each in holders.changes_of(db, shop.scope, product_id=shop.product.id)] == [
            "done",
            "stopped",
        ]


def test_it_can_be_stopped_and_goes_on_where_it_was(shop: Shop) -> None:
    shop.sells_to(4)
    shop.edits("v2")
    change = shop.gives(2)
    shop.works(batch=2)
    for _ in range(2):
        with shop.database.write() as db:
            holders.stop_change(
                db,
                shop.scope,
                product_id=shop.product.id,
                change_id=change.id,
                actor=shop.actor,
                now=shop.clock(),
            )
    assert not shop.works()
    assert (shop.versions(), shop.change().state) == ([2, 2, 1, 1], "stopped")
    shop.gives(2)
    shop.works_until_done()
    assert (shop.versions(), shop.change().changed, len(shop.facts())) == ([2] * 4, 2, 4)
    with shop.database.read() as db:
        acts = db.exec(
            select(AuditEntry.action)
            .where(col(AuditEntry.action).startswith("product.terms"))
            .order_by(col(AuditEntry.id))
        ).all()
    started = "product.terms_for_holders"
    assert acts == [started, f"{started}_stopped", started]


def test_what_is_over_is_left_alone(shop: Shop, database: Database) -> None:
    shop.sells_to(3)
    shop.edits("v2")
    first, second, _ = shop.rows()
    with database.write() as db:
        for row, columns in (
            (first, {"state": State.CANCELED}),
            (second, {"ends_at": shop.clock(), "ends_as": "expired"}),
        ):
            for name, value in columns.items():
                setattr(row, name, value)
            db.add(row)
    shop.gives(2)
    assert (shop.works_until_done().changed, shop.versions()) == (1, [1, 1, 2])


def test_one_past_due_is_given_the_new_days_of_grace(shop: Shop) -> None:
    (key,) = shop.sells_to(1)
    add_state(shop, key, status="past_due")
    (before,) = shop.rows()
    shop.edits("v1", grace_days=9)
    shop.gives(2)
    shop.works_until_done()
    (after,) = shop.rows()
    assert before.ends_at is not None
    assert after.ends_at == before.ends_at + timedelta(days=9)


def test_a_purchase_of_nobody_gets_no_fact(shop: Shop, database: Database) -> None:
    (key,) = shop.sells_to(1)
    shop.edits("v2")
    with database.write() as db:
        purchase = db.exec(select(Purchase).where(Purchase.key == key)).one()
        purchase.subject_id = None
    shop.gives(2)
    assert (shop.works_until_done().state, shop.facts()) == ("done", [])


def test_one_that_cannot_be_projected_does_not_stop_the_others(shop: Shop, database: Database) -> None:
    broken, *_ = shop.sells_to(3)
    shop.edits("v2")
    with database.write() as db:
        fact = db.exec(select(Fact).where(Fact.purchase_key == broken, Fact.kind == "subscription")).one()
        fact.data = {"status": "active"}
        db.add(fact)
    shop.gives(2)
    change = shop.works_until_done()
    assert (change.state, change.changed, change.failed) == ("done", 2, 1)


@pytest.mark.parametrize("kind", [Kind.TIME_PASS, Kind.USAGE_PACK])
def test_packs_and_passes_get_what_is_not_bought_once(
    database: Database, cast: Cast, clock: StandingClock, kind: Kind
) -> None:
    shop = Shop(database, cast, clock, kind)
    shop.sells_to(2)
    shop.product.units, shop.product.duration_seconds = (5, None) if shop.product.units else (None, 600)
    before = shop.rows()
    shop.edits("v2")
    shop.gives(2)
    shop.works_until_done()
    for old, new in zip(before, shop.rows(), strict=True):
        assert (new.features, new.terms_version) == (["v2"], 2)
        for name in ("granted_units", "unit", "duration_seconds", "starts_at", "ends_at"):
            assert getattr(new, name) == getattr(old, name)


def test_replaying_gives_the_same(shop: Shop) -> None:
    shop.sells_to(3)
    shop.edits("v2")
    shop.gives(2)
    shop.works_until_done()
    before = [row.model_dump() for row in shop.rows()]
    differed = [changes for _, changes in replay_purchases(shop.database, clock=shop.clock)]
    assert (differed, [row.model_dump() for row in shop.rows()]) == ([[]] * 3, before)


def test_endpoints_get_an_event_with_the_reason(shop: Shop, runtime: Runtime) -> None:
    shop.sells_to(2)
    with shop.database.write() as db:
        make_endpoint(db, project_id=shop.scope.project_id, secret_box=runtime.secret_box)
    shop.edits("v2")
    shop.gives(2)
    shop.works_until_done()
    with shop.database.read() as db:
        events = db.exec(select(OutboundEvent)).all()
    assert [event.type.value for event in events] == ["entitlement.updated"] * 2
    assert all('"reason":"terms_changed"' in event.body for event in events)
    assert all('"source":"portal"' in event.body for event in events)


def test_strangers_and_the_other_mode_are_out_of_reach(shop: Shop, cast: Cast) -> None:
    shop.sells_to(1)
    shop.edits("v2")
    change = shop.gives(2)
    with shop.database.write() as db:
        theirs = make_product(db, project_id=cast.stranger.project_id)
        make_holders(db, theirs, 1, prefix="theirs")
        live = make_product(db, project_id=cast.project_id, mode=Mode.LIVE)
        make_holders(db, live, 1, prefix="live")
    about: dict[str, Any] = {"actor": shop.actor, "now": shop.clock()}
    for scope in (Scope(cast.stranger.project_id, Mode.TEST), shop.scope.other):
        with shop.database.write() as db, pytest.raises(ProductNotFound):
            holders.give_to_holders(db, scope, product_id=shop.product.id, version=2, **about)
        with shop.database.write() as db, pytest.raises(NotFound):
            holders.stop_change(db, scope, product_id=shop.product.id, change_id=change.id, **about)
    with shop.database.write() as db:
        another = make_product(db, product_code="ANOTHER", project_id=cast.project_id)
        with pytest.raises(NotFound):
            holders.stop_change(db, shop.scope, product_id=another.id, change_id=change.id, **about)
    with shop.database.write() as db, pytest.raises(NotFound):
        holders.give_to_holders(db, shop.scope, product_id=shop.product.id, version=3, **about)
    shop.works_until_done()
    assert len(shop.facts()) == 1
    assert sorted(shop.versions(), key=str) == [1, 1, 2]


# --- statements -----------------------------------------------------------------------------------------


@contextmanager
def noted(database: Database) -> Iterator[list[str]]:
    statements: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        statements.append(" ".join(statement.split()))

    listening.listen(database.engine, "before_cursor_execute", note)
    yield statements
    listening.remove(database.engine, "before_cursor_execute", note)


def test_a_batch_takes_a_bounded_number_of_statements(shop: Shop) -> None:
    """A dozen for the batch, and three for each purchase: a savepoint, a read and a write."""
    shop.sells_to(130)
    shop.edits("v2")
    shop.gives(2)
    shop.works()
    counts = {}
    for batch in (10, 50):
        with noted(shop.database) as statements:
            assert shop.works(batch=batch)
        counts[batch] = len(statements)
    assert counts[50] - counts[10] <= 3 * 40
    assert counts[10] <= 18 + 3 * 10


def test_those_that_need_nothing_cost_one_read(shop: Shop) -> None:
    shop.edits("v2")
    shop.sells_to(130)
    shop.gives(2)
    with noted(shop.database) as statements:
        assert shop.works()
    assert (shop.change().checked, shop.change().state) == (130, "done")
    assert len(statements) <= 10


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
def test_a_batch_locks_in_the_order_of_all(shop: Shop) -> None:
    shop.sells_to(5)
    shop.edits("v2")
    shop.gives(2)
    with noted(shop.database) as statements:
        shop.works()
    locking = [each for each in statements if " FOR " in each]
    tables = [each.partition(" FROM ")[2].partition(" ")[0] for each in locking]
    assert tables == ["term_changes", "purchases", "subjects", "entitlements"]
    assert [LOCK_ORDER.index(table) for table in tables] == sorted(map(LOCK_ORDER.index, tables))
    assert all("ORDER BY" in each for each in locking)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_holders_of_a_product_are_found_by_an_index(shop: Shop) -> None:
    with shop.database.read() as db:
        with noted(shop.database) as statements:
            was_granted(db, shop.scope, "PRO_MONTHLY")
        statement = statements[-1]
        plan = db.connection().exec_driver_sql(
            f"EXPLAIN QUERY PLAN {statement}", ("a", "b", "c", "d", "e", 1, 0)
        )
        (step,) = [row[-1] for row in plan]
    assert "ix_entitlements_product_code (project_id=? AND mode=? AND product_code=?)" in step


def add_state(shop: Shop, key: str, **changes: Any) -> None:
    """One more state of a subscription."""
    shop.clock.advance(days=1)
    state = state_of(shop.product, key, shop.clock(), **changes)
    with shop.database.write() as db:
        purchase = lock_purchase(db, shop.scope, key=key, now=shop.clock())
        draft = FactDraft(state.source, state.source_id, state.kind, key, state.occurred_at, state.data, key)
        record_facts(db, shop.scope, [draft], now=shop.clock())
        project_purchase(db, purchase, now=shop.clock())


def test_limits_and_included_units_come_with_a_version_and_go_with_an_older_one(shop: Shop) -> None:
    shop.sells_to(1)
    more = IncludedUnits("images", 2000, Every.MONTH)
    shop.edits("v1", limits={"projects": 3}, adds=True, included=(more,))
    shop.gives(2)
    assert shop.works_until_done().changed == 1
    (row,) = shop.rows()
    assert (row.limits, row.adds) == ({"projects": 3}, True)
    shop.gives(1)
    assert shop.works_until_done().changed == 1
    (row,) = shop.rows()
    assert (row.limits, row.adds, row.included) == ({}, False, None)
