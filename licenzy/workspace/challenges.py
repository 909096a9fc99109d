"""What a browser has begun and must finish within minutes: the second step of signing in, and passkeys."""

from __future__ import annotations

import secrets as randomness
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete
from sqlmodel import Session, col, select

from licenzy.errors import InvalidRequest
from licenzy.workspace import rules
from licenzy.workspace.models import User
from licenzy.workspace.sign_in_models import ChallengeKind, SignInChallenge

CHALLENGE_LIFE = timedelta(minutes=10)
_FORGOTTEN_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class SecondFactorNeeded:
    """The password was right, and a second factor is still to be given."""

    token: str
    """Of the challenge; only the browser's cookie keeps it."""


class ChallengeOver(InvalidRequest):
    message = "This sign-in has expired, is finished, or the account has changed since."
    hint = "Sign in again."


def begin_challenge(
    db: Session,
    *,
    kind: ChallengeKind,
    now: datetime,
    user: User | None = None,
    secrets: str | None = None,
) -> str:
    """Begin something that one browser is to finish; the token for its cookie."""
    token = randomness.token_urlsafe(32)
    db.add(
        SignInChallenge(
            token_hash=rules.token_hash(token),
            kind=kind,
            user_id=user.id if user else None,
            secrets=secrets,
            password_stamp=rules.password_stamp(user.password_hash) if user else None,
            created_at=now,
            expires_at=now + CHALLENGE_LIFE,
        )
    )
    db.flush()
    _forget_old(db, now=now)
    return token


def person_of_challenge(db: Session, *, token: str, now: datetime) -> User:
    """Who has given the right password, and is to give a second factor. Raises ChallengeOver."""
    challenge = db.get(SignInChallenge, rules.token_hash(token))
    user = _person(db, challenge, kind=ChallengeKind.SECOND_FACTOR, now=now, lock=False)
    if user is None:
        raise ChallengeOver
    return user


def locked_challenge(
    db: Session, *, token: str, kind: ChallengeKind, now: datetime
) -> tuple[SignInChallenge, User | None]:
    """What was begun, and by whom, both held until the transaction ends. Raises ChallengeOver.

    That is where it has expired or was finished, and where its person was disabled or has another password.
    """
    key = rules.token_hash(token)
    challenge = db.get(SignInChallenge, key, populate_existing=True, with_for_update=True)
    user = _person(db, challenge, kind=kind, now=now, lock=True)
    if challenge is None:
        raise ChallengeOver
    return challenge, user


def _person(
    db: Session, challenge: SignInChallenge | None, *, kind: ChallengeKind, now: datetime, lock: bool
) -> User | None:
    if challenge is None or challenge.kind != kind:
        raise ChallengeOver
    if challenge.used_at is not None or now >= challenge.expires_at:
        raise ChallengeOver
    if challenge.user_id is None:
        return None
    user = db.get_one(User, challenge.user_id, populate_existing=True, with_for_update=lock)
    stamp = rules.password_stamp(user.password_hash)
    if user.disabled_at is not None or not rules.same_token(stamp, challenge.password_stamp or ""):
        raise ChallengeOver
    return user


def _forget_old(db: Session, *, now: datetime) -> None:
    old = (
        select(SignInChallenge.token_hash)
        .where(col(SignInChallenge.expires_at) <= now)
        .limit(_FORGOTTEN_AT_ONCE)
        .with_for_update(skip_locked=True)
    )
    db.execute(delete(SignInChallenge).where(col(SignInChallenge.token_hash).in_(old)))
