"""Verbs about sessions: one for each browser that is signed in."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import update
from sqlmodel import Session, col

from licenzy.errors import NotFound
from licenzy.kit.ids import new_id
from licenzy.workspace import rules
from licenzy.workspace.audit import Actor, record
from licenzy.workspace.models import User
from licenzy.workspace.sign_in_models import SignInMethod, SignInSession


@dataclass(frozen=True, slots=True)
class Opened:
    """A fresh sign-in: whose it is, and the token that only the browser's cookie keeps."""

    user_id: str
    token: str


@dataclass(frozen=True, slots=True)
class KnownDevice:
    """A browser in which a person has signed in before, as its signed cookie says."""

    user_id: str
    device_id: str
    stamp: str
    """Of the password it was known with (`rules.password_stamp`): with another one it is not known."""
    until: datetime

    def is_known_to(self, user: User, *, now: datetime) -> bool:
        """Whether this still is a device of the person's."""
        stamp = rules.password_stamp(user.password_hash)
        return self.user_id == user.id and rules.same_token(stamp, self.stamp) and now < self.until


@dataclass(frozen=True, slots=True)
class Device:
    """What a request tells of the browser it came from."""

    ip: str | None = None
    user_agent: str = ""
    known: Sequence[KnownDevice] = ()
    """What its cookie says, the signature checked: one for each person who signs in there."""
    unheeded_header: str | None = None
    """The header by which a proxy named another client address, where no proxy is trusted to."""

    def known_to(self, user: User | None, *, now: datetime) -> KnownDevice | None:
        """This browser as one of the person's devices; none when they never signed in here."""
        known = (each for each in self.known if user is not None and each.is_known_to(user, now=now))
        return next(known, None)


def renewed_device(user: User, device: Device, *, now: datetime) -> KnownDevice:
    """What the browser's cookie is to say of somebody who has just given the right password."""
    before = device.known_to(user, now=now)
    return KnownDevice(
        user_id=user.id,
        device_id=before.device_id if before else secrets.token_hex(16),
        stamp=rules.password_stamp(user.password_hash),
        until=now + rules.DEVICE_LIFE,
    )


def open_session(
    db: Session,
    *,
    user_id: str,
    device: Device,
    now: datetime,
    authenticated_at: datetime | None = None,
    second_factor_at: datetime | None = None,
    method: SignInMethod = SignInMethod.PASSWORD,
) -> Opened:
    """A new session for who has proved who they are, and by a second factor where there is one.

    That was just now, unless `authenticated_at` says otherwise.
    """
    token = secrets.token_urlsafe(32)
    db.add(
        SignInSession(
            id=new_id("ses"),
            user_id=user_id,
            token_hash=rules.token_hash(token),
            created_at=now,
            last_seen_at=now,
            authenticated_at=authenticated_at or now,
            second_factor_at=second_factor_at,
            method=method,
            expires_at=now + rules.SESSION_LIFE,
            ip=device.ip,
            user_agent=device.user_agent[:300],
            unheeded_header=device.unheeded_header,
        )
    )
    db.flush()
    return Opened(user_id, token)


def sign_out(db: Session, *, actor: Actor, session_id: str, now: datetime) -> None:
    """End one's current session."""
    if _revoke(db, actor=actor, session_id=session_id, now=now):
        record(db, actor=actor, action="sign_in.ended", about=session_id, now=now)


def end_session(db: Session, *, actor: Actor, session_id: str, now: datetime) -> None:
    """End another of one's own sessions. Raises NotFound for somebody else's."""
    if not _revoke(db, actor=actor, session_id=session_id, now=now):
        raise NotFound("This browser is not signed in any more.")
    record(db, actor=actor, action="session.ended", about=session_id, now=now)


def end_other_sessions(db: Session, *, actor: Actor, session_id: str, now: datetime) -> int:
    """End all of one's own sessions but this one; the number of those that ended."""
    ended = end_sessions(db, user_id=actor.user_id or "", except_id=session_id, now=now)
    if ended:
        record(
            db,
            actor=actor,
            action="sessions.ended",
            about=actor.user_id or "",
            after={"ended": ended},
            now=now,
        )
    return ended


def note_seen(db: Session, *, session_id: str, now: datetime) -> None:
    """Remember that the session was used just now."""
    db.execute(update(SignInSession).where(col(SignInSession.id) == session_id).values(last_seen_at=now))


def end_sessions(db: Session, *, user_id: str, except_id: str | None, now: datetime) -> int:
    """End all sessions of a person but one; the number of those that ended."""
    ended = db.execute(
        update(SignInSession)
        .where(
            col(SignInSession.user_id) == user_id,
            col(SignInSession.id) != (except_id or ""),
            col(SignInSession.revoked_at).is_(None),
        )
        .values(revoked_at=now)
        .returning(col(SignInSession.id))
    )
    return len(ended.all())


def _revoke(db: Session, *, actor: Actor, session_id: str, now: datetime) -> bool:
    """Whether a session of the actor's was running and is now ended."""
    ended = db.execute(
        update(SignInSession)
        .where(
            col(SignInSession.id) == session_id,
            col(SignInSession.user_id) == actor.user_id,
            col(SignInSession.revoked_at).is_(None),
        )
        .values(revoked_at=now)
        .returning(col(SignInSession.id))
    )
    return ended.first() is not None
