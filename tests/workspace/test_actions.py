"""Claiming, passwords and the audit log, on both databases."""

from __future__ import annotations

import contextlib
import threading
from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import col, select

from licenzy.db.unit_of_work import Database
from licenzy.errors import InvalidRequest
from licenzy.workspace import actions, queries, rules
from licenzy.workspace.actions import Actor
from licenzy.workspace.models import AuditEntry, Installation, Membership, Role, User, Workspace
from licenzy.workspace.passwords import Passwords
from licenzy.workspace.sign_in_models import SignInSession
from tests.support.cast import PASSWORD, Cast
from tests.support.clock import START, StandingClock
from tests.support.ports import wait_until
from tests.support.threads import join, somebody_waits
from tests.workspace.people import HASHER, HOME, actions_recorded, claim, session_of, sign_in


def test_claiming_makes_an_owner_of_the_first_workspace(database: Database) -> None:
    with database.write() as db:
        workspace_id = actions.ensure_first_workspace(db, now=START)
        assert actions.ensure_first_workspace(db, now=START) == workspace_id
        assert not queries.is_claimed(db)

    opened = claim(database)

    with database.read() as db:
        assert queries.is_claimed(db)
        assert queries.workspaces_of(db, user_id=opened.user_id)[0][0].id == workspace_id
        membership = db.get_one(Membership, (workspace_id, opened.user_id))
        assert membership.role is Role.OWNER
        found = queries.signed_in_by_token(db, token=opened.token, now=START)
    assert found is not None
    assert found.user_id == opened.user_id
    assert actions_recorded(database) == ["installation.claimed"]


def test_it_can_be_claimed_once(database: Database) -> None:
    claim(database)
    with pytest.raises(actions.AlreadyClaimed):
        claim(database, "second@example.com")
    with database.read() as db:
        assert db.exec(select(User.email)).all() == ["first@example.com"]


@pytest.mark.parametrize("prepared", [True, False], ids=["workspace-there", "empty"])
def test_parallel_claims_make_exactly_one_owner(database: Database, prepared: bool) -> None:
    if prepared:
        with database.write() as db:
            actions.ensure_first_workspace(db, now=START)
    start = threading.Barrier(8)
    outcomes: list[str] = []

    def run(number: int) -> None:
        start.wait()
        try:
            claim(database, f"racer{number}@example.com")
        except actions.AlreadyClaimed:
            outcomes.append("refused")
        else:
            outcomes.append("owner")

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(outcomes) == ["owner"] + ["refused"] * 7
    with database.read() as db:
        assert len(db.exec(select(User)).all()) == 1
        assert len(db.exec(select(Workspace)).all()) == 1
        assert db.get_one(Installation, 1).claimed_by is not None


def add(database: Database, email: str, role: Role = Role.OWNER) -> User:
    with database.write() as db:
        workspace_id = actions.ensure_first_workspace(db, now=START)
    return actions.create_user(
        database,
        actor=Actor(),
        email=email,
        name="From the command line",
        password=PASSWORD,
        role=role,
        workspace_id=workspace_id,
        hasher=HASHER,
        now=START,
    )


@pytest.mark.parametrize("role", [Role.OWNER, Role.VIEWER])
@pytest.mark.parametrize("disabled", [False, True], ids=["active", "disabled"])
def test_an_installation_with_anybody_in_it_cannot_be_claimed(
    database: Database, role: Role, disabled: bool
) -> None:
    user = add(database, "made@example.com", role)
    if disabled:
        with database.write() as db:
            db.get_one(User, user.id).disabled_at = START
    with database.read() as db:
        assert queries.is_claimed(db)
    with pytest.raises(actions.AlreadyClaimed):
        claim(database, "stranger@example.com")
    with database.read() as db:
        assert db.exec(select(User.email)).all() == ["made@example.com"]


@pytest.mark.parametrize("prepared", [True, False], ids=["workspace-there", "empty"])
def test_a_claim_and_a_command_that_meet_never_make_the_claim_second(
    database: Database, prepared: bool
) -> None:
    """Whoever comes first: the link makes an owner of an empty installation, or nobody."""
    if prepared:
        with database.write() as db:
            actions.ensure_first_workspace(db, now=START)
    start = threading.Barrier(8)
    claimed: list[str] = []

    def by_link(number: int) -> None:
        start.wait()
        with contextlib.suppress(actions.AlreadyClaimed):
            claimed.append(claim(database, f"link{number}@example.com").user_id)

    def by_command(number: int) -> None:
        start.wait()
        add(database, f"command{number}@example.com")

    threads = [threading.Thread(target=by_link, args=(number,)) for number in range(4)]
    threads += [threading.Thread(target=by_command, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.read() as db:
        recorded = db.exec(select(AuditEntry.action).order_by(col(AuditEntry.id))).all()
        emails = db.exec(select(User.email)).all()
    assert len(claimed) <= 1
    assert sorted(email for email in emails if email.startswith("command")) == [
        f"command{number}@example.com" for number in range(4)
    ]
    assert len([email for email in emails if email.startswith("link")]) == len(claimed)
    assert recorded.count("installation.claimed") == len(claimed)
    with pytest.raises(actions.AlreadyClaimed):
        claim(database, "late@example.com")


def test_a_claim_waits_for_a_person_who_is_just_being_added(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order that a race rarely takes: the link is used between the adding and its commit."""
    outcomes: list[str] = []

    def late_claim() -> None:
        try:
            claim(database, "stranger@example.com")
        except actions.AlreadyClaimed:
            outcomes.append("refused")
        else:
            outcomes.append("owner")

    racer = threading.Thread(target=late_claim)
    real = actions.record

    def record_and_be_overtaken(*args: Any, **named: Any) -> None:
        real(*args, **named)
        if named["action"] == "member.added":
            racer.start()
            if database.is_sqlite:
                racer.join(0.5)  # It cannot be seen waiting: SQLite has one writer, and it is not that one.
                assert racer.is_alive()
            else:
                wait_until(lambda: somebody_waits(database), seconds=10, what="the claim waits")

    monkeypatch.setattr(actions, "record", record_and_be_overtaken)
    add(database, "made@example.com")
    join(racer, seconds=20)
    assert outcomes == ["refused"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"email": "nonsense"}, "email"),
        ({"name": "  "}, "name"),
        ({"name": "\u200b"}, "name"),
        ({"password": "password"}, "password"),
    ],
)
def test_a_claim_with_a_bad_field_leaves_it_unclaimed(
    database: Database, changes: dict[str, str], field: str
) -> None:
    person = {"email": "first@example.com", "name": "First", "password": PASSWORD, **changes}
    with pytest.raises(InvalidRequest) as refusal:
        actions.claim_install(database, **person, device=HOME, hasher=HASHER, now=START)
    assert list(refusal.value.fields) == [field]
    with database.read() as db:
        assert not queries.is_claimed(db)


def test_changing_the_password_ends_the_other_sessions(
    database: Database, cast: Cast, clock: StandingClock
) -> None:
    here, there = sign_in(database, "owner@example.com"), sign_in(database, "owner@example.com")
    ended = actions.change_password(
        database,
        actor=Actor(cast.owner.user_id, HOME.ip),
        session_id=session_of(database, here).session_id,
        current=PASSWORD,
        new="an entirely new one",
        hasher=HASHER,
        now=START,
    )
    assert ended == 1
    with database.read() as db:
        assert queries.signed_in_by_token(db, token=here.token, now=START) is not None
        assert queries.signed_in_by_token(db, token=there.token, now=START) is None
    with pytest.raises(actions.SignInRefused):
        sign_in(database, "owner@example.com", PASSWORD)
    sign_in(database, "owner@example.com", "an entirely new one")


@pytest.mark.parametrize(
    ("current", "new", "field"),
    [
        ("wrong", "an entirely new one", "current"),
        (PASSWORD, "password", "new"),
        (PASSWORD, "Owner123", "new"),
    ],
)
def test_a_refused_change_changes_nothing(
    database: Database, cast: Cast, current: str, new: str, field: str
) -> None:
    opened = sign_in(database, "owner@example.com")
    with pytest.raises(InvalidRequest) as refusal:
        actions.change_password(
            database,
            actor=Actor(cast.owner.user_id),
            session_id=session_of(database, opened).session_id,
            current=current,
            new=new,
            hasher=HASHER,
            now=START,
        )
    assert list(refusal.value.fields) == [field]
    sign_in(database, "owner@example.com", PASSWORD)


def test_confirming_makes_a_session_fresh(database: Database, cast: Cast) -> None:
    opened = sign_in(database, "owner@example.com")
    found = session_of(database, opened)
    later = START + rules.FRESH_FOR
    assert rules.is_fresh(found.authenticated_at, now=later - timedelta(seconds=1))
    assert not rules.is_fresh(found.authenticated_at, now=later)

    def confirm(password: str) -> None:
        actions.confirm_password(
            database,
            actor=Actor(cast.owner.user_id),
            session_id=found.session_id,
            password=password,
            hasher=HASHER,
            now=later,
        )

    with pytest.raises(InvalidRequest):
        confirm("wrong")
    assert session_of(database, opened).authenticated_at == START
    confirm(PASSWORD)
    with database.read() as db:
        assert db.get_one(SignInSession, found.session_id).authenticated_at == later


def test_resetting_ends_every_session(database: Database, cast: Cast) -> None:
    opened = sign_in(database, "owner@example.com")
    actions.reset_password(
        database,
        actor=Actor(),
        email="Owner@example.com",
        password="an entirely new one",
        hasher=HASHER,
        now=START,
    )
    with database.read() as db:
        assert queries.signed_in_by_token(db, token=opened.token, now=START) is None
    sign_in(database, "owner@example.com", "an entirely new one")
    with pytest.raises(InvalidRequest):
        actions.reset_password(
            database, actor=Actor(), email="nobody@example.com", password="x" * 9, hasher=HASHER, now=START
        )


def test_an_address_belongs_to_one_person(database: Database, cast: Cast) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        actions.create_user(
            database,
            actor=Actor(),
            email="OWNER@example.com",
            name="Another",
            password="an entirely new one",
            role=Role.VIEWER,
            workspace_id=cast.owner.workspace_id,
            hasher=HASHER,
            now=START,
        )
    assert list(refusal.value.fields) == ["email"]


def test_every_security_event_is_one_row(database: Database, cast: Cast) -> None:
    opened = sign_in(database, "owner@example.com")
    found = session_of(database, opened)
    actor = Actor(cast.owner.user_id, "198.51.100.7")
    actions.confirm_password(
        database, actor=actor, session_id=found.session_id, password=PASSWORD, hasher=HASHER, now=START
    )
    actions.change_password(
        database,
        actor=actor,
        session_id=found.session_id,
        current=PASSWORD,
        new="an entirely new one",
        hasher=HASHER,
        now=START,
    )
    with database.write() as db:
        actions.sign_out(db, actor=actor, session_id=found.session_id, now=START)
        actions.sign_out(db, actor=actor, session_id=found.session_id, now=START)
    assert actions_recorded(database) == [
        "sign_in.succeeded",
        "sign_in.confirmed",
        "password.changed",
        "sign_in.ended",
    ]
    with database.read() as db:
        entries = db.exec(select(AuditEntry)).all()
    assert {(entry.actor_user_id, entry.ip) for entry in entries} == {(cast.owner.user_id, "198.51.100.7")}
    assert PASSWORD not in str([entry.model_dump() for entry in entries])


def test_of_two_changes_with_one_old_password_one_counts(database: Database, cast: Cast) -> None:
    sessions = [session_of(database, sign_in(database, "owner@example.com")).session_id for _ in range(2)]
    both_hash = threading.Barrier(2)

    class Together(Passwords):
        """Hashes as the other one does, once both have looked at the old password."""

        def hash(self, password: str) -> str:
            with contextlib.suppress(threading.BrokenBarrierError):
                both_hash.wait(10)
            return super().hash(password)

    hasher = Together(cheap=True)
    outcomes: list[object] = []

    def change(session_id: str, new: str) -> None:
        try:
            outcomes.append(
                actions.change_password(
                    database,
                    actor=Actor(cast.owner.user_id, HOME.ip),
                    session_id=session_id,
                    current=PASSWORD,
                    new=new,
                    hasher=hasher,
                    now=START,
                )
            )
        except InvalidRequest as refusal:
            outcomes.append(dict(refusal.fields))

    threads = [
        threading.Thread(target=change, args=(each, f"an entirely new one {number}"))
        for number, each in enumerate(sessions)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {"current": "This is not your current password."} in outcomes
    assert len([each for each in outcomes if isinstance(each, int)]) == 1
