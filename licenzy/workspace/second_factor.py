"""Verbs about second factors: an authenticator app and recovery codes, set up, replaced, removed, reset.

Whoever has one gives it after the password. Turning the first factor on or the last one off ends the
person's other sessions: they were opened under other conditions.
"""

from __future__ import annotations

import secrets
from datetime import datetime

import pyotp
from sqlalchemy import delete, update
from sqlmodel import Session, col

from licenzy.errors import InvalidRequest
from licenzy.kit.ids import new_id
from licenzy.kit.secret_box import DecryptionFailed, SecretBox
from licenzy.workspace import second_factor_rules as factor_rules
from licenzy.workspace.audit import Actor, record
from licenzy.workspace.factor_queries import second_factors
from licenzy.workspace.members import locked_account
from licenzy.workspace.models import User
from licenzy.workspace.sessions import end_sessions
from licenzy.workspace.sign_in_models import Passkey, RecoveryCode, SignInSession, TotpFactor
from licenzy.workspace.team_locks import MemberNotFound


class NoSecondFactor(InvalidRequest):
    message = "Your account has no second factor."
    hint = "Set up an authenticator app first."


class NothingToReset(InvalidRequest):
    message = "This person has no second factor."
    hint = "They sign in with their password, and can set up a second factor on My account."


class AppAlreadySetUp(InvalidRequest):
    message = "Your account already has an authenticator app."
    hint = "Remove it first to set up another one."


class AppNotBegun(InvalidRequest):
    message = "No authenticator app is being set up."
    hint = "Start again from your account."


def begin_app(db: Session, secret_box: SecretBox, *, actor: Actor, now: datetime) -> None:
    """Make a secret for an authenticator app, in place of one that was never confirmed.

    It counts once its first code proves right, and no row of the audit log is written before. Raises
    AppAlreadySetUp.
    """
    user = _locked_person(db, actor)
    factor = db.get(TotpFactor, user.id)
    if factor is not None and factor.confirmed_at is not None:
        raise AppAlreadySetUp
    sealed = secret_box.encrypt(pyotp.random_base32(), bound_to=_bound_to(user.id))
    if factor is None:
        db.add(TotpFactor(user_id=user.id, secret=sealed, created_at=now))
    else:
        factor.secret, factor.created_at = sealed, now
    db.flush()


def app_being_set_up(db: Session, secret_box: SecretBox, *, user_id: str) -> str:
    """The secret that the app is to be given. Raises AppNotBegun, and AppAlreadySetUp."""
    factor = db.get(TotpFactor, user_id)
    if factor is None:
        raise AppNotBegun
    if factor.confirmed_at is not None:
        raise AppAlreadySetUp
    try:
        return secret_box.decrypt(factor.secret, bound_to=_bound_to(user_id))
    except DecryptionFailed:
        raise AppNotBegun from None


def confirm_app(
    db: Session, secret_box: SecretBox, *, actor: Actor, session_id: str, code: str, now: datetime
) -> list[str]:
    """Turn the authenticator app on by its first code; new recovery codes, unless some are left.

    From now on this session counts as one with a second factor, and the others end. Raises InvalidRequest
    with `fields`, AppNotBegun and AppAlreadySetUp. Wrong codes are not counted: whoever sees the page sees
    the secret.
    """
    user = _locked_person(db, actor)
    secret = app_being_set_up(db, secret_box, user_id=user.id)
    step = factor_rules.matching_step(secret, factor_rules.totp_code(code) or "", now=now)
    if step is None:
        raise InvalidRequest(
            fields={
                "code": "This is not the code of now. Check the clock of your device, then try the next code."
            }
        )
    before = second_factors(db, user_id=user.id)
    factor = db.get_one(TotpFactor, user.id)
    factor.confirmed_at, factor.last_step = now, step
    codes = [] if before.codes_left else _new_codes(db, user_id=user.id, now=now)
    ended = factor_added(db, user_id=user.id, session_id=session_id, now=now)
    after = {"factor": "authenticator_app", "sessions_ended": ended}
    record(db, actor=actor, action="second_factor.enabled", about=user.id, after=after, now=now)
    return codes


def remove_app(db: Session, *, actor: Actor, session_id: str, now: datetime) -> None:
    """Turn the authenticator app off. Raises NoSecondFactor."""
    user = _locked_person(db, actor)
    factor = db.get(TotpFactor, user.id)
    if factor is None or factor.confirmed_at is None:
        raise NoSecondFactor
    db.delete(factor)
    db.flush()
    ended = factor_removed(db, user_id=user.id, session_id=session_id, now=now)
    after = {"factor": "authenticator_app", "sessions_ended": ended}
    record(db, actor=actor, action="second_factor.disabled", about=user.id, after=after, now=now)


def create_recovery_codes(db: Session, *, actor: Actor, now: datetime) -> list[str]:
    """Ten new recovery codes in place of those before. Raises NoSecondFactor."""
    user = _locked_person(db, actor)
    if not second_factors(db, user_id=user.id).has_any:
        raise NoSecondFactor
    codes = _new_codes(db, user_id=user.id, now=now)
    after = {"codes": len(codes)}
    record(db, actor=actor, action="recovery_codes.created", about=user.id, after=after, now=now)
    return codes


def reset_second_factor(
    db: Session, *, actor: Actor, user_id: str, workspace_id: str | None, now: datetime
) -> None:
    """Remove all of a person's factors, passkeys and recovery codes, and end their sessions.

    For who has lost everything. The password stays. Without a workspace only the command line may; in one,
    an owner who owns every workspace that the person belongs to, since the account opens all of them.
    Raises MemberNotFound, RoleTooLow, BelongsElsewhere and, in a workspace, NothingToReset.
    """
    user = _person_to_reset(db, workspace_id=workspace_id, user_id=user_id, actor=actor)
    had = second_factors(db, user_id=user.id)
    if workspace_id is not None and not had.has_any:
        raise NothingToReset
    for table in (TotpFactor, Passkey, RecoveryCode):
        db.execute(delete(table).where(col(table.user_id) == user.id))
    ended = end_sessions(db, user_id=user.id, except_id=None, now=now)
    record(
        db,
        actor=actor,
        action="second_factor.reset",
        about=user.id,
        workspace_id=workspace_id,
        before={"authenticator_app": had.app_since is not None, "passkeys": len(had.passkeys)},
        after={"sessions_ended": ended},
        now=now,
    )


def factor_added(db: Session, *, user_id: str, session_id: str, now: datetime) -> int:
    """Count this session as one with a second factor, and end the others; the number of those."""
    db.get_one(SignInSession, session_id).second_factor_at = now
    db.flush()
    return end_sessions(db, user_id=user_id, except_id=session_id, now=now)


def factor_removed(db: Session, *, user_id: str, session_id: str, now: datetime) -> int:
    """End the other sessions. With the last factor go the recovery codes, and what this session gave."""
    if not second_factors(db, user_id=user_id).has_any:
        db.execute(delete(RecoveryCode).where(col(RecoveryCode.user_id) == user_id))
        db.get_one(SignInSession, session_id).second_factor_at = None
        db.flush()
    return end_sessions(db, user_id=user_id, except_id=session_id, now=now)


def codes_if_none_left(db: Session, *, user_id: str, now: datetime) -> list[str]:
    """New recovery codes for who has none that was not used."""
    left = second_factors(db, user_id=user_id).codes_left
    return [] if left else _new_codes(db, user_id=user_id, now=now)


def take_code(
    db: Session, secret_box: SecretBox, *, actor: Actor, user_id: str, code: str, now: datetime
) -> str | None:
    """Use up a code: `authenticator_app` or `recovery_code`, or None for one that is wrong or was used.

    Of those who bring the same code at the same time, one has it.
    """
    digits = factor_rules.totp_code(code)
    if digits is not None:
        return _take_app_code(db, secret_box, user_id=user_id, digits=digits, now=now)
    used = db.execute(
        update(RecoveryCode)
        .where(
            col(RecoveryCode.user_id) == user_id,
            col(RecoveryCode.code_hash) == factor_rules.recovery_code_hash(code),
            col(RecoveryCode.used_at).is_(None),
        )
        .values(used_at=now)
        .returning(col(RecoveryCode.id))
    )
    if used.first() is None:
        return None
    left = second_factors(db, user_id=user_id).codes_left
    record(db, actor=actor, action="recovery_code.used", about=user_id, after={"codes_left": left}, now=now)
    return "recovery_code"


def _person_to_reset(db: Session, *, workspace_id: str | None, user_id: str, actor: Actor) -> User:
    if workspace_id is None:
        user = db.get(User, user_id, populate_existing=True, with_for_update=True)
        if user is None or actor.user_id is not None:
            raise MemberNotFound
        return user
    if actor.user_id == user_id:
        raise InvalidRequest("This is your own account.", hint="Remove your second factor on My account.")
    return locked_account(db, workspace_id=workspace_id, user_id=user_id, actor=actor).user


def _take_app_code(
    db: Session, secret_box: SecretBox, *, user_id: str, digits: str, now: datetime
) -> str | None:
    factor = db.get(TotpFactor, user_id, populate_existing=True)
    if factor is None or factor.confirmed_at is None:
        return None
    try:
        secret = secret_box.decrypt(factor.secret, bound_to=_bound_to(user_id))
    except DecryptionFailed:
        sentence = "No encryption key of this installation decrypts the secret of your authenticator app. "
        raise InvalidRequest(fields={"code": sentence + "Use a recovery code."}) from None
    step = factor_rules.matching_step(secret, digits, now=now)
    if step is None:
        return None
    taken = db.execute(
        update(TotpFactor)
        .where(col(TotpFactor.user_id) == user_id, col(TotpFactor.last_step) < step)
        .values(last_step=step)
        .returning(col(TotpFactor.user_id))
    )
    return "authenticator_app" if taken.first() is not None else None


def _new_codes(db: Session, *, user_id: str, now: datetime) -> list[str]:
    db.execute(delete(RecoveryCode).where(col(RecoveryCode.user_id) == user_id))
    codes = [_new_code() for _ in range(factor_rules.RECOVERY_CODES)]
    for code in codes:
        hashed = factor_rules.recovery_code_hash(code)
        db.add(RecoveryCode(id=new_id("rec"), user_id=user_id, code_hash=hashed, created_at=now))
    db.flush()
    return codes


def _new_code() -> str:
    """Such as `8k2m-x0vd-3rqe-71zt`."""
    groups = ("".join(secrets.choice(factor_rules.RECOVERY_LETTERS) for _ in range(4)) for _ in range(4))
    return "-".join(groups)


def _locked_person(db: Session, actor: Actor) -> User:
    """The acting person, whose row everybody who changes their factors or signs them in holds."""
    return db.get_one(User, actor.user_id, populate_existing=True, with_for_update=True)


def _bound_to(user_id: str) -> str:
    return f"totp_factors {user_id} secret"
