"""Verbs about passkeys: made, removed, and used to sign in, as a second step and to confirm who one is.

A passkey whose device has verified its person (by a fingerprint or a PIN) counts as both factors. Each of our
challenges is answered once, whether the answer is right or not.
"""

from __future__ import annotations

import secrets as randomness
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session, select

from licenzy.db.unit_of_work import Database
from licenzy.errors import InvalidRequest, NotFound
from licenzy.kit.ids import new_id
from licenzy.kit.names import clean_name, name_problem
from licenzy.kit.secret_box import DecryptionFailed, SecretBox
from licenzy.workspace import passkey_checks, rules
from licenzy.workspace.audit import Actor, record
from licenzy.workspace.challenges import ChallengeOver, begin_challenge, locked_challenge
from licenzy.workspace.factor_queries import second_factors
from licenzy.workspace.models import User
from licenzy.workspace.passkey_checks import PasskeyRefused, RelyingParty
from licenzy.workspace.second_factor import codes_if_none_left, factor_added, factor_removed
from licenzy.workspace.sessions import Device, Opened, open_session
from licenzy.workspace.sign_in_models import ChallengeKind, Passkey, SignInMethod, SignInSession
from licenzy.workspace.throttling import count_try, throttle_state

MOST_PASSKEYS = 20
_BOUND_TO = "sign_in_challenges secrets"


@dataclass(frozen=True, slots=True)
class PasskeyQuestion:
    """What a browser is asked: the options of its call as JSON, and the token for its cookie."""

    options: str
    token: str


@dataclass(frozen=True, slots=True)
class PasskeyAnswer:
    """What a browser answers: the token of its cookie, and the credential as JSON."""

    token: str
    credential: str


@dataclass(frozen=True, slots=True)
class PasskeyContext:
    """What all of this needs of the installation."""

    database: Database
    secret_box: SecretBox
    party: RelyingParty


def begin_creation(context: PasskeyContext, *, actor: Actor, now: datetime) -> PasskeyQuestion:
    """Ask a browser for a new passkey of the actor's. Raises InvalidRequest where there are too many."""
    challenge, sealed = _new_challenge(context)
    with context.database.write() as db:
        user = db.get_one(User, actor.user_id)
        passkeys = second_factors(db, user_id=user.id).passkeys
        if len(passkeys) >= MOST_PASSKEYS:
            raise InvalidRequest(
                f"An account has at most {MOST_PASSKEYS} passkeys.", hint="Remove one first."
            )
        kind = ChallengeKind.PASSKEY_CREATION
        token = begin_challenge(db, kind=kind, user=user, secrets=sealed, now=now)
        options = passkey_checks.creation_options(context.party, user, passkeys, challenge)
    return PasskeyQuestion(options, token)


def create_passkey(
    context: PasskeyContext, answer: PasskeyAnswer, *, actor: Actor, session_id: str, name: str, now: datetime
) -> list[str]:
    """Keep the passkey that a browser made; new recovery codes, unless some are left.

    From now on this session counts as one with a second factor, and the others end. Raises InvalidRequest
    with `fields`, PasskeyRefused and ChallengeOver.
    """
    title = clean_name(name)
    problem = name_problem(title, most=rules.NAME_MAX)
    if problem is not None:
        raise InvalidRequest(fields={"name": problem})
    challenge, user_id = _take_challenge(context, answer, kind=ChallengeKind.PASSKEY_CREATION, now=now)
    if user_id != actor.user_id:
        raise ChallengeOver
    made = passkey_checks.verified_creation(context.party, answer.credential, challenge)

    def keep(db: Session) -> list[str]:
        user = db.get_one(User, user_id, populate_existing=True, with_for_update=True)
        if _passkey(db, made.credential_id) is not None:
            raise PasskeyRefused
        db.add(
            Passkey(
                id=new_id("psk"),
                user_id=user.id,
                name=title,
                credential_id=made.credential_id,
                public_key=made.public_key,
                sign_count=made.sign_count,
                transports=made.transports,
                created_at=now,
            )
        )
        db.flush()
        codes = codes_if_none_left(db, user_id=user.id, now=now)
        ended = factor_added(db, user_id=user.id, session_id=session_id, now=now)
        after = {"name": title, "sessions_ended": ended}
        record(db, actor=actor, action="passkey.created", about=user.id, after=after, now=now)
        return codes

    return context.database.retrying(keep)


def remove_passkey(db: Session, *, actor: Actor, session_id: str, passkey_id: str, now: datetime) -> None:
    """Forget one of one's own passkeys, and end the other sessions. Raises NotFound for somebody else's."""
    user = db.get_one(User, actor.user_id, populate_existing=True, with_for_update=True)
    passkey = db.get(Passkey, passkey_id)
    if passkey is None or passkey.user_id != user.id:
        raise NotFound("This passkey does not exist.")
    before = {"name": passkey.name}
    db.delete(passkey)
    db.flush()
    ended = factor_removed(db, user_id=user.id, session_id=session_id, now=now)
    after = {"sessions_ended": ended}
    record(db, actor=actor, action="passkey.removed", about=user.id, before=before, after=after, now=now)


def begin_passkey_sign_in(context: PasskeyContext, *, ip: str | None, now: datetime) -> PasskeyQuestion:
    """Ask a browser for anybody's passkey. Raises TooManyTries: strangers make a row each time."""
    choices = [[rules.passkey_throttle(ip)]]
    with context.database.read() as db:
        state = throttle_state(db, choices, action="sign_in.throttled", now=now)
    count_try(context.database, choices, state, actor=Actor(ip=ip), now=now)
    challenge, sealed = _new_challenge(context)
    with context.database.write() as db:
        token = begin_challenge(db, kind=ChallengeKind.PASSKEY_SIGN_IN, secrets=sealed, now=now)
    return PasskeyQuestion(passkey_checks.request_options(context.party, [], challenge), token)


def sign_in_with_passkey(
    context: PasskeyContext, answer: PasskeyAnswer, *, device: Device, now: datetime
) -> Opened:
    """Open a session for whose passkey answers. Raises PasskeyRefused and ChallengeOver."""
    challenge, _nobody = _take_challenge(context, answer, kind=ChallengeKind.PASSKEY_SIGN_IN, now=now)

    def open_it(db: Session) -> Opened:
        user = _verified_person(db, context, answer, challenge=challenge, user_id=None, now=now)
        after = {"method": "passkey"}
        actor = Actor(user.id, device.ip)
        record(db, actor=actor, action="sign_in.succeeded", about=user.id, after=after, now=now)
        method = SignInMethod.PASSKEY
        return open_session(db, user_id=user.id, device=device, second_factor_at=now, method=method, now=now)

    try:
        return context.database.retrying(open_it)
    except PasskeyRefused:
        with context.database.write() as db:
            record(db, actor=Actor(ip=device.ip), action="sign_in.failed", about="passkey", now=now)
        raise


def begin_passkey_step(context: PasskeyContext, *, token: str, now: datetime) -> PasskeyQuestion:
    """Ask for a passkey of who has given the right password, in the same challenge. Raises ChallengeOver."""
    challenge, sealed = _new_challenge(context)
    with context.database.write() as db:
        begun, user = locked_challenge(db, token=token, kind=ChallengeKind.SECOND_FACTOR, now=now)
        if user is None:
            raise ChallengeOver
        begun.secrets = sealed
        passkeys = second_factors(db, user_id=user.id).passkeys
    return PasskeyQuestion(passkey_checks.request_options(context.party, passkeys, challenge), token)


def finish_with_passkey(
    context: PasskeyContext, answer: PasskeyAnswer, *, device: Device, now: datetime
) -> Opened:
    """Open the session of who gave the right password, by a passkey. Raises PasskeyRefused, ChallengeOver."""
    kind = ChallengeKind.SECOND_FACTOR
    challenge, user_id = _take_challenge(context, answer, kind=kind, now=now)
    actor = Actor(user_id, device.ip)

    def finish(db: Session) -> Opened:
        begun, _user = locked_challenge(db, token=answer.token, kind=kind, now=now)
        user = _verified_person(db, context, answer, challenge=challenge, user_id=user_id, now=now)
        begun.used_at = now
        after = {"second_factor": "passkey"}
        record(db, actor=actor, action="sign_in.succeeded", about=user.id, after=after, now=now)
        return open_session(db, user_id=user.id, device=device, second_factor_at=now, now=now)

    try:
        return context.database.retrying(finish)
    except PasskeyRefused:
        _record_failure(context, actor, now=now)
        raise


def begin_confirmation(context: PasskeyContext, *, actor: Actor, now: datetime) -> PasskeyQuestion:
    """Ask who is signed in for one of their passkeys."""
    challenge, sealed = _new_challenge(context)
    with context.database.write() as db:
        user = db.get_one(User, actor.user_id)
        kind = ChallengeKind.PASSKEY_SIGN_IN
        token = begin_challenge(db, kind=kind, user=user, secrets=sealed, now=now)
        passkeys = second_factors(db, user_id=user.id).passkeys
    return PasskeyQuestion(passkey_checks.request_options(context.party, passkeys, challenge), token)


def confirm_with_passkey(
    context: PasskeyContext, answer: PasskeyAnswer, *, actor: Actor, session_id: str, now: datetime
) -> None:
    """Make the session fresh again, and one with a second factor. Raises PasskeyRefused, ChallengeOver."""
    challenge, user_id = _take_challenge(context, answer, kind=ChallengeKind.PASSKEY_SIGN_IN, now=now)
    if user_id != actor.user_id:
        raise ChallengeOver

    def confirm(db: Session) -> None:
        user = _verified_person(db, context, answer, challenge=challenge, user_id=user_id, now=now)
        session = db.get_one(SignInSession, session_id)
        session.authenticated_at = session.second_factor_at = now
        after = {"method": "passkey"}
        record(db, actor=actor, action="sign_in.confirmed", about=user.id, after=after, now=now)

    try:
        context.database.retrying(confirm)
    except PasskeyRefused:
        _record_failure(context, actor, now=now)
        raise


def _new_challenge(context: PasskeyContext) -> tuple[bytes, str]:
    challenge = randomness.token_bytes(32)
    return challenge, context.secret_box.encrypt(challenge.hex(), bound_to=_BOUND_TO)


def _take_challenge(
    context: PasskeyContext, answer: PasskeyAnswer, *, kind: ChallengeKind, now: datetime
) -> tuple[bytes, str | None]:
    """The bytes to be signed, given out once, and who was asked to. Raises ChallengeOver.

    A second step goes on after an answer that was wrong: a code or another question may follow.
    """

    def take(db: Session) -> tuple[str | None, str | None]:
        begun, user = locked_challenge(db, token=answer.token, kind=kind, now=now)
        sealed, begun.secrets = begun.secrets, None
        if kind is not ChallengeKind.SECOND_FACTOR:
            begun.used_at = now
        return sealed, user.id if user else None

    sealed, user_id = context.database.retrying(take)
    if sealed is None:
        raise PasskeyRefused
    try:
        return bytes.fromhex(context.secret_box.decrypt(sealed, bound_to=_BOUND_TO)), user_id
    except DecryptionFailed:
        raise ChallengeOver from None


def _verified_person(
    db: Session,
    context: PasskeyContext,
    answer: PasskeyAnswer,
    *,
    challenge: bytes,
    user_id: str | None,
    now: datetime,
) -> User:
    """Whose passkey has signed the challenge; `user_id` is who it must be, where that is known."""
    found = _passkey(db, passkey_checks.credential_id_of(answer.credential))
    if found is None or user_id not in (None, found.user_id):
        raise PasskeyRefused
    user = db.get_one(User, found.user_id, populate_existing=True, with_for_update=True)
    passkey = db.get(Passkey, found.id, populate_existing=True)
    if user.disabled_at is not None or passkey is None:
        raise PasskeyRefused
    passkey.sign_count = passkey_checks.verified_count(context.party, passkey, answer.credential, challenge)
    passkey.last_used_at = now
    db.flush()
    return user


def _passkey(db: Session, credential_id: str) -> Passkey | None:
    return db.exec(select(Passkey).where(Passkey.credential_id == credential_id)).first()


def _record_failure(context: PasskeyContext, actor: Actor, *, now: datetime) -> None:
    with context.database.write() as db:
        about, after = actor.user_id or "", {"second_factor": "passkey"}
        record(db, actor=actor, action="second_factor.failed", about=about, after=after, now=now)
