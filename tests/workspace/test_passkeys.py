"""Passkeys: made, used once for each challenge, and refused where anything is not as it was asked."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlmodel import col, select

from licenzy.db.unit_of_work import Database
from licenzy.errors import LicenzyError, NotFound
from licenzy.runtime import Runtime
from licenzy.workspace import actions, passkeys, queries
from licenzy.workspace.actions import Actor, Opened, SecondFactorNeeded
from licenzy.workspace.challenges import CHALLENGE_LIFE, ChallengeOver
from licenzy.workspace.factor_queries import second_factors
from licenzy.workspace.models import AuditEntry, User
from licenzy.workspace.passkey_checks import PasskeyRefused, RelyingParty, relying_party
from licenzy.workspace.passkeys import PasskeyAnswer, PasskeyContext
from licenzy.workspace.second_step import finish_sign_in
from licenzy.workspace.sessions import open_session
from licenzy.workspace.sign_in_models import Passkey, SignInMethod, SignInSession
from licenzy.workspace.throttling import TooManyTries
from tests.support.authenticator import ORIGIN, SecurityKey
from tests.support.cast import PASSWORD, Cast, Person
from tests.support.clock import START
from tests.workspace.people import HASHER, HOME, session_of, sign_in

LATER = START + CHALLENGE_LIFE


@pytest.fixture
def context(database: Database, runtime: Runtime) -> PasskeyContext:
    party = relying_party(ORIGIN)
    assert party is not None
    return PasskeyContext(database, runtime.secret_box, party)


def created(
    context: PasskeyContext, person: Person, *, key: SecurityKey | None = None, **wrong: Any
) -> tuple[SecurityKey, list[str]]:
    """A passkey of a person's, and the recovery codes that came with it."""
    key, actor = key or SecurityKey(), Actor(person.user_id)
    with context.database.write() as db:
        opened = open_session(db, user_id=person.user_id, device=HOME, now=START)
    session_id = session_of(context.database, opened).session_id
    question = passkeys.begin_creation(context, actor=actor, now=START)
    answer = PasskeyAnswer(question.token, key.creates(question.options, **wrong))
    codes = passkeys.create_passkey(
        context, answer, actor=actor, session_id=session_id, name="Laptop", now=START
    )
    return key, codes


def signed_in(context: PasskeyContext, key: SecurityKey, **wrong: Any) -> Opened:
    question = passkeys.begin_passkey_sign_in(context, ip=HOME.ip, now=START)
    answer = PasskeyAnswer(question.token, key.signs(question.options, **wrong))
    return passkeys.sign_in_with_passkey(context, answer, device=HOME, now=START)


def begun(database: Database) -> str:
    needed = actions.sign_in(
        database, email="owner@example.com", password=PASSWORD, device=HOME, hasher=HASHER, now=START
    )
    assert isinstance(needed, SecondFactorNeeded)
    return needed.token


def rows(database: Database, action: str) -> list[AuditEntry]:
    with database.read() as db:
        wanted = select(AuditEntry).where(AuditEntry.action == action)
        return list(db.exec(wanted.order_by(col(AuditEntry.id))))


@pytest.mark.parametrize(
    ("base_url", "expected"),
    [
        ("http://localhost:8000", RelyingParty("localhost", "http://localhost:8000")),
        (
            "https://Billing.example.com:443",
            RelyingParty("billing.example.com", "https://billing.example.com"),
        ),
        (
            "https://billing.example.com:8443",
            RelyingParty("billing.example.com", "https://billing.example.com:8443"),
        ),
        ("http://billing.example.com", None),
        ("http://127.0.0.1:8000", None),
        ("https://[2001:db8::1]", None),
    ],
)
def test_where_there_are_passkeys(base_url: str, expected: RelyingParty | None) -> None:
    assert relying_party(base_url) == expected


def test_a_passkey_alone_counts_as_both_factors(context: PasskeyContext, cast: Cast) -> None:
    before = sign_in(context.database, "owner@example.com")
    key, codes = created(context, cast.owner)
    assert len(codes) == 10
    with context.database.read() as db:
        assert queries.signed_in_by_token(db, token=before.token, now=START) is None
    opened = signed_in(context, key)
    session = session_of(context.database, opened)
    assert (session.user_id, session.second_factor_at) == (cast.owner.user_id, START)
    with context.database.read() as db:
        assert db.get_one(SignInSession, session.session_id).method is SignInMethod.PASSKEY
        (passkey,) = second_factors(db, user_id=cast.owner.user_id).passkeys
    assert (passkey.name, passkey.sign_count, passkey.last_used_at) == ("Laptop", 1, START)
    assert rows(context.database, "passkey.created")[0].after == {"name": "Laptop", "sessions_ended": 1}
    assert rows(context.database, "sign_in.succeeded")[-1].after == {"method": "passkey"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"origin": "http://localhost:8001"},
        {"origin": "https://evil.example"},
        {"challenge": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"},
        {"verified": False},
        {"count": 0},
    ],
    ids=str,
)
def test_an_answer_that_is_not_as_asked_opens_nothing(
    context: PasskeyContext, cast: Cast, wrong: dict[str, Any]
) -> None:
    key, _codes = created(context, cast.owner)
    signed_in(context, key)
    with pytest.raises(PasskeyRefused):
        signed_in(context, key, **wrong)
    (failed,) = rows(context.database, "sign_in.failed")
    assert (failed.about, failed.ip) == ("passkey", HOME.ip)
    signed_in(context, key)


@pytest.mark.parametrize("wrong", [{"origin": "https://evil.example"}, {"verified": False}], ids=str)
def test_a_creation_that_is_not_as_asked_is_refused(
    context: PasskeyContext, cast: Cast, wrong: dict[str, Any]
) -> None:
    with pytest.raises(PasskeyRefused):
        created(context, cast.owner, **wrong)
    with context.database.read() as db:
        assert not second_factors(db, user_id=cast.owner.user_id).has_any


@pytest.mark.parametrize(
    "sent",
    [
        "",
        "null",
        "[]",
        "{}",
        '"x"',
        "{",
        '{"id": 1}',
        '{"id":"AA","rawId":"AA","type":"public-key","response":{}}',
        "\x00",
        "[" * 20_000,
    ],
    ids=lambda sent: sent[:8],
)
def test_odd_answers_are_refused(context: PasskeyContext, cast: Cast, sent: str) -> None:
    question = passkeys.begin_passkey_sign_in(context, ip=None, now=START)
    with pytest.raises(PasskeyRefused):
        passkeys.sign_in_with_passkey(context, PasskeyAnswer(question.token, sent), device=HOME, now=START)


def test_odd_parts_of_a_good_answer_are_refused(context: PasskeyContext, cast: Cast) -> None:
    key, _codes = created(context, cast.owner)
    for part in ("authenticatorData", "clientDataJSON", "signature"):
        odd: list[Any] = ["", "AA", "!", None, 7, [], "AAAA" * 500]
        for value in odd:
            question = passkeys.begin_passkey_sign_in(context, ip=f"192.0.2.{ord(part[0])}", now=START)
            answer = json.loads(key.signs(question.options))
            answer["response"][part] = value
            with pytest.raises(PasskeyRefused):
                passkeys.sign_in_with_passkey(
                    context, PasskeyAnswer(question.token, json.dumps(answer)), device=HOME, now=START
                )


def test_counters_have_32_bits_and_ids_1023_bytes(context: PasskeyContext, cast: Cast) -> None:
    key, _codes = created(context, cast.owner, count=2**32 - 2)
    signed_in(context, key, count=2**32 - 1)
    key = SecurityKey()
    key.id = bytes(1024)
    with pytest.raises(PasskeyRefused):
        created(context, cast.owner, key=key)


def test_an_answer_is_not_taken_twice(context: PasskeyContext, cast: Cast) -> None:
    key, _codes = created(context, cast.owner)
    question = passkeys.begin_passkey_sign_in(context, ip=None, now=START)
    answer = PasskeyAnswer(question.token, key.signs(question.options))
    passkeys.sign_in_with_passkey(context, answer, device=HOME, now=START)
    with pytest.raises(ChallengeOver):
        passkeys.sign_in_with_passkey(context, answer, device=HOME, now=START)
    other = passkeys.begin_passkey_sign_in(context, ip=None, now=START)
    with pytest.raises(PasskeyRefused):
        passkeys.sign_in_with_passkey(
            context, PasskeyAnswer(other.token, answer.credential), device=HOME, now=START
        )
    late = passkeys.begin_passkey_sign_in(context, ip=None, now=START)
    with pytest.raises(ChallengeOver):
        passkeys.sign_in_with_passkey(
            context, PasskeyAnswer(late.token, key.signs(late.options)), device=HOME, now=LATER
        )


def test_a_key_that_nobody_registered_opens_nothing(context: PasskeyContext, cast: Cast) -> None:
    key, copy = created(context, cast.owner)[0], SecurityKey()
    with pytest.raises(PasskeyRefused):
        signed_in(context, copy)
    copy.id = key.id
    copy.count = 5
    with pytest.raises(PasskeyRefused):
        signed_in(context, copy)


def test_a_disabled_person_has_no_passkey(context: PasskeyContext, cast: Cast) -> None:
    key, _codes = created(context, cast.owner)
    with context.database.write() as db:
        db.get_one(User, cast.owner.user_id).disabled_at = START
    with pytest.raises(PasskeyRefused):
        signed_in(context, key)


def test_the_second_step_takes_this_persons_passkey_only(context: PasskeyContext, cast: Cast) -> None:
    key, codes = created(context, cast.owner)
    theirs, _codes = created(context, cast.colleague)
    token = begun(context.database)

    def finish(with_key: SecurityKey) -> Opened:
        question = passkeys.begin_passkey_step(context, token=token, now=START)
        asked = [each["id"] for each in json.loads(question.options)["allowCredentials"]]
        assert asked == [json.loads(key.signs(question.options))["id"]]
        answer = PasskeyAnswer(question.token, with_key.signs(question.options))
        return passkeys.finish_with_passkey(context, answer, device=HOME, now=START)

    with pytest.raises(PasskeyRefused):
        finish(theirs)
    assert [each.about for each in rows(context.database, "second_factor.failed")] == [cast.owner.user_id]
    opened = finish(key)
    assert session_of(context.database, opened).second_factor_at == START
    with pytest.raises(ChallengeOver):
        finish(key)
    other = begun(context.database)
    finish_sign_in(context.database, context.secret_box, token=other, code=codes[0], device=HOME, now=START)


def test_challenges_are_for_one_purpose_each(context: PasskeyContext, cast: Cast) -> None:
    key, _codes = created(context, cast.owner)
    actor = Actor(cast.owner.user_id)
    session_id = session_of(context.database, signed_in(context, key)).session_id
    step = passkeys.begin_passkey_step(context, token=begun(context.database), now=START)
    wrong = PasskeyAnswer(step.token, key.signs(step.options))
    with pytest.raises(ChallengeOver):
        passkeys.sign_in_with_passkey(context, wrong, device=HOME, now=START)
    with pytest.raises(ChallengeOver):
        passkeys.confirm_with_passkey(context, wrong, actor=actor, session_id=session_id, now=START)
    anybody = passkeys.begin_passkey_sign_in(context, ip=None, now=START)
    with pytest.raises(ChallengeOver):
        passkeys.confirm_with_passkey(
            context,
            PasskeyAnswer(anybody.token, key.signs(anybody.options)),
            actor=actor,
            session_id=session_id,
            now=START,
        )


def test_a_passkey_makes_a_session_fresh(context: PasskeyContext, cast: Cast) -> None:
    key, _codes = created(context, cast.owner)
    theirs, _codes = created(context, cast.colleague)
    actor, opened = Actor(cast.owner.user_id), signed_in(context, key)
    session_id, later = session_of(context.database, opened).session_id, START + CHALLENGE_LIFE

    def confirm(with_key: SecurityKey) -> None:
        question = passkeys.begin_confirmation(context, actor=actor, now=later)
        answer = PasskeyAnswer(question.token, with_key.signs(question.options))
        passkeys.confirm_with_passkey(context, answer, actor=actor, session_id=session_id, now=later)

    with pytest.raises(PasskeyRefused):
        confirm(theirs)
    confirm(key)
    found = session_of(context.database, opened)
    assert (found.authenticated_at, found.second_factor_at) == (later, later)


def test_removing_the_last_one_leaves_the_password_alone(context: PasskeyContext, cast: Cast) -> None:
    key, _codes = created(context, cast.owner)
    opened, other = signed_in(context, key), signed_in(context, key)
    session_id = session_of(context.database, opened).session_id
    with context.database.read() as db:
        (passkey,) = second_factors(db, user_id=cast.owner.user_id).passkeys
    with context.database.write() as db:
        with pytest.raises(NotFound):
            passkeys.remove_passkey(
                db,
                actor=Actor(cast.stranger.user_id),
                session_id=session_id,
                passkey_id=passkey.id,
                now=START,
            )
        passkeys.remove_passkey(
            db,
            actor=Actor(cast.owner.user_id),
            session_id=session_id,
            passkey_id=passkey.id,
            now=START,
        )
    with context.database.read() as db:
        assert queries.signed_in_by_token(db, token=other.token, now=START) is None
        assert second_factors(db, user_id=cast.owner.user_id).codes_left == 0
    assert session_of(context.database, opened).second_factor_at is None
    with pytest.raises(PasskeyRefused):
        signed_in(context, key)
    sign_in(context.database, "owner@example.com")
    assert rows(context.database, "passkey.removed")[0].before == {"name": "Laptop"}


def test_nobody_creates_a_passkey_for_somebody_else(context: PasskeyContext, cast: Cast) -> None:
    key, question = (
        SecurityKey(),
        passkeys.begin_creation(context, actor=Actor(cast.owner.user_id), now=START),
    )
    session_id = session_of(context.database, sign_in(context.database, "colleague@example.com")).session_id
    answer = PasskeyAnswer(question.token, key.creates(question.options))
    for name, expected in (("", LicenzyError), ("Phone", ChallengeOver)):
        with pytest.raises(expected):
            passkeys.create_passkey(
                context,
                answer,
                actor=Actor(cast.colleague.user_id),
                session_id=session_id,
                name=name,
                now=START,
            )
    with context.database.read() as db:
        assert db.exec(select(Passkey)).all() == []


def test_sign_ins_that_strangers_begin_are_limited(context: PasskeyContext, cast: Cast) -> None:
    for _ in range(60):
        passkeys.begin_passkey_sign_in(context, ip="192.0.2.1", now=START)
    with pytest.raises(TooManyTries):
        passkeys.begin_passkey_sign_in(context, ip="192.0.2.1", now=START)
    passkeys.begin_passkey_sign_in(context, ip="192.0.2.2", now=START)
    assert sign_in(context.database, "owner@example.com", ip="192.0.2.1")
