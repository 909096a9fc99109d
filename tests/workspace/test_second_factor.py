"""Second factors: setting an app up, codes that work once, limits, recovery codes; on both databases."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta

import pytest
from cryptography.fernet import Fernet
from sqlmodel import col, select

from licenzy.db.unit_of_work import Database
from licenzy.errors import InvalidRequest, LicenzyError
from licenzy.kit.secret_box import SecretBox
from licenzy.runtime import Runtime
from licenzy.workspace import actions, queries, second_factor
from licenzy.workspace import second_factor_rules as rules
from licenzy.workspace.actions import Actor, Device, Opened, SecondFactorNeeded
from licenzy.workspace.challenges import CHALLENGE_LIFE
from licenzy.workspace.factor_queries import second_factors
from licenzy.workspace.members import BelongsElsewhere
from licenzy.workspace.models import AuditEntry, Membership, Role, User
from licenzy.workspace.second_step import finish_sign_in, give_second_factor
from licenzy.workspace.sessions import open_session
from licenzy.workspace.sign_in_models import RecoveryCode, SignInChallenge, TotpFactor
from licenzy.workspace.team_locks import MemberNotFound, RoleTooLow
from licenzy.workspace.throttling import TooManyTries
from tests.support.cast import PASSWORD, Cast, Person, make_user
from tests.support.clock import START
from tests.support.codes import app_of, code_at
from tests.workspace.people import HASHER, HOME, actions_recorded, device_of, session_of, sign_in

EMAIL = "owner@example.com"


@pytest.fixture
def box(runtime: Runtime) -> SecretBox:
    return runtime.secret_box


def begun(database: Database, *, now: datetime = START, password: str = PASSWORD) -> str:
    """The token of a sign-in whose password was right."""
    needed = actions.sign_in(database, email=EMAIL, password=password, device=HOME, hasher=HASHER, now=now)
    assert isinstance(needed, SecondFactorNeeded)
    return needed.token


def finish(
    database: Database, box: SecretBox, token: str, code: str, *, now: datetime = START, device: Device = HOME
) -> Opened:
    return finish_sign_in(database, box, token=token, code=code, device=device, now=now)


def outcome(
    database: Database, box: SecretBox, token: str, code: str, *, now: datetime = START, device: Device = HOME
) -> str:
    try:
        finish(database, box, token, code, now=now, device=device)
    except LicenzyError as refusal:
        return type(refusal).__name__
    return "opened"


def entries(database: Database, action: str) -> list[AuditEntry]:
    with database.read() as db:
        found = db.exec(select(AuditEntry).where(AuditEntry.action == action).order_by(col(AuditEntry.id)))
        return list(found)


def test_a_right_password_alone_opens_nothing(database: Database, box: SecretBox, cast: Cast) -> None:
    secret, _codes = app_of(database, box, cast.owner.user_id)
    token = begun(database)
    with database.read() as db:
        assert queries.signed_in_by_token(db, token=token, now=START) is None
        stored = db.exec(select(SignInChallenge.token_hash)).all()
        assert db.get_one(TotpFactor, cast.owner.user_id).secret != secret
        assert box.encrypt(secret, bound_to="x") != secret
    assert token not in stored
    opened = finish(database, box, token, code_at(secret, START))
    assert session_of(database, opened).second_factor_at == START
    assert actions_recorded(database) == [
        "second_factor.enabled",
        "sign_in.password_accepted",
        "sign_in.succeeded",
    ]
    assert entries(database, "sign_in.succeeded")[0].after == {"second_factor": "authenticator_app"}


def test_people_without_a_factor_sign_in_as_before(database: Database, box: SecretBox, cast: Cast) -> None:
    with database.write() as db:  # One that was begun and never confirmed stops nobody.
        second_factor.begin_app(db, box, actor=Actor(cast.owner.user_id), now=START)
    assert session_of(database, sign_in(database, EMAIL)).second_factor_at is None


@pytest.mark.parametrize(
    ("steps", "expected"), [(-2, "InvalidRequest"), (-1, "opened"), (1, "opened"), (2, "InvalidRequest")]
)
def test_codes_of_the_step_before_and_after_are_taken(
    database: Database, box: SecretBox, cast: Cast, steps: int, expected: str
) -> None:
    secret, _codes = app_of(database, box, cast.owner.user_id)
    assert outcome(database, box, begun(database), code_at(secret, START, steps=steps)) == expected


def test_a_code_works_once(database: Database, box: SecretBox, cast: Cast) -> None:
    secret, _codes = app_of(database, box, cast.owner.user_id)
    code = code_at(secret, START)
    spaced = f" {code[:3]} {code[3:]} "
    first, second = begun(database), begun(database)
    assert outcome(database, box, first, spaced) == "opened"
    assert outcome(database, box, second, code) == "InvalidRequest"
    assert outcome(database, box, second, code_at(secret, START, steps=-1)) == "InvalidRequest"
    assert outcome(database, box, second, code_at(secret, START, steps=1)) == "opened"


@pytest.mark.parametrize("of_app", [True, False])
def test_one_of_four_who_bring_the_same_code_at_once_has_it(
    database: Database, box: SecretBox, cast: Cast, of_app: bool
) -> None:
    secret, codes = app_of(database, box, cast.owner.user_id)
    code = code_at(secret, START) if of_app else codes[0]
    outcomes = at_once(database, box, [(begun(database), code) for _ in range(4)])
    assert sorted(outcomes) == [*["InvalidRequest"] * 3, "opened"]


def test_one_sign_in_is_finished_once(database: Database, box: SecretBox, cast: Cast) -> None:
    _secret, codes = app_of(database, box, cast.owner.user_id)
    token = begun(database)
    outcomes = at_once(database, box, [(token, code) for code in codes[:4]])
    assert sorted(outcomes) == [*["ChallengeOver"] * 3, "opened"]
    with database.read() as db:
        assert second_factors(db, user_id=cast.owner.user_id).codes_left == 9


def at_once(database: Database, box: SecretBox, tries: list[tuple[str, str]]) -> list[str]:
    start, outcomes = threading.Barrier(len(tries)), []

    def run(token: str, code: str) -> None:
        start.wait()
        outcomes.append(outcome(database, box, token, code))

    threads = [threading.Thread(target=run, args=each) for each in tries]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def test_wrong_codes_are_recorded_and_limited(database: Database, box: SecretBox, cast: Cast) -> None:
    secret, codes = app_of(database, box, cast.owner.user_id)
    known = Device("198.51.100.7", known=[device_of(database, cast.owner.user_id)])
    token = begun(database)
    wrong = code_at(secret, START, steps=9)
    assert [outcome(database, box, token, wrong) for _ in range(6)] == [
        *["InvalidRequest"] * 5,
        "TooManyTries",
    ]
    assert [each.about for each in entries(database, "second_factor.failed")] == [cast.owner.user_id] * 5
    assert [each.after for each in entries(database, "second_factor.throttled")] == [
        {"limit": "second_factor"}
    ]
    assert outcome(database, box, token, code_at(secret, START)) == "TooManyTries"
    assert outcome(database, box, token, codes[0]) == "TooManyTries"
    # Where the person has signed in before, a thief of the password keeps nobody waiting.
    assert outcome(database, box, token, code_at(secret, START), device=known) == "opened"
    later = START + timedelta(minutes=5)
    assert outcome(database, box, begun(database, now=later), code_at(secret, later), now=later) == "opened"


def test_strangers_use_up_no_codes(database: Database, box: SecretBox, cast: Cast) -> None:
    secret, _codes = app_of(database, box, cast.owner.user_id)
    for _ in range(10):
        assert outcome(database, box, "no such token", "123456") == "ChallengeOver"
        with pytest.raises((InvalidRequest, TooManyTries)):
            sign_in(database, EMAIL, "not the password", ip="192.0.2.9")
    known = Device("198.51.100.7", known=[device_of(database, cast.owner.user_id)])
    needed = actions.sign_in(database, email=EMAIL, password=PASSWORD, device=known, hasher=HASHER, now=START)
    assert isinstance(needed, SecondFactorNeeded)
    assert outcome(database, box, needed.token, code_at(secret, START)) == "opened"


def test_what_changes_between_the_two_steps_ends_the_sign_in(
    database: Database, box: SecretBox, cast: Cast
) -> None:
    secret, _codes = app_of(database, box, cast.owner.user_id)
    code = code_at(secret, START)
    expired = begun(database)
    late = START + CHALLENGE_LIFE
    assert outcome(database, box, expired, code_at(secret, late), now=late) == "ChallengeOver"
    token = begun(database)
    actions.reset_password(
        database, actor=Actor(), email=EMAIL, password="an entirely new one", hasher=HASHER, now=START
    )
    assert outcome(database, box, token, code) == "ChallengeOver"
    token = begun(database, password="an entirely new one")
    with database.write() as db:
        db.get_one(User, cast.owner.user_id).disabled_at = START
    assert outcome(database, box, token, code) == "ChallengeOver"


def test_an_app_that_was_removed_meanwhile_opens_nothing(
    database: Database, box: SecretBox, cast: Cast
) -> None:
    secret, codes = app_of(database, box, cast.owner.user_id)
    token = begun(database)
    opened = finish(database, box, begun(database), codes[0])
    session = session_of(database, opened)
    with database.write() as db:
        second_factor.remove_app(
            db, actor=Actor(cast.owner.user_id), session_id=session.session_id, now=START
        )
    assert outcome(database, box, token, code_at(secret, START)) == "InvalidRequest"
    assert outcome(database, box, token, codes[1]) == "InvalidRequest"
    assert session_of(database, opened).second_factor_at is None
    assert session_of(database, sign_in(database, EMAIL)).second_factor_at is None
    assert entries(database, "second_factor.disabled")[0].after == {
        "factor": "authenticator_app",
        "sessions_ended": 1,
    }


def test_setting_an_app_up_ends_the_other_sessions(database: Database, box: SecretBox, cast: Cast) -> None:
    before = sign_in(database, EMAIL)
    _secret, codes = app_of(database, box, cast.owner.user_id)
    with database.read() as db:
        assert queries.signed_in_by_token(db, token=before.token, now=START) is None
        sessions = queries.sessions_of(db, user_id=cast.owner.user_id, now=START)
        hashes = db.exec(select(RecoveryCode.code_hash)).all()
    assert [each.second_factor_at for each in sessions] == [START]
    assert (len(codes), len(set(codes)), len(hashes)) == (10, 10, 10)
    assert not set(codes) & set(hashes)


def test_a_wrong_first_code_turns_nothing_on(database: Database, box: SecretBox, cast: Cast) -> None:
    actor, opened = Actor(cast.owner.user_id), sign_in(database, EMAIL)
    session_id = session_of(database, opened).session_id
    with database.write() as db:
        second_factor.begin_app(db, box, actor=actor, now=START)
    for code in ("", "000000", "abcdef", "１２３４５６"):
        with database.write() as db, pytest.raises(InvalidRequest):
            second_factor.confirm_app(db, box, actor=actor, session_id=session_id, code=code, now=START)
    with database.read() as db:
        assert not second_factors(db, user_id=cast.owner.user_id).has_any


def test_an_app_is_not_replaced_unasked(database: Database, box: SecretBox, cast: Cast) -> None:
    app_of(database, box, cast.owner.user_id)
    with database.write() as db, pytest.raises(second_factor.AppAlreadySetUp):
        second_factor.begin_app(db, box, actor=Actor(cast.owner.user_id), now=START)
    with database.read() as db, pytest.raises(second_factor.AppAlreadySetUp):
        second_factor.app_being_set_up(db, box, user_id=cast.owner.user_id)
    with database.read() as db, pytest.raises(second_factor.AppNotBegun):
        second_factor.app_being_set_up(db, box, user_id=cast.colleague.user_id)


def test_a_recovery_code_works_once_however_it_is_typed(
    database: Database, box: SecretBox, cast: Cast
) -> None:
    _secret, codes = app_of(database, box, cast.owner.user_id)
    typed = codes[3].replace("-", " ").upper().replace("0", "O").replace("1", "l")
    assert outcome(database, box, begun(database), typed) == "opened"
    assert outcome(database, box, begun(database), codes[3]) == "InvalidRequest"
    (used,) = entries(database, "recovery_code.used")
    assert (used.about, used.ip, used.after) == (cast.owner.user_id, HOME.ip, {"codes_left": 9})


def test_new_recovery_codes_end_the_old_ones(database: Database, box: SecretBox, cast: Cast) -> None:
    actor = Actor(cast.owner.user_id)
    with database.write() as db, pytest.raises(second_factor.NoSecondFactor):
        second_factor.create_recovery_codes(db, actor=actor, now=START)
    _secret, old = app_of(database, box, cast.owner.user_id)
    with database.write() as db:
        new = second_factor.create_recovery_codes(db, actor=actor, now=START)
    assert outcome(database, box, begun(database), old[0]) == "InvalidRequest"
    assert outcome(database, box, begun(database), new[0]) == "opened"
    assert entries(database, "recovery_codes.created")[0].after == {"codes": 10}


def test_somebody_elses_code_is_no_code(database: Database, box: SecretBox, cast: Cast) -> None:
    app_of(database, box, cast.owner.user_id)
    secret, codes = app_of(database, box, cast.colleague.user_id)
    token = begun(database)
    assert outcome(database, box, token, codes[0]) == "InvalidRequest"
    assert outcome(database, box, token, code_at(secret, START)) == "InvalidRequest"


def test_a_session_without_a_factor_is_given_one(database: Database, box: SecretBox, cast: Cast) -> None:
    secret, _codes = app_of(database, box, cast.owner.user_id)
    with database.write() as db:  # As single sign-on opens one.
        opened = open_session(db, user_id=cast.owner.user_id, device=HOME, now=START)
    session = session_of(database, opened)

    def give(code: str) -> None:
        give_second_factor(
            database,
            box,
            actor=Actor(cast.owner.user_id),
            session_id=session.session_id,
            code=code,
            device=HOME,
            now=START,
        )

    with pytest.raises(InvalidRequest):
        give(code_at(secret, START, steps=5))
    assert session_of(database, opened).second_factor_at is None
    give(code_at(secret, START))
    assert session_of(database, opened).second_factor_at == START


def test_a_reset_leaves_the_password_alone(database: Database, box: SecretBox, cast: Cast) -> None:
    app_of(database, box, cast.colleague.user_id)
    with pytest.raises(MemberNotFound):
        reset(database, Actor(), cast.colleague, workspace_id=cast.stranger.workspace_id)
    reset(database, Actor(cast.owner.user_id), cast.colleague)
    with database.read() as db:
        assert queries.sessions_of(db, user_id=cast.colleague.user_id, now=START) == []
        assert second_factors(db, user_id=cast.colleague.user_id).codes_left == 0
    sign_in(database, "colleague@example.com")
    (row,) = entries(database, "second_factor.reset")
    assert (row.workspace_id, row.before) == (
        cast.owner.workspace_id,
        {"authenticator_app": True, "passkeys": 0},
    )


def reset(database: Database, actor: Actor, person: Person, *, workspace_id: str | None = "its own") -> None:
    where = person.workspace_id if workspace_id == "its own" else workspace_id
    database.retrying(
        lambda db: second_factor.reset_second_factor(
            db, actor=actor, user_id=person.user_id, workspace_id=where, now=START
        )
    )


def test_owners_of_all_workspaces_of_a_person_reset_and_nobody_else(
    database: Database, box: SecretBox, cast: Cast
) -> None:
    app_of(database, box, cast.colleague.user_id)
    owner, colleague = Actor(cast.owner.user_id), cast.colleague
    ours, theirs = cast.owner.workspace_id, cast.stranger.workspace_id
    with database.write() as db:
        admin = make_user(db, email="admin@example.com", workspace_id=ours, role=Role.ADMIN)
    for role in (Role.VIEWER, Role.SUPPORT, Role.ADMIN):
        with database.write() as db:
            db.get_one(Membership, (ours, admin)).role = role
        with pytest.raises(RoleTooLow):
            reset(database, Actor(admin), colleague)
    for actor in (owner, Actor(cast.stranger.user_id)):  # Without a workspace it is the command line's.
        with pytest.raises(MemberNotFound):
            reset(database, actor, colleague, workspace_id=None)
    for actor, where in ((Actor(cast.stranger.user_id), ours), (owner, theirs)):
        with pytest.raises(MemberNotFound):
            reset(database, actor, colleague, workspace_id=where)
    with pytest.raises(InvalidRequest):
        reset(database, Actor(colleague.user_id), colleague)

    with database.write() as db:
        db.add(Membership(workspace_id=theirs, user_id=colleague.user_id, role=Role.VIEWER, created_at=START))
    with pytest.raises(BelongsElsewhere):
        reset(database, owner, colleague)
    with database.write() as db:
        db.add(Membership(workspace_id=theirs, user_id=cast.owner.user_id, role=Role.ADMIN, created_at=START))
    with pytest.raises(BelongsElsewhere):
        reset(database, owner, colleague)
    assert entries(database, "second_factor.reset") == []
    with database.write() as db:
        assert second_factors(db, user_id=colleague.user_id).has_any
        db.get_one(Membership, (theirs, cast.owner.user_id)).role = Role.OWNER
    reset(database, owner, colleague)
    with pytest.raises(second_factor.NothingToReset):
        reset(database, owner, colleague)
    assert len(entries(database, "second_factor.reset")) == 1


def test_who_may_enter() -> None:
    assert rules.may_enter(required_at=None, given_at=None)
    assert not rules.may_enter(required_at=START, given_at=None)
    assert rules.may_enter(required_at=START, given_at=START - timedelta(days=9))


def test_lost_encryption_keys_leave_the_recovery_codes(
    database: Database, box: SecretBox, cast: Cast
) -> None:
    secret, codes = app_of(database, box, cast.owner.user_id)
    other, token = SecretBox([Fernet.generate_key().decode()]), begun(database)
    with pytest.raises(InvalidRequest) as refusal:
        finish(database, other, token, code_at(secret, START))
    assert "Use a recovery code." in refusal.value.fields["code"]
    assert outcome(database, other, token, codes[0]) == "opened"
