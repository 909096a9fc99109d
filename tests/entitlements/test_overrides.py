"""Features and limits that operators set for one subject: facts, audited, and the same after a replay."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from sqlmodel import Session, select

from licenzy.alignment.modes import Mode
from licenzy.catalog.models import Kind
from licenzy.db.unit_of_work import Database
from licenzy.deliveries.models import EventType, OutboundEvent
from licenzy.entitlements import grants
from licenzy.entitlements.decision import in_force, standing
from licenzy.entitlements.grants import OperatorContext
from licenzy.entitlements.models import OVERRIDE, Entitlement, Fact, Purchase
from licenzy.entitlements.overrides import (
    OVERRIDES_MAX,
    Override,
    overrides_in_force,
    remove_override,
    set_override,
)
from licenzy.entitlements.queries import entitlements_of
from licenzy.errors import InvalidRequest, NotFound
from licenzy.projects.scope import Scope
from licenzy.runtime import Runtime
from licenzy.stripe_events.replay import replay_purchases
from licenzy.subjects.models import Subject
from licenzy.workspace.audit import Actor
from licenzy.workspace.models import AuditEntry
from tests.entitlements.rows import row
from tests.support.cast import Cast, make_product, make_subject
from tests.support.clock import START, StandingClock
from tests.support.endpoints import make_endpoint

DAY = timedelta(days=1)
PROJECTS = Override(limit="projects", value=25)


@pytest.fixture
def operator(cast: Cast) -> OperatorContext:
    scope = Scope(cast.project_id, Mode.TEST)
    return OperatorContext(scope, Actor(cast.owner.user_id, "127.0.0.1"), "as agreed by phone", START)


@pytest.fixture
def subject(database: Database, cast: Cast) -> Subject:
    with database.write() as db:
        return make_subject(db, project_id=cast.project_id)


def rows(db: Session) -> list[Entitlement]:
    found = select(Entitlement).order_by(Entitlement.item_key).execution_options(populate_existing=True)
    return list(db.exec(found).all())


def counting(db: Session, at: datetime = START) -> tuple[list[str], dict[str, int | None]]:
    found = in_force(rows(db), at)
    return found.features, found.limits


@row("kind:free")
def test_a_free_product_is_granted(
    database: Database, cast: Cast, operator: OperatorContext, subject: Subject
) -> None:
    limits = {"projects": 3}
    with database.write() as db:
        product = make_product(
            db, project_id=cast.project_id, product_code="BETA", kind=Kind.FREE, limits=limits
        )
        grants.grant(db, operator, subject_ref=subject.subject_ref, product=product, until=START + DAY)
        (granted,) = rows(db)
        assert (granted.product_code, granted.kind, granted.limits) == ("BETA", Kind.FREE, limits)
        assert standing(granted, START).available
        assert standing(granted, START + DAY).reason == "expired"


@row("operator.override")
def test_a_limit_and_a_feature_of_one_code(
    database: Database, operator: OperatorContext, subject: Subject
) -> None:
    with database.write() as db:
        set_override(db, operator, subject=subject, override=Override(feature="projects"), until=START + DAY)
        set_override(db, operator, subject=subject, override=PROJECTS)
        feature, limit = rows(db)
        assert {each.purchase_key for each in (feature, limit)} == {f"override:{subject.id}"}
        assert (feature.features, feature.limits, feature.ends_at) == (["projects"], {}, START + DAY)
        assert (limit.features, limit.limits, limit.ends_at) == ([], {"projects": 25}, None)
        assert {each.source for each in (feature, limit)} == {OVERRIDE}
        assert counting(db) == (["projects"], {"projects": 25})
        assert counting(db, START + DAY) == ([], {"projects": 25})
        assert entitlements_of(db, operator.scope, subject_id=subject.id) == []
        audited = db.exec(select(AuditEntry.action, AuditEntry.about)).all()
        assert audited == [("entitlement.override", "user_123")] * 2
        facts = db.exec(select(Fact)).all()
        assert {fact.data["actor"] for fact in facts} == {operator.actor.user_id}
        assert {fact.data["note"] for fact in facts} == {"as agreed by phone"}


def test_the_latest_act_counts_and_can_be_taken_away(
    database: Database, operator: OperatorContext, subject: Subject, clock: StandingClock
) -> None:
    later = replace(operator, now=START + DAY)
    latest = replace(operator, now=START + 2 * DAY)
    with database.write() as db:
        set_override(db, operator, subject=subject, override=PROJECTS)
        set_override(db, later, subject=subject, override=replace(PROJECTS, value=None))
        (found,) = rows(db)
        assert found.limits == {"projects": None}
        (shown,) = overrides_in_force(db, operator.scope, subject_id=subject.id, now=later.now)
        remove_override(db, latest, subject=subject, override_id=shown.id)
        (found,) = rows(db)
        assert standing(found, latest.now).status == "canceled"
        assert counting(db, latest.now) == ([], {})
        assert overrides_in_force(db, operator.scope, subject_id=subject.id, now=latest.now) == []
        with pytest.raises(NotFound):
            remove_override(db, latest, subject=subject, override_id=found.id)
        again = replace(operator, now=START + 3 * DAY)
        set_override(db, again, subject=subject, override=PROJECTS)
        assert counting(db, again.now) == ([], {"projects": 25})
        before = [each.model_dump() for each in rows(db)]
    assert [changes for _key, changes in replay_purchases(database, clock=clock)] == [[]]
    with database.read() as db:
        assert [each.model_dump() for each in rows(db)] == before


def test_it_is_no_entitlement_to_act_on(
    database: Database, operator: OperatorContext, subject: Subject
) -> None:
    with database.write() as db:
        set_override(db, operator, subject=subject, override=PROJECTS)
        (found,) = rows(db)
        with pytest.raises(NotFound):
            grants.revoke(db, operator, entitlement_id=found.id)
        purchase = db.exec(select(Purchase)).one()
        assert purchase.finalized_at is None, "nothing was bought"


def test_sent_twice_it_is_done_once(database: Database, operator: OperatorContext, subject: Subject) -> None:
    once = replace(operator, submission_id="abc")
    with database.write() as db:
        assert set_override(db, once, subject=subject, override=PROJECTS)
        assert set_override(db, once, subject=subject, override=PROJECTS) == []
        assert len(db.exec(select(Fact)).all()) == 1


@pytest.mark.parametrize(
    ("override", "until", "field"),
    [
        (Override(limit="a b", value=1), None, "code"),
        (Override(feature=""), None, "code"),
        (Override(limit="a", value=-1), None, "value"),
        (Override(limit="a", value=2**53), None, "value"),
        (PROJECTS, START, "until"),
        (PROJECTS, START + 40_000 * DAY, "until"),
    ],
)
def test_what_is_refused(
    database: Database,
    operator: OperatorContext,
    subject: Subject,
    override: Override,
    until: datetime | None,
    field: str,
) -> None:
    with pytest.raises(InvalidRequest) as refused, database.write() as db:
        set_override(db, operator, subject=subject, override=override, until=until)
    assert set(refused.value.fields) == {field}
    with database.read() as db:
        assert rows(db) == []


def test_there_is_a_most(
    database: Database, operator: OperatorContext, subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert OVERRIDES_MAX == 100
    monkeypatch.setattr("licenzy.entitlements.overrides.OVERRIDES_MAX", 1)
    with database.write() as db:
        set_override(db, operator, subject=subject, override=PROJECTS)
        set_override(db, operator, subject=subject, override=replace(PROJECTS, value=3))
        with pytest.raises(InvalidRequest):
            set_override(db, operator, subject=subject, override=Override(feature="x"))


def test_others_are_not_reached(
    database: Database, cast: Cast, operator: OperatorContext, subject: Subject
) -> None:
    with database.write() as db:
        other = make_subject(db, project_id=cast.project_id, subject_ref="other")
        set_override(db, operator, subject=subject, override=PROJECTS)
        (found,) = rows(db)
        with pytest.raises(NotFound):
            remove_override(db, operator, subject=other, override_id=found.id)


def test_endpoints_are_told_without_a_product(
    runtime: Runtime, cast: Cast, operator: OperatorContext, subject: Subject
) -> None:
    with runtime.database.write() as db:
        make_endpoint(
            db, secret_box=runtime.secret_box, project_id=cast.project_id, types=["entitlement.updated"]
        )
        set_override(db, operator, subject=subject, override=PROJECTS)
        told = db.exec(select(OutboundEvent)).one()
    assert told.type is EventType.ENTITLEMENT_UPDATED
    body = json.loads(told.body)
    assert (body["reason"], body["subject_ref"]) == ("manual_override", "user_123")
    assert (body["data"]["product_code"], body["data"]["kind"], body["data"]["available"]) == (
        None,
        None,
        True,
    )
