"""What operators do by hand, on both databases: each act is a fact, audited, and survives a replay."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import Session, select

from licenzy.alignment.modes import Mode
from licenzy.catalog.models import Kind
from licenzy.db.unit_of_work import Database
from licenzy.entitlements import grants
from licenzy.entitlements.decision import standing
from licenzy.entitlements.grants import OperatorContext
from licenzy.entitlements.models import Entitlement
from licenzy.errors import InvalidRequest, NotFound
from licenzy.projects.scope import Scope
from licenzy.stripe_events.replay import replay_purchases
from licenzy.workspace.audit import Actor
from licenzy.workspace.models import AuditEntry
from tests.support.cast import Cast, make_product
from tests.support.clock import START, StandingClock

DAY = timedelta(days=1)
Give = Callable[..., Entitlement]


@pytest.fixture
def operator(cast: Cast) -> OperatorContext:
    return OperatorContext(
        Scope(cast.project_id, Mode.TEST), Actor(cast.owner.user_id, "127.0.0.1"), "as agreed by phone", START
    )


@pytest.fixture
def give(database: Database, cast: Cast, operator: OperatorContext) -> Give:
    """Grant somebody a product of a kind."""

    def give_one(kind: Kind = Kind.USAGE_PACK, **how: Any) -> Entitlement:
        with database.write() as db:
            product = make_product(db, project_id=cast.project_id, product_code="GIFT", kind=kind)
            grants.grant(db, operator, subject_ref="u", product=product, **how)
            return _only(db)

    return give_one


def _only(db: Session) -> Entitlement:
    return db.exec(select(Entitlement).execution_options(populate_existing=True)).one()


def status(row: Entitlement, at: Any = START) -> tuple[str, bool]:
    told = standing(row, at)
    return told.status, told.available


def test_a_grant_is_an_entitlement_of_the_portals(give: Give) -> None:
    row = give(units=50)
    assert (row.source, row.granted_units, row.ends_at) == ("portal", 50, None)
    assert status(row) == ("active", True)


def test_a_grant_ends_when_it_says(give: Give) -> None:
    row = give(Kind.TIME_PASS, until=START + DAY)
    assert status(row, START + DAY - timedelta(microseconds=1)) == ("active", True)
    assert status(row, START + DAY) == ("expired", False)


@pytest.mark.parametrize(
    ("kind", "until"), [(Kind.TIME_PASS, None), (Kind.USAGE_PACK, START), (Kind.SUBSCRIPTION, START - DAY)]
)
def test_grants_that_make_no_sense(give: Give, kind: Kind, until: Any) -> None:
    with pytest.raises(InvalidRequest):
        give(kind, until=until)


def test_revoking_voids_what_is_left(database: Database, operator: OperatorContext, give: Give) -> None:
    row = give()
    with database.write() as db:
        grants.revoke(db, operator, entitlement_id=row.id)
        assert status(_only(db)) == ("canceled", False)
        assert _only(db).voided_at == START


def test_units_are_adjusted_down_to_what_is_used(
    database: Database, operator: OperatorContext, give: Give
) -> None:
    row = give(units=100)
    with database.write() as db:
        db.add(row)
        row.used_units, row.reserved_units = 30, 20
    with database.write() as db:
        grants.adjust_units(db, operator, entitlement_id=row.id, units=-50)
        assert _only(db).granted_units == 50
    with pytest.raises(InvalidRequest), database.write() as db:
        grants.adjust_units(db, operator, entitlement_id=row.id, units=-1)
    with database.write() as db:
        grants.adjust_units(db, operator, entitlement_id=row.id, units=25)
        assert _only(db).granted_units == 75


def test_extending_moves_the_end(database: Database, operator: OperatorContext, give: Give) -> None:
    row = give(Kind.SUBSCRIPTION, until=START + DAY)
    with database.write() as db:
        grants.extend(db, operator, entitlement_id=row.id, seconds=3600)
        assert _only(db).ends_at == START + DAY + timedelta(hours=1)


def test_a_granted_pass_can_last_longer(database: Database, operator: OperatorContext, give: Give) -> None:
    row = give(Kind.TIME_PASS, until=START + DAY)
    with database.write() as db:
        grants.extend(db, operator, entitlement_id=row.id, seconds=3600)
        assert _only(db).ends_at == START + DAY + timedelta(hours=1)


@pytest.mark.parametrize("seconds", [0, -1, 100 * 365 * 86_400, 10**15])
def test_an_end_beyond_reason_is_refused(
    database: Database, operator: OperatorContext, give: Give, seconds: int
) -> None:
    row = give(Kind.TIME_PASS, until=START + DAY)
    with pytest.raises(InvalidRequest), database.write() as db:
        grants.extend(db, operator, entitlement_id=row.id, seconds=seconds)


def test_what_is_canceled_stays_canceled(database: Database, operator: OperatorContext, give: Give) -> None:
    row = give(until=START + DAY)
    with database.write() as db:
        grants.revoke(db, operator, entitlement_id=row.id)
        assert grants.allowed_actions(_only(db)) == ()
    acts: tuple[Callable[[Session], object], ...] = (
        lambda db: grants.adjust_units(db, operator, entitlement_id=row.id, units=1),
        lambda db: grants.extend(db, operator, entitlement_id=row.id, seconds=60),
        lambda db: grants.lift(db, operator, entitlement_id=row.id),
    )
    for act in acts:
        with pytest.raises(InvalidRequest), database.write() as db:
            act(db)


def test_an_act_with_a_name_is_done_once_also_at_the_same_time(
    database: Database, operator: OperatorContext, give: Give
) -> None:
    row = give(units=10)
    named = replace(operator, submission_id="a1")

    def adjust(_: int) -> int:
        with database.write() as db:
            return len(grants.adjust_units(db, named, entitlement_id=row.id, units=5))

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(adjust, range(4))) == [0, 0, 0, 1]
    with database.write() as db:
        assert _only(db).granted_units == 15
        product = make_product(db, project_id=operator.scope.project_id, product_code="TWICE")
    for _ in range(2):
        with database.write() as db:
            grants.grant(db, replace(operator, submission_id="b2"), subject_ref="u", product=product)
    with database.read() as db:
        assert len(db.exec(select(Entitlement)).all()) == 2


def test_a_foreign_entitlement_is_not_found(database: Database, cast: Cast, give: Give) -> None:
    row = give()
    for project_id, mode in ((cast.stranger.project_id, Mode.TEST), (cast.project_id, Mode.LIVE)):
        stranger = OperatorContext(Scope(project_id, mode), Actor(None, None), "", START)
        with pytest.raises(NotFound), database.write() as db:
            grants.revoke(db, stranger, entitlement_id=row.id)


def test_every_act_is_audited_and_replays_to_the_same_row(
    database: Database, operator: OperatorContext, give: Give, clock: StandingClock
) -> None:
    row = give(units=10)
    with database.write() as db:
        grants.adjust_units(db, operator, entitlement_id=row.id, units=5)
        grants.revoke(db, operator, entitlement_id=row.id)
    with database.read() as db:
        audited = db.exec(select(AuditEntry.action).order_by(AuditEntry.id)).all()
        before = _only(db).model_dump()
    assert audited == ["entitlement.grant", "entitlement.adjust", "entitlement.revoke"]
    assert [changes for _key, changes in replay_purchases(database, clock=clock)] == [[]]
    with database.read() as db:
        assert _only(db).model_dump() == before
