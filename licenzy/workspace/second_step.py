"""Verbs for giving a second factor by a code: after the password, or in a session that lacks one.

A code is counted before it is checked, as passwords are, and taken back when it is right. Only who has the
password, or a session, gets so far: strangers use up no limit here.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

from sqlmodel import Session

from licenzy.db.unit_of_work import Database
from licenzy.errors import InvalidRequest
from licenzy.kit.secret_box import SecretBox
from licenzy.workspace import rules
from licenzy.workspace.audit import Actor, record
from licenzy.workspace.challenges import locked_challenge, person_of_challenge
from licenzy.workspace.models import User
from licenzy.workspace.second_factor import take_code
from licenzy.workspace.sessions import Device, Opened, open_session
from licenzy.workspace.sign_in_models import ChallengeKind, SignInSession
from licenzy.workspace.throttling import count_try, take_back_try, throttle_state

T = TypeVar("T")

_WRONG = "This code is wrong or was already used. Codes of an app change every 30 seconds."


def finish_sign_in(
    database: Database, secret_box: SecretBox, *, token: str, code: str, device: Device, now: datetime
) -> Opened:
    """Open the session of who gave the right password, now that they give a code.

    Raises ChallengeOver, InvalidRequest with `fields`, and TooManyTries.
    """
    with database.read() as db:
        user = person_of_challenge(db, token=token, now=now)
    actor = Actor(user.id, device.ip)

    def finish(db: Session) -> Opened | None:
        challenge, _user = locked_challenge(db, token=token, kind=ChallengeKind.SECOND_FACTOR, now=now)
        factor = take_code(db, secret_box, actor=actor, user_id=user.id, code=code, now=now)
        if factor is None:
            return None
        challenge.used_at = now
        after = {"second_factor": factor}
        record(db, actor=actor, action="sign_in.succeeded", about=user.id, after=after, now=now)
        return open_session(db, user_id=user.id, device=device, second_factor_at=now, now=now)

    return _counted(database, finish, user=user, actor=actor, device=device, now=now)


def give_second_factor(
    database: Database,
    secret_box: SecretBox,
    *,
    actor: Actor,
    session_id: str,
    code: str,
    device: Device,
    now: datetime,
) -> None:
    """Count a session as one with a second factor, for who gives a code in it.

    Raises InvalidRequest with `fields`, and TooManyTries.
    """
    with database.read() as db:
        user = db.get_one(User, actor.user_id)

    def give(db: Session) -> str | None:
        factor = take_code(db, secret_box, actor=actor, user_id=user.id, code=code, now=now)
        if factor is not None:
            db.get_one(SignInSession, session_id).second_factor_at = now
            after = {"second_factor": factor}
            record(db, actor=actor, action="second_factor.given", about=user.id, after=after, now=now)
        return factor

    _counted(database, give, user=user, actor=actor, device=device, now=now)


def _counted(
    database: Database,
    work: Callable[[Session], T | None],
    *,
    user: User,
    actor: Actor,
    device: Device,
    now: datetime,
) -> T:
    known = device.known_to(user, now=now)
    choices = [[rules.second_factor_throttle(user.id, known.device_id if known else None)]]
    with database.read() as db:
        state = throttle_state(db, choices, action="second_factor.throttled", now=now)
    throttles = count_try(database, choices, state, actor=actor, now=now)

    def tried(db: Session) -> T | None:
        done = work(db)
        if done is not None:
            take_back_try(db, throttles=throttles, now=now)
        return done

    done = database.retrying(tried)
    if done is None:
        with database.write() as db:
            record(db, actor=actor, action="second_factor.failed", about=user.id, now=now)
        raise InvalidRequest(fields={"code": _WRONG})
    return done
