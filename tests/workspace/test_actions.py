"""Claiming, signing in and out, passwords and the audit log, on both databases."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from sqlmodel import col, select

from licenzy.db.unit_of_work import Database
from licenzy.errors import InvalidRequest, LicenzyError, NotFound
from licenzy.workspace import actions, queries, rules
from licenzy.workspace.actions import Actor, Device
from licenzy.workspace.models import (
    AuditEntry,
    Installation,
    Membership,
    Role,
    SignInSession,
    SignInTries,
    User,
    Workspace,
)
from licenzy.workspace.passwords import Passwords, passwords
from tests.support.cast import PASSWORD, Cast
from tests.support.clock import START, StandingClock

HASHER = passwords(cheap=True)
HOME = Device("198.51.100.7", "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0")


def claim(database: Database, email: str = "first@example.com") -> actions.Opened:
    return actions.claim_install(
        database, email=email, name="First Owner", password=PASSWORD, device=HOME, hasher=HASHER, now=START
    )


def sign_in(
    database: Database,
    email: str,
    password: str = PASSWORD,
    *,
    ip: str = "198.51.100.7",
    hasher: Passwords = HASHER,
    now: object = START,
) -> actions.Opened:
    return actions.sign_in(
        database, email=email, password=password, device=Device(ip), hasher=hasher, now=now  # type: ignore[arg-type]
    )


def actions_recorded(database: Database) -> list[str]:
    with database.read() as db:
        return list(db.exec(select(AuditEntry.action).order_by(col(AuditEntry.id))))


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
    start = threading.Barrier(6)
    outcomes: list[str] = []

    def run(number: int) -> None:
        start.wait()
        try:
            claim(database, f"racer{number}@example.com")
        except actions.AlreadyClaimed:
            outcomes.append("refused")
        else:
            outcomes.append("owner")

    threads = [threading.Thread(target=run, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(outcomes) == ["owner"] + ["refused"] * 5
    with database.read() as db:
        assert len(db.exec(select(User)).all()) == 1
        assert len(db.exec(select(Workspace)).all()) == 1
        assert db.get_one(Installation, 1).claimed_by is not None


@pytest.mark.parametrize(
    ("changes", "field"),
    [({"email": "nonsense"}, "email"), ({"name": "  "}, "name"), ({"password": "password"}, "password")],
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


def test_signing_in_opens_a_session_whose_token_is_not_stored(database: Database, cast: Cast) -> None:
    opened = sign_in(database, " OWNER@Example.com ")
    again = sign_in(database, "owner@example.com")
    assert opened.token != again.token
    assert len(opened.token) >= 32
    with database.read() as db:
        stored = db.exec(select(SignInSession.token_hash)).all()
        found = queries.signed_in_by_token(db, token=opened.token, now=START)
        assert queries.signed_in_by_token(db, token=opened.token + "x", now=START) is None
    assert rules.token_hash(opened.token) in stored
    assert opened.token not in stored
    assert found is not None
    assert found.user_id == cast.owner.user_id


@pytest.mark.parametrize(
    ("email", "password"),
    [
        ("owner@example.com", "not the password"),
        ("owner@example.com", PASSWORD.upper()),
        ("owner@example.com", ""),
        ("nobody@example.com", PASSWORD),
        ("no address at all", PASSWORD),
        ("colleague@example.com", "\ud800 surrogate"),
    ],
)
def test_wrong_and_unknown_are_refused_alike(
    database: Database, cast: Cast, email: str, password: str
) -> None:
    with pytest.raises(actions.SignInRefused) as refusal:
        sign_in(database, email, password)
    assert (refusal.value.message, refusal.value.hint, refusal.value.fields) == (
        actions.SignInRefused.message,
        actions.SignInRefused.hint,
        {},
    )
    assert actions_recorded(database) == ["sign_in.failed"]


def test_an_unknown_address_costs_a_hash_too(database: Database, cast: Cast) -> None:
    class Counting(Passwords):
        looked_at: list[bool]

        def matches(self, stored: str | None, password: str) -> bool:
            self.looked_at.append(stored is not None)
            return super().matches(stored, password)

    hasher = Counting(cheap=True)
    hasher.looked_at = []
    for email in ("owner@example.com", "nobody@example.com"):
        with pytest.raises(actions.SignInRefused):
            sign_in(database, email, "not the password", hasher=hasher)
    assert hasher.looked_at == [True, False]


def test_a_disabled_person_neither_signs_in_nor_stays_in(database: Database, cast: Cast) -> None:
    opened = sign_in(database, "colleague@example.com")
    with database.write() as db:
        db.get_one(User, cast.colleague.user_id).disabled_at = START
    with database.read() as db:
        assert queries.signed_in_by_token(db, token=opened.token, now=START) is None
    with pytest.raises(actions.SignInRefused):
        sign_in(database, "colleague@example.com")


def test_hashes_are_argon2id_of_the_advised_size_and_older_ones_are_renewed(
    database: Database, cast: Cast
) -> None:
    assert Passwords().hash("x" * 8).startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    with database.read() as db:
        before = db.get_one(User, cast.owner.user_id).password_hash
    sign_in(database, "owner@example.com", hasher=Passwords())
    with database.read() as db:
        after = db.get_one(User, cast.owner.user_id).password_hash
    assert not before.startswith("$argon2id$v=19$m=19456,")
    assert after.startswith("$argon2id$v=19$m=19456,t=2,p=1$")


def fail_from(database: Database, *addresses: str, email: str = "owner@example.com") -> list[str]:
    outcomes = []
    for ip in addresses:
        with pytest.raises(LicenzyError) as refusal:
            sign_in(database, email, "not the password", ip=ip)
        outcomes.append(refusal.value.code)
    return outcomes


def test_one_address_may_fail_twenty_times_an_hour(database: Database, cast: Cast) -> None:
    outcomes = [
        *fail_from(database, *["192.0.2.1"] * 12),
        *fail_from(database, *["192.0.2.1"] * 10, email="colleague@example.com"),
    ]
    assert outcomes == ["invalid_request"] * 20 + ["rate_limited"] * 2
    with pytest.raises(actions.TooManyTries) as refusal:
        sign_in(database, "owner@example.com", ip="192.0.2.1")
    assert refusal.value.retry_after is not None
    assert 0 < refusal.value.retry_after <= 3601
    # From elsewhere, and here after the hour, the password is looked at again.
    sign_in(database, "owner@example.com", ip="192.0.2.2")
    sign_in(database, "owner@example.com", ip="192.0.2.1", now=START + timedelta(hours=1))


def test_one_account_may_be_guessed_at_twenty_times_a_day_from_anywhere(
    database: Database, cast: Cast
) -> None:
    sign_in(database, "owner@example.com", ip="198.51.100.7")
    addresses = [f"192.0.2.{number}" for number in range(100)]
    outcomes = fail_from(database, *addresses)
    assert outcomes.count("invalid_request") == 20
    assert outcomes[20:] == ["rate_limited"] * 80
    with pytest.raises(actions.TooManyTries):
        sign_in(database, "owner@example.com", ip="203.0.113.9")
    # The owner, where they have signed in before, is not locked out by strangers.
    sign_in(database, "owner@example.com", ip="198.51.100.7")


def test_right_passwords_use_up_nothing(database: Database, cast: Cast) -> None:
    for _ in range(25):
        sign_in(database, "owner@example.com", ip="192.0.2.1")
    with database.read() as db:
        assert set(db.exec(select(SignInTries.tries))) == {0}


def test_parallel_tries_do_not_slip_past_the_limit(database: Database, cast: Cast) -> None:
    start = threading.Barrier(8)
    outcomes: list[str] = []

    def run() -> None:
        start.wait()
        for _ in range(5):
            outcomes.extend(fail_from(database, "192.0.2.1"))

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count("invalid_request") == 20
    assert outcomes.count("rate_limited") == 20


def test_old_counters_are_thrown_away(database: Database, cast: Cast) -> None:
    fail_from(database, "192.0.2.1", "192.0.2.2")
    with pytest.raises(actions.SignInRefused):
        sign_in(database, "owner@example.com", "wrong", now=START + timedelta(days=2))
    with database.read() as db:
        assert len(db.exec(select(SignInTries)).all()) == 2


def test_signing_out_ends_the_session_on_the_server(database: Database, cast: Cast) -> None:
    opened = sign_in(database, "owner@example.com")
    other = sign_in(database, "owner@example.com")
    with database.write() as db:
        found = queries.signed_in_by_token(db, token=opened.token, now=START)
        assert found is not None
        actions.sign_out(db, actor=Actor(found.user_id), session_id=found.session_id, now=START)
    with database.read() as db:
        assert queries.signed_in_by_token(db, token=opened.token, now=START) is None
        assert queries.signed_in_by_token(db, token=other.token, now=START) is not None


def test_nobody_ends_the_session_of_another(database: Database, cast: Cast) -> None:
    sign_in(database, "owner@example.com")
    with database.write() as db:
        session = queries.sessions_of(db, user_id=cast.owner.user_id, now=START)[0]
        with pytest.raises(NotFound):
            actions.end_session(
                db, actor=Actor(cast.colleague.user_id), session_id=session.id, now=START
            )
    with database.read() as db:
        assert len(queries.sessions_of(db, user_id=cast.owner.user_id, now=START)) == 1


def session_of(database: Database, opened: actions.Opened) -> queries.SignedIn:
    with database.read() as db:
        found = queries.signed_in_by_token(db, token=opened.token, now=START)
    assert found is not None
    return found


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
    [("wrong", "an entirely new one", "current"), (PASSWORD, "password", "new"), (PASSWORD, "Owner123", "new")],
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
    found = session_of(database, sign_in(database, "owner@example.com"))
    later = START + rules.FRESH_FOR
    assert rules.is_fresh(found.authenticated_at, now=later - timedelta(seconds=1))
    assert not rules.is_fresh(found.authenticated_at, now=later)
    actor = Actor(cast.owner.user_id)
    for password, expected in (("wrong", "invalid_request"), (PASSWORD, None)):
        try:
            actions.confirm_password(
                database,
                actor=actor,
                session_id=found.session_id,
                password=password,
                hasher=HASHER,
                now=later,
            )
        except LicenzyError as error:
            assert error.code == expected
        else:
            assert expected is None
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
